"""A map of eight products of 10980 x 10980 px in two UTM zones, which overlap as Sentinel-2's tiles do.

Class raster and confidence by `geounet mosaic`, in a fresh process; its speed counts the products' pixels. Beside it,
the same classes by rasterio alone (GDAL's warper into the map's zone by nearest pixels, then `rasterio.merge` of what
is the first), one after another.

    python tests/benchmarks/bench_mosaic.py [--side 10980] [--quick]
"""

from __future__ import annotations

import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import rasterio
from affine import Affine
from common import COMMAND, Row, arguments, interleaved, median_of, report, run_command
from rasterio.merge import merge
from rasterio.vrt import WarpedVRT

sys.path.insert(0, str(Path(__file__).parents[1]))
from made import VALUES, make_product

if TYPE_CHECKING:
    import argparse

_ROWS = (5_400_000, 5_300_040)
CORNERS = [(zone, x, y) for zone, xs in ((32, (600_000, 699_960)), (33, (200_040, 300_000))) for x in xs for y in _ROWS]
"""Zone and upper left corner of Sentinel-2's tiles around 12 degrees east."""


def draw(folder: Path, side: int) -> list[Path]:
    """Products of fields: blobs of 20 to 60 pixels in shapes that are no squares."""
    random = np.random.default_rng(0)
    found = []
    for number, (zone, x, y) in enumerate(CORNERS):
        edges = [np.sort(random.choice(side, side // 40, replace=False)) for _ in range(2)]
        rows, cols = (np.searchsorted(edge, np.arange(side)) for edge in edges)
        table = random.choice([*VALUES, 255], (side // 40 + 1, side // 40 + 1), p=[0.4, 0.3, 0.25, 0.05])
        codes = table[rows][:, cols].astype(np.uint8)
        sure = np.where(codes == 255, 255, random.integers(100, 254, table.shape)[rows][:, cols]).astype(np.uint8)
        place = Affine(10 * 10980 / side, 0, x, 0, -10 * 10980 / side, y)
        found.append(make_product(folder / f"t{number}", codes, sure, transform=place, crs=f"EPSG:326{zone}"))
    return found


def ours(folder: Path) -> dict[str, Any]:
    """Seconds and peak memory of the command."""
    words = ["mosaic", folder / "in", "-o", folder / "m.tif", "--confidence", folder / "k.tif", "-f", "-q"]
    found = run_command([*COMMAND, *words], interval=0.05)
    return {"seconds": found.seconds, "gib": found.pss_mib / 1024}


def theirs(products: list[Path], folder: Path) -> dict[str, Any]:
    """Seconds of rasterio's own way, classes alone."""
    start = time.perf_counter()
    with rasterio.open(products[0] / "classes.tif") as first:
        crs, resolution = first.crs, first.res
    files = [rasterio.open(product / "classes.tif") for product in products]
    warped = [file if file.crs == crs else WarpedVRT(file, crs=crs) for file in files]
    pixels, place = merge(warped, res=resolution, nodata=255)
    profile = {"driver": "COG", "height": pixels.shape[1], "width": pixels.shape[2], "count": 1, "dtype": "uint8",
               "crs": crs, "transform": place, "nodata": 255, "compress": "ZSTD", "blocksize": 512}  # fmt: skip
    with rasterio.open(folder / "theirs.tif", "w", **profile) as out:
        out.write(pixels)
    for file in [*warped, *files]:
        file.close()
    return {"seconds": time.perf_counter() - start}


def main() -> None:
    """Measure, print, write."""
    parser = arguments(__doc__)
    parser.add_argument("--side", type=int, default=10980)
    parser.add_argument("--rounds", type=int, default=1)
    given = parser.parse_args()
    given.side = 1098 if given.quick else given.side
    with tempfile.TemporaryDirectory(dir=given.folder) as name:
        folder = Path(name)
        products = draw(folder / "in", given.side)
        contenders = {"geounet": partial(ours, folder), "rasterio": partial(theirs, products, folder)}
        found = interleaved(contenders, given.rounds)
    title = f"A map of 8 products of {given.side} x {given.side} px in two zones"
    report("mosaic", title, rows_of(found, given), given, found)


def rows_of(found: dict[str, Any], given: argparse.Namespace) -> list[Row]:
    """Speed, memory, and the ratio."""
    seconds, other = (median_of(found[name], "seconds") for name in ("geounet", "rasterio"))
    speed = len(CORNERS) * given.side**2 / seconds / 1e6
    return [
        Row("a map of classes and confidence, from nothing", speed, "Mpx/s", ">= 25", f"{seconds:.1f} s"),
        Row("its peak memory", median_of(found["geounet"], "gib"), "GiB", "<= 2"),
        Row("over rasterio's merge of the classes alone", other / seconds, "x", "", f"{other:.1f} s"),
    ]


if __name__ == "__main__":
    main()
