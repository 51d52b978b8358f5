"""fiboa files hold what the specification asks: columns, types, units, and metadata."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import geopandas as gpd
import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from pyproj import Geod

from geounet.classes import LandClass
from geounet.errors import LabelError, OutputError
from geounet.formats.fiboa import Fiboa, field_values, to_fiboa
from geounet.formats.vector_io import open_writer

SDL = "https://vecorel.org/sdl/v0.2.0/schema.json"
# What https://vecorel.org/specification/v0.1.0 and https://fiboa.org/specification/v0.3.0 say of a file of fields.
VECOREL = {
    "$schema": SDL,
    "required": ["schemas", "id", "collection", "geometry"],
    "collection": {"schemas": True, "id": False, "geometry": False, "bbox": False},
    "properties": {
        "schemas": {"type": "object", "additionalProperties": {"type": "array", "items": {"type": "string"}}},
        "id": {"type": "string", "minLength": 1},
        "collection": {"type": "string", "minLength": 1},
        "geometry": {"type": "geometry"},
        "bbox": {"type": "bounding-box"},
    },
}
METHODS = ["manual", "driven", "surveyed", "auto-operation", "auto-imagery", "unknown"]
FIBOA = {
    "$schema": SDL,
    "collection": {"metrics:area": False, "metrics:perimeter": False},
    "properties": {
        "metrics:area": {"type": "float", "exclusiveMinimum": 0, "maximum": 1_000_000_000},
        "metrics:perimeter": {"type": "float", "exclusiveMinimum": 0, "maximum": 1_250_000_000},
        "determination:datetime": {"type": "date-time"},
        "determination:method": {"type": "string", "enum": METHODS},
        "determination:details": {"type": "string"},
    },
}
URLS = {
    "https://vecorel.org/specification/v0.1.0/schema.yaml": VECOREL,
    "https://fiboa.org/specification/v0.3.0/schema.yaml": FIBOA,
}
# https://github.com/vecorel/specification/blob/main/geoparquet/datatypes.md
TYPES = {
    "string": pa.string(),
    "float": pa.float32(),
    "double": pa.float64(),
    "uint8": pa.uint8(),
    "int64": pa.int64(),
    "date-time": pa.timestamp("ms", "UTC"),
    "geometry": pa.binary(),
    "bounding-box": pa.struct([(side, pa.float64()) for side in ("xmin", "ymin", "xmax", "ymax")]),
}
ABOUT = Fiboa("testland-2024", frozenset({1}), datetime(2024, 7, 31, 12, tzinfo=UTC), "UNet on Sentinel-2")


def polygons():
    """Three polygons, of which the second is no field."""
    shapes = shapely.box([15.0, 15.1, 15.2], [48.0, 48.0, 48.0], [15.01, 15.11, 15.21], [48.01, 48.02, 48.03])
    measured = [Geod(ellps="WGS84").geometry_area_perimeter(shape) for shape in shapes]
    columns = {
        "id": [1, 2, 7],
        "class": np.array([1, 0, 1], np.uint8),
        "class_name": ["field", "other", "field"],
        "pixels": [10, 20, 30],
        "area_ha": [abs(area) / 10_000 for area, _ in measured],
        "perimeter_m": [perimeter for _, perimeter in measured],
        "confidence": [0.5, np.nan, np.nan],
    }
    return gpd.GeoDataFrame(columns, geometry=shapes, crs="EPSG:4326")


def write(path, frame=None, about=ABOUT, **options):
    frame = polygons() if frame is None else frame
    with open_writer(path, crs=frame.crs, fiboa=about, **options) as writer:
        writer.write(frame.iloc[:1])
        writer.write(frame.iloc[1:])
    return writer


@pytest.fixture
def written(tmp_path):
    write(tmp_path / "fields.parquet")
    return tmp_path / "fields.parquet"


def test_only_fields_are_written_with_metres_and_text_identifiers(written):
    """Areas are square metres, perimeters metres, as pyproj's Geod measures them."""
    frame = gpd.read_parquet(written)
    assert frame["id"].tolist() == ["1", "7"]
    measured = [Geod(ellps="WGS84").geometry_area_perimeter(shape) for shape in frame.geometry]
    np.testing.assert_allclose(frame["metrics:area"], [abs(area) for area, _ in measured], rtol=1e-6)
    np.testing.assert_allclose(frame["metrics:perimeter"], [perimeter for _, perimeter in measured], rtol=1e-6)
    assert frame["determination:method"].tolist() == ["auto-imagery"] * 2
    assert frame["determination:datetime"].tolist() == [ABOUT.observed] * 2
    assert {"area_ha", "perimeter_m"}.isdisjoint(frame.columns)


def test_every_column_has_the_type_and_the_nullability_of_its_schema(written):
    schema = pyarrow.parquet.read_schema(written)
    collection = json.loads(schema.metadata[b"collection"])
    assert collection["schemas"] == {"testland-2024": list(URLS)}
    assert collection["collection"] == "testland-2024"
    assert collection["determination:details"] == "UNet on Sentinel-2"
    assert collection["schemas:custom"]["$schema"] == SDL
    known = VECOREL["properties"] | FIBOA["properties"] | collection["schemas:custom"]["properties"]
    required = set(VECOREL["required"])
    assert required <= set(schema.names) | set(collection)
    for column in schema:
        assert column.type == TYPES[known[column.name]["type"]], column.name
        assert column.nullable == (column.name not in required), column.name


