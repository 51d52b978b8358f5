"""Which labels belong to which image: by place and time where both have a place, else by name."""

from __future__ import annotations

import logging
import re
from calendar import monthrange
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from geounet.classes import NODATA
from geounet.data.labels import Pair, Polygons, in_crs_of, polygons_near, tell_unseen_of
from geounet.data.polygon_classes import codes_of, mapped, tell_shapes
from geounet.errors import LabelError
from geounet.raster.burning import outlines
from geounet.raster.opening import AS_IS, Opening
from geounet.raster.placement import bounds_of, outline_of, overlapping
from geounet.raster.remote import is_remote
from geounet.raster.scene import Scene, acquired, load_scene, palette_of, read_overview, same_grid
from geounet.sources.listing import RASTER_ENDINGS, list_scenes
from geounet.sources.polygon_files import POLYGON_ENDINGS, is_polygons, read_polygons
from geounet.sources.scenes import open_scene
from geounet.sources.stac import label_of, read_item

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from geounet.classes import LandClass

    Span = tuple[date, date]

_log = logging.getLogger(__name__)

_COLOR_BANDS = 3
_SAMPLE = 512
_NAMED = 5


@dataclass(frozen=True, slots=True)
class Reading:
    """How label files are read."""

    classes: Sequence[LandClass] = ()
    """The class table, needed for label pictures in colour and for polygons with class names."""
    label_field: str | None = None
    """The polygons' field with the class; the first of `class`, `value`, `label`, `code` by default."""
    background: int = NODATA
    """The code outside all polygons and label rasters; NODATA leaves that ground out."""
    all_touched: bool = False
    """Polygons label all pixels that they touch, not only those whose centre they hold."""
    class_map: Mapping[str, int] = field(default_factory=dict)
    """The class of a code or name that polygons have; see :func:`geounet.class_tables.read_class_map`."""
    instances: bool = False
    """Label rasters number their objects; the classes are those of :mod:`geounet.data.instances`."""


# --- files


def list_images(images: Iterable[Path | str], labels: Iterable[Path | str], pattern: str | None = None) -> list[str]:
    """The scenes that images stand for, without those that are the labels (in a folder below the images', say).

    Raises:
        SceneError: see :func:`geounet.sources.listing.list_scenes`.
        LabelError: nothing is left.
    """
    scenes, theirs = list_scenes(images, pattern), {Path(label).absolute() for label in labels}
    kept = [scene for scene in scenes if Path(scene).absolute() not in theirs]
    if not kept:
        raise LabelError(f"the images are the labels: {scenes[0]}; name two folders")
    return kept


def list_labels(paths: Iterable[Path | str]) -> tuple[Path | str, ...]:
    """The label files that paths stand for.

    A folder stands for the rasters and polygon files in it, in order of their names; a pattern with `*`, `?` or `[]`
    (`**` for folders within folders) for what it matches; a text file (`.txt`) for the paths in its lines, which are
    relative to it. All else stands for itself, such as a URL or a STAC item.

    Raises:
        LabelError: a folder, a pattern or a list holds no such file, or a list cannot be read.
    """
    return tuple(file for path in paths for file in _expanded(path))


def _expanded(given: Path | str) -> Sequence[Path | str]:
    if isinstance(given, str) and (is_remote(given) or given.startswith("/vsi")):
        return [given]
    path = Path(given)
    if path.is_dir():
        return _usable(f"folder {path}", path.iterdir())
    if path.suffix.lower() == ".txt":
        return _listed(path)
    if not path.exists() and re.search(r"[*?\[]", str(path)):
        anchor = Path(path.anchor)
        return _usable(f"pattern {path}", anchor.glob(str(path.relative_to(anchor))))
    return [path]


def _usable(what: str, found: Iterable[Path]) -> list[Path]:
    """Rasters and polygon files; all else goes with them or is none of ours."""
    files = [item for item in sorted(found) if item.suffix.lower() in RASTER_ENDINGS + POLYGON_ENDINGS]
    if not files:
        raise LabelError(f"{what} holds no raster and no polygon file")
    return files


def _listed(path: Path) -> list[Path | str]:
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise LabelError(f"list {path} cannot be read: {error}") from error
    named = [line for line in lines if line and not line.startswith("#")]
    files = [line if is_remote(line) else path.parent / line for line in named]
    if not files:
        raise LabelError(f"list {path} names no file; it has a path a line")
    return [file for item in files for file in _expanded(item)]


# --- times


