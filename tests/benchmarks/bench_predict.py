"""Prediction from scene to COG beside the bare forward pass of the same network, in one run.

The yardstick is what people run: float32, contiguous, 512-pixel windows, no halo, no input or output. The ratio is
ours over it, in pixels of the scene a second; peers reach 0.25 to 0.37 on it.

    python tests/benchmarks/bench_predict.py [--side 2048] [--repeats 3]
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import rasterio
import torch
from affine import Affine

sys.path.insert(0, str(Path(__file__).parents[1]))
from untrained import make_model

from geounet.models.model_file import load_model
from geounet.predict import Engine, predict

WINDOW = 512


def draw_scene(path, side):
    """Three bands of smooth noise, deflated in tiles, as a satellite scene is."""
    random = np.random.default_rng(0)
    profile = {"driver": "GTiff", "height": side, "width": side, "count": 3, "dtype": "uint8", "crs": "EPSG:32633"}
    layout = {"tiled": True, "blockxsize": 512, "blockysize": 512, "compress": "deflate", "interleave": "pixel"}
    with rasterio.open(path, "w", transform=Affine(10, 0, 5e5, 0, -10, 5e6), **profile, **layout) as dataset:
        for row in range(0, side, WINDOW):
            for col in range(0, side, WINDOW):
                coarse = (
                    random.integers(20, 230, (3, 33, 33)).repeat(16, axis=1).repeat(16, axis=2)[:, :WINDOW, :WINDOW]
                )
                block = (coarse + random.integers(0, 20, coarse.shape)).astype(np.uint8)
                dataset.write(block, window=rasterio.windows.Window(col, row, WINDOW, WINDOW))


def forward_pass(model, repeats=4):
    """Mpx/s of the network alone, as people run it."""
    network, _ = load_model(model)
    image = torch.randn(1, 3, WINDOW, WINDOW)
    with torch.inference_mode():
        network(image)
        start = time.perf_counter()
        for _ in range(repeats):
            network(image)
    return repeats * WINDOW**2 / 1e6 / (time.perf_counter() - start)


def end_to_end(scene, model, folder, engine):
    """Mpx/s from the scene's file to the class raster's."""
    start = time.perf_counter()
    result = predict(scene, model, Path(folder, "classes.tif"), engine=engine, overwrite=True)
    return result.pixels / 1e6 / (time.perf_counter() - start)


def main():
    """Measure in turn, so that the machine's drift meets both, and print medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=2048, help="side of the scene in pixels, a multiple of 512")
    parser.add_argument("--repeats", type=int, default=3, help="rounds")
    parser.add_argument("--out", type=Path, default=Path("benchmark_results/predict.json"))
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        scene, model = Path(folder, "scene.tif"), Path(folder, "model.safetensors")
        draw_scene(scene, given.side)
        make_model(model, 3, encoder="resnet18")
        engines = {"torch fp32": Engine(runtime="torch", precision="fp32"), "auto": Engine()}
        rows = {"forward pass, fp32": [], **{f"scene to COG, {name}": [] for name in engines}}
        for _ in range(given.repeats):
            rows["forward pass, fp32"].append(forward_pass(model))
            for name, engine in engines.items():
                rows[f"scene to COG, {name}"].append(end_to_end(scene, model, folder, engine))
    plain = statistics.median(rows["forward pass, fp32"])
    table = {
        name: {"mpx_per_s": round(statistics.median(speeds), 3), "ratio": round(statistics.median(speeds) / plain, 2)}
        for name, speeds in rows.items()
    }
    print(f"{given.side} x {given.side} x 3, smp UNet/resnet18, {torch.get_num_threads()} threads")
    for name, row in table.items():
        print(f"{name:<24}{row['mpx_per_s']:>8.2f} Mpx/s   ratio {row['ratio']:.2f}")
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(json.dumps({"machine": platform.processor() or platform.machine(), "rows": table}, indent=2))


if __name__ == "__main__":
    main()
