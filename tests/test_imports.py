"""Imports flow one way, the library neither prints nor knows the command line, and one module opens rasters."""

import ast
from pathlib import Path

import pytest

import geounet

FOLDER = Path(geounet.__file__).parent
MODULES = {
    ".".join(path.relative_to(FOLDER).with_suffix("").parts): ast.parse(path.read_text(encoding="utf-8"))
    for path in sorted(FOLDER.rglob("*.py"))
    if path.name != "__init__.py"
}

# Lowest first; a module imports from lower layers only. `models` is one: its modules may import each other.
LAYERS = {
    "errors": {"errors"},
    "values": {"classes", "compiling", "devices", "ellipsoid", "grid", "outputs", "remote", "scores", "seeds"},
    "metrics": {"area_estimation", "boundary_metrics", "object_metrics", "pixel_metrics", "seam_quality"},
    "kernels": {
        "arcs", "basins", "bends", "boundary_weights", "burning", "instances", "morphology", "pieces", "scratch",
        "tracing",
    },
    "graphs": {"merging"},
    "rules over seams": {"holes", "sieve"},
    "outlines": {"rings"},
    "polygon files": {"formats", "styles"},
    "rasters and networks": {"scene", "models"},
    "places": {"identity", "placement"},
    "splits": {"coverage", "leaks", "splits", "stacking"},
    "labels": {"labels", "stac"},
    "pairs": {"pairing"},
    "footprints": {"footprints"},
    "chips that are planned and told of": {"chip_catalog", "chip_plan"},
    "sides of a comparison": {"sides"},
    "what feeds and runs networks": {"blending", "runtimes", "sampling", "symmetry"},
    "steps": {
        "augment", "clean", "cluster", "cog", "compatibility", "components", "evaluation", "ground", "inference",
        "loading", "measures", "polygons", "probe", "report", "statistics", "tile_store", "touching", "training",
        "vector_io", "zonal",
    },
    "training data": {"geodatasets", "training_data"},
    "what training leaves": {"training_log", "training_state"},
    "integers": {"quantization"},
    "choices and class rasters": {
        "attributes", "class_raster", "sample_evaluation", "simplify", "stitching", "tuning",
    },
    "samples shown": {"sample_sheet"},
    "streams": {"streaming"},
    "what is read of a raster": {"strips"},
    "plans": {"plan"},
    "provenance": {"provenance"},
    "orchestration": {"arrays", "chips", "describe", "predict", "rasterize", "vectorize"},
    "the sentence": {"segment"},
    "what a prediction is worth": {"assessment"},
    "a training looked back on": {"review"},
    "what pages are made of": {"charts", "markup"},
    "pages": {"evaluation_page", "training_page"},
    "training from files": {"learn"},
}  # fmt: skip
RANK = {module: rank for rank, modules in enumerate(LAYERS.values()) for module in modules}
EXCEPTIONS = {
    ("inference", "tile_store"): "a block's task writes its own chunk and record, so that no pixel travels",
}


def unit(module):
    """`models.unet` counts as `models`."""
    return module.split(".")[0]


def imported(tree):
    """Modules of geounet that a tree imports, within TYPE_CHECKING too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module == "geounet":
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module.startswith("geounet."):
            yield node.module.removeprefix("geounet.")
        elif isinstance(node, ast.Import):
            yield from (
                alias.name.removeprefix("geounet.") for alias in node.names if alias.name.startswith("geounet.")
            )


def imports():
    """Pairs of units: who imports, and what."""
    pairs = {(unit(module), unit(target)) for module, tree in MODULES.items() for target in imported(tree)}
    return {(importer, target) for importer, target in pairs if importer != target}


def test_every_module_has_its_layer():
    assert {unit(module) for module in MODULES} == set(RANK)


def test_every_import_goes_down_a_layer():
    against = sorted(pair for pair in imports() - set(EXCEPTIONS) if RANK[pair[1]] >= RANK[pair[0]])
    assert against == []


def test_the_exceptions_are_needed():
    assert set(EXCEPTIONS) <= imports()


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
    "scene": "the one module that reads rasters",
    "cog": "writes rasters, and reads back the class table that it wrote",
    "chips": "writes chips",
    "geodatasets": "writes what a torchgeo dataset gives",
}


def test_one_module_reads_rasters():
    openers = {module for module, tree in MODULES.items() if {"rasterio.open", "rioxarray.open_rasterio"} & calls(tree)}
    assert openers == set(OPENERS)
