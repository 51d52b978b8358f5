"""Scenes over the network: the same pixels as from disk, few bytes, patience, plain errors, and no secrets told."""

from __future__ import annotations

import json
import os
import threading
import zipfile

import numpy as np
import pytest
import rasterio
import rasterio.env
from affine import Affine
from click.testing import CliRunner
from geounet_pipelines.main import cli
from hypothesis import given
from hypothesis import strategies as st
from range_server import Fault, serve
from rasterio.shutil import copy
from untrained import make_model

from geounet.errors import OutputError, SceneError, UnreachableError
from geounet.grid import Window
from geounet.raster.identity import identity_of
from geounet.raster.remote import SETTINGS, Answer, is_remote, over_network, public_name, public_text, url_of
from geounet.raster.scene import load_scene, opened, read, read_stored
from geounet.tasks.info import info
from geounet.tasks.predict import Engine, predict

pytestmark = pytest.mark.server

LEFT, TOP = 399960, 4900020
AREA = Window(-5, 90, 150, 130)
SIGNATURE = "X-Amz-Credential=KEY%2F2024&X-Amz-Signature=c0ffee"


def write_cog(path, height, width, seed=0):
    """Noise of two bands, which no compression makes small, in blocks of 128 pixels with overviews."""
    array = np.random.default_rng(seed).integers(1, 255, (2, height, width)).astype(np.uint8)
    profile = {"driver": "GTiff", "count": 2, "height": height, "width": width, "dtype": "uint8", "crs": "EPSG:32633"}
    plain = path.with_suffix(".plain")
    with rasterio.open(plain, "w", **profile, transform=Affine(10, 0, LEFT, 0, -10, TOP)) as file:
        file.write(array)
    copy(plain, path, driver="COG", compress="deflate", blocksize=128)
    plain.unlink()
    return path


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A folder with a large COG, and a small one that a bucket holds as well."""
    folder = tmp_path_factory.mktemp("served")
    (folder / "bucket").mkdir()
    write_cog(folder / "large.tif", 2000, 2300)
    write_cog(folder / "small.tif", 203, 317, seed=1)
    (folder / "bucket" / "small.tif").write_bytes((folder / "small.tif").read_bytes())
    return folder


@pytest.fixture
def server(files):
    with serve(files) as running:
        yield running


@pytest.fixture
def own(tmp_path):
    """A server of a folder that a test may change."""
    (tmp_path / "served").mkdir()
    with serve(tmp_path / "served") as running:
        yield running


@pytest.fixture
def bucket(server, monkeypatch):
    """The server as an S3 endpoint with a public bucket."""
    settings = {"AWS_S3_ENDPOINT": server.address, "AWS_HTTPS": "NO", "AWS_VIRTUAL_HOSTING": "FALSE"}
    for name, value in {**settings, "AWS_NO_SIGN_REQUEST": "YES"}.items():
        monkeypatch.setenv(name, value)
    return server


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    make_model(path)
    return path


def window_of(path, window=AREA):
    scene = load_scene(path)
    with opened(scene) as dataset:
        return read_stored(dataset, scene, window)


def raster(scene, model, out, bbox=None, progress=lambda _done, _blocks: None, **engine):
    confidence = out.with_suffix(".c.tif")
    predict(scene, model, out, bbox=bbox, confidence=confidence, engine=Engine(**engine), progress=progress)
    with rasterio.open(out) as classes, rasterio.open(out.with_suffix(".c.tif")) as confidence:
        return np.stack([classes.read(1), confidence.read(1)])


# --- the same pixels, and few bytes ------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["{}", "/vsicurl/{}", "/vsicurl?empty_dir=yes&url={}", "{}?year=2024&" + SIGNATURE])
def test_a_scene_by_its_url_is_the_local_one(server, files, form):
    path = form.format(server.url("small.tif"))
    local, far = load_scene(files / "small.tif"), load_scene(path)
    assert far.remote
    assert not local.remote
    assert (far.height, far.width, far.transform, far.crs) == (local.height, local.width, local.transform, local.crs)
    for found, expected in zip(window_of(path), window_of(files / "small.tif"), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_only_the_header_and_the_blocks_of_a_window_are_fetched(server, files):
    """Opening costs one header; no folder is listed, and no file beside the scene looked for."""
    scene = load_scene(server.url("large.tif"))
    assert {request.path for request in server.requests} == {"/large.tif"}
    assert server.sent == int(SETTINGS["GDAL_INGESTED_BYTES_AT_OPEN"])
    server.forget()
    with opened(scene) as dataset:
        read(dataset, scene, Window(600, 600, 100, 100))
    assert {request.path for request in server.requests} == {"/large.tif"}
    assert server.sent < 0.06 * (files / "large.tif").stat().st_size


def test_a_box_of_a_large_scene_transfers_a_small_share_and_gives_the_crop_of_the_whole(tmp_path, server, files, model):
    how = {"tile_size": 512, "window_size": 256, "precision": "fp32"}
    whole = raster(files / "large.tif", model, tmp_path / "whole.tif", **how)
    box = LEFT + 10 * 1203, TOP - 10 * 777, LEFT + 10 * 1490, TOP - 10 * 501
    part = raster(server.url("large.tif"), model, tmp_path / "part.tif", box, **how)
    np.testing.assert_array_equal(part, whole[:, 501:777, 1203:1490])
    assert server.sent < 0.14 * (files / "large.tif").stat().st_size


def test_a_whole_remote_scene_gives_the_raster_of_the_local_one(tmp_path, server, files, model):
    how = {"tile_size": 64, "window_size": 80}
    local = raster(files / "small.tif", model, tmp_path / "local.tif", **how)
    np.testing.assert_array_equal(raster(server.url("small.tif"), model, tmp_path / "far.tif", **how), local)


def test_worker_processes_read_with_the_settings_too(tmp_path, server, files, model):
    """Two processes: the same pixels, and still nothing is asked for but the scene itself."""
    how = {"tile_size": 64, "window_size": 80}
    local = raster(files / "small.tif", model, tmp_path / "local.tif", **how)
    # What follows the first call of `progress` comes from the workers.
    progress = lambda done, _blocks: None if done else server.forget()  # noqa: E731
    far = raster(server.url("small.tif"), model, tmp_path / "far.tif", progress=progress, workers=2, **how)
    np.testing.assert_array_equal(far, local)
    assert {request.path for request in server.requests} == {"/small.tif"}
    header = f"bytes=0-{int(SETTINGS['GDAL_INGESTED_BYTES_AT_OPEN']) - 1}"
    assert header in {request.headers.get("range") for request in server.requests}


def test_a_scene_in_a_bucket_is_the_local_one(tmp_path, bucket, files, model):
    for path in ("s3://bucket/small.tif", "/vsis3/bucket/small.tif"):
        for found, expected in zip(window_of(path), window_of(files / "small.tif"), strict=True):
            np.testing.assert_array_equal(found, expected)
    assert {request.path for request in bucket.requests} == {"/bucket/small.tif"}
    box = LEFT + 100, TOP - 900, LEFT + 900, TOP - 100
    how = {"tile_size": 64, "window_size": 80, "bbox": box}
    far = raster("s3://bucket/small.tif", model, tmp_path / "far.tif", **how)
    np.testing.assert_array_equal(far, raster(files / "small.tif", model, tmp_path / "local.tif", **how))


def test_a_vrt_on_disk_of_remote_rasters_is_read_with_the_settings(tmp_path, server, files):
    vrt = tmp_path / "far.vrt"
    copy(files / "small.tif", vrt, driver="VRT")
    text = vrt.read_text().replace('relativeToVRT="1"', 'relativeToVRT="0"')
    local = next(part.partition("<")[0] for part in text.split(">") if part.partition("<")[0].endswith("small.tif"))
    vrt.write_text(text.replace(local, f"/vsicurl/{server.url('small.tif')}"))
    assert load_scene(vrt).remote
    np.testing.assert_array_equal(window_of(vrt)[0], window_of(files / "small.tif")[0])
    assert {request.path for request in server.requests} == {"/small.tif"}
    assert [entry[0] for entry in identity_of(vrt)[1:]] == [str(vrt), server.url("small.tif")]


def test_a_scene_that_was_replaced_is_read_anew_by_the_same_process(own):
    """Nothing of an earlier version stays in GDAL's caches, header or pixels: a worker may live for days."""
    for seed, shape in enumerate([(203, 317), (203, 317), (99, 140)]):
        local = write_cog(own.folder / "latest.tif", *shape, seed)
        scene = load_scene(own.url("latest.tif"))
        assert (scene.height, scene.width) == shape
        np.testing.assert_array_equal(window_of(own.url("latest.tif"))[0], window_of(local)[0])


