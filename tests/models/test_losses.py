"""Losses agree with PyTorch and with sums by hand, and ignore what is unlabelled."""

import math

import pytest
import segmentation_models_pytorch.losses as smp
import torch
from torch.nn import functional as F

from geounet.errors import ModelError
from geounet.models.losses import IGNORE_INDEX, KINDS, build_loss, cross_entropy, dice, focal, jaccard, lovasz, tversky

pytestmark = pytest.mark.numerical

NAMES = [*KINDS, "ce+dice", "ce+lovasz", "ce+0.5*tversky:0.3:0.7+focal:1"]
WEIGHTS = torch.tensor([0.5, 2.0, 1.0])


@pytest.fixture
def batch():
    """Logits (2, 3, 4, 5) and labels (2, 4, 5), a third of them unlabelled."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(3, (2, 4, 5), generator=generator)
    labels[torch.rand(labels.shape, generator=generator) < 1 / 3] = IGNORE_INDEX
    return torch.randn(2, 3, 4, 5, generator=generator), labels


@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_cross_entropy_is_pytorchs(batch, weights):
    logits, labels = batch
    expected = F.cross_entropy(logits, labels, weights, ignore_index=IGNORE_INDEX)
    torch.testing.assert_close(cross_entropy(logits, labels, weights), expected)


def by_hand(logits, labels, weights):
    """Soft Dice, class by class, pixel by pixel."""
    shares, total = 0.0, 0.0
    for index in range(logits.shape[1]):
        overlap = predicted = truth = 0.0
        for image, row, col in torch.cartesian_prod(*map(torch.arange, labels.shape)).tolist():
            if labels[image, row, col] == IGNORE_INDEX:
                continue
            odds = [math.exp(value) for value in logits[image, :, row, col].tolist()]
            probability, hit = odds[index] / sum(odds), labels[image, row, col] == index
            overlap, predicted, truth = overlap + probability * hit, predicted + probability, truth + hit
        if truth:
            shares += weights[index] * (1 - (2 * overlap + 1) / (predicted + truth + 1))
            total += weights[index]
    return shares / total


@pytest.mark.parametrize("weights", [None, WEIGHTS])
@pytest.mark.parametrize("absent", [None, 1])
def test_dice_is_what_it_is_by_hand_over_the_classes_that_occur(batch, weights, absent):
    logits, labels = batch
    labels[labels == absent] = 2
    expected = by_hand(logits, labels, [1.0] * 3 if weights is None else weights.tolist())
    assert dice(logits, labels, weights).item() == pytest.approx(float(expected), rel=1e-5)


def test_dice_of_two_pixels_by_arithmetic():
    # Probabilities of class 0: 1/2 and 1/2; labels 0 and 1: 1 - (2 * 1/2 + 1) / (1 + 1 + 1) for both classes.
    loss = dice(torch.zeros(1, 2, 1, 2), torch.tensor([[[0, 1]]]))
    assert loss.item() == pytest.approx(1 / 3)


@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_label_smoothing_is_pytorchs(batch, weights):
    logits, labels = batch
    expected = F.cross_entropy(logits, labels, weights, ignore_index=IGNORE_INDEX, label_smoothing=0.2)
    torch.testing.assert_close(build_loss("ce", smoothing=0.2)(logits, labels, weights, None), expected)


def labelled_everywhere(batch):
    """The same, each class somewhere, so that smp's mean over all classes is one over those that occur."""
    return batch[0], batch[1].where(batch[1] != IGNORE_INDEX, 0)


@pytest.mark.parametrize("ignored", [False, True])
def test_tversky_and_dice_are_smps_where_every_class_occurs(batch, ignored):
    logits, labels = batch if ignored else labelled_everywhere(batch)
    given = {"mode": "multiclass", "ignore_index": IGNORE_INDEX}
    # What smp adds above and below is, in Tversky's form, the same as ours.
    theirs = smp.TverskyLoss(smooth=0.5, alpha=0.2, beta=0.9, **given)(logits, labels)
    torch.testing.assert_close(tversky(logits, labels, alpha=0.2, beta=0.9), theirs)
    torch.testing.assert_close(dice(logits, labels), smp.DiceLoss(smooth=0.5, **given)(logits, labels))


def test_jaccard_is_smps(batch):
    logits, labels = labelled_everywhere(batch)
    theirs = smp.JaccardLoss("multiclass", smooth=0.5)(logits, labels)
    torch.testing.assert_close(jaccard(logits, labels), theirs)
    assert jaccard(logits, labels) > dice(logits, labels)


def test_focal_by_hand(batch):
    """Pixel by pixel; with gamma 0 it is cross-entropy."""
    logits, labels = batch
    total = weight = 0.0
    for image, row, col in torch.cartesian_prod(*map(torch.arange, labels.shape)).tolist():
        label = labels[image, row, col].item()
        if label != IGNORE_INDEX:
            probability = logits[image, :, row, col].double().softmax(0)[label].item()
            total += WEIGHTS[label].item() * (1 - probability) ** 1.5 * -math.log(probability)
            weight += WEIGHTS[label].item()
    assert focal(logits, labels, WEIGHTS, gamma=1.5).item() == pytest.approx(total / weight, rel=1e-5)
    torch.testing.assert_close(focal(logits, labels, WEIGHTS, gamma=0), cross_entropy(logits, labels, WEIGHTS))


