"""geounet: satellite scenes to class rasters and polygons with a UNet, tiled without a trace."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from geounet.errors import GeounetError, LabelError, ModelError, OutputError, SceneError

if TYPE_CHECKING:
    from geounet.arrays import open_product, open_scene

__all__ = [
    "GeounetError",
    "LabelError",
    "ModelError",
    "OutputError",
    "SceneError",
    "open_product",
    "open_scene",
]


def __getattr__(name: str) -> Any:
    """Import the functions for analysis when they are asked for: rasterio and xarray take their time (PEP 562)."""
    if name in ("open_product", "open_scene"):
        from geounet import arrays

        return getattr(arrays, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
