"""Random histories with a bad disk and power cuts; many more of them with --deep.

The counters of a run are printed at the end of each test (`-rP` shows them).
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from s3node.meta.metadata import look
from s3node.node import site_of
from s3node.services.start import looked_at
from tests.simulation.enumeration import Counters
from tests.simulation.history import History, Shape

ROOT = Path(__file__).resolve().parents[2]
SEEDS = range(24)
DEEP_SEEDS = range(1000, 1040)
DEEP_HISTORIES = 100  # of each seed
TRACE_S_MAX = 240
"""Ends a test that would never end; far from what a busy machine needs."""


@pytest.mark.parametrize("seed", SEEDS)
def test_histories_lose_nothing_that_was_answered(seed: int) -> None:
    counters = Counters()
    History(seed, Shape(faults=seed % 4 > 0), counters).run()
    print(f"seed {seed}: {counters}")


def trace_of(seed: int) -> str:
    return History(seed, Shape(lives=2), Counters()).run()


def trace_elsewhere(seed: int, hashes: str) -> str:
    """In another process, where sets of texts and of objects have other orders."""
    code = f"from tests.simulation.test_histories import trace_of; print(trace_of({seed}))"
    env = {**os.environ, "PYTHONHASHSEED": hashes}
    return subprocess.check_output(
        [sys.executable, "-c", code], cwd=ROOT, env=env, text=True, timeout=TRACE_S_MAX
    ).strip()


def test_the_same_seed_gives_the_same_history() -> None:
    trace = trace_of(3)
    assert {trace_elsewhere(3, hashes) for hashes in ("0", "12345")} == {trace}
    assert trace_of(4) != trace


@pytest.mark.parametrize("seed", [3, 4, 6])
def test_nothing_but_dates_depends_on_the_wall_clock(seed: int) -> None:
    """Set by hours and by decades, back and forth: the same answers, epochs, tips and versions."""
    steady, scrambled = (
        History(seed, Shape(lives=2, faults=seed % 4 > 0, jumps=jumps), Counters())
        for jumps in (False, True)
    )
    assert steady.run() != scrambled.run()
    assert len(steady.universe.outcomes) > 100
    assert any(b"CompleteMultipartUploadResult" in one[-1] for one in steady.universe.outcomes)
    assert steady.universe.outcomes == scrambled.universe.outcomes
    ends = [_end(one) for one in (steady, scrambled)]
    assert ends[0] == ends[1]


def _end(history: History) -> tuple[int, int, list[str]]:
    """Epoch and tip of the journal, and all that the disks hold, by name."""
    fs = history.universe.fs
    fs.gone.clear()
    with looked_at(site_of(history.universe.config), fs) as looked:
        report, _ = look(looked.usable(), looked.deployment)
    return report.epoch, report.tip, fs.files("/")


@pytest.mark.deep
@pytest.mark.parametrize("seed", DEEP_SEEDS)
def test_histories_for_long(seed: int) -> None:
    """40 x 100 histories x 5 lives x 6 states: more than 10^5 crash states in all."""
    counters = Counters()
    for more in range(DEEP_HISTORIES):
        History(seed + 10_000 * more, Shape(lives=5, states=7), counters).run()
    print(f"seeds {seed} + 10000 n: {counters}")
