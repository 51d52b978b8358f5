"""A year of one place with planted changes: precision and recall of events, with and without the confirmation rule.

Twenty-five dates, 512 x 512 px. Twenty-four fields change for good on known dates; clouds hide a share of each scene;
and what is not masked of them (haze, shadows) is seen as another class for that one date. Precision and recall are of
ground, after the last date: confirmed events against what was planted; "without the rule" counts each pixel that was
seen as another class once. The scenes are of three levels of brightness, which a small network has learned; where
GEOUNET_DATA is set, they are also made of a real one (NAIP, 2009): its own pixels, three classes by their vegetation
index, and changes planted by pixels of the other class from elsewhere in the scene.

    python tests/benchmarks/bench_truth.py [--quick]
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import rasterio
from common import COMMAND, Row, arguments, report
from rasterio.features import rasterize
from scipy import ndimage

sys.path.insert(0, str(Path(__file__).parents[1]))
from levels import LEVELS, brightness, learned_model
from made import NORTH_UP

SIDE, DATES, FIELDS, STEP = 512, 25, 24, 15
VALUES = list(LEVELS)
CLOUDS, HAZE = (0.0, 0.3, 0.6), (0.0, 0.02, 0.05)
JOB = """
name = "truth"
out = "{out}"
[source]
path = "incoming"
[model]
file = "m.safetensors"
[change]
min_area = {area}
confirm = "{rule}"
baseline = {baseline}
"""
RULE = "2 of 3 within 180 days"
BASELINES = (1, 3)
"""Observations whose commonest class is the baseline."""


def planted(ground: Any, random: Any, side: int) -> list[tuple[int, tuple[slice, slice], int]]:
    """Date, place and new class of each change; fields do not overlap."""
    found: list[tuple[int, tuple[slice, slice], int]] = []
    taken = np.zeros(ground.shape, bool)
    while len(found) < FIELDS:
        size = int(random.integers(side // 26, side // 13))
        row, col = random.integers(0, side - size, 2)
        place = slice(row, row + size), slice(col, col + size)
        if not taken[place].any():
            taken[place] = True
            found.append((int(random.integers(3, DATES - 6)), place, int(random.choice(VALUES))))
    return found


def blotches(shape: tuple[int, int], share: float, random: Any, size: float) -> Any:
    """A share of the ground, in blotches."""
    field = ndimage.gaussian_filter(random.normal(size=shape), size)
    return field > np.quantile(field, 1 - share) if share else np.zeros(shape, bool)


def year(ground: Any, changes: Any, clouds: float, haze: float, random: Any) -> Any:
    """What there is to be seen on each date: classes, 255 for clouds."""
    for number in range(DATES):
        codes = ground.copy()
        for since, place, value in changes:
            if number >= since:
                codes[place] = value
        hazy = blotches(ground.shape, haze, random, 5)
        codes[hazy] = VALUES[int(random.integers(len(VALUES)))]
        codes[blotches(ground.shape, clouds, random, 20)] = 255
        yield date(2024, 1, 1) + timedelta(days=STEP * number), codes


def measured(folder: Path, truth: Any, baseline: int) -> tuple[float, float]:
    """Precision and recall of the pixels of confirmed events."""
    out = f"state_{baseline}"
    (folder / "job.toml").write_text(JOB.format(out=out, rule=RULE, area=0.2, baseline=baseline))
    # The products of the first state are those of all.
    if baseline > 1:
        shutil.copytree(folder / "state_1" / "products", folder / out / "products")
    subprocess.run([*map(str, COMMAND), "monitor", folder / "job.toml", "-q"], check=True, stderr=subprocess.DEVNULL)
    events = gpd.read_parquet(folder / out / "events.parquet")
    shapes = events.geometry[events["status"] == "confirmed"]
    with rasterio.open(folder / out / "status.tif") as file:
        shape, place = file.shape, file.transform
    found = rasterize(shapes, shape, transform=place).astype(bool) if len(shapes) else np.zeros(shape, bool)
    right = (found & truth).sum()
    return right / max(found.sum(), 1), right / truth.sum()


def ever(folder: Path, ground: Any, truth: Any) -> tuple[float, float]:
    """Precision and recall of all pixels that were seen as another class than at first, on any date."""
    first, found = np.full(ground.shape, 255, np.uint8), np.zeros(ground.shape, bool)
    for path in sorted(next(folder.glob("state*")).glob("products/*/classes.tif")):
        with rasterio.open(path) as file:
            codes = file.read(1)
        fresh = (first == 255) & (codes != 255)
        first[fresh] = codes[fresh]
        found |= (codes != 255) & (codes != first)
    right = (found & truth).sum()
    return right / max(found.sum(), 1), right / truth.sum()


def synthetic(folder: Path, clouds: float, haze: float, side: int) -> dict[str, float]:
    """One year of levels of brightness."""
    random = np.random.default_rng(int(100 * clouds + 1000 * haze))
    ground = random.choice(VALUES, (side // 32, side // 32)).repeat(32, 0).repeat(32, 1).astype(np.uint8)
    changes = planted(ground, random, side)

    def pixels(codes: Any) -> Any:
        return brightness(codes, random)[None]

    return _year(folder, ground, changes, clouds, haze, random, pixels, ("grey",), NORTH_UP)


def _year(folder: Any, ground: Any, changes: Any, clouds: float, haze: float, random: Any, pixels: Any, names: Any,
          transform: Any) -> dict[str, float]:  # fmt: skip
    """Write the scenes, run the job with and without the rule, and compare."""
    truth = np.zeros(ground.shape, bool)
    for _, place, value in changes:
        truth[place] = ground[place] != value
    (folder / "incoming").mkdir(parents=True)
    for day, codes in year(ground, changes, clouds, haze, random):
        image = pixels(codes)
        with rasterio.open(
            folder / f"incoming/s_{day:%Y%m%d}.tif", "w", driver="GTiff", height=ground.shape[0], nodata=0,
            width=ground.shape[1], count=len(image), dtype="uint8", crs="EPSG:32633", transform=transform,
            photometric="MINISBLACK",
        ) as file:  # fmt: skip
            file.write(np.where(codes == 255, 0, image))
            file.descriptions = names
    found = {str(baseline): measured(folder, truth, baseline) for baseline in BASELINES}
    found["once"] = ever(folder, ground, truth)
    return {
        f"{what} {how}": one[place] for how, one in found.items() for place, what in enumerate(("precision", "recall"))
    }


def real(folder: Path, clouds: float, haze: float, data: Path) -> dict[str, float]:
    """One year of pixels of a real scene, by a model that has learned its three classes."""
    with rasterio.open(min((data / "naip_three_years").glob("*2009*.tif"))) as file:
        scene, transform = file.read()[:, :SIDE, :SIDE], file.transform
    red, near = scene[0].astype(float), scene[3].astype(float)
    index = ndimage.median_filter((near - red) / np.maximum(near + red, 1), 15)
    low, high = np.quantile(index, (0.33, 0.66))
    ground = np.array(VALUES, np.uint8)[(index > low).astype(int) + (index > high)]
    random = np.random.default_rng(int(100 * clouds + 1000 * haze) + 1)
    samples = {value: scene[:, ground == value] for value in VALUES}
    if not (folder.parent / "real.safetensors").exists():
        _learn(folder.parent, scene, ground, transform)
    changes = planted(ground, random, SIDE)

    def pixels(codes: Any) -> Any:
        image = scene.copy()
        for value in VALUES:
            # What is another class now gets pixels of that class, in the order in which they lie in the scene.
            other = (codes == value) & (ground != value)
            start = int(random.integers(samples[value].shape[1]))
            image[:, other] = np.take(samples[value], start + np.arange(other.sum()), 1, mode="wrap")
        return (image * random.normal(1, 0.02)).clip(1, 255).astype(np.uint8)

    (folder / "m.safetensors").unlink()
    (folder / "m.safetensors").symlink_to(folder.parent / "real.safetensors")
    return _year(folder, ground, changes, clouds, haze, random, pixels, ("red", "green", "blue", "nir"), transform)


def _learn(folder: Path, scene: Any, ground: Any, transform: Any) -> None:
    """Train a model on the scene's own classes."""
    common = {"driver": "GTiff", "height": SIDE, "width": SIDE, "crs": "EPSG:32633", "transform": transform}
    with rasterio.open(folder / "i.tif", "w", count=4, dtype="uint8", photometric="MINISBLACK", **common) as file:
        file.write(scene.clip(1, 255).astype(np.uint8))
        file.descriptions = ("red", "green", "blue", "nir")
    with rasterio.open(folder / "l.tif", "w", count=1, dtype="uint8", nodata=255, **common) as file:
        file.write(ground[None])
    words = ["train", folder / "i.tif", "--labels", folder / "l.tif", "-o", folder / "real.safetensors", "--depth", "2",
             "--width", "16", "--patch-size", "64", "--minutes", "2", "-q"]  # fmt: skip
    subprocess.run([*map(str, COMMAND), *map(str, words)], check=True)


