"""A student learns what its teachers say, from scenes that nobody labelled."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import rasterio
import torch
from affine import Affine
from click.testing import CliRunner
from geounet_pipelines.main import cli
from safetensors.torch import load_file

import geounet
from geounet.classes import LandClass
from geounet.data.labels import Pair
from geounet.data.sampling import SceneDataset
from geounet.data.taught import TaughtDataset
from geounet.errors import GeounetError, ModelError
from geounet.grid import Window
from geounet.models.losses import distillation
from geounet.models.model_file import fingerprint, load_model, read_card, save_model
from geounet.raster.scene import load_scene
from geounet.tasks import distill as module
from geounet.tasks.distill import distill
from geounet.tasks.predict import predict
from geounet.tasks.train import Source, train
from geounet.training.augment import Augment
from geounet.training.loop import Schedule
from geounet.training.recipe import Recipe

pytestmark = pytest.mark.numerical

CLASSES = (LandClass(10, "dark", "#000080"), LandClass(70, "bright", "#f0e442"))
SMALL = {"patch_size": 48, "batch_size": 4, "patches": 32, "precision": "fp32", "loader_workers": 0}
STUDENT = Recipe(size="xs", val_fraction=0.25, **SMALL)
SHORT = Schedule(epochs=4, learning_rate=5e-3)


def write(path, array, place, *, nodata=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    with rasterio.open(
        path, "w", driver="GTiff", height=array.shape[1], width=array.shape[2], count=len(array), dtype=array.dtype,
        crs="EPSG:32633", transform=Affine(10, 0, 5e5 + 1e4 * place, 0, -10, 5e6), nodata=nodata,
    ) as dataset:  # fmt: skip
        dataset.write(array)
    return path


def discs(seed, height=160, width=144):
    """Bright discs on dark ground, under noise: image (2, height, width) uint16, truth (height, width) bool."""
    random = np.random.default_rng(seed)
    rows, cols = np.mgrid[:height, :width]
    truth = np.zeros((height, width), bool)
    for _ in range(12):
        row, col, radius = random.integers(0, height), random.integers(0, width), random.integers(8, 20)
        truth |= (rows - row) ** 2 + (cols - col) ** 2 < radius**2
    image = 800 + 900 * truth + random.normal(0, 250, (2, height, width))
    return image.clip(1).astype(np.uint16), truth


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Two teachers, five scenes without labels, one of them with a hole, and labels of two of them."""
    folder = tmp_path_factory.mktemp("distill")
    for seed in range(5):
        image, truth = discs(seed)
        if seed == 1:
            image[:, 40:60, 30:90] = 0
        write(folder / "scenes" / f"s{seed}.tif", image, seed, nodata=0)
        if seed < 2:
            write(folder / "labels" / f"s{seed}.tif", np.where(truth, 70, 10).astype(np.uint8)[None], seed)
    for number in (10, 11):
        image, truth = discs(number)
        write(folder / f"t{number}" / "image.tif", image, number, nodata=0)
        write(folder / f"t{number}" / "label.tif", np.where(truth, 70, 10).astype(np.uint8)[None], number)
        train(
            Source((folder / f"t{number}/image.tif",), (folder / f"t{number}/label.tif",)),
            folder / f"teacher{number}.safetensors",
            recipe=Recipe(depth=2, width=8, seed=number, **SMALL),
            schedule=Schedule(epochs=4, learning_rate=5e-3),
            classes=CLASSES,
        )
    return folder


@pytest.fixture
def teachers(place):
    return place / "teacher10.safetensors", place / "teacher11.safetensors"


def scenes(place):
    return [str(path) for path in sorted((place / "scenes").glob("*.tif"))]


def values(path):
    with rasterio.open(path) as raster:
        return raster.read()


