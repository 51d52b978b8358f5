"""Batches made ready while the network trains: patches read, stacked, changed and weighed.

What a batch holds follows from the seed, the epoch and the batch's number alone, not from who makes it or when.
"""

from __future__ import annotations

import multiprocessing
import sys
from typing import TYPE_CHECKING, Any

import torch
from torch.utils.data import DataLoader, Dataset, Sampler, default_collate

from geounet.training.boundary_weights import boundary_weights
from geounet.training.seeds import derived_seed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from torch import Generator, Tensor

    Batch = dict[str, Any]
    Change = Callable[[Tensor, Tensor, Generator, Tensor | None], tuple[Tensor, Tensor]]
    Weigh = Callable[[Tensor], Tensor]
    Plan = tuple[tuple[Any, ...], int]

_LOADERS = 8
"""Processes at most that are started unasked: each holds the pixels that it has read."""
_FORK = sys.platform == "linux"


class EpochBatches:
    """From an epoch's number to its batches: the same for the same number and seed, whatever the number of processes.

    Args:
        dataset: queries of the sampler to samples with `image` and `mask`.
        sampler: queries of an epoch, drawn from `generator` alone.
        generator: the sampler's, set anew for each epoch.
        batch_size: patches a batch; what is left at an epoch's end is not used.
        seed: of the patches and their changes.
        augment: changes images (N, bands, H, W) and labels (N, H, W) together, with a generator of the batch's own,
            and with the valid mask (N, H, W) where samples have one.
        weigh: labels (N, H, W) to the weights (N, H, W) of their pixels, which the batch then holds as `weight`.
        workers: processes that make batches ready; 0 makes them between two steps of the network.
    """

    def __init__(
        self,
        dataset: Any,
        sampler: Iterable[Any],
        generator: Generator,
        *,
        batch_size: int,
        seed: int,
        augment: Change | None = None,
        weigh: Weigh | None = None,
        workers: int = 0,
    ) -> None:
        self.plans = _Plans(sampler, generator, batch_size, seed)
        self.loader = DataLoader(
            _ReadyBatches(dataset, augment, weigh),
            batch_size=None,
            sampler=self.plans,
            num_workers=workers,
            persistent_workers=workers > 0,
            multiprocessing_context="fork" if workers and _FORK else None,
            pin_memory=torch.cuda.is_available(),
            # Its own, since a loader draws a number for its processes that would otherwise come from the global one.
            generator=torch.Generator(),
        )

    def __call__(self, epoch: int) -> DataLoader[Any]:
        """The batches of an epoch, counted from 1."""
        self.plans.epoch = epoch
        return self.loader


class _Plans(Sampler[Any]):
    """What each batch of an epoch is to hold: its queries, and the seed of its changes."""

    def __init__(self, sampler: Iterable[Any], generator: Generator, batch_size: int, seed: int) -> None:
        self.sampler, self.generator, self.batch_size, self.seed = sampler, generator, batch_size, seed
        self.epoch = 1

    def __iter__(self) -> Iterator[Plan]:
        self.generator.manual_seed(derived_seed(self.seed, self.epoch))
        queries: list[Any] = []
        number = 0
        for query in self.sampler:
            queries.append(query)
            if len(queries) == self.batch_size:
                yield tuple(queries), derived_seed(self.seed, self.epoch, number)
                queries, number = [], number + 1

    def __len__(self) -> int:
        return len(self.sampler) // self.batch_size  # type: ignore[arg-type]


class _ReadyBatches(Dataset[Any]):
    """Plans to batches."""

    def __init__(self, dataset: Any, augment: Change | None, weigh: Weigh | None) -> None:
        self.dataset, self.augment, self.weigh = dataset, augment, weigh

    def __getitem__(self, plan: Plan) -> Batch:
        queries, seed = plan
        batch: Batch = default_collate([self.dataset[query] for query in queries])
        if self.augment is not None:
            generator = torch.Generator().manual_seed(seed)
            batch["image"], batch["mask"] = self.augment(batch["image"], batch["mask"], generator, batch.get("valid"))
        if self.weigh is not None:
            batch["weight"] = self.weigh(batch["mask"])
        return batch


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
        return torch.stack([torch.from_numpy(weights) for weights in maps])


def loading_workers(device: torch.device) -> int:
    """How many processes make batches ready, where nobody says: one for four cores on a CPU, more beside a GPU.

    On fewer cores a process takes from the network more than it saves.
    None where a process cannot be forked, because what is started anew there imports the user's script again.
    """
    from dask.system import cpu_count  # which knows containers' limits

    cores = int(cpu_count())
    if not _FORK or cores == 1 or multiprocessing.current_process().daemon:
        return 0
    return min(_LOADERS, cores // 4 if device.type == "cpu" else cores - 1)
