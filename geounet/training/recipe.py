"""How to train: all that is chosen but for how long and how fast, which is :class:`geounet.training.loop.Schedule`."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from geounet.errors import ModelError
from geounet.models.encoders import Architecture
from geounet.models.sizes import DEFAULT_SIZE, SIZES
from geounet.training.augment import Augment

_CLASSIC: dict[str, Any] = {"depth": 4, "width": 16, "norm": "batch", "upsampling": "transpose"}


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to train."""

    size: str | None = None
    """Of our network for maps, one of :data:`geounet.models.sizes.SIZES`; None for the default one, where nothing below
    asks for another network."""
    arch: str | None = None
    """`unet` for the classic UNet; with an encoder any that smp knows, by default `unet`."""
    encoder: str | None = None
    """Name of an smp encoder; None for our own networks."""
    depth: int | None = None
    """Of the classic UNet; 4 by default."""
    width: int | None = None
    """Of the classic UNet; 16 by default."""
    norm: str | None = None
    """Of the classic UNet; `batch` by default."""
    upsampling: str | None = None
    """Of the classic UNet; `transpose` by default."""
    weights: str | None = None
    """Pretrained weights, a name or a file; see :func:`geounet.models.pretrained.load_pretrained`."""
    loss: str = "ce+dice"
    """A loss or a sum of losses; see :func:`geounet.models.losses.build_loss`."""
    label_smoothing: float = 0.0
    """Share of a label that all classes get alike, in cross-entropy."""
    class_weights: str = "sqrt"
    """`none`, `sqrt`, `inverse`, or numbers; see :func:`geounet.data.statistics.class_weights`."""
    boundary_weight: float = 0.0
    """What the narrowest gap between two objects of a class adds to its pixels' weight of 1 (the UNet paper: 10)."""
    boundary_sigma: float = 5.0
    """Width of the gaps that count, in pixels."""
    optimizer: str = "auto"
    """One of :data:`geounet.training.optimizers.OPTIMIZERS`, or `auto`: Muon, AdamW where weights are pretrained."""
    patch_size: int = 256
    """Height and width of a training patch, in pixels."""
    batch_size: int = 8
    """Patches a step."""
    patches: int | None = None
    """Patches an epoch; by default about twice what covers the training images, 128 to 512."""
    balance: str = "none"
    """How patches are drawn for classes; see :func:`geounet.data.training_data.class_shares`."""
    min_labelled: float = 0.0
    """Share of a patch that must be valid and labelled, 0 to 1; 0 for a pixel at least."""
    normalization: str = "moments"
    """`moments`: by mean and standard deviation of valid pixels; `percentiles`: by median and percentiles."""
    val_fraction: float | None = None
    """Share of the images' pixels that is held back, by place, and chooses the best epoch."""
    allow_overlap: bool = False
    """Whether validation may share ground or pixels with training."""
    augment: Augment | None = field(default_factory=Augment)
    """How patches are flipped, rotated, scaled and changed in their values; None leaves them as they are."""
    loader_workers: int | None = None
    """Threads that make batches ready; None for a number by device and cores. The result is the same."""
    device: str = "auto"
    """Where to train."""
    precision: str = "auto"
    """Arithmetic of the forward pass."""
    seed: int = 0
    """Of weights, patches and augmentation."""

    @property
    def chosen_optimizer(self) -> str:
        """What `auto` means where it is asked for: Muon takes a first step too long for what others have learnt."""
        if self.optimizer != "auto":
            return self.optimizer
        return "muon" if self.weights is None else "adamw"

    def architecture(self, bands: int, classes: int) -> Architecture:
        """What is to be built for so many bands and classes: the network for maps, unless another is asked for.

        Raises:
            ModelError: two networks are asked for, or a size that there is not.
        """
        asked = {name: value for name in _CLASSIC if (value := getattr(self, name)) is not None}
        others = [name for name in ("arch", "encoder") if getattr(self, name) is not None] + list(asked)
        if self.size is not None and others:
            raise ModelError(f"a size and {', '.join(others)} ask for different networks; leave one or the other out")
        if self.encoder is not None:
            if asked:
                raise ModelError(f"{', '.join(asked)} belong to the classic UNet, not to one with an encoder")
            return Architecture(bands, classes, self.arch or "unet", self.encoder)
        if others:
            return Architecture(bands, classes, self.arch or "unet", **(_CLASSIC | asked))
        name = self.size or DEFAULT_SIZE
        if name not in SIZES:
            raise ModelError(f"there is no size {name}; there are {', '.join(SIZES)}")
        return Architecture(bands, classes, "subpixel-unet", **asdict(SIZES[name]))
