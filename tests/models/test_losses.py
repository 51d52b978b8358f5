"""Losses agree with PyTorch and with sums by hand, and ignore what is unlabelled."""

import math

import pytest
import torch
from torch.nn import functional as F

from geounet.models.losses import IGNORE_INDEX, LOSSES, cross_entropy, cross_entropy_dice, dice

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


def test_their_sum_weighs_classes_in_the_cross_entropy_alone(batch):
    logits, labels = batch
    expected = cross_entropy(logits, labels, WEIGHTS) + dice(logits, labels)
    torch.testing.assert_close(cross_entropy_dice(logits, labels, WEIGHTS), expected)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_what_is_unlabelled_has_no_say(batch, name, weights):
    logits, labels = batch
    changed = torch.where((labels == IGNORE_INDEX)[:, None], torch.randn_like(logits) * 50, logits)
    torch.testing.assert_close(LOSSES[name](changed, labels, weights), LOSSES[name](logits, labels, weights))
    logits.requires_grad_()
    LOSSES[name](logits, labels, weights).backward()
    assert (logits.grad.movedim(1, -1)[labels == IGNORE_INDEX] == 0).all()
    assert (logits.grad != 0).any()


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_a_batch_without_a_label_has_no_loss_and_a_gradient_of_zero(batch, name, weights):
    logits = batch[0].requires_grad_()
    loss = LOSSES[name](logits, torch.full((2, 4, 5), IGNORE_INDEX), weights)
    loss.backward()
    assert loss.item() == 0
    assert (logits.grad == 0).all()


@pytest.mark.parametrize("name", LOSSES)
def test_a_perfect_prediction_costs_next_to_nothing_and_its_opposite_much(batch, name):
    labels = batch[1]
    truth = F.one_hot(labels.where(labels != IGNORE_INDEX, 0), 3).movedim(-1, 1).float()
    assert LOSSES[name](30 * truth, labels, WEIGHTS).item() < 1e-3
    assert LOSSES[name](-30 * truth, labels, WEIGHTS).item() > 0.5


def test_a_class_that_is_weighted_zero_does_not_count():
    labels = torch.tensor([[[0, 1]]])
    logits = torch.tensor([[[[2.0, 1.0]], [[0.0, 3.0]]]])
    only_first = torch.tensor([1.0, 0.0])
    first = cross_entropy(logits, torch.tensor([[[0, IGNORE_INDEX]]]))
    torch.testing.assert_close(cross_entropy(logits, labels, only_first), first)
