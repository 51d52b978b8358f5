"""The share of pixels that another window size would change, by precision.

Blocks, workers, order and boxes change no bit; the window does by rounding, where two classes are as good as equal. In
bf16 and int8 the rounding is coarser. Measured on $GEOUNET_DATA/naip_three_years where it is set, else on a scene of
smooth noise, with an untrained network, whose classes are closer to each other than a trained one's.

    python tests/benchmarks/bench_windows.py [--quick]
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import rasterio
from common import Row, arguments, draw_model, draw_scene, report

from geounet.classes import NODATA
from geounet.tasks.predict import Engine, predict

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

WINDOWS = (640, 1024, 1536)


def pick_scene(folder: Path) -> tuple[Path, int]:
    """A scene and its number of bands."""
    place = os.environ.get("GEOUNET_DATA")
    real = sorted(Path(place, "naip_three_years").glob("*.tif")) if place else []
    if real:
        with rasterio.open(real[0]) as dataset:
            return real[0], dataset.count
    draw_scene(folder / "scene.tif", 2048, 2048)
    return folder / "scene.tif", 3


def classes_of(scene: Path, model: Path, out: Path, window: int, precision: str) -> NDArray[np.uint8]:
    """The class raster, with the exact halo."""
    how = Engine(window_size=window, precision=precision, runtime="openvino", halo=288)
    predict(scene, model, out, engine=how, overwrite=True)
    with rasterio.open(out) as dataset:
        return dataset.read(1)


def main() -> None:
    """Compare each window size with the first."""
    given = arguments(__doc__).parse_args()
    sizes = WINDOWS[:2] if given.quick else WINDOWS
    rows = []
    with tempfile.TemporaryDirectory(dir=given.folder) as name:
        folder = Path(name)
        scene, bands = pick_scene(folder)
        draw_model(folder / "m.safetensors", bands, encoder="resnet18", resolution=None)
        for precision in ("fp32", "bf16", "int8"):
            first, *others = (
                classes_of(scene, folder / "m.safetensors", folder / "c.tif", size, precision) for size in sizes
            )
            for size, other in zip(sizes[1:], others, strict=True):
                share = float((first != other)[first != NODATA].mean())
                rows.append(Row(f"{precision}, windows of {size} against {sizes[0]} px", 1e6 * share, "ppm"))
    report("windows", f"class pixels that another window size changes, {scene.name}", rows, given)


if __name__ == "__main__":
    main()
