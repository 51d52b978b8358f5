"""An output appears whole or not at all."""

import pytest

from geounet.errors import OutputError
from geounet.outputs import atomic, check_output


def test_an_existing_output_is_refused_unless_it_may_be_replaced(tmp_path):
    path = tmp_path / "out.tif"
    path.write_text("old")
    with pytest.raises(OutputError, match=r"out\.tif exists; give another name, or --overwrite to replace it"):
        check_output(path)
    check_output(path, overwrite=True)
    assert path.read_text() == "old"


def test_the_folder_is_made_and_left_empty(tmp_path):
    check_output(tmp_path / "new" / "deep" / "out.tif")
    assert list((tmp_path / "new" / "deep").iterdir()) == []


def test_a_folder_is_no_output(tmp_path):
    with pytest.raises(OutputError, match="is a folder; name a file in it"):
        check_output(tmp_path, overwrite=True)


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"out\.tif cannot be written: "):
        check_output(tmp_path / "file" / "out.tif")


def test_on_success_all_parts_take_their_places(tmp_path):
    path = tmp_path / "out.shp"
    path.write_text("old")
    with atomic(path) as draft:
        draft.write_text("new")
        draft.with_suffix(".dbf").write_text("table")
        assert path.read_text() == "old"
        assert draft.name == path.name
    assert {item.name: item.read_text() for item in tmp_path.iterdir()} == {"out.shp": "new", "out.dbf": "table"}


def divide(number, by):
    return number / by


def test_on_failure_nothing_is_left_and_the_old_stays(tmp_path):
    path = tmp_path / "out.tif"
    path.write_text("old")
    with pytest.raises(ZeroDivisionError), atomic(path) as draft:
        divide(draft.write_text("half"), 0)
    assert {item.name: item.read_text() for item in tmp_path.iterdir()} == {"out.tif": "old"}


def test_a_full_disk_is_one_sentence(tmp_path):
    with pytest.raises(OutputError, match=r"out\.tif cannot be written: No space left"), atomic(tmp_path / "out.tif"):
        raise OSError(28, "No space left on device")
    assert list(tmp_path.iterdir()) == []