def span_of(text: str) -> Span | None:
    """First and last day that a name such as `S2_20200713T1030`, `lc-2020-07` or `map_2020` tells; None without one."""
    day = re.search(r"(?<!\d)(19[5-9]\d|20\d\d)([-_.]?)(0[1-9]|1[0-2])\2(0[1-9]|[12]\d|3[01])(?!\d)", text)
    if day and int(day[4]) <= monthrange(int(day[1]), int(day[3]))[1]:
        one = date(int(day[1]), int(day[3]), int(day[4]))
        return one, one
    month = re.search(r"(?<!\d)(19[5-9]\d|20\d\d)[-_.]?(0[1-9]|1[0-2])(?!\d)", text)
    if month:
        year, number = int(month[1]), int(month[2])
        return date(year, number, 1), date(year, number, monthrange(year, number)[1])
    alone = re.search(r"(?<!\d)(19[5-9]\d|20\d\d)(?!\d)", text)
    return (date(int(alone[0]), 1, 1), date(int(alone[0]), 12, 31)) if alone else None


def _span(path: Path | str, scene: Scene | None) -> Span | None:
    item = read_item(path)
    found = span_of(item.taken[:10]) if item else span_of(Path(path).stem)
    return found or (span_of(acquired(scene)) if scene is not None else None)


def _agree(one: Span, other: Span) -> bool:
    return one[0] <= other[1] and other[0] <= one[1]


def _days(span: Span | None) -> str:
    return "" if span is None else str(span[0]) if span[0] == span[1] else f"{span[0]} to {span[1]}"


# --- labels


@dataclass(slots=True)
class _Label:
    """A label file, read once for all images."""

    path: Path | str
    span: Span | None
    scene: Scene | None = None
    frames: dict[str, Any] = field(default_factory=dict)
    codes: NDArray[np.int64] | None = None

    def frame_for(self, image: Scene) -> Any:
        """The polygons in the image's CRS."""
        wkt = image.crs.to_wkt() if image.crs else ""
        if wkt not in self.frames:
            self.frames[wkt] = in_crs_of(image, self.frames["as stored"])
        return self.frames[wkt]

    @property
    def placed(self) -> bool:
        """Whether it says where it lies; polygons without a CRS are in that of the image."""
        return self.scene is None or self.scene.crs is not None


def _load_label(given: Path | str, reading: Reading) -> _Label:
    item = read_item(given)
    path = Path(given) if item is None else Path(label_of(item))
    if item is not None:
        return replace(_load_label(path, reading), path=given, span=_span(given, None))
    if is_remote(str(given)):
        scene = load_scene(given)
        return _Label(given, _span(given, scene), scene)
    if is_polygons(path):
        frame = read_polygons(path)
        tell_shapes(frame, path)
        frame = mapped(frame, path, reading.label_field, reading.class_map)
        codes = codes_of(frame, path, reading.classes, reading.label_field)
        return _Label(path, _span(path, None), frames={"as stored": frame}, codes=codes)
    scene = load_scene(path)
    if not reading.instances:
        _tell_values(scene)
    return _Label(path, _span(path, scene), scene)


def _tell_values(label: Scene) -> None:
    """Say what of a label raster is no class, by a sample: it will be ground without a label."""
    if len(label.bands) >= _COLOR_BANDS:
        return
    values, valid = read_overview(label, _SAMPLE, _SAMPLE)
    found = values[0][valid]
    wrong = found[(found < 0) | (found > NODATA) | (found != np.trunc(found))]
    if wrong.size:
        some = ", ".join(f"{value:g}" for value in np.unique(wrong)[:_NAMED])
        _log.warning(
            "label %s: %.3g %% of its pixels hold no class from 0 to 254 but values such as %s; they are left out",
            label.label, 100 * wrong.size / found.size, some,
        )  # fmt: skip


def _key(path: Path | str) -> str:
    stem = Path(path).stem.lower()
    for ending in ("_labels", "_label", "_mask", "_classes"):
        stem = stem.removesuffix(ending)
    return stem


