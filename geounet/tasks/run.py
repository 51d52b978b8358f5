"""The sentence for one scene: tiles, one class raster, components, polygons, and a picture of them."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geounet.errors import OutputError
from geounet.formats.vector_io import check_place
from geounet.models.model_file import fingerprint, read_card
from geounet.outputs import atomic, claimed, is_unfinished, sweep
from geounet.pages.pictures import preview
from geounet.raster.cog import tags_of
from geounet.raster.identity import request_hash
from geounet.raster.opening import AS_IS, Opening
from geounet.raster.remote import public_name
from geounet.sources.polygon_files import read_polygons
from geounet.sources.scenes import frame_of, source_identity
from geounet.tasks.clean import clean
from geounet.tasks.predict import predict, request_of
from geounet.tasks.vectorize import vectorize

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from geounet.components.cleaning import Cleaning
    from geounet.outputs import Claim
    from geounet.tasks.predict import Engine
    from geounet.tasks.vectorize import Touching

    Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Product:
    """All that was made of one scene, and where it is."""

    scene: str
    """Path of the scene."""
    classes: Path
    """Class raster (COG)."""
    confidence: Path
    """Probability of the class (COG)."""
    polygons: Path
    """Polygons with attributes."""
    preview: Path
    """Scene and class map side by side (PNG)."""
    record: Path
    """Summary (JSON), written last: where it stands, all the others are whole."""
    pixels: int
    """Pixels with a class."""
    polygon_count: int
    """Polygons written."""
    area_ha: float
    """Hectares they cover; NaN without a CRS."""


def run(
    scene: str | Path,
    model: Path,
    folder: Path,
    *,
    bands: Sequence[int] | None = None,
    bbox: tuple[float, float, float, float] | None = None,
    opening: Opening = AS_IS,
    radiometry: str = "auto",
    force: bool = False,
    vector_format: str = "gpkg",
    min_area: float = 0.0,
    simplification: float | None = None,
    smooth: bool = False,
    touching: Touching | None = None,
    steps: Cleaning | None = None,
    engine: Engine | None = None,
    overwrite: bool = False,
    progress: Progress = lambda _done, _all: None,
) -> Product:
    """Predict, clean if wanted, vectorise and picture a scene into a folder; an unfinished folder is gone on with.

    Args:
        scene: the scene.
        model: the model file.
        folder: gets `classes.tif`, `confidence.tif`, `polygons.*`, `preview.png`, `product.json`; with cleaning also
            `predicted.tif`, the raster before it.
        bands: bands of the scene to read, from 1.
        bbox: minimum x, minimum y, maximum x, maximum y in the scene's CRS.
        opening: what the user says of the scene.
        radiometry: see :func:`geounet.tasks.predict.predict`.
        force: see :func:`geounet.tasks.predict.predict`.
        vector_format: ending of the polygon file.
        min_area: polygons of fewer hectares are left out.
        simplification: see :func:`geounet.tasks.vectorize.vectorize`.
        smooth: see :func:`geounet.tasks.vectorize.vectorize`.
        touching: how fields of one class that touch are told apart; None: they are not.
        steps: how to clean the class raster; None leaves it as predicted.
        engine: how the prediction runs.
        overwrite: replace a finished product.
        progress: called with the blocks done and the blocks in all.

    Raises:
        GeounetError: a scene or model that cannot be used, or an output that cannot be written.
    """
    record, classes, share = folder / "product.json", folder / "classes.tif", folder / "confidence.tif"
    polygons, picture = folder / f"polygons.{vector_format}", folder / "preview.png"
    crs = frame_of(scene, bands, opening).crs
    check_place(polygons, None if crs is None else crs.to_wkt())
    choices = [
        bands,
        bbox,
        asdict(opening),
        radiometry,
        vector_format,
        min_area,
        simplification,
        smooth,
        touching,
        steps,
        engine,
    ]
    request = request_hash("run", [model], source_identity(scene, opening), *choices)
    with claimed([record], request, overwrite) as claim:
        predicted = folder / "predicted.tif" if steps else classes
        request = request_of(
            scene, model, bands=bands, bbox=bbox, opening=opening, radiometry=radiometry, engine=engine
        )
        if overwrite or not _is_done(predicted, request, claim):
            predict(
                scene,
                model,
                predicted,
                confidence=share,
                bands=bands,
                bbox=bbox,
                opening=opening,
                radiometry=radiometry,
                force=force,
                engine=engine,
                overwrite=claim.may_replace,
                progress=progress,
            )
        if steps:
            clean(predicted, classes, steps, overwrite=True)
        summary = vectorize(
            classes,
            polygons,
            confidence=share,
            min_area=min_area,
            simplification=simplification,
            smooth=smooth,
            touching=touching,
            overwrite=True,
        )
        drawn = read_polygons(polygons) if summary.polygons else None
        preview(scene, classes, picture, read_card(model).classes, drawn, opening=opening)
        product = Product(
            public_name(str(scene)),
            classes,
            share,
            polygons,
            picture,
            record,
            summary.pixels,
            summary.polygons,
            summary.area_ha,
        )
        with atomic(record) as staged:
            staged.write_text(json.dumps(_plain(product, model), indent=2), encoding="utf-8")
    sweep(folder)
    return product


def _is_done(predicted: Path, request: str, claim: Claim) -> bool:
    """Whether an earlier run, cut off later, has left just the raster that is asked for.

    Raises:
        OutputError: a raster of other work is in the way.
    """
    if not predicted.exists() or is_unfinished(predicted):
        return False
    if tags_of(predicted).get("REQUEST") == request:
        return True
    if claim.may_replace:
        return False
    raise OutputError(
        f"{predicted} was made of another scene, by another model or with other options; --overwrite replaces it"
    )


def _plain(product: Product, model: Path) -> dict[str, Any]:
    """As JSON: file names relative to the record, NaN as null."""
    values = {name: value.name if isinstance(value, Path) else value for name, value in asdict(product).items()}
    area = None if math.isnan(product.area_ha) else round(product.area_ha, 6)
    return {**values, "area_ha": area, "model": model.name, "model_sha256": fingerprint(model)}
