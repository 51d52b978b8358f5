"""Polygons in a real PostGIS: rows, types, index, classes, transactions, and a password that nobody sees."""

from __future__ import annotations

import threading

import geopandas as gpd
import numpy as np
import postgis_server
import pytest
import shapely
from click.testing import CliRunner
from geounet_pipelines.main import cli
from made import NORTH_UP, blobs, levels, make_product
from rasterio import Affine

from geounet.errors import LabelError, OutputError
from geounet.formats import reading
from geounet.tasks.export import export

psycopg = pytest.importorskip("psycopg")
pytestmark = [
    pytest.mark.server,
    pytest.mark.skipif(bool(postgis_server.missing()), reason=postgis_server.missing() or "there is one"),
]


@pytest.fixture(scope="module")
def batch(tmp_path_factory):
    folder = tmp_path_factory.mktemp("batch")
    for number, crs in enumerate(["EPSG:32633", "EPSG:32633", "EPSG:32634"]):
        codes = blobs(40 + number, 63, seed=number)
        make_product(
            folder / f"p{number}", codes, levels(codes), crs=crs, transform=NORTH_UP * Affine.translation(99, 0)
        )
    return folder


@pytest.fixture(scope="module")
def server():
    with postgis_server.postgis() as url:
        yield url


@pytest.fixture
def database(server, monkeypatch):
    """The URL; the password in the environment."""
    monkeypatch.setenv("PGPASSWORD", postgis_server.PASSWORD)
    monkeypatch.setattr(reading.read_batches, "__defaults__", (None, 7))
    return server


def ask(url, text, *values):
    with psycopg.connect(url, password=postgis_server.PASSWORD) as connection:
        return connection.execute(text, values).fetchall()


def rows(url, table):
    columns = "product, id, class, class_name, area_ha, confidence, ST_AsBinary(geom), ST_SRID(geom)"
    return ask(url, f"SELECT {columns} FROM {table} ORDER BY product, id")  # noqa: S608 - a name of ours


def test_all_rows_in_their_types_with_index_and_classes(batch, database):
    made = export([batch / "p0", batch / "p1"], f"{database}?schema=maps&table=fields")
    found = rows(database, "maps.fields")
    frames = [gpd.read_parquet(batch / f"p{number}/polygons.parquet") for number in range(2)]
    assert made.polygons == len(found) == sum(map(len, frames)) > 60
    for number, frame in enumerate(frames):
        mine = [row for row in found if row[0] == f"p{number}"]
        assert [row[1:4] for row in mine] == list(
            zip(frame["id"].tolist(), frame["class"].tolist(), frame["class_name"].tolist(), strict=True)
        )
        np.testing.assert_array_equal([row[4] for row in mine], frame["area_ha"])
        assert all(row[5] is None for row in mine), "polygons of these products have no confidence"
        shapes = shapely.get_parts(shapely.from_wkb([row[6] for row in mine]))
        assert shapely.equals_exact(shapes, frame.geometry.to_numpy(), tolerance=0).all()
    assert {row[7] for row in found} == {32633}
    assert ask(database, "SELECT value, name, color FROM maps.fields_classes ORDER BY value")[0][1] == "water"
    kinds = {row[0] for row in ask(database, "SELECT indexdef FROM pg_indexes WHERE tablename = 'fields'")}
    assert any("USING gist (geom)" in kind for kind in kinds)
    (plan,) = ask(
        database, "SELECT count(*) FROM pg_constraint WHERE contype = 'f' AND conrelid = 'maps.fields'::regclass"
    )
    assert plan == (1,)
    with pytest.raises(psycopg.errors.ForeignKeyViolation):
        ask(database, "INSERT INTO maps.fields (product, class) VALUES ('x', 99)")
    assert gpd.read_postgis("SELECT * FROM maps.fields", _engine(database)).crs.to_epsg() == 32633


def _engine(url):
    return psycopg.connect(url, password=postgis_server.PASSWORD)


def test_a_raster_without_a_class_table_has_its_values_for_classes(database, tmp_path, write_scene):
    """Also those that a look at it does not see."""
    codes = blobs(40, 60)
    codes[3, 5] = 77
    raster = write_scene(tmp_path / "bare.tif", codes, nodata=255)
    export(raster, f"{database}?table=bare")
    found = dict(ask(database, "SELECT value, name FROM bare_classes"))
    assert found[77] == "class_77"
    assert set(found) == {10, 30, 254, 77}


