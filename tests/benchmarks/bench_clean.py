"""The sieve beside GDAL's (rasterio.features.sieve), and the memory of cleaning as the raster grows, in one run.

The raster has about 4 components per 1000 pixels, a fifth of them small, as an argmax of smooth fields has. Both work
from array to array: GDAL's on the whole, ours by tiles of 2048 pixels, through its temporary file. For memory, a
process cleans rasters that are made as they are read, so that only what cleaning holds is seen.

    python tests/benchmarks/bench_clean.py [--quick] [--rounds 5]
"""

from __future__ import annotations

import sys
import time
from functools import partial

import numpy as np
import rasterio.features
from common import Row, arguments, interleaved, report, run_command
from scipy import ndimage

from geounet.components.cleaning import Cleaning, clean_tiles
from geounet.grid import Grid, Window
from geounet.raster.burning import burn, outlines

PATCH = 2048
SIZE = 20
CLASSES = 6


def blobs(random):
    """A patch of class regions, `(2048, 2048)`, that goes on seamlessly beyond its edges."""
    fields = [ndimage.gaussian_filter(random.standard_normal((PATCH, PATCH)), 6.5, mode="wrap") for _ in range(CLASSES)]
    return np.argmax(fields, axis=0).astype(np.uint8)


def reader(patch, side):
    """A function from a window to its classes, which come from the patch again and again."""
    extent = Window(0, 0, side, side)

    def read(window):
        out = np.full((window.height, window.width), 255, np.uint8)
        inner = window.intersection(extent)
        rows, cols = (np.arange(inner.row, inner.row_stop) % PATCH, np.arange(inner.col, inner.col_stop) % PATCH)
        out[inner.within(window)] = patch[np.ix_(rows, cols)]
        return out

    return read


def ours(classes, steps):
    """Seconds from array to array."""
    extent = Window(0, 0, *classes.shape)

    def read(window):
        inner = window.intersection(extent)
        if inner == window:
            return classes[window.within(extent)]
        padded = np.full((window.height, window.width), 255, np.uint8)
        padded[inner.within(window)] = classes[inner.within(extent)]
        return padded

    out = np.empty_like(classes)
    start = time.perf_counter()
    for window, piece in clean_tiles(read, extent, steps, PATCH):
        out[window.within(extent)] = piece
    return time.perf_counter() - start


def gdal(classes):
    """Seconds from array to array."""
    start = time.perf_counter()
    rasterio.features.sieve(classes, SIZE)
    return time.perf_counter() - start


def polygons_of(classes):
    """The polygons of a raster in pixel coordinates, with their classes."""
    from shapely.geometry import shape

    return [(shape(ring), int(code)) for ring, code in rasterio.features.shapes(classes)]


def burnt_by_gdal(shapes, side):
    """Seconds from shapely objects to an array."""
    start = time.perf_counter()
    rasterio.features.rasterize(shapes, (side, side), fill=255, dtype="uint8")
    return time.perf_counter() - start


def burnt_by_us(shapes, side):
    """Seconds from shapely objects to all tiles."""
    start = time.perf_counter()
    drawn = outlines(*zip(*shapes, strict=True), rasterio.Affine.identity())
    for tile in Grid(Window(0, 0, side, side), PATCH, PATCH).tiles():
        burn(drawn, tile.core, 255)
    return time.perf_counter() - start


def clean_large(side):
    """Clean a raster of this side and forget it: what the process for memory does."""
    steps = Cleaning(majority=1, sieve=SIZE, fill_holes=SIZE)
    for _ in clean_tiles(reader(blobs(np.random.default_rng(0)), side), Window(0, 0, side, side), steps, PATCH):
        pass


def memory_of(side):
    """Peak of a fresh process, MiB."""
    return run_command([sys.executable, __file__, "--child", side], interval=0.05).pss_mib


def main():
    """Measure in turn, so that the machine's drift meets all, and take the best round of each."""
    parser = arguments(__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--child", type=int, help="clean a raster of this side, for its memory")
    given = parser.parse_args()
    if given.child:
        clean_large(given.child)
        return
    side, sides = (1024, (1024, 2048)) if given.quick else (4096, (5000, 10000))
    patch = blobs(np.random.default_rng(0))
    classes = reader(patch, side)(Window(0, 0, side, side))
    shapes = polygons_of(classes[:PATCH, :PATCH])
    steps = {to: Cleaning(sieve=SIZE, sieve_to=to) for to in ("border", "largest")}
    contenders = {
        "gdal": partial(gdal, classes),
        **{to: partial(ours, classes, each) for to, each in steps.items()},
        "majority": partial(ours, classes, Cleaning(majority=2)),
        "burn gdal": partial(burnt_by_gdal, shapes, min(side, PATCH)),
        "burn": partial(burnt_by_us, shapes, min(side, PATCH)),
    }
    for contender in contenders.values():
        contender()
    best = {name: min(seconds) for name, seconds in interleaved(contenders, given.rounds).items()}
    peaks = [memory_of(each) for each in sides]
    speed = {name: side * side / 1e6 / seconds for name, seconds in best.items()}
    density = 1000 * len(shapes) / min(side, PATCH) ** 2
    rows = [
        Row("sieve, largest neighbour, over GDAL's", best["gdal"] / best["largest"], "x", ">= 1", "the same pixels"),
        Row("sieve, longest border, over GDAL's", best["gdal"] / best["border"], "x", ">= 1"),
        Row("memory of cleaning at 4 times the pixels", peaks[1] / peaks[0], "x", "<= 1.3", f"{peaks[1]:.0f} MiB"),
        Row("polygons burnt, over rasterio.features.rasterize", best["burn gdal"] / best["burn"], "x", ">= 1"),
        *(Row(f"sieve, {name}", speed[name], "Mpx/s") for name in ("gdal", "largest", "border")),
        Row("majority, radius 2", speed["majority"], "Mpx/s"),
    ]
    title = f"Cleaning a class raster of {side} x {side} pixels, {density:.1f} polygons per 1000"
    report("clean", title, rows, given, {"seconds": best, "memory_mib": dict(zip(map(str, sides), peaks, strict=True))})


if __name__ == "__main__":
    main()
