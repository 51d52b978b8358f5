"""`geounet predict`: scenes to class rasters."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from . import options

if TYPE_CHECKING:
    from geounet.tasks.predict import Prediction


@click.command()
@click.argument("scene", required=False)
@options.model
@options.out("Class raster (COG).")
@options.option("--confidence", type=click.Path(path_type=Path), help="Raster of the class's probability (COG).")
@options.option(
    "--probabilities",
    type=click.Path(path_type=Path),
    help="Raster of the probabilities of all classes, one band each (COG).",
)
@options.option(
    "--probabilities-dtype",
    type=click.Choice(["uint8", "float16"]),
    default="uint8",
    show_default=True,
    help="How they are stored: 0 to 254 with a scale of 1/254 (255: nodata), or in half precision (NaN: nodata).",
)
@options.bands
@options.opening
@options.radiometry
@options.force("Read --bands as given, though their names are the model's in another order.")
@options.engine
@options.bbox
@options.overwrite
@options.searched("scene", one=True, crops=True)
@options.common
@options.depends(probabilities_dtype=("probabilities",))
def command(scene: str, model: Path, out: Path, quiet: bool, **given: Any) -> None:
    """Turn SCENE into a raster of classes; the same pixels whatever the tile size or the number of workers."""
    from geounet.tasks.predict import predict

    from .progress import bar, pixels_asked_for

    with bar("predict", quiet, pixels=pixels_asked_for(scene, given["bbox"], given["opening"])) as progress:
        result = predict(scene, model, out, progress=progress, **given)
    if not quiet:
        click.echo(f"{out}: {describe(result)}", err=True)


def describe(result: Prediction) -> str:
    """One line: pixels, seconds, speed, what was skipped and resumed."""
    speed = result.pixels / 1e6 / max(result.seconds, 1e-9)
    text = f"{result.pixels / 1e6:.2f} Mpx in {result.seconds:.1f} s ({speed:.2f} Mpx/s), {result.windows} windows"
    tuning = result.tuning
    text += f", {tuning.runtime} {tuning.precision}"
    if tuning.agreement is not None:
        text += f" ({tuning.agreement:.2%} of fp32's classes)"
    if result.skipped:
        text += f", {result.skipped} skipped as nodata"
    if result.resumed:
        text += f", {result.resumed} of {result.blocks} blocks resumed"
    return text
