"""Augmentation changes image and label alike, by its own generator alone."""

import random

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from geounet.errors import ModelError
from geounet.training.augment import Augment
from geounet.training.resampling import resample

pytestmark = pytest.mark.numerical

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
    images, labels = run(Augment(jitter=0, noise=0), patches, seed)
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
    images, _labels = run(
        Augment(scale=(0.5, 0.6), affine_share=1, jitter=0, noise=0),
        (torch.ones(4, 2, 32, 32), torch.zeros(4, 32, 32).long()),
    )
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
    plain, jittered = (run(Augment(jitter=amount, noise=0), patches, 3)[0] for amount in (0, 0.2))
    for before, after in zip(plain.flatten(0, 1), jittered.flatten(0, 1), strict=True):
        gain = (after - after.min()).max() / (before - before.min()).max()
        torch.testing.assert_close(after, after.min() + gain * (before - before.min()), atol=1e-5, rtol=1e-4)
    assert (plain.amin(dim=(2, 3)) == 0).all()
    offsets = jittered.amin(dim=(2, 3))
    assert len(offsets.unique()) == offsets.numel() == 24
    assert offsets.std() == pytest.approx(0.2, rel=0.4)


def test_what_is_given_is_left_as_it_was(patches):
    images, labels = (tensor.clone() for tensor in patches)
    run(Augment(), patches)
    assert torch.equal(images, patches[0])
    assert torch.equal(labels, patches[1])


@given(
    st.integers(1, 9), st.integers(1, 9), st.floats(-4, 4), st.floats(0.2, 5), st.floats(-30, 30), st.floats(-30, 30),
    st.booleans(), st.integers(0, 2**31),
)  # fmt: skip
def test_a_patch_is_resampled_as_by_pytorch(height, width, angle, factor, x, y, holes, seed):
    """Any affine map, reaching as far beyond the edge as it likes; where rounding decides, either is right."""
    random = np.random.default_rng(seed)
    image = random.normal(size=(2, height, width)).astype(np.float32)
    label, valid = random.integers(0, 9, (height, width)), random.random((height, width)) < (0.7 if holes else 2)
    image *= valid
    cos, sin = factor * np.cos(angle), factor * np.sin(angle)
    back = np.array([[cos, -sin, x], [sin, cos, y]])
    out, shown = np.empty_like(image), np.empty_like(label)
    ones, zeros = np.ones(2, np.float32), np.zeros(2, np.float32)
    resample(
        image, label, valid if holes else np.ones((0, 0), bool), back, ones, zeros, 0.0, len(image), 0, 255, out, shown
    )
    grid = back @ np.stack([*np.meshgrid(range(width), range(height)), np.ones((height, width))]).reshape(3, -1)
    # An axis of one pixel has no length to take shares of; on it, all places are that pixel.
    spans = np.maximum([[width - 1], [height - 1]], 1)
    places = torch.from_numpy((2 * grid / spans - 1).T.reshape(1, height, width, 2))

    def torchs(array, mode):
        array = torch.from_numpy(np.asarray(array, np.float64))[None]
        wide = F.pad(array, (0, int(width == 1), 0, int(height == 1)), mode="replicate")
        return F.grid_sample(wide, places, mode, "reflection", align_corners=True)[0].numpy()

    share = torchs(valid[None], "bilinear")[0]
    clear = abs(share - 0.999) > 1e-4
    expected = torchs(image, "bilinear") * (share > 0.999)
    np.testing.assert_allclose(out[:, clear], expected[:, clear], atol=2e-4 * factor)
    middles = abs(grid % 1 - 0.5).min(axis=0).reshape(height, width) < 1e-3
    nearest = np.where(share > 0.999, torchs(label[None], "nearest")[0], 255)
    np.testing.assert_array_equal(shown[clear & ~middles], nearest[clear & ~middles])


STILL = {"rotation": 0.0, "scale": (1.0, 1.0), "jitter": 0.0, "noise": 0.0}


def test_each_of_the_four_flips_comes_and_is_exact():
    images = torch.arange(12.0).reshape(1, 1, 3, 4).expand(64, 1, 3, 4)
    flipped, labels = run(Augment(**STILL), (images, images[:, 0].long()))
    wanted = {tuple(torch.flip(images[0, 0], axes).flatten().tolist()) for axes in ((), (0,), (1,), (0, 1))}
    assert {tuple(row) for row in flipped.flatten(1).tolist()} == wanted
    assert torch.equal(labels.float(), flipped[:, 0])


@pytest.mark.parametrize(("scale", "grown"), [(0.5, False), (2.0, True)])
def test_a_scale_is_a_factor_of_size(scale, grown):
    """A square of 16 pixels in the middle becomes one of 8 or 32; the angle does not matter."""
    labels = torch.zeros(4, 64, 64).long()
    labels[:, 24:40, 24:40] = 1
    augment = Augment(**{**STILL, "scale": (scale, scale), "rotation": 180.0}, affine_share=1)
    _images, turned = run(augment, (torch.zeros(4, 1, 64, 64), labels))
    if not grown:
        # Smaller by half, the patch's mirror images come in around it.
        turned = turned[:, 16:48, 16:48]
    assert turned.sum(dim=(1, 2)).float() == pytest.approx(torch.full((4,), (16.0 * scale) ** 2), rel=0.15)


