"""The record of a product: a STAC item, written last, that says what was made of what, and how.

STAC 1.1.0 with the extensions Projection 2, Raster 1.1, Classification 2, Processing 1.2 and MLM 1.4. What is made can
be told from the record alone: the scene's state, the model's hash, and the options that are not the default ones.
"""

from __future__ import annotations

import json
import math
import os
import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geounet.data.chip_catalog import span_of_scene
from geounet.errors import OutputError
from geounet.outputs import atomic
from geounet.raster.footprints import footprint
from geounet.raster.globe import bbox_of
from geounet.raster.remote import is_remote, public_name
from geounet.raster.stac_terms import (
    CLASSIFICATION,
    COG,
    JSON,
    PROCESSING,
    PROJECTION,
    RASTER,
    class_entry,
    projection_of,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pystac

    from geounet.models.model_file import ModelCard
    from geounet.raster.scene import Scene

RECORD = "item.json"
"""The record's name in a product's folder."""
CLASSES, CONFIDENCE = "classes.tif", "confidence.tif"
"""What a product's rasters are called."""
CATALOG, COLLECTION = "catalog.json", "collection.json"
"""What lies beside the products' folders, and makes them a static STAC catalogue."""
_FILE = "https://stac-extensions.github.io/file/v2.1.0/schema.json"
POLYGON_TYPES = {
    ".gpkg": "application/geopackage+sqlite3",
    ".parquet": "application/vnd.apache.parquet",
    ".fgb": "application/vnd.flatgeobuf",
    ".geojson": "application/geo+json",
    ".shp": "application/x-shapefile",
}
"""Media types of polygon files by their endings."""
_SHAPEFILE = (".shx", ".dbf", ".prj", ".cpg")
_CALLED = {
    "masks": "--mask",
    "simplification": "--simplify",
    "steps": "cleaning",
    "touching": "--boundary-class",
    "vector_format": "--format",
}
"""What users call options that the code calls otherwise."""
_SHA256 = "1220"
"""Says of a multihash (https://multiformats.io/multihash) that 32 bytes of SHA-256 follow."""


@dataclass(frozen=True, slots=True)
class Product:
    """All that was made of one scene, and where it is."""

    id: str
    """The scene's."""
    scene: str
    """The scene, as its record names it, see :func:`from_here`."""
    folder: Path
    """What holds all files of it."""
    polygons: Path
    """Polygons with attributes."""
    pixels: int
    """Pixels with a class."""
    valid_share: float
    """Their share of the pixels that were asked for."""
    masked_share: float
    """Share of the scene's valid pixels that masks hide, on a look at about a million of them; 0 without masks."""
    polygon_count: int
    """Polygons written."""
    area_ha: float
    """Hectares they cover; NaN without a CRS."""
    hectares: Mapping[str, float]
    """The same for each class, by its name."""

    @property
    def classes(self) -> Path:
        """Class raster (COG)."""
        return self.folder / CLASSES

    @property
    def confidence(self) -> Path:
        """Probability of the class (COG)."""
        return self.folder / CONFIDENCE

    @property
    def preview(self) -> Path:
        """Scene and class map side by side (PNG)."""
        return self.folder / "preview.png"

    @property
    def record(self) -> Path:
        """STAC item (JSON), written last: where it stands, all the others are whole."""
        return self.folder / RECORD


@dataclass(frozen=True, slots=True)
class Making:
    """What a product is made of, and how: where that is the same, so is the product."""

    scene: str
    """A hash of the scene's state, see :func:`geounet.sources.scenes.source_identity`."""
    model: str
    """SHA-256 of the model file."""
    options: Mapping[str, Any]
    """The options that are not the default ones, as JSON."""

    def differences(self, old: Making) -> tuple[str, ...]:
        """What has changed since, in words; nothing where nothing has."""
        names = sorted({*self.options, *old.options})
        other = [name for name in names if self.options.get(name) != old.options.get(name)]
        told = sorted(_CALLED.get(name, f"--{name}") for name in other)
        parts = (
            "the scene" if self.scene != old.scene else "",
            "the model" if self.model != old.model else "",
            f"options ({', '.join(told).replace('_', '-')})" if told else "",
        )
        return tuple(part for part in parts if part)


def write_record(
    product: Product,
    making: Making,
    classes: Scene,
    scene: Scene,
    taken: str,
    model: Path,
    card: ModelCard,
    *,
    moves: bool = False,
) -> None:
    """Write the STAC item of a product.

    Args:
        product: what was made.
        making: of what, and how.
        classes: its class raster.
        scene: what it was made of.
        taken: when, as :func:`geounet.sources.scenes.scene_time` says.
        model: the model file.
        card: the model.
        moves: whether the product will be put elsewhere, so that scene and model are named absolutely.

    Raises:
        OutputError: it cannot be written.
    """
    import pystac

    item = _item(product, making, classes, moment_of(taken), day_of(taken) or span_of_scene(scene))
    _describe_model(item, model, card)
    item.add_link(pystac.Link("derived_from", product.scene))
    place = from_here(str(model), None if moves else product.folder)
    for name, asset in _assets(product, making, place, card).items():
        item.add_asset(name, asset)
    text = json.dumps(item.to_dict(include_self_link=False, transform_hrefs=False), indent=2)
    with atomic(product.record) as staged:
        staged.write_text(text, encoding="utf-8")


def moment_of(taken: str) -> datetime | None:
    """A time that has a time of day; None where there is none, or only a day."""
    try:
        moment = datetime.fromisoformat(taken)
    except ValueError:
        return None
    if len(taken) <= len("2020-01-01"):
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def day_of(taken: str) -> tuple[datetime, datetime] | None:
    """First and last moment of a time that is a day; None of any other."""
    try:
        day = date.fromisoformat(taken)
    except ValueError:
        return None
    return datetime.combine(day, time.min, UTC), datetime.combine(day, time(23, 59, 59), UTC)


def _item(
    product: Product,
    making: Making,
    classes: Scene,
    moment: datetime | None,
    span: tuple[datetime, datetime],
) -> pystac.Item:
    import pystac

    ground = footprint(classes)
    item = pystac.Item(
        product.id,
        None if ground is None else ground.__geo_interface__,
        None if ground is None else bbox_of(ground),
        moment,
        {
            **projection_of(classes),
            "processing:software": {"geounet": version("geounet")},
            "processing:lineage": "Segmented by a UNet in overlapping windows, joined without seams, and vectorised.",
            "geounet:scene": product.scene,
            "geounet:made_of": {"scene": making.scene, "model": making.model},
            "geounet:options": dict(making.options),
            "geounet:pixels": product.pixels,
            "geounet:valid_share": round(product.valid_share, 6),
            "geounet:masked_share": round(product.masked_share, 6),
            "geounet:polygons": product.polygon_count,
            "geounet:area_ha": hectares_of(product.area_ha),
            "geounet:hectares": {name: hectares_of(area) for name, area in product.hectares.items()},
        },
        start_datetime=None if moment else span[0],
        end_datetime=None if moment else span[1],
        stac_extensions=[PROJECTION, RASTER, CLASSIFICATION, PROCESSING, _FILE],
    )
    for rel, name in (("root", CATALOG), ("parent", COLLECTION), ("collection", COLLECTION)):
        item.add_link(pystac.Link(rel, f"../{name}", JSON))
    item.collection_id = "geounet-products"
    return item


def _describe_model(item: pystac.Item, model: Path, card: ModelCard) -> None:
    from pystac.extensions.mlm import MLMExtension, TaskType

    MLMExtension.ext(item, add_if_missing=True).apply(
        name=_model_name(model),
        architecture=card.architecture.arch,
        tasks=[TaskType.SEMANTIC_SEGMENTATION],
        input=[_model_input(card)],
        output=[_model_output(card)],
        framework="PyTorch",
    )


def _model_name(model: Path) -> str:
    """As MLM has it: three or more letters, digits, points, dashes and blanks, from a letter on."""
    name = re.sub(r"[^\w. -]+", "-", model.stem, flags=re.ASCII).strip("_.- ")
    return name if len(name) > 2 and name[0].isalpha() else f"model-{name or 'file'}"  # noqa: PLR2004


def hectares_of(area: float) -> float | None:
    """As JSON; None where there are none."""
    return None if math.isnan(area) else round(area, 6)


def _model_input(card: ModelCard) -> Any:
    from pystac.extensions.mlm import InputStructure, ModelBand, ModelInput
    from pystac.extensions.raster import DataType

    shape = InputStructure.create([-1, len(card.bands), -1, -1], ["batch", "bands", "height", "width"],
                                  DataType.FLOAT32)  # fmt: skip
    return ModelInput.create("scene", [ModelBand.create(band.name) for band in card.bands], shape)


def _model_output(card: ModelCard) -> Any:
    from pystac.extensions.classification import Classification
    from pystac.extensions.mlm import ModelOutput, ResultStructure, TaskType
    from pystac.extensions.raster import DataType

    shape = ResultStructure.create([-1, len(card.classes), -1, -1], ["batch", "classes", "height", "width"],
                                   DataType.FLOAT32)  # fmt: skip
    classes = [Classification(class_entry(item)) for item in card.classes]
    return ModelOutput.create("classes", [TaskType.SEMANTIC_SEGMENTATION], shape, classes=classes)


def _assets(product: Product, making: Making, model: str, card: ModelCard) -> dict[str, pystac.Asset]:
    import pystac

    band = {"data_type": "uint8", "nodata": 255}
    table = {"classification:classes": [class_entry(item) for item in card.classes], "raster:bands": [band]}
    share = {"raster:bands": [{**band, "scale": 1 / 254, "unit": "1"}]}
    read = {
        "mlm:artifact_type": "safetensors",
        "file:checksum": _SHA256 + making.model,
        "raster:bands": [{"name": item.name, "data_type": "float32"} for item in card.bands],
    }
    kind = POLYGON_TYPES[product.polygons.suffix]
    assets = {
        "classes": pystac.Asset("./classes.tif", "Class of each pixel", None, COG, ["data"], table),
        "confidence": pystac.Asset("./confidence.tif", "Probability of the class", None, COG, ["data"], share),
        "polygons": pystac.Asset(f"./{product.polygons.name}", "Polygons", None, kind, ["data"]),
        "preview": pystac.Asset("./preview.png", "Scene and class map", None, "image/png", ["overview"]),
        "model": pystac.Asset(
            model,
            "Model",
            None,
            "application/octet-stream",
            ["mlm:model", "mlm:weights"],
            read,
        ),
    }
    if (product.folder / "predicted.tif").exists():
        title = "Class of each pixel, before it was cleaned"
        assets["predicted"] = pystac.Asset("./predicted.tif", title, None, COG, ["data"], table)
    return assets


def read_record(folder: Path) -> tuple[Product, Making] | None:
    """The product in a folder, and what it was made of; None where there is no record.

    Raises:
        OutputError: the record is none of ours, or damaged.
    """
    try:
        text = (folder / RECORD).read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise OutputError(f"{folder / RECORD} cannot be read: {error.strerror or error}") from error
    try:
        found = json.loads(text)
        told = found["properties"]
        product = Product(
            id=found["id"],
            scene=told["geounet:scene"],
            folder=folder,
            polygons=folder / found["assets"]["polygons"]["href"].removeprefix("./"),
            pixels=told["geounet:pixels"],
            valid_share=told["geounet:valid_share"],
            masked_share=told["geounet:masked_share"],
            polygon_count=told["geounet:polygons"],
            area_ha=_area(told["geounet:area_ha"]),
            hectares={name: _area(area) for name, area in told["geounet:hectares"].items()},
        )
        making = Making(**told["geounet:made_of"], options=told["geounet:options"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise OutputError(
            f"{folder / RECORD} is no record of a product, or damaged; remove it, or --overwrite"
        ) from error
    return product, making


def _area(value: float | None) -> float:
    return math.nan if value is None else value


def is_whole(product: Product) -> bool:
    """Whether all files that a record speaks of are there."""
    return all(path.is_file() for path in (product.classes, product.confidence, product.polygons, product.preview))


def remove_stale(product: Product, *, cleaned: bool) -> None:
    """Remove what an earlier product of the scene left and this one has not: polygons of another format, a raster."""
    kept = {product.polygons.suffix, ".qml", *(_SHAPEFILE if product.polygons.suffix == ".shp" else ())}
    stale = [path for path in product.folder.glob("polygons.*") if path.suffix not in kept]
    stale += [] if cleaned else [*product.folder.glob("predicted.*")]
    for path in stale:
        path.unlink()


def from_here(place: str, folder: Path | None) -> str:
    """How a record in a folder names what lies elsewhere: a URL without credentials, or a path.

    It is relative to the folder, so that folder and scenes that move together still find one another; absolute without.
    """
    if is_remote(place) or not Path(place.partition("#")[0]).exists():
        return public_name(place)
    if folder is None:
        return str(Path(place).absolute())
    try:
        return Path(os.path.relpath(place, folder)).as_posix()
    except ValueError:  # another drive
        return str(Path(place).absolute())
