"""A small network that has learned three levels of brightness, and scenes of them: what is planted is what is seen."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import rasterio
import torch
from made import NORTH_UP
from torch import nn
from untrained import CLASSES

from geounet.models.encoders import Architecture, build_network
from geounet.models.model_file import Band, ModelCard, save_model
from geounet.models.receptive_field import probe_receptive_field

if TYPE_CHECKING:
    from pathlib import Path

LEVELS = {10: 40, 30: 120, 254: 210}
"""Brightness of each class."""
_MEAN, _STD = 120.0, 60.0


def learned_model(path: Path, steps: int = 250) -> Path:
    """Write a UNet of depth 1 that tells the levels apart, pixel by pixel; it takes some seconds."""
    threads = torch.get_num_threads()
    # Several test processes on few cores would wait for each other's threads.
    torch.set_num_threads(1)
    torch.manual_seed(0)
    random = np.random.default_rng(0)
    built = Architecture(1, len(CLASSES), depth=1, width=4)
    network = build_network(built)
    optimizer = torch.optim.Adam(network.parameters(), 0.02)
    for _ in range(steps):
        codes = random.integers(0, len(LEVELS), (4, 12, 12)).repeat(4, 1).repeat(4, 2)
        image = brightness(np.array(list(LEVELS))[codes], random)
        logits = network(torch.from_numpy((image[:, None] - _MEAN) / _STD).float())
        loss = nn.functional.cross_entropy(logits, torch.from_numpy(codes))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    torch.set_num_threads(threads)
    network.eval()
    reach = probe_receptive_field(network, 1)
    band = Band("grey", _MEAN, _STD, 0.0, 255.0, 1)
    save_model(path, network, ModelCard(built, (band,), CLASSES, "uint8", 1, 10.0, reach.halo, reach.stride))
    return path


def brightness(classes, random):
    """Pixels of classes, with some noise; 0 where there is nodata."""
    table = np.zeros(256, np.float64)
    for value, level in LEVELS.items():
        table[value] = level
    noisy = table[classes] + random.normal(0, 4, classes.shape)
    return np.where(classes == 255, 0, noisy.clip(1, 255)).astype(np.uint8)


def write_levels(path: Path, classes, *, seed=0, taken="", transform=NORTH_UP, crs="EPSG:32633"):
    """A scene of one band in which classes are to be seen; nodata, 255, are clouds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    height, width = classes.shape
    with rasterio.open(
        path, "w", driver="GTiff", height=height, width=width, count=1, dtype="uint8", crs=crs, transform=transform,
        nodata=0,
    ) as file:  # fmt: skip
        file.write(brightness(classes, np.random.default_rng(seed))[None])
        file.descriptions = ["grey"]
        if taken:
            file.update_tags(TIFFTAG_DATETIME=taken)
    return path
