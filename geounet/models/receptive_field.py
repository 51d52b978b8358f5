"""How far a network looks, found by probing: which outputs change when a pixel of the input does.

A NaN in one input column reaches every output that reads it, whatever the weights, so one forward pass shows the
exact reach of that column. It depends on the column's phase in the network's stride, so all phases are tried, on
both axes. A network that pools over its whole window (squeeze-excite, attention, group normalisation) turns NaN all
over, and thereby tells that it has no bounded receptive field.
"""

from __future__ import annotations

import copy
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from geounet.errors import ModelError
from geounet.grid import round_up

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor, nn

_MAX_STRIDE = 64
# Tried in turn, each a multiple of the largest stride.
_LENGTHS = (256, 384, 512, 768, 1024, 1536, 2048, 3072, 4096)
_BREADTHS = (32, 64, 128)


@dataclass(frozen=True, slots=True)
class ReceptiveField:
    """Where an output pixel looks."""

    radius: int
    """Pixels from an output to the furthest input that can change it, over all phases of the stride and both axes."""
    stride: int
    """Total stride: shifting the input by it shifts the output by it."""
    halo: int
    """What a window must read around a core, if both start at multiples of the stride: a multiple of it as well.

    Below the radius, because the pixels with the furthest reach to one side lie a stride's width inside the core.
    """


def probe_receptive_field(network: nn.Module, in_channels: int) -> ReceptiveField | None:
    """The network's receptive field and total stride, or None if the output depends on the whole window.

    The network is run on CPU, in eval mode and float32, on a copy.

    Raises:
        ModelError: the network takes no windows whose sides are multiples of 128.
    """
    probed = copy.deepcopy(network).cpu().float().eval()
    with torch.no_grad(), _one_thread():
        breadth = _breadth(probed, in_channels)
        for length in _LENGTHS:
            # A first, single phase tells whether the window is long enough for all of them.
            if _reaches(probed, in_channels, (length, breadth), -2, 1) is None:
                continue
            shapes = {-2: (length, breadth), -1: (breadth, length)}
            for phases in (_MAX_STRIDE, 2 * _MAX_STRIDE):
                reaches = [_reaches(probed, in_channels, shape, axis, phases) for axis, shape in shapes.items()]
                known = [reach for reach in reaches if reach is not None]
                found = _join(known) if len(known) == len(reaches) else None
                if found:
                    return found
    return None


@contextmanager
def _one_thread() -> Iterator[None]:
    """Many small convolutions: on a busy machine threads would wait for one another longer than they compute."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _join(reaches: list[Tensor]) -> ReceptiveField | None:
    """Each reach: (phases, 3), an input line and the first and last output line that it affects."""
    offsets = [reach[:, 1:] - reach[:, :1] for reach in reaches]
    strides = [_period(offset) for offset in offsets]
    if any(stride is None for stride in strides):
        return None
    stride = max(stride for stride in strides if stride is not None)
    radius = max(int(offset.abs().max()) for offset in offsets)
    return ReceptiveField(radius, stride, max(_halo(reach, stride) for reach in reaches))


def _halo(reach: Tensor, stride: int) -> int:
    """The furthest input line outside a core that affects a line inside it, over all cores aligned to the stride."""
    line, first, last = reach.unbind(dim=1)
    before_core = last // stride * stride - line
    after_core = line - (first // stride + 1) * stride + 1
    return round_up(max(0, int(before_core.max()), int(after_core.max())), stride)


def _reaches(network: nn.Module, in_channels: int, shape: tuple[int, int], axis: int, phases: int) -> Tensor | None:
    """Each of `phases` neighbouring lines with the first and last output it affects; None in too short a window."""
    middle = shape[axis] // 2 - phases // 2
    rows = []
    for line in range(middle, middle + phases):
        image = torch.zeros(1, in_channels, *shape)
        image.select(axis, line).fill_(torch.nan)
        hit = network(image).isnan()[0].any(dim=0)  # (1, classes, H, W) -> (H, W)
        touched = hit.any(dim=-1 - (axis + 2)).nonzero()  # (H, W) -> indices along the axis
        first, last = int(touched[0]), int(touched[-1])
        if first == 0 or last == shape[axis] - 1:
            return None
        rows.append([line, first, last])
    return torch.tensor(rows)


def _breadth(network: nn.Module, in_channels: int) -> int:
    for breadth in _BREADTHS:
        try:
            network(torch.zeros(1, in_channels, breadth, breadth))
        except (RuntimeError, ValueError, ModelError):
            continue
        return breadth
    raise ModelError(f"the network takes no window of {_BREADTHS} pixels a side with {in_channels} bands")


def _period(offsets: Tensor) -> int | None:
    """The smallest power of two after which the reaches repeat: the stride along that axis."""
    stride = 1
    while stride <= _MAX_STRIDE:
        if 2 * stride <= len(offsets) and torch.equal(offsets[stride:], offsets[:-stride]):
            return stride
        stride *= 2
    return None
