"""Wheel and sdist: what they hold is all that a command needs."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.docs
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A wheel that is built from the sdist, as pip would."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--outdir", folder, ROOT]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return folder


def test_an_empty_environment_gets_a_command(built, tmp_path):
    """Of geounet it has the wheel alone; the libraries are those that are installed here, all but geounet itself."""
    (wheel,) = built.glob("*.whl")
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv/bin/python"
    bare = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    pip = [python, "-m", "pip", "install", "--quiet", "--no-deps", wheel]
    subprocess.run(pip, check=True, capture_output=True, env=bare)
    libraries = tmp_path / "libraries"
    libraries.mkdir()
    here = Path(next(path for path in sys.path if path.endswith("site-packages")))
    for entry in here.iterdir():
        if "geounet" not in entry.name and not entry.name.startswith("__editable__"):
            (libraries / entry.name).symlink_to(entry)
    alone = bare | {"PYTHONPATH": str(libraries)}
    command = [tmp_path / "venv/bin/geounet", "demo", "--out", tmp_path / "demo"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, env=alone)
    assert done.returncode == 0, done.stderr
    assert {"classes.tif", "polygons.gpkg", "preview.png"} <= {path.name for path in (tmp_path / "demo").iterdir()}
    where = subprocess.run(
        [python, "-c", "import geounet; print(geounet.__file__)"],
        capture_output=True,
        text=True,
        check=True,
        env=alone,
        cwd=tmp_path,
    )
    assert Path(where.stdout.strip()).is_relative_to(tmp_path / "venv")
    for name in ("change", "monitor", "export", "report", "mosaic"):
        done = subprocess.run([command[0], name, "--help"], capture_output=True, text=True, check=False, env=alone)
        assert done.returncode == 0, done.stderr
        imported = f"import importlib; importlib.import_module('geounet.tasks.{name}')"
        subprocess.run([python, "-c", imported], check=True, env=alone, cwd=tmp_path)


def test_wheel_and_sdist_hold_what_they_should(built):
    (wheel,), (sdist,) = built.glob("*.whl"), built.glob("*.tar.gz")
    with zipfile.ZipFile(wheel) as file:
        names = set(file.namelist())
    assert {"geounet/py.typed", "geounet_sample_tiles/model.safetensors", "geounet_pipelines/main.py"} <= names
    assert not [name for name in names if name.startswith(("tests/", "docs/"))]
    modules = {str(path.relative_to(ROOT)) for path in (ROOT / "geounet").rglob("*.py")}
    assert modules <= names
    with tarfile.open(sdist) as file:
        inside = {name.partition("/")[2] for name in file.getnames()}
    assert {"pyproject.toml", "README.md", "LICENSE"} <= inside


def test_the_dockerfile_is_sound():
    program = Path(sys.executable).with_name("hadolint")
    done = subprocess.run(
        [program, "--failure-threshold", "warning", ROOT / "Dockerfile"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


def test_the_citation_is_of_this_version():
    import tomllib

    import yaml

    told = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert (told["version"], told["license"]) == (project["version"], project["license"])
    assert told["cff-version"] == "1.2.0"
    assert {"message", "title", "authors"} <= told.keys()
