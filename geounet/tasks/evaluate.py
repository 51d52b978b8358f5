"""All that is asked about a prediction: pixels, outlines, areas, objects, seams."""

from __future__ import annotations

from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely

from geounet.classes import NODATA, LandClass
from geounet.data.labels import read_codes
from geounet.errors import LabelError
from geounet.metrics.assessment import Asked, Assessment, Objects
from geounet.metrics.evaluation import Comparison, compare, measure_seams, windows_of
from geounet.metrics.objects import score_objects
from geounet.metrics.sample_evaluation import SampleEvaluation, evaluate_sample
from geounet.metrics.sides import Places, Reading, Shapes, known_codes, open_sides
from geounet.tasks.vectorize import polygon_frame

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from geounet.metrics.seams import SeamQuality
    from geounet.metrics.sides import Side, Sides
    from geounet.raster.scene import Scene

    Mask = NDArray[np.bool_]
    Step = Callable[[str], Any]

_EQUAL_AREA = "EPSG:6933"
"""Cylindrical equal-area on WGS 84: for objects in degrees."""


@contextmanager
def _silent(_label: str) -> Iterator[None]:
    yield None


def evaluate(
    predicted: str | Path,
    reference: str | Path,
    asked: Asked | None = None,
    *,
    reading: Reading | None = None,
    resolution: float | None = None,
    command: str = "",
    step: Step = _silent,
) -> Assessment:
    """Measure how well a prediction agrees with a reference.

    Args:
        predicted: a class raster or a polygon file.
        reference: likewise, or a file of points.
        asked: what to measure.
        reading: class table and field, as for :func:`geounet.metrics.evaluation.evaluate`.
        resolution: side of a pixel in the unit of the prediction's CRS, for two polygon files.
        command: to be kept with the result.
        step: called with what is done next, gives a context manager of a progress function or None.

    Raises:
        LabelError: nothing can be compared, see :func:`geounet.metrics.sides.open_sides`; or a class is asked for that
            neither side has.
        SceneError: a raster cannot be read.
    """
    asked, reading = asked or Asked(), reading or Reading()
    # First what may not be possible at all, and soon says so.
    seams = _seams(predicted, asked, reading.force, step)
    sides = open_sides(predicted, reference, reading, resolution)
    compared = None if sides.sampled else _compare(sides, reading, asked, step)
    sample = _sample(sides, reading, asked, step)
    evaluation = compared.evaluation if compared else sample.evaluation if sample else None
    if evaluation is None:
        raise TypeError("neither pixels nor points were compared")
    objects = _objects(sides, evaluation.classes, reading, asked, step) if asked.objects else None
    return Assessment(
        prediction=str(predicted),
        reference=str(reference),
        unit="points" if sides.sampled else "pixels",
        evaluation=evaluation,
        boundary=compared.boundary if compared else None,
        areas=sample.areas if sample else None,
        objects=objects,
        seams=seams,
        picture=compared.picture if compared else None,
        notes=(*sides.notes, *_notes(sample, objects, sampled=sides.sampled)),
        command=command,
        versions=_versions(),
    )


def _seams(predicted: str | Path, asked: Asked, force: bool, step: Step) -> SeamQuality | None:
    if not asked.seams:
        return None
    with step("seams") as progress:
        return measure_seams(predicted, asked.seams, offset=asked.seam_offset, force=force, progress=progress)


def _compare(sides: Sides, reading: Reading, asked: Asked, step: Step) -> Comparison:
    with step("pixels") as progress:
        return compare(sides, reading.classes, boundary=asked.boundary, picture=asked.picture, progress=progress)


def _sample(sides: Sides, reading: Reading, asked: Asked, step: Step) -> SampleEvaluation | None:
    if not (sides.sampled or asked.areas or asked.strata):
        return None
    with step("areas") as progress:
        return evaluate_sample(sides, reading.classes, strata=asked.strata, force=reading.force, progress=progress)


