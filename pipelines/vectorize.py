"""`geounet vectorize`: class raster to polygons."""

from __future__ import annotations

from math import isnan
from pathlib import Path

import click

from . import options


def _split(text):
    """What stands before the last colon, and behind it; a colon before anything that a path may hold is part of it."""
    path, colon, word = text.rpartition(":")
    return (path, word) if colon and path and word and not set("/\\.") & set(word) else (text, None)


def _parse_stats(_ctx, _param, given):
    """`RASTER[:BAND][:STATISTICS]`; the mean by default."""
    from geounet.components.zonal import STATISTICS
    from geounet.tasks.vectorize import Zonal

    zones = []
    for text in given:
        rest, word = _split(text)
        statistics = tuple(word.split(",")) if word else ()
        if not set(statistics) & set(STATISTICS):
            rest, statistics = text, ("mean",)
        path, band = _band_of(rest, f"nor a statistic ({', '.join(STATISTICS)})")
        try:
            zones.append(Zonal(path, statistics, band))
        except ValueError as error:
            raise click.BadParameter(str(error)) from error
    return tuple(zones)


def _fiboa(raster, identifier, field_classes, observed):
    """What the options say of a fiboa collection; None where there is to be none."""
    if identifier is None:
        return None
    from geounet.formats.fiboa import Fiboa, field_values
    from geounet.raster.cog import classes_of

    return Fiboa(identifier, field_values(classes_of(raster), field_classes), observed)


def _touching(raster, field_classes, wanted, boundary_class, boundary, rise):
    """What the options say of touching fields; None where they are not told apart."""
    if wanted != bool(boundary_class or boundary):
        raise click.BadParameter("--split-touching goes with --boundary-class, --boundary or both, and they with it")
    if not wanted:
        return None
    from geounet.classes import NODATA, default_class
    from geounet.raster.cog import classes_of

    table = classes_of(raster) or [default_class(value) for value in range(NODATA)]
    return touching_of(table, boundary_class, field_classes, boundary, rise=rise)


def touching_of(table, boundary_class, field_classes=(), boundary=None, **how):
    """How touching fields of a class table are told apart."""
    from geounet.components.touching import Splitting
    from geounet.formats.fiboa import field_values
    from geounet.tasks.vectorize import Touching

    (between,) = field_values(table, (boundary_class,)) if boundary_class else (None,)
    fields = field_values(table, field_classes) or frozenset(item.value for item in table) - {0}
    path, band = _band_of(boundary) if boundary else (None, None)
    try:
        return Touching(Splitting(fields - {between}, between, **how), path, band or 1)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


def _band_of(text, otherwise=""):
    """The raster and the number of its band in `RASTER[:BAND]`, where BAND is a number from 1 or a name."""
    rest, word = _split(text)
    if word is None:
        return Path(text), None
    if word.isdecimal():
        return Path(rest), int(word)
    from geounet.raster.scene import load_scene

    scene = load_scene(rest)
    if word not in scene.band_names:
        known = ", ".join(scene.band_names)
        also = f" {otherwise}" if otherwise else ""
        raise click.BadParameter(f"{word!r} is {'neither ' if also else 'not '}a band of {rest} ({known}){also}")
    return Path(rest), scene.bands[scene.band_names.index(word)]


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
    metavar="RASTER[:BAND][:STATISTIC,...]",
    help="Sum up another raster for each polygon, in columns <its name>_<statistic>, or of several bands "
    "<its name>_<band>_<statistic>: mean, std, min, max, sum, count; mean alone by default. BAND is a number from 1 or "
    "a name; all bands by default. On another grid the nearest pixel counts. May be given several times.",
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
@options.simplify
@options.smooth
@options.option(
    "--split-touching",
    is_flag=True,
    help="Tell touching fields of one class apart, by --boundary-class, --boundary or both.",
)
@options.boundary_class
@options.option(
    "--boundary",
    metavar="RASTER[:BAND]",
    help="Boundary probability, 0 to 1; BAND is a number from 1 or a name, as in predict --probabilities; the first by "
    "default.",
)
@options.option(
    "--rise",
    type=click.FloatRange(0.01, 1),
    default=0.15,
    show_default=True,
    help="With --split-touching: boundary probability between two fields above that inside of either.",
)
@options.option("--fiboa", metavar="COLLECTION", help="Write GeoParquet as a fiboa collection of this identifier.")
@options.option(
    "--field-class",
    multiple=True,
    help="With --fiboa and --split-touching: name or value of a class of fields; all by default.",
)
@options.option("--observed", type=click.DateTime(), help="With --fiboa: time of the last image, UTC.")
@options.force("Take RASTER for one of classes, whatever it says of itself.")
@options.overwrite
@options.common
@options.depends(
    rise=("split_touching",), observed=("fiboa",), field_class=("fiboa", "split_touching"), boundary=("split_touching",)
)
def command(raster, out, connectivity, quiet, **given):
    """Turn the class raster RASTER into polygons with class, area, perimeter and confidence.

    Polygons follow the pixels' edges exactly and do not depend on the tile size; nodata belongs to none. Areas are
    hectares on the ellipsoid, in any coordinate reference system. Rasters may be larger than memory.
    """
    from geounet.tasks.vectorize import vectorize

    field_class = given.pop("field_class")
    if given["split_touching"] and connectivity != "4":
        raise click.BadParameter("fields that are split share no corner; leave --connectivity out")
    fiboa = _fiboa(raster, given.pop("fiboa"), field_class, given.pop("observed"))
    how = [given.pop(name) for name in ("split_touching", "boundary_class", "boundary", "rise")]
    touching = _touching(raster, field_class, *how)
    summary = vectorize(raster, out, connectivity=int(connectivity), fiboa=fiboa, touching=touching, **given)
    if not quiet:
        area = "" if isnan(summary.area_ha) else f", {summary.area_ha:.2f} ha"
        click.echo(f"{out}: {summary.polygons} polygons, {summary.pixels} pixels{area}", err=True)
