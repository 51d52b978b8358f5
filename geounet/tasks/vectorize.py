"""Class raster to polygons, in memory or to a file of any size."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import geopandas as gpd
import numpy as np
import pandas as pd
import pyarrow as pa
from pyproj import CRS

from geounet.errors import SceneError
from geounet.formats.batches import Encoded, decode, encode
from geounet.formats.vector_io import check_format, check_place, open_writer
from geounet.outlines.attributes import Meaning, Zonal, check_columns, to_columns
from geounet.outlines.ground import survey
from geounet.outlines.measures import measure
from geounet.outlines.polygons import BAND, take
from geounet.outlines.simplify import NOTHING, simplify_batches
from geounet.outlines.stitching import Raster
from geounet.outlines.streaming import raster_polygons
from geounet.outlines.strips import Touching, open_strips
from geounet.outputs import claimed
from geounet.raster.class_raster import class_names, load_band, load_class_raster
from geounet.raster.cog import classes_of
from geounet.raster.identity import request_hash
from geounet.raster.scene import load_scene

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
    from pathlib import Path

    from geounet.classes import LandClass
    from geounet.formats.fiboa import Fiboa
    from geounet.outlines.polygons import Polygons
    from geounet.raster.scene import Scene

    Columns = Callable[[pd.DataFrame], pd.DataFrame]

_log = logging.getLogger(__name__)

__all__ = ["Touching", "VectorSummary", "Zonal", "polygon_frame", "vectorize"]


@dataclass(frozen=True, slots=True)
class VectorSummary:
    """What came of vectorising a raster."""

    polygons: int
    """Polygons written."""
    pixels: int
    """Pixels they cover."""
    area_ha: float
    """Hectares they cover; NaN without a CRS."""
    hectares: Mapping[str, float] = field(default_factory=dict)
    """The same for each class, by its name."""


def vectorize(
    raster: Path,
    out: Path,
    *,
    confidence: Path | None = None,
    stats: Sequence[Zonal] = (),
    min_area: float = 0.0,
    connectivity: int = 4,
    touching: Touching | None = None,
    tile_size: int = 1024,
    workers: int | None = None,
    simplification: float | None = None,
    smooth: bool = False,
    fiboa: Fiboa | None = None,
    only: Collection[int] | None = None,
    columns: Columns | None = None,
    force: bool = False,
    overwrite: bool = False,
) -> VectorSummary:
    """Write the polygons of a class raster: :func:`polygon_frame` to a file, see :mod:`geounet.formats.vector_io`.

    Memory holds a few rows of tiles, a band of finished polygons, and those that are still open, whatever the
    raster's height. Where they are simplified or smoothed, which is done to all of them together, it also holds the
    attributes of all, and the vertices of their outlines as whole numbers.

    Args:
        raster: see :func:`polygon_frame`.
        out: the file; its ending names the format.
        confidence: see :func:`polygon_frame`.
        stats: see :func:`polygon_frame`.
        min_area: polygons of fewer hectares are left out, before any is simplified.
        connectivity: see :func:`polygon_frame`.
        touching: see :func:`polygon_frame`.
        tile_size: rows and columns worked on at once.
        workers: threads that trace; by default as many as there are processors.
        simplification: metres by which an outline may leave its course (:mod:`geounet.outlines.simplify`); or None.
        smooth: cut the corners of the pixels' stairs.
        fiboa: make the file a fiboa collection of the classes that are fields.
        only: values of the classes that polygons are made of; all by default.
        columns: what to write in place of the columns of :func:`polygon_frame` (a pandas frame without geometry).
        force: take the raster for one of classes, whatever it says of itself.
        overwrite: replace a file that exists.

    Raises:
        SceneError: a raster cannot be read, or the confidence does not fit the classes.
        LabelError: the raster is no class raster (see :func:`geounet.raster.class_raster.load_class_raster`), or holds
            values that are no classes.
        OutputError: `out` exists, cannot be written, or has an unknown ending.
    """
    check_format(out)
    plan = _plan(raster, confidence, stats, min_area, connectivity, touching, force)
    plan = replace(plan, only=None if only is None else frozenset(only))
    check_place(out, plan.crs)
    chosen = None if only is None else sorted(only)
    choices = (stats, min_area, connectivity, touching, simplification, smooth, fiboa, chosen)
    request = request_hash("vectorize", plan.inputs, choices)
    with claimed([out], request, overwrite):
        return _write(plan, out, tile_size, workers, simplification, smooth, fiboa, columns)


def _write(
    plan: _Plan,
    out: Path,
    tile_size: int,
    workers: int | None,
    simplification: float | None,
    smooth: bool,
    fiboa: Fiboa | None,
    columns: Columns | None,
) -> VectorSummary:
    count, pixels = 0, 0
    areas: dict[str, float] = {}
    # Simplified outlines that met in a corner may come to lie in two parts.
    multi = plan.connectivity != 4 or simplification is not None or smooth  # noqa: PLR2004
    with open_writer(out, crs=plan.crs, overwrite=True, multi=multi, classes=plan.classes, fiboa=fiboa) as writer:
        for batch in _encoded(plan, tile_size, workers, simplification, smooth):
            kept = batch if fiboa is None else _of_classes(batch, fiboa.fields)
            writer.write_encoded(kept if columns is None else replace(kept, attributes=columns(kept.attributes)))
            count += len(kept)
            pixels += int(kept.attributes["pixels"].sum())
            for name, found in kept.attributes.groupby("class_name", dropna=False)["area_ha"]:
                areas[str(name)] = areas.get(str(name), 0.0) + float(found.sum(skipna=False))
    return VectorSummary(count, pixels, sum(areas.values()), dict(sorted(areas.items())))


def _encoded(
    plan: _Plan, tile_size: int, workers: int | None, simplification: float | None, smooth: bool
) -> Iterator[Encoded]:
    """The polygons in batches, as they are found, or simplified together."""
    batches = (
        Encoded(columns, found.to_arrow(), found.boxes, frozenset(found.kinds.tolist()))
        for found, columns in _batches(plan, tile_size, workers)
    )
    if simplification is None and not smooth:
        yield from batches
        return
    scene, change = plan.scene, NOTHING
    frames = (decode(batch, plan.crs) for batch in batches)
    simplified = simplify_batches(
        frames, scene.transform, scene.height, scene.width, tolerance=simplification or 0.0, smooth=smooth
    )
    for simpler, changed in simplified:
        change += changed
        yield encode(simpler)
    _log.info("simplified: %s", change)


def _of_classes(batch: Encoded, values: frozenset[int]) -> Encoded:
    """Its polygons of these classes; all where none are named."""
    if not values:
        return batch
    kept = batch.attributes["class"].isin(values).to_numpy()
    return Encoded(batch.attributes[kept], batch.wkb.filter(pa.array(kept)), batch.boxes[kept], batch.kinds)


def polygon_frame(
    raster: Path,
    *,
    confidence: Path | None = None,
    stats: Sequence[Zonal] = (),
    min_area: float = 0.0,
    connectivity: int = 4,
    touching: Touching | None = None,
    tile_size: int = 1024,
    workers: int | None = None,
    force: bool = False,
) -> gpd.GeoDataFrame:
    """The polygons of a class raster, the same whatever the tile size and the number of workers.

    Args:
        raster: one band of whole numbers from 0 to 254; nodata belongs to no polygon.
        confidence: a raster on the same grid with a probability for each pixel: stored integers times the band's
            scale, or divided by 254 where an 8-bit band states no scale.
        stats: rasters to sum up by polygon.
        min_area: polygons of fewer hectares are left out.
        connectivity: 4 joins pixels that share a side, 8 also those that share a corner (multipolygons).
        touching: how fields of one class that touch are told apart, for 4-connectivity; None: they are not.
        tile_size: rows and columns worked on at once.
        workers: threads that trace; by default as many as there are processors.
        force: take the raster for one of classes, whatever it says of itself.

    Returns:
        One row a connected component, in the order of :func:`geounet.outlines.polygons.in_order` (in rasters of up to
        1024 rows and columns: raster order of their first pixels): `id` (from 1, counted after `min_area`), `class`,
        `class_name`, `pixels`, `area_ha`, `perimeter_m` (both on the ellipsoid, NaN without a CRS), `confidence` and
        `confidence_min` (mean and least probability, NaN where there is none), columns of `stats`, and `geometry`.

    Raises:
        SceneError: a raster cannot be read, the confidence does not fit the classes, there is a minimum area but
            no CRS, or two columns would have one name.
        LabelError: the raster holds values that are no classes.
    """
    plan = _plan(raster, confidence, stats, min_area, connectivity, touching, force)
    found, columns = zip(*_batches(plan, tile_size, workers), strict=True)
    geometry = np.concatenate([batch.geometry() for batch in found])
    return gpd.GeoDataFrame(pd.concat(columns, ignore_index=True), geometry=geometry, crs=plan.crs)


@dataclass(frozen=True, slots=True)
class _Plan:
    """What is done, before anything is."""

    scene: Scene
    """The class raster."""
    classes: tuple[LandClass, ...]
    """Its class table."""
    crs: CRS | None
    """As pyproj has it."""
    confidence: Scene | None
    """On the same grid."""
    zones: tuple[tuple[Zonal, Scene], ...]
    """What else is summed up."""
    min_area: float
    """Hectares."""
    connectivity: int
    """4 or 8."""
    touching: Touching | None
    """How touching fields are told apart, if they are."""
    only: frozenset[int] | None = None
    """The classes that polygons are made of; None for all."""

    @property
    def inputs(self) -> list[str]:
        """All files that are read."""
        boundary = [] if self.touching is None or self.touching.boundary is None else [str(self.touching.boundary)]
        return [self.scene.path, *(scene.path for scene in self.layers), *boundary]

    @property
    def layers(self) -> list[Scene]:
        """All rasters that are summed up."""
        return [*([] if self.confidence is None else [self.confidence]), *(scene for _, scene in self.zones)]


def _plan(
    raster: Path,
    confidence: Path | None,
    stats: Sequence[Zonal],
    min_area: float,
    connectivity: int,
    touching: Touching | None,
    force: bool = False,
) -> _Plan:
    scene = load_class_raster(raster, force)
    if min_area > 0 and scene.crs is None:
        raise SceneError(f"{raster} has no CRS, so there are no hectares; leave the minimum area of {min_area} ha out")
    zones = tuple((zone, load_scene(zone.path, None if zone.band is None else [zone.band])) for zone in stats)
    check_columns(zones)
    return _Plan(
        scene=scene,
        classes=classes_of(scene),
        crs=None if scene.crs is None else CRS.from_wkt(scene.crs.to_wkt()),
        confidence=None if confidence is None else _load_confidence(confidence, scene),
        zones=zones,
        min_area=min_area,
        connectivity=connectivity,
        touching=touching,
    )


def _load_confidence(path: Path, classes: Scene) -> Scene:
    scene = load_band(path)
    shapes = (scene.height, scene.width), (classes.height, classes.width)
    if shapes[0] != shapes[1] or not scene.transform.almost_equals(classes.transform, 1e-6):
        raise SceneError(
            f"{path} ({shapes[0][0]} x {shapes[0][1]} pixels) does not lie on the grid of {classes.path} "
            f"({shapes[1][0]} x {shapes[1][1]} pixels); confidence needs the same shape and transform"
        )
    return scene


def _batches(plan: _Plan, tile_size: int, workers: int | None) -> Iterator[tuple[Polygons, pd.DataFrame]]:
    """Polygons and their columns, at least one batch, which may be empty; ids go on from one to the next."""
    scene = plan.scene
    ground = survey(scene.transform, scene.height, scene.width, plan.crs)
    raster = Raster(scene.width, scene.transform, plan.connectivity, None if ground is None else ground.measure)
    meaning = Meaning(class_names(plan.classes), plan.confidence, plan.zones)
    first_id, left_out = 1, 0
    threads = workers or os.cpu_count() or 1
    with open_strips(scene, plan.layers, plan.touching, tile_size, threads, plan.only) as (readers, class_of_code):
        for batch in raster_polygons(
            readers,
            scene.height,
            raster,
            tile_size=tile_size,
            workers=threads,
            band=BAND,
        ):
            found = batch if ground is not None else _measured(batch, plan.crs)
            found = replace(found, classes=class_of_code[found.classes])
            if plan.min_area > 0:
                small = found.areas < plan.min_area * 1e4
                left_out += int(small.sum())
                found = take([found], np.flatnonzero(~small))
            yield found, to_columns(found, meaning, first_id)
            first_id += len(found)
    if left_out:
        count = left_out + first_id - 1
        _log.warning("%d of %d polygons have fewer than %g ha, and are left out", left_out, count, plan.min_area)


def _measured(found: Polygons, crs: CRS | None) -> Polygons:
    """With areas and lengths of the geometries, where the ground could not be surveyed."""
    hectares, metres = measure(found.geometry(), crs)
    return replace(found, areas=hectares * 1e4, lengths=metres)
