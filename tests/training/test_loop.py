"""The loop: what a step does, when it ends, and that an interrupted training gives what an uninterrupted one gives."""

import math
from itertools import pairwise

import pytest
import torch
from torch import nn

from geounet.errors import ModelError
from geounet.models.losses import IGNORE_INDEX, build_loss, cross_entropy
from geounet.models.unet import UNet
from geounet.training.loop import EpochResult, Schedule, Training, validate
from geounet.training.seeds import derived_seed
from geounet.training.state import StateKeeper, restore_state, save_state, state_path

pytestmark = pytest.mark.numerical

CPU = {"device": torch.device("cpu"), "dtype": torch.float32}


@pytest.fixture(autouse=True)
def one_thread():
    """Networks as small as these only wait for each other's threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def batch(number, size=4):
    """Images (size, 2, 8, 12) and labels of what is brighter in them, from a number."""
    images = torch.randn(size, 2, 8, 12, generator=torch.Generator().manual_seed(number))
    return {"image": images, "mask": (images[:, 0] > images[:, 1]).long()}


def batches(epoch):
    return [batch(derived_seed(7, epoch, number)) for number in range(3)]


def network(seed=0, dropout=0.0):
    """A UNet with batch normalisation, and dropout before it; wide enough for both optimizers."""
    torch.manual_seed(seed)
    return nn.Sequential(nn.Dropout(dropout), UNet(2, 2, depth=1, width=9))


def weights_of(module):
    """All weights and batch statistics, without the counters of batches."""
    return torch.cat(
        [tensor.flatten().double() for tensor in module.state_dict().values() if tensor.is_floating_point()]
    )


def run(schedule, *, data=batches, validation=None, net=None, **given):
    """Train to the end."""
    training = Training(net or network(), cross_entropy, schedule, **{**CPU, **given})
    for _ in training.epochs(data, validation):
        pass
    return training


def gradients(data, accumulate):
    """The gradient of each step over an epoch in which, at a rate of nothing, the weights stay."""
    torch.manual_seed(0)
    net = nn.Conv2d(2, 2, 1)
    schedule = Schedule(1, accumulate=accumulate, learning_rate=1e-12, weight_decay=0.0, clip_norm=0.0)
    training, found = Training(net, cross_entropy, schedule, **CPU), []
    training.optimizers[0].register_step_pre_hook(
        lambda *_: found.append(torch.cat([weight.grad.flatten() for weight in net.parameters()]))
    )
    list(training.epochs(lambda _epoch: data))
    assert training.steps == len(found)
    return torch.stack(found)


def test_accumulated_gradients_are_those_of_one_large_batch():
    """Two batches of four give the step of one of eight; one left over at the epoch's end counts in full."""
    parts = [batch(number) for number in range(4)]
    pairs = [{name: torch.cat([one[name], two[name]]) for name in one} for one, two in (parts[:2], parts[2:])]
    torch.testing.assert_close(gradients(parts, 2), gradients(pairs, 1))
    torch.testing.assert_close(gradients(parts[:3], 2), gradients([pairs[0], parts[2]], 1))


@pytest.mark.parametrize("limit", [0.0, 1e-3])
def test_the_gradients_norm_is_clipped(limit):
    norms = []
    training = Training(network(), cross_entropy, Schedule(1, clip_norm=limit), **CPU)
    parameters = list(training.network.parameters())
    training.optimizers[0].register_step_pre_hook(
        lambda *_: norms.append(float(nn.utils.get_total_norm([weight.grad for weight in parameters])))
    )
    list(training.epochs(batches))
    assert len(norms) == 3
    if limit:
        assert max(norms) <= limit * 1.001
    else:
        assert min(norms) > 0.01


def test_what_is_kept_is_the_moving_average_of_weights_and_batch_statistics():
    """By the recursion: first the weights themselves, then ever slower, up to the decay."""
    training = Training(network(), cross_entropy, Schedule(4, ema=0.5, learning_rate=0.05), **CPU)
    seen = []
    training.optimizers[-1].register_step_post_hook(lambda *_: seen.append(weights_of(training.network).clone()))
    list(training.epochs(batches))
    expected = seen[0]
    for step, present in enumerate(seen[1:], 1):
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * present
    torch.testing.assert_close(weights_of(training.model), expected, rtol=1e-4, atol=1e-5)
    assert (weights_of(training.network) - weights_of(training.model)).abs().max() > 1e-3
    assert training.model is not training.network


