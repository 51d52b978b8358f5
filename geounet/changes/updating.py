"""All blocks of a job brought up to its scenes."""

from __future__ import annotations

from collections import defaultdict
from functools import partial
from typing import TYPE_CHECKING

from geounet.changes.blocks import ProductReaders, blocks_of
from geounet.grid import Window
from geounet.maps.walking import walk

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from geounet.changes.blocks import BlockStore, Observation, Watch

    Progress = Callable[[int, int], None]


def update_blocks(
    store: BlockStore, watch: Watch, observations: Sequence[Observation], threads: int, progress: Progress
) -> int:
    """Bring each block up to the products that it should be made of.

    Args:
        store: the blocks.
        watch: what they are made by.
        observations: all products, in the order of their time.
        threads: how many blocks are worked on at once.
        progress: called with the blocks done and the blocks in all.

    Returns:
        How many blocks there was something to do for.

    Raises:
        SceneError: a product cannot be read.
    """
    wanted: dict[tuple[int, int], list[Observation]] = defaultdict(list)
    for one in observations:
        for block in blocks_of(one.area):
            wanted[block].append(one)
    behind = [block for block in sorted(wanted) if store.made_of(block) != [one.digest for one in wanted[block]]]

    def brought_up(block: tuple[int, int], readers: ProductReaders) -> bool:
        return store.update(block, wanted[block], readers)

    for done, _ in enumerate(walk(behind, brought_up, partial(ProductReaders, watch), threads), 1):
        progress(done, len(behind))
    return len(behind)


def cover_of(observations: Sequence[Observation]) -> Window:
    """Rows and columns of the lattice on which all products find room."""
    row, col = min(one.area.row for one in observations), min(one.area.col for one in observations)
    bottom, right = max(one.area.row_stop for one in observations), max(one.area.col_stop for one in observations)
    return Window(row, col, bottom - row, right - col)
