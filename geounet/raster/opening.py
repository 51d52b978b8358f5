"""What a user says of a raster that the file does not say, or says wrongly: no data, alpha, its place."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rasterio.enums import Resampling
from rasterio.vrt import WarpedVRT

from geounet.errors import SceneError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

GEOREFERENCE = ("gcp", "rpc")
"""What can place a raster that has no affine transform: ground control points, rational polynomial coefficients."""


@dataclass(frozen=True, slots=True)
class Opening:
    """How a raster is opened."""

    nodata: float | None = None
    """The stored value of no data in all bands; None for what the file says."""
    alpha_is_data: bool = False
    """Whether a band tagged alpha is read as data, and is no mask."""
    georeference: str | None = None
    """One of :data:`GEOREFERENCE`: the raster is warped to the grid that GDAL proposes; None leaves it in pixels."""
    masks: tuple[str, ...] = ()
    """What hides pixels, see :func:`geounet.sources.masks.screen_of`."""
    mask_dilate: int = 0
    """Pixels around what masks hide that are hidden too."""
    aoi: str | None = None
    """A polygon file: what lies outside its polygons is hidden."""
    resolution: float | str | None = None
    """Metres of a pixel that the scene is brought to, or `model` for the model's; None leaves it as it is."""

    def __post_init__(self) -> None:
        if self.georeference not in (None, *GEOREFERENCE):
            raise ValueError(f"a raster is placed by {' or '.join(GEOREFERENCE)}, not {self.georeference!r}")

    @property
    def anywhere(self) -> Opening:
        """The same for a process in another folder: files are named absolutely."""
        return self._renamed(lambda path: str(path.absolute()))

    @property
    def without_folders(self) -> Opening:
        """The same with no more than the names of files, to be told from others wherever they lie."""
        return self._renamed(lambda path: path.name)

    def _renamed(self, name_of: Callable[[Path], str]) -> Opening:
        def named(text: str) -> str:
            return name_of(Path(text)) if Path(text).is_file() else text

        parts = [spec.partition(":") for spec in self.masks]
        masks = tuple(named(file) + colon + rest for file, colon, rest in parts)
        return replace(self, masks=masks, aoi=None if self.aoi is None else named(self.aoi))


AS_IS = Opening()
"""As the file says."""


def placing(dataset: Any) -> str:
    """What could place a rasterio dataset that has no transform of its own, in words; empty where nothing could."""
    if not dataset.transform.is_identity:
        return ""
    points, _crs = dataset.gcps
    if points:
        return f"{len(points)} ground control points"
    if dataset.rpcs:
        return "RPCs"
    return "geolocation arrays" if dataset.tags(ns="GEOLOCATION") else ""


@contextmanager
def placed(dataset: Any, georeference: str | None, label: str) -> Iterator[Any]:
    """A rasterio dataset on the grid where its control points or coefficients place it; itself where none is asked for.

    The nearest pixel counts, so that no value is mixed and classes stay classes; GDAL's exact transformation is used,
    which does not depend on the window that is read.

    Raises:
        SceneError: it has none of them.
    """
    if georeference is None:
        yield dataset
        return
    points, crs = dataset.gcps
    if (georeference == "gcp" and not points) or (georeference == "rpc" and not dataset.rpcs):
        what = "ground control points" if georeference == "gcp" else "RPCs"
        raise SceneError(f"{label} has no {what}; leave --georeference out")
    target = crs if georeference == "gcp" and crs else "EPSG:4326"
    marked = None not in dataset.nodatavals
    with WarpedVRT(
        dataset,
        src_crs=target,
        crs=target,
        resampling=Resampling.nearest,
        tolerance=0.0,
        add_alpha=not marked,
    ) as warped:
        yield warped
