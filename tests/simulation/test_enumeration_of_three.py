"""Every sequence of three operations, cut at every call of the last one."""

from __future__ import annotations

import pytest

from tests.simulation import long
from tests.simulation.model import OPERATIONS


@pytest.mark.deep
@pytest.mark.parametrize("second", OPERATIONS)
@pytest.mark.parametrize("first", OPERATIONS)
def test_every_power_cut_in_sequences_of_three(first: str, second: str) -> None:
    """As `python -m tests.simulation.long --three` does it."""
    piece = long.of_three((first, second))
    assert not piece.fault, piece.fault
    print(f"{piece.name}: {piece.counters}")
