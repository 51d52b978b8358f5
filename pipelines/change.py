"""`geounet change`: what changed between two maps."""

from __future__ import annotations

from math import isnan
from pathlib import Path

import click

from . import options

_PAIR = {"nargs": 2, "type": click.Path(path_type=Path), "metavar": "BEFORE AFTER"}


@click.command(short_help="Say what changed between two maps.")
@click.argument("before", callback=options.folder_or_bucket, metavar="BEFORE")
@click.argument("after", callback=options.folder_or_bucket, metavar="AFTER")
@options.option(
    "--out", "-o", "folder", required=True, type=click.Path(path_type=Path), metavar="DIR",
    help="Folder that gets rasters, polygons, matrix, picture and STAC item.",
)  # fmt: skip
@options.option("--confidence", help="Confidences of class rasters; products have their own.", **_PAIR)
@options.option("--probabilities", help="Rasters with one band for each class, in place of confidences.", **_PAIR)
@options.option(
    "--min-confidence", type=click.FloatRange(0, 1), default=0.5, show_default=True,
    help="Least probability that a pixel has changed.",
)  # fmt: skip
@options.option(
    "--tolerance", type=click.IntRange(0, 64), default=0, show_default=True, metavar="PX",
    help="Pixels by which the maps may lie beside each other: what such a shift explains is no change.",
)  # fmt: skip
@options.option(
    "--min-area", type=click.FloatRange(0), default=0.0, show_default=True,
    help="Leave out connected changes of fewer hectares.",
)  # fmt: skip
@options.option(
    "--sample", type=click.Path(path_type=Path), metavar="FILE",
    help="Points with what happened there (from, to): areas with 95 % intervals.",
)  # fmt: skip
@options.option(
    "--format", "vector_format", type=click.Choice(["parquet", "gpkg", "fgb", "geojson", "shp"]), default="parquet",
    show_default=True, help="Format of the polygons.",
)  # fmt: skip
@options.option(
    "--tile-size", type=click.IntRange(min=1), default=1024, show_default=True,
    help="Rows and columns compared at once, in pixels; it changes no result.",
)  # fmt: skip
@options.option("--workers", type=click.IntRange(min=1), help="Threads; as many as there are processors by default.")
@options.overwrite
@options.common
def command(before, after, folder, quiet, min_confidence, tolerance, min_area, **given):
    """Compare BEFORE and AFTER, each a product, a class raster or a mosaic, on grids that may differ.

    A pixel counts as changed when the confidences of both maps say so; polygons are connected changes of one kind.
    """
    from geounet.tasks.change import Rules, change

    from .progress import bar

    rules = Rules(min_confidence, tolerance, min_area)
    with bar("change", quiet) as progress:
        made = change(before, after, folder, rules, progress=progress, **given)
    if quiet:
        return
    moved = " (one map resampled)" if made.resampled else ""
    click.echo(f"{folder}: {made.height} x {made.width} pixels{moved}, {made.polygons} changes", err=True)
    if not isnan(made.total_ha):
        click.echo(f"{made.changed_ha:.2f} of {made.total_ha:.2f} ha changed", err=True)
    left = {"less than --min-confidence": made.doubtful, "within --tolerance": made.shifted, "too small": made.small}
    if any(left.values()):
        told = ", ".join(f"{count} {why}" for why, count in left.items() if count)
        click.echo(f"pixels that differ and do not count: {told}", err=True)
