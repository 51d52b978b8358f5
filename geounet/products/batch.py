"""The state of a batch, kept in its folder while it runs and after it: what `geounet status` reads."""

from __future__ import annotations

import json
import math
import threading
import time
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from geounet.errors import OutputError
from geounet.outputs import atomic, holder_of
from geounet.products.record import Product, hectares_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SUMMARY = "summary.json"
WAITING, RUNNING, DONE, UNCHANGED, KEPT, FAILED = "waiting", "running", "done", "unchanged", "kept", "failed"
"""What a scene of a batch is: to be done, at work, done by this run, found finished, found finished but of other
options or another state of the scene and left so, failed."""
_EVERY = 1.0
"""Seconds between two writings of the state while nothing but numbers change."""
_RARELY = 10
"""Times as long as a writing takes, at the least, until the next one."""


@dataclass(slots=True)
class Entry:
    """One scene of a batch."""

    id: str
    """The scene's."""
    scene: str
    """Path or URL, without credentials."""
    folder: str
    """Name of its product's folder."""
    state: str = WAITING
    """One of :data:`WAITING` and so on."""
    reason: str = ""
    """Why it is done, or done anew; or what has changed of one that is kept."""
    pixels: int = 0
    """Pixels that are asked for, as soon as they are known."""
    share: float = 0.0
    """Of its blocks that are predicted."""
    seconds: float = 0.0
    """From its start to its end."""
    attempts: int = 0
    """How often it was tried."""
    failure: str = ""
    """Why it failed, in one line."""
    valid_share: float | None = None
    """See :class:`geounet.products.record.Product`."""
    masked_share: float | None = None
    """See :class:`geounet.products.record.Product`."""
    polygons: int | None = None
    """Polygons written."""
    area_ha: float | None = None
    """Hectares they cover; None without a CRS."""
    hectares: dict[str, float | None] = field(default_factory=dict)
    """The same for each class."""

    def take(self, product: Product) -> None:
        """What the product says of itself."""
        self.valid_share, self.masked_share = round(product.valid_share, 6), round(product.masked_share, 6)
        self.polygons, self.area_ha = product.polygon_count, hectares_of(product.area_ha)
        self.hectares = {name: hectares_of(area) for name, area in product.hectares.items()}


@dataclass(slots=True)
class Batch:
    """All scenes of a run, and how far they are."""

    scenes: list[Entry]
    """In the order in which they are begun."""
    state: str = RUNNING
    """`running`, `finished` or `stopped`; `dead` of one that said running and whose process is no more."""
    started: str = ""
    """ISO 8601, UTC."""
    updated: str = ""
    """Likewise: when this was written."""
    seconds: float = 0.0
    """From the start until then."""
    kinds: list[dict[str, Any]] = field(default_factory=list)
    """What was chosen for each kind of scene, and on which scene it was probed."""
    speed: float | None = None
    """Pixels a second of the last run that did any, this one or one before."""
    holder: dict[str, Any] = field(default_factory=dict)
    """Host, process and start of the run that is at work; empty where there is none."""

    def of(self, *states: str) -> list[Entry]:
        """The scenes in one of these states."""
        return [entry for entry in self.scenes if entry.state in states]

    @property
    def counts(self) -> dict[str, int]:
        """Scenes by state, those that there are."""
        found = {state: len(self.of(state)) for state in (DONE, UNCHANGED, KEPT, RUNNING, WAITING, FAILED)}
        return {state: count for state, count in found.items() if count}

    @property
    def hectares(self) -> dict[str, float]:
        """Of each class, in all scenes together; where scenes overlap, ground counts twice."""
        found: dict[str, float] = {}
        for entry in self.scenes:
            for name, area in entry.hectares.items():
                found[name] = found.get(name, 0.0) + (area or 0.0)
        return dict(sorted(found.items()))

    @property
    def pixels_done(self) -> float:
        """Pixels that this run has predicted."""
        return sum(entry.pixels * (1.0 if entry.state == DONE else entry.share) for entry in self.of(DONE, RUNNING))

    @property
    def pixels_left(self) -> float:
        """Pixels still to be predicted; scenes that no one has looked at yet count as the others do on average."""
        known = [entry.pixels for entry in self.scenes if entry.pixels]
        usual = sum(known) / len(known) if known else 0.0
        return sum((entry.pixels or usual) * (1 - entry.share) for entry in self.of(RUNNING, WAITING))

    @property
    def rate(self) -> float | None:
        """Pixels a second; None where nothing is done yet."""
        return self.pixels_done / self.seconds if self.seconds and self.pixels_done else None

    @property
    def seconds_left(self) -> float | None:
        """As things have gone; None where that is not known."""
        return None if self.rate is None else self.pixels_left / self.rate

    @property
    def estimate(self) -> float | None:
        """Seconds that the scenes to be done would take, at the speed at which earlier runs in the folder went."""
        return self.pixels_left / self.speed if self.speed else None

    def to_json(self) -> dict[str, Any]:
        """As it is written, and as `geounet status --json` prints it."""
        left = self.seconds_left
        return {
            **{item.name: getattr(self, item.name) for item in fields(self) if item.name != "scenes"},
            "counts": self.counts,
            "hectares": {name: round(area, 6) for name, area in self.hectares.items()},
            "mpx_per_second": None if self.rate is None else round(self.rate / 1e6, 3),
            "seconds_left": None if left is None else round(left, 1),
            "scenes": [asdict(entry) for entry in self.scenes],
        }