def test_a_student_agrees_with_its_teacher_without_a_label(tmp_path, place, teachers):
    out, page = tmp_path / "student.safetensors", tmp_path / "page.html"
    card = distill(teachers[:1], scenes(place), out, recipe=STUDENT, schedule=Schedule(epochs=12, learning_rate=5e-3),
                   page=page)  # fmt: skip
    teacher = read_card(teachers[0])
    assert card.bands == teacher.bands
    assert card.classes == teacher.classes
    assert card.architecture.arch == "subpixel-unet"
    assert card.teachers == ({"name": teachers[0].name, "sha256": fingerprint(teachers[0])},)
    assert read_card(out) == card
    assert card.metrics["mean_iou"] > 0.7
    # On a scene that neither has seen.
    unseen = write(tmp_path / "unseen.tif", discs(99)[0], 99, nodata=0)
    for name, model in (("student", out), ("teacher", teachers[0])):
        predict(unseen, model, tmp_path / f"{name}.tif")
    agreed = values(tmp_path / "student.tif") == values(tmp_path / "teacher.tif")
    assert agreed.mean() > 0.9
    assert not (tmp_path / "student.safetensors.answers").exists()
    text = page.read_text(encoding="utf-8")
    for words in ("Agreement by class", "as fast as the teachers", "Where they differ most", teachers[0].name):
        assert words in text
    assert "Both beside the labels" not in text


def test_teachers_are_asked_once_and_their_answers_are_what_they_predict(tmp_path, place, teachers):
    kept, names = tmp_path / "answers", scenes(place)[:2]
    stamps = []
    for number in range(2):
        out, schedule = tmp_path / f"{number}.safetensors", Schedule(epochs=1 + number)
        distill(teachers[:1], names, out, recipe=STUDENT, schedule=schedule, answers=kept)
        stamps.append({path: path.stat().st_mtime_ns for path in kept.rglob("*.tif")})
    assert len(stamps[0]) == 2 * len(names)
    assert stamps[0] == stamps[1]
    predict(names[1], teachers[0], tmp_path / "c.tif", probabilities=tmp_path / "p.tif")
    found = {values(path).tobytes() for path in kept.rglob("probabilities.tif")}
    assert values(tmp_path / "p.tif").tobytes() in found


def test_of_several_teachers_the_mean_is_learnt(tmp_path, place, teachers, monkeypatch):
    """Piece by piece, with several pieces a scene, and a hole that both have."""
    monkeypatch.setattr(module, "_PIECE", 50)
    kept, name = tmp_path / "answers", scenes(place)[1]
    card = distill(teachers, [name, scenes(place)[0]], tmp_path / "s.safetensors", recipe=STUDENT,
                   schedule=Schedule(epochs=1), answers=kept)  # fmt: skip
    assert [teacher["name"] for teacher in card.teachers] == [path.name for path in teachers]
    singles = []
    for number, teacher in enumerate(teachers):
        predict(name, teacher, tmp_path / f"c{number}.tif", probabilities=tmp_path / f"p{number}.tif")
        singles.append(values(tmp_path / f"p{number}.tif"))
    hole = singles[0][0] == 255
    assert hole.sum() == 20 * 60
    expected = np.rint(np.mean([np.float32(part) for part in singles], axis=0))
    means = [values(path / "probabilities.tif") for path in kept.glob("mean-*")]
    [mean] = [part for part in means if (part[0] == 255).any()]
    np.testing.assert_array_equal(mean[:, hole], 255)
    assert np.abs(mean[:, ~hole].astype(int) - expected[:, ~hole]).max() <= 1
    classes = [values(path / "classes.tif")[0] for path in kept.glob("mean-*")]
    [winners] = [part for part in classes if (part == 255).any()]
    np.testing.assert_array_equal(winners, np.where(hole, 255, np.array([10, 70])[mean.argmax(0)]))
    assert not np.array_equal(singles[0], singles[1])


def test_labels_count_where_people_made_them_and_the_page_compares_with_them(tmp_path, place, teachers):
    page, recipe = tmp_path / "page.html", Recipe(size="xs", val_fraction=0.6, **SMALL)
    how = {"recipe": recipe, "schedule": Schedule(epochs=1), "labels": (place / "labels",), "page": page}
    distill(teachers[:1], scenes(place), tmp_path / "s.safetensors", **how)
    assert "Both beside the labels" in page.read_text(encoding="utf-8")


