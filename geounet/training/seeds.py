"""Seeds of a run's parts, so that each part's draws follow from its place and not from what was drawn before."""

from __future__ import annotations

import numpy as np


def derived_seed(*numbers: int) -> int:
    """A seed of 32 bits from run, epoch, batch and the like: the same for the same numbers, unrelated for others.

    By NumPy's SeedSequence (O'Neill's seed_seq), which keeps neighbouring numbers apart.
    """
    return int(np.random.SeedSequence([number % 2**32 for number in numbers]).generate_state(1)[0])
