"""A polygon file that is read in batches comes whole, or is refused."""

import geopandas
import numpy as np
import pytest
import shapely

from geounet.errors import LabelError
from geounet.formats.reading import read_batches, read_shapes, read_table

COUNT = 6000


@pytest.fixture(scope="module")
def content(tmp_path_factory):
    path = tmp_path_factory.mktemp("polygons") / "fields.gpkg"
    left, bottom = 480_000 + 70 * (np.arange(COUNT) % 80), 5_400_000 + 70 * (np.arange(COUNT) // 80)
    shapes = shapely.box(left, bottom, left + 60, bottom + 60)
    geopandas.GeoDataFrame({"class": np.arange(COUNT) % 7}, geometry=shapes, crs="EPSG:32633").to_file(path)
    return path.read_bytes()


def count_of(batches):
    return sum(len(batch) for batch in batches)


READERS = {
    "shapes": lambda path: count_of(read_shapes(path)),
    "table": lambda path: len(read_table(path)),
    "batches": lambda path: count_of(read_batches(path)),
}


@pytest.mark.parametrize("name", READERS)
def test_wherever_a_page_is_lost_no_feature_is_left_out_without_a_word(tmp_path, content, name):
    """GDAL hands out what stands before a damaged page of SQLite, and ends as if that were all."""
    path, read = tmp_path / "fields.gpkg", READERS[name]
    path.write_bytes(content)
    assert read(path) == COUNT
    refused = []
    for share in range(10, 95, 5):
        start = len(content) * share // 100 // 4096 * 4096
        path.write_bytes(content[:start] + bytes(4096) + content[start + 4096 :])
        try:
            assert read(path) == COUNT, f"a page at {share} % is lost"
        except LabelError as error:
            refused.append(str(error))
    assert refused
    assert all("cannot be read" in text for text in refused)