def test_info_describes_a_url(server, files):
    url = server.url("small.tif") + "?" + SIGNATURE
    found = CliRunner().invoke(cli, ["info", url, "--json"])
    assert found.exit_code == 0, found.output
    told, expected = json.loads(found.stdout), info(files / "small.tif")
    assert told.pop("path") == server.url("small.tif")
    assert SIGNATURE not in json.dumps(told), "what to do next is shown without credentials"
    assert {**told, "next": ""} == {name: value for name, value in expected.items() if name != "path"} | {"next": ""}


# --- settings ----------------------------------------------------------------------------------------------------


def told(name):
    return rasterio.env.get_gdal_config(name, normalize=False)


def test_the_settings_hold_in_any_thread_for_remote_rasters_only_and_leave_nothing_behind():
    def look():
        with over_network(remote=False):
            seen.append({name: told(name) for name in SETTINGS})
        with over_network(remote=True):
            seen.append({name: told(name) for name in SETTINGS})
        seen.append({name: told(name) for name in SETTINGS})

    nothing = dict.fromkeys(SETTINGS)
    seen = []
    look()
    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert seen == [nothing, SETTINGS, nothing] * 2


def test_what_the_user_told_gdal_prevails(monkeypatch):
    monkeypatch.setenv("GDAL_HTTP_MAX_RETRY", "9")
    with rasterio.Env(GDAL_HTTP_CONNECTTIMEOUT="77"), over_network(remote=True):
        assert told("GDAL_HTTP_MAX_RETRY") == "9"
        assert told("GDAL_HTTP_CONNECTTIMEOUT") == "77"
        assert told("GDAL_DISABLE_READDIR_ON_OPEN") == "EMPTY_DIR"