def pair_labels(
    images: Sequence[Path | str],
    labels: Sequence[Path | str],
    *,
    bands: Sequence[int | str] | None = None,
    opening: Opening = AS_IS,
    classes: Sequence[LandClass] = (),
    label_field: str | None = None,
    background: int = NODATA,
    all_touched: bool = False,
    instances: bool = False,
    class_map: Mapping[str, int] | None = None,
    partly: bool = False,
) -> tuple[Pair, ...]:
    """Join images with all label files that belong to them.

    An image with a place gets the labels that share ground with it: those of its own name, and those that bear no
    other image's name. Where dates tell several apart (of the file's name, else of its tags), those of another time
    are left out. Where the image or the label has no place, the name decides; one label file serves all images.
    Where label files contradict each other, polygons win over rasters, rasters that cover more of the image over
    those that cover less, and later files over earlier ones.

    Args:
        images: image files, URLs or STAC items.
        labels: label rasters, polygon files or STAC items.
        bands: the image bands to read, by numbers from 1 or by names.
        opening: what the user says of the images.
        classes: see :class:`Reading`.
        label_field: see :class:`Reading`.
        background: see :class:`Reading`.
        all_touched: see :class:`Reading`.
        instances: see :class:`Reading`.
        class_map: see :class:`Reading`.
        partly: images without a label are expected, and not named.

    Raises:
        LabelError: no image has a label, or a label file cannot be used.
        SceneError: an image cannot be opened.
    """
    reading = Reading(classes, label_field, background, all_touched, class_map or {}, instances)
    scenes = [open_scene(path, bands, opening) for path in images]
    files = [_load_label(path, reading) for path in labels]
    complaints: list[str] = []
    used: set[int] = set()
    pairs = []
    for image, chosen in zip(scenes, _choices(images, scenes, files), strict=True):
        fitting = [index for index in chosen if _fits(image, files[index], complaints)]
        pair = _joined(image, [files[index] for index in fitting], reading)
        if pair is None and partly:
            continue
        if pair is None:
            complaints.append(f"{image.label} has no label of its place or name; it is left out")
            continue
        used |= set(fitting)
        pairs.append(pair)
    for complaint in complaints:
        _log.warning("%s", complaint)
    if not pairs:
        raise LabelError(_no_pairs(images, labels, complaints))
    tell_unseen_of(label for pair in pairs for label in _polygons_of(pair))
    _tell_unused([file.path for index, file in enumerate(files) if index not in used], len(files))
    return tuple(pairs)


def _polygons_of(pair: Pair | None) -> Iterator[Polygons]:
    """The polygons among an image's labels."""
    while pair is not None:
        if isinstance(pair.label, Polygons):
            yield pair.label
        pair = pair.below


def _no_pairs(images: Sequence[Path | str], labels: Sequence[Path | str], complaints: Sequence[str]) -> str:
    return (
        f"no image overlaps a label: {len(images)} image(s) such as {images[0] if images else '(none)'} and "
        f"{len(labels)} label file(s) such as {labels[0] if labels else '(none)'}; labels must cover the ground of "
        "their image, or without a CRS have its name and shape or be one file for all"
        + (f" ({complaints[0]})" if complaints else "")
    )


def _tell_unused(paths: Sequence[Path | str], count: int) -> None:
    if paths:
        names = ", ".join(str(path) for path in paths[:_NAMED]) + (" ..." if len(paths) > _NAMED else "")
        _log.warning("%d of %d label file(s) belong to no image and are left out: %s", len(paths), count, names)


# --- which labels an image gets


def _choices(paths: Sequence[Path | str], images: Sequence[Scene], files: Sequence[_Label]) -> Iterator[list[int]]:
    """The indices of each image's labels, whatever they hold there."""
    owners = {_key(path) for path in paths}
    spans = [_span(path, image) for path, image in zip(paths, images, strict=True)]
    near = _near(images, files)
    for index, (path, image) in enumerate(zip(paths, images, strict=True)):
        own = [at for at, file in enumerate(files) if _key(file.path) == _key(path)]
        if image.crs is None:
            yield own or ([0] if len(files) == 1 else [])
            continue
        free = [at for at in near[index] if at not in own and _key(files[at].path) not in owners]
        loose = [at for at, file in enumerate(files) if not file.placed and (at in own or len(files) == 1)]
        here = [at for at in own if at in near[index]]
        yield sorted({*here, *_of_its_time(index, free, spans, near, files, bool(here)), *loose})


def _near(images: Sequence[Scene], files: Sequence[_Label]) -> list[set[int]]:
    """For each image the labels that share ground with it."""
    rasters = [at for at, file in enumerate(files) if file.scene is not None]
    near: list[set[int]] = [set() for _ in images]
    for index, at in overlapping(images, [scene for file in files if (scene := file.scene) is not None]):
        near[index].add(rasters[at])
    for index, image in enumerate(images):
        if image.crs is not None:
            near[index] |= {at for at, file in enumerate(files) if file.scene is None and _meets(image, file)}
    return near


def _meets(image: Scene, file: _Label) -> bool:
    left, bottom, right, top = bounds_of(image)
    other = file.frame_for(image).total_bounds
    return bool(left < other[2] and other[0] < right and bottom < other[3] and other[1] < top)


