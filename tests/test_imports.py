"""Imports flow one way, the library neither prints nor knows the command line, and one module opens rasters."""

import ast
import graphlib
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import geounet

FOLDER = Path(geounet.__file__).parent
MODULES = {
    ".".join(path.relative_to(FOLDER).with_suffix("").parts): ast.parse(path.read_text(encoding="utf-8"))
    for path in sorted(FOLDER.rglob("*.py"))
    if path.name != "__init__.py"
}

# Packages and modules of the top, lowest first: each imports from what stands before it only.
ORDER = [
    "errors", "grid", "allocation", "threads", "compiling", "light_torchvision", "classes", "class_tables",
    "calling", "outputs",
    "raster", "object_stores", "sources", "models", "data", "components", "outlines", "formats", "engine", "training",
    "metrics", "arrays", "pages", "products", "maps", "changes", "jobs", "alerts", "exports", "recognition",
    "tasks",
]  # fmt: skip


def unit(module):
    """`models.unet` stands in `models`."""
    return module.split(".")[0]


def imported(tree):
    """Modules of geounet that a tree imports, within TYPE_CHECKING too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module.split(".")[0] == "geounet":
            names = [".".join([*node.module.split(".")[1:], alias.name]) for alias in node.names]
            yield from (name if name in MODULES else name.rpartition(".")[0] for name in names)
        elif isinstance(node, ast.Import):
            yield from (alias.name.removeprefix("geounet.") for alias in node.names if "geounet." in alias.name)


IMPORTS = {module: set(imported(tree)) - {module} for module, tree in MODULES.items()}


def test_every_import_is_of_a_module():
    assert set().union(*IMPORTS.values()) <= set(MODULES)


def test_every_package_has_its_place():
    assert {unit(module) for module in MODULES} == set(ORDER)


def test_no_package_imports_from_above():
    pairs = {(unit(module), unit(target)) for module, targets in IMPORTS.items() for target in targets}
    against = sorted(pair for pair in pairs if ORDER.index(pair[1]) > ORDER.index(pair[0]))
    assert against == []


def test_torchgeo_comes_without_pytorchs_compiler_which_is_there_when_asked_for():
    script = """
import sys
import geounet.data.sampling
assert "torchvision" in sys.modules and "torch._dynamo" not in sys.modules
import torchvision
roi_align = sys.modules['torchvision.ops.roi_align']
found = roi_align.is_compile_supported("cpu")
import torch._dynamo
assert found == torch._dynamo.utils.is_compile_supported("cpu")
assert len(torch._dynamo.__file__) and hasattr(torch, "compile")
boxes = torch.tensor([[0.0, 0.0, 0.0, 4.0, 4.0]])
assert torchvision.ops.roi_align(torch.ones(1, 1, 8, 8), boxes, 2).shape == (1, 1, 2, 2)
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=120)


def test_what_runs_no_network_starts_without_pytorch():
    script = """
import sys
from geounet_pipelines.main import main
sys.argv = ["geounet", *sys.argv[1:]]
try:
    main()
except SystemExit as done:
    assert not done.code
print("torch" in sys.modules)
"""
    samples = FOLDER.parent / "sample_tiles"
    words = ["info", samples / "val/images/scene_spring.tif", "-m", samples / "model.safetensors"]
    done = subprocess.run(
        [sys.executable, "-c", script, *words], check=True, timeout=120, capture_output=True, text=True
    )
    assert "model fits  yes" in done.stdout
    assert done.stdout.splitlines()[-1] == "False"


def test_no_modules_import_each_other():
    """Not over a third either: what a TopologicalSorter takes has no cycle."""
    assert len(list(graphlib.TopologicalSorter(IMPORTS).static_order())) == len(MODULES)


def outside(tree):
    """Top-level packages that a tree imports."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.module.split(".")[0]
        elif isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)


@pytest.mark.parametrize("package", ["click", "geounet_pipelines", "pipelines", "geounet_sample_tiles", "sample_tiles"])
def test_the_library_does_not_know_the_command_line(package):
    assert [module for module, tree in MODULES.items() if package in outside(tree)] == []


def test_the_library_imports_itself_by_full_names():
    relative = [module for module, tree in MODULES.items() for node in ast.walk(tree) if getattr(node, "level", 0)]
    assert relative == []


def calls(tree):
    """What a tree calls, as it is written."""
    return {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}


def test_the_library_never_prints():
    assert [module for module, tree in MODULES.items() if "print" in calls(tree)] == []


OPENERS = {
    "raster.scene": "the one module that reads rasters",
    "raster.cog": "writes rasters, and reads back the class table that it wrote",
    "tasks.tile": "writes chips",
    "exports.raster_tiles": "writes tiles and GeoPackages",
    "data.geodatasets": "writes what a torchgeo dataset gives",
}


def test_one_module_reads_rasters():
    openers = {module for module, tree in MODULES.items() if {"rasterio.open", "rioxarray.open_rasterio"} & calls(tree)}
    assert openers == set(OPENERS)


def test_each_task_has_one_verb_and_the_package_hands_it_out():
    """`geounet.predict` is `geounet.tasks.predict.predict`, and so for each."""
    tasks = {module.removeprefix("tasks.") for module in MODULES if module.startswith("tasks.")}
    assert tasks <= set(geounet.__all__)
    assert [name for name in tasks if getattr(geounet, name).__module__ != f"geounet.tasks.{name}"] == []


def test_every_package_is_installed():
    """A wheel holds what pyproject.toml lists, and nothing else."""
    listed = tomllib.loads((FOLDER.parent / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    there = {".".join(("geounet", *path.parent.relative_to(FOLDER).parts)) for path in FOLDER.rglob("__init__.py")}
    assert {name for name in listed if name.split(".")[0] == "geounet"} == there
