"""`geounet export`: products, maps and polygons into what others work with."""

from __future__ import annotations

from pathlib import Path

import click

from . import options

_TABLES = ("append", "replace", "upsert")


def _mode(given):
    """What becomes of a table that exists; one thing at most."""
    asked = [name for name in _TABLES if given.pop(name)]
    if len(asked) > 1:
        raise click.UsageError(f"--{asked[0]} and --{asked[1]} contradict one another; give one")
    return asked[0] if asked else "create"


@click.command(short_help="Hand maps and polygons on.")
@click.argument("sources", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="PRODUCT|MAP|POLYGONS...")
@options.option(
    "--out", "-o", "target", required=True, metavar="TARGET",
    help="Polygon file (.parquet, .gpkg, .fgb, .geojson, .shp), map tiles (.pmtiles, .mbtiles), QGIS project (.qgz) or "
    "table ('postgresql://user@host/db?schema=s&table=t').",
)  # fmt: skip
@options.option(
    "--layer", "layers", multiple=True, type=click.Choice(["polygons", "classes", "confidence"]),
    help="What to hand on: polygons, or the raster of a class raster's tiles. A GeoPackage takes several.",
)  # fmt: skip
@options.option("--append", is_flag=True, help="Add to a table that exists.")
@options.option("--replace", is_flag=True, help="Make a table that exists anew.")
@options.option("--upsert", is_flag=True, help="Add to a table that exists, in place of the same products' rows.")
@options.option(
    "--crs", metavar="EPSG:CODE", help="Bring polygons to this CRS; by default they stay, or go to that of the table."
)
@options.option("--min-zoom", type=click.IntRange(0, 22), help="First zoom level of tiles; where all fits into one.")
@options.option("--max-zoom", type=click.IntRange(0, 22), help="Last zoom level of tiles; where pixels are seen.")
@options.overwrite
@options.common
def command(sources, target, quiet, **given):
    """Hand on each PRODUCT (a folder, or one of a batch), class raster or polygon file.

    Several become one, with a column that says whose each polygon is. Passwords of databases are taken from PGPASSWORD
    or ~/.pgpass.
    """
    from geounet.tasks.export import export

    from .progress import bar

    given["mode"] = _mode(given)
    with bar("export", quiet) as progress:
        made = export(sources, target, progress=progress, **given)
    if quiet:
        return
    told = f"{made.polygons} polygons" if "polygons" in made.layers else ", ".join(made.layers)
    rasters = [name for name in made.layers if name != "polygons"] if "polygons" in made.layers else []
    click.echo(f"{made.target}: {', '.join([told, *rasters])}", err=True)
    if made.empty:
        click.echo(f"{made.empty} features without a shape were left out", err=True)
    if made.moved:
        click.echo(f"brought to another CRS: {', '.join(made.moved)}", err=True)
    for file in made.files:
        click.echo(f"{file}: polygons, for QGIS reads GeoParquet only where it is built so", err=True)