class Journal:
    """The state of a running batch: changed by several threads, written to its folder, and told to who wants to see."""

    def __init__(self, folder: Path, batch: Batch, show: Callable[[Batch], None]) -> None:
        self.batch = batch
        self._path, self._show = folder / SUMMARY, show
        self._lock = threading.Lock()
        self._start, self._written, self._took = time.monotonic(), -math.inf, 0.0
        batch.started = _now()

    def change(self, entry: Entry, **values: Any) -> None:
        """Change fields of a scene; a change of its state is written soon."""
        with self._lock:
            turned = values.get("state", entry.state) != entry.state
            for name, value in values.items():
                setattr(entry, name, value)
            # Writing the state of thousands of scenes takes its time.
            self._tell(pause=_RARELY * self._took if turned else max(_EVERY, _RARELY * self._took))

    def keep(self, kind: dict[str, Any]) -> None:
        """Note what was chosen for a kind of scenes, before any product of it is begun."""
        with self._lock:
            self.batch.kinds.append(kind)
            self._tell()

    def end(self, state: str) -> None:
        """The batch is over; what was at work is to be done again."""
        with self._lock:
            for entry in self.batch.of(RUNNING):
                entry.state, entry.share = WAITING, 0.0
            self.batch.state = state
            self.batch.speed = self.batch.rate or self.batch.speed
            self._tell()

    def _tell(self, *, pause: float = 0.0) -> None:
        now = time.monotonic()
        self.batch.seconds = round(now - self._start, 3)
        if now - self._written >= pause:
            self.batch.updated = _now()
            with atomic(self._path) as draft:
                draft.write_text(json.dumps(self.batch.to_json(), indent=1), encoding="utf-8")
            self._written = time.monotonic()
            self._took = self._written - now
        self._show(self.batch)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def read_batch(folder: Path) -> Batch | None:
    """The batch of a folder as it was last written; None where there is none.

    Raises:
        OutputError: its state cannot be read.
    """
    path = folder / SUMMARY
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        entries = [Entry(**entry) for entry in found["scenes"]]
        known = {item.name for item in fields(Batch)} - {"scenes"}
        batch = Batch(entries, **{name: value for name, value in found.items() if name in known})
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise OutputError(f"{path} is no summary of a batch, or damaged: {error}; remove it") from error
    batch.holder = holder_of(path)
    if batch.state == RUNNING and not batch.holder:
        batch.state = "dead"
    return batch
