"""What chips are told by: an index in GeoParquet, and a static STAC catalogue with an item for each chip.

STAC 1.1.0 with the extensions Projection 2, Classification 2 and ML AOI 0.2, whose roles `feature` and `label` tell
image and label apart.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime, time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geounet.data.pairing import span_of
from geounet.grid import Window
from geounet.outputs import atomic
from geounet.raster.footprints import footprint
from geounet.raster.globe import bbox_of
from geounet.raster.placement import bounds_of
from geounet.raster.scene import acquired
from geounet.raster.stac_terms import CLASSIFICATION, GEOJSON, JSON, PROJECTION, TIFF, class_entry, projection_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from geounet.classes import LandClass
    from geounet.raster.scene import Scene

    Span = tuple[datetime, datetime]

_EXTENSIONS = (PROJECTION, "https://stac-extensions.github.io/ml-aoi/v0.2.0/schema.json")
_SPLITS = {"train": "train", "val": "validate", "test": "test"}
"""ML AOI's names of the parts."""
_FIRST_AERIAL_PHOTOGRAPH = datetime(1858, 1, 1, tzinfo=UTC)
"""Nadar's, over Bièvre: before it no scene was taken, whatever its file does not tell."""
_GLOBE = (-180.0, -90.0, 180.0, 90.0)


@dataclass(frozen=True, slots=True)
class ChipRecord:
    """A row of the index."""

    name: str
    """File name of image and label."""
    part: str
    """`train`, `val` or `test`, the folder that it lies in; empty where nothing is split."""
    image: str
    """Path of the image from the index."""
    label: str | None
    """Path of the label from the index; None without labels."""
    scene: str
    """Path of the scene it was cut from."""
    row: int
    """First row in the scene."""
    col: int
    """First column in the scene."""
    height: int
    """Rows."""
    width: int
    """Columns."""
    valid: float
    """Share of valid pixels."""
    labelled: float
    """Share of labelled pixels, 0 without labels."""

    @property
    def window(self) -> Window:
        """In the scene's pixels."""
        return Window(self.row, self.col, self.height, self.width)

    @property
    def item(self) -> str:
        """Path of the STAC item from the index."""
        return item_name(self.part, self.name)


def item_name(part: str, name: str) -> str:
    """Path of a chip's STAC item, from the folder of the index."""
    return f"{part}/items/{name.removesuffix('.tif')}.json".removeprefix("/")


def read_record(folder: Path, part: str, name: str) -> ChipRecord | None:
    """The record of a chip that an earlier run has finished; None where there is none."""
    try:
        properties = json.loads((folder / item_name(part, name)).read_text(encoding="utf-8"))["properties"]
    except FileNotFoundError:
        return None
    return ChipRecord(**{item.name: properties[f"geounet:{item.name}"] for item in fields(ChipRecord)})


def write_item(folder: Path, record: ChipRecord, scene: Scene, classes: Sequence[LandClass], span: Span) -> None:
    """Write the STAC item of a chip.

    Raises:
        OutputError: it cannot be written.
    """
    _write(folder / record.item, stac_item(record, scene, classes, span))


def stac_item(record: ChipRecord, scene: Scene, classes: Sequence[LandClass], span: Span) -> dict[str, Any]:
    """The item as JSON: its ground, time and grid, the image, and the label with its classes."""
    import pystac

    ground = footprint(scene, record.window)
    item = pystac.Item(
        record.name.removesuffix(".tif"),
        None if ground is None else ground.__geo_interface__,
        None if ground is None else bbox_of(ground),
        None,
        _properties(record, scene),
        *span,
        stac_extensions=[*_EXTENSIONS, *([CLASSIFICATION] if classes and record.label else [])],
    )
    for name, asset in _assets(record, scene, classes).items():
        item.add_asset(name, asset)
    root = "../" * record.item.count("/")
    for rel, href in (("root", root + _root(record.part)), ("parent", "../collection.json")):
        item.add_link(pystac.Link(rel, href, JSON))
    item.add_link(pystac.Link("collection", "../collection.json", JSON))
    item.collection_id = record.part or "chips"
    return item.to_dict(include_self_link=False, transform_hrefs=False)


def _root(part: str) -> str:
    return "catalog.json" if part else "collection.json"


def _properties(record: ChipRecord, scene: Scene) -> dict[str, Any]:
    return {
        **projection_of(scene, record.window),
        **({"ml-aoi:split": _SPLITS[record.part]} if record.part else {}),
        **{f"geounet:{name}": value for name, value in asdict(record).items()},
    }


def _assets(record: ChipRecord, scene: Scene, classes: Sequence[LandClass]) -> dict[str, Any]:
    import pystac

    bands = {"bands": [{"name": name} for name in scene.band_names]}
    image = pystac.Asset(f"../images/{record.name}", "Image", None, TIFF, ["data", "feature"], bands)
    if record.label is None:
        return {"image": image}
    told = {"classification:classes": [class_entry(item) for item in classes]} if classes else {}
    label = pystac.Asset(f"../labels/{record.name}", "Class codes, 255 where unlabelled", None, TIFF,
                         ["labels", "label"], told)  # fmt: skip
    return {"image": image, "label": label}


