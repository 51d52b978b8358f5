"""Windows to classes and confidences: the network's part of a block."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from geounet.classes import NODATA
from geounet.devices import PRECISIONS, autocast
from geounet.models.model_file import load_model
from geounet.sampling import HaloGridGeoSampler, SceneDataset
from geounet.tile_store import BlockRecord

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from geounet.grid import Block, Tile
    from geounet.scene import Scene
    from geounet.tile_store import TileStore

CONFIDENCE_LEVELS = 254
"""A confidence of 1.0 is stored as this, and 255 is nodata."""


@dataclass(frozen=True, slots=True)
class Job:
    """What every block of a prediction shares; plain values that travel to the workers."""

    scene: Scene
    """What is read."""
    model: str
    """Path of the model file."""
    fingerprint: str
    """Of the model file, so that a worker that lives long does not keep an old one."""
    device: str
    """Where the network runs."""
    precision: str
    """Arithmetic: a key of :data:`geounet.devices.PRECISIONS`."""
    threads: int
    """CPU threads of the network."""
    store: TileStore
    """Where blocks go."""


@lru_cache(maxsize=2)
def _network(model: str, fingerprint: str, device: str) -> Any:  # noqa: ARG001 - the fingerprint is part of the key
    network, card = load_model(Path(model))
    return network.to(device, memory_format=torch.channels_last), card  # type: ignore[call-overload]


def run_block(job: Job, block: Block) -> BlockRecord:
    """Predict a block and store it; doing it again gives the same.

    Raises:
        SceneError: the scene is damaged there.
    """
    start = time.perf_counter()
    if job.device == "cpu" and torch.get_num_threads() != job.threads:
        torch.set_num_threads(job.threads)
    network, card = _network(job.model, job.fingerprint, job.device)
    values = np.array([item.value for item in card.classes], np.uint8)
    shape = (block.core.height, block.core.width)
    classes, confidence = np.full(shape, NODATA, np.uint8), np.full(shape, NODATA, np.uint8)
    counts, windows = np.zeros(len(values), np.int64), 0
    for tile, image, valid in _windows(job, card, block):
        winner, share = predict_window(network, image, job.device, job.precision)
        core, place = tile.core.within(tile.window), tile.core.within(block.core)
        seen = valid[core]
        classes[place] = np.where(seen, values[winner[core]], NODATA)
        confidence[place] = np.where(seen, share[core], NODATA)
        counts += np.bincount(winner[core][seen], minlength=len(values))
        windows += 1
    record = BlockRecord(
        block.row,
        block.col,
        tuple(counts.tolist()),
        int(counts.sum()),
        windows,
        time.perf_counter() - start,
    )
    job.store.write(block, {"classes": classes, "confidence": confidence}, record)
    return record


def _windows(job: Job, card: Any, block: Block) -> Iterator[tuple[Tile, torch.Tensor, NDArray[np.bool_]]]:
    """The block's tiles whose core holds a valid pixel, each with its window (bands, height, width) and mask."""
    dataset = SceneDataset([job.scene], [band.mean for band in card.bands], [band.std for band in card.bands])
    for tile, query in zip(block.tiles, HaloGridGeoSampler(dataset, block.tiles), strict=True):
        sample = dataset[query]
        valid = sample["valid"].numpy()
        if valid[tile.core.within(tile.window)].any():
            yield tile, sample["image"], valid


def predict_window(
    network: torch.nn.Module, image: torch.Tensor, device: str, precision: str
) -> tuple[NDArray[np.intp], NDArray[np.uint8]]:
    """Class indices (height, width) and confidences (height, width) in 0 to 254 of an image (bands, height, width)."""
    logits = predict_logits(network, image, device, precision)
    share, winner = logits.softmax(dim=0).max(dim=0)
    levels = (share * CONFIDENCE_LEVELS).round().to(torch.uint8)
    return winner.cpu().numpy(), levels.cpu().numpy()


def predict_logits(network: torch.nn.Module, image: torch.Tensor, device: str, precision: str) -> torch.Tensor:
    """Logits (classes, height, width) in float32 of a normalised image (bands, height, width)."""
    place = torch.device(device)
    with torch.inference_mode(), autocast(place, PRECISIONS[precision]):
        batch = image[None].to(place, memory_format=torch.channels_last)
        logits: torch.Tensor = network(batch)[0]
    return logits.float()
