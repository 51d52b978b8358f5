"""`geounet clean`: smooth and sieve a class raster."""

from __future__ import annotations

from pathlib import Path

import click

from . import options


@click.command(short_help="Smooth and sieve a class raster.")
@click.argument("raster", type=click.Path(path_type=Path))
@options.out("Cleaned class raster (Cloud Optimized GeoTIFF).")
@options.majority
@options.open_radius
@options.close_radius
@options.sieve
@options.sieve_to
@options.sieve_connectivity
@options.fill_holes
@options.tile_size
@options.force("Take RASTER for one of classes, whatever it says of itself.")
@options.overwrite
@options.common
@options.depends(sieve_to=("sieve",), connectivity=("sieve",))
def command(raster, out, tile_size, force, overwrite, quiet, **steps):
    """Clean the class raster RASTER: majority, open, close, sieve, then fill holes, each where asked for.

    Class names, colours, nodata and tags are kept; nodata pixels never change. The tile size changes no pixel, and
    memory does not grow with the raster.
    """
    from geounet.components.cleaning import Cleaning
    from geounet.tasks.clean import clean

    cleaning = Cleaning(**steps)
    if not (cleaning.margin or cleaning.over_seams):
        raise click.UsageError(
            "nothing is cleaned without a step: give --majority, --open, --close, --sieve or --fill-holes"
        )
    summary = clean(
        raster,
        out,
        cleaning,
        tile_size=tile_size,
        force=force,
        overwrite=overwrite,
    )
    if not quiet:
        share = 100 * summary.changed / max(1, summary.valid)
        click.echo(f"{out}: {summary.changed} of {summary.valid} pixels changed ({share:.2f} %)", err=True)
