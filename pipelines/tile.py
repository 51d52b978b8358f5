"""`geounet tile`: scenes and labels to training chips."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import click

from . import options

_PATH = click.Path(path_type=Path)


@click.command()
@click.argument("scenes", nargs=-1, metavar="SCENE...")
@options.out("Folder for images/, labels/, a STAC catalogue and index.parquet; for each part a folder in it.")
@options.option("--labels", multiple=True, type=_PATH, help="Label rasters, polygon files or folders; may be repeated.")
@options.option("--tile-size", type=click.IntRange(1), default=256, show_default=True, help="Side of a chip in pixels.")
@options.option("--overlap", type=click.IntRange(0), default=0, show_default=True, help="Pixels that neighbours share.")
@options.option(
    "--val-fraction",
    type=click.FloatRange(0, 1, max_open=True),
    default=0.0,
    show_default=True,
    help="Share of the pixels for validation, in val/, split off by place: parts share no ground.",
)
@options.option(
    "--test-fraction",
    type=click.FloatRange(0, 1, max_open=True),
    default=0.0,
    show_default=True,
    help="Share of the pixels for a last test, in test/, likewise.",
)
@options.option("--seed", type=int, default=0, show_default=True, help="Seed of the split.")
@options.pattern
@options.bands
@options.opening
@options.option("--classes", "class_file", type=_PATH, help="Class table, CSV with value,name,color.")
@options.option("--label-field", help="Field of polygon files with the class (value or name).")
@options.class_map
@options.layer
@options.scheduler
@options.workers
@options.overwrite
@options.searched("scenes")
@options.common
@options.depends(
    seed=("val_fraction", "test_fraction"),
    label_field=("labels",),
    layer=("labels",),
    class_map=("labels",),
    class_file=("labels",),
)
def command(
    scenes: tuple[str, ...],
    out: Path,
    tile_size: int,
    class_file: Path | None,
    val_fraction: float,
    test_fraction: float,
    seed: int,
    layer: str | None,
    quiet: bool,
    **given: Any,
) -> None:
    """Cut SCENEs (any source) into georeferenced chips, with labels where there are some, and an index.

    Where it was interrupted the same command goes on.
    """
    from geounet.class_tables import read_classes
    from geounet.data.chip_plan import Split
    from geounet.sources.polygon_files import with_layer
    from geounet.tasks.tile import tile

    from .progress import bar

    classes = read_classes(class_file) if class_file else ()
    given["labels"] = tuple(with_layer(label, layer) for label in given["labels"])
    with bar("tile", quiet) as progress:
        records = tile(
            scenes,
            out,
            size=tile_size,
            classes=classes,
            split=Split(val_fraction, test_fraction, seed),
            progress=progress,
            **given,
        )
    if not quiet:
        parts = Counter(record.part for record in records if record.part)
        told = f" ({', '.join(f'{count} {part}' for part, count in sorted(parts.items()))})" if parts else ""
        click.echo(f"{out / 'index.parquet'}: {len(records)} chips{told}", err=True)
