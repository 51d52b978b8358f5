"""The two sides of a comparison, rasters or polygons, on the pixels of one of them."""

from __future__ import annotations

import logging
import operator
from dataclasses import dataclass
from dataclasses import field as field_of
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely

from geounet.classes import NODATA
from geounet.data.labels import Pair, in_crs_of, polygons_near
from geounet.data.polygon_classes import codes_of, mapped
from geounet.errors import LabelError
from geounet.raster.class_raster import load_class_raster
from geounet.raster.placement import bounds_of
from geounet.raster.scene import Scene
from geounet.sources.polygon_files import is_polygons, read_polygons

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from geounet.classes import LandClass
    from geounet.grid import Window

    Bounds = tuple[float, float, float, float]

_log = logging.getLogger(__name__)

_POINT = 0
"""What shapely numbers points."""


@dataclass(frozen=True, slots=True, eq=False)
class Shapes:
    """Polygons or points of a file."""

    geometries: NDArray[Any]
    """`(n,)` shapely geometries in the CRS of the grid, valid, not empty."""
    codes: NDArray[np.int64]
    """`(n,)`: their classes, 0 to 254."""

    @property
    def bounds(self) -> Bounds:
        """Minimum x, minimum y, maximum x, maximum y."""
        left, bottom, right, top = (float(value) for value in shapely.total_bounds(self.geometries))
        return left, bottom, right, top


@dataclass(frozen=True, slots=True, eq=False)
class Side:
    """A raster or a file of polygons or points, on the pixels of a grid."""

    path: str
    """Where it is."""
    pair: Pair | None
    """It on the grid's pixels; None for points, which have no pixels."""
    shapes: Shapes | None = None
    """For a polygon file, and for points."""


@dataclass(frozen=True, slots=True, eq=False)
class Sides:
    """What is compared."""

    like: Scene
    """The raster whose pixels are compared; for two polygon files a raster that there is no file of."""
    predicted: Side
    """The prediction."""
    reference: Side
    """The reference."""
    notes: tuple[str, ...] = ()
    """What a reader of the scores should know of how they came about, a sentence each."""

    @property
    def sampled(self) -> bool:
        """Whether the reference is a sample of points."""
        return self.reference.pair is None


@dataclass(frozen=True, slots=True, eq=False)
class Places:
    """Points on the pixels of a grid."""

    row: NDArray[np.int64]
    """`(n,)`; it may lie beyond the grid."""
    col: NDArray[np.int64]
    """Likewise."""

    @classmethod
    def on(cls, like: Scene, points: NDArray[Any]) -> Places:
        """Of shapely points in the CRS of the grid."""
        xy = shapely.get_coordinates(points)
        to_pixels = ~like.transform
        col = to_pixels.a * xy[:, 0] + to_pixels.b * xy[:, 1] + to_pixels.c
        row = to_pixels.d * xy[:, 0] + to_pixels.e * xy[:, 1] + to_pixels.f
        return cls(np.floor(row).astype(np.int64), np.floor(col).astype(np.int64))

    def within(self, window: Window) -> tuple[NDArray[np.int64], tuple[NDArray[np.int64], NDArray[np.int64]]]:
        """Which of the points a window holds, and their rows and columns in it."""
        inside = (self.row >= window.row) & (self.row < window.row_stop)
        inside &= (self.col >= window.col) & (self.col < window.col_stop)
        which = np.flatnonzero(inside)
        return which, (self.row[which] - window.row, self.col[which] - window.col)


@dataclass(frozen=True, slots=True)
class Reading:
    """How polygons become classes of pixels."""

    classes: tuple[LandClass, ...] = ()
    """The class table."""
    field: str | None = None
    """The polygons' field with the class; by default as in training."""
    all_touched: bool = False
    """Whether a polygon counts on all pixels that it touches, not only where it holds the centre."""
    class_map: Mapping[str, int] = field_of(default_factory=dict)
    """The class of a code or name that polygons have; see :func:`geounet.class_tables.read_class_map`."""
    force: bool = False
    """Whether a raster counts as classes, whatever it says of itself."""


def open_sides(
    predicted: str | Path, reference: str | Path, reading: Reading, resolution: float | None = None
) -> Sides:
    """Bring two sides to one grid: the prediction's, or the reference's if the prediction is polygons.

    Args:
        predicted: a class raster or a polygon file.
        reference: likewise, or a file of points with a class each.
        reading: of polygons and points.
        resolution: side of a pixel, in the unit of the prediction's CRS, for two polygon files.

    Raises:
        LabelError: both are polygons and there is no resolution, a raster holds no classes, they do not overlap, or the
            prediction is points.
        SceneError: a raster cannot be read, or has several bands.
    """
    frames = {path: repaired(_read(path, reading), path) for path in (predicted, reference) if is_polygons(path)}
    notes = tuple(note for _, note in frames.values() if note)
    for note in notes:
        _log.warning("%s", note)
    tables = {path: frame for path, (frame, _) in frames.items()}
    if predicted in tables and _all_points(tables[predicted]):
        raise LabelError(f"{predicted} holds points; points can be the reference, a prediction covers ground")
    like = _grid(predicted, reference, tables, resolution, reading.force)
    first, second = (_side(path, like, tables.get(path), reading) for path in (predicted, reference))
    return Sides(like, first, second, notes)


def _read(path: str | Path, reading: Reading) -> Any:
    return mapped(read_polygons(path), path, reading.field, reading.class_map)


