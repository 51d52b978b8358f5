"""geounet: satellite scenes to class rasters and polygons with a UNet, tiled without a trace."""

from geounet.errors import GeounetError, LabelError, ModelError, OutputError, SceneError

__all__ = ["GeounetError", "LabelError", "ModelError", "OutputError", "SceneError"]
