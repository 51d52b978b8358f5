"""`geounet vectorize`: class raster to polygons."""

from __future__ import annotations

from math import isnan
from pathlib import Path

import click

from . import options


def _parse_stats(_ctx, _param, given):
    """`RASTER:mean,std`, or `RASTER` alone; a colon before anything else is part of the path."""
    from geounet.vectorize import Zonal

    zones = []
    for text in given:
        path, colon, names = text.rpartition(":")
        if not colon or "/" in names or "." in names or "\\" in names:
            path, names = text, "mean"
        try:
            zones.append(Zonal(Path(path), tuple(names.split(","))))
        except ValueError as error:
            raise click.BadParameter(str(error)) from error
    return tuple(zones)


def _fiboa(raster, identifier, field_classes, observed):
    """What the options say of a fiboa collection; None where there is to be none."""
    if identifier is None:
        if field_classes or observed:
            raise click.BadParameter("--field-class and --observed say something of --fiboa, which is not given")
        return None
    from geounet.cog import classes_of
    from geounet.formats.fiboa import Fiboa, field_values

    return Fiboa(identifier, field_values(classes_of(raster), field_classes), observed)


@click.command(short_help="Turn a class raster into polygons.")
@click.argument("raster", type=click.Path(path_type=Path))
@options.out("Polygon file: .parquet, .gpkg, .fgb, .geojson or .shp.")
@options.option(
    "--confidence",
    type=click.Path(path_type=Path),
    help="Confidence raster on the same grid: each polygon gets its mean and least, 0 to 1.",
)
@options.option(
    "--stats",
    multiple=True,
    callback=_parse_stats,
    metavar="RASTER:NAME,...",
    help="Sum up another raster for each polygon, in columns <its name>_<statistic>: mean, std, min, max, sum, count; "
    "mean alone by default. On another grid the nearest pixel counts. May be given several times.",
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
@options.option(
    "--tile-size",
    type=click.IntRange(min=1),
    default=1024,
    show_default=True,
    help="Rows and columns traced at once, in pixels; it changes no result.",
)
@options.option(
    "--simplify",
    "simplification",
    type=click.FloatRange(min=0),
    help="Metres by which outlines may leave their course (pixels without a CRS); shared edges stay shared.",
)
@options.option("--smooth", is_flag=True, help="Cut the corners of the pixels' stairs; shared edges stay shared.")
@options.option("--fiboa", metavar="COLLECTION", help="Write GeoParquet as a fiboa collection of this identifier.")
@options.option(
    "--field-class", multiple=True, help="With --fiboa: name or value of a class of fields; all by default."
)
@options.option("--observed", type=click.DateTime(), help="With --fiboa: time of the last image, UTC.")
@options.overwrite
@options.common
def command(raster, out, stats, connectivity, fiboa, field_class, observed, quiet, **given):
    """Turn the class raster RASTER into polygons with class, area, perimeter and confidence.

    Polygons follow the pixels' edges exactly and do not depend on the tile size; nodata belongs to none. Areas are
    hectares on the ellipsoid, in any coordinate reference system. Rasters may be larger than memory.
    """
    from geounet.vectorize import vectorize

    about = _fiboa(raster, fiboa, field_class, observed)
    summary = vectorize(raster, out, stats=stats, connectivity=int(connectivity), fiboa=about, **given)
    if not quiet:
        area = "" if isnan(summary.area_ha) else f", {summary.area_ha:.2f} ha"
        click.echo(f"{out}: {summary.polygons} polygons, {summary.pixels} pixels{area}", err=True)
