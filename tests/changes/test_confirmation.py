"""What is believed of a pixel, against a plain account of the rule, for all short histories and many random ones."""

from __future__ import annotations

from itertools import product as sequences

import numpy as np
import pytest
from accounts import ANY, Believed

from geounet.changes.confirmation import (
    BYTE_LAYERS,
    CONFIRMED,
    COUNT_LAYERS,
    DAY_LAYERS,
    ENDED,
    NONE,
    PROVISIONAL,
    Confirmation,
    PixelStates,
    parse_confirmation,
)
from geounet.errors import GeounetError


def kernel(histories, rule, watched=ANY):
    """The same of all histories at once; all have the same days."""
    states = PixelStates.blank(len(histories), rule.kept)
    for step in range(len(histories[0])):
        day = histories[0][step][0]
        classes = np.array([255 if h[step][1] is None else h[step][1] for h in histories], np.uint8)
        states.observe(classes, np.array([h[step][2] for h in histories], np.uint8), day, rule, watched)
    return states


def compared(histories, rule, watched=ANY):
    """Each pixel of the kernel against the plain account; which statuses there were."""
    states = kernel(histories, rule, watched)
    names = ("baseline", "held", "status")
    kinds = set()
    for pixel, history in enumerate(histories):
        plain = Believed(rule, watched)
        for one in history:
            plain.see(*one)
        at = {name: int(states.layer(name)[pixel]) for name in [*BYTE_LAYERS, *DAY_LAYERS, *COUNT_LAYERS]}
        expected = [255 if plain.baseline is None else plain.baseline, 255 if plain.held is None else plain.held]
        assert [at[name] for name in names] == [*expected, plain.status], history
        kinds.add(plain.status)
        if plain.status != NONE:
            assert {name: at[name] for name in plain.change} == plain.change, history
        if plain.old is not None:
            assert {name: at[f"old_{name}"] for name in plain.old} == plain.old, history
        assert (at["old_ended"] > 0) == (plain.old is not None)
    return kinds


@pytest.mark.parametrize("rule", [Confirmation(), Confirmation(1, 1), Confirmation(1, 3, 30), Confirmation(2, 2, 40)])
def test_all_histories_of_seven_dates_and_three_classes(rule):
    days = [100, 110, 125, 140, 160, 162, 190]
    histories = [
        [(day, seen, 200 + place) for place, (day, seen) in enumerate(zip(days, classes, strict=True))]
        for classes in sequences((1, 2, 3), repeat=7)
    ]
    assert compared(histories, rule) == {NONE, PROVISIONAL, CONFIRMED, ENDED}


@pytest.mark.parametrize("seed", range(6))
def test_random_histories_with_clouds_doubt_and_several_a_day(seed):
    rng = np.random.default_rng(seed)
    again = int(rng.integers(1, 4))
    rule = Confirmation(again, int(rng.integers(again, 6)), int(rng.integers(20, 200)), 100, int(rng.integers(1, 4)))
    watched = (rng.random((256, 256)) < 0.7).astype(np.uint8)
    days = np.sort(rng.integers(1, 400, 25)).tolist()
    histories = [
        [(day, None if rng.random() < 0.3 else int(seen), int(rng.integers(80, 255))) for day, seen in
         zip(days, rng.choice([4, 7, 9], 25, p=[0.6, 0.3, 0.1]), strict=True)]
        for _ in range(400)
    ]  # fmt: skip
    compared(histories, rule, watched)


def test_rules_are_read_and_nonsense_is_refused():
    assert parse_confirmation("2 of 3 within 180 days") == (2, 3, 180)
    assert parse_confirmation("1 of 1")[:2] == (1, 1)
    for text in ("twice", "2 in 3", "2 of 3 within a year"):
        with pytest.raises(GeounetError, match="no confirmation rule"):
            parse_confirmation(text)
    for numbers in ((4, 3), (0, 3), (2, 99)):
        with pytest.raises(GeounetError, match="cannot be seen"):
            Confirmation(*numbers)
