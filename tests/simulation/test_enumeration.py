"""Every sequence of two operations, cut at every call: nothing that was answered is lost."""

from __future__ import annotations

import pytest

from tests.simulation.enumeration import Explorer
from tests.simulation.model import OPERATIONS


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_operation_is_done(name: str) -> None:
    """One that is refused would be cut at every call for nothing."""
    universe, model = Explorer().start()
    status = universe.live(lambda client: OPERATIONS[name](client, model))
    assert status in (None, 200, 204)
    assert all(len(values) == 1 for values in model.may.values())


@pytest.mark.parametrize("first", OPERATIONS)
def test_every_power_cut_in_sequences_of_two(first: str) -> None:
    explorer = Explorer()
    explorer.explore([OPERATIONS[first]])
    for second in OPERATIONS.values():
        explorer.explore([OPERATIONS[first], second])
    print(f"{first}: {explorer.counters}")
