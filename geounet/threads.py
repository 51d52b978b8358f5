"""How long the threads of one network wait for each other before they let others work."""

from __future__ import annotations

import os

_SPINS = "1000"
"""Some microseconds, in which a layer's threads end on cores of their own."""


def wait_politely() -> None:
    """Have OpenMP's threads sleep soon where they wait, in this process and those that it starts; before torch comes.

    By default they spin for a millisecond after each of a network's layers. On cores of their own that saves some
    percent of a training's time; where another process works on one of the cores, training takes several times as long.
    Who has set OMP_WAIT_POLICY or GOMP_SPINCOUNT
    (https://gcc.gnu.org/onlinedocs/libgomp/Environment-Variables.html) is obeyed.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", _SPINS)
