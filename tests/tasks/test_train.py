"""Training from files to a model file, and back to a raster."""

from __future__ import annotations

import json
import math

import geopandas
import numpy as np
import pytest
import rasterio
import shapely
import torch
from affine import Affine
from safetensors import safe_open

from geounet.classes import LandClass
from geounet.errors import LabelError, ModelError, OutputError, SceneError
from geounet.models.losses import cross_entropy
from geounet.models.model_file import load_model, read_card
from geounet.tasks.predict import predict
from geounet.tasks.train import Recipe, Source, train
from geounet.training.augment import Augment
from geounet.training.loop import EpochResult, Schedule, Training, class_iou, confusion, validate
from geounet.training.state import state_path

pytestmark = pytest.mark.numerical

CLASSES = (LandClass(10, "dark", "#000080"), LandClass(70, "bright", "#f0e442"))
TINY = Recipe(
    depth=2, width=8, patch_size=32, batch_size=4, patches=32, precision="fp32", encoder=None, loader_workers=0
)

CPU = {"device": torch.device("cpu"), "dtype": torch.float32}


def write(path, array, *, crs="EPSG:32633", transform=None, nodata=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    with rasterio.open(
        path, "w", driver="GTiff", height=array.shape[1], width=array.shape[2], count=len(array), dtype=array.dtype,
        crs=crs, transform=transform or Affine(10, 0, 5e5, 0, -10, 5e6), nodata=nodata,
    ) as dataset:  # fmt: skip
        dataset.write(array)
    return path


def discs(seed, height=96, width=80):
    """Bright discs on dark ground, under noise: image (2, height, width) uint16, truth (height, width) bool."""
    random = np.random.default_rng(seed)
    rows, cols = np.mgrid[:height, :width]
    truth = np.zeros((height, width), bool)
    for _ in range(5):
        row, col, radius = random.integers(0, height), random.integers(0, width), random.integers(6, 14)
        truth |= (rows - row) ** 2 + (cols - col) ** 2 < radius**2
    image = 800 + 900 * truth + random.normal(0, 250, (2, height, width))
    return image.clip(1).astype(np.uint16), truth


@pytest.fixture
def folders(tmp_path):
    """Two training scenes and one for validation, each with a label raster of codes 10 and 70, paired by name."""
    for part, seeds in (("train", (1, 2)), ("val", (3,))):
        for seed in seeds:
            image, truth = discs(seed)
            place = Affine(10, 0, 5e5, 0, -10, 5e6 if part == "train" else 5.1e6)
            labels = np.where(truth, 70, 10).astype(np.uint8)[None]
            write(tmp_path / part / "images" / f"s{seed}.tif", image, transform=place)
            write(tmp_path / part / "labels" / f"s{seed}.tif", labels, transform=place)
    return tmp_path


def source(folder):
    return Source((folder / "images",), (folder / "labels",))


def test_training_learns_and_the_model_file_predicts(folders):
    """From folders to a model whose raster has the labels' own codes, and is right about most pixels."""
    results = []
    card = train(
        source(folders / "train"),
        folders / "m.safetensors",
        recipe=TINY,
        schedule=Schedule(8, learning_rate=5e-3),
        validation=source(folders / "val"),
        report=results.append,
    )
    assert [item.value for item in card.classes] == [10, 70]
    assert card.metrics["mean_iou"] == max(result.mean_iou for result in results) > 0.8
    assert results[0].mean_iou < card.metrics["mean_iou"]
    scene = folders / "val" / "images" / "s3.tif"
    predict(scene, folders / "m.safetensors", folders / "c.tif")
    with rasterio.open(folders / "c.tif") as raster, rasterio.open(folders / "val" / "labels" / "s3.tif") as labels:
        assert (raster.read(1) == labels.read(1)).mean() > 0.9


def test_the_state_is_not_older_than_the_best_model(folders, monkeypatch):
    """Or a training that goes on would take a lesser epoch for better; here no other state is written but the first."""
    monkeypatch.setattr("geounet.training.state._PAUSES", 1e9)

    def report(result):
        if result.epoch == 5:
            raise KeyboardInterrupt

    out, schedule = folders / "m.safetensors", Schedule(8, learning_rate=5e-3)
    with pytest.raises(KeyboardInterrupt):
        train(
            source(folders / "train"), out, recipe=TINY, schedule=schedule, validation=source(folders / "val"),
            report=report,
        )  # fmt: skip
    with safe_open(state_path(out), "pt") as file:
        history = json.loads(file.metadata()["geounet-training"])["history"]
    assert len(history) == read_card(out).metrics["epoch"] > 1


def test_the_model_file_holds_what_prediction_needs(folders):
    """Normalisation, bands, resolution, halo and stride are those of the training scenes and the network."""
    recipe = Recipe(**{**{name: getattr(TINY, name) for name in Recipe.__slots__}, "patches": 4})
    where = Source((folders / "train" / "images",), (folders / "train" / "labels",), bands=(2,))
    train(where, folders / "m.safetensors", recipe=recipe, schedule=Schedule(1), classes=CLASSES, command="train it")
    card = read_card(folders / "m.safetensors")
    pixels = np.concatenate([rasterio.open(path).read(2).ravel() for path in (folders / "train/images").glob("*.tif")])
    assert card.bands[0].mean == pytest.approx(pixels.mean(), rel=1e-6)
    assert card.bands[0].std == pytest.approx(pixels.std(), rel=1e-6)
    assert (card.bands[0].number, card.bands[0].minimum, card.bands[0].maximum) == (2, pixels.min(), pixels.max())
    assert (card.scene_bands, card.stride, card.classes, card.command) == (2, 4, CLASSES, "train it")
    assert card.halo % card.stride == 0
    assert card.resolution == pytest.approx(10, rel=1e-2)


def test_the_same_seed_gives_the_same_weights(folders):
    """Training is reproducible on CPU, and another seed gives another network."""
    weights = []
    for number, seed in enumerate((5, 5, 6)):
        recipe = Recipe(
            loader_workers=0, depth=1, width=4, patch_size=16, batch_size=2, patches=4, precision="fp32", seed=seed
        )
        torch.rand(number + 1)
        train(source(folders / "train"), folders / f"{number}.safetensors", recipe=recipe, schedule=Schedule(2))
        network, _ = load_model(folders / f"{number}.safetensors")
        weights.append(torch.cat([tensor.flatten().float() for tensor in network.state_dict().values()]))
    torch.testing.assert_close(weights[0], weights[1], rtol=0, atol=0)
    assert not torch.equal(weights[0], weights[2])


def test_validation_is_of_the_images_as_they_are(folders):
    """A network that learns nothing is worth the same, however its training patches are changed."""
    found = []
    for name, augment in (("plain", None), ("wild", Augment(noise=5.0, jitter=5.0))):
        recipe = Recipe(
            loader_workers=0, depth=1, width=4, norm="none", patch_size=16, batch_size=2, patches=4, augment=augment
        )
        train(
            source(folders / "train"),
            folders / f"{name}.safetensors",
            recipe=recipe,
            schedule=Schedule(1, learning_rate=0.0),
            validation=source(folders / "val"),
            report=found.append,
        )
    plain, wild = found
    assert plain.validation_loss == wild.validation_loss
    assert torch.equal(plain.matrix, wild.matrix)
    assert plain.loss != wild.loss


def test_polygon_labels_train_like_rasters(folders):
    """Polygons in another CRS, with class names: the ground outside them is left out, or is the background."""
    boxes = [shapely.box(5e5, 5e6 - 400, 5e5 + 400, 5e6), shapely.box(5e5 + 400, 5e6 - 960, 5e5 + 800, 5e6 - 500)]
    frame = geopandas.GeoDataFrame({"use": ["dark", "bright"]}, geometry=boxes, crs="EPSG:32633").to_crs("EPSG:4326")
    frame.to_file(folders / "labels.gpkg")
    where = Source((folders / "train" / "images",), (folders / "labels.gpkg",), label_field="use")
    recipe = Recipe(loader_workers=0, depth=1, width=4, patch_size=16, batch_size=2, patches=4)
    card = train(where, folders / "m.safetensors", recipe=recipe, schedule=Schedule(1), classes=CLASSES)
    assert card.classes == CLASSES


def test_nan_pixels_are_left_out_of_training_and_validation(tmp_path):
    """One image with holes, a quarter of it held back: statistics, loss and metrics stay finite."""
    image, truth = discs(4)
    holed = image.astype(np.float32)
    holed[:, 20:50, 10:60] = np.nan
    write(tmp_path / "images" / "a.tif", holed)
    write(tmp_path / "labels" / "a.tif", np.where(truth, 70, 10).astype(np.uint8)[None])
    recipe = Recipe(depth=1, width=4, patch_size=16, batch_size=2, patches=8, precision="fp32", val_fraction=0.25)
    card = train(source(tmp_path), tmp_path / "m.safetensors", recipe=recipe, schedule=Schedule(1))
    assert [band.mean for band in card.bands] == pytest.approx(np.nanmean(holed, axis=(1, 2)), rel=0.1)
    assert math.isfinite(card.metrics["loss"])
    assert card.metrics["mean_iou"] >= 0


def test_images_without_georeference(tmp_path):
    """PNG-like pictures of several sizes, smaller than a patch among them, train in pixel coordinates."""
    for seed, (height, width) in enumerate(((50, 41), (20, 90)), 1):
        image, truth = discs(seed, height, width)
        write(tmp_path / "images" / f"{seed}.tif", image, crs=None, transform=Affine.identity())
        labels = np.where(truth, 1, 0).astype(np.uint8)[None]
        write(tmp_path / "labels" / f"{seed}.tif", labels, crs=None, transform=Affine.identity())
    recipe = Recipe(loader_workers=0, depth=1, width=4, patch_size=32, batch_size=2, patches=4)
    card = train(source(tmp_path), tmp_path / "m.safetensors", recipe=recipe, schedule=Schedule(1))
    assert card.resolution is None


def test_the_time_budget_ends_training(folders):
    """--minutes stops within the epoch, and the model file is there."""
    results = []
    recipe = Recipe(loader_workers=0, depth=1, width=4, patch_size=16, batch_size=2, patches=10_000)
    train(
        source(folders / "train"), folders / "m.safetensors", recipe=recipe, schedule=Schedule(1000, minutes=0.02),
        report=results.append,
    )  # fmt: skip
    assert len(results) == 1
    assert results[0].progress == 1.0
    assert (folders / "m.safetensors").exists()


def test_an_existing_model_is_not_replaced_unless_asked(folders):
    """The output is checked before the work."""
    (folders / "m.safetensors").write_bytes(b"mine")
    with pytest.raises(OutputError, match=r"m\.safetensors exists"):
        train(source(folders / "train"), folders / "m.safetensors", recipe=TINY, schedule=Schedule(1))
    assert (folders / "m.safetensors").read_bytes() == b"mine"


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda folder: write(folder / "labels" / "s1.tif", np.full((1, 96, 80), 10, np.uint8)) and None, None, None),
        (lambda folder: [path.unlink() for path in (folder / "labels").iterdir()], LabelError, "holds no raster"),
        (
            lambda folder: [
                write(path.with_name(f"x{path.name}"), np.full((1, 9, 9), 10, np.uint8), crs=None) and path.unlink()
                for path in sorted((folder / "labels").iterdir())
            ],
            LabelError,
            "no image overlaps a label",
        ),
        (
            lambda folder: [
                write(path, np.full((1, 96, 80), 10, np.uint8), transform=Affine(10, 0, 9e5, 0, -10, 5e6))
                for path in (folder / "labels").iterdir()
            ],
            LabelError,
            "no image overlaps a label",
        ),
        (
            lambda folder: [write(path, np.full((1, 96, 80), 10, np.uint8)) for path in (folder / "labels").iterdir()],
            LabelError,
            "at least two classes",
        ),
        (lambda folder: (folder / "images" / "s1.tif").write_text("no raster"), SceneError, "s1.tif is not a raster"),
        (
            lambda folder: write(folder / "images" / "s1.tif", np.ones((3, 96, 80), np.uint16)),
            SceneError,
            r"have \[2, 3\] bands",
        ),
    ],
    ids=["one label of one class", "no labels", "other names", "elsewhere", "one class", "no raster", "other bands"],
)
def test_inputs_that_cannot_be_used_are_named(folders, change, error, message):
    """Each is one sentence, before any training, and no model file is left."""
    change(folders / "train")
    recipe = Recipe(loader_workers=0, depth=1, width=4, patch_size=16, batch_size=2, patches=4)
    if error is None:
        train(source(folders / "train"), folders / "m.safetensors", recipe=recipe, schedule=Schedule(1))
        return
    with pytest.raises(error, match=message):
        train(source(folders / "train"), folders / "m.safetensors", recipe=recipe, schedule=Schedule(1))
    assert not (folders / "m.safetensors").exists()


