"""`geounet rasterize`: polygons to a class raster."""

from __future__ import annotations

from pathlib import Path

import click

from . import options


@click.command(short_help="Turn polygons into a class raster.")
@click.argument("polygons", type=click.Path(path_type=Path))
@options.option("--like", required=True, metavar="RASTER", help="Raster whose pixels, size and CRS the result has.")
@options.out("Class raster (Cloud Optimized GeoTIFF); 255 is nodata.")
@options.option(
    "--attribute",
    "--label-field",
    "attribute",
    help="Field with the class, code or name; the first of class, value, label, code by default.",
)
@options.option(
    "--classes",
    "class_file",
    type=click.Path(path_type=Path),
    help="Class table, CSV with value,name,color; by default what the fields class_name and color say.",
)
@options.class_map
@options.layer
@options.option(
    "--background",
    type=click.IntRange(0, 254),
    help="Class value outside all polygons; nodata by default.",
)
@options.option(
    "--all-touched", is_flag=True, help="Burn every pixel that a polygon touches, not only those whose centre it holds."
)
@options.tile_size
@options.overwrite
@options.common
def command(polygons, like, out, class_file, background, layer, quiet, **given):
    """Burn POLYGONS onto the pixels of a raster, for training labels or for comparison.

    Polygons in another CRS are brought to the raster's. A pixel gets the class of the polygon that holds its centre;
    where polygons overlap, the last one in the file wins. The tile size changes no pixel.
    """
    from geounet.class_tables import read_classes
    from geounet.sources.polygon_files import with_layer
    from geounet.tasks.rasterize import rasterize

    from .progress import bar

    with bar("rasterize", quiet) as progress:
        summary = rasterize(
            with_layer(polygons, layer),
            like,
            out,
            classes=read_classes(class_file) if class_file else (),
            background=255 if background is None else background,
            progress=progress,
            **given,
        )
    if not quiet:
        labelled = sum(summary.counts.values())
        share = 100 * labelled / max(1, labelled + summary.nodata)
        click.echo(
            f"{out}: {summary.polygons} polygons, {len(summary.counts)} classes, {labelled} pixels ({share:.2f} %)",
            err=True,
        )
