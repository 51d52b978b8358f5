"""The sentence for one scene: tiles, one class raster, components, polygons, and a picture of them."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geounet.engine.plan import Engine
from geounet.errors import OutputError
from geounet.formats.vector_io import check_place
from geounet.models.model_file import fingerprint, read_card
from geounet.outputs import claimed, is_unfinished, sweep
from geounet.pages.pictures import preview, shows_outlines
from geounet.products.record import RECORD, Making, Product, from_here, remove_stale, write_record
from geounet.raster.cog import tags_of
from geounet.raster.opening import AS_IS, Opening
from geounet.raster.scene import load_scene, read_overview
from geounet.sources.polygon_files import read_polygons
from geounet.sources.scenes import frame_of, scene_id, scene_time, source_identity
from geounet.tasks.clean import clean
from geounet.tasks.predict import VALID_PIXELS, predict, request_of
from geounet.tasks.vectorize import vectorize

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from geounet.components.cleaning import Cleaning
    from geounet.outputs import Claim
    from geounet.raster.scene import Scene
    from geounet.tasks.vectorize import Touching, VectorSummary

    Progress = Callable[[int, int], None]

__all__ = ["Making", "Product", "Recipe", "making_of", "product"]

_LOOK = 1024
"""Pixels along each side of what is read of a scene to tell how much of it masks hide."""
_CHANGE_NOTHING = ("tile_size", "scheduler", "workers", "threads", "choice")
"""What an engine is told that changes no pixel, or that follows from the rest."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """What is made of each scene, and how."""

    bands: Sequence[int | str] | None = None
    """Bands to read, by numbers from 1 or by names; see :func:`geounet.engine.compatibility.scene_for_model`."""
    bbox: tuple[float, float, float, float] | None = None
    """Minimum x, minimum y, maximum x, maximum y in the scene's CRS."""
    opening: Opening = AS_IS
    """What the user says of the scenes."""
    radiometry: str = "auto"
    """See :func:`geounet.engine.radiometry.with_numbers`."""
    force: bool = False
    """See :func:`geounet.engine.compatibility.scene_for_model`."""
    vector_format: str = "gpkg"
    """Ending of the polygon file."""
    min_area: float = 0.0
    """Polygons of fewer hectares are left out."""
    simplification: float | None = None
    """See :func:`geounet.tasks.vectorize.vectorize`."""
    smooth: bool = False
    """See :func:`geounet.tasks.vectorize.vectorize`."""
    touching: Touching | None = None
    """How fields of one class that touch are told apart; None: they are not."""
    steps: Cleaning | None = None
    """How to clean the class raster; None leaves it as predicted."""
    engine: Engine = field(default_factory=Engine)
    """How predictions run."""

    @property
    def reading(self) -> dict[str, Any]:
        """What :func:`predict` and its request are told of the scene."""
        names = ("bands", "bbox", "opening", "radiometry", "engine")
        return {name: getattr(self, name) for name in names}

    def options(self) -> dict[str, Any]:
        """What is not as by default and changes the product, as JSON."""
        given, usual = (_flat(recipe) for recipe in (self, Recipe()))
        told = {name: value for name, value in given.items() if value != usual.get(name)}
        plain: dict[str, Any] = json.loads(json.dumps(told, default=str))
        return plain


def _flat(recipe: Recipe) -> dict[str, Any]:
    """All options by name, those of the engine and the opening among them."""
    values = asdict(replace(recipe, opening=recipe.opening.without_folders))
    opening, engine = values.pop("opening"), values.pop("engine")
    engine = {name: value for name, value in engine.items() if name not in _CHANGE_NOTHING}
    return {**values, **opening, **engine}


def making_of(scene: str | Path, model: Path, recipe: Recipe) -> Making:
    """What a product of a scene would be made of, as all of it is at present.

    Raises:
        GeounetError: the scene or the model cannot be opened.
    """
    state = json.dumps(_anywhere(source_identity(scene, recipe.opening))).encode()
    return Making(hashlib.sha256(state).hexdigest(), fingerprint(model), recipe.options())


def _anywhere(known: Any) -> Any:
    """What is known of files without the folders that they lie in: scenes may be moved, or mounted elsewhere."""
    if isinstance(known, list):
        return [_anywhere(part) for part in known]
    return Path(known).name if isinstance(known, str) and Path(known).is_absolute() else known


