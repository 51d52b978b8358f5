"""Whatever an id holds, its product's folder lies in the batch's."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from geounet.products.names import TAKEN, folder_name


@given(st.text(max_size=400))
@example("字" * 400)
@example("a\udcff")
def test_a_folder_lies_right_where_it_is_put(tmp_path_factory, identifier):
    folder = tmp_path_factory.getbasetemp()
    name = folder_name(identifier)
    place = (folder / name).resolve()
    assert place.parent == folder.resolve()
    assert name not in TAKEN
    assert 0 < len(name.encode()) <= 200
    place.mkdir(exist_ok=True)


@given(st.lists(st.text(alphabet="a/.\\:_ \0é", min_size=0, max_size=5), unique=True, max_size=30))
def test_two_ids_have_two_folders(identifiers):
    assert len({folder_name(one) for one in identifiers}) == len(identifiers)


@pytest.mark.parametrize("plain", ["S2A_T32TQM_20200713", "LC08_L2SP_190026_20200713_02_T1", "a scene", "Größe.2"])
def test_a_plain_id_is_its_own_folder(plain):
    assert folder_name(plain) == plain


@pytest.mark.parametrize("bad", ["../x", "/etc/passwd", "..", "", ".hidden", "a/b", "NUL", "com1.tif", "summary.json",
                                 "x" * 400, "trailing "])  # fmt: skip
def test_an_id_that_is_no_plain_name_gets_one_with_a_hash(bad):
    assert folder_name(bad) != bad
    assert folder_name(bad)[-9] == "-"
