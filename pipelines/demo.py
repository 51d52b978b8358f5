"""`geounet demo`: the whole chain on the sample tiles."""

from __future__ import annotations

from importlib.resources import as_file, files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from . import options

if TYPE_CHECKING:
    from geounet.metrics.evaluation import Evaluation
    from geounet.products.record import Product

SCENE = "val/images/scene_spring.tif"
LABELS = "val/labels/scene_spring.tif"


@click.command()
@options.option(
    "--out",
    "-o",
    type=click.Path(path_type=Path),
    default=Path("demo_output"),
    show_default=True,
    help="Folder for the products.",
)
@options.overwrite
@options.common
def command(out: Path, quiet: bool, **given: Any) -> None:  # fmt: skip
    """Predict, vectorise, picture and evaluate the sample scene with the sample model, and say where to look."""
    from geounet.metrics.evaluation import evaluate
    from geounet.raster.cog import classes_of
    from geounet.tasks.product import product as make

    with as_file(files("geounet_sample_tiles")) as samples:
        product = make(samples / SCENE, samples / "model.safetensors", out, **given)
        scores = evaluate(product.classes, samples / LABELS, classes=classes_of(product.classes))
    if quiet:
        return
    click.echo(_described(product), err=True)
    click.echo(_scores(scores), err=True)
    rows = {"raster": product.classes, "confidence": product.confidence, "polygons": product.polygons}
    for name, path in {**rows, "picture": product.preview}.items():
        click.echo(f"{name:<11} {path}")


def _described(product: Product) -> str:
    """One line: what was made and where it is."""
    area = "" if product.area_ha != product.area_ha else f", {product.area_ha:.1f} ha"
    return f"{product.folder}: {product.polygon_count} polygons, {product.pixels} pixels{area}"


def _scores(scores: Evaluation) -> str:
    return f"against the labels: accuracy {scores.accuracy:.3f}, mean IoU {scores.mean_iou:.3f}"
