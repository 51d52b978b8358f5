"""How many of float32's classes a trained network of ours loses in bf16 and int8, and what keeps them.

The default network is trained on the sample tiles, and where `GEOUNET_DATA` is set on Korean land cover, twice: as
`geounet train` does it, its weights rounded to what bfloat16 holds, and without that. The scene is made of the pictures
of the validation part, mirrored. Told is how many of a thousand of its pixels have another class than float32 gives
them, in OpenVINO. `head in bf16` is the network whose logits are rounded, as a plain convolution's are. On a processor
without bfloat16 it keeps all.

    [GEOUNET_DATA=...] python tests/benchmarks/bench_precision.py [--epochs 20] [--quick]
"""

from __future__ import annotations

import os
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

import numpy as np
import rasterio
from affine import Affine
from common import Row, arguments, report

from geounet.data.source import Source
from geounet.models import cropping
from geounet.tasks.predict import Engine, predict
from geounet.tasks.train import train
from geounet.training import loop
from geounet.training.loop import Schedule
from geounet.training.recipe import Recipe

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

SAMPLES = Path(__file__).parents[2] / "sample_tiles"
SIDE = 2560


def places() -> dict[str, tuple[Path, tuple[int, ...] | None]]:
    """Folders with `train` and `val`, and the bands to read of their images."""
    found: dict[str, tuple[Path, tuple[int, ...] | None]] = {"sample tiles": (SAMPLES, None)}
    if data := os.environ.get("GEOUNET_DATA"):
        found["Korea"] = (Path(data, "korea_landcover"), (1, 2, 3))
    return found


@contextmanager
def without(module: Any, name: str) -> Iterator[None]:
    """A function of one argument gives that back meanwhile."""
    with mock.patch.object(module, name, lambda same: same):
        yield


def learnt(folder: Path, bands: tuple[int, ...] | None, out: Path, epochs: int) -> Path:
    """The model file of a training with the defaults."""
    sides = [Source((folder / part / "images",), (folder / part / "labels",), bands) for part in ("train", "val")]
    train(sides[0], out, recipe=Recipe(), schedule=Schedule(epochs), validation=sides[1])
    return out


def scene_of(images: Path, bands: tuple[int, ...] | None, out: Path) -> Path:
    """The pictures of a folder beside and below each other, mirrored until the scene is full."""
    parts = []
    for path in sorted(images.glob("*.tif")):
        with rasterio.open(path) as file:
            parts.append(file.read(bands))
            profile = file.profile
    side = min(min(part.shape[1:]) for part in parts)
    across = int(len(parts) ** 0.5)
    rows = [
        np.concatenate([part[:, :side, :side] for part in parts[row * across : (row + 1) * across]], axis=2)
        for row in range(across)
    ]
    pixels = np.concatenate(rows, axis=1)
    more = max(0, SIDE - pixels.shape[1])
    pixels = np.pad(pixels, [(0, 0), (0, more), (0, more)], mode="symmetric")
    place = {"height": pixels.shape[1], "width": pixels.shape[2], "count": len(pixels), "driver": "GTiff"}
    with rasterio.open(
        out, "w", **place, dtype=pixels.dtype, crs=profile["crs"], nodata=profile.get("nodata"), tiled=True,
        transform=Affine(10, 0, 500_000, 0, -10, 4_000_000),
    ) as file:  # fmt: skip
        file.write(pixels)
    return out


def classes_by(precision: str, scene: Path, model: Path, folder: Path) -> np.ndarray:
    """The class raster in a precision."""
    out = folder / "classes.tif"
    predict(scene, model, out, engine=Engine(precision=precision, runtime="openvino"), overwrite=True)
    with rasterio.open(out) as file:
        return file.read(1)


def changed(precision: str, scene: Path, model: Path, folder: Path) -> float:
    """Of a thousand pixels, how many have another class than float32 gives them."""
    exact, found = (classes_by(each, scene, model, folder) for each in ("fp32", precision))
    return 1000 * float((exact != found)[exact != 255].mean())


def rows_of(name: str, given: argparse.Namespace, folder: Path) -> Iterator[Row]:
    """All figures of a data set."""
    place, bands = places()[name]
    folder.mkdir()
    scene = scene_of(place / "val/images", bands, folder / "scene.tif")
    rounded = learnt(place, bands, folder / "rounded.safetensors", given.epochs)
    with without(loop, "rounded"):
        plain = learnt(place, bands, folder / "plain.safetensors", given.epochs)
    yield Row(f"{name}: bf16", changed("bf16", scene, rounded, folder), "/1000", "<= 1")
    yield Row(f"{name}: bf16, weights as they were learnt", changed("bf16", scene, plain, folder), "/1000")
    with without(cropping, "transposed"):
        yield Row(f"{name}: bf16, head in bf16", changed("bf16", scene, rounded, folder), "/1000")
        yield Row(
            f"{name}: bf16, head in bf16, weights as they were learnt", changed("bf16", scene, plain, folder), "/1000"
        )
    yield Row(f"{name}: int8", changed("int8", scene, rounded, folder), "/1000")


def main() -> None:
    """Measure, print, write."""
    parser = arguments(__doc__)
    parser.add_argument("--epochs", type=int, default=20)
    given = parser.parse_args()
    if given.quick:
        given.epochs = 1
    with tempfile.TemporaryDirectory(dir=given.folder) as name:
        rows = [row for place in places() for row in rows_of(place, given, Path(name, place))]
    report("precision", f"Pixels with another class than in float32, after {given.epochs} epochs", rows, given)


if __name__ == "__main__":
    main()
