"""Scenes: the one module that opens rasters. Windows in, arrays and a valid mask out.

Beyond its edge a scene is continued by one fixed rule, mirror reflection about the outermost pixels, so a pixel near
the edge does not depend on the tiling either.
"""

from __future__ import annotations

import math
import threading
import warnings
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import rasterio
import rasterio.errors
import rasterio.windows
from rasterio.enums import ColorInterp, MaskFlags, Resampling
from rasterio.env import get_gdal_config, set_gdal_config
from rasterio.vrt import WarpedVRT

from geounet.errors import SceneError, UnreachableError
from geounet.grid import Window
from geounet.raster.opening import AS_IS, Opening, placed, placing
from geounet.raster.reflection import continued, reflected
from geounet.raster.remote import is_remote, over_network, persistently, public_name, public_text, stem_of
from geounet.raster.validity import valid_mask

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from affine import Affine
    from numpy.typing import NDArray

    Values = NDArray[Any]
    Mask = NDArray[np.bool_]


class Screen(Protocol):
    """What hides pixels of a scene; see :mod:`geounet.raster.screens`."""

    @property
    def key(self) -> list[Any]:
        """What tells it from others, as JSON."""

    def anywhere(self) -> Screen:
        """As :attr:`Scene.anywhere`."""

    def hidden(self, like: Scene, window: Window) -> Mask:
        """Whether each pixel of a window within the scene is hidden: `(height, width)`."""

    def hidden_overview(self, like: Scene, shape: tuple[int, int]) -> Mask:
        """Whether each pixel of the whole scene in few pixels is hidden."""


@dataclass(frozen=True, slots=True)
class Scene:
    """One raster and the bands that are read from it: everything about it but its pixels."""

    path: str
    """What GDAL opens."""
    height: int
    """Rows."""
    width: int
    """Columns."""
    bands: tuple[int, ...]
    """The bands that are read, from 1, in the order of the arrays."""
    band_names: tuple[str, ...]
    """A name for each of `bands`: its description, else its colour, else `band_<number>`."""
    count: int
    """Bands in the file, the ones that are not read among them."""
    dtype: str
    """NumPy's name of the file's data type."""
    transform: Affine
    """From (column, row) of a pixel's corner to coordinates; the identity where there is no georeference."""
    crs: rasterio.CRS | None
    """Coordinate reference system; None for pixel coordinates."""
    nodata: tuple[float | None, ...]
    """The nodata value of each of `bands`; None where there is none."""
    scales: tuple[float, ...]
    """Factor of each of `bands`: value = stored * scale + offset."""
    offsets: tuple[float, ...]
    """Summand of each of `bands`."""
    alpha: int | None
    """The band that says which pixels are valid, where it is not read as data."""
    has_mask: bool
    """Whether the file carries a mask of its own, internal or beside it."""
    georeference: str | None = None
    """What places it, see :class:`geounet.raster.opening.Opening`; None for its own transform."""
    unused_place: str = ""
    """What could place it and is not used, in words; empty where there is nothing."""
    mixed: bool = False
    """Whether `bands` are of several data types in the file; `dtype` is one that holds them all."""
    screens: tuple[Screen, ...] = ()
    """What hides pixels that hold values: they are not valid."""
    focus: Window | None = None
    """The pixels that an area of interest lies within; None for all."""
    remote: bool = False
    """Whether all pixels come over the network: by a URL, or as a VRT of nothing but remote rasters."""

    @property
    def extent(self) -> Window:
        """The whole scene."""
        return Window(0, 0, self.height, self.width)

    @property
    def singles(self) -> tuple[Scene, ...]:
        """A scene of each of `bands` alone, whose mask then knows nothing of the others' values."""
        return tuple(self.only([index]) for index in range(len(self.bands)))

    def only(self, chosen: Sequence[int]) -> Scene:
        """A scene of some of `bands`, by their places there, from 0."""
        names = ("bands", "band_names", "nodata", "scales", "offsets")
        parts: dict[str, Any] = {name: tuple(getattr(self, name)[index] for index in chosen) for name in names}
        return replace(self, **parts)

    @property
    def anywhere(self) -> Scene:
        """The same for a process in another folder: files are named absolutely."""
        path = (
            str(Path(self.path).absolute()) if not self.path.startswith("<") and Path(self.path).exists() else self.path
        )
        return replace(self, path=path, screens=tuple(screen.anywhere() for screen in self.screens))

    @property
    def georeferenced(self) -> bool:
        """Whether the transform leads to coordinates on the ground."""
        return self.crs is not None

    @property
    def rectilinear(self) -> bool:
        """Whether rows and columns run along the coordinate axes (south-up counts, rotated does not)."""
        return bool(self.transform.b == 0 and self.transform.d == 0)

    @property
    def name(self) -> str:
        """File name without folder and ending."""
        return stem_of(self.path) if is_remote(self.label) else Path(self.label).stem

    @property
    def label(self) -> str:
        """The path as it may be shown: without the credentials and signatures of a URL."""
        return public_name(self.path)


