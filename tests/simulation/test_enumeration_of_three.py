"""Every sequence of three operations, cut at every call of the last one."""

from __future__ import annotations

import pytest

from tests.simulation.enumeration import Explorer
from tests.simulation.model import OPERATIONS


@pytest.mark.deep
@pytest.mark.parametrize("second", OPERATIONS)
@pytest.mark.parametrize("first", OPERATIONS)
def test_every_power_cut_in_sequences_of_three(first: str, second: str) -> None:
    explorer = Explorer()
    for third in OPERATIONS.values():
        explorer.explore([OPERATIONS[first], OPERATIONS[second], third])
    print(f"{first}, {second}: {explorer.counters}")
