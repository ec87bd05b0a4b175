"""Bytes that come piece after piece, perhaps right into the memory of whoever waits for them.

A piece may be used until the next one is asked for. While somebody waits for the next piece, memory
that he has lent may be written to; a piece that came there is a part of it, and none that came
elsewhere is. Bytes are handed out in order whatever happens to a loan.
"""

from __future__ import annotations


class InPlace:
    """An `AsyncIterator` over pieces, whose reader may lend memory; what takes none is as below."""

    __slots__ = ()

    def lend(self, room: memoryview) -> None:
        """What comes next may be written there, from its beginning on, until `room` is full or
        given back; a loan before it is over. Nothing happens where that cannot be."""

    def give_back(self) -> None:
        """From here on nothing is written to what was lent, and nobody refers to it."""