def test_a_loss_that_is_not_finite_stops_with_a_sentence():
    """A batch with NaN does not spoil the network in silence."""
    network = torch.nn.Conv2d(1, 2, 1)
    batch = {"image": torch.full((1, 1, 4, 4), math.nan), "mask": torch.zeros(1, 4, 4, dtype=torch.int64)}
    with pytest.raises(ModelError, match="loss became nan"):
        list(Training(network, cross_entropy, Schedule(1), **CPU).epochs(lambda _epoch: [batch]))


def test_the_learning_rate_rises_then_falls_to_nothing():
    """A linear warm-up from 0, the highest rate after it, half a cosine down to 0."""
    schedule = Schedule(10, learning_rate=1.0, warm_up=0.1)
    assert [schedule.rate(share) for share in (0, 0.05, 0.1, 0.55, 1)] == pytest.approx([0, 0.5, 1, 0.5, 0])


def test_confusion_and_iou_by_hand():
    """Rows are labels, columns predictions, ignored labels count nowhere, an absent class has no IoU."""
    labels = torch.tensor([[0, 0, 1], [1, 255, 1]])
    predicted = torch.tensor([[0, 1, 1], [1, 0, 0]])
    matrix = confusion(predicted, labels, 3)
    assert matrix.tolist() == [[1, 1, 0], [1, 2, 0], [0, 0, 0]]
    iou = class_iou(matrix).tolist()
    assert iou[:2] == pytest.approx([1 / 3, 2 / 4])
    assert math.isnan(iou[2])
    assert EpochResult(1, 0.0, matrix, 0.0, 1.0).mean_iou == pytest.approx((1 / 3 + 1 / 2) / 2)


def test_validation_counts_the_core_alone():
    """What a window reads around its core is context, not evidence."""
    batch = {
        "image": torch.zeros(1, 1, 8, 8),
        "mask": torch.zeros(1, 8, 8, dtype=torch.int64),
        "core": (slice(2, 6), slice(3, 5)),
    }
    matrix, _loss = validate(torch.nn.Conv2d(1, 2, 1), [batch], **CPU)
    assert int(matrix.sum()) == 8


def test_the_header_is_json_with_the_command(folders):
    """The header can be read without us: plain JSON in safetensors metadata."""
    from safetensors import safe_open

    recipe = Recipe(loader_workers=0, depth=1, width=4, patch_size=16, batch_size=2, patches=2)
    train(source(folders / "train"), folders / "m.safetensors", recipe=recipe, schedule=Schedule(1), command="here")
    with safe_open(folders / "m.safetensors", framework="pt") as file:
        header = json.loads(file.metadata()["geounet"])
    assert header["command"] == "here"
    assert {"geounet", "torch", "torchgeo", "python"} <= set(header["versions"])
