"""Products, maps and polygons into polygon files, databases, map tiles and QGIS projects."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pyproj import CRS
from pyproj.exceptions import CRSError

from geounet.errors import OutputError
from geounet.exports import postgis, raster_tiles, vector_tiles
from geounet.exports.pmtiles import as_pmtiles
from geounet.exports.pyramid import Zooms, zooms_of, zooms_over
from geounet.exports.qgis_project import Group, ProjectLayer, write_project
from geounet.exports.stream import Stream, check_columns, common_crs
from geounet.exports.subjects import Subject, common_legend, complete_legend, find_subjects
from geounet.formats.reading import describe_polygons
from geounet.formats.vector_io import check_place, open_writer
from geounet.outputs import atomic, check_ending, check_output, claimed
from geounet.raster.globe import has_place
from geounet.raster.identity import request_hash
from geounet.raster.scene import load_scene
from geounet.tasks.vectorize import vectorize

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import geopandas as gpd

    from geounet.classes import LandClass

    Progress = Callable[[int, int], None]
    Files = tuple[tuple[Subject, Path], ...]

__all__ = ["Exported", "export"]

LAYERS = ("polygons", "classes", "confidence")
"""What of a product can be handed on."""
_POLYGON_FILES = (".parquet", ".geoparquet", ".gpkg", ".fgb", ".geojson", ".json", ".shp")
_TILES = (".pmtiles", ".mbtiles")
_GEOPACKAGE, _PROJECT = ".gpkg", ".qgz"
_PARQUET = (".parquet", ".geoparquet")


@dataclass(frozen=True, slots=True)
class Exported:
    """What was handed on."""

    target: str
    """The file, or the table."""
    layers: tuple[str, ...]
    """What it holds, of :data:`LAYERS`; of a project the names of its groups."""
    polygons: int
    """Polygons written; 0 where there are none among the layers."""
    empty: int
    """Features that were left out, for they have no shape."""
    moved: tuple[str, ...]
    """Names of what was brought to another CRS."""
    files: tuple[Path, ...] = ()
    """Files that were written beside the target."""


def export(
    sources: str | Path | Sequence[str | Path],
    target: str | Path,
    *,
    layers: Sequence[str] = (),
    mode: str = "create",
    crs: str | None = None,
    min_zoom: int | None = None,
    max_zoom: int | None = None,
    overwrite: bool = False,
    progress: Progress = lambda _done, _all: None,
) -> Exported:
    """Hand products, maps or polygons on; the target's ending or scheme says to what.

    `.parquet`, `.gpkg`, `.fgb`, `.geojson` and `.shp` are polygon files, `.gpkg` of rasters too; `.pmtiles` and
    `.mbtiles` map tiles, of polygons or of a raster; `.qgz` a QGIS project; `postgresql://user@host/db?table=t` a table
    in PostGIS. Polygons are read and written batch by batch. Of several sources, polygons have a column `product`.

    Args:
        sources: folders of products or of batches, class rasters, polygon files; one or several.
        target: the file or the table.
        layers: of :data:`LAYERS`; by default polygons, but of a class raster into tiles the raster. A GeoPackage takes
            several, tiles take one; a project shows all that there is.
        mode: of a table that exists, one of :data:`geounet.exports.postgis.MODES`.
        crs: what to bring polygons to, such as `EPSG:4326`; by default they stay, where all are in one.
        min_zoom: first zoom level of tiles; by default the one at which all fits into a tile.
        max_zoom: last zoom level of tiles; by default the one that shows a raster's pixels.
        overwrite: replace a file that exists.
        progress: called with the polygons done and the polygons in all.

    Raises:
        OutputError: a source holds nothing that can be handed on; the target exists, has an unknown ending, cannot be
            written, or does not take what is asked for.
        SceneError: a raster cannot be read, or has no place that the target asks for.
        LabelError: a polygon file cannot be read, or classes contradict one another.
    """
    names = [sources] if isinstance(sources, (str, Path)) else list(sources)
    how = _How(tuple(layers), mode, _crs_of(crs), min_zoom, max_zoom, progress)
    if postgis.is_database(str(target)):
        table = postgis.parse_table(str(target))
        _check_layers(how, ("polygons",), "a table")
        return _to_table(find_subjects(names), table, how)
    path = Path(target)
    check_ending(path, *_POLYGON_FILES, *_TILES, _PROJECT)
    if mode != "create":
        raise OutputError(f"{path} is a file, and --{mode} says something of a table in a database; leave it out")
    kind = path.suffix.lower()
    if kind == _PROJECT:
        _check_layers(how, (), "a project, which shows all that there is,")
        return _to_project(find_subjects(names), path, overwrite)
    check_output(path, overwrite)
    subjects = find_subjects(names)
    if kind in _TILES:
        return _to_tiles(subjects, path, how)
    return _to_file(subjects, path, how)


@dataclass(frozen=True, slots=True)
class _How:
    """What is asked for."""

    layers: tuple[str, ...]
    mode: str
    crs: CRS | None
    min_zoom: int | None
    max_zoom: int | None
    progress: Progress


def _crs_of(text: str | None) -> CRS | None:
    try:
        return None if text is None else CRS.from_user_input(text)
    except CRSError as error:
        raise OutputError(f"{text!r} is no CRS; give one such as EPSG:4326") from error


def _check_layers(how: _How, possible: Sequence[str], what: str) -> None:
    wrong = [name for name in how.layers if name not in possible]
    if wrong:
        raise OutputError(f"{what} takes no layer {wrong[0]}; leave it out")
    if (how.min_zoom, how.max_zoom) != (None, None):
        raise OutputError(f"{what} has no zoom levels; they are of .pmtiles and .mbtiles")


@contextmanager
def _files_of(subjects: Sequence[Subject]) -> Iterator[Files]:
    """Each subject with its polygon file; a raster's that has none yet is traced into a folder that goes at the end."""
    with ExitStack() as stack:
        files = tuple((subject, _polygons_of(subject, stack)) for subject in subjects)
        check_columns(files)
        yield files


