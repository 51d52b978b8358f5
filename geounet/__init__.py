"""geounet: satellite scenes to class rasters and polygons with a UNet, tiled without a trace."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from geounet.errors import GeounetError, LabelError, ModelError, OutputError, SceneError

if TYPE_CHECKING:
    from geounet.arrays import open_product, open_scene
    from geounet.tasks.change import change
    from geounet.tasks.clean import clean
    from geounet.tasks.evaluate import evaluate
    from geounet.tasks.export import export
    from geounet.tasks.info import info
    from geounet.tasks.monitor import monitor
    from geounet.tasks.mosaic import mosaic
    from geounet.tasks.predict import predict
    from geounet.tasks.product import product
    from geounet.tasks.rasterize import rasterize
    from geounet.tasks.report import report
    from geounet.tasks.run import run
    from geounet.tasks.stack import stack
    from geounet.tasks.status import status
    from geounet.tasks.tile import tile
    from geounet.tasks.train import train
    from geounet.tasks.vectorize import vectorize

__all__ = [
    "GeounetError",
    "LabelError",
    "ModelError",
    "OutputError",
    "SceneError",
    "change",
    "clean",
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

_ERRORS = {name for name in __all__ if name.endswith("Error")}
_FOR_ANALYSIS = {"open_product", "open_scene"}


def __getattr__(name: str) -> Any:
    """Import the verbs when they are asked for: torch, rasterio and xarray take their time (PEP 562)."""
    if name in _FOR_ANALYSIS:
        return getattr(importlib.import_module("geounet.arrays"), name)
    if name in set(__all__) - _ERRORS:
        return getattr(importlib.import_module(f"geounet.tasks.{name}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
