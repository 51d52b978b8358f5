"""`geounet rasterize` writes a class raster of polygons and says what is in it."""

import geopandas
import numpy as np
import pytest
import rasterio
from click.testing import CliRunner
from geounet_pipelines.main import cli, main
from shapely.geometry import box

from geounet.raster.cog import classes_of


@pytest.fixture
def like(tmp_path, write_scene):
    return write_scene(tmp_path / "like.tif", np.zeros((10, 12), np.uint8))


@pytest.fixture
def fields(tmp_path):
    """Two fields; the second covers a column of the first, and a strip of a tenth of a pixel of another column."""
    shapes = [box(480_000, 5_429_950, 480_050, 5_430_000), box(480_040, 5_429_960, 480_081, 5_430_000)]
    frame = geopandas.GeoDataFrame({"crop": ["b", "a"], "class": [7, 8]}, geometry=shapes, crs="EPSG:32633")
    frame.to_file(tmp_path / "fields.gpkg")
    return tmp_path / "fields.gpkg"


def run(*args):
    return CliRunner().invoke(cli, ["rasterize", *map(str, args)], catch_exceptions=False)


def counts(path):
    with rasterio.open(path) as file:
        return dict(zip(*(part.tolist() for part in np.unique(file.read(1), return_counts=True)), strict=True))


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ([], {7: 21, 8: 16, 255: 83}),
        (["--all-touched"], {7: 21, 8: 20, 255: 79}),
        (["--all_touched", "--tile-size", 3], {7: 21, 8: 20, 255: 79}),
        (["--background", 0], {7: 21, 8: 16, 0: 83}),
        (["--attribute", "crop"], {1: 21, 0: 16, 255: 83}),
    ],
)
def test_each_option(like, fields, tmp_path, options, found):
    out = tmp_path / "new" / "labels.tif"
    result = run(fields, "--like", like, "-o", out, *options)
    assert counts(out) == found
    labelled, classes = 120 - found.get(255, 0), len(found) - (255 in found)
    assert result.stdout == ""
    assert result.stderr.splitlines()[-1] == (
        f"{out}: 2 polygons, {classes} classes, {labelled} pixels ({100 * labelled / 120:.2f} %)"
    )


def test_the_class_table_is_that_of_a_file(like, fields, tmp_path):
    table = tmp_path / "classes.csv"
    table.write_text("value,name,color\n4,a,#112233\n5,b,#445566\n")
    result = run(
        fields, "--like", like, "-o", tmp_path / "out.tif", "--attribute", "crop", "--classes", table, "--quiet"
    )
    assert result.output == ""
    assert counts(tmp_path / "out.tif") == {5: 21, 4: 16, 255: 83}
    assert [(item.value, item.name, item.color) for item in classes_of(tmp_path / "out.tif")] == [
        (4, "a", "#112233"), (5, "b", "#445566"),
    ]  # fmt: skip


def test_what_cannot_be_used_is_one_sentence(like, fields, tmp_path, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["rasterize", str(fields), "--like", str(tmp_path / "none.tif"), "-o", str(tmp_path / "out.tif")])
    assert stopped.value.code == 1
    message = capsys.readouterr().err
    assert message.startswith("geounet: ")
    assert "none.tif" in message
    assert not (tmp_path / "out.tif").exists()


def test_without_a_raster_it_is_wrong_usage(fields, tmp_path):
    result = run(fields, "-o", tmp_path / "out.tif")
    assert result.exit_code == 2
    assert "--like" in result.stderr
