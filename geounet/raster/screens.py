"""What of a scene does not count, though its bands hold values there: clouds and the like, or all outside an area."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import rasterio.windows

from geounet.grid import Window
from geounet.raster.scene import Scene, aligned

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from geounet.raster.burning import Outlines

    Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class RasterScreen:
    """Pixels that a band of a raster marks, by nearest neighbour, and those around them."""

    scene: Scene
    """The raster, with one band."""
    values: tuple[int, ...] = ()
    """Stored values that mark a pixel."""
    bits: int = 0
    """Bits of which one that is set marks a pixel. Without values and bits all valid values but 0 mark."""
    dilate: int = 0
    """Pixels of the screened scene around a marked one, by distance, that do not count either."""

    @property
    def key(self) -> list[Any]:
        """What tells it from others, as JSON."""
        return [self.scene.path, self.scene.bands, self.values, self.bits, self.dilate]

    def anywhere(self) -> RasterScreen:
        """As :attr:`geounet.raster.scene.Scene.anywhere`."""
        return replace(self, scene=self.scene.anywhere)

    def hidden(self, like: Scene, window: Window) -> Mask:
        """Whether each pixel of a window within `like` does not count: `(height, width)`; the same in any window."""
        around = window.padded(self.dilate).intersection(like.extent)
        area = rasterio.windows.Window(around.col, around.row, around.width, around.height)
        return self._dilated(self._marked(like, window=area), (1.0, 1.0))[window.within(around)]

    def hidden_overview(self, like: Scene, shape: tuple[int, int]) -> Mask:
        """The whole of `like` in few pixels, by nearest neighbour."""
        return self._dilated(self._marked(like, out_shape=shape), (like.height / shape[0], like.width / shape[1]))

    def _dilated(self, marked: Mask, sides: tuple[float, float]) -> Mask:
        """With what lies around, in pixels of `sides` height and width of the screened scene's."""
        if not self.dilate or not marked.any():
            return marked
        from scipy.ndimage import distance_transform_edt

        return np.asarray(distance_transform_edt(~marked, sampling=sides) <= self.dilate)

    def _marked(self, like: Scene, **where: Any) -> Mask:
        with aligned(self.scene, like) as (dataset, scene):
            stored = dataset.read(scene.bands[0], **where)
            if self.values or self.bits:
                found = np.isin(stored, self.values)
                return found | ((stored.astype(np.int64) & self.bits) != 0) if self.bits else found
            marked = stored != 0
            if scene.nodata[0] is not None:
                marked &= stored != scene.nodata[0]
            if scene.alpha is not None:
                marked &= dataset.read(scene.alpha, **where) > 0
            return np.asarray(marked)


@dataclass(frozen=True, slots=True, eq=False)
class AreaScreen:
    """All pixels whose centre lies in none of some polygons."""

    path: str
    """Where they came from."""
    geometries: Any
    """Shapely polygons in the scene's CRS."""
    outlines: Outlines
    """The same on the scene's pixels, with code 1."""

    @property
    def key(self) -> list[Any]:
        """What tells it from others, as JSON."""
        import hashlib

        return [hashlib.sha256(self.outlines.edges.tobytes()).hexdigest()]

    def anywhere(self) -> AreaScreen:
        """Itself: it reads no file."""
        return self

    def hidden(self, like: Scene, window: Window) -> Mask:  # noqa: ARG002 - they lie on its pixels
        """Whether each pixel of a window lies outside: `(height, width)`; the same in any window."""
        from geounet.raster.burning import burn

        return np.asarray(burn(self.outlines, window, 0) == 0)

    def hidden_overview(self, like: Scene, shape: tuple[int, int]) -> Mask:
        """The whole of `like` in few pixels."""
        from geounet.raster.burning import burn, outlines

        frame = like.transform * like.transform.scale(like.width / shape[1], like.height / shape[0])
        drawn = outlines(self.geometries, np.ones(len(self.geometries), np.uint8), ~frame)
        return np.asarray(burn(drawn, Window(0, 0, *shape), 0) == 0)