def load_scene(path: str | Path, bands: Sequence[int | str] | None = None, opening: Opening = AS_IS) -> Scene:
    """Describe the raster at `path`; no pixel is read.

    Args:
        path: anything GDAL opens.
        bands: the bands to read, by numbers from 1 or by names; by default all but an alpha band.
        opening: what the user says of it.

    Raises:
        SceneError: there is no such file, it is no raster, has no bands or not these, holds complex numbers, or has
            nothing to be placed by.
    """
    with (
        _open(str(path)) as dataset,
        placed(dataset, opening.georeference, public_name(str(path))) as there,
    ):
        return _describe(there, dataset, str(path), bands, opening)


def _number(dataset: Any, path: str, band: int | str) -> int:
    """The number of a band that may be given by its name."""
    if isinstance(band, int):
        return band
    names = [_band_name(dataset, number).lower() for number in dataset.indexes]
    if names.count(band.lower()) != 1:
        raise SceneError(f"{public_name(path)} has no band {band!r} or several; its bands are {', '.join(names)}")
    return names.index(band.lower()) + 1


def _describe(dataset: Any, source: Any, path: str, bands: Sequence[int | str] | None, opening: Opening) -> Scene:
    alphas = [b for b, kind in enumerate(dataset.colorinterp, 1) if kind is ColorInterp.alpha]
    alphas = [b for b in alphas if b > source.count] if opening.alpha_is_data else alphas
    given = tuple(_number(dataset, path, band) for band in bands or ())
    chosen = given or tuple(b for b in dataset.indexes if b not in alphas) or dataset.indexes
    missing = [band for band in chosen if band not in dataset.indexes]
    if missing or not chosen:
        raise SceneError(
            f"{public_name(path)} has {dataset.count} band(s), numbered from 1; there is no band {missing or 1}"
        )
    dtypes = {dataset.dtypes[band - 1] for band in chosen}
    if any(np.dtype(_numpy_name(dtype)).kind == "c" for dtype in dtypes):
        raise SceneError(
            f"{public_name(path)} holds complex numbers ({', '.join(dtypes)}); convert them to amplitudes first"
        )
    at = [band - 1 for band in chosen]
    return Scene(
        path=path,
        height=dataset.height,
        width=dataset.width,
        bands=chosen,
        band_names=tuple(_band_name(dataset, band) for band in chosen),
        count=source.count,
        dtype=str(np.result_type(*(_numpy_name(dtype) for dtype in dtypes))),
        transform=dataset.transform,
        crs=None if dataset.gcps[0] and dataset.transform.is_identity else dataset.crs or None,
        nodata=tuple(dataset.nodatavals[i] if opening.nodata is None else opening.nodata for i in at),
        scales=tuple(float(source.scales[i]) for i in at),
        offsets=tuple(float(source.offsets[i]) for i in at),
        alpha=alphas[-1] if alphas and not set(alphas) & set(chosen) else None,
        has_mask=_has_mask(dataset.mask_flag_enums[at[0]]),
        georeference=opening.georeference,
        unused_place="" if opening.georeference else placing(source),
        mixed=len(dtypes) > 1,
        remote=is_remote(path) or _only_points_to_remote(source, path),
    )