def repaired(frame: Any, path: str | Path) -> tuple[Any, str]:
    """A GeoDataFrame with valid geometries only, and a sentence on what had to be repaired or left out; or none."""
    there = ~(frame.geometry.isna() | frame.geometry.is_empty)
    kept = frame[there]
    wrong = ~kept.geometry.is_valid
    if wrong.any():
        kept = kept.copy()
        mended = shapely.make_valid(kept.geometry[wrong].to_numpy(), method="structure", keep_collapsed=False)
        kept.loc[wrong, kept.geometry.name] = mended
        kept = kept[~kept.geometry.is_empty]
    told = [
        f"{count} of {len(frame)} geometries of {path} {what}"
        for count, what in (
            (int(wrong.sum()), "are invalid, crossing themselves for instance, and were repaired"),
            (len(frame) - int(there.sum()), "are empty and were left out"),
        )
        if count
    ]
    if not len(kept):
        raise LabelError(f"label file {path} is empty: it holds no polygon that covers anything")
    return kept, "; ".join(told)


def _all_points(frame: Any) -> bool:
    return bool((shapely.get_type_id(frame.geometry.to_numpy()) == _POINT).all())


def _grid(
    predicted: str | Path, reference: str | Path, frames: dict[Any, Any], resolution: float | None, force: bool
) -> Scene:
    if predicted not in frames:
        return load_class_raster(predicted, force)
    if reference not in frames:
        return load_class_raster(reference, force)
    if resolution is None:
        raise LabelError(
            f"{predicted} and {reference} are both polygons; one of the two must be a raster, or --resolution say how "
            "large the pixels are on which they are compared"
        )
    return _grid_of_polygons(predicted, reference, frames, resolution)


def _grid_of_polygons(predicted: str | Path, reference: str | Path, frames: dict[Any, Any], resolution: float) -> Scene:
    """Pixels over the ground that the bounds of two polygon files share."""
    from affine import Affine
    from rasterio import CRS

    crs = frames[predicted].crs
    other = frames[reference]
    other = other.to_crs(crs) if crs is not None and other.crs is not None else other
    bounds = _bounds(frames[predicted]), _bounds(other)
    if not _meet(*bounds):
        raise LabelError(_apart(reference, bounds[1], predicted, bounds[0]))
    left, bottom = (max(one, two) for one, two in zip(bounds[0][:2], bounds[1][:2], strict=True))
    right, top = (min(one, two) for one, two in zip(bounds[0][2:], bounds[1][2:], strict=True))
    # A grid with a corner at the origin: the same pixels whatever else is in the files.
    west, north = np.floor(left / resolution), np.ceil(top / resolution)
    return Scene(
        path=str(predicted),
        height=max(1, int(north - np.floor(bottom / resolution))),
        width=max(1, int(np.ceil(right / resolution) - west)),
        bands=(1,), band_names=("class",), count=1, dtype="uint8",
        transform=Affine(resolution, 0, west * resolution, 0, -resolution, north * resolution),
        crs=None if crs is None else CRS.from_wkt(crs.to_wkt()),
        nodata=(float(NODATA),), scales=(1.0,), offsets=(0.0,), alpha=None, has_mask=False,
    )  # fmt: skip


def _side(path: str | Path, like: Scene, frame: Any, reading: Reading) -> Side:
    if frame is not None:
        return _side_of_shapes(path, like, frame, reading)
    if str(path) == like.path:
        return Side(str(path), Pair(like, like))
    scene = load_class_raster(path, reading.force)
    bounds = _bounds_in(scene, like)
    if bounds is not None and not _meet(bounds, bounds_of(like)):
        raise LabelError(_apart(path, bounds, like.path, bounds_of(like)))
    return Side(str(path), Pair(like, scene))


def _side_of_shapes(path: str | Path, like: Scene, frame: Any, reading: Reading) -> Side:
    there = in_crs_of(like, frame)
    if not _meet(_bounds(there), bounds_of(like)):
        raise LabelError(_apart(path, _bounds(there), like.path, bounds_of(like)))
    codes = codes_of(there, path, reading.classes, reading.field)
    shapes = Shapes(there.geometry.to_numpy()[codes >= 0], codes[codes >= 0])
    if _all_points(frame):
        return Side(str(path), None, shapes)
    polygons = polygons_near(like, there, codes, str(path), reading.all_touched)
    return Side(str(path), Pair(like, polygons), shapes)


def _bounds(frame: Any) -> Bounds:
    left, bottom, right, top = (float(value) for value in frame.total_bounds)
    return left, bottom, right, top


def _bounds_in(scene: Scene, like: Scene) -> Bounds | None:
    """The scene's bounds in the CRS of `like`; None where one has no CRS, for then the shapes decide."""
    from rasterio.warp import transform_bounds

    if scene.crs is None or like.crs is None:
        return None
    bounds: Bounds = transform_bounds(scene.crs, like.crs, *bounds_of(scene))
    return bounds


def _meet(one: Bounds, other: Bounds) -> bool:
    """Whether two boxes share more than an edge, or a point lies in the other."""
    less = operator.le if one[0] == one[2] or one[1] == one[3] else operator.lt
    return bool(less(one[0], other[2]) and less(other[0], one[2]) and less(one[1], other[3]) and less(other[1], one[3]))


def _apart(path: str | Path, bounds: Bounds, other: str | Path, other_bounds: Bounds) -> str:
    return (
        f"{path} does not overlap {other}: in the CRS of the latter it covers {_rounded(bounds)}, the latter "
        f"{_rounded(other_bounds)} (minimum x, minimum y, maximum x, maximum y)"
    )


def _rounded(bounds: Bounds) -> str:
    return ", ".join(f"{value:.10g}" for value in bounds)


def known_codes(classes: Sequence[LandClass]) -> NDArray[np.bool_]:
    """`(256,)`: whether a code counts in the reference: those of the table, all but nodata without one."""
    known = np.full(NODATA + 1, not classes)
    known[[item.value for item in classes]] = True
    known[NODATA] = False
    return known
