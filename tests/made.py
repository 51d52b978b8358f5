"""Products of chosen pixels, with real rasters and real records."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from affine import Affine
from untrained import CLASSES, make_model

from geounet.grid import Window
from geounet.products.record import Making, Product, write_record
from geounet.raster.cog import RasterProfile, write_cog
from geounet.raster.scene import load_scene
from geounet.tasks.vectorize import vectorize

if TYPE_CHECKING:
    from pathlib import Path

NORTH_UP = Affine(10, 0, 500_000, 0, -10, 5_400_000)
VALUES = [item.value for item in CLASSES]


def make_product(
    folder: Path,
    codes,
    confidence=None,
    *,
    transform=NORTH_UP,
    crs="EPSG:32633",
    taken="2020-07-01T10:00:00Z",
    classes=CLASSES,
):
    """Write the product of these classes and confidences, both `(height, width)` in uint8 with 255 for nodata."""
    folder.mkdir(parents=True)
    confidence = np.where(codes == 255, 255, 200).astype(np.uint8) if confidence is None else confidence
    common = {"height": codes.shape[0], "width": codes.shape[1], "transform": transform, "crs": crs, "dtype": "uint8",
              "nodata": 255}  # fmt: skip
    window = Window(0, 0, *codes.shape)
    write_cog(folder / "classes.tif", RasterProfile(**common, classes=classes), [(window, codes[None])])
    profile = RasterProfile(**common, names=("confidence",), scale=1 / 254)
    write_cog(folder / "confidence.tif", profile, [(window, confidence[None])])
    summary = vectorize(folder / "classes.tif", folder / "polygons.parquet")
    (folder / "preview.png").write_bytes(b"no picture is looked at")
    model = folder.parent / "m.safetensors"
    card = make_model(model)
    product = Product(
        folder.name, f"{folder.name}.tif", folder, folder / "polygons.parquet", summary.pixels, 1.0, 0.0,
        summary.polygons, summary.area_ha, summary.hectares,
    )  # fmt: skip
    scene = load_scene(folder / "classes.tif")
    write_record(product, Making("0" * 64, "1" * 64, {}), scene, scene, taken, model, card)
    return folder


def blobs(height, width, seed=0, side=5):
    """Classes and nodata in blobs."""
    random = np.random.default_rng(seed)
    coarse = random.choice([*VALUES, 255], (-(-height // side), -(-width // side)), p=[0.4, 0.3, 0.2, 0.1])
    return coarse.repeat(side, 0).repeat(side, 1)[:height, :width].astype(np.uint8)


def levels(codes, seed=0):
    """Confidences with many ties."""
    found = np.random.default_rng(seed).integers(80, 90, codes.shape)
    return np.where(codes == 255, 255, found).astype(np.uint8)
