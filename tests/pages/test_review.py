"""The worst and best patches of a validation are those that a count by hand finds."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from untrained import CLASSES, make_model

from geounet.data.labels import Pair
from geounet.metrics.pixels import Evaluation
from geounet.pages.review import Review, extremes, footprints_of
from geounet.raster.scene import load_scene
from geounet.training.loop import EpochResult

CODES = np.array([item.value for item in CLASSES], np.uint8)


@pytest.fixture(scope="module")
def card(tmp_path_factory):
    return make_model(tmp_path_factory.mktemp("model") / "m.safetensors", 3)


@pytest.fixture
def case(tmp_path, write_scene, card):
    """Two scenes whose largest band is the class that the network says; labels agree to a degree of each cell's own."""
    rng = np.random.default_rng(3)
    pairs, truths = [], []
    for name, cells in (("a", (2, 3)), ("b", (1, 2))):
        shape = cells[0] * 16, cells[1] * 16
        said = rng.integers(0, 3, shape)
        wrong = rng.random(shape) < np.kron(rng.random(cells), np.ones((16, 16)))
        truth = np.where(wrong, (said + 1) % 3, said)
        image = 50 + 100 * (np.arange(3)[:, None, None] == said).astype(np.uint8)
        truths.append((said, truth, image))
        pairs.append([name, image, CODES[truth]])
    return SimpleNamespace(card=card, pairs=pairs, truths=truths, folder=tmp_path, write=write_scene)


def built(case):
    return [
        Pair(
            load_scene(case.write(case.folder / f"{name}.tif", image, nodata=0)),
            load_scene(case.write(case.folder / f"{name}_l.tif", label, nodata=255)),
        )
        for name, image, label in case.pairs
    ]


def looked(case, **how):
    network = torch.nn.Conv2d(3, 3, 1)
    with torch.no_grad():
        network.weight.copy_(torch.eye(3)[:, :, None, None])
        network.bias.zero_()
    return extremes(
        network, case.card, built(case), device=torch.device("cpu"), dtype=torch.float32, **{"size": 16, **how}
    )


def ious(case):
    """Mean IoU of each cell, by counting."""
    found = {}
    for (name, _image, label), (said, _truth, _) in zip(case.pairs, case.truths, strict=True):
        for row in range(0, label.shape[0], 16):
            for col in range(0, label.shape[1], 16):
                at = slice(row, row + 16), slice(col, col + 16)
                one, two = CODES[said[at]], label[at]
                seen = [code for code in CODES if ((one == code) | (two == code))[two != 255].any()]
                both = [
                    ((one == code) & (two == code)).sum() / (((one == code) | (two == code)) & (two != 255)).sum()
                    for code in seen
                ]
                found[name, row, col] = float(np.mean(both)) if (two != 255).mean() >= 0.25 else None
    return found


def keys(patches):
    return [(patch.scene[-5], patch.window.row, patch.window.col) for patch in patches]


def test_worst_and_best_are_those_of_a_count_by_hand_and_none_is_both(case):
    case.pairs[0][2][:16, :16][4:] = 255  # a quarter labelled
    case.pairs[1][2][:16, :16][3:] = 255  # less than that
    known = {key: value for key, value in ious(case).items() if value is not None}
    assert len(known) == 7
    order = sorted(known, key=known.get)
    worst, best = looked(case, count=3)
    assert keys(worst) == order[:3]
    assert keys(best) == order[:-4:-1]
    assert [patch.mean_iou for patch in worst] == pytest.approx([known[key] for key in order[:3]])
    worst, best = looked(case, count=6)
    assert keys(worst) == order[:6]
    assert keys(best) == order[6:]


def test_a_patch_of_one_class_is_no_best_one_while_there_are_others(case):
    said, _, _ = case.truths[0]
    said[:16, :16] = 1
    case.pairs[0][1][:, :16, :16] = np.array([50, 150, 50])[:, None, None]
    case.pairs[0][2][:16, :16] = CODES[1]
    _worst, best = looked(case, count=2)
    assert ious(case)["a", 0, 0] == 1
    assert ("a", 0, 0) not in keys(best)


def test_a_patch_shows_image_reference_and_prediction(case):
    """In class codes, with 255 where there is no label or no image; brighter bands are brighter pixels."""
    case.pairs[0][1][:, 2, 3] = 0
    worst, best = looked(case, count=8)
    assert best == ()
    (patch,) = [patch for patch in worst if keys([patch]) == [("a", 0, 0)]]
    said, truth, image = case.truths[0]
    wanted = CODES[said[:16, :16]]
    wanted[2, 3] = 255
    np.testing.assert_array_equal(patch.predicted, wanted)
    reference = CODES[truth[:16, :16]]
    reference[2, 3] = 255
    np.testing.assert_array_equal(patch.reference, reference)
    assert patch.image[2, 3, 3] == 0
    shown = patch.image[..., :3][patch.image[..., 3] > 0]
    order = image[:, :16, :16].transpose(1, 2, 0)[patch.image[..., 3] > 0]
    assert (shown[order == 150] == 255).all()
    assert (shown[order == 50] == 0).all()


def test_the_scores_are_of_the_last_epoch_that_was_better():
    counts = torch.tensor([[5, 1, 0], [0, 4, 0], [0, 2, 9]])
    card = SimpleNamespace(classes=CLASSES)
    history = tuple(
        EpochResult(epoch, 1.0, counts * epoch, 1.0, 1.0, best=better)
        for epoch, better in ((1, True), (2, True), (3, False))
    )
    review = Review("m", card, history, np.zeros(256, np.int64))
    assert review.chosen.epoch == 2
    assert isinstance(review.evaluation, Evaluation)
    np.testing.assert_array_equal(review.evaluation.matrix, counts * 2)
    assert Review("m", card, (), np.zeros(256, np.int64)).evaluation is None


def test_footprints_are_of_what_a_pair_stands_for(case):
    ground = footprints_of("training", built(case))
    assert ground.name == "training"
    assert [round(shape.area * 1e9) for shape in ground.outlines] == pytest.approx([18900, 6300], rel=0.02)
