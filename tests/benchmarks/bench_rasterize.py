"""Polygons to a class raster: seconds and peak memory beside GeoPandas and rasterio, which hold all shapes at once.

Round polygons of 17 points, one on each cell of 8 x 8 pixels, as GeoParquet; both sides in a fresh process, to a
compressed raster.

    python tests/benchmarks/bench_rasterize.py [--across 1400] [--quick]
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import geopandas
import numpy as np
import rasterio
import shapely
from affine import Affine
from common import COMMAND, Row, arguments, report, run_command

CELL = 8
PEER = """
import sys, geopandas, rasterio, rasterio.features
frame = geopandas.read_parquet(sys.argv[1])
with rasterio.open(sys.argv[2]) as like:
    profile = like.profile | {"compress": "ZSTD", "nodata": 255, "num_threads": "all_cpus"}
    burnt = rasterio.features.rasterize(
        zip(frame.geometry, frame["class"]), like.shape, fill=255, transform=like.transform, dtype="uint8"
    )
with rasterio.open(sys.argv[3], "w", **profile) as out:
    out.write(burnt, 1)
"""


def draw(folder: Path, across: int) -> tuple[Path, Path]:
    """The polygons, and a raster like which the result is."""
    row, col = (part.ravel() for part in np.indices((across, across)))
    angle = np.linspace(0, 2 * np.pi, 17)
    x = 480_000 + 10 * (CELL * col + CELL / 2)[:, None] + 33 * np.cos(angle)
    y = 5_430_000 - 10 * (CELL * row + CELL / 2)[:, None] + 33 * np.sin(angle)
    shapes = shapely.polygons(np.stack([x, y], axis=2))
    frame = geopandas.GeoDataFrame({"class": (row + col) % 7 + 1}, geometry=shapes, crs="EPSG:32633")
    frame.to_parquet(folder / "fields.parquet")
    with rasterio.open(
        folder / "like.tif", "w", driver="GTiff", height=CELL * across, width=CELL * across, count=1, dtype="uint8",
        crs="EPSG:32633", transform=Affine(10, 0, 480_000, 0, -10, 5_430_000), tiled=True, sparse_ok=True,
    ):  # fmt: skip
        pass
    return folder / "fields.parquet", folder / "like.tif"


def main() -> None:
    """Measure, print, write."""
    parser = arguments(__doc__)
    parser.add_argument("--across", type=int, default=1400, help="polygons along each side")
    given = parser.parse_args()
    if given.quick:
        given.across = 200
    with tempfile.TemporaryDirectory(dir=given.folder) as name:
        folder = Path(name)
        fields, like = draw(folder, given.across)
        ours = run_command([*COMMAND, "rasterize", fields, "--like", like, "-o", folder / "o.tif"], interval=0.05)
        peer = run_command([sys.executable, "-c", PEER, fields, like, folder / "p.tif"], interval=0.05)
        with rasterio.open(folder / "o.tif") as one, rasterio.open(folder / "p.tif") as other:
            equal = float((one.read(1) == other.read(1)).mean())
    peaks = [(run.rss_mib if run.pss_mib is None else run.pss_mib) / 1024 for run in (ours, peer)]
    rows = [
        Row("GeoPandas and rasterio over ours: peak memory", peaks[1] / peaks[0], "x", "", f"{equal:.6f} equal"),
        Row("GeoPandas and rasterio over ours: time", peer.seconds / ours.seconds, "x"),
        Row("ours: peak memory", peaks[0], "GiB"),
        Row("ours", ours.seconds, "s"),
    ]
    report("rasterize", f"{given.across**2} polygons of 17 points to a class raster", rows, given)


if __name__ == "__main__":
    main()
