"""Windows to classes and confidences: the network's part of a block."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from distributed import get_worker

from geounet.classes import CONFIDENCE_LEVELS, NODATA
from geounet.data.windows import read_windows
from geounet.engine.blending import blend
from geounet.engine.devices import device_of_worker
from geounet.engine.runtimes import prepared
from geounet.engine.symmetry import over_symmetries
from geounet.engine.tile_store import BlockRecord

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from geounet.engine.compiled import Classifier
    from geounet.engine.runtimes import NetworkSetup
    from geounet.engine.tile_store import TileStore
    from geounet.grid import Block, Tile
    from geounet.models.model_file import ModelCard
    from geounet.raster.scene import Scene

# One window at a time goes through the network, which uses all threads; meanwhile the worker's other threads read
# and write.
_one_at_a_time = threading.Lock()
_preparing = threading.Lock()

PROBABILITIES = "probabilities"
"""Layer of the tile store with the probabilities of all classes, where they are asked for."""


@dataclass(frozen=True, slots=True)
class Job:
    """What every block of a prediction shares; plain values that travel to the workers."""

    scene: Scene
    """What is read."""
    network: NetworkSetup
    """What it is read for."""
    store: TileStore
    """Where blocks go."""
    reach: int = 0
    """Pixels on each side of a core's edge over which windows are blended, see :mod:`geounet.engine.blending`; 0: they
    are not."""


def _ready(setup: NetworkSetup) -> tuple[Classifier, ModelCard]:
    """The network ready to run, made once a worker."""
    run, card = prepared(replace(setup, device=device_of_worker(setup.device, _number_of_this_worker())))
    return (_augmented(run) if setup.tta else run), card


def _number_of_this_worker() -> int:
    """Workers of a local cluster are numbered; one of another kind counts as the first."""
    try:
        name = get_worker().name
    except ValueError:
        return 0
    return int(name) if str(name).isdigit() else 0


def _augmented(run: Classifier) -> Classifier:
    """As `run`, by the mean of the probabilities over the eight symmetries of a square window."""
    mean = over_symmetries(lambda image: run(image)[2])

    def decide(image: NDArray[np.float32]) -> tuple[NDArray[Any], ...]:
        probabilities = mean(image)
        return *_decided(probabilities), probabilities

    return decide


def _decided(probabilities: NDArray[np.float32]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Class indices and confidences (height, width) of probabilities (classes, height, width), as the network's."""
    # Several times as fast as NumPy along the first axis; what blends or turns windows has time to import it.
    import torch

    share, winner = torch.from_numpy(probabilities).max(dim=0)
    return winner.to(torch.uint8).numpy(), _as_levels(share.numpy())


def _as_levels(probabilities: NDArray[np.float32]) -> NDArray[np.uint8]:
    levels: NDArray[np.uint8] = np.rint(probabilities * np.float32(CONFIDENCE_LEVELS)).astype(np.uint8)
    return levels


def run_block(job: Job, block: Block) -> BlockRecord:
    """Predict a block and store it; doing it again gives the same.

    Raises:
        SceneError: the scene is damaged there.
    """
    start = time.perf_counter()
    with _preparing:
        run, card = _ready(job.network)
    counts, windows = (_run_blended if job.reach else _run_apart)(job, block, run, card)
    seconds = time.perf_counter() - start
    record = BlockRecord(block.row, block.col, tuple(counts.tolist()), int(counts.sum()), windows, seconds)
    job.store.finish(block, record)
    return record


def _run_apart(job: Job, block: Block, run: Classifier, card: ModelCard) -> tuple[NDArray[np.int64], int]:
    """Each window gives its own core: store them, and count the pixels of each class, and the windows."""
    layers = job.store.blank(block.core)
    counts, windows = np.zeros(len(card.classes), np.int64), 0
    for tile, image, valid in _windows(job, card, block):
        with _one_at_a_time:
            found = run(image)
        # What came back is the whole cell; of it the tile's core is kept, which ends at the region's edge.
        kept, place = tile.core.within(tile.window.padded(-job.network.halo)), tile.core.within(block.core)
        part = [array[..., *kept] for array in found]
        counts += _paint(layers, place, part, valid[tile.core.within(tile.window)], card)
        windows += 1
    job.store.put(block.core, layers)
    return counts, windows


