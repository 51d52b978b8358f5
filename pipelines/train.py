"""`geounet train`: images and labels to a model file."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from . import options

if TYPE_CHECKING:
    from collections.abc import Iterator

    from geounet.training.loop import EpochResult

_PATH = click.Path(path_type=Path)
UNLIMITED = 10**9
_INTERRUPTED = 130


class ManyValues(click.Command):
    """A command whose repeatable options take several values in a row: `--labels A B`."""

    many = ("--labels", "--val", "--val-labels", "--val_labels")

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Repeat the option before each of its values."""
        expanded: list[str] = []
        current = ""
        for word in args:
            if word.startswith("-"):
                current = word if word in self.many else ""
                taken = 0
                expanded.append(word)
                continue
            expanded += [current] if current and taken else []
            taken = 1
            expanded.append(word)
        return super().parse_args(ctx, expanded)


@click.command(cls=ManyValues)
@click.argument("images", nargs=-1, metavar="IMAGE...")
@options.option(
    "--labels",
    multiple=True,
    required=True,
    metavar="L...",
    help="Label rasters or polygon files; folders, patterns or lists (.txt) of them. They go with images by place and "
    "time, without georeference by name.",
)
@options.option(
    "--val",
    multiple=True,
    metavar="IMAGE...",
    help="Validation images or folders; they choose the best epoch.",
)
@options.option("--val-labels", multiple=True, metavar="L...", help="Their labels.")
@options.option(
    "--val-fraction",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    help="Hold back this share of the images for validation: by place, so that nothing is on both sides.",
)
@options.option(
    "--allow-overlap",
    is_flag=True,
    help="Go on where validation shares ground or pixels with training; it is refused otherwise.",
)
@options.out("Model file (.safetensors).")
@options.bands
@options.pattern
@options.opening
@options.option(
    "--classes",
    "class_file",
    type=_PATH,
    help="Class table, CSV with value,name,color; without it the values found in the labels.",
)
@options.option("--label-field", help="Field of polygon files with the class (value or name).")
@options.class_map
@options.layer
@options.option(
    "--all-touched",
    is_flag=True,
    help="Polygons label every pixel that they touch, not only those whose centre they hold.",
)
@options.option(
    "--instances",
    is_flag=True,
    help="Label rasters number their objects, 0 where there is none: learn background, object and boundary.",
)
@options.option(
    "--background",
    type=click.IntRange(0, 254),
    help="Class value outside all label polygons and rasters; without it that ground is left out.",
)
@options.network
@options.option("--depth", type=click.IntRange(1, 6), help="Levels of the classic UNet: 4.")
@options.option("--width", type=click.IntRange(1), help="Channels of the classic UNet's first level: 16.")
@options.option(
    "--norm",
    type=click.Choice(["batch", "group", "none"]),
    help="Normalisation of the classic UNet: batch; with group the tiling shows.",
)
@options.option(
    "--upsampling",
    type=click.Choice(["transpose", "bilinear", "nearest"]),
    help="Upsampling of the classic UNet: transpose.",
)
@options.option(
    "--weights",
    help="Pretrained weights: imagenet, a torchgeo name such as ResNet18_Weights.SENTINEL2_RGB_MOCO, or a file.",
)
@options.option(
    "--freeze-encoder",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    metavar="EPOCHS",
    help="First epochs in which the pretrained encoder stays as it is.",
)
@options.option(
    "--loss",
    default="ce+dice",
    show_default=True,
    help="ce, focal[:GAMMA], dice, jaccard, lovasz, tversky[:ALPHA:BETA], or a sum such as ce+0.5*tversky:0.3:0.7.",
)
@options.option(
    "--label-smoothing",
    type=click.FloatRange(0, 1, max_open=True),
    default=0.0,
    show_default=True,
    help="Share of a label that all classes get alike, in cross-entropy.",
)
@options.option(
    "--class-weights",
    default="sqrt",
    show_default=True,
    metavar="HOW",
    help="Of ce and focal: none, sqrt or inverse of the classes' frequencies, or a number a class, such as 1,2,5.",
)
@options.option(
    "--boundary-weight",
    type=click.FloatRange(0),
    default=0.0,
    show_default=True,
    help="What the narrowest gap between touching objects adds to a pixel's weight of 1 (the UNet paper: 10).",
)
@options.option(
    "--boundary-sigma",
    type=click.FloatRange(0, min_open=True),
    default=5.0,
    show_default=True,
    help="Width of the gaps that count, in pixels.",
)
@options.option(
    "--epochs", type=click.IntRange(1), help="Epochs at most; 100 by default, without limit with --minutes."
)
@options.option("--minutes", type=click.FloatRange(0, min_open=True), help="Time budget in minutes.")
@options.option(
    "--patience", type=click.IntRange(1), metavar="EPOCHS", help="Stop after so many epochs without a better one."
)
@options.patch
@options.option(
    "--accumulate", type=click.IntRange(1), default=1, show_default=True, help="Batches whose gradients make one step."
)
@options.option(
    "--balance",
    default="none",
    show_default=True,
    metavar="HOW",
    help="Patches drawn for classes: none (by area), equal, sqrt (of their pixels), or shares such as 10=0.3,road=0.2.",
)
@options.option(
    "--min-labelled",
    type=click.FloatRange(0, 1),
    default=0.0,
    show_default=True,
    help="Share of a patch that must be valid and labelled; 0: a pixel at least.",
)
@options.option(
    "--normalization",
    type=click.Choice(["moments", "percentiles"]),
    default="moments",
    show_default=True,
    help="Mean and standard deviation of each band, or its median and 2nd to 98th percentile, which outliers leave.",
)
@options.option(
    "--optimizer",
    type=click.Choice(["auto", "muon", "adamw"]),
    default="auto",
    show_default=True,
    help="Muon moves weights that join many channels, AdamW the others; auto: muon, and adamw with --weights.",
)
@options.option("--weight-decay", type=click.FloatRange(0), default=0.01, show_default=True, help="Decoupled.")
@options.option(
    "--warm-up",
    type=click.FloatRange(0, 1, max_open=True),
    default=0.05,
    show_default=True,
    help="Share of the training in which the learning rate rises.",
)
@options.option(
    "--clip-norm",
    type=click.FloatRange(0),
    default=5.0,
    show_default=True,
    help="Largest norm of a step's gradient; 0 for any.",
)
@options.option(
    "--ema",
    type=click.FloatRange(0, 1, max_open=True),
    default=0.0,
    show_default=True,
    help="Decay of the weights' moving average, such as 0.99, which is then validated and kept; 0 for none.",
)
@options.augmentation
@options.option(
    "--loader-workers",
    type=click.IntRange(0),
    help="Threads that make batches ready; by default by device and cores, 8 at most. The result is the same.",
)
@options.device
@options.option(
    "--precision",
    type=click.Choice(["auto", "fp32", "bf16", "fp16"]),
    default="auto",
    show_default=True,
    help="Arithmetic of the forward pass.",
)
@options.option("--tensorboard", type=_PATH, metavar="DIR", help="Also write events for TensorBoard, if installed.")
@options.option(
    "--resume", is_flag=True, help="Go on where the same training was interrupted; from the start where none was."
)
@options.option("--report", type=_PATH, metavar="HTML", help="Where the report goes; MODEL.html by default.")
@options.option("--no-report", is_flag=True, help="Write no report.")
@options.option(
    "--show-samples",
    type=_PATH,
    metavar="PNG",
    help="Only write a picture of the first patches as the network would get them, and train nothing.",
)
@options.overwrite
@options.searched("images")
@options.common
@options.depends(
    **dict.fromkeys(("rotate", "scale", "jitter", "noise", "band_drop"), ("augment",)),
    boundary_sigma=("boundary_weight",),
    val=("val_labels",),
    val_labels=("val",),
)
def command(images: tuple[str, ...], out: Path, quiet: bool, **given: Any) -> None:  # fmt: skip
    """Train a model on IMAGEs (any source) and their labels.

    The model file of the best epoch on the validation images is kept; it holds all that prediction needs. Ctrl-C leaves
    the best one so far. Beside it is a report of the training as an HTML page.
    """
    from geounet.allocation import keep_freed_memory
    from geounet.class_tables import read_classes
    from geounet.errors import ModelError
    from geounet.models.losses import build_loss
    from geounet.tasks.train import Recipe, Source, show_samples, train
    from geounet.training.loop import Schedule

    if given["instances"] and given["class_file"]:
        raise click.UsageError("--instances has its own classes: background, object, boundary; leave --classes out")
    if given["val"] and given["val_fraction"]:
        raise click.UsageError("--val-fraction splits the images where none are given with --val; name one of the two")
    try:
        build_loss(given["loss"])
    except ModelError as error:
        raise click.BadParameter(str(error), param_hint="--loss") from error
    given["epochs"] = given["epochs"] or (UNLIMITED if given["minutes"] else 100)
    names = ("bands", "opening", "pattern", "label_field", "all_touched", "instances", "class_map")
    how = {name: given[name] for name in names}
    how["background"] = 255 if given["background"] is None else given["background"]
    source = Source(images, _layered(given["labels"], given["layer"]), **how)
    recipe = Recipe(**{name: given[name] for name in Recipe.__slots__})
    validation = Source(given["val"], _layered(given["val_labels"], given["layer"]), **how) if given["val"] else None
    classes = read_classes(given["class_file"]) if given["class_file"] else ()
    if given["show_samples"]:
        picture, overwrite = given["show_samples"], given["overwrite"]
        shown = show_samples(
            source, picture, recipe=recipe, validation=validation, classes=classes, overwrite=overwrite
        )
        click.echo(f"{picture}: {shown} patches; without --show-samples the same command trains on them", err=True)
        return
    keep_freed_memory()
    page = None if given["no_report"] else given["report"] or out.with_suffix(".html")
    with kept_if_interrupted(out):
        card = train(
            source,
            out,
            recipe=recipe,
            schedule=Schedule(**{name: given[name] for name in Schedule.__slots__}),
            validation=validation,
            classes=classes,
            command=options.command_line(),
            overwrite=given["overwrite"],
            resume=given["resume"],
            tensorboard=given["tensorboard"],
            page=page,
            report=silent if quiet else show_epoch,
        )
    if not quiet:
        told = f"; report {page}" if page else ""
        click.echo(f"{out}: {score(card.metrics)}{told}", err=True)


