"""What a monitoring job has seen: its scenes, in the order of their time, with what is known of each."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

from geounet.changes.blocks import Observation
from geounet.errors import OutputError
from geounet.grid import Window
from geounet.outputs import atomic
from geounet.products.record import RECORD

if TYPE_CHECKING:
    from pathlib import Path

LEDGER = "scenes.json"
"""Name of the ledger in a job's folder."""
_EPOCH = date(1970, 1, 1)


@dataclass(frozen=True, slots=True)
class Seen:
    """A scene that has been predicted."""

    id: str
    """The scene's."""
    name: str
    """What it is opened by."""
    stamp: str
    """Tells whether what the name stands for is another now."""
    taken: str
    """When it was taken: ISO 8601, UTC."""
    folder: str
    """Name of its product's folder."""
    digest: str
    """Of its product's record."""
    valid_share: float
    """Of its pixels."""
    area: tuple[int, int, int, int]
    """Row, column, height and width on the lattice that it may cover."""
    classes: dict[str, tuple[int, float]] = field(default_factory=dict)
    """Pixels and hectares of each class, by its value."""
    made_by: str = ""
    """Tells model and options that it was predicted with from others."""

    @property
    def day(self) -> int:
        """Days since 1970-01-01."""
        return (datetime.fromisoformat(self.taken).astimezone(UTC).date() - _EPOCH).days

    @property
    def window(self) -> Window:
        """Its area."""
        return Window(*self.area)

    def observation(self, products: Path) -> Observation:
        """As blocks are made of it."""
        return Observation(self.digest, str(products / self.folder), self.day, self.window)


@dataclass(slots=True)
class Ledger:
    """All scenes of a job."""

    lattice: str = ""
    """A hash of the lattice that areas are of."""
    scenes: dict[str, Seen] = field(default_factory=dict)
    """By their ids."""
    failures: dict[str, str] = field(default_factory=dict)
    """Why scenes by their names could not be brought in; they are tried again."""
    repeated: dict[str, str] = field(default_factory=dict)
    """Names under which scenes came again, with their stamps."""

    def in_order(self) -> list[Seen]:
        """By the time at which they were taken, then by id."""
        return sorted(self.scenes.values(), key=lambda seen: (datetime.fromisoformat(seen.taken), seen.id))

    def left_out(self, least: float, made_by: str, products: Path) -> dict[str, str]:
        """Scenes that are no observation by their ids, and why.

        Args:
            least: share of valid pixels that is asked for.
            made_by: model and options of the job.
            products: the folder of the products.
        """
        found = {}
        for seen in self.in_order():
            if seen.made_by != made_by:
                found[seen.id] = "it was predicted with another model or other options, and is no longer there"
            elif not (products / seen.folder / RECORD).exists():
                found[seen.id] = "its product is no longer there, nor is the scene"
            elif not seen.classes:
                found[seen.id] = "none of its pixels is valid"
            elif seen.valid_share < least:
                found[seen.id] = f"{seen.valid_share:.1%} of its pixels are valid, and {least:.1%} is asked for"
        return found

    def put(self, seen: Seen) -> None:
        """Add a scene, or what has become of it."""
        self.scenes[seen.id] = seen
        self.failures.pop(seen.name, None)


def read_ledger(folder: Path) -> Ledger:
    """The ledger of a job's folder; an empty one where there is none.

    Raises:
        OutputError: it is damaged.
    """
    try:
        found = json.loads((folder / LEDGER).read_text(encoding="utf-8"))
        scenes = [_seen(told) for told in found["scenes"]]
        by_id = {seen.id: seen for seen in scenes}
        return Ledger(found["lattice"], by_id, dict(found["failures"]), dict(found["repeated"]))
    except FileNotFoundError:
        return Ledger()
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise OutputError(
            f"{folder / LEDGER} is damaged ({error}); remove it: the products stay, and are brought in again"
        ) from error


def _seen(told: dict[str, Any]) -> Seen:
    classes = {value: (int(pixels), float(area)) for value, (pixels, area) in told["classes"].items()}
    return Seen(**{**told, "area": tuple(told["area"]), "classes": classes})


def write_ledger(folder: Path, ledger: Ledger) -> None:
    """Keep it, whole or not at all.

    Raises:
        OutputError: it cannot be written.
    """
    scenes = [asdict(seen) for seen in ledger.in_order()]
    told = {name: dict(sorted(getattr(ledger, name).items())) for name in ("failures", "repeated")}
    content = {"lattice": ledger.lattice, **told, "scenes": scenes}
    with atomic(folder / LEDGER) as draft:
        draft.write_text(json.dumps(content, indent=1), encoding="utf-8")