def main() -> None:
    """Measure, print, write."""
    given = arguments(__doc__).parse_args()
    side = 256 if given.quick else SIDE
    combinations = [(0.3, 0.02)] if given.quick else [(cloud, haze) for cloud in CLOUDS for haze in HAZE]
    rows, found = [], {}
    data = os.environ.get("GEOUNET_DATA")
    with tempfile.TemporaryDirectory(dir=given.folder) as name:
        model = learned_model(Path(name) / "m.safetensors")
        for kind in ["levels", *(["real"] if data and not given.quick else [])]:
            for cloud, haze in combinations:
                folder = Path(name) / f"{kind}_{cloud}_{haze}"
                folder.mkdir()
                (folder / "m.safetensors").symlink_to(model)
                made = real(folder, cloud, haze, Path(data)) if kind == "real" and data else synthetic(
                    folder, cloud, haze, side)  # fmt: skip
                what = f"{kind}, {cloud:.0%} clouds, {haze:.0%} haze"
                found[what] = [made]
                for measure in ("precision", "recall"):
                    told = f"baseline of 3: {made[f'{measure} 3']:.2f}, seen once: {made[f'{measure} once']:.2f}"
                    rows.append(Row(f"{what}: {measure}", made[f"{measure} 1"], "", "", told))
    report("truth", f"{DATES} dates, {FIELDS} fields", rows, given, found)


if __name__ == "__main__":
    main()