def test_append_replace_upsert(batch, database, caplog):
    url = f"{database}?table=t"
    export(batch / "p0", url)
    counts = {n: len(gpd.read_parquet(batch / f"p{n}/polygons.parquet")) for n in range(3)}
    with pytest.raises(OutputError, match="--append"):
        export(batch / "p0", url)
    export(batch / "p1", url, mode="append")
    export(batch / "p0", url, mode="append")
    assert len(rows(database, "t")) == 2 * counts[0] + counts[1]
    export([batch / "p0"], url, mode="upsert")
    once = rows(database, "t")
    assert len(once) == counts[0] + counts[1]
    export([batch / "p0", batch / "p1"], url, mode="upsert")
    assert rows(database, "t") == once
    made = export(batch / "p2", url, mode="append")
    assert made.moved == ("p2",)
    assert {row[7] for row in rows(database, "t")} == {32633}, "what comes is brought to the table's CRS"
    there = len(rows(database, "t"))
    caplog.clear()
    export(batch / "p2", url, mode="replace")
    assert f"t was made anew; the {there} rows that it had are gone" in caplog.text
    assert len(rows(database, "t")) == counts[2]
    assert {row[7] for row in rows(database, "t")} == {32634}


def test_several_zones_go_into_one_table_by_a_crs(batch, database):
    with pytest.raises(OutputError, match="several CRSs"):
        export(batch, f"{database}?table=zones")
    export(batch, f"{database}?table=zones", crs="EPSG:4326")
    found = shapely.from_wkb([row[6] for row in rows(database, "zones")])
    assert 14 < shapely.total_bounds(found)[0] < shapely.total_bounds(found)[2] < 22


def test_after_an_error_in_the_middle_nothing_has_changed(batch, database, tmp_path):
    url = f"{database}?table=whole"
    export(batch / "p0", url)
    before = rows(database, "whole")
    frame = gpd.read_parquet(batch / "p1/polygons.parquet")
    frame.loc[len(frame) - 1, "class"] = 250
    frame.loc[len(frame) - 1, "class_name"] = "water"
    frame.to_parquet(tmp_path / "p1.parquet")
    damaged = tmp_path / "broken.parquet"
    damaged.write_bytes((batch / "p1/polygons.parquet").read_bytes()[:-400] + b"x" * 400)
    other = gpd.read_parquet(batch / "p1/polygons.parquet").rename(columns={"area_ha": "acres"})
    other.to_parquet(tmp_path / "other.parquet")
    for sources, mode in [
        ([batch / "p1", damaged], "append"),
        ([batch / "p1", tmp_path / "other.parquet"], "upsert"),
        ([tmp_path / "other.parquet"], "append"),
        ([batch / "p1", tmp_path / "other.parquet"], "replace"),
    ]:
        with pytest.raises((OutputError, LabelError)):
            export(sources, url, mode=mode)
        assert rows(database, "whole") == before


def test_two_at_once_do_not_mix(batch, database):
    url = f"{database}?table=pair"
    export(batch / "p1", url)
    threads = [threading.Thread(target=export, args=(batch / "p0", url), kwargs={"mode": "upsert"}) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = [row[0] for row in rows(database, "pair")]
    assert found.count("p0") == len(gpd.read_parquet(batch / "p0/polygons.parquet"))


def test_a_password_is_never_seen(batch, server, monkeypatch, tmp_path):
    """From ~/.pgpass; a wrong one, and one in the URL, stand in no message, not even with --verbose."""
    monkeypatch.delenv("PGPASSWORD", raising=False)
    port = server.rpartition(":")[2].partition("/")[0]
    words = tmp_path / "pgpass"
    words.write_text(f"127.0.0.1:{port}:*:geounet:{postgis_server.PASSWORD}\n")
    words.chmod(0o600)
    monkeypatch.setenv("PGPASSFILE", str(words))
    run = CliRunner().invoke(cli, ["export", str(batch / "p0"), "-o", f"{server}?table=passed", "-v"])
    assert run.exit_code == 0, run.output
    monkeypatch.setenv("PGPASSFILE", str(tmp_path / "none"))
    monkeypatch.setenv("PGPASSWORD", "wrong-and-secret")
    wrong = CliRunner().invoke(cli, ["export", str(batch / "p0"), "-o", f"{server}?table=refused", "-v"])
    told = wrong.output + str(wrong.exception)
    assert "authentication failed" in told
    assert "wrong-and-secret" not in told
    spoken = server.replace("geounet@", "geounet:in-the-url@")
    for url in (f"{spoken}?table=t", f"{server}?table=t&password=in-the-url"):
        refused = CliRunner().invoke(cli, ["export", str(batch / "p0"), "-o", url, "-v"])
        told = refused.output + str(refused.exception)
        assert "PGPASSWORD" in told
        assert "in-the-url" not in told


def test_what_is_refused(batch, database, tmp_path, write_scene):
    plain = write_scene(tmp_path / "plain.tif", blobs(20, 30), nodata=255, crs=None)
    for sources, url, words, options in [
        (batch / "p0", database, "names no table", {}),
        (batch / "p0", f"{database}?table={'x' * 60}", "63 bytes", {}),
        (plain, f"{database}?table=t9", "EPSG code|no CRS", {}),
        (batch / "p0", f"{database}?table=t9", "takes no layer", {"layers": ["classes"]}),
        (batch / "p0", database.replace("/postgres", "/template1") + "?table=t", "PostGIS", {}),
        (batch / "p0", "postgresql://geounet@127.0.0.1:9/none?table=t", "connection", {}),
    ]:
        with pytest.raises(OutputError, match=words):
            export(sources, url, **options)
