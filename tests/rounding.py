"""How far two evaluations of a network may lie apart in float32: by the arithmetic, not by a machine's kernels."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor, nn

_TIMES = 8
"""An order of sums may be as much worse than PyTorch's as kernels differ: fused or not, in lanes of 4, 8 or 16."""
_STEPS = 16
"""Units in the last place of the largest output that the last layers alone may cost."""


def rounding_of(network: nn.Module, images: Tensor) -> float:
    """Largest difference that float32's rounding makes between two ways to compute a network's outputs.

    PyTorch's own distance from the outputs in float64 says how the network's sums cancel on these images.

    Args:
        network: in eval mode.
        images: (N, bands, H, W) or one image without N.
    """
    batch = images if images.ndim == 4 else images[None]
    with torch.inference_mode():
        exact = copy.deepcopy(network).double()(batch.double())
        error = (network(batch.float()) - exact).abs().max()
    return float(_TIMES * error + _STEPS * torch.finfo(torch.float32).eps * exact.abs().max())
