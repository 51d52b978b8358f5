"""Patches a second, no network: reading, pairing, augmenting, batching, over a torchgeo loader of the same files.

Torchgeo's loader works in as many processes as ours in threads. It augments nothing, so ours with augmentation is set
beside it as it is, and beside the same loader followed by kornia's like changes of the whole batch, as torchgeo's data
modules do it.

python tests/benchmarks/bench_loading.py [--quick]
"""

from __future__ import annotations

import logging
import tempfile
import time
import warnings
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import kornia.augmentation as K
import rasterio
import torch
from affine import Affine
from common import Row, arguments, draw_scene, interleaved, median_of, report
from torch.utils.data import DataLoader
from torchgeo.datasets import RasterDataset, stack_samples
from torchgeo.samplers import RandomGeoSampler

from geounet.data.pairing import pair_labels
from geounet.data.sampling import RandomPatchGeoSampler, SceneDataset
from geounet.data.statistics import collect
from geounet.training.augment import Augment
from geounet.training.loading import EpochBatches

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CLASSES = 5
BATCH = 8


class Images(RasterDataset):
    """Images, as torchgeo reads them."""

    filename_glob = "image_*.tif"


class Labels(RasterDataset):
    """Label rasters, as torchgeo reads them."""

    filename_glob = "label_*.tif"
    is_image = False


def draw(folder: Path, number: int, side: int, bands: int) -> Path:
    """Write images side by side, and a label raster for each."""
    folder.mkdir()
    for index in range(number):
        place = Affine(10, 0, 5e5 + 10 * side * index, 0, -10, 5e6)
        image, label = folder / f"image_{index}.tif", folder / f"label_{index}.tif"
        draw_scene(image, side, side, bands=bands, seed=index)
        draw_scene(label, side, side, bands=1, seed=index)
        with rasterio.open(image, "r+") as file:
            file.transform = place
        with rasterio.open(label, "r+") as file:
            file.transform = place
            file.write(file.read() % CLASSES + 1)
    return folder


def torchgeo_loader(folder: Path, size: int, length: int, workers: int) -> DataLoader[Any]:
    """What torchgeo's documentation shows: the intersection of images and labels, random patches."""
    dataset = Images(folder) & Labels(folder)
    sampler = RandomGeoSampler(dataset, size=size, length=length)
    return DataLoader(
        dataset, batch_size=BATCH, sampler=sampler, collate_fn=stack_samples, num_workers=workers,
        persistent_workers=workers > 0,
    )  # fmt: skip


class Augmented:
    """A loader's batches, flipped, turned, scaled and made noisy by kornia: as much as ours does by default."""

    def __init__(self, loader: DataLoader[Any]) -> None:
        ours = Augment()
        self.loader = loader
        self.changes = K.AugmentationSequential(
            K.RandomHorizontalFlip(p=0.5),
            K.RandomVerticalFlip(p=0.5),
            K.RandomAffine(ours.rotation, scale=ours.scale, p=ours.affine_share),
            K.RandomGaussianNoise(std=ours.noise, p=0.5),
            K.RandomBrightness((1 - ours.jitter, 1 + ours.jitter), clip_output=False, p=1),
            data_keys=None,
            keepdim=True,
        )

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Images (N, bands, H, W) and masks, changed alike."""
        for batch in self.loader:
            yield self.changes({"image": batch["image"], "mask": batch["mask"].float()})


def own_batches(folder: Path, size: int, length: int, workers: int, *, keep: bool, augment: bool) -> EpochBatches:
    """What training reads from, with the images kept in memory or read from the files for each patch."""
    images, labels = sorted(folder.glob("image_*.tif")), sorted(folder.glob("label_*.tif"))
    pairs = pair_labels(images, labels)
    statistics = collect(pairs)
    means, stds = zip(*((band.mean, band.std) for band in statistics.bands), strict=True)
    dataset = SceneDataset(pairs, means, stds, range(1, CLASSES + 1), keep=keep)
    generator = torch.Generator()
    sampler = RandomPatchGeoSampler(dataset, size, length, generator, coverages=statistics.coverages)
    return EpochBatches(
        dataset, sampler, generator, batch_size=BATCH, seed=0, augment=Augment() if augment else None, workers=workers
    )


def pace(batches: Callable[[int], Any]) -> dict[str, float]:
    """Patches a second of one epoch."""
    start, count = time.perf_counter(), 0
    for batch in batches(1):
        count += len(batch["image"])
    return {"patches": count / (time.perf_counter() - start)}


def measured(folder: Path, size: int, length: int, workers: int, rounds: int) -> dict[str, list[dict[str, float]]]:
    """All loaders in turn, each warm: files in the page cache, workers started, what is kept read."""
    plain = torchgeo_loader(folder, size, length, workers)
    kornias = Augmented(plain)
    contenders: dict[str, Callable[[int], Any]] = {
        "torchgeo": lambda _epoch: plain,
        "torchgeo, augmented": lambda _epoch: kornias,
    }
    for augment in (False, True):
        for keep in (False, True):
            name = ("kept" if keep else "read") + (", augmented" if augment else "")
            contenders[name] = own_batches(folder, size, length, workers, keep=keep, augment=augment)
    for batches in contenders.values():
        pace(batches)
    return interleaved({name: partial(pace, batches) for name, batches in contenders.items()}, rounds)


def main() -> None:
    """Measure, print, write."""
    parser = arguments(__doc__)
    parser.add_argument("--patch-size", type=int, default=256)
    parser.add_argument("--patches", type=int, default=512)
    parser.add_argument("--side", type=int, default=6144, help="of the large scene, in pixels")
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    if given.quick:
        given.patches, given.rounds, given.side = 48, 1, 1536
    logging.getLogger("torchgeo").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(dir=given.folder) as name:
        chips = draw(Path(name) / "chips", 6 if given.quick else 21, 512, 3)
        scene = draw(Path(name) / "scene", 1, given.side, 4)
        for what, folder in (("chips", chips), ("one scene", scene)):
            for workers in (0, 2):
                found[f"{what}, {workers} workers"] = measured(
                    folder, given.patch_size, given.patches, workers, given.rounds
                )
    title = f"Patches of {given.patch_size} px a second, batches of {BATCH}: 21 chips of 512 px, and a large scene"
    report("loading", title, rows_of(found), given, found)


def rows_of(found: dict[str, Any]) -> list[Row]:
    """Ratios to torchgeo's loader, each with its paces."""
    rows = []
    for case, runs in found.items():
        for kind in ("kept, augmented", "read, augmented", "kept", "read"):
            own = median_of(runs[kind], "patches")
            for peer in ("torchgeo", "torchgeo, augmented") if "augmented" in kind else ("torchgeo",):
                base = median_of(runs[peer], "patches")
                target = ">= 3" if "augmented" in kind else ""
                rows.append(
                    Row(f"{case}: {kind}, over {peer}", own / base, "x", target, f"{own:.0f} and {base:.0f} /s")
                )
    return rows


if __name__ == "__main__":
    main()
