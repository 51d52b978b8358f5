"""A million polygons into files, tiles and a database: seconds and peak memory of `geounet export`.

Beside it GeoPandas, which reads the whole file and writes it with pyogrio (or, for PostGIS, is left out: it needs
SQLAlchemy). Tiles are of fewer polygons, for tippecanoe takes its time with each zoom level.

    python tests/benchmarks/bench_export.py [--side 10980] [--quick]
"""

from __future__ import annotations

import os
import sys
import tempfile
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from common import COMMAND, Row, arguments, interleaved, median_of, report, run_command

sys.path.insert(0, str(Path(__file__).parents[1]))
import postgis_server
from made import VALUES, make_product

FIELD = 6
"""Pixels of a field's side, about."""
ENDINGS = ("gpkg", "fgb", "parquet", "geojson", "shp")
THEIRS = """
import sys, geopandas as gpd
frame = gpd.read_parquet(sys.argv[1])
out = sys.argv[2]
frame = frame.to_crs(4326) if out.endswith("json") else frame
frame.to_parquet(out) if out.endswith("parquet") else frame.to_file(out)
"""


def draw(folder: Path, side: int) -> Path:
    """A product of fields of some pixels."""
    random = np.random.default_rng(0)
    edges = [np.sort(random.choice(side, side // FIELD, replace=False)) for _ in range(2)]
    rows, cols = (np.searchsorted(edge, np.arange(side)) for edge in edges)
    table = random.choice(VALUES, (side // FIELD + 1, side // FIELD + 1))
    return make_product(folder / "product", table[rows][:, cols].astype(np.uint8))


def ours(product: Path, target: str, *more: object) -> dict[str, Any]:
    """Seconds and peak memory of the command, and of what it starts."""
    found = run_command([*COMMAND, "export", product, "-o", target, "-f", "-q", *more], interval=0.05)
    return {"seconds": found.seconds, "gib": found.pss_mib / 1024}


def theirs(product: Path, target: Path) -> dict[str, Any]:
    """The same of GeoPandas."""
    target.unlink(missing_ok=True)
    found = run_command(
        [sys.executable, "-W", "ignore", "-c", THEIRS, product / "polygons.parquet", target], interval=0.05
    )
    return {"seconds": found.seconds, "gib": found.pss_mib / 1024}


def _seconds(runs: Any) -> float:
    return median_of(runs, "seconds")


def main() -> None:
    """Measure, print, write."""
    parser = arguments(__doc__)
    parser.add_argument("--side", type=int, default=10980)
    parser.add_argument("--rounds", type=int, default=1)
    given = parser.parse_args()
    given.side = 700 if given.quick else given.side
    with tempfile.TemporaryDirectory(dir=given.folder) as name, ExitStack() as stack:
        folder = Path(name)
        product, small = draw(folder, given.side), draw(folder / "small", given.side // 4)
        count = pq.read_metadata(product / "polygons.parquet").num_rows
        contenders: dict[str, Any] = {}
        for ending in ENDINGS:
            contenders[ending] = partial(ours, product, str(folder / f"ours.{ending}"))
            contenders[f"{ending}, GeoPandas"] = partial(theirs, product, folder / f"theirs.{ending}")
        if not postgis_server.missing():
            url = stack.enter_context(postgis_server.postgis())
            os.environ["PGPASSWORD"] = postgis_server.PASSWORD
            contenders["PostGIS"] = partial(ours, product, f"{url}?table=fields", "--replace")
        contenders["pmtiles of a sixteenth"] = partial(ours, small, str(folder / "ours.pmtiles"))
        contenders["pmtiles of the raster"] = partial(
            ours, product, str(folder / "classes.pmtiles"), "--layer", "classes"
        )
        found = interleaved(contenders, given.rounds)
    rows = [Row(f"{ending}, GeoPandas over it", _seconds(found[f"{ending}, GeoPandas"]) / _seconds(found[ending]), "x")
            for ending in ENDINGS]  # fmt: skip
    for name, runs in found.items():
        rows.append(Row(name, _seconds(runs), "s"))
        limit = "" if "GeoPandas" in name else "< 1"
        rows.append(Row(f"{name}, peak memory", median_of(runs, "gib"), "GiB", limit))
    report("export", f"{count} polygons handed on", rows, given, found)


if __name__ == "__main__":
    main()