def span_of_scene(scene: Scene) -> Span:
    """First and last moment at which a scene may have been taken, by its name, else its tags, else by reason."""
    span = span_of(scene.name) or span_of(acquired(scene))
    if span is None:
        return _FIRST_AERIAL_PHOTOGRAPH, _written(scene)
    first, last = span
    return datetime.combine(first, time.min, UTC), datetime.combine(last, time(23, 59, 59), UTC)


def _written(scene: Scene) -> datetime:
    """When a scene's file was written, as far as that can be told: after it was taken."""
    try:
        return datetime.fromtimestamp(int(Path(scene.path).stat().st_mtime), UTC)
    except OSError:
        return datetime.now(UTC).replace(microsecond=0)


def write_catalog(
    folder: Path, records: Iterable[ChipRecord], scenes: Mapping[str, Scene], spans: Mapping[str, Span]
) -> None:
    """Write the collection of each part, and where there are parts the catalogue above them.

    Args:
        folder: of the index.
        records: all chips.
        scenes: by the paths that the records name.
        spans: likewise.

    Raises:
        OutputError: a file cannot be written.
    """
    by_part: dict[str, list[ChipRecord]] = {}
    for record in records:
        by_part.setdefault(record.part, []).append(record)
    for part, chips in by_part.items():
        _write(folder / part / "collection.json", _collection(part, chips, scenes, spans))
    if "" not in by_part:
        _write(folder / "catalog.json", _catalog(sorted(by_part)))


def _collection(
    part: str, chips: Sequence[ChipRecord], scenes: Mapping[str, Scene], spans: Mapping[str, Span]
) -> dict[str, Any]:
    import numpy as np
    import pystac

    used = {chip.scene for chip in chips}
    grounds = (footprint(scenes[chip.scene], chip.window) for chip in chips)
    boxes = np.array([ground.bounds for ground in grounds if ground is not None]).reshape(-1, 4)
    box = [*boxes[:, :2].min(axis=0).tolist(), *boxes[:, 2:].max(axis=0).tolist()] if len(boxes) else list(_GLOBE)
    times = [min(spans[name][0] for name in used), max(spans[name][1] for name in used)]
    collection = pystac.Collection(
        part or "chips",
        f"Training chips{f' for {part}' if part else ''}: {len(chips)} images with their labels, cut by geounet.",
        pystac.Extent(pystac.SpatialExtent([box]), pystac.TemporalExtent([[times[0], times[1]]])),
        title=part or "chips",
        license="other",
    )
    collection.add_link(pystac.Link("root", ("../" if part else "./") + _root(part), JSON))
    if part:
        collection.add_link(pystac.Link("parent", "../catalog.json", JSON))
    for chip in chips:
        collection.add_link(pystac.Link("item", f"./items/{chip.item.rpartition('/')[2]}", GEOJSON))
    return collection.to_dict(include_self_link=False, transform_hrefs=False)


def _catalog(parts: Sequence[str]) -> dict[str, Any]:
    import pystac

    catalog = pystac.Catalog("chips", "Training chips in parts that share no ground, cut by geounet.", "Chips")
    catalog.add_link(pystac.Link("root", "./catalog.json", JSON))
    for part in parts:
        catalog.add_link(pystac.Link("child", f"./{part}/collection.json", JSON))
    return catalog.to_dict(include_self_link=False, transform_hrefs=False)


def _write(path: Path, content: dict[str, Any]) -> None:
    with atomic(path) as draft:
        draft.write_text(json.dumps(content), encoding="utf-8")


def write_index(path: Path, records: Sequence[ChipRecord], scenes: Mapping[str, Scene]) -> None:
    """Write the records with their footprints as GeoParquet, in the scenes' CRS, or in degrees where they have several.

    Args:
        path: the index.
        records: all chips.
        scenes: by the paths that the records name.

    Raises:
        OutputError: it cannot be written.
    """
    import geopandas
    import shapely

    boxes = [shapely.box(*bounds_of(scenes[record.scene], record.window)) for record in records]
    references = {scene.crs.to_wkt() if scene.crs else None for scene in scenes.values()}
    columns = [item.name for item in fields(ChipRecord)]
    frame = geopandas.GeoDataFrame(
        [asdict(record) for record in records], geometry=boxes, columns=[*columns, "geometry"]
    )
    if len(references) == 1:
        frame = frame.set_crs(references.pop(), allow_override=True)
    elif None not in references:
        grounds = [footprint(scenes[record.scene], record.window) for record in records]
        frame = frame.set_geometry(grounds, crs="EPSG:4326")
    with atomic(path) as staged:
        frame.to_parquet(staged)