def test_samples_hold_answers_on_the_image_s_pixels_and_labels_of_labelled_scenes_alone(tmp_path, place, teachers):
    names = scenes(place)[:2]
    answers, pairs = [], []
    for number, name in enumerate(names):
        out, told = tmp_path / f"{number}.tif", tmp_path / f"p{number}.tif"
        predict(name, teachers[0], out, probabilities=told)
        answers.append(load_scene(told))
        pairs.append(
            Pair(load_scene(name), load_scene(place / "labels" / f"s{number}.tif"), region=Window(0, 0, 160, 100))
        )
    images = SceneDataset(pairs, [0.0, 0.0], [1.0, 1.0], [10, 70])
    taught = TaughtDataset(images, answers, labelled={1})
    for number in range(2):
        sample = taught[images.query(number, Window(-20, 30, 90, 90))]
        assert sample["soft"].shape == (2, 90, 90)
        told = values(tmp_path / f"p{number}.tif")[:, :70, 30:100].astype(np.float32)
        inside = sample["soft"][:, 20:, :70].numpy()
        valid = sample["valid"][20:, :70].numpy()
        np.testing.assert_array_equal(valid, told[0] != 255)
        np.testing.assert_allclose(inside[:, valid], told[:, valid] / 254, atol=1e-6)
        # Beyond the region there is its mirror image, of the answers as of the image.
        assert torch.equal(sample["soft"][:, :20], sample["soft"][:, 21:41].flip(1))
        labelled = sample["mask"][20:, :70].numpy()
        assert ((labelled == 255).all()) == (number == 0)
    assert not valid.all()


def test_answers_are_flipped_and_turned_with_the_image_and_keep_their_values():
    generator = torch.Generator()
    image, mask = torch.rand(2, 24, 30), torch.zeros(24, 30, dtype=torch.int64)
    plain, changed = Augment(jitter=0.0, noise=0.0), Augment(jitter=0.5, noise=0.5, band_drop=1.0)
    patches = [(torch.cat((image, image)), mask, None)] * 5
    together, _ = plain.changed(patches, 5, generator.manual_seed(1), planes=2)
    assert torch.equal(together[:, :2], together[:, 2:])
    assert any(not torch.equal(part[:2], image) for part in together)
    noisy, _ = changed.changed(patches, 5, generator.manual_seed(1), planes=2)
    assert torch.equal(noisy[:, 2:], together[:, 2:])
    assert not torch.equal(noisy[:, :2], together[:, :2])


def test_the_loss_is_the_divergence_of_softened_probabilities_weighed_by_confidence():
    torch.manual_seed(0)
    logits, teacher = torch.randn(2, 3, 5, 4, requires_grad=True), torch.randn(2, 3, 5, 4)
    soft = teacher.softmax(1)
    for temperature in (1.0, 3.0):
        ours, theirs = (values / temperature for values in (logits, teacher))
        divergence = (theirs.softmax(1) * (theirs.log_softmax(1) - ours.log_softmax(1))).sum(1)
        weights = soft.amax(1)
        expected = temperature**2 * (divergence * weights).sum() / weights.sum()
        torch.testing.assert_close(distillation(logits, soft, temperature), expected)
        assert distillation(teacher, soft, temperature).abs() < 1e-5
    hidden = soft.clone()
    hidden[:, :, 2:] = 0
    torch.testing.assert_close(distillation(logits, hidden), distillation(logits[:, :, :2], soft[:, :, :2]))
    value = distillation(logits, torch.zeros_like(soft))
    value.backward()
    assert value == 0
    assert not logits.grad.any()


def test_pixels_that_may_be_of_a_rare_class_count_more_by_the_classes_weights():
    torch.manual_seed(0)
    logits, soft = torch.randn(2, 3, 5, 4), torch.randn(2, 3, 5, 4).softmax(1)
    weights = torch.tensor([0.2, 0.8, 5.0])
    divergence = (soft * (soft.log() - logits.log_softmax(1))).sum(1)
    pixels = soft.amax(1) * (0.2 * soft[:, 0] + 0.8 * soft[:, 1] + 5 * soft[:, 2])
    torch.testing.assert_close(distillation(logits, soft, weights=weights), (divergence * pixels).sum() / pixels.sum())
    torch.testing.assert_close(distillation(logits, soft, weights=torch.ones(3)), distillation(logits, soft))