def _polygons_of(subject: Subject, stack: ExitStack) -> Path:
    if subject.polygons is not None:
        return subject.polygons
    assert subject.classes is not None, "a subject has a raster or polygons"
    folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="geounet-"))
    traced = Path(folder, "polygons.parquet")
    vectorize(subject.classes, traced, confidence=subject.confidence)
    return traced


# --- polygon files and GeoPackages


def _to_file(subjects: Sequence[Subject], path: Path, how: _How) -> Exported:
    layers = how.layers or ("polygons",)
    _check_layers(how, LAYERS if path.suffix.lower() == _GEOPACKAGE else ("polygons",), f"{path.suffix}")
    rasters = _rasters_of(subjects, [name for name in layers if name != "polygons"])
    if "polygons" not in layers:
        with atomic(path) as draft:
            _add_rasters(draft, rasters)
        return Exported(str(path), tuple(layers), 0, 0, ())
    with _files_of(subjects) as files:
        stream = Stream(files, how.crs or common_crs(files, path), len(subjects) > 1, how.progress)
        check_place(path, stream.crs)
        legend = common_legend(subjects)
        with atomic(path) as draft:
            with open_writer(draft, crs=stream.crs, overwrite=True, multi=stream.multi, classes=legend) as writer:
                for _, frame in stream.batches():
                    writer.write(frame)
            _add_rasters(draft, rasters)
    return Exported(str(path), tuple(layers), stream.count, stream.empty, tuple(stream.moved))


def _rasters_of(subjects: Sequence[Subject], layers: Sequence[str]) -> list[tuple[str, Path]]:
    """Tables of a GeoPackage, and the rasters that go there.

    Raises:
        OutputError: a subject has no such raster.
    """
    found = []
    for name in layers:
        for subject in subjects:
            raster = {"classes": subject.classes, "confidence": subject.confidence}[name]
            if raster is None:
                raise OutputError(f"{subject.name} has no raster of {name}; leave that layer out")
            found.append((name if len(subjects) == 1 else f"{subject.name}_{name}", raster))
    return found


