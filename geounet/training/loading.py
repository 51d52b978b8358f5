"""Batches made ready while the network trains: patches read, changed, stacked and weighed.

What a batch holds follows from the seed, the epoch and the batch's number alone, not from who makes it or when.
"""

from __future__ import annotations

from collections import deque
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from geounet.training.boundary_weights import boundary_weights
from geounet.training.seeds import derived_seed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from concurrent.futures import Future

    from torch import Generator, Tensor

    from geounet.training.augment import Augment

    Batch = dict[str, Tensor]
    Weigh = Callable[[Tensor], Tensor]
    Plan = tuple[tuple[Any, ...], int]

_LOADERS = 8
"""Threads at most that are started unasked."""
_AHEAD = 2
"""Batches that each thread may be ahead of the network."""


class EpochBatches:
    """From an epoch's number to its batches: the same for the same number and seed, whatever the number of threads.

    Threads, since what takes time (reading, changing, stacking) is done in machine code, without Python's lock; a
    process would have to hand over each batch, which takes longer than to make it.

    Args:
        dataset: queries of the sampler to samples with `image` (bands, H, W) and `mask` (H, W), and `valid` (H, W)
            where some pixels are not; from several threads at once. Its `planes`, if it has any, are how many soft
            labels (planes, H, W) a sample has as `soft`.
        sampler: queries of an epoch, drawn from `generator` alone.
        generator: the sampler's, set anew for each epoch.
        batch_size: patches a batch; what is left at an epoch's end is not used.
        seed: of the patches and their changes.
        augment: changes images and labels together, with a generator of the batch's own.
        weigh: labels (N, H, W) to the weights (N, H, W) of their pixels, which the batch then holds as `weight`.
        workers: threads that make batches ready; 0 makes them between two steps of the network.
    """

    def __init__(
        self,
        dataset: Any,
        sampler: Iterable[Any],
        generator: Generator,
        *,
        batch_size: int,
        seed: int,
        augment: Augment | None = None,
        weigh: Weigh | None = None,
        workers: int = 0,
    ) -> None:
        self.sampler, self.generator, self.batch_size, self.seed = sampler, generator, batch_size, seed
        self.ready = _ReadyBatches(dataset, augment, weigh)
        self.workers = workers
        self.threads = ThreadPoolExecutor(workers, "geounet-loader") if workers else None

    def __call__(self, epoch: int) -> _Epoch:
        """The batches of an epoch, counted from 1."""
        return _Epoch(self, epoch)

    def plans(self, epoch: int) -> Iterator[Plan]:
        """What each batch of an epoch is to hold: its queries, and the seed of its changes."""
        self.generator.manual_seed(derived_seed(self.seed, epoch))
        queries = iter(self.sampler)
        for number in range(self.count):
            yield tuple(islice(queries, self.batch_size)), derived_seed(self.seed, epoch, number)

    @property
    def count(self) -> int:
        """Batches an epoch."""
        return len(self.sampler) // self.batch_size  # type: ignore[arg-type]


class _Epoch:
    """The batches of an epoch, made while they are iterated over."""

    def __init__(self, batches: EpochBatches, number: int) -> None:
        self.batches, self.number = batches, number

    def __len__(self) -> int:
        return self.batches.count

    def __iter__(self) -> Iterator[Batch]:
        """Batches of `image` (N, bands, H, W) float32, `mask` (N, H, W) int64, and `weight` and `soft` if there are."""
        plans, ready, threads = self.batches.plans(self.number), self.batches.ready, self.batches.threads
        if threads is None:
            yield from map(ready, plans)
            return
        waiting: deque[Future[Batch]] = deque()
        try:
            for plan in plans:
                waiting.append(threads.submit(ready, plan))
                if len(waiting) > _AHEAD * self.batches.workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            # The loop may stop within an epoch.
            for future in waiting:
                future.cancel()


class _ReadyBatches:
    """Plans to batches."""

    def __init__(self, dataset: Any, augment: Augment | None, weigh: Weigh | None) -> None:
        self.dataset, self.augment, self.weigh = dataset, augment, weigh
        self.planes: int = getattr(dataset, "planes", 0)
        self.pinned = torch.cuda.is_available()

    def __call__(self, plan: Plan) -> Batch:
        queries, seed = plan
        samples = (self.dataset[query] for query in queries)
        patches = ((_with_planes(sample), sample["mask"], sample.get("valid")) for sample in samples)
        if self.augment is not None:
            generator = torch.Generator().manual_seed(seed)
            images, labels = self.augment.changed(patches, len(queries), generator, planes=self.planes)
        else:
            images, labels = (_stacked(tensors) for tensors in list(zip(*patches, strict=True))[:2])
        batch = {"image": images, "mask": labels}
        if self.planes:
            batch = {"image": images[:, : -self.planes], "mask": labels, "soft": images[:, -self.planes :]}
        if self.weigh is not None:
            batch["weight"] = self.weigh(labels)
        return {name: tensor.pin_memory() for name, tensor in batch.items()} if self.pinned else batch


def _with_planes(sample: dict[str, Tensor]) -> Tensor:
    """The image, and behind its bands the soft labels, where there are any: both are changed alike."""
    return torch.cat((sample["image"], sample["soft"])) if "soft" in sample else sample["image"]


def _stacked(tensors: Iterable[Tensor]) -> Tensor:
    """In this thread alone: PyTorch would start a team of threads in each of ours."""
    return torch.from_numpy(np.stack([tensor.numpy() for tensor in tensors]))


class GapWeights:
    """Labels to the weights of their pixels; see :func:`geounet.training.boundary_weights.boundary_weights`.

    Args:
        classes: how many.
        height: weight that the narrowest gap adds.
        sigma: width of the gaps that count, in pixels.
    """

    def __init__(self, classes: int, height: float, sigma: float) -> None:
        self.classes, self.height, self.sigma = range(classes), height, sigma

    def __call__(self, labels: Tensor) -> Tensor:
        """Labels (N, H, W) to weights (N, H, W), float32."""
        maps = [boundary_weights(patch.numpy(), self.classes, height=self.height, sigma=self.sigma) for patch in labels]
        return torch.from_numpy(np.stack(maps))


def loading_workers(device: torch.device) -> int:
    """How many threads make batches ready, where nobody says: one for four cores on a CPU, more beside a GPU.

    On fewer cores a thread takes from the network more than it saves.
    """
    from dask.system import cpu_count  # which knows containers' limits

    cores = int(cpu_count())
    return min(_LOADERS, cores // 4 if device.type == "cpu" else cores - 1)