def test_an_interrupted_student_goes_on_to_the_same_bits(tmp_path, place, teachers):
    whole, part = tmp_path / "whole.safetensors", tmp_path / "part.safetensors"
    how = {"recipe": STUDENT, "schedule": SHORT}
    distill(teachers[:1], scenes(place), whole, **how)

    def stop(result):
        if result.epoch == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        distill(teachers[:1], scenes(place), part, report=stop, **how)
    assert (tmp_path / "part.safetensors.answers").is_dir()
    distill(teachers[:1], scenes(place), part, resume=True, **how)
    found, expected = load_file(part), load_file(whole)
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert not (tmp_path / "part.safetensors.answers").exists()


def test_what_cannot_be_learnt_from_is_one_sentence(tmp_path, place, teachers):
    network, card = load_model(teachers[0])
    other = tmp_path / "other.safetensors"
    save_model(other, network, replace(card, classes=(CLASSES[1], CLASSES[0])))
    how = {"recipe": STUDENT, "schedule": SHORT}
    with pytest.raises(ModelError, match=r"has the classes 70, 10, and .* has 10, 70"):
        distill([teachers[0], other], scenes(place), tmp_path / "s.safetensors", **how)
    with pytest.raises(ModelError, match="temperature is above 0; given -1"):
        distill(teachers[:1], scenes(place), tmp_path / "s.safetensors", temperature=-1, **how)
    with pytest.raises(ModelError, match="needs a teacher"):
        distill([], scenes(place), tmp_path / "s.safetensors", **how)
    with pytest.raises(GeounetError, match=r"nothing\.tif"):
        distill(teachers[:1], [str(tmp_path / "nothing.tif")], tmp_path / "s.safetensors", **how)
    assert [path.name for path in tmp_path.iterdir() if path.name != "other.safetensors"] == []


def test_by_command_and_by_verb(tmp_path, place, teachers):
    out = tmp_path / "student.safetensors"
    words = [
        "distill", teachers[0], place / "scenes", "-o", out, "--teacher", teachers[1], "--size", "xs", "--epochs", 1,
        "--patch-size", 48, "--patches", 16, "--labels", place / "labels", "--val-fraction", 0.2, "--tta",
    ]  # fmt: skip
    done = CliRunner().invoke(cli, [str(word) for word in words], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert "asked about 5 of 5 scenes" in done.output
    assert out.with_suffix(".html").exists()
    assert len(read_card(out).teachers) == 2
    card = geounet.distill(
        [str(teachers[0])], scenes(place), str(tmp_path / "verb.safetensors"), size="xs", epochs=1, patch_size=48,
        patches=8, val_fraction=0.2,
    )  # fmt: skip
    assert card.architecture == read_card(out).architecture


def test_the_page_is_of_the_epoch_that_was_kept(tmp_path, place, teachers, monkeypatch):
    """Not of the last one: here the first of two is best, for a rate without bounds spoils the second."""
    seen = []
    judged = module.judge
    monkeypatch.setattr(module, "judge", lambda student, *rest: seen.append(student) or judged(student, *rest))
    out = tmp_path / "s.safetensors"
    distill(teachers[:1], scenes(place), out, recipe=STUDENT, schedule=Schedule(epochs=2, learning_rate=50.0),
            page=tmp_path / "page.html")  # fmt: skip
    assert all(torch.equal(value, load_file(out)[name]) for name, value in seen[0].state_dict().items())


def test_scenes_without_labels_are_counted_and_not_called_left_out(tmp_path, place, teachers, caplog):
    distill(teachers[:1], scenes(place), tmp_path / "s.safetensors", recipe=STUDENT, schedule=Schedule(epochs=1),
            labels=(place / "labels",))  # fmt: skip
    told = [record.message for record in caplog.records if record.name.startswith("geounet")]
    assert [line for line in told if line.startswith("2 of 5 scenes have labels")]
    assert not any("is left out" in line for line in told)


def test_two_networks_are_told_before_a_teacher_is_asked(tmp_path, place, teachers):
    with pytest.raises(ModelError, match="a size and width ask"):
        distill(teachers[:1], scenes(place), tmp_path / "s.safetensors", recipe=Recipe(size="s", width=8, **SMALL),
                schedule=SHORT)  # fmt: skip
    assert list(tmp_path.iterdir()) == []