def _only_points_to_remote(dataset: Any, path: str) -> bool:
    """Whether a raster on disk is a VRT of remote ones; with local ones among them it is read like a local one."""
    sources = [name for name in dataset.files if name != path] if dataset.driver == "VRT" else []
    return bool(sources) and all(is_remote(name) for name in sources)


def _numpy_name(dtype: str) -> str:
    return {"complex_int16": "complex64", "complex_int32": "complex64"}.get(dtype, dtype)


def _has_mask(flags: Sequence[MaskFlags]) -> bool:
    return MaskFlags.per_dataset in flags and MaskFlags.alpha not in flags and MaskFlags.nodata not in flags


def _band_name(dataset: Any, band: int) -> str:
    description = dataset.descriptions[band - 1]
    kind = dataset.colorinterp[band - 1]
    named = kind in (
        ColorInterp.red,
        ColorInterp.green,
        ColorInterp.blue,
        ColorInterp.nir,
        ColorInterp.rededge,
    )
    return str(description or (kind.name if named else f"band_{band}"))


_CACHE = 64 << 20
"""Bytes that GDAL keeps of what it read: windows go over each block once or twice, and 5 % of memory are wasted."""


_holders = 0
_cache_before = 0
_holding = threading.Lock()


@contextmanager
def small_cache() -> Iterator[None]:
    """Hold GDAL to a small cache meanwhile, in all of this process; what it was before comes back with the last one."""
    global _holders, _cache_before  # noqa: PLW0603 - GDAL's setting is one of the process, too
    with _holding:
        if not _holders:
            _cache_before = get_gdal_config("GDAL_CACHEMAX")
            set_gdal_config("GDAL_CACHEMAX", min(_cache_before, _CACHE))
        _holders += 1
    try:
        yield
    finally:
        with _holding:
            _holders -= 1
            if not _holders:
                set_gdal_config("GDAL_CACHEMAX", _cache_before)


@contextmanager
def decoding_in_threads(count: int) -> Iterator[None]:
    """GeoTIFFs that are opened meanwhile, by this thread, decode the blocks of a window in so many threads."""
    with rasterio.Env(GDAL_NUM_THREADS=str(count)):
        yield


@contextmanager
def pixel_coordinates_allowed() -> Iterator[None]:
    """Rasterio warns of every raster without a georeference; here they are rasters like any other."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        yield


@contextmanager
def _open(path: str) -> Iterator[Any]:
    """A rasterio dataset; whatever GDAL says against it becomes one sentence."""
    attempt = partial(_dataset, path)
    try:
        dataset = persistently(path, attempt, attempt) if is_remote(path) else attempt()
    except rasterio.errors.RasterioIOError as error:
        local = "://" not in path and not path.startswith("/vsi")
        if local and not Path(path).exists():
            raise SceneError(f"{path} does not exist") from error
        raise SceneError(f"{public_name(path)} is not a raster that GDAL can open: {_one_line(error)}") from error
    # Closed by hand: rasterio's own context manager ties a dataset to the thread that opened it.
    with closing(dataset):
        if not dataset.count:
            raise SceneError(
                f"{public_name(path)} has no bands of its own; name one of its {len(dataset.subdatasets)} subdatasets"
            )
        yield dataset


def _dataset(path: str) -> Any:
    with pixel_coordinates_allowed():
        return rasterio.open(path)


def _one_line(error: BaseException) -> str:
    return public_text(" ".join(str(error.__cause__ or error).split()))


@contextmanager
def opened(scene: Scene) -> Iterator[Any]:
    """The scene's dataset, to read several windows with :func:`read` (one thread at a time).

    Raises:
        SceneError: the file has gone or cannot be opened.
    """
    with _open(scene.path) as dataset, placed(dataset, scene.georeference, scene.label) as there:
        yield there


def read(dataset: Any, scene: Scene, window: Window) -> tuple[Values, Mask]:
    """Values and valid mask of a window, which may reach beyond the scene and is then continued by reflection.

    Args:
        dataset: what :func:`opened` gave for `scene`.
        scene: the bands to read.
        window: in scene pixels.

    Returns:
        Values `(bands, height, width)` in float32, scaled to what they measure (NaN and nodata stay as they are), and
        a mask `(height, width)`, True where valid.

    Raises:
        SceneError: the file is damaged there.
    """
    stored, valid = read_stored(dataset, scene, window)
    return scaled(stored, scene), valid


def scaled(stored: Values, scene: Scene) -> Values:
    """What :func:`read_stored` gave as :func:`read` gives it: float32, in the unit that is measured; a new array."""
    values = np.empty(stored.shape, np.float32)
    scale_into(values, stored, scene)
    return values


def scale_into(values: NDArray[np.float32], stored: Values, scene: Scene) -> None:
    """Fill an array of the same shape, (bands, height, width), as :func:`scaled` does."""
    values[...] = stored
    scales, offsets = (np.array(part, np.float32)[:, None, None] for part in (scene.scales, scene.offsets))
    if (scales != 1).any() or offsets.any():
        values *= scales
        values += offsets


def read_stored(dataset: Any, scene: Scene, window: Window) -> tuple[Values, Mask]:
    """As :func:`read`, with the values as stored: in the file's own data type, unscaled."""
    rows = reflected(window.row, window.row_stop, scene.height)
    cols = reflected(window.col, window.col_stop, scene.width)
    if not window.pixels:
        empty = np.zeros((len(scene.bands), window.height, window.width), scene.dtype)
        return empty, np.zeros((window.height, window.width), np.bool_)
    top, left = int(rows.min()), int(cols.min())
    inner = Window(top, left, int(rows.max()) - top + 1, int(cols.max()) - left + 1)
    values, valid = _read_inside(dataset, scene, inner)
    if inner == window:
        return values, valid
    rows, cols = rows - top, cols - left
    return continued(values, rows, cols), continued(valid, rows, cols)


