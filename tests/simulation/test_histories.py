"""Random histories with a bad disk and power cuts; many more of them with --deep.

The counters of a run are printed at the end of each test (`-rP` shows them).
"""

from __future__ import annotations

import pytest

from tests.simulation.enumeration import Counters
from tests.simulation.history import History, Shape

SEEDS = range(24)
DEEP_SEEDS = range(1000, 1040)
DEEP_HISTORIES = 100  # of each seed


@pytest.mark.parametrize("seed", SEEDS)
def test_histories_lose_nothing_that_was_answered(seed: int) -> None:
    counters = Counters()
    History(seed, Shape(faults=seed % 4 > 0), counters).run()
    print(f"seed {seed}: {counters}")


def test_the_same_seed_gives_the_same_history() -> None:
    traces = [History(seed, Shape(lives=2), Counters()).run() for seed in (3, 3, 4)]
    assert traces[0] == traces[1] != traces[2]


@pytest.mark.deep
@pytest.mark.parametrize("seed", DEEP_SEEDS)
def test_histories_for_long(seed: int) -> None:
    """40 x 100 histories x 5 lives x 6 states: more than 10^5 crash states in all."""
    counters = Counters()
    for more in range(DEEP_HISTORIES):
        History(seed + 10_000 * more, Shape(lives=5, states=7), counters).run()
    print(f"seeds {seed} + 10000 n: {counters}")