def product(
    scene: str | Path,
    model: Path,
    folder: Path,
    recipe: Recipe | None = None,
    *,
    overwrite: bool = False,
    reuse: bool = False,
    tiles: str | None = None,
    progress: Progress = lambda _done, _all: None,
) -> Product:
    """Predict, clean if wanted, vectorise and picture a scene into a folder; an unfinished folder is gone on with.

    Args:
        scene: the scene.
        model: the model file.
        folder: gets `classes.tif`, `confidence.tif`, `polygons.*`, `preview.png`, `item.json`; with cleaning also
            `predicted.tif`, the raster before it.
        recipe: what is made of it, and how.
        overwrite: replace a finished product.
        reuse: of one that is replaced, take the prediction where it is the one that is asked for.
        tiles: of a folder that will be put into an object store, where finished blocks stand meanwhile, see
            :func:`geounet.tasks.predict.predict`; its record then names scene and model absolutely.
        progress: called with the blocks done and the blocks in all.

    Raises:
        GeounetError: a scene or model that cannot be used, or an output that cannot be written.
    """
    recipe = recipe or Recipe()
    polygons = folder / f"polygons.{recipe.vector_format}"
    frame = frame_of(scene, recipe.bands, recipe.opening)
    check_place(polygons, None if frame.crs is None else frame.crs.to_wkt())
    making = making_of(scene, model, recipe)
    with claimed([folder / RECORD], _request(making, recipe), overwrite) as claim:
        anew = overwrite and not (reuse or claim.resumed)
        predicted = _predict(scene, model, folder, recipe, claim, anew, tiles, progress)
        summary = _outline(folder, polygons, recipe)
        card, classes = read_card(model), load_scene(folder / "classes.tif")
        drawn = read_polygons(polygons) if summary.polygons and shows_outlines(classes) else None
        preview(scene, folder / "classes.tif", folder / "preview.png", card.classes, drawn, opening=recipe.opening)
        pixels = int(tags_of(predicted)[VALID_PIXELS])
        made = Product(
            id=scene_id(scene),
            scene=from_here(str(scene), folder if tiles is None else None),
            folder=folder,
            polygons=polygons,
            pixels=pixels,
            valid_share=pixels / classes.extent.pixels,
            masked_share=_masked_share(scene, frame, recipe),
            polygon_count=summary.polygons,
            area_ha=summary.area_ha,
            hectares=summary.hectares,
        )
        remove_stale(made, cleaned=recipe.steps is not None)
        write_record(made, making, classes, frame, scene_time(scene, frame), model, card, moves=tiles is not None)
    sweep(folder)
    return made


def _request(making: Making, recipe: Recipe) -> str:
    """What tells this product from others while it is unfinished."""
    choice = recipe.engine.choice
    parts = [making.scene, making.model, making.options, None if choice is None else asdict(choice)]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _predict(
    scene: str | Path,
    model: Path,
    folder: Path,
    recipe: Recipe,
    claim: Claim,
    anew: bool,
    tiles: str | None,
    progress: Progress,
) -> Path:
    """Make class raster and confidence, where an earlier run has not left just these; the raster before cleaning."""
    predicted = folder / ("predicted.tif" if recipe.steps else "classes.tif")
    confidence = folder / "confidence.tif"
    if anew or not _is_done((predicted, confidence), request_of(scene, model, **recipe.reading), claim):
        predict(
            scene,
            model,
            predicted,
            confidence=confidence,
            **recipe.reading,
            force=recipe.force,
            tiles=tiles,
            overwrite=claim.may_replace,
            progress=progress,
        )
    if recipe.steps:
        clean(predicted, folder / "classes.tif", recipe.steps, overwrite=True)
    return predicted


def _outline(folder: Path, polygons: Path, recipe: Recipe) -> VectorSummary:
    return vectorize(
        folder / "classes.tif",
        polygons,
        confidence=folder / "confidence.tif",
        min_area=recipe.min_area,
        simplification=recipe.simplification,
        smooth=recipe.smooth,
        touching=recipe.touching,
        overwrite=True,
    )


def _is_done(rasters: Sequence[Path], request: str, claim: Claim) -> bool:
    """Whether an earlier run, cut off later or of other polygons, has left just the rasters that are asked for.

    Raises:
        OutputError: a raster of other work is in the way.
    """
    if not all(path.exists() and not is_unfinished(path) for path in rasters):
        return False
    if all(tags_of(path).get("REQUEST") == request for path in rasters):
        return True
    if claim.may_replace:
        return False
    raise OutputError(
        f"{rasters[0]} was made of another scene, by another model or with other options; --overwrite replaces it"
    )


def _masked_share(scene: str | Path, frame: Scene, recipe: Recipe) -> float:
    """Share of a scene's valid pixels that masks hide, on a look at about a million of them.

    An area of interest is no mask: what lies outside it counts neither way.
    """
    if not recipe.opening.masks:
        return 0.0
    bare = frame_of(scene, recipe.bands, replace(recipe.opening, masks=(), mask_dilate=0))
    shape = min(_LOOK, bare.height), min(_LOOK, bare.width)
    shares = [float(read_overview(which, *shape)[1].mean()) for which in (frame, bare)]
    return 1 - shares[0] / shares[1] if shares[1] else 0.0
