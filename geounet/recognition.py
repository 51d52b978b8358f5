"""What a file or a folder is that is no scene, and what can be done with it."""

from __future__ import annotations

import csv
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geounet.class_tables import read_classes
from geounet.errors import GeounetError
from geounet.formats.reading import describe_polygons
from geounet.jobs.job import read_job
from geounet.jobs.report import RECORD as JOB_RECORD
from geounet.jobs.report import read_report
from geounet.models.model_file import read_card
from geounet.outputs import is_unfinished
from geounet.products.batch import SUMMARY, read_batch
from geounet.products.record import RECORD, read_record
from geounet.sources.polygon_files import is_polygons

if TYPE_CHECKING:
    from collections.abc import Callable

    Found = dict[str, Any]


def recognise(name: str | Path) -> Found | None:
    """What a name stands for, as JSON; None of what is to be opened as a scene.

    Returns:
        `path`, `kind` in words, `facts` by their names, and `next`: command lines that make sense with it.

    Raises:
        GeounetError: it is what it seems to be, and damaged.
    """
    path = Path(name)
    if path.is_dir():
        return _folder(path)
    if not path.is_file():
        return None
    if path.suffix in _KINDS:
        return _KINDS[path.suffix](path)
    return _polygons(path) if is_polygons(path) and not (_is_catalogue(path) or _is_raster(path)) else None


def _is_raster(path: Path) -> bool:
    """Whether a GeoPackage holds rasters, and no polygons."""
    if path.suffix.lower() != ".gpkg":
        return False
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as file:
        try:
            kinds = {kind for (kind,) in file.execute("SELECT data_type FROM gpkg_contents")}
        except sqlite3.DatabaseError:
            return False
    return "features" not in kinds and bool(kinds)


def _is_catalogue(path: Path) -> bool:
    """Whether JSON or Parquet is of STAC, which names scenes."""
    if path.name in (RECORD, "catalog.json", "collection.json", "items.parquet"):
        return True
    if path.suffix == ".json":
        with path.open("rb") as file:
            return b"stac_version" in file.read(100_000)
    if path.suffix in (".parquet", ".geoparquet"):
        import pyarrow.parquet as pq

        return "stac_version" in pq.read_schema(path).names
    return False


def _found(path: Path, kind: str, facts: Found, following: list[str]) -> Found:
    return {"path": str(path), "kind": kind, "facts": facts, "next": following}


def _folder(path: Path) -> Found | None:
    """None of a folder that may be a delivery, or hold scenes."""
    if (path / RECORD).exists() and (path / "classes.tif").exists():
        return _product(path)
    if (path / "change.tif").exists():
        following = [f"geounet report {path} -o change.html", f"geounet export {path}/change.tif -o change.gpkg"]
        return _found(path, "change between two maps", {}, following)
    if (path / JOB_RECORD).exists():
        report = read_report(path)
        facts = {"state": report.state, "scenes": report.scenes, **{f"{k} events": n for k, n in report.events.items()}}
        return _found(
            path, "monitoring job's state", facts, [f"geounet report {path} -o job.html", f"geounet status {path}"]
        )
    if (path / SUMMARY).exists():
        return _batch(path)
    return None


def _product(path: Path) -> Found:
    read = read_record(path)
    assert read is not None, "there is a record"
    product, making = read
    facts = {
        "scene": product.scene,
        "model": making.model[:12],
        "valid": f"{product.valid_share:.1%}",
        "polygons": product.polygon_count,
        "hectares": {name: round(area, 2) for name, area in product.hectares.items()},
        **({"unfinished": "run it again"} if is_unfinished(path / RECORD) else {}),
    }
    following = [f"geounet report {path} -o page.html", f"geounet export {path} -o map.qgz"]
    return _found(path, "product of a scene", facts, following)


def _batch(path: Path) -> Found:
    batch = read_batch(path)
    assert batch is not None, "there is a summary"
    states = [entry.state for entry in batch.scenes]
    facts = {
        "state": batch.state,
        "scenes": len(states),
        **{state: states.count(state) for state in sorted(set(states))},
    }
    following = [f"geounet status {path}", f"geounet report {path} -o batch.html", f"geounet mosaic {path} -o map.tif"]
    return _found(path, "batch of products", facts, following)


def _model(path: Path) -> Found:
    card = read_card(path)
    facts = {
        "bands": ", ".join(band.name for band in card.bands),
        "classes": ", ".join(item.name for item in card.classes),
        "resolution": "any" if card.resolution is None else f"{card.resolution:g} m",
    }
    following = [
        f"geounet models show {path}",
        f"geounet info SCENE -m {path}",
        f"geounet run SCENE -m {path} -o products/",
    ]
    return _found(path, "model", facts, following)


def _job(path: Path) -> Found:
    job = read_job(path)
    following = [f"geounet monitor {path} --check", f"geounet monitor {path}"]
    return _found(path, "monitoring job", {"name": job.name, "state in": str(job.out)}, following)


def _table(path: Path) -> Found:
    with path.open(encoding="utf-8-sig", newline="") as file:
        heads = next(csv.reader(file), [])
    if {"from", "to"} <= set(heads):
        return _found(path, "class map", {"columns": ", ".join(heads)}, [f"geounet train … --class-map {path}"])
    try:
        classes = read_classes(path)
    except GeounetError as error:
        return _found(path, "table, and no class table", {"why": str(error)}, [])
    facts = {str(item.value): item.name for item in classes}
    return _found(path, "class table", facts, [f"geounet train IMAGES --labels LABELS --classes {path} -o MODEL"])


def _polygons(path: Path) -> Found:
    about = describe_polygons(path)
    facts = {
        "features": about.count,
        "CRS": "none" if about.crs is None else about.crs.name,
        "attributes": ", ".join(about.columns),
    }
    following = [
        f"geounet export {path} -o fields.pmtiles",
        f"geounet train IMAGES --labels {path} --label-field FIELD -o MODEL",
        f"geounet rasterize {path} --like RASTER -o labels.tif",
    ]
    return _found(path, "polygons", facts, following)


def _plainly(kind: str) -> Callable[[Path], Found]:
    return lambda path: _found(path, kind, {}, [])


_KINDS = {
    ".safetensors": _model,
    ".toml": _job,
    ".csv": _table,
    ".pmtiles": _plainly("map tiles"),
    ".mbtiles": _plainly("map tiles"),
    ".qgz": _plainly("QGIS project"),
}
