"""The state of a job: brought up to its scenes, and written as rasters, events and tables."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
from dataclasses import asdict, replace
from datetime import datetime
from typing import TYPE_CHECKING

import geopandas as gpd
import numpy as np
from pyproj import CRS

from geounet.changes.blocks import BlockStore, ProductReaders, Watch
from geounet.changes.events import events_of
from geounet.changes.kinds import kinds_of
from geounet.changes.state_rasters import NAMES, PHASES, Cover, event_rasters, write_states
from geounet.changes.timeline import (
    TIMELINE,
    TRANSITIONS,
    Matrices,
    hectares_by_class,
    pairs_to_compare,
    write_timeline,
    write_transitions,
)
from geounet.changes.updating import cover_of, update_blocks
from geounet.formats.gdal import dated
from geounet.formats.vector_io import write_vectors
from geounet.jobs.checking import confirmation_of
from geounet.jobs.job import several
from geounet.maps.frame import lattice_for
from geounet.maps.layers import open_layer
from geounet.outlines.attributes import Zonal
from geounet.outputs import atomic
from geounet.products.record import RECORD

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from geounet.changes.ledger import Ledger, Seen
    from geounet.jobs.job import Job
    from geounet.models.model_file import ModelCard

    Progress = Callable[[int, int], None]

EVENTS = ("events.parquet", "events.gpkg")
"""The table of events."""
OUTPUTS = (*(f"{name}.tif" for name in NAMES), *EVENTS, TIMELINE, TRANSITIONS)
"""All that the state is written as."""
_MADE_OF = "made_of.json"
_BLOCKS, _PAIRS = "blocks", "pairs"
_log = logging.getLogger(__name__)


class JobState:
    """The state of one job."""

    def __init__(
        self, job: Job, card: ModelCard, ledger: Ledger, products: Path, polygons: Callable[..., gpd.GeoDataFrame]
    ) -> None:
        """Of a job.

        Args:
            job: what it says.
            card: its model.
            ledger: its scenes.
            products: the folder of their products.
            polygons: makes polygons of a raster, see :func:`geounet.tasks.vectorize.polygon_frame`.
        """
        self._job, self._card, self._ledger, self._products = job, card, ledger, products
        self._polygon_frame = polygons

    def watch(self, made: dict[str, tuple[Seen, Path]]) -> Watch | None:
        """The lattice (the job's, or that of the earliest scene) and the rule; None where there is no scene yet."""
        known = self._there() | made
        if not known:
            return None
        first, folder = min(known.values(), key=lambda one: (datetime.fromisoformat(one[0].taken), one[0].id))
        layer, grid = open_layer(folder), self._job.grid
        crs, lattice = lattice_for([layer], grid.crs or "auto", grid.resolution)
        _log.debug("the lattice is that of %s", first.id)
        return Watch(crs, lattice, confirmation_of(self._job), self._watched())

    def _there(self) -> dict[str, tuple[Seen, Path]]:
        """Known scenes whose products are there, by their ids."""
        found = {seen.id: (seen, self._products / seen.folder) for seen in self._ledger.scenes.values()}
        return {name: one for name, one in found.items() if (one[1] / RECORD).exists()}

    def _watched(self) -> NDArray[np.uint8]:
        names = {item.value: item.name for item in self._card.classes}
        before, after = several(self._job.change.before), several(self._job.change.after)
        table = np.zeros((256, 256), np.uint8)
        for old, was in names.items():
            for new, is_now in names.items():
                table[old, new] = (not before or was in before) and (not after or is_now in after)
        return table

    def bring_in(self, made: dict[str, tuple[Seen, Path]], watch: Watch) -> None:
        """Note where products lie on the lattice, and how much of each class they hold.

        Where the lattice is another one than that of the ledger, this is done for all scenes.
        """
        ledger = self._ledger
        if ledger.lattice != watch.lattice_key:
            if ledger.scenes:
                _log.warning("the lattice is another one: the state of all pixels is worked out anew")
            made = self._there() | made
            ledger.lattice = watch.lattice_key
        with ProductReaders(watch) as readers:
            for seen, folder in made.values():
                layer = open_layer(folder)
                area = watch.lattice.around([layer.classes], watch.crs)
                placed = replace(seen, digest=layer.digest, area=(area.row, area.col, area.height, area.width))
                classes = hectares_by_class(placed.observation(self._products), layer, watch, readers)
                ledger.put(replace(placed, classes=classes))

    def update(self, watch: Watch, used: list[Seen], aside: Path, progress: Progress) -> int:
        """Bring the state up to the scenes, and write it.

        Args:
            watch: lattice and rule.
            used: the scenes that are observations, in the order of their time.
            aside: a folder for what is needed for a while.
            progress: called with the blocks done and the blocks in all.

        Returns:
            How many blocks there was something to do for.

        Raises:
            SceneError: a product cannot be read.
            OutputError: an output cannot be written.
        """
        out, observations = self._job.out, [seen.observation(self._products) for seen in used]
        store = BlockStore(out / _BLOCKS, watch)
        blocks = update_blocks(store, watch, observations, os.cpu_count() or 1, progress)
        for other in (out / _BLOCKS).iterdir():
            if other != store.folder:
                shutil.rmtree(other, ignore_errors=True)
        made_of = self._made_of(watch, used)
        if not self._is_written(made_of):
            cover = Cover(store, watch, cover_of(observations), kinds_of(self._card.classes))
            self._write(cover, used, aside)
            with atomic(out / _MADE_OF) as draft:
                draft.write_text(json.dumps(made_of), encoding="utf-8")
        return blocks

    def forget(self) -> None:
        """Remove the states of all pixels, so that the next update makes them of the products."""
        shutil.rmtree(self._job.out / _BLOCKS, ignore_errors=True)
        (self._job.out / _MADE_OF).unlink(missing_ok=True)

    def digests(self) -> dict[str, str]:
        """Hashes of all that is written, by name."""
        places = [self._job.out / name for name in OUTPUTS]
        return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in places if path.exists()}

    def events(self) -> gpd.GeoDataFrame:
        """The table of events, as it is written."""
        return gpd.read_parquet(self._job.out / EVENTS[0])

    def _made_of(self, watch: Watch, used: list[Seen]) -> str:
        """Tells whether what is written is what would be."""
        names = [(item.value, item.name, item.color) for item in self._card.classes]
        parts = [watch.key, self._job.change.min_area, names, [asdict(seen) for seen in used]]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    def _is_written(self, made_of: str) -> bool:
        out = self._job.out
        try:
            same = json.loads((out / _MADE_OF).read_text(encoding="utf-8")) == made_of
        except (OSError, ValueError):
            return False
        return same and all((out / name).exists() for name in OUTPUTS)

    def _write(self, cover: Cover, used: list[Seen], aside: Path) -> None:
        """Rasters, events, timeline and transitions."""
        out = self._job.out
        write_states(out, cover)
        events = self._found_events(cover, aside / "events")
        with dated(used[-1].taken.replace("+00:00", "Z")):
            for name in EVENTS:
                write_vectors(events, out / name, overwrite=True)
        names = {item.value: item.name for item in self._card.classes}
        write_timeline(out / TIMELINE, used, names)
        with ProductReaders(cover.watch) as readers:
            matrices = Matrices(out / _PAIRS, cover.watch, self._products, readers)
            pairs = pairs_to_compare(used)
            rows = [(later, earlier, which, matrices.of(earlier, later)) for later, earlier, which in pairs]
            matrices.forget_others()
        write_transitions(out / TRANSITIONS, rows, names)

    def _found_events(self, cover: Cover, aside: Path) -> gpd.GeoDataFrame:
        aside.mkdir()
        with event_rasters(aside, cover) as written:
            rasters = dict(written)
        polygons = [(phase, self._polygons(phase, *rasters[phase])) for phase in PHASES]
        shutil.rmtree(aside)
        return events_of(polygons, cover.kinds, cover.area, CRS.from_wkt(cover.watch.crs.to_wkt()))

    def _polygons(self, phase: str, kinds: Path, known: Path) -> gpd.GeoDataFrame:
        wanted = {"key": "min", "confirmed": "min", "last": "max", "confidence": "mean"}
        stats = [Zonal(known, (statistic,), band) for band, statistic in wanted.items()]
        frame = self._polygon_frame(kinds, stats=stats, min_area=self._job.change.min_area)
        return frame.rename(columns=lambda name: name.removeprefix(f"{phase}_"))
