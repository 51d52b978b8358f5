"""A raster that says it holds measurements is not taken for one of classes, unless it is asked for."""

import numpy as np
import pytest

from geounet.errors import LabelError, SceneError
from geounet.raster.class_raster import load_class_raster

MANY = (np.arange(96 * 130).reshape(96, 130) % 200).astype(np.uint8)
FEW = MANY % 34


@pytest.mark.parametrize(
    ("values", "profile", "reason"),
    [
        (FEW, {"scales": [1 / 254]}, "its band 'band_1' has a scale of 0.00393701 and an offset of 0"),
        (FEW, {"offsets": [-5]}, "a scale of 1 and an offset of -5"),
        (FEW, {"descriptions": ["confidence"]}, "its band is called 'confidence'"),
        (FEW, {"descriptions": ["Probability of forest"]}, "its band is called 'Probability of forest'"),
        (MANY, {}, "it has no class table, and 200 values in a sample of 12480 pixels"),
    ],
)
def test_measurements_are_refused_with_what_tells(tmp_path, write_scene, values, profile, reason):
    path = write_scene(tmp_path / "r.tif", values, **profile)
    with pytest.raises(LabelError, match=rf"r.tif is no class raster: .*{reason}.*--force"):
        load_class_raster(path)
    assert load_class_raster(path, force=True).bands == (1,)


@pytest.mark.parametrize(
    ("values", "profile"),
    [
        (FEW, {}),
        (FEW.astype(np.int16), {"descriptions": ["class"]}),
        (MANY, {"colormap": {value: (value, 9, 9, 255) for value in range(1, 200)}}),
        (np.where(FEW == 0, 255, FEW).astype(np.uint8), {"nodata": 255}),
    ],
)
def test_class_rasters_of_any_maker_are_taken(tmp_path, write_scene, values, profile):
    load_class_raster(write_scene(tmp_path / "r.tif", values, **profile))


def test_several_bands_are_no_classes(tmp_path, write_scene):
    with pytest.raises(SceneError, match="has 2 bands; a class raster has one"):
        load_class_raster(write_scene(tmp_path / "r.tif", np.stack([FEW, FEW])), force=True)


@pytest.mark.real
def test_crop_codes_are_classes_and_their_confidence_is_not(data):
    load_class_raster(data / "kansas_crops" / "2021_30m_cdls.tif")
    with pytest.raises(LabelError, match=r"no class table, and [0-9]+ values"):
        load_class_raster(data / "kansas_crops" / "2021_30m_confidence_layer.tif")
