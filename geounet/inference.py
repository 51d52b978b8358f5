"""Windows to classes and confidences: the network's part of a block."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from geounet.classes import NODATA
from geounet.devices import PRECISIONS, autocast
from geounet.models.model_file import load_model
from geounet.runtimes import make_classifier
from geounet.sampling import HaloGridGeoSampler, SceneDataset
from geounet.tile_store import BlockRecord

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from geounet.grid import Block, Tile
    from geounet.models.model_file import ModelCard
    from geounet.runtimes import Classifier
    from geounet.scene import Scene
    from geounet.tile_store import TileStore

# One window at a time goes through the network, which uses all threads; meanwhile the worker's other threads read
# and write.
_one_at_a_time = threading.Lock()


@dataclass(frozen=True, slots=True)
class NetworkSetup:
    """All that a worker needs to make a network ready."""

    model: str
    """Path of the model file."""
    fingerprint: str
    """Of the model file, so that a worker that lives long does not keep an old one."""
    device: str
    """Where the network runs."""
    precision: str
    """Arithmetic: a key of :data:`geounet.devices.PRECISIONS`."""
    runtime: str
    """`torch` or `openvino`."""
    window: tuple[int, int]
    """Height and width of a window, halo included."""
    halo: int
    """Pixels that are cropped on each side of a window."""
    threads: int
    """CPU threads of the network."""


@dataclass(frozen=True, slots=True)
class Job:
    """What every block of a prediction shares; plain values that travel to the workers."""

    scene: Scene
    """What is read."""
    network: NetworkSetup
    """What it is read for."""
    store: TileStore
    """Where blocks go."""


@lru_cache(maxsize=2)
def _ready(setup: NetworkSetup) -> tuple[Classifier, ModelCard]:
    """The network ready to run, made once a worker."""
    network, card = load_model(Path(setup.model))
    run = make_classifier(
        network,
        (len(card.bands), *setup.window),
        setup.halo,
        runtime=setup.runtime,
        device=setup.device,
        precision=setup.precision,
        threads=setup.threads,
    )
    return run, card


def run_block(job: Job, block: Block) -> BlockRecord:
    """Predict a block and store it; doing it again gives the same.

    Raises:
        SceneError: the scene is damaged there.
    """
    start = time.perf_counter()
    with _one_at_a_time:
        run, card = _ready(job.network)
    values = np.array([item.value for item in card.classes], np.uint8)
    shape = (block.core.height, block.core.width)
    classes, confidence = np.full(shape, NODATA, np.uint8), np.full(shape, NODATA, np.uint8)
    counts, windows = np.zeros(len(values), np.int64), 0
    for tile, image, valid in _windows(job, card, block):
        with _one_at_a_time:
            winner, share = run(image)
        # What came back is the whole cell; of it the tile's core is kept, which ends at the region's edge.
        kept, place = tile.core.within(tile.window.padded(-job.network.halo)), tile.core.within(block.core)
        seen = valid[tile.core.within(tile.window)]
        classes[place] = np.where(seen, values[winner[kept]], NODATA)
        confidence[place] = np.where(seen, share[kept], NODATA)
        counts += np.bincount(winner[kept][seen], minlength=len(values))
        windows += 1
    seconds = time.perf_counter() - start
    record = BlockRecord(block.row, block.col, tuple(counts.tolist()), int(counts.sum()), windows, seconds)
    job.store.write(block, {"classes": classes, "confidence": confidence}, record)
    return record


def _windows(job: Job, card: ModelCard, block: Block) -> Iterator[tuple[Tile, NDArray[np.float32], NDArray[np.bool_]]]:
    """The block's tiles whose core holds a valid pixel, each with its window (bands, height, width) and mask."""
    dataset = SceneDataset([job.scene], [band.mean for band in card.bands], [band.std for band in card.bands])
    for tile, query in zip(block.tiles, HaloGridGeoSampler(dataset, block.tiles), strict=True):
        sample = dataset[query]
        valid = sample["valid"].numpy()
        if valid[tile.core.within(tile.window)].any():
            yield tile, sample["image"].numpy(), valid


def predict_logits(network: torch.nn.Module, image: torch.Tensor, device: str, precision: str) -> torch.Tensor:
    """Logits (classes, height, width) in float32 of a normalised image (bands, height, width), by PyTorch."""
    place = torch.device(device)
    with torch.inference_mode(), autocast(place, PRECISIONS[precision]):
        batch = image[None].to(place, memory_format=torch.channels_last)
        logits: torch.Tensor = network(batch)[0]
    return logits.float()
