"""`geounet tile`: scenes and labels to training chips."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from . import options

_PATH = click.Path(path_type=Path)


@click.command()
@click.argument("scenes", nargs=-1, required=True, type=_PATH, metavar="SCENE...")
@options.out("Folder for images/, labels/ and index.parquet.")
@options.option("--labels", multiple=True, type=_PATH, help="Label rasters, polygon files or folders; may be repeated.")
@options.option("--tile-size", type=click.IntRange(1), default=256, show_default=True, help="Side of a chip in pixels.")
@options.option("--overlap", type=click.IntRange(0), default=0, show_default=True, help="Pixels that neighbours share.")
@options.bands
@options.option("--classes", "class_file", type=_PATH, help="Class table, CSV with value,name,color.")
@options.option("--label-field", help="Field of polygon files with the class (value or name).")
@options.scheduler
@options.workers
@options.overwrite
@options.common
def command(
    scenes: tuple[Path, ...], out: Path, tile_size: int, class_file: Path | None, quiet: bool, **given: Any
) -> None:
    """Cut SCENE files or folders into georeferenced chips, with labels where there are some, and an index."""
    from geounet.chips import cut_chips
    from geounet.classes import read_classes

    from .progress import bar

    classes = read_classes(class_file) if class_file else ()
    with bar("tile", quiet) as progress:
        records = cut_chips(scenes, out, size=tile_size, classes=classes, progress=progress, **given)
    if not quiet:
        click.echo(f"{out / 'index.parquet'}: {len(records)} chips", err=True)