def _layered(labels: tuple[str, ...], layer: str | None) -> tuple[Path | str, ...]:
    """Label files, of polygon files the layer that is named."""
    from geounet.sources.polygon_files import is_polygons, with_layer

    return tuple(with_layer(label, layer) if layer and is_polygons(label) else label for label in labels)


@contextmanager
def kept_if_interrupted(out: Path) -> Iterator[None]:
    """On Ctrl-C say what is left, and exit as a shell says of such an end: 128 + SIGINT."""
    from geounet.models.model_file import read_card
    from geounet.training.state import state_path

    try:
        yield
    except KeyboardInterrupt:
        if state_path(out).exists():
            left = f"{out} is the best so far: {score(read_card(out).metrics)}; --resume goes on"
        else:
            left = f"no epoch was finished, so {out} is not written"
        click.echo(f"geounet: interrupted; {left}", err=True)
        sys.exit(_INTERRUPTED)


def silent(_result: EpochResult) -> None:
    """Say nothing."""


def show_epoch(result: EpochResult) -> None:
    line = f"epoch {result.epoch:3d}  {result.progress:4.0%}  {result.seconds:5.0f} s  loss {result.loss:.3f}"
    if result.matrix is not None:
        line += f"  validation {result.validation_loss:.3f}"
        line += f"  mean IoU {result.mean_iou:.3f} ({' '.join(f'{value:.2f}' for value in result.iou)})"
    click.echo(line + (" *" if result.best else ""), err=True)


def score(metrics: Any) -> str:
    if "mean_iou" not in metrics:
        return f"epoch {metrics['epoch']}, not validated"
    shares = ", ".join(f"{name} {value:.3f}" for name, value in metrics["iou"].items() if value is not None)
    return f"epoch {metrics['epoch']}, validation mean IoU {metrics['mean_iou']:.3f} ({shares})"