def test_a_file_beside_a_remote_scene_is_read_where_the_user_wants_it(own, write_scene, monkeypatch):
    """A mask beside the scene is not looked for, as is usual with COGs, unless GDAL is told to."""
    scene = write_scene(own.folder / "masked.tif", np.ones((40, 50), np.uint8))
    with rasterio.open(scene, "r+") as file, rasterio.Env(GDAL_TIFF_INTERNAL_MASK=False):
        file.write_mask(np.arange(2000).reshape(40, 50) % 3 > 0)
    assert (own.folder / "masked.tif.msk").exists()
    url, area = own.url("masked.tif"), Window(0, 0, 40, 50)
    assert window_of(url, area)[1].all()
    monkeypatch.setenv("GDAL_DISABLE_READDIR_ON_OPEN", "TRUE")
    np.testing.assert_array_equal(window_of(url, area)[1], window_of(scene, area)[1])
    assert not window_of(url, area)[1].all()


# --- what goes wrong ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("skip", [0, 1, 2, 3])
@pytest.mark.parametrize("fault", [(503, 0, 1), (429, 0, 2), (None, 0, 1), (None, 700, 1), (None, 700, 2)])
def test_what_passes_is_waited_for(server, files, monkeypatch, fault, skip):
    """A busy server and an answer that breaks off, at the header or in the pixels: asked again, read right."""
    monkeypatch.setenv("GDAL_HTTP_RETRY_DELAY", "0.02")
    status, sent, times = fault
    server.break_with(Fault(status, sent, skip, times))
    for found, expected in zip(window_of(server.url("small.tif")), window_of(files / "small.tif"), strict=True):
        np.testing.assert_array_equal(found, expected)


