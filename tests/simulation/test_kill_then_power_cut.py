"""Killed, started again, then the power goes: what a life adopted was never on the platter.

A killed process leaves its unsynced writes in the page cache. The next life reads them, takes
over the tail, writes on top of it; then all of that is lost at once, or one thing of it, or torn.
"""

from __future__ import annotations

import pytest

from s3node.base.errors import StorageFault
from s3node.meta import recovery
from s3node.meta.survey import Chain, Disk, Known
from tests.simulation.enumeration import Explorer
from tests.simulation.model import OPERATIONS

PAIRS = (
    ("put large", "delete"),
    ("overwrite", "put small"),
    ("delete", "overwrite"),
    ("complete", "checkpoint"),
    ("checkpoint", "put large"),
)
KILLS, CUTS = 23, 17  # in the default run: every so many-th call


def explore(first: str, second: str, kills: int, cuts: int) -> Explorer:
    explorer = Explorer(stride=cuts)
    unsynced = 0
    for kill in explorer.kills([OPERATIONS[first]], kills):
        unsynced += bool(kill.fs.unsynced())
        explorer.survive_all(explorer.crashes_after(kill, OPERATIONS[second]))
    print(f"{first}, killed, {second}: {explorer.counters}; {unsynced} kills left something")
    assert unsynced, "nothing was unsynced at any kill"
    return explorer


@pytest.mark.parametrize(("first", "second"), PAIRS)
def test_a_power_cut_in_the_life_after_a_kill(first: str, second: str) -> None:
    assert explore(first, second, KILLS, CUTS).counters.crashes > 20


def test_a_tail_that_is_not_written_anew_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The planted bug: what can be read is taken to be on the platter."""

    def careless(disk: Disk, chain: Chain) -> list[Known]:
        return [known for known in chain.frames if known.position.chain not in disk.chains]

    monkeypatch.setattr(recovery, "_lacking", careless)
    with pytest.raises((AssertionError, StorageFault)):
        explore("put small", "put small", 3, 5)


@pytest.mark.deep
@pytest.mark.parametrize("second", OPERATIONS)
@pytest.mark.parametrize("first", OPERATIONS)
def test_a_power_cut_at_every_call_of_the_life_after_a_kill(first: str, second: str) -> None:
    explore(first, second, 3, 1)
