"""Tiles of a map worked on by several threads, each with readers of its own, and handed out in their order."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack
from itertools import islice
from queue import SimpleQueue
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

Cell = TypeVar("Cell")
Readers = TypeVar("Readers")
Found = TypeVar("Found")

_AHEAD = 2
"""Cells that are ready or at work for each thread."""


def walk(
    cells: Iterable[Cell],
    work: Callable[[Cell, Readers], Found],
    readers: Callable[[], AbstractContextManager[Readers]],
    threads: int,
) -> Iterator[tuple[Cell, Found]]:
    """Each cell with what the work makes of it, in the order of the cells; a few of them are ahead.

    Args:
        cells: what is worked on.
        work: makes a result of a cell and of readers that no other thread has meanwhile.
        readers: what opens them.
        threads: how many.
    """
    free: SimpleQueue[Readers] = SimpleQueue()
    with ExitStack() as stack:
        for _ in range(threads):
            free.put(stack.enter_context(readers()))
        pool = stack.enter_context(ThreadPoolExecutor(threads))

        def with_readers(cell: Cell) -> Found:
            mine = free.get()
            try:
                return work(cell, mine)
            finally:
                free.put(mine)

        left = iter(cells)
        flying = [(cell, pool.submit(with_readers, cell)) for cell in islice(left, _AHEAD * threads)]
        while flying:
            cell, future = flying.pop(0)
            yield cell, future.result()
            flying += [(cell, pool.submit(with_readers, cell)) for cell in islice(left, 1)]
