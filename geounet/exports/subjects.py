"""What is handed on: the rasters, polygons and class table of a product, a map, or a file of polygons."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from geounet.classes import LandClass, classes_from_values, default_class, joined
from geounet.errors import OutputError
from geounet.formats.reading import columns_of, read_values
from geounet.outputs import is_unfinished
from geounet.products.record import CONFIDENCE, RECORD, is_whole, read_record
from geounet.raster.class_raster import class_names, load_class_raster
from geounet.raster.cog import classes_of
from geounet.raster.scene import read_overview
from geounet.raster.styles import legend_of
from geounet.sources.polygon_files import is_polygons, split_layer

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from geounet.products.record import Product
    from geounet.raster.scene import Scene

_log = logging.getLogger(__name__)

_LOOK = 1024
"""Pixels along each side of what is read of a raster without a class table."""


@dataclass(frozen=True, slots=True)
class Subject:
    """One thing that is handed on."""

    name: str
    """The product's id; of a file its stem."""
    classes: Path | None
    """Class raster, where there is one."""
    confidence: Path | None
    """Probability of the class, where there is one."""
    polygons: Path | None
    """Polygon file, where there is one; polygons of a map without are traced when they are needed."""
    legend: tuple[LandClass, ...]
    """The classes, by value; empty where nothing is known of them."""
    scene: Path | None = None
    """The scene that was predicted, where it still lies where the record says."""


def find_subjects(names: Sequence[str | Path]) -> tuple[Subject, ...]:
    """What the names stand for, each once, in their order.

    Args:
        names: folders of products or of batches of them, class rasters, and polygon files.

    Raises:
        OutputError: a name stands for none of these, a product is unfinished, or two have one name.
        SceneError: a raster cannot be read.
        LabelError: a raster is none of classes, or a polygon file cannot be read.
    """
    found: dict[Path, Subject] = {}
    for name in names:
        for path, subject in _subjects_of(Path(name)):
            found.setdefault(path.resolve(), subject)
    called = [subject.name for subject in found.values()]
    twice = sorted({name for name in called if called.count(name) > 1})
    if twice:
        raise OutputError(f"{len(twice)} names stand for several things, such as {twice[0]}; hand them on one by one")
    return tuple(found.values())


def _subjects_of(path: Path) -> Iterable[tuple[Path, Subject]]:
    if path.name == RECORD:
        path = path.parent
    if path.is_dir():
        return [(folder, _of_product(folder)) for folder in _products_in(path)]
    if is_polygons(path):
        return [(path, _of_polygons(path))]
    if not path.exists():
        raise OutputError(f"{path} does not exist: name a product's folder, a class raster or a polygon file")
    return [(path, _of_map(path))]


def _products_in(folder: Path) -> list[Path]:
    if (folder / RECORD).exists():
        return [folder]
    found = sorted(path.parent for path in folder.glob(f"*/{RECORD}"))
    if not found:
        raise OutputError(
            f"{folder} holds no product: neither {RECORD} nor folders that have one; name a product, a class raster "
            "or a polygon file"
        )
    return found


def _of_product(folder: Path) -> Subject:
    if is_unfinished(folder / RECORD):
        raise OutputError(f"{folder} is an unfinished product: run it again first")
    found = read_record(folder)
    if found is None or not is_whole(found[0]):
        raise OutputError(f"{folder} holds no whole product: files that its record speaks of are missing; run it again")
    product = found[0]
    legend = classes_of(product.classes)
    return Subject(product.id, product.classes, folder / CONFIDENCE, product.polygons, legend, _scene_of(product))


def _scene_of(product: Product) -> Path | None:
    place = product.folder / product.scene
    return place.resolve() if "://" not in product.scene and place.is_file() else None


def _of_map(path: Path) -> Subject:
    scene = load_class_raster(path)
    table = classes_of(scene)
    names, legend = class_names(table), table or _guessed(scene)
    # A palette alone tells no names; what else names them, such as GDAL's sidecar, does.
    named = tuple(LandClass(item.value, str(names[item.value]), item.color) for item in legend)
    return Subject(path.stem, path, None, None, named)


def _guessed(scene: Scene) -> tuple[LandClass, ...]:
    """Classes of a raster without a table, by the values that are seen in a look at it."""
    values, valid = read_overview(scene, min(_LOOK, scene.height), min(_LOOK, scene.width))
    found = classes_from_values(np.unique(values[0][valid]).astype(int).tolist())
    _log.warning("%s has no class table: %d values that are seen in it have colours of ours", scene.label, len(found))
    return found


def complete_legend(legend: Sequence[LandClass], files: Sequence[Path]) -> tuple[LandClass, ...]:
    """A class table with all classes that polygons are of, those too that it did not name."""
    whole = {item.value: item for item in legend}
    for file in files:
        columns = columns_of(file)
        if "class" in columns:
            pairs = read_values(file, [name for name in ("class", "class_name") if name in columns])
            for position, value in enumerate(sorted(set(pairs) - set(whole))):
                whole[value] = _class_of(value, position, pairs, {})
    return tuple(item for _, item in sorted(whole.items()))


def _of_polygons(path: Path) -> Subject:
    columns = columns_of(path)
    legend: tuple[LandClass, ...] = ()
    if "class" in columns:
        wanted = [name for name in ("class", "class_name") if name in columns]
        pairs = read_values(path, wanted)
        colors = {item.value: item.color for item in legend_of(split_layer(path)[0].with_suffix(".qml"))}
        legend = tuple(_class_of(value, number, pairs, colors) for number, value in enumerate(sorted(pairs)))
    return Subject(path.stem, None, None, path, legend)


def _class_of(value: int, position: int, names: dict[int, str], colors: dict[int, str]) -> LandClass:
    usual = default_class(value, position)
    return LandClass(value, names[value] or usual.name, colors.get(value, usual.color))


def common_legend(subjects: Sequence[Subject]) -> tuple[LandClass, ...]:
    """The class table of all subjects together.

    Raises:
        LabelError: a value stands for several classes.
    """
    return joined((subject.name, subject.legend) for subject in subjects)
