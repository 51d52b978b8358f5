"""`geounet run`: all of it for each scene; one scene's failure leaves the others alone."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from . import options

if TYPE_CHECKING:
    from geounet.tasks.run import Product


@click.command()
@click.argument("scenes", nargs=-1, required=True, metavar="SCENE...")
@options.model
@options.out("Folder; each scene gets a folder of its name in it.")
@options.option(
    "--format",
    "vector_format",
    type=click.Choice(["gpkg", "parquet", "fgb", "geojson", "shp"]),
    default="gpkg",
    show_default=True,
    help="Format of the polygons.",
)
@options.option(
    "--min-area", type=click.FloatRange(0), default=0.0, show_default=True, help="Leave out polygons of fewer hectares."
)
@options.simplify
@options.smooth
@options.boundary_class
@options.cleaning
@options.pattern
@options.bands
@options.opening
@options.radiometry
@options.force("Read --bands as given, though their names are the model's in another order.")
@options.bbox
@options.engine
@options.overwrite
@options.common
@options.depends(sieve_to=("sieve",), connectivity=("sieve",))
def command(scenes: tuple[str, ...], out: Path, quiet: bool, **given: Any) -> None:  # fmt: skip
    """Predict, clean if wanted, vectorise and picture each SCENE (any source).

    Each scene's folder holds classes.tif, confidence.tif, polygons, preview.png and product.json, which comes last.
    """
    given["touching"] = _touching(given["model"], given.pop("boundary_class"))
    folders = _folders(scenes, given.pop("pattern"))
    failures = [_shown(scene) for scene, name in folders.items() if not _run(scene, out / name, quiet, given)]
    if failures:
        click.echo(f"geounet: {len(failures)} of {len(folders)} scenes failed: {', '.join(failures)}", err=True)
        sys.exit(1 if len(failures) == len(folders) else 3)


def _touching(model: Path, boundary_class: str | None) -> Any:
    """How touching fields are told apart, where the model has a class between them."""
    if boundary_class is None:
        return None
    from geounet.models.model_file import read_card

    from .vectorize import touching_of

    return touching_of(read_card(model).classes, boundary_class)


def _folders(scenes: tuple[str, ...], pattern: str | None) -> dict[str, str]:
    """The name of the folder of each scene."""
    from geounet.errors import OutputError
    from geounet.sources.listing import list_scenes
    from geounet.sources.scenes import scene_id

    names = {scene: scene_id(scene) for scene in list_scenes(scenes, pattern)}
    shared = sorted(name for name, count in Counter(names.values()).items() if count > 1)
    if shared:
        named = ", ".join(_shown(scene) for scene, name in names.items() if name == shared[0])
        raise OutputError(f"scenes of the same file name would share a folder: {named}; run them into two folders")
    return names


def _shown(scene: str) -> str:
    """A path or URL without credentials and signatures."""
    from geounet.raster.remote import public_name

    return public_name(scene)


def _run(scene: str, folder: Path, quiet: bool, given: dict[str, Any]) -> bool:
    """Whether the scene went well; if not, one sentence says why."""
    from geounet.errors import GeounetError
    from geounet.tasks.run import run

    from .progress import bar, pixels_asked_for

    try:
        with bar(
            Path(_shown(scene)).name, quiet, pixels=pixels_asked_for(scene, given["bbox"], given["opening"])
        ) as progress:
            product = run(scene, given["model"], folder, progress=progress, **_without(given, "model"))
    except GeounetError as error:
        click.echo(f"geounet: {_shown(scene)}: {error}", err=True)
        return False
    if not quiet:
        click.echo(describe(product), err=True)
    return True


def _without(given: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in given.items() if key != name}


def describe(product: Product) -> str:
    """One line: what was made and where it is."""
    area = "" if product.area_ha != product.area_ha else f", {product.area_ha:.1f} ha"
    return f"{product.classes.parent}: {product.polygon_count} polygons, {product.pixels} pixels{area}"