def refusal(path, kind=UnreachableError):
    with pytest.raises(SceneError) as caught:
        window_of(path)
    sentence = str(caught.value)
    assert isinstance(caught.value, kind)
    assert "\n" not in sentence
    return sentence


@pytest.mark.parametrize("status", [403, 404, 503])
def test_a_refusal_is_one_sentence_with_url_status_and_remedy_and_without_secrets(server, monkeypatch, status):
    monkeypatch.setenv("GDAL_HTTP_MAX_RETRY", "0")
    monkeypatch.setattr("geounet.raster.remote._BACKOFF", 0.01)
    server.break_with(Fault(status, times=10**6))
    url = server.url(f"small.tif?band=3&{SIGNATURE}").replace("//", "//me:hunter2@")
    sentence = refusal(url)
    assert server.url("small.tif?band=3") in sentence
    assert f"answers {status}" in sentence
    assert any(remedy in sentence for remedy in ("check the address", "try later"))
    assert not any(secret in sentence for secret in ("hunter2", "c0ffee", "KEY"))


def test_a_missing_file_is_told_at_once(server):
    """What will not pass is not asked for again and again."""
    assert "404" in refusal(server.url("nowhere.tif"))
    assert len(server.requests) <= 3


def test_a_server_that_is_not_there_is_told(server):
    with serve(server.folder) as other:
        url = other.url("small.tif")
    sentence = refusal(url)
    assert url in sentence
    assert "connection refused" in sentence
    assert "check the address" in sentence


def test_a_server_without_ranges_is_told_with_the_remedy(server):
    server.behave(ranges=False)
    sentence = refusal(server.url("large.tif"))
    assert "ignores range requests; download it" in sentence


def test_a_server_that_breaks_off_each_time_is_told_with_the_place(server, monkeypatch):
    monkeypatch.setenv("GDAL_HTTP_RETRY_DELAY", "0.02")
    scene = load_scene(server.url("small.tif"))
    with opened(scene) as dataset:
        server.break_with(Fault(sent=700, times=10**6))
        with pytest.raises(UnreachableError, match=r"small\.tif .*row 10, column 20.*try again"):
            read(dataset, scene, Window(10, 20, 30, 30))


def test_what_is_no_raster_is_told_as_of_a_local_file(own):
    (own.folder / "page.tif").write_text("<html>Sign in first</html>")
    sentence = refusal(own.url("page.tif?" + SIGNATURE), SceneError)
    assert "page.tif is not a raster that GDAL can open" in sentence
    assert "c0ffee" not in sentence


def test_a_bucket_refuses_in_one_sentence(bucket, monkeypatch):
    assert "404" in refusal("s3://bucket/nowhere.tif")
    bucket.break_with(Fault(403, times=10**6))
    assert "403" in refusal("s3://bucket/small.tif")
    monkeypatch.delenv("AWS_NO_SIGN_REQUEST")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    assert "for a public bucket set AWS_NO_SIGN_REQUEST=YES" in refusal("s3://bucket/small.tif")


# --- identity ----------------------------------------------------------------------------------------------------


def changed(path, change):
    """Whether a change of something shows in the identity, which is the same when asked for twice."""
    before = identity_of(path)
    assert identity_of(path) == before
    assert json.loads(json.dumps(before)) == before
    change()
    return identity_of(path) != before


@pytest.mark.parametrize("tags", [True, False], ids=["ETag", "Last-Modified"])
def test_another_version_of_a_remote_scene_is_another_scene(own, tags):
    own.behave(tags=tags)

    def write(seed, time):
        """Versions of one size; with an ETag of one time too."""
        path = write_cog(own.folder / "a.tif", 60, 70, seed)
        path.write_bytes(path.read_bytes().ljust(30_000, b"\0"))
        os.utime(path, (time, time))

    write(0, 1_700_000_000)
    assert changed(own.url("a.tif"), lambda: write(2, 1_700_000_000 if tags else 1_700_000_001))


