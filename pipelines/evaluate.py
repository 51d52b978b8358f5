"""`geounet evaluate`: a prediction against a reference."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING

import click

from . import options

if TYPE_CHECKING:
    from geounet.classes import LandClass
    from geounet.evaluation import Evaluation

_WIDE = (7, 15, 15, 8, 11, 8, 8)
"""Characters of the table's columns after the class."""
_PATH = click.Path(path_type=Path, allow_dash=True)


@click.command()
@click.argument("predicted")
@click.argument("reference")
@options.option(
    "--json",
    "json_file",
    type=_PATH,
    metavar="FILE",
    help="Scores and confusion matrix as JSON; - writes them to standard output in place of the table.",
)
@options.option(
    "--field",
    "--label-field",
    "field",
    help="Field of a polygon file with the class; class, value, label or code by default.",
)
@options.option(
    "--classes",
    "class_file",
    type=_PATH,
    help="Class table, CSV with value,name,color; by default the one that a raster carries.",
)
@options.overwrite
@options.common
def command(
    predicted: str,
    reference: str,
    json_file: Path | None,
    field: str | None,
    class_file: Path | None,
    overwrite: bool,
    quiet: bool,
) -> None:
    """Compare PREDICTED with REFERENCE: class rasters or polygon files, at least one of them a raster.

    The comparison happens on the prediction's pixels (the reference's if the prediction is polygons). Nodata on
    either side counts nowhere.
    """
    from geounet.evaluation import evaluate
    from geounet.outputs import atomic, check_output

    from .progress import bar

    to_stdout = str(json_file) == "-"
    if json_file and not to_stdout:
        check_output(json_file, overwrite)
    classes = _class_table(class_file, predicted, reference)
    with bar("evaluate", quiet) as progress:
        result = evaluate(predicted, reference, classes=classes, field=field, progress=progress)
    text = json.dumps({"prediction": predicted, "reference": reference} | result.to_dict(), indent=2)
    if json_file and not to_stdout:
        with atomic(json_file) as draft:
            draft.write_text(text + "\n", encoding="utf-8")
    click.echo(text if to_stdout else table(result))


def _class_table(class_file: Path | None, *sides: str) -> tuple[LandClass, ...]:
    """The class table that was given, else that of the first raster which carries one."""
    from geounet.classes import read_classes
    from geounet.cog import classes_of
    from geounet.labels import POLYGON_ENDINGS
    from geounet.scene import load_scene

    if class_file:
        return read_classes(class_file)
    rasters = [side for side in sides if Path(side).suffix.lower() not in POLYGON_ENDINGS]
    # Opened as scenes first: what GDAL says against a file is one sentence there.
    return next((found for side in rasters if (found := classes_of(load_scene(side).path))), ())


def table(result: Evaluation) -> str:
    """One line a class, and the overall scores below."""
    wide = max([len("class"), *(len(item.name) for item in result.classes)])
    heads = ("class", "value", "support", "predicted", "IoU", "precision", "recall", "F1")
    columns = (result.support, result.predicted, result.iou, result.precision, result.recall, result.f1)
    rows = [heads]
    for item, support, predicted, *scores in zip(result.classes, *columns, strict=True):
        rows.append((item.name, str(item.value), f"{support:,}", f"{predicted:,}", *map(_score, scores)))
    lines = [f"{row[0]:{wide}}" + "".join(f"{cell:>{_WIDE[at]}}" for at, cell in enumerate(row[1:])) for row in rows]
    overall = (
        f"accuracy {_score(result.accuracy)}, mean IoU {_score(result.mean_iou)}, kappa {_score(result.kappa)}, "
        f"{result.pixels:,} pixels"
    )
    return "\n".join([*lines, "", overall])


def _score(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3f}"