def _read_inside(dataset: Any, scene: Scene, window: Window) -> tuple[Values, Mask]:
    area = rasterio.windows.Window(window.col, window.row, window.width, window.height)
    return _read_safely(dataset, scene, f" near row {window.row}, column {window.col}", window=area)


def _read_safely(dataset: Any, scene: Scene, place: str, **how: Any) -> tuple[Values, Mask]:
    """As :func:`_read_masked`; over the network with patience, and what fails is one sentence.

    Raises:
        SceneError: the file is damaged there.
        UnreachableError: it is remote and cannot be read at present.
    """
    try:
        if scene.remote and not isinstance(dataset, WarpedVRT):
            first, again = partial(_read_masked, dataset, scene, **how), partial(_read_anew, scene, **how)
            return persistently(scene.path, first, again)
        with over_network(scene.remote):
            return _read_masked(dataset, scene, **how)
    except rasterio.errors.RasterioIOError as error:
        if scene.remote:
            raise UnreachableError(
                f"{scene.label} breaks off{place}, though its server answers ({_one_line(error)}); try again, and if "
                "it stays so download it and see whether it is damaged"
            ) from error
        raise SceneError(f"{scene.label} is damaged{place}: {_one_line(error)}") from error


def _read_anew(scene: Scene, **how: Any) -> tuple[Values, Mask]:
    """From a dataset of its own: an open one may hold what arrived of an answer that broke off."""
    with opened(scene) as dataset:
        return _read_masked(dataset, scene, **how)


def _read_masked(
    dataset: Any, scene: Scene, *, out_shape: tuple[int, int] | None = None, **where: Any
) -> tuple[Values, Mask]:
    """The bands as stored and their valid mask, from a window or decimated to an `out_shape`."""
    shapes = ({"out_shape": (len(scene.bands), *out_shape)}, {"out_shape": out_shape}) if out_shape else ({}, {})
    stored = (
        _read_mixed(dataset, scene, **where, **shapes[1])
        if scene.mixed
        else dataset.read(list(scene.bands), **where, **shapes[0])
    )
    valid = valid_mask(stored, scene.nodata)
    if scene.alpha is not None:
        valid &= dataset.read(scene.alpha, **where, **shapes[1]) > 0
    if scene.has_mask:
        valid &= dataset.read_masks(scene.bands[0], **where, **shapes[1]) > 0
    for screen in scene.screens:
        valid &= ~(screen.hidden_overview(scene, out_shape) if out_shape else screen.hidden(scene, _area(where)))
    return stored, valid