def test_angles_are_of_any_size_up_to_the_largest():
    """The direction from the middle to a spot tells the angle."""
    labels = torch.zeros(400, 65, 65).long()
    labels[:, 31:34, 52:57] = 1
    augment = Augment(**{**STILL, "rotation": 30.0}, affine_share=1)
    _images, turned = run(augment, (torch.zeros(400, 1, 65, 65), labels))
    rows, cols = (torch.arange(65.0) - 32 for _ in range(2))
    total = turned.sum(dim=(1, 2))
    down = (turned.sum(dim=2) * rows).sum(dim=1) / total
    across = (turned.sum(dim=1) * cols).sum(dim=1) / total
    angles = torch.rad2deg(torch.atan(down / across))
    assert angles.abs().max() == pytest.approx(30, abs=1.5)
    assert torch.histc(angles, 6, -30, 30).min() > 30


def test_what_is_invalid_stays_so_is_zero_and_mixes_with_nothing():
    """The image is 5 where valid, so any mixture with what is not would be another number."""
    generator = torch.Generator().manual_seed(0)
    valid = torch.rand((6, 40, 40), generator=generator) < 0.9
    labels = torch.where(valid, torch.randint(3, valid.shape, generator=generator), 255)
    images = 5.0 * valid[:, None].expand(6, 2, 40, 40)
    seen = set()
    for seed in range(4):
        augment = Augment(jitter=0.3, noise=0.5, affine_share=0.5)
        turned, masks = augment(images, labels, torch.Generator().manual_seed(seed), valid)
        empty = masks == 255
        assert (turned[empty[:, None].expand_as(turned)] == 0).all()
        assert 0.05 < empty.float().mean() < 0.5
        still = Augment(jitter=0, noise=0, affine_share=0.5)
        turned, masks = still(images, labels, torch.Generator().manual_seed(seed), valid)
        shown = turned[(masks != 255)[:, None].expand_as(turned)]
        torch.testing.assert_close(shown, torch.full_like(shown, 5.0), atol=0.01, rtol=0)
        seen |= set(masks.unique().tolist())
    assert seen == {0, 1, 2, 255}


def test_an_unlabelled_pixel_that_is_valid_keeps_its_image(patches):
    images, labels = torch.full((4, 1, 32, 32), 3.0), torch.full((4, 32, 32), 255)
    for valid in (None, torch.ones(4, 32, 32, dtype=torch.bool)):
        turned, masks = Augment(jitter=0, noise=0)(images, labels, torch.Generator().manual_seed(0), valid)
        torch.testing.assert_close(turned, images, atol=1e-3, rtol=0)
        assert (masks == 255).all()


def test_noise_is_of_the_given_strength_and_spares_half_the_patches():
    images, labels = torch.zeros(200, 2, 32, 32), torch.zeros(200, 32, 32).long()
    noisy, _ = run(Augment(**{**STILL, "noise": 0.4}), (images, labels))
    strengths = noisy.flatten(1).std(dim=1)
    assert 60 < (strengths == 0).sum() < 140
    assert strengths.max() == pytest.approx(0.4, rel=0.1)
    assert strengths[strengths > 0].min() < 0.1
    assert noisy.mean().abs() < 0.01
    loud = noisy[strengths > 0.2][0]
    assert torch.corrcoef(loud.flatten(1))[0, 1].abs() < 0.15
    # No row is another one's, nor a shifted one.
    assert len(loud.unique()) > 400


def test_band_drop_makes_one_band_its_mean_in_as_many_patches_as_asked():
    images, labels = torch.full((300, 3, 4, 4), 2.0), torch.zeros(300, 4, 4).long()
    dropped, _ = run(Augment(**STILL, band_drop=0.25), (images, labels))
    lost = (dropped == 0).all(dim=(2, 3))
    assert lost.sum(dim=1).max() == 1
    assert 50 < lost.any(dim=1).sum() < 100
    assert (lost.sum(dim=0) > 10).all()
    torch.testing.assert_close(dropped[~lost], torch.full_like(dropped[~lost], 2.0), atol=1e-3, rtol=0)
    jittered, _ = run(Augment(**{**STILL, "jitter": 0.3, "noise": 0.3}, band_drop=1.0), (images, labels))
    assert ((jittered == 0).all(dim=(2, 3)).sum(dim=1) == 1).all()
    alone, _ = run(Augment(**STILL, band_drop=1.0), (images[:, :1], labels))
    torch.testing.assert_close(alone, images[:, :1], atol=1e-3, rtol=0)


@pytest.mark.parametrize(
    "wrong",
    [{"scale": (0.0, 1.0)}, {"scale": (2.0, 1.0)}, {"band_drop": 1.5}, {"noise": -1.0}, {"rotation": 200.0},
     {"jitter": float("nan")}, {"affine_share": -0.1}],
)  # fmt: skip
def test_amounts_that_make_no_sense_are_refused_with_their_number(wrong):
    value = next(iter(wrong.values()))
    with pytest.raises(ModelError, match=str(value[0] if isinstance(value, tuple) else value)):
        Augment(**wrong)