def _run_blended(job: Job, block: Block, run: Classifier, card: ModelCard) -> tuple[NDArray[np.int64], int]:
    """As :func:`_run_apart`, but neighbouring windows are blended.

    A window is run where its core cell in the scene holds a valid pixel, whatever the region, so that no pixel depends
    on the block or the box.
    """
    counts, windows = np.zeros(len(card.classes), np.int64), 0
    seen = np.zeros((block.core.height, block.core.width), np.bool_)

    def estimates() -> Iterator[tuple[Tile, NDArray[np.float32]]]:
        nonlocal windows
        for tile, image, valid in _windows(job, card, block):
            inside = tile.core.intersection(block.core)
            if inside.pixels:
                seen[inside.within(block.core)] = valid[inside.within(tile.window)]
            with _one_at_a_time:
                found = run(image)
            windows += 1
            yield tile, found[2]

    margin = 2 * (job.network.halo + job.reach)
    cell = job.network.window[0] - margin, job.network.window[1] - margin
    for piece, probabilities in blend(block, cell, job.reach, estimates()):
        layers = job.store.blank(piece)
        winner, share = _decided(probabilities)
        everywhere = slice(None), slice(None)
        counts += _paint(layers, everywhere, (winner, share, probabilities), seen[piece.within(block.core)], card)
        job.store.put(piece, layers)
    return counts, windows


def _paint(
    layers: dict[str, NDArray[Any]],
    place: tuple[slice, slice],
    found: Sequence[NDArray[Any]],
    seen: NDArray[np.bool_],
    card: ModelCard,
) -> NDArray[np.int64]:
    """Put class indices, confidences and, where they have a layer, probabilities into their place in the layers.

    Returns:
        The pixels of each class.
    """
    values, hidden = bytes(item.value for item in card.classes), ~seen
    # Twice as fast as indexing, which makes each byte an index of eight first.
    codes = found[0].tobytes().translate(values.ljust(256, b"\0"))
    _put(layers["classes"], place, np.frombuffer(codes, np.uint8).reshape(seen.shape), hidden, NODATA)
    _put(layers["confidence"], place, found[1], hidden, NODATA)
    if PROBABILITIES in layers:
        layer = layers[PROBABILITIES]
        whole = layer.dtype == np.uint8
        _put(layer, place, _as_levels(found[2]) if whole else found[2], hidden, NODATA if whole else np.nan)
    return np.array([np.count_nonzero((found[0] == index) & seen) for index in range(len(values))])


def _put(
    layer: NDArray[Any], place: tuple[slice, slice], found: NDArray[Any], hidden: NDArray[np.bool_], nodata: float
) -> None:
    area = layer[..., *place]
    np.copyto(area, found, casting="unsafe")
    np.copyto(area, nodata, where=hidden, casting="unsafe")


def _windows(job: Job, card: ModelCard, block: Block) -> Iterator[tuple[Tile, NDArray[np.float32], NDArray[np.bool_]]]:
    """The block's tiles whose core holds a valid pixel, each with its window (bands, height, width) and mask."""
    for tile, (image, valid) in zip(block.tiles, _images(job, card, block), strict=True):
        if valid[tile.core.within(tile.window)].any():
            yield tile, image, valid


def _images(job: Job, card: ModelCard, block: Block) -> Iterator[tuple[NDArray[np.float32], NDArray[np.bool_]]]:
    """The windows of a block's tiles: by torchgeo where PyTorch runs the network, else the same without PyTorch."""
    moments = [band.mean for band in card.bands], [band.std for band in card.bands]
    if job.network.runtime != "torch":
        return read_windows(job.scene, [tile.window for tile in block.tiles], *moments)
    from geounet.data.sampling import sampled_tiles

    return sampled_tiles(job.scene, block.tiles, *moments)
