"""Batches are the same for the same seed, whoever makes them, and others in each epoch."""

import sys
from itertools import combinations

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset

from geounet.training.augment import Augment
from geounet.training.boundary_weights import boundary_weights
from geounet.training.loading import EpochBatches, GapWeights, loading_workers
from geounet.training.seeds import derived_seed


class Patches(Dataset):
    """Image and label of a number."""

    def __getitem__(self, query):
        values = torch.Generator().manual_seed(query)
        image = torch.randn(2, 16, 16, generator=values)
        return {"image": image, "mask": (image[0] > 0).long()}


class Numbers:
    """A sampler that draws from its generator alone."""

    def __init__(self, generator, length=11):
        self.generator, self.length = generator, length

    def __iter__(self):
        return (int(torch.randint(10**6, (1,), generator=self.generator)) for _ in range(self.length))

    def __len__(self):
        return self.length


def made(workers=0, seed=3, **given):
    generator = torch.Generator()
    given = {"augment": Augment(), "weigh": GapWeights(2, 10.0, 2.0)} | given
    return EpochBatches(Patches(), Numbers(generator), generator, batch_size=3, seed=seed, workers=workers, **given)


def same(one, other):
    return len(one) == len(other) and all(
        torch.equal(a[name], b[name]) for a, b in zip(one, other, strict=True) for name in ("image", "mask", "weight")
    )


def test_an_epoch_is_the_same_whatever_was_drawn_before_and_whoever_makes_it():
    """In order, in another order, by two processes: what `--resume` and `--loader-workers` rest on."""
    batches, again, processes = made(), made(), made(workers=2)
    first, second = list(batches(1)), list(batches(2))
    torch.rand(5)
    assert same(list(again(2)), second)
    assert same(list(again(1)), first)
    assert same(list(processes(1)), first)
    assert same(list(processes(2)), second)
    assert not same(first, second)
    assert not same(list(made(seed=4)(1)), first)


def test_the_same_patches_are_changed_otherwise_in_each_batch_and_epoch():
    batches = EpochBatches(Patches(), [5] * 6, torch.Generator(), batch_size=3, seed=3, augment=Augment())
    images = [batch["image"] for epoch in (1, 2) for batch in batches(epoch)]
    assert not any(torch.equal(one, other) for one, other in combinations(images, 2))


def test_batches_are_full_and_counted():
    batches = made()
    assert [len(batch["image"]) for batch in batches(1)] == [3, 3, 3]
    assert len(batches(1)) == 3


def test_the_weights_are_those_of_the_changed_labels():
    batch = next(iter(made()(1)))
    expected = [boundary_weights(labels.numpy(), range(2), height=10, sigma=2) for labels in batch["mask"]]
    np.testing.assert_array_equal(batch["weight"].numpy(), expected)
    assert batch["weight"].max() > 1
    assert "weight" not in next(iter(made(weigh=None)(1)))


def test_the_global_generator_is_left_alone():
    torch.manual_seed(1)
    before = torch.get_rng_state()
    list(made()(1))
    assert torch.equal(torch.get_rng_state(), before)


def test_seeds_are_apart_and_a_negative_one_is_one_too():
    seeds = {derived_seed(run, epoch, number) for run in range(5) for epoch in range(20) for number in range(20)}
    assert len(seeds) == 2000
    assert derived_seed(-1, 2) != derived_seed(1, 2)


@pytest.mark.parametrize(
    ("kind", "cores", "expected"),
    [("cpu", 1, 0), ("cpu", 2, 0), ("cpu", 6, 1), ("cpu", 64, 8), ("cuda", 1, 0), ("cuda", 4, 3), ("cuda", 64, 8)],
)
def test_processes_follow_the_cores(monkeypatch, kind, cores, expected):
    monkeypatch.setattr("dask.system.cpu_count", lambda: cores)
    assert loading_workers(torch.device(kind)) == (expected if sys.platform == "linux" else 0)