def _objects(sides: Sides, classes: tuple[LandClass, ...], reading: Reading, asked: Asked, step: Step) -> Objects:
    if sides.sampled:
        raise LabelError(f"{sides.reference.path} holds points; objects are matched with polygons or a raster")
    chosen = choose_classes(classes, asked.object_classes)
    shapes = [_shapes(side, sides.like) for side in (sides.predicted, sides.reference)]
    known = known_codes(reading.classes)
    wanted = np.zeros(NODATA + 1, np.bool_)
    wanted[[item.value for item in chosen]] = True
    shapes = [Shapes(part.geometries[wanted[part.codes]], part.codes[wanted[part.codes]]) for part in shapes]
    covered = (
        _covered(shapes[0], sides.reference, sides.like, known),
        _covered(shapes[1], sides.predicted, sides.like, known_codes(())),
    )
    kept = [Shapes(part.geometries[there], part.codes[there]) for part, there in zip(shapes, covered, strict=True)]
    plane, project = _plane(sides.like)
    flat = [project(part.geometries) for part in kept]
    scores = []
    for item in chosen:
        one, other = (geometry[part.codes == item.value] for geometry, part in zip(flat, kept, strict=True))
        with step(f"objects of {item.name}") as progress:
            scores.append(score_objects(one, other, progress))
    return Objects(chosen, tuple(scores), plane, (int((~covered[0]).sum()), int((~covered[1]).sum())))


def choose_classes(classes: Sequence[LandClass], wanted: Sequence[str]) -> tuple[LandClass, ...]:
    """Those of a table that go by these values or names; all where none is given.

    Raises:
        LabelError: there is no such class.
    """
    chosen = tuple(item for item in classes if not wanted or {str(item.value), item.name} & set(wanted))
    missing = [name for name in wanted if not any(name in (str(item.value), item.name) for item in chosen)]
    if missing:
        known = ", ".join(f"{item.value} ({item.name})" for item in classes)
        raise LabelError(f"there is no class {', '.join(missing)}; the classes are {known}")
    return chosen


def _shapes(side: Side, like: Scene) -> Shapes:
    """The objects of a side in the CRS of the grid: a raster's are its connected components (4 neighbours)."""
    if side.shapes is not None:
        return side.shapes
    # Whether it holds classes was asked when the sides were opened.
    frame = polygon_frame(Path(side.path), force=True)
    if frame.crs is not None and like.crs is not None:
        frame = frame.to_crs(like.crs.to_wkt())
    return Shapes(frame.geometry.to_numpy(), frame["class"].to_numpy(np.int64))


def _covered(objects: Shapes, other: Side, like: Scene, known: Mask) -> Mask:
    """Which objects lie on ground that the other side covers, by a point within each.

    A raster covers its pixels of a class that counts; of polygons nobody says where they were looked for, so that
    they are taken to cover their bounding box.
    """
    points = shapely.point_on_surface(objects.geometries)
    if other.shapes is not None:
        return np.asarray(shapely.intersects(points, shapely.box(*other.shapes.bounds)))
    if other.pair is None:
        raise TypeError("points cover no ground")
    places, covered = Places.on(like, points), np.zeros(len(points), np.bool_)
    for window in windows_of(like, None):
        which, at = places.within(window)
        if which.size:
            covered[which] = known[read_codes(other.pair, window)[at]]
    return covered


def _plane(like: Scene) -> tuple[str, Callable[[NDArray[Any]], NDArray[Any]]]:
    """What objects are measured in, and the way there from the CRS of the grid."""
    if like.crs is None:
        return "pixel coordinates", lambda geometries: geometries
    if not like.crs.is_geographic:
        return f"the plane of {like.crs.to_string()[:40]}", lambda geometries: geometries
    from pyproj import CRS, Transformer

    transformer = Transformer.from_crs(CRS.from_wkt(like.crs.to_wkt()), _EQUAL_AREA, always_xy=True)

    def moved(points: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.stack(transformer.transform(*points.T), axis=1)

    return f"the equal-area plane {_EQUAL_AREA}", lambda geometries: shapely.transform(geometries, moved)


def _notes(sample: SampleEvaluation | None, objects: Objects | None, *, sampled: bool) -> Iterator[str]:
    if sample and sample.left_out:
        yield f"{sample.left_out} points were left out: beside the map, on its nodata, or in no class of the table"
    if sample and sample.areas.unsampled:
        share = sample.areas.unsampled / (sample.areas.total + sample.areas.unsampled)
        yield (
            f"no sample unit lies in strata that cover {share:.2%} of the map "
            f"({sample.areas.unsampled:,.1f} {sample.areas.unit}); the estimates are for the rest"
        )
    if sample and not sampled:
        yield (
            "the standard errors take every reference pixel for a sample unit of its own; neighbouring pixels are "
            "alike, so that the intervals are narrower than they should be"
        )
    if objects and any(objects.left_out):
        yield (
            f"{objects.left_out[0]} predicted and {objects.left_out[1]} reference objects lie on ground that the "
            "other side does not cover, and were left out"
        )


def _versions() -> dict[str, str]:
    import rasterio

    packages = {name: version(name) for name in ("geounet", "numpy", "rasterio", "shapely")}
    return packages | {"GDAL": str(rasterio.__gdal_version__), "GEOS": shapely.geos_version_string}
