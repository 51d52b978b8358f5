"""`geounet stack`: bands of unequal grids, and dates, as one scene."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from . import options

if TYPE_CHECKING:
    from pathlib import Path


@click.command()
@click.argument("scenes", nargs=-1, metavar="SCENE...")
@options.out("The stack (.vrt), which all commands read like any raster.")
@options.pattern
@options.bands
@options.option(
    "--like", metavar="RASTER", help="Raster whose grid the stack gets; by default the one with the smallest pixels."
)
@options.option(
    "--resampling", type=click.Choice(["nearest", "bilinear", "cubic"]), default="nearest", show_default=True,
    help="How bands of other grids come to it.",
)  # fmt: skip
@options.overwrite
@options.searched("scenes")
@options.common
def command(
    scenes: tuple[str, ...],
    out: Path,
    pattern: str | None,
    bands: tuple[int | str, ...] | None,
    like: str | None,
    resampling: str,
    overwrite: bool,
    quiet: bool,
) -> None:
    """Join the bands of SCENEs of one place (any source), in their order, to one scene on one grid.

    Of STAC items and deliveries the bands are chosen by common name: --bands red,nir,swir16. The stack names the files,
    which stay where they are, and covers the ground that all of them cover.
    """
    from geounet.sources.listing import list_scenes
    from geounet.sources.scenes import described, open_scene
    from geounet.sources.stac import layers_of
    from geounet.tasks.stack import stack

    layers = []
    for path in list_scenes(scenes, pattern):
        item = described(path)
        names = [str(band) for band in bands or ()]
        layers += layers_of(item, names) if item and names else [open_scene(path, bands)]
    made = stack(layers, out, like=like, resampling=resampling, overwrite=overwrite)
    if not quiet:
        names = ", ".join(made.band_names)
        click.echo(f"{out}: {len(made.bands)} bands ({names}), {made.height} x {made.width}", err=True)