def _area(where: dict[str, Any]) -> Window:
    """The window in what GDAL is asked for."""
    area = where["window"]
    return Window(area.row_off, area.col_off, area.height, area.width)


def _read_mixed(dataset: Any, scene: Scene, **how: Any) -> Values:
    """Bands of several data types, in the one that holds them all."""
    return np.stack([dataset.read(band, **how).astype(scene.dtype) for band in scene.bands])


def palette_of(scene: Scene) -> dict[int, tuple[int, int, int]]:
    """Red, green and blue of each index of the first band's palette; empty where there is none."""
    with opened(scene) as dataset:
        if dataset.colorinterp[0] is not ColorInterp.palette:
            return {}
        return {index: (red, green, blue) for index, (red, green, blue, _alpha) in dataset.colormap(1).items()}


def acquired(scene: Scene) -> str:
    """When the file says that it was taken, or was made: `2020:07:13 10:30:00` as in TIFF; empty without a word."""
    with opened(scene) as dataset:
        taken = dataset.tags(ns="IMAGERY").get("ACQUISITIONDATETIME", "")
        return str(taken or dataset.tags().get("TIFFTAG_DATETIME", "")).replace(":", "-", 2)


def same_grid(one: Scene, other: Scene) -> bool:
    """Whether pixel (row, column) of both is the same place; without a CRS on either side the shape decides."""
    if (one.height, one.width) != (other.height, other.width):
        return False
    if one.crs is None or other.crs is None:
        return True
    corners = (0, 0), (one.width, 0), (0, one.height), (one.width, one.height)
    # In pixels: a hundredth of one is far below what any resampling could mend.
    away = [math.dist(~one.transform @ (other.transform @ corner), corner) for corner in corners]
    return one.crs == other.crs and max(away) < 1e-2  # noqa: PLR2004


@contextmanager
def aligned(scene: Scene, like: Scene) -> Iterator[tuple[Any, Scene]]:
    """`scene` on the pixels of `like`, by nearest neighbour where the grids differ: dataset and description to read.

    Raises:
        SceneError: the shapes differ and one of them has no CRS, or the file cannot be opened.
    """
    with opened(scene) as dataset:
        if same_grid(scene, like):
            yield dataset, scene
            return
        if scene.crs is None or like.crs is None:
            raise SceneError(
                f"{scene.label} has {scene.height} x {scene.width} pixels and {like.label} {like.height} x "
                f"{like.width}; without a CRS on both, their shapes must be equal"
            )
        # Outside the source there is nothing: an alpha band says so where no nodata value or mask can.
        marked = scene.alpha is not None or None not in scene.nodata
        with WarpedVRT(
            dataset,
            crs=like.crs,
            transform=like.transform,
            height=like.height,
            width=like.width,
            resampling=Resampling.nearest,
            add_alpha=not marked,
        ) as warped:
            yield (
                warped,
                replace(
                    scene,
                    height=like.height,
                    width=like.width,
                    transform=like.transform,
                    crs=like.crs,
                    alpha=scene.alpha if marked else warped.count,
                    has_mask=False,
                ),
            )


def read_overview(scene: Scene, height: int, width: int) -> tuple[Values, Mask]:
    """The whole scene in few pixels, by nearest neighbour, from its overviews where it has some.

    Args:
        scene: the bands to read.
        height: rows wanted, at most the scene's.
        width: columns wanted, at most the scene's.

    Returns:
        Values `(bands, height, width)` in float32 as :func:`read` gives them, and a mask `(height, width)`, True where
        valid.

    Raises:
        SceneError: the file has gone or is damaged.
    """
    shape = min(height, scene.height), min(width, scene.width)
    with opened(scene) as dataset:
        stored, valid = _read_safely(dataset, scene, "", out_shape=shape)
    return scaled(stored, scene), valid