def test_a_server_that_allows_get_only_tells_the_version_as_well(own):
    """As those of signed URLs do: HEAD is refused, and GDAL is told not to use it."""
    write_cog(own.folder / "a.tif", 60, 70)
    whole = identity_of(own.url("a.tif"))
    own.behave(heads=False)
    assert identity_of(own.url("a.tif") + "?" + SIGNATURE) == whole


def test_the_identity_holds_size_and_version_but_neither_signature_nor_password(server, files):
    name, (url, size, version) = identity_of(server.url("small.tif").replace("//", "//me:hunter2@") + "?" + SIGNATURE)
    assert name == url == server.url("small.tif")
    assert size == (files / "small.tif").stat().st_size
    assert len(version) > 10


def test_another_version_in_a_bucket_is_another_scene(bucket):
    file = write_cog(bucket.folder / "bucket" / "changing.tif", 60, 70)
    path = "s3://bucket/changing.tif"
    assert identity_of(path)[1][:2] == [path, file.stat().st_size]
    assert changed(path, lambda: write_cog(file, 60, 70, seed=7))


def test_where_no_version_is_told_the_layout_of_the_blocks_stands_for_it(own, monkeypatch):
    """A server may know us not and GDAL well: what GDAL reads of the header tells versions apart."""
    monkeypatch.setattr("geounet.raster.identity.ask", lambda _path: Answer("may not be read", denied=True))
    path = write_cog(own.folder / "a.tif", 300, 300)
    assert changed(own.url("a.tif"), lambda: write_cog(path, 300, 300, seed=2))


@pytest.mark.parametrize("fault", [Fault(404, times=99), Fault(403, times=99)])
def test_the_identity_of_what_cannot_be_reached_is_an_error(server, fault):
    server.break_with(fault)
    with pytest.raises(UnreachableError, match="answers 40"):
        identity_of(server.url("small.tif"))


def test_a_server_that_falls_silent_after_the_opening_gives_no_identity(server, monkeypatch):
    """Only a refusal for want of credentials leaves it to the layout; else an outage would look like a new version."""
    monkeypatch.setattr("geounet.raster.identity.ask", lambda _path: Answer("does not answer"))
    with pytest.raises(UnreachableError, match=r"small\.tif does not answer"):
        identity_of(server.url("small.tif"))


def test_the_identity_of_a_local_scene_holds_what_lies_behind_it(tmp_path, write_scene):
    """Absolute path, size and time; what lies beside it, and the sources of a VRT, of a VRT within it too."""
    inner = write_scene(tmp_path / "a.tif", np.ones((20, 30), np.uint8))
    copy(inner, tmp_path / "b.vrt", driver="VRT")
    # A copy of a VRT would name the VRT's sources, not the VRT.
    outer = (tmp_path / "b.vrt").read_text().replace("a.tif", "b.vrt")
    (tmp_path / "c.vrt").write_text(outer)
    status = inner.stat()
    assert identity_of(inner) == [str(inner), [str(inner), status.st_size, status.st_mtime_ns]]
    behind = {entry[0] for entry in identity_of(tmp_path / "c.vrt")[1:]}
    assert behind == {str(tmp_path / "c.vrt"), str(tmp_path / "b.vrt"), str(inner)}
    assert changed(tmp_path / "c.vrt", lambda: os.utime(inner, ns=(1, 1)))
    for ending in (".msk", ".aux.xml"):
        for path in (inner, tmp_path / "b.vrt", tmp_path / "c.vrt"):
            (tmp_path / f"a.tif{ending}").unlink(missing_ok=True)
            assert changed(path, lambda ending=ending: (tmp_path / f"a.tif{ending}").write_text("<PAMDataset/>")), path


def test_the_identity_does_not_depend_on_how_a_local_path_is_written(tmp_path, write_scene, monkeypatch):
    path = write_scene(tmp_path / "a.tif", np.ones((20, 30), np.uint8))
    monkeypatch.chdir(tmp_path)
    assert identity_of("a.tif") == identity_of(path) == identity_of(str(path))


