"""Batches are the same for the same seed, whoever makes them, and others in each epoch."""

import threading
from itertools import combinations

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset

from geounet.errors import SceneError
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
    """In order, in another order, by two threads: what `--resume` and `--loader-workers` rest on."""
    batches, again, threads = made(), made(), made(workers=2)
    first, second = list(batches(1)), list(batches(2))
    torch.rand(5)
    assert same(list(again(2)), second)
    assert same(list(again(1)), first)
    assert same(list(threads(1)), first)
    assert same(list(threads(2)), second)
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
def test_threads_follow_the_cores(monkeypatch, kind, cores, expected):
    monkeypatch.setattr("dask.system.cpu_count", lambda: cores)
    assert loading_workers(torch.device(kind)) == expected


class Bad(Patches):
    """Patches of which one cannot be read."""

    def __getitem__(self, query):
        if query == 7:
            raise SceneError("patch 7 cannot be read")
        return super().__getitem__(query)


@pytest.mark.parametrize("workers", [0, 2])
def test_what_goes_wrong_in_a_patch_stops_the_epoch_with_its_sentence(workers):
    batches = EpochBatches(Bad(), range(40), torch.Generator(), batch_size=2, seed=0, workers=workers)
    got = []
    with pytest.raises(SceneError, match="patch 7 cannot be read"):
        got.extend(batch["image"] for batch in batches(1))
    assert len(got) == 3


class Held(Patches):
    """Patches that note who makes them; all but the first two wait until they are let go."""

    def __init__(self):
        self.free, self.made = threading.Event(), []

    def __getitem__(self, query):
        self.made.append(threading.current_thread().name)
        if query > 1:
            assert self.free.wait(60)
        return super().__getitem__(query)


class Drawn:
    """Numbers from 0, noted when they are drawn."""

    def __init__(self):
        self.numbers = []

    def __iter__(self):
        for number in range(len(self)):
            self.numbers.append(number)
            yield number

    def __len__(self):
        return 1000


def test_threads_are_a_few_batches_ahead_and_stop_with_the_loop():
    patches, drawn = Held(), Drawn()
    batches = EpochBatches(patches, drawn, torch.Generator(), batch_size=2, seed=0, workers=2)
    epoch = iter(batches(1))
    try:
        next(epoch)
        assert len(drawn.numbers) == 2 * (1 + 2 * 2)
    finally:
        epoch.close()
        patches.free.set()
        batches.threads.shutdown()
    # The first batch, and the two that were begun.
    assert len(patches.made) <= 2 * (1 + 2)
    assert all(name.startswith("geounet-loader") for name in patches.made)


def test_without_threads_a_batch_is_made_when_it_is_asked_for():
    patches, drawn = Held(), Drawn()
    next(iter(EpochBatches(patches, drawn, torch.Generator(), batch_size=2, seed=0)(1)))
    assert len(drawn.numbers) == 2
    assert set(patches.made) == {threading.current_thread().name}


@pytest.mark.parametrize("augment", [None, Augment()])
def test_batches_are_of_the_types_that_the_loss_takes(augment):
    batch = next(iter(made(augment=augment)(1)))
    assert {name: (tensor.dtype, tuple(tensor.shape)) for name, tensor in batch.items()} == {
        "image": (torch.float32, (3, 2, 16, 16)), "mask": (torch.int64, (3, 16, 16)),
        "weight": (torch.float32, (3, 16, 16)),
    }  # fmt: skip
