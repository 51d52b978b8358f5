"""A user's torchgeo dataset trains like files: the same pixels, labels and places."""

import numpy as np
import pytest
import rasterio
import torch
from affine import Affine
from torchgeo.datasets import RasterDataset

from geounet.data.geodatasets import DatasetSource
from geounet.data.labels import read_codes
from geounet.errors import SceneError
from geounet.models.model_file import read_card
from geounet.raster.scene import opened, read
from geounet.tasks.train import Recipe, train
from geounet.training.loop import Schedule

NORTH_UP = Affine(10, 0, 480_000, 0, -10, 5_430_000)


class Images(RasterDataset):
    filename_glob = "image_*.tif"
    all_bands = ("blue", "nir")


class Labels(RasterDataset):
    filename_glob = "label_*.tif"
    is_image = False


@pytest.fixture
def folder(tmp_path, write_scene):
    """Two images of different places, and labels that reach beyond them."""
    random = np.random.default_rng(0)
    for number, (row, shape) in enumerate(((0, (40, 50)), (300, (33, 60)))):
        where = {"transform": NORTH_UP @ Affine.translation(0, row)}
        write_scene(tmp_path / f"image_{number}.tif", random.integers(1, 900, (2, *shape), np.uint16), **where)
        larger = (shape[0] + 8, shape[1] + 6)
        write_scene(tmp_path / f"label_{number}.tif", random.choice([1, 7, 255], larger).astype(np.uint8), **where)
    return tmp_path


def test_the_pixels_and_labels_are_those_of_the_files(folder, monkeypatch):
    monkeypatch.setattr("geounet.data.geodatasets._TILE", 32)
    source = DatasetSource(Images(folder) & Labels(folder))
    pairs = sorted(source.pairs(()), key=lambda pair: pair.image.height)
    assert pairs[0].image.band_names == ("blue", "nir")
    for pair, number in zip(pairs, (1, 0), strict=True):
        with opened(pair.image) as dataset:
            values, valid = read(dataset, pair.image, pair.extent)
        with (
            rasterio.open(folder / f"image_{number}.tif") as image,
            rasterio.open(folder / f"label_{number}.tif") as label,
        ):
            np.testing.assert_array_equal(values, image.read())
            assert pair.image.transform.almost_equals(image.transform)
            assert pair.image.crs == image.crs
            expected = label.read(1)[: image.height, : image.width]
        assert valid.all()
        np.testing.assert_array_equal(read_codes(pair, pair.extent), expected)


def test_it_trains_and_is_split_by_place(folder):
    recipe = Recipe(depth=1, width=4, patch_size=16, batch_size=2, patches=4, precision="fp32", val_fraction=0.4)
    train(DatasetSource(Images(folder) & Labels(folder)), folder / "m.safetensors", recipe=recipe, schedule=Schedule(1))
    card = read_card(folder / "m.safetensors")
    assert [item.value for item in card.classes] == [1, 7]
    assert "mean_iou" in card.metrics


def test_samples_without_labels_are_refused(folder):
    with pytest.raises(SceneError, match=r"sample of the Images holds .*image and no mask"):
        DatasetSource(Images(folder)).pairs(())


def test_nan_valid_and_unknown_codes_are_no_data_and_no_label(folder):
    def change(sample):
        sample["image"][0, 2, 3] = torch.nan
        sample["valid"] = torch.ones_like(sample["mask"], dtype=torch.bool)
        sample["valid"][5] = False
        sample["mask"] = sample["mask"].long()
        sample["mask"][7, 8:10] = torch.tensor([-1, 300])
        return sample

    dataset = Images(folder) & Labels(folder)
    dataset.transforms = change
    source = DatasetSource(dataset)
    pair = source.pairs(())[0]
    with opened(pair.image) as file:
        valid = read(file, pair.image, pair.extent)[1]
    assert sorted(set(np.flatnonzero(~valid.all(axis=1)))) == [2, 5]
    assert (~valid).sum() == 1 + valid.shape[1]
    assert read_codes(pair, pair.extent)[7, 8:10].tolist() == [255, 255]