def test_the_average_is_what_is_validated():
    training = run(Schedule(2, ema=0.9, learning_rate=0.1), validation=[batch(99)])
    matrix, loss = validate(training.model, [batch(99)], cross_entropy, **CPU)
    assert torch.equal(training.history[-1].matrix, matrix)
    assert training.history[-1].validation_loss == pytest.approx(loss)
    assert validate(training.network, [batch(99)], cross_entropy, **CPU)[1] != pytest.approx(loss)


def test_training_ends_after_so_many_epochs_without_a_better_one():
    """Nothing is learnt at a rate of nothing, so no epoch after the first is better."""
    training = run(Schedule(50, learning_rate=1e-12, patience=3), validation=[batch(99)])
    assert [result.best for result in training.history] == [True, False, False, False]
    assert training.best.epoch == 1
    assert len(run(Schedule(5, learning_rate=1e-12, patience=3)).history) == 5


def copy_of(module):
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def test_a_frozen_encoder_stays_as_it_is_then_learns():
    """Its weights and its batch statistics; the decoder learns meanwhile."""
    net = UNet(2, 2, depth=1, width=4)
    training = Training(net, cross_entropy, Schedule(2, freeze_encoder=1, learning_rate=0.01), **CPU)
    states = [copy_of(net), *(copy_of(net) for _ in training.epochs(batches))]
    encoder = [name for name in states[0] if name.startswith(("first", "contracting"))]
    decoder = [name for name in states[0] if name not in encoder]
    assert len(encoder) > 10
    for names, changes in ((encoder, (False, True)), (decoder, (True, True))):
        for (before, after), changed in zip(pairwise(states), changes, strict=True):
            assert all(torch.equal(before[name], after[name]) != changed for name in names)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_mixed_precision_learns_what_float32_learns(dtype):
    """float16 with scaled gradients, or the small ones would vanish."""
    losses = {}
    for kind in (torch.float32, dtype):
        training = run(Schedule(4, learning_rate=0.02), dtype=kind)
        assert {weight.dtype for weight in training.network.parameters()} == {torch.float32}
        losses[kind] = training.history[-1].loss
        assert losses[kind] < training.history[0].loss
    assert losses[dtype] == pytest.approx(losses[torch.float32], rel=0.1)
    assert training.scaler.is_enabled() == (dtype is torch.float16)


def test_not_a_number_stops_with_a_sentence_and_for_float16_names_the_other_precisions():
    bad = batch(0)
    bad["image"][0, 0, 0, 0] = math.nan
    for position in (0, 2):
        data = [batch(1), batch(2), batch(3)]
        data[position] = bad
        with pytest.raises(ModelError, match=r"the loss became nan; try a lower --learning-rate$"):
            run(Schedule(1), data=lambda _epoch, data=data: data)
    with pytest.raises(ModelError, match="or --precision bf16 or fp32"):
        run(Schedule(1), data=lambda _epoch: [bad], dtype=torch.float16)


def test_a_training_without_a_step_is_no_training():
    with pytest.raises(ModelError, match="epoch 1 moved no weight: it had no batch to learn from"):
        run(Schedule(3), data=lambda _epoch: [])


def test_however_short_the_time_there_is_a_step():
    training = run(Schedule(100, minutes=1e-9))
    assert (len(training.history), training.steps) == (1, 1)


def test_weights_that_break_in_the_last_step_are_not_kept():
    """The loss does not know yet."""

    def broken(logits, labels, *_):
        return cross_entropy(logits, labels) + (logits * 0).sqrt().sum()

    training = Training(network(), broken, Schedule(1), **CPU)
    with pytest.raises(ModelError, match=r"weights became NaN or infinite in epoch 1; try a lower --learning-rate$"):
        list(training.epochs(lambda _epoch: [batch(1)]))
    assert training.history == []


def test_steps_that_all_overflow_are_none():
    with pytest.raises(ModelError, match=r"epoch 1 moved no weight: all its steps overflowed; .* or --precision bf16"):
        run(Schedule(1), data=lambda _epoch: [batch(1)], net=Overflowing(), dtype=torch.float16)


