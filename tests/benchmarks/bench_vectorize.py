"""Class raster to polygon file beside rasterio.features.shapes and GDAL's polygonize in C, in one run.

The raster has about 4 polygons per 1000 pixels, the blobs that an argmax of smooth fields makes. Ours is measured
from file to file with all attributes, areas on the ellipsoid and mean confidence among them; the others make
geometries only, in memory: rasterio's as shapely objects, GDAL's as features of an in-memory layer (called through
the library that rasterio brings, as its own Python binding is not needed for anything else).

    python tests/benchmarks/bench_vectorize.py [--quick] [--rounds 3]
"""

from __future__ import annotations

import ctypes
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np
import rasterio
import rasterio.features
import shapely
from affine import Affine
from common import COMMAND, Row, arguments, interleaved, median_of, report, run_command
from rasterio.windows import Window
from scipy import ndimage

PATCH = 2048
SIDES = {"tile": 4096, "scene": 10980, "mosaic": 31623}
QUICK = {"tile": 1024, "scene": 2048, "mosaic": 3072}
KNOWN_GDAL = 15.0
"""Mpx/s of GDAL's polygonize in C on one thread, as known from elsewhere."""


def blobs(random, sigma):
    """A patch of class regions, `(2048, 2048)`, that goes on seamlessly beyond its edges."""
    fields = [ndimage.gaussian_filter(random.standard_normal((PATCH, PATCH)), sigma, mode="wrap") for _ in range(6)]
    return np.argmax(fields, axis=0).astype(np.uint8)