def test_without_an_observation_or_details_there_are_none(tmp_path):
    write(tmp_path / "a.parquet", about=Fiboa("a"))
    schema = pyarrow.parquet.read_schema(tmp_path / "a.parquet")
    assert "determination:datetime" not in schema.names
    assert "determination:details" not in json.loads(schema.metadata[b"collection"])
    assert len(gpd.read_parquet(tmp_path / "a.parquet")) == 3


@given(st.datetimes(datetime(1990, 1, 1), datetime(2100, 1, 1)), st.none() | st.integers(-12, 14))  # noqa: DTZ001
def test_the_observation_is_utc(moment, hours):
    """A time without a zone is taken for UTC; milliseconds are kept."""
    zoned = moment if hours is None else moment.replace(tzinfo=timezone(timedelta(hours=hours)))
    found = to_fiboa(polygons(), Fiboa("a", observed=zoned))["determination:datetime"].iloc[0]
    wanted = moment.replace(tzinfo=UTC) if hours is None else zoned
    assert abs(found - wanted) < timedelta(milliseconds=1)


def test_measures_beyond_the_specification_are_left_out(tmp_path):
    frame = polygons().assign(area_ha=[0.0, 1.0, 1e5 + 1], perimeter_m=[np.nan, 1.0, 2e9])
    write(tmp_path / "a.parquet", frame)
    found = gpd.read_parquet(tmp_path / "a.parquet")
    assert found[["metrics:area", "metrics:perimeter"]].isna().all(axis=None)


def test_what_cannot_be_fiboa_is_a_sentence(tmp_path):
    with pytest.raises(OutputError, match=r"fiboa fields are GeoParquet with a CRS, and out\.gpkg is none"):
        write(tmp_path / "out.gpkg")
    with pytest.raises(OutputError, match="there is no CRS"):
        write(tmp_path / "out.parquet", polygons().set_crs(None, allow_override=True))
    with pytest.raises(OutputError, match="polygons without area_ha, perimeter_m cannot become fiboa fields"):
        write(tmp_path / "out.parquet", polygons().drop(columns=["area_ha", "perimeter_m"]))
    with pytest.raises(OutputError, match="column id must hold a value for each polygon; 1 have none"):
        write(tmp_path / "out.parquet", polygons().assign(id=["a", None, None]))
    with pytest.raises(OutputError, match="needs an identifier"):
        Fiboa(" ")
    assert list(tmp_path.iterdir()) == []


def test_field_classes_are_called_by_name_or_value():
    classes = (LandClass(1, "field", "#e69f00"), LandClass(7, "meadow", "#009e73"))
    assert field_values(classes, ["meadow", "1"]) == {1, 7}
    assert field_values(classes, []) == frozenset()
    with pytest.raises(LabelError, match="there is no class forest; the classes are 1 field, 7 meadow"):
        field_values(classes, ["field", "forest"])


def test_an_empty_collection_has_its_columns(tmp_path):
    write(tmp_path / "a.parquet", polygons().iloc[:0])
    schema = pyarrow.parquet.read_schema(tmp_path / "a.parquet")
    assert schema.field("id") == pa.field("id", pa.string(), nullable=False)
    assert schema.field("metrics:area").type == pa.float32()


VALIDATOR = Path(sys.prefix) / "fiboa" / "bin" / "python"
VALIDATE = """if True:
    import json, sys
    from fiboa_cli.validate import ValidateData
    from vecorel_cli.vecorel import util
    util.file_cache.update(json.load(sys.stdin))
    found = ValidateData().validate(sys.argv[1], num=None)
    print(json.dumps([str(problem) for problem in [*found.errors, *found.warnings]]))
"""


def complaints(path):
    """What fiboa's validator says of a file; its schemas come from above, so that no network is needed."""
    schemas = URLS | {"https://geoparquet.org/releases/v1.1.0/schema.json": {"$schema": SDL}}
    command = [str(VALIDATOR), "-c", VALIDATE, str(path)]
    said = subprocess.run(command, input=json.dumps(schemas), capture_output=True, text=True, timeout=300, check=True)
    return json.loads(said.stdout)


@pytest.mark.skipif(not VALIDATOR.exists(), reason="fiboa's validator is not installed (make validator)")
def test_the_validator_of_fiboa_accepts_it(written, tmp_path):
    """And not just any file: areas of nothing it refuses."""
    assert complaints(written) == []
    table = pyarrow.parquet.read_table(written)
    at = table.schema.get_field_index("metrics:area")
    nothing = pa.array([0.0] * len(table), pa.float32())
    pyarrow.parquet.write_table(table.set_column(at, table.schema.field(at), nothing), tmp_path / "bad.parquet")
    assert complaints(tmp_path / "bad.parquet") != []