def _add_rasters(path: Path, rasters: Sequence[tuple[str, Path]]) -> None:
    for table, raster in rasters:
        raster_tiles.write_geopackage_raster(path, raster, table)


# --- databases


def _to_table(subjects: Sequence[Subject], table: postgis.Table, how: _How) -> Exported:
    if how.mode not in postgis.MODES:
        raise ValueError(f"{how.mode!r} is none of {', '.join(postgis.MODES)}")
    legend = common_legend(subjects)
    with postgis.open_table(table, how.mode) as writer:
        there = writer.srid_wanted()
        fixed = how.crs or (None if there is None else CRS.from_epsg(there))
        with _files_of(subjects) as files:
            stream = Stream(files, fixed or common_crs(files), False, how.progress)
            _fill(writer, stream, complete_legend(legend, [file for _, file in files]), there)
    return Exported(table.label, ("polygons",), stream.count, stream.empty, tuple(stream.moved))


def _fill(writer: postgis.TableWriter, stream: Stream, legend: Sequence[LandClass], there: int | None) -> None:
    current = None
    for subject, frame in stream.batches():
        if current is None:
            srid = postgis.srid_of(frame.crs)
            if there not in (None, srid):
                raise OutputError(f"the table is in EPSG:{there}, and the polygons are in EPSG:{srid}; leave --crs out")
            writer.prepare(frame.drop(columns=frame.geometry.name), srid, legend)
        if subject is not current:
            writer.remove(subject.name)
            current = subject
        writer.write(subject.name, frame)


# --- map tiles


def _to_tiles(subjects: Sequence[Subject], path: Path, how: _How) -> Exported:
    if how.crs is not None:
        raise OutputError("tiles are in Web Mercator, whatever the CRS; leave --crs out")
    usual = "classes" if all(subject.polygons is None for subject in subjects) else "polygons"
    layers = how.layers or (usual,)
    if len(layers) != 1:
        raise OutputError(f"{path.name} holds one layer, and {' and '.join(layers)} are asked for; write two files")
    if (layers[0]) not in LAYERS:
        raise OutputError(f"there is no layer {layers[0]}; there are {', '.join(LAYERS)}")
    made = Exported(str(path), tuple(layers), 0, 0, ())
    with atomic(path) as draft, ExitStack() as stack:
        file = stack.enter_context(as_pmtiles(draft)) if path.suffix.lower() == ".pmtiles" else draft
        if layers[0] == "polygons":
            made = _vector_tiles(subjects, file, path, how)
        else:
            _raster_tiles(subjects, layers[0], file, path, how)
    return made


def _raster_tiles(subjects: Sequence[Subject], layer: str, file: Path, path: Path, how: _How) -> None:
    if len(subjects) > 1:
        raise OutputError(
            f"{path.name} holds tiles of one raster, and there are {len(subjects)}; mosaic makes one of many"
        )
    ((_, raster),) = _rasters_of(subjects, [layer])
    zooms = _zooms(zooms_of(load_scene(raster)), how)
    paint = raster_tiles.paint_of(subjects[0].legend) if layer == "classes" else raster_tiles.grey_ramp()
    raster_tiles.write_mbtiles(file, raster, paint, zooms, path.stem)


def _zooms(found: Zooms, how: _How) -> Zooms:
    most = found.most if how.max_zoom is None else how.max_zoom
    least = min(found.least, most) if how.min_zoom is None else how.min_zoom
    if least > most:
        raise OutputError(f"the first zoom level is {least} and the last {most}; the first comes first")
    return Zooms(least, most)