def test_focal_of_what_is_certain_has_a_gradient():
    logits = torch.tensor([[[[200.0]], [[-200.0]]]], requires_grad=True)
    focal(logits, torch.zeros(1, 1, 1, dtype=torch.int64), gamma=0.5).backward()
    assert torch.isfinite(logits.grad).all()


def test_lovasz_of_hard_predictions_is_one_minus_the_mean_iou_of_the_classes_that_occur():
    """Its defining property, at the corners of the probabilities' cube; ignored pixels and absent classes left out."""
    labels = torch.tensor([[[0, 0, 0, 2, 2, IGNORE_INDEX]]])
    predicted = torch.tensor([[[0, 2, 2, 2, 2, 0]]])
    logits = 200.0 * F.one_hot(predicted, 3).movedim(-1, 1)
    # Class 0: 1 of 3. Class 2: 2 of 4. Class 1 is on neither side.
    assert lovasz(logits, labels).item() == pytest.approx(1 - (1 / 3 + 2 / 4) / 2)


def test_a_sum_weighs_classes_and_pixels_in_the_losses_by_pixel_alone(batch):
    logits, labels = batch
    pixels = torch.rand(labels.shape, generator=torch.Generator().manual_seed(1))
    expected = 2 * cross_entropy(logits, labels, WEIGHTS, pixels) + dice(logits, labels)
    expected += 0.5 * tversky(logits, labels, alpha=0.3, beta=0.6) + focal(logits, labels, WEIGHTS, pixels, gamma=1)
    loss = build_loss("2*ce + dice+0.5*tversky:0.3:0.6+focal:1")
    torch.testing.assert_close(loss(logits, labels, WEIGHTS, pixels), expected)


def test_a_pixels_weight_is_a_factor_that_the_mean_does_not_divide_by(batch):
    logits, labels = batch
    for loss in (cross_entropy, focal):
        torch.testing.assert_close(
            loss(logits, labels, WEIGHTS, torch.full(labels.shape, 3.0)), 3 * loss(logits, labels, WEIGHTS)
        )
    one = torch.zeros(labels.shape).index_put_(tuple((labels != IGNORE_INDEX).nonzero()[0]), torch.tensor(1.0))
    assert 0 < cross_entropy(logits, labels, None, one) < cross_entropy(logits, labels)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("hinge", "no loss 'hinge'"), ("ce+", "no loss ''"), ("", "no loss ''"), ("ce*2", "no loss"),
        ("ce:1", "takes none"), ("focal:1:2", r"takes up to 1 \(gamma\)"), ("0*ce", "must be above 0"),
    ],
)  # fmt: skip
def test_what_is_no_loss_is_refused_with_what_would_be(text, message):
    with pytest.raises(ModelError, match=message):
        build_loss(text)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_what_is_unlabelled_has_no_say(batch, name, weights):
    logits, labels = batch
    loss = build_loss(name)
    changed = torch.where((labels == IGNORE_INDEX)[:, None], torch.randn_like(logits) * 50, logits)
    torch.testing.assert_close(loss(changed, labels, weights, None), loss(logits, labels, weights, None))
    logits.requires_grad_()
    loss(logits, labels, weights, None).backward()
    assert (logits.grad.movedim(1, -1)[labels == IGNORE_INDEX] == 0).all()
    assert (logits.grad != 0).any()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_a_batch_without_a_label_has_no_loss_and_a_gradient_of_zero(batch, name, weights):
    logits = batch[0].requires_grad_()
    loss = build_loss(name)(logits, torch.full((2, 4, 5), IGNORE_INDEX), weights, torch.ones(2, 4, 5))
    loss.backward()
    assert loss.item() == 0
    assert (logits.grad == 0).all()


@pytest.mark.parametrize("name", NAMES)
def test_a_perfect_prediction_costs_next_to_nothing_and_its_opposite_much(batch, name):
    labels = batch[1]
    truth = F.one_hot(labels.where(labels != IGNORE_INDEX, 0), 3).movedim(-1, 1).float()
    assert build_loss(name)(30 * truth, labels, WEIGHTS, None).item() < 1e-3
    assert build_loss(name)(-30 * truth, labels, WEIGHTS, None).item() > 0.5


@pytest.mark.parametrize("name", NAMES)
def test_logits_of_half_precision_give_nearly_the_same(batch, name):
    """As in mixed precision: bfloat16 logits, the loss in float32, a gradient of bfloat16."""
    logits, labels = batch
    half = logits.bfloat16().requires_grad_()
    loss = build_loss(name)(half.float(), labels, WEIGHTS, None)
    loss.backward()
    assert loss.item() == pytest.approx(build_loss(name)(logits, labels, WEIGHTS, None).item(), rel=2e-2)
    assert torch.isfinite(half.grad).all()


def test_a_class_that_is_weighted_zero_does_not_count():
    labels = torch.tensor([[[0, 1]]])
    logits = torch.tensor([[[[2.0, 1.0]], [[0.0, 3.0]]]])
    only_first = torch.tensor([1.0, 0.0])
    first = cross_entropy(logits, torch.tensor([[[0, IGNORE_INDEX]]]))
    torch.testing.assert_close(cross_entropy(logits, labels, only_first), first)
