"""What `auto` means: window, halo, runtime and precision, chosen by the model, the device and the scene itself.

Nothing here looks at the tile size or the workers, so they cannot change a pixel. Of a box the values count, where
something is probed; in float32, where windows of any size give the same bits, windows are as small as it is.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product
from typing import TYPE_CHECKING

from geounet.engine.cluster import usable_cores
from geounet.engine.devices import faster_precision
from geounet.engine.probe import AGREEMENT, agreement, draw_samples, probed_windows
from geounet.engine.quantization import check_quantization
from geounet.engine.runtimes import NetworkSetup, in_kept_integers, pick_runtime, prepared
from geounet.errors import ModelError
from geounet.grid import Window, round_up
from geounet.models.model_file import fingerprint, load_model

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from geounet.engine.probe import Sample
    from geounet.models.model_file import ModelCard
    from geounet.raster.scene import Scene

_TINY = 1_000_000
"""Pixels of a scene up to which compiling would cost more than it saves."""
_SMALL = 5_000_000
"""Pixels of a scene up to which probing would cost more than it saves."""
_WINDOW, _LARGEST_WINDOW, _HALOS = 1280, 2816, 12
"""Side in pixels of a square window as large as any that is chosen, and of one for a long halo: twelve times the halo,
of which a sixth in each direction is waste. Memory goes with its area (our default network: 0.35 GiB; a UNet/resnet18
works in 0.8 GiB in the largest)."""
_COARSE_WINDOW = 1792
"""As large as any for a network on a coarser grid: it works in less memory a pixel, and its halo is waste as well."""
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
    area: Window
    """What cores are laid over from its upper left corner, which is at a multiple of the stride."""
    runtime: str
    """`torch` or `openvino`."""
    precision: str
    """A key of :data:`geounet.engine.devices.PRECISIONS`, or `int8`."""
    tiling: str
    """`exact`, or why it is not quite."""
    agreement: float | None
    """Share of the probed class pixels that are those of float32; None where nothing was probed."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What is left open and chosen once for all scenes of a kind, whatever their sizes."""

    halo: int
    """Pixels around a core, a multiple of the stride."""
    runtime: str
    """See :class:`Tuning`."""
    precision: str
    """See :class:`Tuning`."""
    tiling: str
    """See :class:`Tuning`."""
    agreement: float | None
    """See :class:`Tuning`."""


def choose(
    scene: Scene,
    card: ModelCard,
    model: Path,
    device: str,
    *,
    pixels: int | None = None,
    region: Window | None = None,
    window_size: int | None,
    halo: int | None,
    runtime: str,
    precision: str,
) -> Choice:
    """Choose halo, runtime and precision.

    Args:
        scene: what is read, or one of those that will be.
        card: the model.
        model: its file; loaded only where something must be probed.
        device: where prediction will run, see :func:`geounet.engine.devices.pick_device`.
        pixels: of all scenes for which the choice is made; of this one by default.
        region: the pixels that are asked for; the whole scene by default.
        window_size: side of a window in pixels, halo included; None to choose.
        halo: pixels around a core, rounded up to the stride; None to choose.
        runtime: see :data:`geounet.engine.runtimes.RUNTIMES`.
        precision: a key of :data:`geounet.engine.devices.PRECISIONS`, `int8` (whose agreement is known once it is
            calibrated) or `auto`.

    Raises:
        ModelError: the window has no room for a core, or the runtime cannot be used.
    """
    pixels = pixels or scene.extent.pixels
    small, tiny = pixels <= _SMALL, pixels <= _TINY
    chosen = "torch" if tiny and runtime == "auto" and precision != "int8" else pick_runtime(runtime, device)
    exact = round_up(_UNBOUNDED_HALO, card.stride) if card.halo is None else card.halo
    margin = exact if halo is None else round_up(halo, card.stride)
    measurable = not small and halo is None and card.halo is not None and exact > _SHORT_HALO
    setup = NetworkSetup(
        model=str(model.absolute()),
        fingerprint="" if small else fingerprint(model),
        device=device,
        precision=precision,
        runtime=chosen,
        window=(0, 0),
        halo=exact,
        threads=len(usable_cores()),
    )
    samples: tuple[Sample, ...] = ()
    if measurable:
        margin, samples = _measured(scene, card, model, exact, region)
    core = _core(scene.extent, card, margin, window_size)
    setup = replace(setup, halo=margin, window=(core[0] + 2 * margin, core[1] + 2 * margin))
    kept = None
    if precision == "int8" and in_kept_integers(setup) is None:
        check_quantization(chosen)
    if precision == "auto" and not small:
        cheaper = _cheaper(setup)
        samples = samples or (draw_samples(scene, setup, exact, region) if cheaper else ())
        precision, kept = _choose_precision(setup, cheaper, samples, card.stride)
    precision = "fp32" if precision == "auto" else precision
    return Choice(margin, chosen, precision, _tiling(card, margin, measured=measurable), kept)


