"""`geounet stack`: what it writes is a scene for the other commands."""

import numpy as np
import rasterio
from affine import Affine
from click.testing import CliRunner
from geounet_pipelines.main import cli
from untrained import make_model

FINE, COARSE = Affine(10, 0, 5e5, 0, -10, 5e6), Affine(20, 0, 5e5, 0, -20, 5e6)


def run(*arguments):
    return CliRunner().invoke(cli, [str(argument) for argument in arguments])


def test_a_stack_is_predicted_like_the_raster_it_stands_for(tmp_path, write_scene):
    random = np.random.default_rng(0)
    one, two = random.integers(1, 255, (70, 50), np.uint8), random.integers(1, 255, (35, 25), np.uint8)
    write_scene(tmp_path / "b04.tif", one, transform=FINE)
    write_scene(tmp_path / "b11.tif", two, transform=COARSE)
    write_scene(tmp_path / "both.tif", np.stack([one, two.repeat(2, 0).repeat(2, 1)]), transform=FINE)
    make_model(tmp_path / "m.safetensors")
    result = run("stack", tmp_path / "b04.tif", tmp_path / "b11.tif", "-o", tmp_path / "s.vrt")
    assert result.exit_code == 0, result.output
    assert "s.vrt: 2 bands (b04, b11), 70 x 50" in result.stderr
    classes = []
    for name in ("s.vrt", "both.tif"):
        out = tmp_path / f"{name}.classes.tif"
        result = run("predict", tmp_path / name, "-m", tmp_path / "m.safetensors", "-o", out, "--precision", "fp32")
        assert result.exit_code == 0, result.output
        with rasterio.open(out) as raster:
            classes.append(raster.read(1))
    np.testing.assert_array_equal(*classes)


def test_another_ending_is_refused(tmp_path, write_scene):
    scene = write_scene(tmp_path / "a.tif", np.ones((3, 4), np.uint8))
    result = run("stack", scene, "-o", tmp_path / "s.tif")
    assert result.exit_code == 1
    assert "s.tif ends in none of .vrt: give the output one of these endings" in str(result.exception)
    assert not (tmp_path / "s.tif").exists()