def _of_its_time(
    index: int, found: Sequence[int], spans: Sequence[Span | None], near: Sequence[set[int]],
    files: Sequence[_Label], settled: bool,
) -> list[int]:  # fmt: skip
    """Those labels of an image that are of its time, or of no other image's that shares their ground.

    Args:
        index: which image.
        found: labels of its ground.
        spans: the images' times.
        near: which labels share ground with each image.
        files: the labels.
        settled: whether the image has a label of its own name.
    """
    mine = spans[index]
    if mine is None:
        return list(found)
    timed = {at: span for at in found if (span := files[at].span) is not None}
    right = [at for at in found if at not in timed or _agree(mine, timed[at])]
    if settled or any(at in timed for at in right):
        return right
    taken = {at for at, span in timed.items() for other, time in enumerate(spans)
             if time is not None and at in near[other] and _agree(time, span)}  # fmt: skip
    off = [at for at in timed if at not in right and at not in taken]
    for at in off:
        _log.warning("labels %s are of %s, their image of %s", files[at].path, _days(timed[at]), _days(mine))
    return right + off


def _fits(image: Scene, file: _Label, complaints: list[str]) -> bool:
    """Whether the label can be brought to the image's pixels: without a CRS on both, only by equal shapes."""
    label = file.scene
    if label is None or (label.crs is not None and image.crs is not None) or same_grid(label, image):
        return True
    complaints.append(
        f"label {label.label} has {label.height} x {label.width} pixels and image {image.label} {image.height} x "
        f"{image.width}; without a CRS on both their shapes must be equal, so it is left out"
    )
    return False


# --- labels on an image's pixels


def _joined(image: Scene, files: Sequence[_Label], reading: Reading) -> Pair | None:
    """The image with its labels, the one that wins first; None where none of them meets it."""
    layers = [_layer(image, file, reading) for file in files]
    met = [pair for pair in layers if not _empty(pair)]
    ranked = sorted(met, key=_rank)
    pair = None
    for layer in ranked:
        pair = replace(layer, below=pair)
    if pair is None and layers:
        _log.warning("labels %s do not overlap %s", ", ".join(str(file.path) for file in files), image.label)
    return pair


def _empty(pair: Pair) -> bool:
    return not isinstance(pair.label, Scene) and not pair.label.outlines.codes.size


def _rank(pair: Pair) -> tuple[bool, float]:
    """What wins over what: polygons over rasters, then what covers more of the image (to a hundredth)."""
    if not isinstance(pair.label, Scene):
        return True, 0.0
    if pair.image.crs is None or pair.label.crs is None:
        return False, 1.0
    own = outline_of(pair.image)
    theirs = outline_of(pair.label, _crs(pair.image))
    return False, round(own.intersection(theirs).area / own.area, 2)


def _crs(scene: Scene) -> Any:
    from pyproj import CRS

    return None if scene.crs is None else CRS.from_wkt(scene.crs.to_wkt())


def _layer(image: Scene, file: _Label, reading: Reading) -> Pair:
    """One label file on an image's pixels.

    Raises:
        LabelError: it is a picture in colour, and there is no class table; or it does not number objects and should.
    """
    if reading.instances:
        return Pair(image, _instance_map(file), instances=True)
    if file.scene is None:
        frame, codes = file.frame_for(image), file.codes
        polygons = polygons_near(image, frame, np.asarray(codes), str(file.path), reading.all_touched)
        return Pair(image, polygons, background=reading.background)
    ground = None
    if reading.background != NODATA and not same_grid(file.scene, image):
        ground = outlines([outline_of(file.scene, _crs(image))], [1], ~image.transform)
    label = file.scene
    pair = Pair(image, label, background=reading.background, ground=ground)
    if len(label.bands) < _COLOR_BANDS:
        return replace(pair, indices=_by_palette(label, reading.classes))
    if not reading.classes:
        raise LabelError(f"label {file.path} is a picture in colour; --classes must say which colour is which class")
    colors = tuple((item.rgb, item.value) for item in reading.classes)
    return replace(pair, label=load_scene(label.path, label.bands[:_COLOR_BANDS]), colors=colors)


def _instance_map(file: _Label) -> Scene:
    scene = file.scene
    if scene is None or len(scene.bands) != 1 or np.dtype(scene.dtype).kind not in "iu":
        found = "polygons" if scene is None else f"{len(scene.bands)} band(s) of {scene.dtype}"
        raise LabelError(f"label {file.path} holds {found}; --instances needs one band of whole numbers, one an object")
    if 0 in scene.nodata:
        raise LabelError(
            f"label {file.path} calls 0 nodata, so it would have no background; write it without a nodata value "
            "(gdal_edit.py -unsetnodata)"
        )
    return scene


def _by_palette(label: Scene, classes: Sequence[LandClass]) -> tuple[tuple[int, int], ...]:
    """Index and code of a palette picture that holds all colours of the class table; nothing where it does not."""
    palette = palette_of(label) if classes else {}
    values = {item.rgb: item.value for item in classes}
    if not values or not values.keys() <= set(palette.values()):
        return ()
    return tuple((index, values[rgb]) for index, rgb in sorted(palette.items()) if rgb in values)
