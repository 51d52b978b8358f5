"""What moves the weights: Muon for those that join many channels to many, AdamW for the others.

Muon (Jordan and others 2024, https://kellerjordan.github.io/posts/muon/) takes the momentum of a weight as a matrix and
moves the weight by the orthogonal matrix nearest to it, so that no direction in it is learnt faster than another. It is
meant for hidden layers; the first layer, the last one, biases and normalisations stay with AdamW.

Why not torch.optim.Muon: it takes matrices alone, no convolutions, and multiplies in bfloat16, which a processor
without it does slowly.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch

from geounet.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from torch import Tensor, nn

OPTIMIZERS = ("muon", "adamw")
_FEW = 8
"""Channels up to which a side of a weight is too narrow for Muon: depthwise convolutions, for instance."""
_ROOT_MEAN_SQUARE = 0.2
"""Of a step's elements over the learning rate, as AdamW's steps have it."""
# The quintic that brings all singular values from 0 to 1 near 1 in five steps, as published.
_QUINTIC = (3.4445, -4.7750, 2.0315)
_ITERATIONS = 5


class Muon(torch.optim.Optimizer):
    """Moves each weight by the orthogonalised momentum of its gradient.

    Args:
        weights: tensors (out, in, ...) of two dimensions or more; what follows the first is one row of a matrix.
        lr: learning rate, of AdamW's order: a step's elements have a root mean square of about 0.2 times it (Liu and
            others 2025, https://arxiv.org/abs/2502.16982).
        weight_decay: share of the weight that goes with each step, times `lr`.
        momentum: share of the momentum that stays, Nesterov's.
        dtype: arithmetic of the orthogonalisation.
    """

    def __init__(
        self,
        weights: Iterable[nn.Parameter],
        lr: float,
        weight_decay: float = 0.0,
        momentum: float = 0.95,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__(weights, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})
        self._dtype = dtype

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step; `closure`, if given, makes the gradients anew and its value is returned."""
        value = None
        if closure is not None:
            with torch.enable_grad():
                value = closure()
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is not None:
                    self._move(weight, weight.grad, group)
        return value

    def _move(self, weight: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state = self.state[weight]
        if not state:
            state["momentum_buffer"] = torch.zeros_like(weight)
        buffer = state["momentum_buffer"].lerp_(gradient, 1 - group["momentum"])
        ahead = gradient.lerp(buffer, group["momentum"]).flatten(1)
        length = _ROOT_MEAN_SQUARE * math.sqrt(max(ahead.shape))
        weight.mul_(1 - group["lr"] * group["weight_decay"])
        turned = orthogonalised(ahead, self._dtype).view(weight.shape)
        weight.add_(turned, alpha=-group["lr"] * length)


def orthogonalised(matrix: Tensor, dtype: torch.dtype) -> Tensor:
    """A matrix (m, n) with the singular vectors of the given one, and all of its singular values near 1, 0.7 to 1.2.

    By Newton-Schulz iteration in the arithmetic of `dtype`; singular values below a thousandth of the largest one may
    stay smaller. The result has the matrix's own type. A zero matrix stays zero.
    """
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    turned = (wide / wide.norm().clamp(min=torch.finfo(matrix.dtype).tiny)).to(dtype).contiguous()
    first, third, fifth = _QUINTIC
    for _ in range(_ITERATIONS):
        gram = turned @ turned.T
        turned = torch.addmm(turned, torch.addmm(gram, gram, gram, beta=third, alpha=fifth), turned, beta=first)
    upright: Tensor = turned if wide is matrix else turned.T
    return upright.to(matrix.dtype).contiguous()


def build_optimizers(
    network: nn.Module, kind: str, weight_decay: float, dtype: torch.dtype
) -> tuple[torch.optim.Optimizer, ...]:
    """The optimizers of a network's weights, each weight in one of them, with a learning rate of 0.

    Args:
        network: on its device, in its memory format.
        kind: one of :data:`OPTIMIZERS`; `adamw` leaves nothing to Muon.
        weight_decay: decoupled, of both.
        dtype: arithmetic of the forward pass; where that is bfloat16, Muon's is, too, else float32.

    Raises:
        ModelError: there is no such optimizer.
    """
    if kind not in OPTIMIZERS:
        raise ModelError(f"there is no optimizer {kind!r}; there are {', '.join(OPTIMIZERS)}")
    hidden = _hidden_weights(network) if kind == "muon" else []
    turned = {id(weight) for weight in hidden}
    others = [weight for weight in network.parameters() if id(weight) not in turned]
    fused = all(weight.device.type in {"cpu", "cuda"} for weight in others)
    adamw = torch.optim.AdamW(others, lr=0.0, weight_decay=weight_decay, fused=fused)
    if not hidden:
        return (adamw,)
    arithmetic = dtype if dtype is torch.bfloat16 else torch.float32
    return adamw, Muon(hidden, lr=0.0, weight_decay=weight_decay, dtype=arithmetic)


def _hidden_weights(network: nn.Module) -> list[nn.Parameter]:
    """Weights of layers between the first and the last one that join many channels to many."""
    weights = [weight for weight in network.parameters() if weight.ndim > 1]
    return [weight for weight in weights[1:-1] if min(weight.shape[:2]) > _FEW]
