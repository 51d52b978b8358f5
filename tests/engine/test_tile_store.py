"""A tile store gives back what finished blocks put in, knows which are done, and belongs to one piece of work."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import zarr

from geounet.engine.tile_store import BlockRecord, Layer, open_store
from geounet.errors import OutputError
from geounet.grid import Grid, Window

REGION = Window(37, 90, 61, 113)
GRID = Grid(REGION, 16, 32, 16, 16)
SHAPE = GRID.block_shape(32)
BLOCKS = GRID.blocks(32)
LAYERS = (Layer("classes"), Layer("confidence"))
IDENTITY = {"scene": ["a.tif", 12], "model": "abc", "halo": 16}


def opened_at(path, identity=IDENTITY, **given):
    return open_store(path, REGION, SHAPE, LAYERS, identity, aside=path.parent, **given)


def drawn(block):
    """Each block's pixels, different from all other blocks' and not symmetric."""
    random = np.random.default_rng(1000 * block.row + block.col)
    shape = block.core.height, block.core.width
    return {layer.name: random.integers(0, 255, shape, np.uint8) for layer in LAYERS}


def record_of(block):
    return BlockRecord(block.row, block.col, (3, 0, block.core.pixels - 3), block.core.pixels, len(block.tiles), 0.25)


def test_blocks_read_back_in_pixels_and_records_in_any_order(tmp_path):
    store = opened_at(tmp_path / "store")
    assert len(BLOCKS) > 6
    for block in reversed(BLOCKS):
        store.write(block, drawn(block), record_of(block))
    for block in BLOCKS:
        for name, pixels in drawn(block).items():
            np.testing.assert_array_equal(store.read(block.core, name), pixels)
        assert store.record(block) == record_of(block)


def test_pieces_make_the_region_whole(tmp_path):
    store = opened_at(tmp_path / "store")
    expected = np.zeros((1, REGION.height, REGION.width), np.uint8)
    for block in BLOCKS:
        store.write(block, drawn(block), record_of(block))
        expected[:, *block.core.within(REGION)] = drawn(block)["classes"]
    found = np.full_like(expected, 255)
    for place, array in store.pieces(BLOCKS, REGION, "classes"):
        found[:, *place.within(Window(0, 0, 0, 0))] = array
    np.testing.assert_array_equal(found, expected)


def test_a_block_is_a_chunk_of_its_own(tmp_path):
    store = opened_at(tmp_path / "store")
    for block in BLOCKS:
        store.write(block, drawn(block), record_of(block))
    for layer in LAYERS:
        array = zarr.open_group(store.path, mode="r")[layer.name]
        assert array.chunks == SHAPE
        assert array.nchunks_initialized == len(BLOCKS)


def test_a_resumed_run_finds_what_is_done_and_what_is_not(tmp_path):
    opened_at(tmp_path / "store").write(BLOCKS[2], drawn(BLOCKS[2]), record_of(BLOCKS[2]))
    again = opened_at(tmp_path / "store")
    assert [again.record(block) is not None for block in BLOCKS[:4]] == [False, False, True, False]
    np.testing.assert_array_equal(again.read(BLOCKS[2].core, "confidence"), drawn(BLOCKS[2])["confidence"])


def test_what_was_never_written_is_nodata(tmp_path):
    assert (opened_at(tmp_path / "store").read(BLOCKS[0].core, "classes") == 255).all()


def test_pixels_without_a_record_count_as_not_done(tmp_path):
    store, block = opened_at(tmp_path / "store"), BLOCKS[1]
    unwritable = replace(record_of(block), seconds=object())
    with pytest.raises(TypeError):
        store.write(block, drawn(block), unwritable)
    np.testing.assert_array_equal(store.read(block.core, "classes"), drawn(block)["classes"])
    assert opened_at(tmp_path / "store").record(block) is None
    store.write(block, drawn(block), record_of(block))
    assert store.record(block) == record_of(block)


def test_half_a_record_of_a_killed_worker_counts_as_not_done(tmp_path):
    store, block = opened_at(tmp_path / "store"), BLOCKS[1]
    store.write(block, drawn(block), record_of(block))
    (record,) = Path(store.path, "done").iterdir()
    record.rename(record.with_suffix(".4711")).write_text("{")
    assert store.record(block) is None
    store.write(block, drawn(block), record_of(block))
    assert store.record(block) == record_of(block)


def test_writing_a_block_again_changes_nothing(tmp_path):
    store = opened_at(tmp_path / "store")
    for _ in range(2):
        store.write(BLOCKS[3], drawn(BLOCKS[3]), record_of(BLOCKS[3]))
    np.testing.assert_array_equal(store.read(BLOCKS[3].core, "classes"), drawn(BLOCKS[3])["classes"])
    assert store.record(BLOCKS[3]) == record_of(BLOCKS[3])


@pytest.mark.parametrize(
    ("changed", "named"),
    [({"halo": 32}, "halo"), ({"model": "def", "scene": ["b.tif", 12]}, "model, scene"), ({"new": 1}, "new")],
)
def test_a_store_of_other_work_is_refused_by_what_differs(tmp_path, changed, named):
    opened_at(tmp_path / "store")
    with pytest.raises(OutputError, match=rf"store holds unfinished work that differs in {named}; .*--overwrite"):
        opened_at(tmp_path / "store", IDENTITY | changed)


def test_an_identity_that_lacks_something_is_another(tmp_path):
    opened_at(tmp_path / "store")
    with pytest.raises(OutputError, match="differs in halo"):
        opened_at(tmp_path / "store", {"scene": ["a.tif", 12], "model": "abc"})


def test_tuples_and_lists_are_one_identity(tmp_path):
    opened_at(tmp_path / "store", {"scene": ("a.tif", 12)})
    opened_at(tmp_path / "store", {"scene": ["a.tif", 12]})


def test_a_restart_forgets_what_was_done(tmp_path):
    opened_at(tmp_path / "store").write(BLOCKS[0], drawn(BLOCKS[0]), record_of(BLOCKS[0]))
    again = opened_at(tmp_path / "store", IDENTITY | {"halo": 0}, restart=True)
    assert again.record(BLOCKS[0]) is None
    assert (again.read(BLOCKS[0].core, "classes") == 255).all()


def test_a_folder_that_is_no_store_is_refused_and_left_alone(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "holiday.jpg").write_bytes(b"sun")
    with pytest.raises(OutputError, match=r"photos is in the way"):
        opened_at(folder)
    assert [item.name for item in folder.iterdir()] == ["holiday.jpg"]


@pytest.mark.parametrize("text", ["", "{", "\0\0\0\0"])
def test_a_store_whose_identity_is_damaged_is_refused(tmp_path, text):
    opened_at(tmp_path / "store")
    (tmp_path / "store" / "identity.json").write_text(text)
    with pytest.raises(OutputError, match="store"):
        opened_at(tmp_path / "store")


def test_a_file_in_the_way_is_refused(tmp_path):
    (tmp_path / "store").write_text("in the way")
    with pytest.raises(OutputError, match="store"):
        opened_at(tmp_path / "store")


def test_a_place_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match="store"):
        opened_at(tmp_path / "file" / "store")


def test_a_store_that_is_removed_leaves_nothing(tmp_path):
    opened_at(tmp_path / "store").remove(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_worker_that_comes_late_leaves_nothing_of_a_store_that_has_gone(tmp_path):
    store = opened_at(tmp_path / "store")
    store.write(BLOCKS[0], drawn(BLOCKS[0]), record_of(BLOCKS[0]))
    store.read(BLOCKS[0].core, "classes")
    store.remove(tmp_path)
    with pytest.raises(FileNotFoundError):
        store.write(BLOCKS[1], drawn(BLOCKS[1]), record_of(BLOCKS[1]))
    with pytest.raises(FileNotFoundError):
        store.read(BLOCKS[0].core, "classes")
    assert list(tmp_path.iterdir()) == []


def test_another_store_at_the_same_place_is_not_taken_for_the_one_before(tmp_path):
    """In one process, which keeps arrays open: of another size, place or work."""
    for shift, identity in ((0, IDENTITY), (5, IDENTITY), (5, {**IDENTITY, "halo": 8}), (0, IDENTITY)):
        region = Window(REGION.row + shift, REGION.col, REGION.height + 3 * shift, REGION.width)
        blocks = Grid(region, 16, 32, 16, 16).blocks(32)
        store = open_store(tmp_path / "store", region, SHAPE, LAYERS, identity, aside=tmp_path)
        assert not any(store.record(block) for block in blocks)
        for block in blocks:
            store.write(block, drawn(block), record_of(block))
        for block in blocks:
            np.testing.assert_array_equal(store.read(block.core, "classes"), drawn(block)["classes"])
        store.remove(tmp_path)


def test_a_record_is_small_text(tmp_path):
    store = opened_at(tmp_path / "store")
    store.write(BLOCKS[0], drawn(BLOCKS[0]), record_of(BLOCKS[0]))
    (record,) = Path(store.path, "done").iterdir()
    assert json.loads(record.read_text())["counts"] == list(record_of(BLOCKS[0]).counts)