def _vector_tiles(subjects: Sequence[Subject], file: Path, path: Path, how: _How) -> Exported:
    totals: dict[Any, tuple[int, float]] = {}
    with _files_of(subjects) as files:
        _check_places(files)
        stream = Stream(files, None, len(subjects) > 1, how.progress)
        with vector_tiles.open_tiles(file, path.stem, _vector_zooms(subjects, how)) as lines:
            for _, frame in stream.batches():
                vector_tiles.write_features(lines, frame)
                _count(totals, frame)
    vector_tiles.add_totals(file, common_legend(subjects), totals)
    return Exported(str(path), ("polygons",), stream.count, stream.empty, tuple(stream.moved))


def _check_places(files: Files) -> None:
    for subject, file in files:
        if not has_place(describe_polygons(file).crs):
            raise OutputError(f"{subject.name} has no CRS that leads to longitude and latitude; tiles need a place")


def _vector_zooms(subjects: Sequence[Subject], how: _How) -> Zooms | None:
    """By the pixels of the rasters; of polygons alone by what is asked for, or left to tippecanoe."""
    rasters = [load_scene(subject.classes) for subject in subjects if subject.classes is not None]
    if rasters:
        found = [zooms_of(raster) for raster in rasters]
        return _zooms(Zooms(min(zooms.least for zooms in found), max(zooms.most for zooms in found)), how)
    if how.max_zoom is None:
        return None
    return _zooms(zooms_over((-180.0, -85.0, 180.0, 85.0), how.max_zoom), how)


def _count(totals: dict[Any, tuple[int, float]], frame: gpd.GeoDataFrame) -> None:
    """Polygons and hectares by class."""
    if "class" not in frame.columns:
        return
    areas = frame["area_ha"] if "area_ha" in frame.columns else frame["class"] * np.nan
    for value, found in areas.groupby(frame["class"]):
        count, area = totals.get(value, (0, 0.0))
        totals[value] = count + len(found), area + float(found.sum(min_count=1))


# --- QGIS projects


def _to_project(subjects: Sequence[Subject], path: Path, overwrite: bool) -> Exported:
    copies = {subject.name: _copy_of(subject, path) for subject in subjects if _needs_copy(subject)}
    rasters = [str(raster) for subject in subjects for raster in (subject.classes, subject.polygons) if raster]
    # The project is there last: what a dead run left of the same one is known again.
    with claimed([path, *copies.values()], request_hash("export", rasters, path.name), overwrite):
        for subject in subjects:
            if subject.name in copies and subject.polygons is not None:
                export(subject.polygons, copies[subject.name], overwrite=True)
        groups = [Group(subject.name, tuple(_layers(subject, copies))) for subject in subjects]
        systems = [layer.crs for group in groups for layer in group.layers]
        with atomic(path) as draft:
            write_project(draft, path, path.stem, groups, next((crs for crs in systems if crs is not None), None))
    return Exported(str(path), tuple(group.name for group in groups), 0, 0, (), tuple(copies.values()))


def _needs_copy(subject: Subject) -> bool:
    """GeoParquet is copied to a GeoPackage beside the project, which every QGIS reads."""
    return subject.polygons is not None and subject.polygons.suffix.lower() in _PARQUET


def _copy_of(subject: Subject, path: Path) -> Path:
    return path.with_name(f"{path.stem}_{subject.name}.gpkg")


def _layers(subject: Subject, copies: Mapping[str, Path]) -> Iterator[ProjectLayer]:
    """From top to bottom; the confidence lies below the classes, and is switched off."""
    if subject.polygons is not None:
        shown = copies.get(subject.name, subject.polygons)
        crs = describe_polygons(shown).crs
        yield ProjectLayer("polygons", "polygons", shown, crs, None, subject.legend, shown=subject.classes is None)
    for kind, raster in (("classes", subject.classes), ("confidence", subject.confidence), ("scene", subject.scene)):
        if raster is not None:
            scene = load_scene(raster)
            crs = None if scene.crs is None else CRS.from_wkt(scene.crs.to_wkt())
            yield ProjectLayer(
                kind, kind, raster, crs, scene, subject.legend if kind == "classes" else (), shown=kind != "confidence"
            )