class Overflowing(nn.Module):
    """Finite logits whose gradient is not, in half precision."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Conv2d(2, 2, 1)

    def forward(self, images):
        logits = self.layer(images)
        logits.register_hook(lambda gradient: gradient * math.inf)
        return logits


def test_the_validation_loss_is_the_mean_over_labelled_pixels_of_the_cores():
    one, two = batch(1), batch(2)
    two["mask"][:, :4] = IGNORE_INDEX
    one["core"] = (slice(0, 8), slice(2, 7))
    net = network().eval()
    _, loss = validate(net, [one, two], cross_entropy, **CPU)
    with torch.no_grad():
        logits = torch.cat([net(one["image"])[..., 2:7].flatten(2), net(two["image"])[..., 4:, :].flatten(2)], dim=2)
    labels = torch.cat([one["mask"][..., 2:7].flatten(1), two["mask"][..., 4:, :].flatten(1)], dim=1)
    assert loss == pytest.approx(cross_entropy(logits[..., None], labels[..., None]).item(), rel=1e-5)


def test_f1_by_hand():
    result = EpochResult(1, 0.0, torch.tensor([[6, 2, 0], [1, 3, 0], [0, 0, 0]]), 0.0, 1.0)
    assert result.f1[:2] == pytest.approx([2 * 6 / (8 + 7), 2 * 3 / (4 + 5)])
    assert math.isnan(result.f1[2])


@pytest.mark.parametrize(
    "given",
    [{"epochs": 0}, {"minutes": 0.0}, {"accumulate": 0}, {"patience": 0}, {"ema": 1.0}, {"clip_norm": -1.0},
     {"freeze_encoder": -1}, {"warm_up": 1.0}],
)  # fmt: skip
def test_a_schedule_that_makes_no_sense_is_refused(given):
    with pytest.raises(ModelError, match="given"):
        Schedule(**{"epochs": 1, **given})


REQUEST = {"width": 4, "loss": "ce"}


def begun(schedule, dtype=torch.float32):
    return Training(
        network(dropout=0.3), build_loss("ce+dice"), schedule, class_weights=torch.tensor([1.0, 2.0]),
        device=torch.device("cpu"), dtype=dtype, seed=5,
    )  # fmt: skip


@pytest.mark.parametrize("epochs_before", [1, 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_a_restored_training_goes_on_bit_for_bit(tmp_path, epochs_before, dtype):
    """Weights, averages, optimizers' moments, scaler, learning rate, dropout, history: in another process's place."""
    schedule = Schedule(5, ema=0.8, accumulate=2, learning_rate=0.02)
    whole = begun(schedule, dtype)
    list(whole.epochs(batches, [batch(99)]))
    first = begun(schedule, dtype)
    path = state_path(tmp_path / "m.safetensors")
    for result in first.epochs(batches, [batch(99)]):
        if result.epoch == epochs_before:
            save_state(path, first, REQUEST)
            break
    torch.rand(3)
    second = begun(schedule, dtype)
    restore_state(path, second, REQUEST)
    list(second.epochs(batches, [batch(99)]))
    for part in ("network", "model"):
        assert torch.equal(weights_of(getattr(second, part)), weights_of(getattr(whole, part)))
    for one, other in zip(second.history, whole.history, strict=True):
        assert torch.equal(one.matrix, other.matrix)
        for name in ("epoch", "loss", "validation_loss", "learning_rate", "steps", "best", "progress"):
            assert getattr(one, name) == getattr(other, name)
    assert second.history[-1].seconds > first.history[-1].seconds


def test_the_state_is_written_seldom_but_after_the_best_epoch(tmp_path, monkeypatch):
    """By a clock that each look at it puts on by a second: writing takes one, so the next is due after thirty."""
    seconds = iter(range(1000))
    monkeypatch.setattr("geounet.training.state.time.monotonic", lambda: next(seconds))
    path = state_path(tmp_path / "m.safetensors")
    training = begun(Schedule(1))
    keeper = StateKeeper(path, training, REQUEST)
    written = []
    for look in range(90):
        keeper.keep(better=look == 50)
        if path.exists():
            written.append(look)
            path.unlink()
    assert written == [0, 30, 50, 80]


def test_a_state_of_another_request_is_refused_by_what_differs(tmp_path):
    training = begun(Schedule(2))
    path = tmp_path / "m.state"
    save_state(path, training, REQUEST)
    with pytest.raises(ModelError, match=r"width was 4 and is 8\); give the same to --resume, or --overwrite"):
        restore_state(path, begun(Schedule(2)), {**REQUEST, "width": 8})


@pytest.mark.parametrize("content", [b"", b"rubbish", None])
def test_a_damaged_state_is_named(tmp_path, content):
    path = tmp_path / "m.state"
    save_state(path, begun(Schedule(2)), REQUEST)
    path.write_bytes(path.read_bytes()[:-9] if content is None else content)
    with pytest.raises(ModelError, match=r"m\.state is damaged"):
        restore_state(path, begun(Schedule(2)), REQUEST)
