"""`geounet vectorize`: class raster to polygons."""

from __future__ import annotations

from math import isnan
from pathlib import Path

import click

from . import options


@click.command(short_help="Turn a class raster into polygons.")
@click.argument("raster", type=click.Path(path_type=Path))
@options.out("Polygon file: .parquet, .gpkg, .fgb, .geojson or .shp.")
@options.option(
    "--confidence",
    type=click.Path(path_type=Path),
    help="Confidence raster on the same grid: each polygon gets its mean, 0 to 1.",
)
@options.option(
    "--min-area",
    type=click.FloatRange(min=0),
    default=0.0,
    show_default=True,
    help="Leave out polygons of fewer hectares.",
)
@options.option(
    "--connectivity",
    type=click.Choice(["4", "8"]),
    default="4",
    show_default=True,
    help="Pixels of one polygon share a side (4), or a side or a corner (8).",
)
@options.tile_size
@options.overwrite
@options.common
def command(raster, out, confidence, min_area, connectivity, tile_size, overwrite, quiet):
    """Turn the class raster RASTER into polygons with class, area, perimeter and confidence.

    Polygons follow the pixels' edges exactly and do not depend on the tile size; nodata belongs to none. Areas are
    hectares on the ellipsoid, in any coordinate reference system.
    """
    from geounet.vectorize import vectorize

    summary = vectorize(
        raster,
        out,
        confidence=confidence,
        min_area=min_area,
        connectivity=int(connectivity),
        tile_size=tile_size,
        overwrite=overwrite,
    )
    if not quiet:
        area = "" if isnan(summary.area_ha) else f", {summary.area_ha:.2f} ha"
        click.echo(f"{out}: {summary.polygons} polygons, {summary.pixels} pixels{area}", err=True)
