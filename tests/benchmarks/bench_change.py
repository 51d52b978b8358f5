"""Two maps of 10980 x 10980 px compared: against the same, and against one in which a twentieth has changed.

`geounet change`, in a fresh process, from both products to raster, polygons, matrix, picture and item. Beside it, the
codes and the matrix by rasterio and NumPy alone, the whole of both rasters in memory, without confidences, polygons or
picture.

    python tests/benchmarks/bench_change.py [--side 10980] [--quick]
"""

from __future__ import annotations

import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from common import COMMAND, Row, arguments, interleaved, median_of, report, run_command

sys.path.insert(0, str(Path(__file__).parents[1]))
from made import VALUES, make_product

FIELD = 60
"""Pixels of a field's side, about."""


def draw(folder: Path, side: int) -> tuple[Path, Path, Path]:
    """A product of fields, the same again, and one in which a twentieth of the fields are of another class."""
    random = np.random.default_rng(0)
    edges = [np.sort(random.choice(side, side // FIELD, replace=False)) for _ in range(2)]
    rows, cols = (np.searchsorted(edge, np.arange(side)) for edge in edges)
    shape = side // FIELD + 1, side // FIELD + 1
    table = random.choice([*VALUES, 255], shape, p=[0.4, 0.3, 0.25, 0.05])
    share = random.integers(120, 254, shape)
    later = np.where((random.random(shape) < 0.05) & (table != 255), random.choice(VALUES, shape), table)
    made = []
    for name, chosen in (("before", table), ("same", table), ("after", later)):
        codes = chosen[rows][:, cols].astype(np.uint8)
        sure = np.where(codes == 255, 255, share[rows][:, cols]).astype(np.uint8)
        made.append(make_product(folder / name, codes, sure))
    return made[0], made[1], made[2]


def ours(before: Path, after: Path, folder: Path) -> dict[str, Any]:
    """Seconds and peak memory of the command."""
    found = run_command([*COMMAND, "change", before, after, "-o", folder / "c", "-f", "-q"], interval=0.05)
    return {"seconds": found.seconds, "gib": found.pss_mib / 1024}


def theirs(before: Path, after: Path, folder: Path) -> dict[str, Any]:
    """Seconds of rasterio and NumPy."""
    start = time.perf_counter()
    with rasterio.open(before / "classes.tif") as one, rasterio.open(after / "classes.tif") as other:
        old, new, profile = one.read(1), other.read(1), one.profile
    valid = (old != 255) & (new != 255)
    joined = old.astype(np.uint16) * 256 + new
    values, counts = np.unique(joined[valid], return_counts=True)
    codes = np.where(valid & (old != new), np.searchsorted(values, joined) + 1, 0).astype(np.uint8)
    codes[~valid] = 255
    with rasterio.open(folder / "theirs.tif", "w", **profile) as out:
        out.write(codes, 1)
    return {"seconds": time.perf_counter() - start, "kinds": len(counts)}


def main() -> None:
    """Measure, print, write."""
    parser = arguments(__doc__)
    parser.add_argument("--side", type=int, default=10980)
    parser.add_argument("--rounds", type=int, default=1)
    given = parser.parse_args()
    given.side = 1024 if given.quick else given.side
    with tempfile.TemporaryDirectory(dir=given.folder) as name:
        folder = Path(name)
        before, same, after = draw(folder, given.side)
        contenders = {
            "the same": partial(ours, before, same, folder),
            "a twentieth changed": partial(ours, before, after, folder),
            "rasterio and NumPy": partial(theirs, before, after, folder),
        }
        found = interleaved(contenders, given.rounds)
    seconds = {what: median_of(found[what], "seconds") for what in contenders}
    rows = [
        Row("against the same", seconds["the same"], "s", "< 10"),
        Row("peak memory", median_of(found["the same"], "gib"), "GiB", "< 1.5"),
        Row("a twentieth changed", seconds["a twentieth changed"], "s"),
        Row("its peak memory", median_of(found["a twentieth changed"], "gib"), "GiB"),
        Row("rasterio and NumPy over it", seconds["rasterio and NumPy"] / seconds["a twentieth changed"], "x"),
    ]
    report("change", f"{given.side} x {given.side}", rows, given, found)


if __name__ == "__main__":
    main()
