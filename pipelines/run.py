"""`geounet run`: all of it for each scene; one scene's failure leaves the others alone."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from . import options
from .batches import said_once, shown, summary, todo

if TYPE_CHECKING:
    from pathlib import Path

_RECIPE = (
    "bands", "bbox", "opening", "radiometry", "force", "vector_format", "min_area", "simplification", "smooth",
    "touching", "steps", "engine",
)  # fmt: skip


@click.command()
@click.argument("scenes", nargs=-1, metavar="SCENE...")
@options.model
@options.option(
    "--out",
    "-o",
    required=True,
    callback=options.folder_or_bucket,
    metavar="DIR|s3://…",
    help="Folder, or a prefix in an object store (s3://, az://, gs://); each scene gets a folder of its name in it.",
)
@options.option(
    "--format",
    "vector_format",
    type=click.Choice(["gpkg", "parquet", "fgb", "geojson", "shp"]),
    default="gpkg",
    show_default=True,
    help="Format of the polygons.",
)
@options.option(
    "--min-area", type=click.FloatRange(0), default=0.0, show_default=True, help="Leave out polygons of fewer hectares."
)
@options.simplify
@options.smooth
@options.boundary_class
@options.cleaning
@options.pattern
@options.bands
@options.opening
@options.radiometry
@options.force("Read --bands as given, though their names are the model's in another order.")
@options.bbox
@options.engine
@options.option(
    "--changed",
    type=click.Choice(["redo", "skip"]),
    default="redo",
    show_default=True,
    help="Finished products whose scene, model or options are others now: make them anew, or leave them.",
)
@options.option(
    "--on-error",
    type=click.Choice(["skip", "stop"]),
    default="skip",
    show_default=True,
    help="Where a scene fails: go on with the others, or stop.",
)
@options.option(
    "--retries",
    type=click.IntRange(0),
    default=2,
    show_default=True,
    help="How often a scene is tried again after the network or a disk failed, with growing pauses.",
)
@options.option("--dry-run", is_flag=True, help="Only say what would be done, of what size, and about how long.")
@options.option("--overwrite", "-f", is_flag=True, help="Make finished products anew, too.")
@options.searched("scenes", crops=True)
@options.common
@options.depends(sieve_to=("sieve",), connectivity=("sieve",))
def command(scenes: tuple[str, ...], model: Path, out: Path | str, quiet: bool, dry_run: bool, **given: Any) -> None:
    """Predict, clean if wanted, vectorise and picture each SCENE (any source); again, it does what is left to do.

    Each scene's folder holds classes.tif, confidence.tif, polygons, preview.png and item.json, which comes last.
    """
    from geounet.tasks.run import Recipe, run

    given["touching"] = _touching(model, given.pop("boundary_class"))
    recipe = Recipe(**{name: given.pop(name) for name in _RECIPE})
    with said_once(), shown(quiet or dry_run) as show:
        batch = run(scenes, model, out, recipe, dry_run=dry_run, show=show, **given)
    failed = batch.of("failed")
    if dry_run:
        click.echo("\n".join(todo(batch)))
    elif not quiet:
        for line in summary(batch):
            click.echo(line, err=True)
    if failed:
        for entry in failed:
            click.echo(f"geounet: {entry.scene}: {entry.failure}", err=True)
        if len(batch.scenes) > 1:
            click.echo(f"geounet: {len(failed)} of {len(batch.scenes)} scenes failed", err=True)
        sys.exit(1 if len(failed) == len(batch.scenes) else 3)


def _touching(model: Path, boundary_class: str | None) -> Any:
    """How touching fields are told apart, where the model has a class between them."""
    if boundary_class is None:
        return None
    from geounet.models.model_file import read_card

    from .vectorize import touching_of

    return touching_of(read_card(model).classes, boundary_class)
