"""How well a class map agrees with a reference: pixels counted window by window, scores from the counts.

The scores are the usual ones: intersection over union (Jaccard 1901), precision and recall (the user's and the
producer's accuracy, Congalton 1991), F1, overall accuracy, Cohen's kappa (1960).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from geounet.classes import NODATA, LandClass, default_class
from geounet.errors import LabelError
from geounet.grid import Grid
from geounet.labels import POLYGON_ENDINGS, Pair, Polygons, pair_on, read_codes, read_polygons
from geounet.placement import bounds_of
from geounet.scene import Scene, load_scene

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from geounet.grid import Window

    Codes = NDArray[np.integer[Any]]
    Counts = NDArray[np.int64]
    Scores = NDArray[np.float64]
    Bounds = tuple[float, float, float, float]

_WINDOW = 2048


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """Counts of pixels that have a class on both sides, and the scores that follow; a score of nothing is NaN."""

    classes: tuple[LandClass, ...]
    """The classes, in the order of the matrix."""
    matrix: Counts
    """`(classes, classes)` int64: rows are the reference, columns the prediction."""

    def __post_init__(self) -> None:
        wanted = (len(self.classes), len(self.classes))
        if self.matrix.shape != wanted:
            raise ValueError(f"a matrix of shape {self.matrix.shape} for {len(self.classes)} classes: needs {wanted}")

    @property
    def pixels(self) -> int:
        """All pixels that count."""
        return int(self.matrix.sum())

    @property
    def support(self) -> Counts:
        """Pixels of each class in the reference."""
        return np.asarray(self.matrix.sum(axis=1))

    @property
    def predicted(self) -> Counts:
        """Pixels of each class in the prediction."""
        return np.asarray(self.matrix.sum(axis=0))

    @property
    def agreed(self) -> Counts:
        """Pixels of each class that are so on both sides."""
        return np.diagonal(self.matrix)

    @property
    def iou(self) -> Scores:
        """Of each class: agreed / (support + predicted - agreed); NaN for a class that neither side has."""
        return _ratio(self.agreed, self.support + self.predicted - self.agreed)

    @property
    def precision(self) -> Scores:
        """Of each class: agreed / predicted; NaN where it is never predicted."""
        return _ratio(self.agreed, self.predicted)

    @property
    def recall(self) -> Scores:
        """Of each class: agreed / support; NaN where the reference has none."""
        return _ratio(self.agreed, self.support)

    @property
    def f1(self) -> Scores:
        """Of each class: 2 agreed / (support + predicted); NaN for a class that neither side has."""
        return _ratio(2 * self.agreed, self.support + self.predicted)

    @property
    def accuracy(self) -> float:
        """Share of the pixels on which both sides agree."""
        return float(_ratio(self.agreed.sum(), self.matrix.sum()))

    @property
    def mean_iou(self) -> float:
        """Mean of the classes' IoU, over the classes that either side has."""
        present = self.iou[~np.isnan(self.iou)]
        return float(present.mean()) if present.size else float("nan")

    @property
    def kappa(self) -> float:
        """Cohen's kappa: agreement beyond what chance gives with these class shares; NaN if all is one class."""
        total = float(self.matrix.sum())
        chance = float(_ratio(self.support.astype(np.float64) @ self.predicted, total * total))
        return float(_ratio(self.accuracy - chance, 1 - chance))

    def to_dict(self) -> dict[str, Any]:
        """All of it for JSON; NaN becomes None."""
        return {
            "pixels": self.pixels,
            "accuracy": _plain(self.accuracy),
            "mean_iou": _plain(self.mean_iou),
            "kappa": _plain(self.kappa),
            "classes": [self._class_to_dict(index) for index in range(len(self.classes))],
            "matrix": self.matrix.tolist(),
        }

    def _class_to_dict(self, index: int) -> dict[str, Any]:
        item = self.classes[index]
        scores = {"iou": self.iou, "precision": self.precision, "recall": self.recall, "f1": self.f1}
        counts = {"support": int(self.support[index]), "predicted": int(self.predicted[index])}
        known: dict[str, Any] = {"value": item.value, "name": item.name, "color": item.color}
        return known | counts | {name: _plain(values[index]) for name, values in scores.items()}


def _ratio(part: Any, whole: Any) -> Scores:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(np.equal(whole, 0), np.nan, np.true_divide(part, whole))


def _plain(score: float) -> float | None:
    return None if np.isnan(score) else float(score)


def confusion(reference: Codes, predicted: Codes, values: Sequence[int]) -> Counts:
    """Count pixels by reference and predicted class.

    Args:
        reference: class codes, integers of any shape.
        predicted: the same shape.
        values: the codes that count, each once; a pixel with another on either side (nodata) counts nowhere.

    Returns:
        `(len(values), len(values))` int64, rows reference, columns predicted, in the order of `values`.

    Raises:
        ValueError: the shapes differ.
    """
    if reference.shape != predicted.shape:
        raise ValueError(f"reference of shape {reference.shape}, prediction of shape {predicted.shape}")
    rows, cols = _places(reference, values), _places(predicted, values)
    size = len(values)
    counted = (rows < size) & (cols < size)
    flat = rows[counted] * size + cols[counted]
    return np.bincount(flat, minlength=size * size).reshape(size, size)


def _places(codes: Codes, values: Sequence[int]) -> Counts:
    """Where each code stands in `values`; `len(values)` for codes that do not."""
    order = np.argsort(values)
    ordered = np.append(np.asarray(values, np.int64)[order], np.iinfo(np.int64).max)
    near = np.searchsorted(ordered, codes.ravel())
    found = ordered[near] == codes.ravel()
    return np.where(found, np.append(order, len(values))[near], len(values))


