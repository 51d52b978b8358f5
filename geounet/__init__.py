"""geounet: satellite scenes to class rasters and polygons with a UNet, tiled without a trace.

What stands in `__all__` is public, and changes by semantic versioning alone; everything else may change at any time.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from geounet.errors import GeounetError, LabelError, ModelError, OutputError, SceneError

if TYPE_CHECKING:
    from geounet.arrays import open_scene
    from geounet.engine.plan import Engine
    from geounet.raster.opening import Opening
    from geounet.tasks.change import change
    from geounet.tasks.clean import clean
    from geounet.tasks.distill import distill
    from geounet.tasks.evaluate import evaluate
    from geounet.tasks.export import export
    from geounet.tasks.info import info
    from geounet.tasks.monitor import monitor
    from geounet.tasks.mosaic import mosaic
    from geounet.tasks.open_product import OpenProduct, open_product
    from geounet.tasks.predict import predict
    from geounet.tasks.product import Recipe, product
    from geounet.tasks.rasterize import rasterize
    from geounet.tasks.report import report
    from geounet.tasks.run import run
    from geounet.tasks.stack import stack
    from geounet.tasks.status import status
    from geounet.tasks.tile import tile
    from geounet.tasks.train import train
    from geounet.tasks.vectorize import vectorize

__all__ = [
    "Engine",
    "GeounetError",
    "LabelError",
    "ModelError",
    "OpenProduct",
    "Opening",
    "OutputError",
    "Recipe",
    "SceneError",
    "change",
    "clean",
    "distill",
    "evaluate",
    "export",
    "info",
    "monitor",
    "mosaic",
    "open_product",
    "open_scene",
    "predict",
    "product",
    "rasterize",
    "report",
    "run",
    "stack",
    "status",
    "tile",
    "train",
    "vectorize",
]

_ELSEWHERE = {
    "Engine": "geounet.engine.plan",
    "OpenProduct": "geounet.tasks.open_product",
    "Opening": "geounet.raster.opening",
    "Recipe": "geounet.tasks.product",
    "open_scene": "geounet.arrays",
}
"""Where what is no verb is defined; a verb has a module of its name."""


def __getattr__(name: str) -> Any:
    """Import what is asked for: torch, rasterio and xarray take their time (PEP 562)."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(importlib.import_module(_ELSEWHERE.get(name, f"geounet.tasks.{name}")), name)
    if name in _ELSEWHERE:
        return found
    from geounet.calling import with_options

    globals()[name] = verb = with_options(found)
    return verb


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
