"""Augmentation changes image and label alike, by its own generator alone."""

import random

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from geounet.augment import Augment

CODES = (0, 1, 2, 255)


@pytest.fixture
def patches():
    """Labels (6, 64, 64) in patches of one code, different in each sample, and images with a band a code."""
    coarse = np.random.default_rng(0).choice(CODES, (6, 7, 7))
    labels = torch.from_numpy(np.kron(coarse, np.ones((10, 10), np.int64))[:, 2:66, 5:69])
    images = torch.stack([(labels == code).float() for code in CODES], dim=1)
    return images, labels


def run(augment, patches, seed=0):
    return augment(*patches, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("seed", range(5))
def test_image_and_label_stay_aligned(patches, seed):
    images, labels = run(Augment(jitter=0), patches, seed)
    assert images.shape == patches[0].shape
    assert labels.shape == patches[1].shape
    assert not torch.equal(labels, patches[1])
    # Where interpolation does not mix codes, one band alone is 1.
    pure = images.max(dim=1).values > 1 - 1e-4
    assert pure.float().mean() > 0.6
    shown = torch.tensor(CODES)[images.argmax(dim=1)]
    # At a boundary the rounding of a coordinate may fall either way; nothing else may.
    assert (shown == labels)[pure].float().mean() > 0.999
    inside = F.max_pool2d((~pure).float()[:, None], 3, 1, 1)[:, 0] == 0
    assert (shown == labels)[inside].all()


@pytest.mark.parametrize("codes", [(3, 7), (255, 254)])
def test_labels_keep_their_values_and_gain_none(codes):
    labels = torch.from_numpy(np.random.default_rng(1).choice(codes, (8, 32, 32)))
    _images, turned = run(Augment(affine_share=1), (torch.zeros(8, 1, 32, 32), labels))
    assert turned.dtype == torch.int64
    assert set(turned.unique().tolist()) == set(codes)


def test_what_comes_in_from_outside_is_the_mirror_image_not_black():
    images, _labels = run(Augment((0.5, 0.6), 1, jitter=0), (torch.ones(4, 2, 32, 32), torch.zeros(4, 32, 32).long()))
    torch.testing.assert_close(images, torch.ones_like(images))


def test_the_same_seed_gives_the_same_and_another_seed_another(patches):
    one, same, other = (run(Augment(), patches, seed) for seed in (4, 4, 5))
    assert all(torch.equal(*pair) for pair in zip(one, same, strict=True))
    assert not torch.equal(one[0], other[0])
    assert not torch.equal(one[1], other[1])


def test_a_batch_after_another_is_changed_anew(patches):
    augment, generator = Augment(), torch.Generator().manual_seed(0)
    assert not torch.equal(augment(*patches, generator)[1], augment(*patches, generator)[1])


def test_the_global_generators_are_neither_read_nor_moved(patches):
    torch.manual_seed(1)
    before = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()  # noqa: NPY002 - the global one is meant
    one = run(Augment(), patches, 4)
    after = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()  # noqa: NPY002
    assert torch.equal(before[0], after[0])
    assert before[1:] == after[1:]
    torch.manual_seed(2)
    assert torch.equal(run(Augment(), patches, 4)[0], one[0])


def test_jitter_is_one_gain_and_one_offset_a_band(patches):
    plain, jittered = (run(Augment(jitter=amount), patches, 3)[0] for amount in (0, 0.2))
    for before, after in zip(plain.flatten(0, 1), jittered.flatten(0, 1), strict=True):
        gain = (after - after.min()).max() / (before - before.min()).max()
        torch.testing.assert_close(after, after.min() + gain * (before - before.min()), atol=1e-5, rtol=1e-4)
    assert not torch.equal(plain, jittered)


def test_what_is_given_is_left_as_it_was(patches):
    images, labels = (tensor.clone() for tensor in patches)
    run(Augment(), patches)
    assert torch.equal(images, patches[0])
    assert torch.equal(labels, patches[1])
