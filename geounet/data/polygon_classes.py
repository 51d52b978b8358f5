"""What the features of a polygon file say of their class, as codes of a class raster."""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any

import numpy as np
from pandas import isna
from pandas.api.types import is_scalar

from geounet.class_tables import key_of, normal
from geounet.classes import NODATA
from geounet.errors import LabelError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from geounet.classes import LandClass

_log = logging.getLogger(__name__)
_USUAL = ("class", "value", "label", "code")
_LISTED = 8
_AREAS = ("polygon", "multipolygon", "geometrycollection")


def class_field(frame: Any, path: Path | str, label_field: str | None) -> str:
    """The field with the classes: the one that is named, else the first of the usual ones, which is said.

    Raises:
        LabelError: there is none.
    """
    field, *others = _fields(frame, path, label_field)
    if others:
        told = ", ".join(others)
        _log.warning("%s: field %r gives the classes; it also has %s (--label-field names one)", path, field, told)
    return field


def _fields(frame: Any, path: Path | str, label_field: str | None) -> list[str]:
    """The field that is named, else all that are usual, the one that counts first.

    Raises:
        LabelError: there is none.
    """
    known = [column for column in frame.columns if column != frame.geometry.name]
    found = [name for name in ([label_field] if label_field else _USUAL) if name in known]
    if not found:
        raise LabelError(
            f"{path} has no field {label_field or 'class'!r} with the classes; name one with --label-field: "
            f"{', '.join(known)}"
        )
    return found


def tell_shapes(frame: Any, path: Path | str) -> None:
    """Say how many features of a file of polygons are none, and so are left out."""
    tell_kinds(kinds_of(frame.geometry), len(frame), path)


def kinds_of(shapes: Any) -> Counter[str]:
    """How many of a GeoSeries are of each geometry type, in small letters, `without geometry`, and `empty`."""
    kinds = Counter(name.lower() for name in shapes.geom_type.fillna("without geometry"))
    kinds["empty"] = int(shapes.is_empty.sum())
    return kinds


def tell_kinds(kinds: Mapping[str, int], features: int, path: Path | str) -> None:
    """As :func:`tell_shapes`, of features that have been counted."""
    others = {kind: count for kind, count in kinds.items() if count and kind not in _AREAS}
    if others:
        told = ", ".join(f"{count} {kind}" for kind, count in sorted(others.items()))
        _log.warning("%s: of %d features these are no polygons, and left out: %s", path, features, told)


def mapped(frame: Any, path: Path | str, label_field: str | None, class_map: Mapping[str, int]) -> Any:
    """A GeoDataFrame whose classes are those of a class map, see :func:`geounet.class_tables.read_class_map`.

    What the map does not name stays as it is.

    Raises:
        LabelError: there is no field with classes.
    """
    if not class_map:
        return frame
    field = _fields(frame, path, label_field)[0]
    values = [class_map.get(key_of(value), value) if _is_there(value) else value for value in frame[field]]
    return frame.assign(**{field: np.array(values, object)})


def codes_of(frame: Any, path: Path | str, classes: Sequence[LandClass], label_field: str | None) -> NDArray[np.int64]:
    """The class code of each feature, -1 where it is in no class; what is left out or joined is said, with counts.

    A name of the class table counts as it stands; a whole number from 0 to 254, as number or text, as a code; then a
    name of the table that differs in case or blanks alone, where it can be but one.

    Raises:
        LabelError: there is no such field, or it holds no class; or it holds numbers that a class raster cannot hold.
    """
    field = class_field(frame, path, label_field)
    counts = Counter(value if _is_there(value) else None for value in frame[field])
    known = {value: _code(value, classes) for value in counts}
    _refuse_unfit(f"field {field!r} of {path}", {value: counts[value] for value in known if _is_unfit(value, known)})
    codes = np.array([known[value if _is_there(value) else None] for value in frame[field]], np.int64)
    if (codes < 0).all():
        raise LabelError(f"field {field!r} of {path} holds no class code 0 to 254 and no name of the class table")
    _tell(f"field {field!r} of {path}", counts, known, {item.name for item in classes})
    return codes


def code_of(value: Any) -> int:
    """A whole number from 0 to 254, as number or text; -1 for all else."""
    number = _number(value)
    return int(number) if number is not None and number.is_integer() and 0 <= number < NODATA else -1


def tell_strange_names(what: str, names: Iterable[str]) -> None:
    """Point at names that differ in case or blanks alone, which are different classes all the same."""
    spellings: dict[str, list[str]] = defaultdict(list)
    for name in names:
        spellings[normal(name)].append(name)
    for alike in spellings.values():
        if len(alike) > 1:
            _log.warning(
                "%s: %s differ in case or blanks alone, and are different classes; a class table (--classes) or class "
                "map (--class-map) joins them", what, " and ".join(map(repr, alike)),
            )  # fmt: skip


def _is_there(value: Any) -> bool:
    """Whether a cell of a table holds something."""
    return not (is_scalar(value) and isna(value)) and str(value) != ""


def _number(value: Any) -> float | None:
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def _code(value: Any, classes: Sequence[LandClass]) -> int:
    if value is None:
        return -1
    names = {item.name: item.value for item in classes}
    if str(value) in names:
        return names[str(value)]
    code = code_of(value)
    alike = {item.value for item in classes if normal(item.name) == normal(str(value))}
    return code if code >= 0 or len(alike) != 1 else alike.pop()


def _is_unfit(value: Any, known: Mapping[Any, int]) -> bool:
    return known[value] < 0 and value is not None and _number(value) is not None


def _refuse_unfit(what: str, counts: Mapping[Any, int]) -> None:
    if counts:
        raise LabelError(
            f"{what} holds values that a class raster cannot hold ({_listed(counts)} polygons); classes are whole "
            "numbers from 0 to 254: map them with --class-map, a CSV file with the columns from,to"
        )


def _tell(what: str, counts: Mapping[Any, int], known: Mapping[Any, int], names: set[str]) -> None:
    bare = counts.get(None, 0)
    if bare:
        _log.warning("%s is empty for %d of %d polygons, which are left out", what, bare, sum(counts.values()))
    strangers = {value: counts[value] for value, code in known.items() if code < 0 and value is not None}
    if strangers:
        _log.warning("%s: %s polygons are in no class of the table, and left out", what, _listed(strangers))
    joined = {
        value: counts[value]
        for value, code in known.items()
        if code >= 0 and code_of(value) < 0 and str(value) not in names
    }
    if joined:
        _log.warning(
            "%s: %s polygons count as the table's classes, whatever the case and blanks", what, _listed(joined)
        )


def _listed(counts: Mapping[Any, int]) -> str:
    """Values and their counts, the commonest first: `1100: 3, 'Forest': 2`."""
    rows = sorted(counts.items(), key=lambda row: (-row[1], str(row[0])))
    more = len(rows) - _LISTED
    shown = ", ".join(f"{value!r}: {count}" for value, count in ((_plain(v), c) for v, c in rows[:_LISTED]))
    return shown + (f" and {more} more values" if more > 0 else "")


def _plain(value: Any) -> Any:
    """A NumPy scalar as Python's."""
    return value.item() if isinstance(value, np.generic) else value