def _measured(
    scene: Scene, card: ModelCard, model: Path, exact: int, region: Window | None
) -> tuple[int, tuple[Sample, ...]]:
    # It imports PyTorch, and takes its time anyway.
    from geounet.engine.halos import measured_halo

    windows = probed_windows(scene, card, exact, region or scene.extent)
    return measured_halo(windows, load_model(model)[0], exact, card.stride)


def fit(
    choice: Choice, scene: Scene, card: ModelCard, *, region: Window | None = None, window_size: int | None
) -> Tuning:
    """Lay windows of what was chosen over a scene.

    Args:
        choice: what :func:`choose` gave for this scene, or another one of its kind.
        scene: what is read.
        card: the model.
        region: the pixels that are asked for; the whole scene by default.
        window_size: side of a window in pixels, halo included; None to choose.

    Raises:
        ModelError: the window has no room for a core.
    """
    core = _core(scene.extent, card, choice.halo, window_size)
    tuning = Tuning(choice.halo, core, scene.extent, choice.runtime, choice.precision, choice.tiling, choice.agreement)
    return tuning if region in (None, scene.extent) else _around(region, card, tuning, window_size)


def _around(region: Window, card: ModelCard, tuning: Tuning, window_size: int | None) -> Tuning:
    """The windows fitted to a box, where their size and place change no bit.

    That is so for our own networks in float32 with the exact halo; encoders of smp round otherwise in large windows.
    """
    if tuning.precision != "fp32" or tuning.tiling != "exact" or card.architecture.encoder is not None:
        return tuning
    row, col = region.row // card.stride * card.stride, region.col // card.stride * card.stride
    area = Window(row, col, region.row_stop - row, region.col_stop - col)
    return replace(tuning, area=area, core=_core(area, card, tuning.halo, window_size))


def _cheaper(setup: NetworkSetup) -> list[NetworkSetup]:
    """The setup in each precision that is faster than float32 there, the fastest first."""
    integers, lower = in_kept_integers(setup), faster_precision(setup.device)
    return [found for found in (integers, replace(setup, precision=lower) if lower else None) if found]


def _choose_precision(
    setup: NetworkSetup, cheaper: Sequence[NetworkSetup], samples: Sequence[Sample], stride: int
) -> tuple[str, float | None]:
    """The fastest precision that keeps the class of enough pixels, and the share that it keeps."""
    if not (cheaper and samples):
        # There is nothing to choose, or nothing of the scene is valid.
        return "fp32", None
    for candidate in cheaper:
        run, _ = prepared(candidate)
        share = agreement(samples, run, setup.window, setup.halo, stride)
        if share >= AGREEMENT:
            return candidate.precision, share
    return "fp32", 1.0


def _core(area: Window, card: ModelCard, halo: int, window_size: int | None) -> tuple[int, int]:
    """Height and width of a core: at most what the window holds, and the area cut into equal parts."""
    stride = card.stride
    if window_size is not None:
        fixed = (window_size - 2 * halo) // stride * stride
        if fixed < stride:
            raise ModelError(
                f"a window of {window_size} pixels has no room for a halo of {halo} on each side and a core of "
                f"{stride}; give at least {2 * halo + stride}"
            )
        return min(fixed, round_up(area.height, stride)), min(fixed, round_up(area.width, stride))
    usual = _COARSE_WINDOW if card.architecture.factor > 1 else _WINDOW
    return _least_work(area.height, area.width, stride, halo, usual)


def _least_work(height: int, width: int, stride: int, halo: int, usual: int = _WINDOW) -> tuple[int, int]:
    """An area cut into equal parts, rounded up to the stride, such that all windows together have the least pixels.

    A window is at most as large as the usual one, or the largest of a long halo, unless that leaves next to no core.
    """
    largest = max(usual, min(_HALOS * halo, _LARGEST_WINDOW), _SMALLEST_CORE + 2 * halo) ** 2
    choices = []
    for rows, columns in product(_parts(height, stride), _parts(width, stride)):
        window = (rows[1] + 2 * halo) * (columns[1] + 2 * halo)
        if window <= largest:
            choices.append((rows[0] * columns[0] * window, rows[1], columns[1]))
    return min(choices)[1:]


def _parts(length: int, stride: int) -> list[tuple[int, int]]:
    """Into how many equal parts a length may be cut, and the length of one."""
    most = max(1, -(-length // (_SMALLEST_CORE // 2)))
    return [(parts, round_up(-(-length // parts), stride)) for parts in range(1, most + 1)]


def _tiling(card: ModelCard, halo: int, *, measured: bool) -> str:
    if card.halo is None:
        return "approximate: the model sees its whole window"
    if halo >= card.halo:
        return "exact"
    if measured:
        from geounet.engine.halos import PROBABILITY_TOLERANCE

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
