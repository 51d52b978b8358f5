"""`geounet mosaic`: many products as one map."""

from __future__ import annotations

from math import isnan
from pathlib import Path

import click

from . import options


def _fiboa_of(identifier, field_classes, observed):
    """Of a class table, what the options say of a fiboa collection; None where there is to be none."""
    if identifier is None:
        return None
    from geounet.formats.fiboa import Fiboa, field_values

    return lambda classes: Fiboa(identifier, field_values(classes, field_classes), observed)


@click.command(short_help="Join products to one map.")
@click.argument("products", nargs=-1, required=True, callback=options.folders_or_buckets, metavar="DIR...")
@options.out("Class raster: .tif (COG); or .vrt, of products on one grid with --prefer newest or oldest.")
@options.option("--polygons", type=click.Path(path_type=Path), help="Polygons of the map, in any format of vectorize.")
@options.option("--confidence", type=click.Path(path_type=Path), help="Raster of the confidence of the map's pixels.")
@options.option(
    "--prefer",
    type=click.Choice(["confidence", "newest", "oldest", "vote"]),
    default="confidence",
    show_default=True,
    help="Where products overlap: the surest class, that of the newest or the oldest scene, or the commonest.",
)
@options.option(
    "--crs", default="auto", show_default=True, metavar="auto|EPSG:CODE", help="The map's; auto: that of most pixels."
)
@options.option(
    "--resolution",
    type=click.FloatRange(0, min_open=True),
    help="Side of a pixel in the CRS's units; the products' own.",
)
@options.option(
    "--min-area", type=click.FloatRange(0), default=0.0, show_default=True, help="Leave out polygons of fewer hectares."
)
@options.simplify
@options.smooth
@options.option("--fiboa", metavar="COLLECTION", help="Write GeoParquet as a fiboa collection of this identifier.")
@options.option(
    "--field-class", multiple=True, help="With --fiboa: name or value of a class of fields; all by default."
)
@options.option("--observed", type=click.DateTime(), help="With --fiboa: time of the last image, UTC.")
@options.option(
    "--tile-size", type=click.IntRange(min=1), default=1024, show_default=True,
    help="Rows and columns merged at once, in pixels; it changes no result.",
)  # fmt: skip
@options.option("--workers", type=click.IntRange(min=1), help="Threads; as many as there are processors by default.")
@options.overwrite
@options.common
@options.depends(
    fiboa=("polygons",), min_area=("polygons",), simplification=("polygons",), smooth=("polygons",),
    observed=("fiboa",), field_class=("fiboa",),
)  # fmt: skip
def command(products, out, quiet, **given):
    """Join the products in each DIR (of one, or of a batch) to one class raster, and to one set of polygons.

    Products may overlap and lie in several UTM zones; a field that lies in two scenes becomes one polygon, once. The
    map depends neither on the order in which products are named nor on the tile size.
    """
    from geounet.tasks.mosaic import mosaic

    from .progress import bar

    given["fiboa"] = _fiboa_of(given.pop("fiboa"), given.pop("field_class"), given.pop("observed"))
    with bar("mosaic", quiet) as progress:
        made = mosaic(products, out, progress=progress, **given)
    if quiet:
        return
    moved = f" ({made.resampled} resampled)" if made.resampled else ""
    click.echo(f"{out}: {made.products} products{moved}, {made.height} x {made.width} pixels", err=True)
    if made.polygons is not None:
        area = "" if isnan(made.polygons.area_ha) else f", {made.polygons.area_ha:.2f} ha"
        click.echo(f"{given['polygons']}: {made.polygons.polygons} polygons{area}", err=True)
