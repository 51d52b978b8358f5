"""Kill -9 at every renaming and removal of a file, and at random: the same command ends with the undisturbed bytes.

Nothing else is left, hidden or not. Each command is run in forks of a process that has imported everything.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from levels import LEVELS, learned_model, write_levels
from untrained import make_model

pytestmark = pytest.mark.fault

SMALL = ["-q", "--tile-size", "48", "--window-size", "80", "--precision", "fp32"]
PREDICT = ["predict", "scene.tif", "-m", "m.safetensors", "-o", "out/c.tif", *SMALL]
LAYERS = ["--confidence", "out/k.tif", "--probabilities", "out/p.tif"]
TRAIN = [
    "train",
    "scene.tif",
    "--labels",
    "classes.tif",
    "--bands",
    "1,2",
    "--epochs",
    "2",
    "--patches",
    "4",
    "--depth",
    "2",
    "--width",
    "4",
    "--patch-size",
    "16",
    "--batch-size",
    "2",
    "-o",
    "out/new.safetensors",
    "-q",
]
TILE = ["tile", "scene.tif", "--labels", "classes.tif", "-o", "out", "--tile-size", "32", "--val-fraction", "0.3", "-q"]
OVER = ["run", "scene.tif", "-m", "m.safetensors", "-o", "product", "-f", "--format", "fgb", *SMALL]
PILE = ["run", "pile", "-m", "m.safetensors", "-o", "out", "--format", "parquet", *SMALL]
COMMANDS = {
    "predict": [*PREDICT, *LAYERS],
    "predict over old rasters": [*PREDICT, "--confidence", "old/k.tif", "-o", "old/c.tif", "-f"],
    "run": ["run", "scene.tif", "-m", "m.safetensors", "-o", "out", "--majority", "1", "--format", "parquet", *SMALL],
    "run over an old product": OVER,
    "clean": ["clean", "classes.tif", "-o", "out/cleaned.tif", "--sieve", "4", "-q"],
    "clean over an old raster": ["clean", "classes.tif", "-o", "old/c.tif", "--majority", "1", "-f", "-q"],
    "vectorize to GeoParquet": ["vectorize", "classes.tif", "-o", "out/v.parquet", "--simplify", "9", "-q"],
    "vectorize to GeoPackage": ["vectorize", "classes.tif", "-o", "out/v.gpkg", "-q"],
    "vectorize over an old shapefile": ["vectorize", "classes.tif", "-o", "old/v.shp", "-f", "-q"],
    "mosaic": ["mosaic", "product", "pieces", "-o", "out/m.tif", "--polygons", "out/m.fgb", "--tile-size", "20", "-q"],
    "mosaic over an old map": ["mosaic", "pieces", "-o", "old/c.tif", "--confidence", "old/k.tif", "-f", "-q"],
    "change": ["change", "pieces/s1", "pieces/s2", "-o", "out/c", "--tile-size", "20", "-q"],
    "rasterize": ["rasterize", "old/v.shp", "--like", "scene.tif", "-o", "out/r.tif", "-q"],
    "tile": TILE,
    "tile over old chips": ["tile", "scene.tif", "-o", "chips", "--tile-size", "48", "-f", "-q"],
    "evaluate": ["evaluate", "classes.tif", "old/c.tif", "--json", "out/e.json", "--html", "out/e.html", "-q"],
    "stack": ["stack", "scene.tif", "classes.tif", "-o", "out/s.vrt", "-q"],
    "train": TRAIN,
}  # fmt: skip
EACH = {"predict": 5, "predict over old rasters": 5, "run": 7, "run over an old product": 7, "train": 5, "tile": 5,
        "tile over old chips": 7}  # fmt: skip
"""Of how many moments one is tried, for commands that have many; odd numbers meet those before and after alike."""
LEAST = 4
"""Moments that are tried of each command: how many files come and go depends on how fast the machine is."""
RUNS = ("summary.json",)
JOB = """
name = "fields"
out = "out/state"
[source]
path = "dated"
[model]
file = "levels.safetensors"
[change]
confirm = "1 of 2"
[alerts]
file = "out/alerts.jsonl"
"""
VARIES = {"train": ("new.safetensors.log.csv", "new.html"), "run": RUNS, "run over an old product": RUNS,
          "run of ten scenes": RUNS, "monitor": (*RUNS, "monitor.json", "runs.jsonl", "report.html")}  # fmt: skip
"""Files that hold how long something took: their bytes differ between undisturbed runs too."""


@pytest.fixture(scope="module")
def template(tmp_path_factory, write_scene):
    """A scene of several blocks and windows, a model, a class raster, and outputs of earlier work."""
    folder = tmp_path_factory.mktemp("faults") / "template"
    (folder / "out").mkdir(parents=True)
    (folder / "old").mkdir()
    random = np.random.default_rng(0)
    where = {"transform": Affine(10, 0, 5e5, 0, -10, 5e6)}
    write_scene(folder / "scene.tif", random.integers(1, 255, (2, 90, 130), dtype=np.uint8), **where)
    classes = random.choice([10, 20, 255], (9, 13), p=[0.5, 0.4, 0.1]).repeat(10, 0).repeat(10, 1).astype(np.uint8)
    write_scene(folder / "classes.tif", classes, nodata=255, **where)
    (folder / "pile").mkdir()
    for number in range(10):
        pixels = random.integers(1, 255, (2, 60 + number, 70), dtype=np.uint8)
        write_scene(folder / "pile" / f"s{number}.tif", pixels, **where)
    make_model(folder / "m.safetensors")
    learned_model(folder / "levels.safetensors")
    for number in range(10):
        codes = random.choice(list(LEVELS), (7, 8), p=[0.7, 0.2, 0.1]).repeat(9, 0).repeat(9, 1).astype(np.uint8)
        write_levels(folder / "dated" / f"s_202401{number + 10}.tif", codes[: 60 - number], seed=number)
    (folder / "job.toml").write_text(JOB)
    earlier = [
        [*PREDICT, "--confidence", "old/k.tif", "-o", "old/c.tif", "--bands", "2,1"],
        ["vectorize", "classes.tif", "-o", "old/v.shp", "--min-area", "1", "-q"],
        ["run", "scene.tif", "-m", "m.safetensors", "-o", "product", "--format", "fgb", "--bands", "2,1", *SMALL],
        ["tile", "scene.tif", "-o", "chips", "--tile-size", "32", "-q"],
        ["run", "pile/s1.tif", "pile/s2.tif", "-m", "m.safetensors", "-o", "pieces", "--format", "fgb", *SMALL],
    ]
    for command in earlier:
        subprocess.run([Path(sys.executable).with_name("geounet"), *command], cwd=folder, check=True, timeout=120)
    return folder


def outcomes(template, tmp_path, moments, command):
    place = tmp_path / "template"
    place.symlink_to(template)
    words = [sys.executable, Path(__file__).with_name("killing.py"), place, moments, "--", *command]
    # A GeoPackage says when it was changed.
    still = os.environ | {"OGR_CURRENT_DATE": "2026-01-01T00:00:00.000Z"}
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=800, env=still)
    assert done.returncode == 0, done.stderr[-3000:]
    return [json.loads(line) for line in done.stdout.splitlines()]


def wrong(found, name):
    """Reruns that failed, or left something other than an undisturbed run."""
    varies = VARIES.get(name, ())
    left = [{**one, "differs": [file for file in one["differs"] if Path(file).name not in varies]} for one in found]
    return [one for one in left if one["exit"] not in (0, 1) or one["differs"]]


@pytest.mark.parametrize("name", COMMANDS)
def test_killed_before_and_after_each_renaming_and_removal(template, tmp_path, name):
    """A run that was killed after all was done refuses to do it again: exit 1, and the bytes are there."""
    found = outcomes(template, tmp_path, f"every:{EACH.get(name, 1)}", COMMANDS[name])
    assert len(found) >= LEAST
    assert wrong(found, name) == []
    assert sum(one["exit"] == 0 for one in found) >= len(found) - 8


def test_a_batch_killed_at_random(template, tmp_path):
    """Whatever moment a batch of ten scenes dies at: the same products, catalogue and table, and nothing else."""
    found = outcomes(template, tmp_path, "random:2:20", PILE)
    assert wrong(found, "run of ten scenes") == []
    assert all(one["exit"] == 0 for one in found)


def test_a_monitoring_job_killed_at_random(template, tmp_path):
    """Ten scenes: one state, and each alert once; what a run says of itself may differ."""
    found = outcomes(template, tmp_path, "random:4:20", ["monitor", "job.toml", "-q"])
    assert wrong(found, "monitor") == []
    assert all(one["exit"] == 0 for one in found)


@pytest.mark.parametrize("name", ["predict", "run over an old product", "tile", "train"])
def test_killed_at_random(template, tmp_path, name):
    found = outcomes(template, tmp_path, "random:1:6", COMMANDS[name])
    assert wrong(found, name) == []
