"""Class tables and class maps: CSV files as people and their spreadsheets write them."""

from __future__ import annotations

import csv
import logging
import unicodedata
from typing import TYPE_CHECKING

from geounet.classes import NODATA, LandClass, default_class
from geounet.errors import LabelError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

_log = logging.getLogger(__name__)
_MARKS = ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))
_SEPARATORS = ",;\t|"
_VALUE, _NAME, _COLOR = ("value", "code", "id"), ("name", "class", "label"), ("color", "colour")
"""What the columns are called; of several the first that is there."""
_FROM, _TO = ("from", "code", "name", "label", "value"), ("to", "class", "value")


def normal(text: str) -> str:
    """A name without what people do not mean to tell apart: case, blanks at its ends and in a row, Unicode's forms."""
    return " ".join(unicodedata.normalize("NFC", text).casefold().split())


def read_classes(path: Path) -> tuple[LandClass, ...]:
    """Classes of a CSV file with the columns `value`, `name` and, if wanted, `color`.

    Commas, semicolons, tabs or bars separate columns, whose names may be in any case; the text is UTF-8, UTF-16 with
    its mark, or Windows-1252. A colour is `#rrggbb`, `#rgb`, `#rrggbbaa` or one of CSS's names; without one a class
    gets its own.

    Raises:
        LabelError: the file is missing, has other columns, is empty, or holds a value twice.
    """
    columns, rows = _table(path)
    value, name, color = (_column(columns, names) for names in (_VALUE, _NAME, _COLOR))
    if value is None or name is None:
        found = ", ".join(map(repr, columns)) or "nothing"
        raise LabelError(f"class table {path} needs the columns value,name,color; found: {found}")
    try:
        classes = tuple(
            _class_of(row[value], row[name], row[color] if color else "", at) for at, row in enumerate(rows)
        )
    except LabelError as error:
        raise LabelError(f"class table {path}: {error}") from error
    values = [item.value for item in classes]
    if not classes or len(set(values)) != len(values):
        raise LabelError(f"class table {path} must hold each value once and at least one; found values {values}")
    names = [normal(item.name) for item in classes]
    twice = sorted({item.name for item in classes if names.count(normal(item.name)) > 1})
    if twice:
        _log.warning("class table %s: %s stand for several values", path, ", ".join(map(repr, twice)))
    return classes


def read_class_map(path: Path) -> dict[str, int]:
    """Codes and names as labels have them, see :func:`normal`, and the class of each, from a CSV file.

    The columns are `from` and `to`, or the first two whatever their names; dialects as of :func:`read_classes`.

    Raises:
        LabelError: the file is missing or empty, or a class is no whole number from 0 to 254.
    """
    columns, rows = _table(path)
    given, wanted = _column(columns, _FROM[:1]), _column(columns, _TO[:1])
    if given is None or wanted is None:
        if len(columns) < 2:  # noqa: PLR2004 - from, to
            raise LabelError(f"class map {path} needs the columns from,to; found: {', '.join(map(repr, columns))}")
        given, wanted = columns[:2]
    found: dict[str, int] = {}
    for row in rows:
        code = _whole(row[wanted])
        if code is None or not 0 <= code < NODATA:
            raise LabelError(
                f"class map {path}: {row[given]!r} is to be {row[wanted]!r}, which is no class from 0 to 254"
            )
        found[key_of(row[given])] = code
    if not found:
        raise LabelError(f"class map {path} is empty")
    return found


def key_of(value: object) -> str:
    """A label's value as class maps know it: whole numbers without decimals, names by :func:`normal`."""
    number = _whole(str(value))
    return normal(str(value)) if number is None else str(number)


def _table(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    """Columns and rows of a CSV file, stripped; the cells that a short row lacks are empty."""
    try:
        text = _decoded(path.read_bytes())
    except OSError as error:
        raise LabelError(f"class table {path} cannot be read: {error.strerror}") from error
    lines = [line for line in text.splitlines() if line.strip()]
    if not lines or "\0" in text:
        raise LabelError(
            f"class table {path} is {'no text' if lines else 'empty'}; it needs the columns value,name,color"
        )
    separator = max(_SEPARATORS, key=lines[0].count)
    columns, *rows = csv.reader(lines, delimiter=separator)
    columns = [column.strip() for column in columns]
    cells = ([cell.strip() for cell in row] + [""] * len(columns) for row in rows)
    return columns, [dict(zip(columns, row, strict=False)) for row in cells]


def _decoded(data: bytes) -> str:
    encoding = next((name for mark, name in _MARKS if data.startswith(mark)), None)
    for name in (encoding,) if encoding else ("utf-8", "cp1252"):
        try:
            return data.decode(str(name))
        except UnicodeDecodeError:
            continue
    return "\0"


def _column(columns: Sequence[str], names: Sequence[str]) -> str | None:
    known: Mapping[str, str] = {column.lower(): column for column in columns}
    return next((known[name] for name in names if name in known), None)


def _whole(text: str) -> int | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return int(number) if number.is_integer() else None


def _class_of(value: str, name: str, color: str, position: int) -> LandClass:
    code = _whole(value)
    if code is None:
        raise LabelError(f"row {position + 1} has the value {value!r}; classes are whole numbers from 0 to 254")
    if not name:
        raise LabelError(f"the class of value {code} has no name")
    return LandClass(code, name, _color(color) if color else default_class(code, position).color)


def _color(text: str) -> str:
    """As `#rrggbb`; how opaque a colour is counts for nothing."""
    from matplotlib.colors import to_hex

    try:
        return to_hex(text.lower()).lower()
    except ValueError:
        raise LabelError(f"{text!r} is no colour; write #rrggbb or a name such as blue") from None
