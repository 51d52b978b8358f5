"""What `auto` means: window, halo, runtime and precision, chosen by the model, the device and the scene itself.

Nothing here looks at the tile size, the workers or the bounding box, so none of them can change a pixel.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from geounet.errors import ModelError
from geounet.grid import round_up
from geounet.models.model_file import load_model
from geounet.probe import AGREEMENT, PROBABILITY_TOLERANCE, choose_precision, draw_samples, smallest_halo
from geounet.runtimes import pick_runtime

if TYPE_CHECKING:
    from pathlib import Path

    import torch

    from geounet.models.model_file import ModelCard
    from geounet.scene import Scene

_SMALL = 2_000_000
"""Pixels of a scene up to which probing and compiling would cost more than they save."""
_WINDOW = 2304
"""Side in pixels of the largest window that is chosen: what a CPU's memory and caches bear without getting slower."""
_SMALLEST_CORE = 1024
_SHORT_HALO = 128
"""Up to this, a halo is taken as it is; above it the waste is worth measuring."""
# For a model that sees its whole window: enough that the worst edge effects are cropped.
_UNBOUNDED_HALO = 128


@dataclass(frozen=True, slots=True)
class Tuning:
    """What a prediction runs with."""

    halo: int
    """Pixels around a core, a multiple of the stride."""
    core: tuple[int, int]
    """Height and width of what is kept of a window, multiples of the stride."""
    runtime: str
    """`torch` or `openvino`."""
    precision: str
    """A key of :data:`geounet.devices.PRECISIONS`."""
    tiling: str
    """`exact`, or why it is not quite."""
    agreement: float | None
    """Share of the probed class pixels that are those of float32; None where nothing was probed."""


def tune(
    scene: Scene,
    card: ModelCard,
    model: Path,
    device: torch.device,
    *,
    window_size: int | None,
    halo: int | None,
    runtime: str,
    precision: str,
) -> Tuning:
    """Choose what is left open.

    Args:
        scene: what is read.
        card: the model.
        model: its file; loaded only where something must be probed.
        device: where prediction will run.
        window_size: side of a window in pixels, halo included; None to choose.
        halo: pixels around a core, rounded up to the stride; None to choose.
        runtime: see :data:`geounet.runtimes.RUNTIMES`.
        precision: a key of :data:`geounet.devices.PRECISIONS`, or `auto`.

    Raises:
        ModelError: the window has no room for a core, or the runtime cannot be used.
    """
    small = scene.extent.pixels <= _SMALL
    chosen = "torch" if small and runtime == "auto" else pick_runtime(runtime, device)
    exact = round_up(_UNBOUNDED_HALO, card.stride) if card.halo is None else card.halo
    margin = exact if halo is None else round_up(halo, card.stride)
    measurable = not small and halo is None and card.halo is not None and exact > _SHORT_HALO
    kept = None
    if not small and (measurable or precision == "auto"):
        network, _ = load_model(model)
        samples = draw_samples(scene, card, network, exact)
        margin = smallest_halo(samples, network, exact, card.stride) if measurable else margin
        if precision == "auto":
            threads = os.cpu_count() or 1
            precision, kept = choose_precision(
                samples, network, exact, runtime=chosen, device=str(device), threads=threads
            )
    return Tuning(
        margin,
        _core(scene, card.stride, margin, window_size),
        chosen,
        "fp32" if precision == "auto" else precision,
        _tiling(card, margin, measured=measurable),
        kept,
    )


def _core(scene: Scene, stride: int, halo: int, window_size: int | None) -> tuple[int, int]:
    """Height and width of a core: at most what the window holds, and the scene cut into equal parts."""
    if window_size is not None:
        fixed = (window_size - 2 * halo) // stride * stride
        if fixed < stride:
            raise ModelError(
                f"a window of {window_size} pixels has no room for a halo of {halo} on each side and a core of "
                f"{stride}; give at least {2 * halo + stride}"
            )
        return min(fixed, round_up(scene.height, stride)), min(fixed, round_up(scene.width, stride))
    largest = max(_SMALLEST_CORE, _WINDOW - 2 * halo) // stride * stride
    return _part(scene.height, largest, stride), _part(scene.width, largest, stride)


def _part(length: int, largest: int, stride: int) -> int:
    """A length cut into as few equal parts as fit, rounded up to the stride."""
    parts = -(-length // largest)
    return round_up(-(-length // parts), stride)


def _tiling(card: ModelCard, halo: int, *, measured: bool) -> str:
    if card.halo is None:
        return "approximate: the model sees its whole window"
    if halo >= card.halo:
        return "exact"
    if measured:
        return (
            f"measured: a halo of {halo} px for {card.halo} changes no class and no probability by more than "
            f"{PROBABILITY_TOLERANCE:g} on the probed windows"
        )
    return f"approximate: a halo of {halo} px for {card.halo}, as asked for"


def describe_agreement(tuning: Tuning) -> str:
    """A phrase for people and metadata."""
    if tuning.agreement is None:
        return "not probed"
    return (
        f"{tuning.agreement:.5f} of the class pixels of fp32 on the probed windows (at least {AGREEMENT} is asked for)"
    )
