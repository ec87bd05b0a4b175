"""A stripe's memory before its shards go to disks: filled by a client, laid out to be coded.

The bytes lie in the order they come, which is that of the data shards; the parity lies right
behind them, so that one view is all that a codec needs.
"""

from __future__ import annotations

from typing import NamedTuple

from ec import Geometry
from s3node.base.arena import Arena, Loose, Row
from s3node.base.errors import MemoryShort
from s3node.base.inplace import InPlace
from s3node.objects import layout


class StripeBuffer:
    """A stripe that is being filled, in a row of places of an arena: data shards, then parity.

    Shrunk, it has only the places of shards that there are bytes of, lower down where small gaps
    are: left where they were, each would break the room that a whole row needs. `renew` moves it
    to a whole row. What the budget has let in is never refused: where the arena has no room
    together, a row has memory of its own, and crosses to another process by being sent.
    """

    def __init__(self, size: int, geometry: Geometry, arena: Arena) -> None:
        self.size = size
        self.filled = 0
        self._borrower: InPlace | None = None  # who may write to it now
        self.shard_bytes = layout.shard_bytes(size, geometry.k)
        self._geometry = geometry
        self._arena = arena
        self._row = _row(arena, geometry.n, self.shard_bytes)
        self._places = geometry.n  # how many of the row's there are

    @property
    def room(self) -> int:
        """Bytes that the next `take` takes without more memory."""
        return min(self.size, self._places * self.shard_bytes) - self.filled

    def take(self, piece: memoryview) -> int:
        """Copy what fits of `piece`; returns how much that was. What came in place is there."""
        stop = self.filled + min(len(piece), self.room)
        count = stop - self.filled
        if piece.obj is not self._row.whole.obj:
            self._row.whole[self.filled : stop] = piece[:count] if count < len(piece) else piece
        self.filled = stop
        return count

    def lend_to(self, borrower: InPlace) -> None:
        """Have what comes next written where it is to be."""
        self._borrower = borrower
        borrower.lend(self._row.whole[self.filled : self.filled + self.room])

    def _give_back(self) -> None:
        if self._borrower is not None:
            self._borrower.give_back()
            self._borrower = None

    def shrink(self) -> int:
        """See Memory."""
        self._give_back()
        begun = -(-self.filled // self.shard_bytes)
        if begun < self._places:
            row = _row(self._arena, begun, self.shard_bytes)
            row.whole[: self.filled] = self._row.whole[: self.filled]
            self._row, self._places = row, begun
        return begun * self.shard_bytes

    def drop(self) -> None:
        """See Memory."""
        self._give_back()
        del self._row

    def renew(self) -> None:
        """Have a whole row again, after the lease was restored."""
        if self._places < self._geometry.n:
            self._give_back()
            row = _row(self._arena, self._geometry.n, self.shard_bytes)
            row.whole[: self.filled] = self._row.whole[: self.filled]
            self._row, self._places = row, self._geometry.n

    def close(self) -> None:
        """No more comes: the stripe is what was filled."""
        self.size = self.filled

    def stripe(self, geometry: Geometry) -> FullStripe:
        """What was filled, laid out for this geometry."""
        assert self.filled == self.size, "a stripe is coded when it is full"
        row, size = self._row, layout.shard_bytes(self.size, geometry.k)
        if geometry != self._geometry or size != self.shard_bytes:
            row = _row(self._arena, geometry.n, size)
            row.whole[: self.size] = self._row.whole[: self.size]
        padding = geometry.k * size - self.size
        if padding:
            row.whole[self.size : self.size + padding] = bytes(padding)
        return FullStripe(self.size, size, row)


def _row(arena: Arena, count: int, size: int) -> Row:
    try:
        return arena.take_row(count, size, thorough=False) if count else Loose(0, size)
    except MemoryShort:
        return Loose(count, size)


class FullStripe(NamedTuple):
    """A stripe before it is coded: its bytes and their padding, and room for the parity behind."""

    size: int
    shard_bytes: int
    row: Row

    @property
    def content(self) -> memoryview:
        return self.row.whole[: self.size]
