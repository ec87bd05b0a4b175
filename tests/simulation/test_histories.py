"""Random histories with a bad disk and power cuts; many more of them with --deep.

The counters of a run are printed at the end of each test (`-rP` shows them).
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from s3node.meta.checkpointer import Sizes
from s3node.meta.metadata import look
from s3node.node import site_of
from s3node.services.start import looked_at
from tests.simulation import long
from tests.simulation.enumeration import Counters
from tests.simulation.history import History, Shape
from tests.simulation.node import SETTINGS

ROOT = Path(__file__).resolve().parents[2]
SEEDS = range(24)
ONE_RANGE = Sizes(range_bytes=1 << 20, journal_bytes=1 << 30)
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
    """Set by hours and by decades, back and forth: the same answers, epochs, tips and versions.

    A checkpoint is one range here: uploads are in the order of their begin, so where a range
    would be split depends on the clock, and with that how often disks are written to.
    """
    steady, scrambled = (
        History(seed, Shape(lives=2, faults=seed % 4 > 0, jumps=jumps), Counters())
        for jumps in (False, True)
    )
    for history in (steady, scrambled):
        history.universe.settings = SETTINGS._replace(sizes=ONE_RANGE)
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
def test_histories_for_long() -> None:
    """The long run, as `python -m tests.simulation.long` does it."""
    total = long.run(long.arguments([]), sys.stdout)
    assert not total.faults
    assert total.counters.crashes >= long.STATES
