"""What a prediction will do, before it does it: the lattice of windows, and the blocks that group them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from geounet.engine.blending import blended_block_shape, blended_blocks, reach_of
from geounet.engine.symmetry import square_core
from geounet.engine.tuning import Choice, choose
from geounet.grid import Grid

if TYPE_CHECKING:
    from pathlib import Path

    from geounet.engine.tuning import Tuning
    from geounet.grid import Block, Window
    from geounet.models.model_file import ModelCard
    from geounet.raster.scene import Scene


HERE = "here"
"""The scheduler of work that is a task of a worker already."""


@dataclass(frozen=True, slots=True)
class Engine:
    """How to run; nothing here changes a pixel but `precision` and `tta`, and by rounding the window and the device."""

    tile_size: int = 2048
    """Side of a block in pixels, what a worker takes at once; rounded up to whole cores."""
    window_size: int | None = None
    """Side of what the network sees at once, halo included; None to choose, see :func:`geounet.engine.tuning.fit`."""
    halo: int | None = None
    """Pixels around a core, rounded up to the stride; None for the receptive field, or what does for it."""
    device: str = "auto"
    """See :func:`geounet.engine.devices.pick_device`."""
    precision: str = "auto"
    """A key of :data:`geounet.engine.devices.PRECISIONS`; `auto` for the fastest that changes next to nothing."""
    runtime: str = "auto"
    """See :data:`geounet.engine.runtimes.RUNTIMES`."""
    scheduler: str = "local"
    """See :func:`geounet.engine.cluster.connect`; :data:`HERE` for this thread, without Dask."""
    workers: int = 1
    """See :func:`geounet.engine.cluster.connect`."""
    tta: bool = False
    """Test-time augmentation, at eight times the work; see :mod:`geounet.engine.symmetry`."""
    threads: int | None = None
    """Threads of a network that runs in this process; by default as many as it may use cores."""
    choice: Choice | None = None
    """What halo, precision and runtime are, where they have been chosen for many scenes together."""


def choice_for(
    scene: Scene,
    card: ModelCard,
    model: Path,
    device: str,
    engine: Engine,
    region: Window | None = None,
    pixels: int | None = None,
) -> Choice:
    """What an engine leaves open, chosen; see :func:`geounet.engine.tuning.choose`.

    Raises:
        ModelError: the window has no room for a core, or the runtime cannot be used.
    """
    return choose(
        scene,
        card,
        model,
        device,
        pixels=pixels,
        region=region,
        window_size=engine.window_size,
        halo=engine.halo,
        runtime=engine.runtime,
        precision=engine.precision,
    )


@dataclass(frozen=True, slots=True)
class Plan:
    """What a prediction will do."""

    scene: Scene
    """What is read."""
    card: ModelCard
    """The model."""
    tuning: Tuning
    """What it runs with."""
    grid: Grid
    """The lattice of windows over the scene, and the region that is asked for."""
    blocks: tuple[Block, ...]
    """What the tasks will take."""
    block_shape: tuple[int, int]
    """Height and width of a block."""
    reach: int
    """Pixels on each side of a core's edge over which windows are blended; 0 where the receptive field is bounded."""
    tta: bool
    """Whether each window is seen in its eight flips and rotations."""

    @property
    def tiling(self) -> str:
        """`exact`, or why it is not quite, and what is done about it."""
        blended = f"; neighbouring windows are blended over {2 * self.reach} px" if self.reach else ""
        return self.tuning.tiling + blended


def plan_prediction(
    scene: Scene,
    card: ModelCard,
    tuning: Tuning,
    tile_size: int,
    region: Window | None = None,
    *,
    tta: bool = False,
) -> Plan:
    """Lay the lattice and group its windows into blocks.

    Args:
        scene: what is read.
        card: the model; if it sees its whole window, windows are blended, see :mod:`geounet.engine.blending`.
        tuning: core and halo of the windows.
        tile_size: side of a block in pixels, rounded up to whole cores.
        region: the pixels of a bounding box; the whole scene by default.
        tta: see :mod:`geounet.engine.symmetry`; cores become square.
    """
    region = region or scene.extent
    area = tuning.area
    if tta:
        tuning = replace(tuning, core=square_core(tuning.core, tuning.halo, area.height, area.width))
    grid = Grid(region, *tuning.core, tuning.halo, card.stride, area.row, area.col)
    reach = reach_of(tuning.core, tuning.halo, card.stride) if card.halo is None else 0
    if reach:
        blocks, shape = blended_blocks(grid, scene.extent, reach, tile_size), blended_block_shape(grid, tile_size)
    else:
        blocks, shape = grid.blocks(tile_size), grid.block_shape(tile_size)
    return Plan(scene, card, tuning, grid, blocks, shape, reach, tta)
