"""An output appears whole or not at all, and a request that was cut off knows its own."""

import os
import socket
import subprocess
import sys

import pytest

from geounet.errors import OutputError
from geounet.outputs import atomic, check_output, claimed, is_unfinished, sweep, tidy


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


def leavings(folder):
    """What lies in a folder, hidden or not."""
    return sorted(item.name for item in folder.iterdir())


def publish(path, text):
    with atomic(path) as draft:
        draft.write_text(text)


def dying(request, *paths, overwrite=False, after=1, signal=9):
    """A process that publishes the first few of its outputs and is killed."""
    code = f"""
import os
from pathlib import Path
from geounet.outputs import atomic, claimed
paths = {[str(path) for path in paths]}
with claimed([Path(path) for path in paths], {request!r}, {overwrite}):
    for path in reversed(paths[len(paths) - {after}:]):
        with atomic(Path(path)) as draft:
            draft.write_text("new")
    with atomic(Path(paths[0])) as draft:
        draft.write_text("half")
        os.kill(os.getpid(), {signal})
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -signal


def test_what_a_killed_request_left_is_its_own_and_no_others(tmp_path):
    """Of two outputs one is there: the same request goes on, another is refused, and nothing is left in the end."""
    classes, confidence = tmp_path / "classes.tif", tmp_path / "confidence.tif"
    dying("a", classes, confidence)
    assert confidence.read_text() == "new"
    assert not classes.exists()
    with pytest.raises(OutputError, match=r"confidence\.tif exists"), claimed([classes, confidence], "b"):
        pass
    with claimed([classes, confidence], "a") as claim:
        assert (claim.resumed, claim.may_replace) == (True, False)
        publish(confidence, "newer")
        publish(classes, "newest")
    assert leavings(tmp_path) == ["classes.tif", "confidence.tif"]
    with pytest.raises(OutputError, match=r"classes\.tif exists"), claimed([classes, confidence], "a"):
        pass
    assert leavings(tmp_path) == ["classes.tif", "confidence.tif"]


def test_a_killed_overwriting_is_gone_on_with_without_being_told_again(tmp_path):
    path = tmp_path / "out.tif"
    path.write_text("old")
    dying("a", path, overwrite=True, after=0)
    assert path.read_text() == "old"
    with pytest.raises(OutputError, match="exists"), claimed([path], "b"):
        pass
    with claimed([path], "a") as claim:
        assert (claim.resumed, claim.may_replace) == (True, True)
        publish(path, "new")
    assert path.read_text() == "new"
    assert leavings(tmp_path) == ["out.tif"]


def test_drafts_of_a_dead_process_go_with_the_next_run_of_any_request(tmp_path):
    path = tmp_path / "out.tif"
    dying("a", path, after=0)
    assert leavings(tmp_path) == [".out.tif.unfinished"]
    with claimed([path], "b") as claim:
        assert not claim.resumed
        publish(path, "whole")
    assert leavings(tmp_path) == ["out.tif"]


def test_drafts_of_a_dead_process_are_tidied_and_those_of_a_living_one_stay(tmp_path):
    (tmp_path / "dead").mkdir()
    dying("a", tmp_path / "dead" / "one.tif", after=0)
    dying("a", tmp_path / "dead" / "two.tif", after=0)
    tidy(tmp_path / "dead" / "one.tif")
    assert is_unfinished(tmp_path / "dead" / "one.tif", "a")
    with claimed([tmp_path / "dead" / "alive.tif"], "a"):
        sweep(tmp_path / "dead")
        assert leavings(tmp_path / "dead") == [".alive.tif.unfinished"]
    assert leavings(tmp_path / "dead") == []


SECOND = "with claimed([Path('{}')], 'a', True): pass"


def test_a_living_process_keeps_its_outputs_to_itself(tmp_path):
    """The second is told who has it, and what the first makes is whole."""
    path = tmp_path / "out.tif"
    with claimed([path], "a"), atomic(path) as draft:
        draft.write_text("first")
        code = f"from pathlib import Path; from geounet.outputs import claimed\n{SECOND.format(str(path))}"
        second = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert f"out.tif is being written by process {os.getpid()} on {socket.gethostname()}, since 20" in second.stderr
    assert path.read_text() == "first"
    assert leavings(tmp_path) == ["out.tif"]


def test_a_request_that_fails_is_unfinished_once_it_has_published(tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    with pytest.raises(ZeroDivisionError), claimed([first, second], "a"):
        divide(1, 0)
    assert leavings(tmp_path) == []
    with pytest.raises(ZeroDivisionError), claimed([first, second], "a"):
        publish(second, "new") or divide(1, 0)
    with claimed([first, second], "a") as claim:
        assert claim.resumed
    assert leavings(tmp_path) == ["second"]


def test_companions_of_what_is_replaced_go_with_it(tmp_path):
    path, other, style = tmp_path / "out.tif", tmp_path / "out.tif.aux.xml", tmp_path / "out.qml"
    for item in (path, other, style):
        item.write_text("old")
    with atomic(path, [other, style]) as draft:
        draft.write_text("new")
        draft.with_suffix(".qml").write_text("new")
        assert other.read_text() == "old"
    assert {item.name: item.read_text() for item in tmp_path.iterdir()} == {"out.tif": "new", "out.qml": "new"}


def test_a_manifest_that_was_cut_off_says_nothing(tmp_path):
    folder = tmp_path / ".out.tif.unfinished"
    folder.mkdir()
    (folder / "request.json").write_text('{"request": "a", "outp')
    with claimed([tmp_path / "out.tif"], "a") as claim:
        assert not claim.resumed
    assert leavings(tmp_path) == []