def test_the_identity_of_a_raster_in_an_archive_is_that_of_the_archive(tmp_path, write_scene):
    path = write_scene(tmp_path / "a.tif", np.ones((20, 30), np.uint8))
    archive = tmp_path / "a.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.write(path, "in/a.tif")
    status = archive.stat()
    assert [str(archive), status.st_size, status.st_mtime_ns] in identity_of(f"/vsizip/{archive}/in/a.tif")


def test_the_identity_of_a_missing_file_is_an_error(tmp_path):
    with pytest.raises(SceneError, match="does not exist"):
        identity_of(tmp_path / "nowhere.tif")


# --- names -------------------------------------------------------------------------------------------------------

words = st.text("abcxyz019_-", min_size=1, max_size=8)
secrets = st.sampled_from(
    ["X-Amz-Signature", "X-Goog-Credential", "sig", "se", "skoid", "token", "access_token", "api_key", "AWSAccessKeyId",
     "Signature", "Expires", "Policy", "Key-Pair-Id", "password"]
)  # fmt: skip


@given(words, words, st.lists(st.tuples(secrets, st.just("hunter2"))), st.sampled_from(["", "me:hunter2@", "hunter2@"]))
def test_names_keep_what_tells_files_apart_and_lose_what_is_secret(host, value, signed, user):
    query = "&".join(f"{name}={text}" for name, text in [("item", value), *signed])
    url = f"https://{user}{host}.org:81/a/b.tif?{query}"
    plain = f"https://{host}.org:81/a/b.tif?item={value}"
    assert public_name(url) == public_name(f"/vsicurl/{url}") == plain
    assert public_text(f"'/vsicurl/{url}' is not recognized") == f"'/vsicurl/{plain}' is not recognized"
    assert public_name(public_name(url)) == plain


@given(st.text("ab/. ?=&@:\\", max_size=20))
def test_a_local_name_stays_as_it_is(name):
    assert public_name(name) == name
    assert not is_remote(name)


@pytest.mark.parametrize("path", [
    "https://h/a.tif", "http://h/a", "s3://b/k", "gs://b/k", "az://c/k", "/vsicurl/https://h/a", "/vsis3/b/k",
    "/vsis3_streaming/b/k", "/vsizip//vsicurl/https://h/a.zip/b.tif", "zip+https://h/a.zip!b.tif", "/vsiaz/c/k",
    "vrt:///vsis3/b/k?bands=1", 'NETCDF:"/vsicurl/https://h/a.nc":x', "/vsicurl?max_retry=3&url=https%3A%2F%2Fh%2Fa",
])  # fmt: skip
def test_what_comes_over_the_network_is_known_by_its_name(path):
    assert is_remote(path)


@pytest.mark.parametrize("path", [
    "/data/vsicurl/a.tif", "a.tif", "/vsizip/a.zip/b.tif", "/vsimem/a", "C:\\a.tif", "vrt://a.tif?bands=1", "file:///a",
])  # fmt: skip
def test_what_lies_on_disk_is_known_by_its_name(path):
    assert not is_remote(path)


def test_a_scene_is_named_after_its_file(server):
    scene = load_scene(server.url("small.tif?v=1.2&" + SIGNATURE))
    assert scene.name == "small"
    assert scene.label == server.url("small.tif?v=1.2")
    assert url_of(scene.path) == scene.path


def test_unfinished_work_on_another_version_of_a_remote_scene_is_refused(tmp_path, own, model):
    path = write_cog(own.folder / "a.tif", 203, 317)

    def stop(done, _blocks):
        if done == 1:
            raise KeyboardInterrupt

    how = {"engine": Engine(tile_size=64, window_size=80)}
    with pytest.raises(KeyboardInterrupt):
        predict(own.url("a.tif"), model, tmp_path / "c.tif", progress=stop, **how)
    write_cog(path, 203, 317, seed=3)
    with pytest.raises(OutputError, match="scene"):
        predict(own.url("a.tif"), model, tmp_path / "c.tif", **how)
