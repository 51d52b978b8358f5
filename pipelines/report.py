"""`geounet report`: a page to look at."""

from __future__ import annotations

from pathlib import Path

import click

from . import options


@click.command(short_help="Write a page to look at.")
@click.argument("source", type=click.Path(path_type=Path), metavar="PRODUCT|MAP|DIR")
@options.out("The page, .html: one file, which needs no network.")
@options.overwrite
@options.common
def command(source, out, quiet, overwrite):
    """Show a product, a class raster, or the folder of a batch, a change or a monitoring job as one HTML page.

    The map has scene, classes, confidence and polygons as layers; below stand areas, sizes and doubtful places.
    """
    from geounet.tasks.report import report

    made = report(source, out, overwrite=overwrite)
    if not quiet:
        click.echo(f"{made}: {made.stat().st_size / 1e6:.1f} MB", err=True)