def draw(folder, side, name):
    """Write a class raster and its confidence, some rows at a time; a mosaic has large regions in every other patch."""
    random = np.random.default_rng(0)
    small, noise = blobs(random, 6.5), random.integers(100, 255, (PATCH, PATCH)).astype(np.uint8)
    kinds = [small, blobs(random, 60)] if name == "mosaic" else [small]
    profile = {
        "driver": "GTiff", "height": side, "width": side, "count": 1, "dtype": "uint8", "nodata": 255,
        "crs": "EPSG:32633", "transform": Affine(10, 0, 3e5, 0, -10, 5.4e6), "tiled": True, "blockxsize": 512,
        "blockysize": 512, "compress": "deflate", "num_threads": "all_cpus", "bigtiff": "if_safer",
    }  # fmt: skip
    classes, confidence = folder / f"{name}.tif", folder / f"{name}_confidence.tif"
    with rasterio.open(classes, "w", **profile) as one, rasterio.open(confidence, "w", **profile) as other:
        other.scales = (1 / 254,)
        for number, row in enumerate(range(0, side, PATCH)):
            height = min(PATCH, side - row)
            columns = -(-side // PATCH)
            strip = np.concatenate([kinds[(number + col) % len(kinds)] for col in range(columns)], axis=1)
            one.write(strip[:height, :side], 1, window=Window(0, row, side, height))
            other.write(np.tile(noise, columns)[:height, :side], 1, window=Window(0, row, side, height))
    return classes, confidence


def ours(classes, confidence, out):
    """Seconds and polygons, from file to file."""
    from geounet.tasks.vectorize import vectorize

    start = time.perf_counter()
    summary = vectorize(classes, out, confidence=confidence, overwrite=True)
    return {"seconds": time.perf_counter() - start, "polygons": summary.polygons}


def shapes(classes):
    """Seconds and polygons of what people write first."""
    with rasterio.open(classes) as file:
        band, transform = file.read(1), file.transform
        start = time.perf_counter()
        found = [shapely.geometry.shape(shape) for shape, _ in rasterio.features.shapes(band, transform=transform)]
    return {"seconds": time.perf_counter() - start, "polygons": len(found)}


def gdal_functions():
    """GDAL's C functions that polygonizing takes, from the library that is loaded already."""
    pointer, text, number = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int
    signatures = {
        "GDALAllRegister": (None, []), "GDALOpen": (pointer, [text, number]), "GDALClose": (number, [pointer]),
        "GDALGetRasterBand": (pointer, [pointer, number]), "GDALGetDriverByName": (pointer, [text]),
        "GDALCreate": (pointer, [pointer, text, *[number] * 4, pointer]), "OGR_Fld_Create": (pointer, [text, number]),
        "GDALDatasetCreateLayer": (pointer, [pointer, text, pointer, number, pointer]),
        "OGR_L_CreateField": (number, [pointer, pointer, number]),
        "OGR_L_GetFeatureCount": (ctypes.c_longlong, [pointer, number]),
        "GDALPolygonize": (number, [pointer, pointer, pointer, number, pointer, pointer, pointer]),
    }  # fmt: skip
    folder = Path(rasterio.__file__).parents[1]
    path = next(folder.glob("rasterio.libs/libgdal*"), None) or next(folder.glob("rasterio/.dylibs/libgdal*"), None)
    if path is None:
        return None
    library = ctypes.CDLL(str(path))
    for name, (result, given) in signatures.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, given
    library.GDALAllRegister()
    return library


def polygonize(classes):
    """Seconds and polygons of GDAL in C, reading included, one thread; None where its library is not found."""
    gdal = gdal_functions()
    if gdal is None:
        return None
    raster = gdal.GDALOpen(str(classes).encode(), 0)
    driver = gdal.GDALGetDriverByName(b"Memory") or gdal.GDALGetDriverByName(b"MEM")
    memory = gdal.GDALCreate(driver, b"", 0, 0, 0, 0, None)
    layer = gdal.GDALDatasetCreateLayer(memory, b"polygons", None, 3, None)
    gdal.OGR_L_CreateField(layer, gdal.OGR_Fld_Create(b"class", 0), 1)
    start = time.perf_counter()
    failed = gdal.GDALPolygonize(gdal.GDALGetRasterBand(raster, 1), None, layer, 0, None, None, None)
    seconds = time.perf_counter() - start
    found = gdal.OGR_L_GetFeatureCount(layer, 1)
    gdal.GDALClose(memory)
    gdal.GDALClose(raster)
    return None if failed else {"seconds": seconds, "polygons": int(found)}


def compare(folder, side, rounds):
    """Rows of the three in turn, and their figures."""
    classes, confidence = draw(folder, side, "tile")
    out = folder / "tile.parquet"
    ours(classes, confidence, out)
    found = interleaved(
        {"ours": partial(ours, classes, confidence, out), "shapes": partial(shapes, classes),
         "gdal": partial(polygonize, classes)},
        rounds,
    )  # fmt: skip
    counts = {name: runs[0]["polygons"] for name, runs in found.items()}
    if len(set(counts.values())) > 1:
        raise SystemExit(f"not the same polygons: {counts}")
    speed = {name: side**2 / 1e6 / median_of(runs, "seconds") for name, runs in found.items()}
    rows = [
        Row("to GeoParquet, over rasterio.features.shapes", speed["ours"] / speed["shapes"], "x", ">= 6"),
        Row("rasterio.features.shapes to shapely", speed["shapes"], "Mpx/s"),
        Row("class raster to GeoParquet", speed["ours"], "Mpx/s", note=f"{side} x {side}, {counts['ours']} polygons"),
        Row("over the 15 Mpx/s known of GDAL in C", speed["ours"] / KNOWN_GDAL, "x", note="another machine's figure"),
    ]
    if "gdal" in speed:
        rows += [
            Row("to GeoParquet, over GDAL's polygonize in C", speed["ours"] / speed["gdal"], "x", ">= 2"),
            Row("GDAL's polygonize in C, geometry only", speed["gdal"], "Mpx/s"),
        ]
    return rows, found


def afresh(folder, side, name, endings):
    """Rows of whole commands in fresh processes, kernels compiled before: seconds and memory."""
    classes, confidence = draw(folder, side, name)
    rows = []
    for ending, seconds in endings.items():
        words = ["vectorize", classes, "--confidence", confidence, "--out", folder / f"{name}{ending}", "--overwrite"]
        run = run_command([*COMMAND, *words], interval=0.1)
        what = f"{side} x {side} to {ending}"
        count = next((word for word in run.errors.split() if word.isdigit()), "?")
        rows += [
            Row(what, run.seconds, "s", f"<= {seconds}" if seconds else "", f"{count} polygons"),
            Row(f"{what}, memory", (run.pss_mib or run.rss_mib) / 1024, "GiB", "<= 2"),
        ]
    for path in folder.glob(f"{name}*"):
        path.unlink()
    return rows


def main():
    """Print the table and write it as JSON."""
    parser = arguments(__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="rounds of the comparison")
    parser.add_argument("--no-mosaic", action="store_true", help="leave the raster of 1000 Mpx out")
    given = parser.parse_args()
    sides = QUICK if given.quick else SIDES
    with tempfile.TemporaryDirectory(dir=given.folder) as name:
        folder = Path(name)
        rows, details = compare(folder, sides["tile"], given.rounds)
        rows += afresh(folder, sides["scene"], "scene", {".parquet": 10, ".gpkg": 30})
        if not given.no_mosaic:
            rows += afresh(folder, sides["mosaic"], "mosaic", {".parquet": None})
    report("vectorize", "Class raster to polygons", rows, given, details)


if __name__ == "__main__":
    sys.exit(main())