def evaluate(
    predicted: str | Path,
    reference: str | Path,
    *,
    classes: Sequence[LandClass] = (),
    field: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Compare a class map with a reference, in memory that does not grow with their size.

    The comparison happens on the prediction's pixels, or on the reference's if the prediction is polygons; the other
    side is brought there by nearest neighbour (rasters) or by which polygon holds the pixel's centre. Nodata and
    ground without a polygon count nowhere on either side.

    Args:
        predicted: a class raster or a polygon file.
        reference: likewise; one of the two must be a raster.
        classes: the class table. Reference pixels of other values count nowhere; a value that only the prediction
            has is added to the table, so that it counts as the mistake it is. Without a table all values count.
        field: the polygons' field with the class; by default as in training.
        progress: called with windows done and windows in all.

    Raises:
        LabelError: both are polygons, a raster has several bands, they do not overlap, or no pixel has a class on
            both sides.
        SceneError: a raster cannot be read.
    """
    counts = _count(*_sides(predicted, reference, classes, field), progress)
    result = Evaluation(*_select(counts, classes))
    if not result.pixels:
        raise LabelError(
            f"no pixel has a class both in {predicted} and in {reference}: they overlap, but one is nodata or "
            "unlabelled wherever the other is not, or the reference holds none of the values "
            f"{', '.join(str(item.value) for item in classes) or '0 to 254'}"
        )
    return result


def _sides(
    predicted: str | Path, reference: str | Path, classes: Sequence[LandClass], field: str | None
) -> tuple[Scene, Pair, Pair]:
    """The raster whose pixels are compared, and prediction and reference on them."""
    if not _is_polygons(predicted):
        like = _class_raster(predicted)
        return like, Pair(like, like), _brought_to(like, reference, classes, field)
    if _is_polygons(reference):
        raise LabelError(f"{predicted} and {reference} are both polygons; one of the two must be a raster")
    like = _class_raster(reference)
    return like, _brought_to(like, predicted, classes, field), Pair(like, like)


def _is_polygons(path: str | Path) -> bool:
    return Path(path).suffix.lower() in POLYGON_ENDINGS


def _class_raster(path: str | Path) -> Scene:
    scene = load_scene(path)
    if len(scene.bands) > 1:
        raise LabelError(
            f"{path} has {len(scene.bands)} bands; a class raster has one, with a class code in each pixel"
        )
    return scene


def _brought_to(like: Scene, other: str | Path, classes: Sequence[LandClass], field: str | None) -> Pair:
    if _is_polygons(other):
        pair = pair_on(like, Path(other), classes, field, NODATA)
        # Only the polygons that meet the raster were kept; where they lie instead is read when it is needed.
        kept = isinstance(pair.label, Polygons) and pair.label.shapes
        bounds = None if kept else _bounds_of_polygons(Path(other), like)
    else:
        scene = _class_raster(other)
        pair, bounds = Pair(like, scene), _bounds_in(scene, like)
    if bounds is not None and not _meet(bounds, bounds_of(like)):
        raise LabelError(
            f"{other} does not overlap {like.path}: in the CRS of the latter it covers {_rounded(bounds)}, "
            f"the latter {_rounded(bounds_of(like))} (minimum x, minimum y, maximum x, maximum y)"
        )
    return pair


def _bounds_of_polygons(path: Path, like: Scene) -> Bounds:
    frame = read_polygons(path)
    if like.crs is not None and frame.crs is not None:
        frame = frame.to_crs(like.crs.to_wkt())
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
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _rounded(bounds: Bounds) -> str:
    return ", ".join(f"{value:.10g}" for value in bounds)


def _count(like: Scene, predicted: Pair, reference: Pair, progress: Callable[[int, int], None] | None) -> Counts:
    """Confusion of all values 0 to 254, window by window."""
    windows = [tile.core for tile in Grid(like.extent, _WINDOW, _WINDOW).tiles()]
    counts = np.zeros((NODATA, NODATA), np.int64)
    near = [_nearby(pair) for pair in (reference, predicted)]
    for done, window in enumerate(windows, 1):
        codes = [read_codes(within(window), window) for within in near]
        counts += confusion(codes[0], codes[1], range(NODATA))
        if progress is not None:
            progress(done, len(windows))
    return counts


def _nearby(pair: Pair) -> Callable[[Window], Pair]:
    """The pair with only those of its polygons that come near a window, so that each window burns few."""
    label = pair.label
    if not isinstance(label, Polygons):
        return lambda _window: pair
    import shapely

    tree = shapely.STRtree([geometry for geometry, _ in label.shapes])

    def near(window: Window) -> Pair:
        # In order: where polygons overlap, the last one wins.
        found = np.sort(tree.query(shapely.box(*bounds_of(pair.image, window))))
        return replace(pair, label=replace(label, shapes=tuple(label.shapes[index] for index in found)))

    return near


def _select(counts: Counts, classes: Sequence[LandClass]) -> tuple[tuple[LandClass, ...], Counts]:
    """The table's rows and columns, and those of values that only the prediction has."""
    known = [item.value for item in classes] or np.flatnonzero(counts.any(axis=1)).tolist()
    more = [value for value in np.flatnonzero(counts[known].any(axis=0)).tolist() if value not in known]
    table = {item.value: item for item in classes}
    values = [*known, *more] if classes else sorted([*known, *more])
    named = tuple(table.get(value) or default_class(value, place) for place, value in enumerate(values))
    matrix = counts[np.ix_(values, values)]
    matrix[[value in more for value in values]] = 0
    return named, matrix
