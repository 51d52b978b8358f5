"""`geounet clean`: smooth and sieve a class raster."""

from __future__ import annotations

from pathlib import Path

import click

from . import options


def _count(name: str, parameter: str, help_text: str) -> options.Decorator:
    return options.option(name, parameter, type=click.IntRange(min=0), default=0, show_default=True, help=help_text)


@click.command(short_help="Smooth and sieve a class raster.")
@click.argument("raster", type=click.Path(path_type=Path))
@options.out("Cleaned class raster (Cloud Optimized GeoTIFF).")
@_count("--open", "open_radius", "Opening: remove what no disk of this radius (pixels) fits into; 0: none.")
@_count("--close", "close_radius", "Closing: fill gaps no disk of this radius (pixels) fits into; 0: none.")
@_count("--sieve", "sieve", "Give components of fewer pixels to their largest neighbour; 0: none.")
@_count("--fill-holes", "fill_holes", "Fill holes of up to so many pixels; 0: none.")
@options.tile_size
@options.overwrite
@options.common
def command(raster, out, open_radius, close_radius, sieve, fill_holes, tile_size, overwrite, quiet):
    """Clean the class raster RASTER: open, close, sieve, then fill holes, each where asked for.

    Class names, colours, nodata and tags are kept; nodata pixels never change. The tile size changes no pixel.
    """
    from geounet.segment import clean

    summary = clean(
        raster,
        out,
        open_radius=open_radius,
        close_radius=close_radius,
        sieve=sieve,
        fill_holes=fill_holes,
        tile_size=tile_size,
        overwrite=overwrite,
    )
    if not quiet:
        share = 100 * summary.changed / max(1, summary.valid)
        click.echo(f"{out}: {summary.changed} of {summary.valid} pixels changed ({share:.2f} %)", err=True)
