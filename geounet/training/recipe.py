"""How to train: all that is chosen but for how long and how fast, which is :class:`geounet.training.loop.Schedule`."""

from __future__ import annotations

from dataclasses import dataclass, field

from geounet.training.augment import Augment


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to train."""

    arch: str = "unet"
    """See :class:`geounet.models.encoders.Architecture`."""
    encoder: str | None = None
    """Name of an smp encoder; None for the classic UNet."""
    depth: int = 4
    """Of the classic UNet."""
    width: int = 16
    """Of the classic UNet."""
    norm: str = "batch"
    """Of the classic UNet."""
    upsampling: str = "transpose"
    """Of the classic UNet."""
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
