"""Every sequence of two operations, cut at every call: nothing that was answered is lost."""

from __future__ import annotations

import pytest

from tests.simulation.enumeration import Explorer
from tests.simulation.model import OPERATIONS


@pytest.mark.parametrize("first", OPERATIONS)
def test_every_power_cut_in_sequences_of_two(first: str) -> None:
    explorer = Explorer()
    explorer.explore([OPERATIONS[first]])
    for second in OPERATIONS.values():
        explorer.explore([OPERATIONS[first], second])
    print(f"{first}: {explorer.counters}")
