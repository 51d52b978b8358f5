"""How much ground went from which class to which, as a table."""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from geounet.outputs import atomic

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from geounet.changes.comparing import Tally
    from geounet.changes.kinds import Kinds
    from geounet.metrics.area_estimation import AreaEstimate
    from geounet.outlines.pixel_areas import WholeAreas

NO_CHANGE = "no change"
_ESTIMATES = ("estimated_ha", "low_ha", "high_ha", "users_accuracy", "producers_accuracy")


@dataclass(frozen=True, slots=True)
class Transition:
    """Ground that was of one class before and of another, or of the same, after."""

    before: str
    """Name of the class before."""
    after: str
    """Name of the class after."""
    pixels: int
    """Of the common lattice."""
    hectares: float
    """On the ellipsoid."""

    @property
    def changed(self) -> bool:
        """Whether it is of two classes."""
        return self.before != self.after

    @property
    def name(self) -> str:
        """As the class table of the raster has it."""
        return f"{self.before} to {self.after}" if self.changed else NO_CHANGE


def transitions_of(
    kinds: Kinds, tally: Tally, pixels: NDArray[np.int64], areas: NDArray[np.int64], unit: WholeAreas
) -> tuple[Transition, ...]:
    """The matrix, by the values of the classes; what does not count as a change has stayed.

    Args:
        kinds: what the codes stand for.
        tally: pixels and areas by the class before.
        pixels: `(256,)`: by code.
        areas: likewise.
        unit: of areas.
    """
    names = {item.value: item.name for item in kinds.classes}
    codes = {pair: code for code, pair in enumerate(kinds.pairs, 1)}
    found = []
    for old, before in names.items():
        gone = [codes[old, value] for value in names if (old, value) in codes]
        for new, after in names.items():
            if old == new:
                count, area = tally.pixels[old] - pixels[gone].sum(), tally.areas[old] - areas[gone].sum()
            else:
                code = codes.get((old, new))
                count, area = (0, 0) if code is None else (pixels[code], areas[code])
            found.append(Transition(before, after, int(count), float(unit.hectares(area))))
    return tuple(found)


def write_transitions(path: Path, rows: Sequence[Transition], estimate: AreaEstimate | None = None) -> None:
    """Write the matrix as CSV: from, to, pixels, hectares; with an estimate, areas by a sample too.

    The sample tells kinds of changes apart, and not what has stayed: that is one row more, from and to empty.

    Raises:
        OutputError: it cannot be written.
    """
    estimates = {} if estimate is None else _by_name(estimate)
    with atomic(path) as draft, draft.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["from", "to", "pixels", "hectares", *(_ESTIMATES if estimate else ())])
        for row in rows:
            told = estimates.get(row.name, [""] * len(_ESTIMATES)) if row.changed else [""] * len(_ESTIMATES)
            writer.writerow([row.before, row.after, row.pixels, round(row.hectares, 6), *(told if estimate else ())])
        if estimate:
            stayed = [row for row in rows if not row.changed]
            pixels, hectares = sum(row.pixels for row in stayed), sum(row.hectares for row in stayed)
            told = estimates.get(NO_CHANGE, [""] * len(_ESTIMATES))
            writer.writerow(["", "", pixels, round(hectares, 6), *told])


def _by_name(estimate: AreaEstimate) -> Mapping[str, list[Any]]:
    found = {}
    for index, item in enumerate(estimate.classes):
        area = estimate.area.at(index)
        numbers = [area["value"], area["low"], area["high"], estimate.users.at(index)["value"],
                   estimate.producers.at(index)["value"]]  # fmt: skip
        found[item.name] = ["" if number is None or math.isnan(number) else round(number, 6) for number in numbers]
    return found
