"""A grid's cores cover the region, every pixel once, on one lattice that neither blocks nor bounding boxes move."""

from dataclasses import FrozenInstanceError, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geounet.grid import Grid, Window, round_up

SCENE = Window(0, 0, 83, 121)

windows = st.builds(Window, st.integers(-20, 20), st.integers(-20, 20), st.integers(0, 25), st.integers(0, 25))


@st.composite
def regions(draw):
    """Any rectangle of the scene, the empty ones and the whole among them."""
    row, col = draw(st.integers(0, SCENE.height)), draw(st.integers(0, SCENE.width))
    return Window(row, col, draw(st.integers(0, SCENE.height - row)), draw(st.integers(0, SCENE.width - col)))


@st.composite
def grids(draw, region=None):
    stride = draw(st.sampled_from([1, 2, 3, 4, 16]))
    core_height, core_width = (stride * draw(st.integers(1, 40 // stride)) for _ in range(2))
    origin = (stride * draw(st.integers(-3, 3)) for _ in range(2))
    halo, area = stride * draw(st.integers(0, 3)), draw(regions()) if region is None else region
    return Grid(area, core_height, core_width, halo, stride, *origin)


def times_covered(cores, area):
    counts = np.zeros((area.height, area.width), int)
    for core in cores:
        counts[core.within(area)] += 1
    return counts


def lies_in(inner, outer):
    return inner.intersection(outer) == inner


@given(grids())
def test_cores_cover_the_region_every_pixel_once(grid):
    cores = [tile.core for tile in grid.tiles()]
    assert all(lies_in(core, grid.region) for core in cores)
    assert all(core.pixels for core in cores)
    assert (times_covered(cores, grid.region) == 1).all()
    assert sum(core.pixels for core in cores) == grid.region.pixels


@given(grids())
def test_every_window_is_whole_and_starts_at_a_multiple_of_the_stride(grid):
    for tile in grid.tiles():
        assert (tile.window.height, tile.window.width) == (grid.window_height, grid.window_width)
        assert tile.window.row % grid.stride == 0
        assert tile.window.col % grid.stride == 0


@given(grids())
def test_every_core_has_the_halo_around_it_on_all_sides(grid):
    for tile in grid.tiles():
        assert lies_in(tile.core.padded(grid.halo), tile.window)


@given(grids())
def test_windows_of_a_region_are_windows_of_the_whole_scene(grid):
    whole = replace(grid, region=SCENE)
    cores = {tile.window: tile.core for tile in whole.tiles()}
    for tile in grid.tiles():
        assert tile.core == cores[tile.window].intersection(grid.region)


@given(grids(), regions())
def test_tiles_within_a_part_are_those_of_the_region_clipped_to_it(grid, part):
    clipped = [(tile.core.intersection(part), tile.window) for tile in grid.tiles()]
    assert [(tile.core, tile.window) for tile in grid.tiles(part)] == [item for item in clipped if item[0].pixels]


@given(grids(), st.integers(0, 130))
def test_blocks_only_regroup_the_tiles(grid, tile_size):
    blocks = grid.blocks(tile_size)
    tiles = [tile for block in blocks for tile in block.tiles]
    assert sorted(tiles, key=repr) == sorted(grid.tiles(), key=repr)
    assert (times_covered([block.core for block in blocks], grid.region) == 1).all()
    for block in blocks:
        assert all(lies_in(tile.core, block.core) for tile in block.tiles)
        assert (times_covered([tile.core for tile in block.tiles], block.core) == 1).all()


@given(grids(), st.integers(1, 130))
def test_a_block_is_a_cell_of_the_scenes_block_lattice(grid, tile_size):
    height, width = grid.block_shape(tile_size)
    assert height % grid.core_height == width % grid.core_width == 0
    assert tile_size <= height < tile_size + grid.core_height
    assert tile_size <= width < tile_size + grid.core_width
    for block in grid.blocks(tile_size):
        cell = Window(grid.origin_row + block.row * height, grid.origin_col + block.col * width, height, width)
        assert block.core == cell.intersection(grid.region)


def test_a_region_without_pixels_has_neither_tiles_nor_blocks():
    grid = Grid(Window(5, 7, 0, 12), 16, 16)
    assert list(grid.tiles()) == []
    assert grid.blocks(64) == ()


def test_a_known_grid_reads_as_drawn():
    # 5 x 7 pixels in cores of 4 x 4 with a halo of 2: two by two tiles, the last ones cut by the edge.
    tiles = list(Grid(Window(0, 0, 5, 7), 4, 4, 2, 2).tiles())
    assert [tile.core for tile in tiles] == [
        Window(0, 0, 4, 4),
        Window(0, 4, 4, 3),
        Window(4, 0, 1, 4),
        Window(4, 4, 1, 3),
    ]
    assert [tile.window for tile in tiles] == [Window(row, col, 8, 8) for row in (-2, 2) for col in (-2, 2)]


@pytest.mark.parametrize(
    ("sizes", "name"),
    [
        ((0, 16, 0, 1), "core_height"),
        ((16, -16, 0, 16), "core_width"),
        ((24, 16, 0, 16), "core_height"),
        ((16, 24, 0, 16), "core_width"),
        ((16, 16, 8, 16), "halo"),
        ((16, 16, -16, 16), "halo"),
        ((16, 16, 0, 0), "core_height"),
        ((16, 16, 0, -1), "core_height"),
    ],
)
def test_a_size_that_is_no_multiple_of_the_stride_is_refused_by_name(sizes, name):
    with pytest.raises(ValueError, match=name):
        Grid(SCENE, *sizes)


@pytest.mark.parametrize("size", [(-1, 4), (4, -1)])
def test_a_window_of_negative_size_is_refused(size):
    with pytest.raises(ValueError, match="negative"):
        Window(0, 0, *size)


def test_windows_cannot_be_changed():
    with pytest.raises(FrozenInstanceError):
        SCENE.row = 1


@given(windows, windows)
def test_intersection_holds_the_pixels_of_both(one, other):
    def pixels(window):
        return {(row, col) for row in range(window.row, window.row_stop) for col in range(window.col, window.col_stop)}

    assert pixels(one.intersection(other)) == pixels(one) & pixels(other)


@given(windows, st.integers(0, 5))
def test_within_finds_a_window_in_the_array_of_another(inner, margin):
    outer = inner.padded(margin)
    rows, cols = np.mgrid[outer.row : outer.row_stop, outer.col : outer.col_stop]
    place = inner.within(outer)
    assert rows[place].shape == (inner.height, inner.width)
    assert (rows[place] == np.arange(inner.row, inner.row_stop)[:, None]).all()
    assert (cols[place] == np.arange(inner.col, inner.col_stop)).all()


@given(st.integers(-1000, 1000), st.integers(1, 70))
def test_round_up_gives_the_next_multiple(value, multiple):
    rounded = round_up(value, multiple)
    assert rounded % multiple == 0
    assert value <= rounded < value + multiple
