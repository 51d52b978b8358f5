"""Every command line and every block of code of README and docs, run in its order in a fresh folder.

A folder holds what the text speaks of: a scene, a model, images and labels (the sample tiles), products. Training takes
three seconds, whatever the text says; databases and clusters are real ones, but for SLURM, whose `sbatch` is a script
that keeps what it is given.
"""

from __future__ import annotations

import configparser
import csv
import io
import os
import re
import shutil
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import geopandas as gpd
import numpy as np
import postgis_server
import pytest
import rasterio
import yaml

pytestmark = pytest.mark.docs

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
KINDS = {"console", "python", "toml", "ini", "yaml", "csv", ""}


def blocks(page):
    """Kind and text of each block of code."""
    return FENCE.findall(page.read_text(encoding="utf-8"))


def command_lines(text):
    """What stands behind each `$`, continued lines too."""
    return [
        line[2:].replace("\\\n", " ")
        for line in re.findall(r"^\$ (?:.*\\\n)*.*$", text, re.MULTILINE)
        for line in [line]
    ]


WITH_CODE = [page for page in PAGES if any(kind in ("console", "python") for kind, _ in blocks(page))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_blocks_are_of_a_known_kind_and_parse(page):
    """A block that no test runs or reads would rot."""
    for kind, text in blocks(page):
        assert kind in KINDS
        if kind == "":
            assert not re.search(r"^\$? ?geounet ", text, re.MULTILINE), "a command line stands in a console block"
        if kind == "toml":
            tomllib.loads(text)
        if kind == "yaml":
            assert yaml.safe_load(text)
        if kind == "ini":
            parser = configparser.ConfigParser()
            parser.optionxform = str
            parser.read_string(text)
        if kind == "csv":
            assert len({len(row) for row in csv.reader(io.StringIO(text))}) == 1


@pytest.fixture(scope="module")
def material(tmp_path_factory):
    """What the texts speak of, under the names that they use."""
    folder = tmp_path_factory.mktemp("material")
    samples = ROOT / "sample_tiles"
    shutil.copytree(samples / "train/images", folder / "images")
    shutil.copytree(samples / "train/labels", folder / "labels")
    shutil.copytree(samples / "val", folder / "val")
    shutil.copytree(samples / "val/images", folder / "scenes")
    for name in ("classes.csv", "model.safetensors"):
        shutil.copy(samples / name, folder / name)
    shutil.copy(samples / "model.safetensors", folder / "teacher.safetensors")
    shutil.copy(samples / "train/labels.gpkg", folder / "labels.gpkg")
    shutil.copy(samples / "val/images/scene_spring.tif", folder / "scene.tif")
    shutil.copy(samples / "val/labels/scene_spring.tif", folder / "classes.tif")
    (folder / "incoming").mkdir()
    for date in ("20240401", "20240501"):
        shutil.copy(folder / "scene.tif", folder / "incoming" / f"s_{date}.tif")
    gpd.read_file(samples / "val/labels.gpkg").assign(crop=lambda frame: frame["class"]).to_file(folder / "fields.gpkg")
    objects_that_touch(folder)
    run("geounet run scene.tif -m model.safetensors -o products/ --format parquet -q", folder)
    for year in ("2020", "2024"):
        shutil.copytree(folder / "products/scene", folder / "products" / year)
        record = folder / "products" / year / "item.json"
        record.write_text(record.read_text().replace('"id": "scene"', f'"id": "{year}"'))
    return folder


def objects_that_touch(folder):
    """Pictures and maps of numbered objects."""
    random = np.random.default_rng(0)
    (folder / "instances").mkdir()
    (folder / "pictures").mkdir()
    for number in range(3):
        numbers = np.kron(random.integers(0, 60, (16, 16)) * (random.random((16, 16)) < 0.6), np.ones((8, 8))).astype(
            np.uint16
        )
        image = np.where(numbers > 0, 180, 60) + random.integers(0, 40, (3, 128, 128))
        for place, values in (
            (f"pictures/p{number}.png", image.astype(np.uint8)),
            (f"instances/p{number}.tif", numbers[None]),
        ):
            driver = "PNG" if place.endswith("png") else "GTiff"
            with rasterio.open(
                folder / place, "w", driver=driver, width=128, height=128, count=len(values), dtype=values.dtype
            ) as out:
                out.write(values)
    shutil.copy(folder / "pictures/p0.png", folder / "picture.png")


@pytest.fixture(scope="module")
def database():
    if postgis_server.missing():
        pytest.skip(postgis_server.missing())
    with postgis_server.postgis() as url:
        yield url


def run(line, folder, **more):
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{folder}:{os.environ['PATH']}", **more}
    done = subprocess.run(
        ["bash", "-c", line], cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def start(line, folder):
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    return subprocess.Popen(["bash", "-c", f"exec {line}"], cwd=folder, env=environment, stderr=subprocess.DEVNULL)


def prepared(material, folder, page):
    shutil.copytree(material, folder, dirs_exist_ok=True)
    if page.name in ("README.md", "batches.md"):
        shutil.rmtree(folder / "products")
    if page.name == "training.md":
        shutil.rmtree(folder / "images")
        shutil.copytree(folder / "pictures", folder / "pngs")
    if page.name in ("first-map.md", "cluster.md"):
        shutil.rmtree(folder / "products")
    if page.name in ("own-labels.md", "README.md"):
        (folder / "model.safetensors").unlink()
    script = folder / "sbatch"
    script.write_text('#!/bin/sh\ncat "$1" >> submitted.sh\necho "Submitted batch job 1"\n')
    script.chmod(0o755)


@pytest.mark.parametrize("page", WITH_CODE, ids=lambda page: page.name)
def test_every_command_line_runs(page, material, tmp_path, request):
    prepared(material, tmp_path, page)
    behind = []
    try:
        for kind, text in blocks(page):
            if kind == "toml":
                (tmp_path / "job.toml").write_text(text)
            elif kind == "python":
                python_block(page, text, tmp_path)
            elif kind == "console":
                for line in command_lines(text):
                    one_line(line, tmp_path, behind, request)
    finally:
        for process in behind:
            process.send_signal(signal.SIGTERM)
            process.wait(30)


def python_block(page, text, folder):
    text = text.replace("Schedule(epochs=2)", "Schedule(epochs=1, minutes=0.05)")
    if page.name == "training.md":
        shutil.copytree(ROOT / "sample_tiles/train/images", folder / "images", dirs_exist_ok=True)
    (folder / "block.py").write_text(
        "if __name__ == '__main__':\n" + "".join(f"    {line}\n" for line in text.splitlines())
    )
    run(f"{sys.executable} -W ignore block.py", folder)
    if page.name == "training.md":
        shutil.rmtree(folder / "images")
        (folder / "pngs").rename(folder / "images")


def one_line(line, folder, behind, request):
    if line.startswith("make "):
        return  # what CI does before anything else
    line = re.sub(r"--minutes [\d.]+", "--minutes 0.05", line)
    if "postgresql://" in line:
        url = request.getfixturevalue("database")
        line = line.replace("postgresql://geounet@localhost/maps", url)
    if line.endswith("&"):
        behind.append(start(line.removesuffix("&"), folder))
        return
    run(line, folder, PGPASSWORD=postgis_server.PASSWORD)
