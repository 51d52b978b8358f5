"""`geounet clean` writes a cleaned raster and says how much of it changed."""

import numpy as np
import pytest
import rasterio
from click.testing import CliRunner
from geounet_pipelines.main import cli, main


@pytest.fixture
def raster(tmp_path, write_scene):
    """One class with a speck in it, a line through it, and nodata in a corner."""
    classes = np.full((12, 15), 1, np.uint8)
    classes[4, 3], classes[:, 9], classes[0, 0] = 2, 3, 255
    return write_scene(tmp_path / "classes.tif", classes, nodata=255)


def run(*args):
    return CliRunner().invoke(cli, ["clean", *map(str, args)], catch_exceptions=False)


def values(path):
    with rasterio.open(path) as file:
        return np.unique(file.read(1), return_counts=True)[0].tolist()


@pytest.mark.parametrize(
    ("steps", "left", "changed"),
    [
        (["--open", 1], [1, 255], 13),
        (["--close", 1], [1, 255], 13),
        (["--majority", 2], [1, 255], 13),
        (["--sieve", 2], [1, 3, 255], 1),
        (["--sieve", 14], [1, 255], 13),
        (["--sieve", 14, "--sieve-to", "largest", "--sieve-connectivity", 8], [1, 255], 13),
        (["--fill-holes", 1], [1, 3, 255], 1),
        (["--fill_holes", 1, "--open", 1, "--tile-size", 5], [1, 255], 13),
        (["--open", 0, "--sieve", 1, "--fill-holes", 9], [1, 3, 255], 1),
    ],
)
def test_each_step(raster, tmp_path, steps, left, changed):
    out = tmp_path / "new" / "out.tif"
    result = run(raster, "-o", out, *steps)
    assert values(out) == left
    assert result.stdout == ""
    assert result.stderr == f"{out}: {changed} of 179 pixels changed ({100 * changed / 179:.2f} %)\n"


def test_quiet_says_nothing(raster, tmp_path):
    assert run(raster, "-o", tmp_path / "out.tif", "--open", 1, "--quiet").output == ""
    assert (tmp_path / "out.tif").exists()


def test_an_existing_output_is_refused_in_one_sentence(raster, capsys):
    before = raster.read_bytes()
    with pytest.raises(SystemExit) as stopped:
        main(["clean", str(raster), "-o", str(raster), "--open", "1"])
    assert stopped.value.code == 1
    message = capsys.readouterr().err
    assert message == f"geounet: {raster} exists; give another name, or --overwrite to replace it\n"
    assert raster.read_bytes() == before


def test_an_output_may_replace_its_own_input(raster):
    run(raster, "-o", raster, "--overwrite", "--open", 1)
    assert values(raster) == [1, 255]


def test_negative_radii_are_wrong_usage(raster, tmp_path):
    result = run(raster, "-o", tmp_path / "out.tif", "--open", -1)
    assert result.exit_code == 2
    assert "--open" in result.stderr
    assert not (tmp_path / "out.tif").exists()
