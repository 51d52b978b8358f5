"""What a model file holds, and whether it is sound."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from geounet.errors import ModelError
from geounet.grid import round_up
from geounet.models.encoders import build_network
from geounet.models.exchange import check_finite
from geounet.models.model_file import fingerprint, load_model, read_card
from geounet.models.receptive_field import probe_receptive_field

if TYPE_CHECKING:
    from pathlib import Path

    from geounet.models.model_file import ModelCard

_SIDE = 128


@dataclass(frozen=True, slots=True)
class Soundness:
    """What a verification found; there is none of a model that is not sound."""

    parameters: int
    """Trained numbers, all finite."""
    halo: int | None
    """As stated and as probed; None where the output depends on the whole window."""
    stride: int
    """As stated and, with a halo, as probed."""
    window: tuple[int, int]
    """Height and width of the window that was run."""


def describe_model(path: Path) -> dict[str, Any]:
    """The model file's header as plain values, with the number of trained parameters and the file's SHA-256.

    Raises:
        ModelError: there is no such file, or it is no model file.
    """
    card = read_card(path)
    described: dict[str, Any] = json.loads(card.to_json())
    return {
        "path": str(path),
        **described,
        "parameters": _count(build_network(card.architecture)),
        "sha256": fingerprint(path),
    }


def verify_model(path: Path) -> Soundness:
    """Read all of a model file, and run it once.

    Raises:
        ModelError: it is no model file, its header contradicts itself or the weights, a weight is not finite, halo or
            stride are not what probing finds, or the network does not give a logit for each class and pixel.
    """
    network, card = load_model(path)
    try:
        _check_header(card)
        check_finite(network)
        _check_reach(network, card)
        window = _run_once(network, card)
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from error
    return Soundness(_count(network), card.halo, card.stride, window)


def _count(network: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def _check_header(card: ModelCard) -> None:
    built = card.architecture
    for what, listed, counted in (
        ("bands", len(card.bands), built.in_channels),
        ("classes", len(card.classes), built.classes),
    ):
        if listed != counted:
            raise ModelError(f"the header lists {listed} {what}, and the network has {counted}; import it anew")
    if len({item.value for item in card.classes}) != len(card.classes):
        raise ModelError(f"class values {[item.value for item in card.classes]} are not all different; import it anew")
    for band in card.bands:
        if not band.std > 0 or not torch.tensor([band.mean, band.std]).isfinite().all():
            raise ModelError(f"band {band.name} is normalised by mean {band.mean} and std {band.std}; import it anew")


def _check_reach(network: torch.nn.Module, card: ModelCard) -> None:
    reach = probe_receptive_field(network, card.architecture.in_channels)
    found = (reach.halo, reach.stride) if reach else (None, card.stride)
    if found != (card.halo, card.stride):
        raise ModelError(
            f"the header states a halo of {card.halo} and a stride of {card.stride}, and probing finds {found[0]} and "
            f"{found[1]}; with the wrong ones tiles would show"
        )


def _run_once(network: torch.nn.Module, card: ModelCard) -> tuple[int, int]:
    """The height and width of a window that was run."""
    height, width = round_up(_SIDE, card.stride), 2 * round_up(_SIDE, card.stride)
    generator = torch.Generator().manual_seed(0)
    with torch.inference_mode():
        logits = network(torch.randn(1, len(card.bands), height, width, generator=generator))
    if logits.shape != (1, len(card.classes), height, width) or not logits.isfinite().all():
        raise ModelError(
            f"a window of {height} x {width} pixels gives logits of shape {tuple(logits.shape)}, of which "
            f"{float(logits.isfinite().float().mean()):.0%} are finite; expected {len(card.classes)} for each pixel"
        )
    return height, width
