"""Each option of a command on a raster of several batches, bands of rows, tiles, blocks and windows: as on one of each.

Rasters of tests are small, so batches and bands are made small instead.
"""

from __future__ import annotations

import json
import shlex
import shutil

import click
import geopandas as gpd
import numpy as np
import pytest
import rasterio
import shapely
import torch
from click.testing import CliRunner
from geopandas.testing import assert_geodataframe_equal
from geounet_pipelines.main import cli
from made import make_product
from placed import corner_points, plane_rpcs, write_placed
from rasterio.enums import ColorInterp
from untrained import CLASSES, make_model, network_of

from geounet.formats import reading
from geounet.grid import Window
from geounet.models.encoders import Architecture
from geounet.outlines import polygons, streaming
from geounet.raster.cog import RasterProfile, write_cog

pytestmark = pytest.mark.long

NORTH_UP = rasterio.Affine(10, 0, 480_000, 0, -10, 5_430_000)
VECTOR_ENDINGS = ("gpkg", "parquet", "fgb", "geojson", "shp")
SIMPLIFYING = (("--simplify", "10"), ("--smooth",), ("--simplify", "15", "--smooth"))


def run(*args):
    result = CliRunner().invoke(cli, [str(arg) for arg in args], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture(scope="module")
def classes():
    """Three classes and nodata in blobs of some pixels, not square."""
    random = np.random.default_rng(3)
    coarse = random.choice([10, 20, 40, 255], (14, 19), p=[0.4, 0.3, 0.2, 0.1])
    return coarse.repeat(4, 0).repeat(5, 1).astype(np.uint8)


@pytest.fixture
def several(monkeypatch):
    """Makes batches of few polygons in bands of few rows."""

    def small():
        monkeypatch.setattr(streaming, "_BATCH", 5)
        monkeypatch.setattr("geounet.tasks.vectorize.BAND", 8)
        monkeypatch.setattr(reading.read_batches, "__defaults__", (None, 7))
        return ("--tile-size", "13")

    return small


def in_place_order(frame):
    """Rows in the order of their first pixel, without the ids that bands give."""
    boxes = shapely.bounds(frame.geometry.to_numpy())
    keys = np.lexsort((frame["perimeter_m" if "perimeter_m" in frame else "perim_m"], boxes[:, 1], boxes[:, 0]))
    return frame.drop(columns="id").iloc[keys].reset_index(drop=True)


@pytest.mark.parametrize("ending", VECTOR_ENDINGS)
@pytest.mark.parametrize("options", SIMPLIFYING)
def test_outlines_are_simplified_in_many_batches_as_in_one(tmp_path, write_scene, classes, several, options, ending):
    raster = write_scene(tmp_path / "c.tif", classes, nodata=255)
    run("vectorize", raster, "-o", tmp_path / f"one.{ending}", *options)
    run("vectorize", raster, "-o", tmp_path / f"many.{ending}", *options, *several())
    one, many = (gpd.read_file(tmp_path / f"{name}.{ending}") if ending != "parquet" else
                 gpd.read_parquet(tmp_path / f"{name}.{ending}") for name in ("one", "many"))  # fmt: skip
    assert len(many) > 20 > polygons.BAND / 100
    assert_geodataframe_equal(in_place_order(many), in_place_order(one), check_less_precise=True)


# --- each option of each command

TRAIN = "train s.tif --labels c.tif -o m2.safetensors --epochs 1 --patches 6 --batch-size 2 --patch-size 16 --depth 1"
OTHER = TRAIN.replace(" --depth 1", "")
DISTILL = "distill m.safetensors s.tif s2.tif -o m2.safetensors --epochs 1 --patches 6 --batch-size 2 --patch-size 16"
SCREENED = "--mask cl.tif --mask B08:5,6 --mask B02:bits:7 --mask-dilate 1 --aoi aoi.gpkg"
RUN = "run s.tif s2.tif -m m.safetensors -o out"
CASES = {
    "info": [
        "info s.tif -m m.safetensors --json",
        "info s.tif --nodata 3",
        "info gcp.tif --georeference gcp",
        "info rpc.tif --georeference rpc",
        "info rgba.tif -m m.safetensors --alpha-is-data --radiometry as-is",
        f"info s20.tif -m m.safetensors {SCREENED} --resolution model",
    ],
    "stack": [
        "stack s.tif s2.tif -o o.vrt --bands 1,3 --like c.tif --resampling bilinear",
        "stack s.tif k.tif -o o.vrt --overwrite",
        "stack pile -o o.vrt --pattern 's*.tif'",
    ],
    "tile": [
        "tile s.tif s2.tif -o chips --tile-size 32 --overlap 5 --nodata 3 --workers 2",
        (
            "tile s.tif s2.tif -o chips --labels p.gpkg --label-field class_name --classes c.csv --layer polygons "
            "--class-map map.csv --bands 4,1 --tile-size 16 --val-fraction 0.3 --test-fraction 0.2 --seed 3 --overwrite"
        ),
        "tile gcp.tif -o chips --georeference gcp --tile-size 40 --scheduler local",
        "tile rgba.tif -o chips --alpha-is-data --tile-size 40",
        f"tile pile -o chips --pattern 's*.tif' --tile-size 20 {SCREENED} --resolution 7",
    ],
    "train": [
        TRAIN,
        f"{TRAIN} --val s2.tif --val-labels c2.tif --allow-overlap --bands 1,4 --patience 2 --tensorboard tb",
        f"{TRAIN} --val-fraction 0.4 --allow-overlap --width 8 --norm group --upsampling bilinear --report r.html",
        (
            f"{TRAIN.replace('c.tif', 'p.gpkg')} --label-field class_name --class-map map.csv --layer polygons "
            "--all-touched --background 10 --classes c.csv --no-report"
        ),
        f"{TRAIN.replace('c.tif', 'n.tif')} --instances --boundary-weight 3 --boundary-sigma 4 --resume --overwrite",
        f"{OTHER} --size xs",
        f"{OTHER} --arch unet --encoder resnet18 --weights w.pt --freeze-encoder 1 --epochs 2 --patch-size 32",
        f"{TRAIN} --loss focal:1.5+0.5*tversky:0.3:0.7 --label-smoothing 0.1 --class-weights inverse --accumulate 2",
        f"{TRAIN} --balance equal --min-labelled 0.1 --normalization percentiles --optimizer adamw --seed 5",
        f"{TRAIN} --learning-rate 0.01 --weight-decay 0.1 --warm-up 0.2 --clip-norm 0 --ema 0.9 --device cpu",
        f"{TRAIN} --rotate 20 --scale 0.9,1.1 --jitter 0.2 --noise 0.1 --band-drop 0.3 --precision fp32",
        f"{TRAIN} --no-augment --loader-workers 2 --show-samples shown.png",
        f"{TRAIN} --minutes 0.02 --nodata 3".replace(" --epochs 1", ""),
        f"{TRAIN.replace('s.tif', 'gcp.tif').replace('c.tif', 'world.gpkg')} --georeference gcp",
        f"{TRAIN.replace('s.tif', 'rgba.tif')} --alpha-is-data",
        f"{TRAIN.replace('s.tif', 'pile')} --pattern 's.*' {SCREENED} --resolution 14",
    ],
    "distill": [
        f"{DISTILL} --teacher m.safetensors --tta --size xs --temperature 3 --val-fraction 0.4",
        f"{DISTILL} --arch unet --encoder resnet18 --patch-size 32 --answers kept --report r.html",
        f"{DISTILL} --labels c.tif --learning-rate 0.01 --seed 5 --device cpu --no-report --overwrite --resume",
        f"{DISTILL} --labels p.gpkg:polygons --label-field class_name --val-fraction 0 --nodata 3",
        f"{DISTILL} --rotate 20 --scale 0.9,1.1 --jitter 0.2 --noise 0.1 --band-drop 0.3 --radiometry as-is",
        f"{DISTILL.replace('s.tif s2.tif', 'gcp.tif')} --no-augment --minutes 0.02 --georeference gcp --val-fraction 0",
        f"{DISTILL.replace('s.tif s2.tif', 'rgba.tif')} --alpha-is-data --radiometry as-is --val-fraction 0",
        f"{DISTILL.replace('s.tif s2.tif', 'pile')} --pattern 's*.tif' {SCREENED} --resolution model --val-fraction 0",
    ],
    "predict": [
        "predict s.tif -m m.safetensors -o o.tif --confidence o2.tif --probabilities o3.tif",
        "predict s.tif -m m.safetensors -o o.tif --probabilities o3.tif --probabilities-dtype float16 --bands 1,2,3,4",
        "predict s.tif -m m.safetensors -o o.tif --bbox 480100,5429500,480700,5429900",
        "predict s.tif -m m.safetensors -o o.tif --bands 4,3,2,1 --force --radiometry as-is --nodata 3",
        "predict gcp.tif -m m.safetensors -o o.tif --georeference gcp",
        "predict rgba.tif -m m.safetensors -o o.tif --alpha-is-data --radiometry as-is",
        "predict s.tif -m m.safetensors -o o.tif --window-size 64 --halo 16 --device cpu --precision fp32",
        "predict s.tif -m m.safetensors -o o.tif --runtime torch --tta --overwrite",
        "predict s.tif -m m.safetensors -o o.tif --scheduler local --workers 2",
        f"predict s.tif -m m.safetensors -o o.tif --confidence o2.tif {SCREENED}",
        f"predict s20.tif -m m.safetensors -o o.tif {SCREENED} --resolution model",
    ],
    "clean": [
        "clean c.tif -o o.tif --majority 1",
        "clean c.tif -o o.tif --open 1 --close 2",
        "clean c.tif -o o.tif --sieve 30 --sieve-to largest --sieve-connectivity 8 --overwrite",
        "clean c.tif -o o.tif --fill-holes 60 --force",
        "clean c.tif -o o.tif --majority 1 --open 1 --close 1 --sieve 25 --fill-holes 30",
    ],
    "vectorize": [
        "vectorize c.tif -o o.gpkg --confidence k.tif --min-area 0.3",
        "vectorize c.tif -o o.fgb --stats s.tif --stats k.tif:1:mean,std,min,max,sum,count --connectivity 8",
        "vectorize c.tif -o o.gpkg --simplify 12 --stats s.tif:B02:max",
        "vectorize c.tif -o o.shp --smooth --overwrite",
        "vectorize c.tif -o o.gpkg --split-touching --boundary-class 10",
        "vectorize c.tif -o o.gpkg --split-touching --boundary q.tif:3 --rise 0.3 --simplify 15",
        (
            "vectorize c.tif -o o.parquet --fiboa demo --split-touching --boundary-class 10 --field-class 30 "
            "--observed 2026-05-01"
        ),
        "vectorize c.tif -o o.geojson --force",
    ],
    "rasterize": [
        "rasterize p.gpkg --like s.tif -o o.tif --attribute class_name --classes c.csv --layer polygons",
        "rasterize p.gpkg:polygons --like s.tif -o o.tif --class-map map.csv --label-field class_name --background 1",
        "rasterize world.gpkg --like s.tif -o o.tif --all-touched --overwrite",
    ],
    "evaluate": [
        "evaluate c.tif c2.tif --json o.json --html o.html --boundary 3 --objects --class 10 --areas",
        (
            "evaluate c.tif p.gpkg --json o.json --field class_name --classes c.csv --class-map map.csv "
            "--layer polygons --all-touched --overwrite"
        ),
        "evaluate p.gpkg:polygons world.gpkg --json o.json --resolution 7",
        "evaluate c.tif points.gpkg --json o.json --strata c2.tif --seams 16 --seam-offset 3 --force",
    ],
    "run": [
        f"{RUN} --format gpkg --min-area 0.3 --simplify 12 --smooth --majority 1 --open 1 --close 1",
        f"{RUN} --format fgb --sieve 25 --sieve-to largest --sieve-connectivity 8 --fill-holes 30 --nodata 3",
        f"{RUN} --format geojson --boundary-class 10 --bbox 480100,5429500,480700,5429900 --overwrite",
        f"{RUN} --bands 4,3,2,1 --force --radiometry as-is --window-size 64 --halo 16 --device cpu",
        f"{RUN} --runtime torch --precision fp32 --tta --scheduler local --changed skip --on-error stop --retries 0",
        f"{RUN} --dry-run",
        f"{RUN.replace('s.tif s2.tif', 'gcp.tif')} --georeference gcp",
        f"{RUN.replace('s.tif s2.tif', 'rgba.tif')} --alpha-is-data --radiometry as-is",
        f"{RUN.replace('s.tif s2.tif', 'pile')} --pattern 's*.tif' {SCREENED} --resolution 11",
    ],
    "status": ["status made --json"],
    "mosaic": [
        "mosaic made -o o.tif --confidence o2.tif --polygons o.gpkg --prefer vote --min-area 0.2 --simplify 9 --smooth",
        (
            "mosaic made/a made/b -o o.tif --polygons o.parquet --crs EPSG:32632 --resolution 12 --workers 2 "
            "--fiboa it --field-class 10 --observed 2020-07-01 --overwrite"
        ),
    ],
    "change": [
        "change made/a c2.tif -o out --min-confidence 0.3 --tolerance 1 --min-area 0.02 --format gpkg --workers 2",
        "change c.tif c2.tif -o out --confidence k.tif k.tif --sample changes.gpkg --min-confidence 0",
        "change c.tif c2.tif -o out --probabilities chances.tif chances.tif --min-confidence 0.4 --overwrite",
    ],
    "monitor": [
        "monitor --example",
        "monitor job.toml --check",
        "monitor job.toml --dry-run --json",
        "monitor job.toml --date-pattern s_%Y%m%d --exit-code",
        "monitor done.toml --replay",
        "monitor done.toml --status",
    ],
    "export": [
        "export made -o o.gpkg --layer polygons --layer classes --crs EPSG:3035 --overwrite",
        "export made/a made/b/item.json -o o.geojson",
        "export c.tif v.gpkg -o o.parquet",
        "export made -o o.pmtiles --min-zoom 9 --max-zoom 13",
        "export c.tif -o o.mbtiles --layer classes",
        "export made -o o.qgz",
    ],
    "report": ["report made/a -o o.html", "report made -o o.html --overwrite", "report c.tif -o o.html"],
    "models list": ["models list --json"],
    "completion": ["completion bash", "completion zsh", "completion fish"],
    "models show": ["models show m.safetensors --json"],
    "models verify": ["models verify m.safetensors"],
    "models import": [
        (
            "models import w.pt -o o.safetensors --arch unet --encoder resnet18 --bands 1,2,3,4 --band-names a,b,c,d "
            "--classes c.csv --mean 100 --std 40 --resolution 10 --dtype uint16 --scene-bands 6 --overwrite"
        ),
        "models import traced.pt -o o.safetensors --arch unet --encoder resnet18 --mean 0 --std 1 --trust",
    ],
    "models quantize": [
        f"models quantize copy.safetensors pile --pattern 's*.tif' {SCREENED} --resolution model",
        "models quantize copy.safetensors s.tif s2.tif --overwrite --nodata 3 --radiometry as-is",
        "models quantize copy.safetensors rgba.tif --alpha-is-data --radiometry as-is",
        "models quantize copy.safetensors gcp.tif --georeference gcp",
    ],
    "models export": ["models export m.safetensors -o o.onnx --window-size 64 --overwrite"],
    "demo": ["demo -o shown --overwrite"],
}
SEVERAL = {"predict": "--tile-size 32", "clean": "--tile-size 13", "vectorize": "--tile-size 13",
           "rasterize": "--tile-size 13", "run": "--tile-size 32 --workers 1", "mosaic": "--tile-size 13",
           "change": "--tile-size 13", "export": ""}  # fmt: skip
"""What makes blocks small, where a command has an option for it; bands and batches are small besides."""
PLAIN = {"photometric": "MINISBLACK", "alpha": "UNSPECIFIED"}
"""Else a fourth band of bytes would be alpha."""
PLAIN_TABLES = {"index.parquet", "timeline.parquet", "transitions.parquet", "items.parquet"}
EVERYWHERE = {"--help", "--quiet", "--verbose"}
TABLES = {"--append", "--replace", "--upsert"}
"""Tried with a database, in tests/exports/test_postgis.py."""
SEARCH = {"--stac-api", "--collection", "--datetime", "--max-cloud", "--limit"}
"""Tried with a server, in tests/sources/test_search.py; and so is --bbox where it is only theirs."""


def commands(group=cli, prefix=""):
    """Names of all commands, with their Click commands."""
    with click.Context(group) as context:
        for name in group.list_commands(context):
            command = group.get_command(context, name)
            if isinstance(command, click.Group):
                yield from commands(command, f"{prefix}{name} ")
            else:
                yield prefix + name, command


@pytest.mark.parametrize(("name", "command"), list(commands()))
def test_no_option_of_a_command_is_left_out_here(name, command):
    """An option that is added must be tried below, on several of everything."""
    given = {word for case in [*CASES[name], SEVERAL.get(name, "")] for word in shlex.split(case)} | EVERYWHERE
    options = [param for param in command.params if isinstance(param, click.Option)]
    missing = {param.opts[0] for param in options if not given & {*param.opts, *param.secondary_opts}}
    assert missing <= (
        SEARCH | TABLES | ({"--bbox"} if name in ("info", "stack", "tile", "train", "distill") else set())
    )


@pytest.fixture(scope="module")
def ground(tmp_path_factory, write_scene, classes):
    """Scenes, a model, class rasters and polygons of one place and its neighbour."""
    folder = tmp_path_factory.mktemp("ground")
    random, names = np.random.default_rng(1), ("B02", "B03", "B04", "B08")
    values = random.integers(1, 250, (4, *classes.shape)).astype(np.uint8)
    values[:, :9, :20] = 3
    codes = np.choose(np.searchsorted([10, 20, 40, 255], classes), [10, 30, 254, 255]).astype(np.uint8)
    write_scene(folder / "s.tif", values, descriptions=names, **PLAIN)
    write_scene(folder / "s2.tif", values[:, ::-1], descriptions=names, **PLAIN)
    profile = RasterProfile(*codes.shape, NORTH_UP, "EPSG:32633", "uint8", 255, CLASSES)
    write_cog(folder / "c.tif", profile, [(Window(0, 0, *codes.shape), codes[None])])
    write_scene(folder / "c2.tif", np.roll(codes, 3, axis=1), nodata=255)
    write_scene(
        folder / "n.tif",
        np.where(codes == 255, 0, np.arange(codes.size).reshape(codes.shape) // 50 + 1).astype(np.uint16),
    )
    write_scene(
        folder / "k.tif",
        random.integers(0, 255, codes.shape).astype(np.uint8),
        descriptions=["confidence"],
        scales=[1 / 254],
    )
    shares = random.integers(0, 85, (3, *codes.shape)).astype(np.uint8)
    write_scene(folder / "q.tif", shares, descriptions=["a", "b", "c"], scales=[1 / 254] * 3)
    write_scene(folder / "chances.tif", shares, descriptions=[c.name for c in CLASSES], scales=[1 / 254] * 3)
    colors = (ColorInterp.red, ColorInterp.green, ColorInterp.blue, ColorInterp.alpha)
    write_scene(folder / "rgba.tif", values, colorinterp=colors, photometric="RGB")
    placed_scenes(folder, values)
    write_scene(
        folder / "s20.tif", values[:, ::2, :94:2], descriptions=names, transform=NORTH_UP * NORTH_UP.scale(2), **PLAIN
    )
    write_scene(folder / "cl.tif", (random.random((values.shape[1], values.shape[2])) < 0.01).astype(np.uint8))
    area = shapely.Polygon([(480_010, 5_429_995), (480_900, 5_429_800), (480_500, 5_429_460), (480_120, 5_429_500)])
    gpd.GeoDataFrame(geometry=[area], crs="EPSG:32633").to_crs(4326).to_file(folder / "aoi.gpkg")
    (folder / "pile").mkdir()
    for name in ("s.tif", "s2.tif", "k.tif"):
        shutil.copy(folder / name, folder / "pile" / name)
    make_model(folder / "m.safetensors", 4, names=names, depth=1)
    (folder / "c.csv").write_text("value,name,color\n" + "".join(f"{c.value},{c.name},{c.color}\n" for c in CLASSES))
    (folder / "map.csv").write_text("from,to\n" + "".join(f"{c.name},{c.value}\n" for c in CLASSES))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        frame_files(folder)
    for number, name in enumerate("ab"):
        make_product(
            folder / "made" / name, codes[:, 20 * number :], transform=NORTH_UP * NORTH_UP.translation(20 * number, 0)
        )
    (folder / "made" / "summary.json").write_text(json.dumps({"scenes": [], "state": "finished"}))
    (folder / "dated").mkdir()
    for number, name in enumerate(("s.tif", "s2.tif"), 1):
        shutil.copy(folder / name, folder / "dated" / f"s_2024010{number}.tif")
    for name in ("job", "done"):
        text = f'name = "{name}"\nout = "{name}_state"\n[source]\npath = "dated"\n[model]\nfile = "m.safetensors"\n'
        (folder / f"{name}.toml").write_text(text)
    run("monitor", folder / "done.toml")
    network = network_of(Architecture(4, 3, "unet", "resnet18"))
    torch.save(network.state_dict(), folder / "w.pt")
    torch.jit.trace(network, torch.zeros(1, 4, 64, 64)).save(folder / "traced.pt")
    return folder


def placed_scenes(folder, values):
    """The scene by control points and by coefficients."""
    _, height, width = values.shape
    points = corner_points(height, width, lambda row, col: (480_000 + 10 * col + row, 5_430_000 - 10 * row))
    write_placed(folder / "gcp.tif", values, gcps=points, crs="EPSG:32633", **PLAIN)
    rpcs = plane_rpcs(height, width, latitude=49, longitude=15, half=(0.004, 0.006))
    write_placed(folder / "rpc.tif", values, rpcs=rpcs, **PLAIN)


def frame_files(folder):
    """Polygons of the classes, in two layers, in degrees, and points with a class."""
    run("vectorize", "c.tif", "-o", "v.gpkg")
    frame = gpd.read_file("v.gpkg")
    named = {c.value: c.name for c in CLASSES}
    frame["class_name"] = frame["class"].map(named)
    frame[["class", "class_name", "geometry"]].to_file("p.gpkg", layer="polygons")
    frame.head(3)[["class", "geometry"]].to_file("p.gpkg", layer="others")
    frame[["class", "geometry"]].to_crs(4326).to_file("world.gpkg")
    points = frame.set_geometry(frame.representative_point())[["class", "geometry"]]
    points.to_file("points.gpkg")
    names = frame["class_name"].to_numpy()
    points[["geometry"]].assign(**{"from": names, "to": np.roll(names, 1)}).to_file("changes.gpkg")


def contents(folder, given):
    """All outputs of a folder, but what was given, by their names, as what can be compared."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.name in given:
            continue
        if path.suffix in (".tif", ".vrt"):
            with rasterio.open(path) as file:
                found[path.relative_to(folder)] = file.read().tolist()
        elif path.suffix in (".gpkg", ".fgb", ".shp", ".geojson", ".parquet") and path.name not in PLAIN_TABLES:
            frame = gpd.read_parquet(path) if path.suffix == ".parquet" else gpd.read_file(path)
            frame = frame.drop(columns=["id"], errors="ignore")
            found[path.relative_to(folder)] = sorted(
                (shapely.normalize(shape).wkb_hex, *(str(value)[:12] for value in row))
                for shape, *row in zip(frame.geometry, *(frame[name] for name in frame.columns[:-1]), strict=True)
            )
        elif path.suffix == ".json":
            found[path.relative_to(folder)] = sorted(json.loads(path.read_text()))
        elif path.is_file() and not path.name.startswith("."):
            found[path.relative_to(folder)] = path.stat().st_size > 0
    return found


@pytest.mark.parametrize(
    ("name", "index"), [(name, index) for name, cases in CASES.items() for index in range(len(cases))]
)
def test_each_option_on_several_of_everything_as_on_one(tmp_path, monkeypatch, ground, several, name, index):
    """Once with all in one piece, once with small blocks, bands and batches: the same outputs, and no trouble."""
    found, case = [], CASES[name][index]
    for pieces in (False, True):
        folder = tmp_path / str(pieces)
        folder.mkdir()
        for source in ground.iterdir():
            (folder / source.name).symlink_to(source)
        before = {path.name for path in ground.iterdir()}
        # Beside a model is written what belongs to it.
        shutil.copy(ground / "m.safetensors", folder / "copy.safetensors")
        before.add("copy.safetensors")
        monkeypatch.chdir(folder)
        if pieces:
            several()
        run(*shlex.split(case), *(shlex.split(SEVERAL.get(name, "")) if pieces else ()))
        found.append(contents(folder, before))
        if name not in SEVERAL:
            break
    # An untrained model sees no change.
    assert all(value for name, value in found[0].items() if name.stem != "events")
    assert found[0] == found[-1]
    expected = {word for word in shlex.split(case) if word.startswith(("o.", "o2.", "o3."))}
    assert expected <= {str(path) for path in found[0]}
