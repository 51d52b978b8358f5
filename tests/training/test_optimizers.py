"""What moves the weights: Muon's step by singular values, who is moved by whom, and that overflow moves nothing."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from segmentation_models_pytorch import Unet
from torch import nn

from geounet.errors import ModelError
from geounet.models.losses import cross_entropy
from geounet.models.unet import UNet
from geounet.training.loop import Schedule, Training
from geounet.training.optimizers import Muon, build_optimizers, orthogonalised
from geounet.training.recipe import Recipe

pytestmark = pytest.mark.numerical


def by_singular_values(matrix):
    """The orthogonalised matrix in float64: the published quintic on each singular value, vectors as they are."""
    left, values, right = torch.linalg.svd(matrix.double(), full_matrices=False)
    values = values / values.norm()
    for _ in range(5):
        values = 3.4445 * values - 4.7750 * values**3 + 2.0315 * values**5
    return left @ torch.diag(values) @ right


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.sampled_from([1e-20, 1.0, 1e12]), st.integers(0, 10**6))
def test_orthogonalised_keeps_singular_vectors_and_makes_their_values_alike(rows, columns, scale, seed):
    matrix = scale * torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed))
    expected = by_singular_values(matrix)
    found = orthogonalised(matrix, torch.float32)
    torch.testing.assert_close(found.double(), expected, atol=2e-3, rtol=0)
    assert found.is_contiguous()
    values = torch.linalg.svdvals(found)
    assert values.max() < 1.25
    large = torch.linalg.svdvals(matrix / matrix.norm()) > 1e-2
    assert values[large].min() > 0.6
    rough = orthogonalised(matrix, torch.bfloat16)
    assert rough.dtype == torch.float32
    assert (rough.double() - expected).norm() < 0.1 * expected.norm()


def test_nothing_orthogonalised_is_nothing():
    assert torch.equal(orthogonalised(torch.zeros(3, 4), torch.float32), torch.zeros(3, 4))


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("shape", [(20, 6, 3, 3), (6, 2, 1, 2), (30, 5)])
def test_a_step_of_muon_by_hand(layout, shape):
    """Momentum, Nesterov's look ahead, decay, and a length by the matrix's shape; the layout in memory is no matter."""
    random = torch.Generator().manual_seed(0)
    start = torch.randn(shape, generator=random)
    laid_out = start.clone(memory_format=layout) if len(shape) == 4 else start.clone()
    weight = nn.Parameter(laid_out)
    optimizer = Muon([weight], lr=0.02, weight_decay=0.5, momentum=0.9)
    expected, buffer = start.double(), torch.zeros(shape, dtype=torch.float64)
    for _ in range(3):
        gradient = torch.randn(shape, generator=random)
        weight.grad = gradient.clone()
        optimizer.step()
        buffer = 0.9 * buffer + 0.1 * gradient
        turned = by_singular_values((0.1 * gradient + 0.9 * buffer).flatten(1)).reshape(shape)
        length = 0.2 * math.sqrt(max(shape[0], math.prod(shape[1:])))
        expected = expected * (1 - 0.02 * 0.5) - 0.02 * length * turned
    torch.testing.assert_close(weight.detach().double(), expected, atol=1e-4, rtol=0)
    assert (weight.detach() - start * (1 - 0.02 * 0.5) ** 3).abs().max() > 0.01


def test_a_weight_without_a_gradient_stays_and_a_closure_is_called():
    weights = [nn.Parameter(torch.ones(10, 10)) for _ in range(2)]
    optimizer = Muon(weights, lr=0.1)

    def closure():
        loss = (weights[0] ** 2).sum()
        loss.backward()
        return loss.item()

    assert optimizer.step(closure) == 100
    assert torch.equal(weights[1], torch.ones(10, 10))
    assert not torch.equal(weights[0], torch.ones(10, 10))


@pytest.mark.parametrize(
    ("network", "others"),
    [
        (UNet(12, 20, depth=2, width=10), {"first.0.weight", "head.weight"}),
        (
            Unet("mobilenet_v2", encoder_weights=None, in_channels=12, classes=12),
            {"encoder.features.0.0.weight", "segmentation_head.0.weight"},
        ),
    ],
)
def test_each_weight_has_one_optimizer_and_muon_those_of_hidden_layers(network, others):
    """The first and the last layer are AdamW's, biases, normalisations, and what joins few channels (depthwise)."""
    names = {id(weight): name for name, weight in network.named_parameters()}
    kinds = [
        {names[id(weight)] for group in optimizer.param_groups for weight in group["params"]}
        for optimizer in build_optimizers(network, "muon", 0.0, torch.float32)
    ]
    assert sorted([*kinds[0], *kinds[1]]) == sorted(names.values())
    for name, weight in network.named_parameters():
        narrow = weight.ndim == 1 or min(weight.shape[:2]) <= 8
        assert (name in kinds[0]) == (narrow or name in others), name
    assert len(kinds[1]) > 5


def test_adamw_alone_and_what_auto_means():
    network = UNet(3, 2, depth=1, width=16)
    (only,) = build_optimizers(network, "adamw", 0.1, torch.float32)
    assert isinstance(only, torch.optim.AdamW)
    assert len(only.param_groups[0]["params"]) == len(list(network.parameters()))
    with pytest.raises(ModelError, match="no optimizer 'sgd'; there are muon, adamw"):
        build_optimizers(network, "sgd", 0.1, torch.float32)
    assert [Recipe(**how).chosen_optimizer for how in ({}, {"weights": "imagenet"})] == ["muon", "adamw"]
    pretrained = Recipe(weights="imagenet", optimizer="muon")
    assert (pretrained.chosen_optimizer, Recipe(optimizer="adamw").chosen_optimizer) == ("muon", "adamw")


@pytest.mark.parametrize("clip_norm", [0.0, 5.0])
@pytest.mark.parametrize("last_layer", [False, True])
def test_where_scaled_gradients_overflow_no_weight_of_either_optimizer_moves(clip_norm, last_layer):
    """An infinite gradient in a weight of the one or the other; the scale falls, and the next step is taken."""
    torch.manual_seed(0)
    network = UNet(2, 2, depth=1, width=12)
    schedule = Schedule(1, clip_norm=clip_norm, warm_up=0.0)
    training = Training(network, cross_entropy, schedule, device=torch.device("cpu"), dtype=torch.float16)
    assert len(training.optimizers) == 2
    bad = network.head.weight if last_layer else network.contracting[0][0].weight
    steps = []

    def spoil(gradient):
        steps.append({name: weight.detach().clone() for name, weight in network.named_parameters()})
        return gradient * math.inf if len(steps) == 1 else gradient

    bad.register_hook(spoil)
    images = torch.randn(2, 2, 8, 8, generator=torch.Generator().manual_seed(1))
    batch = {"image": images, "mask": (images[:, 0] > 0).long()}
    scale = training.scaler.get_scale()
    list(training.epochs(lambda _epoch: [batch, batch, batch]))
    assert training.scaler.get_scale() < scale
    before, after, later = steps
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert all(not torch.equal(after[name], later[name]) for name in after if later[name].ndim > 1)
