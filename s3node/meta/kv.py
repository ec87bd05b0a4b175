"""The metadata seam: an ordered map of bytes to bytes with optimistic transactions.

    value = kv.read(fn)              # fn on one consistent snapshot
    value = await kv.write(fn)       # fn, and what it wrote is durable and visible

`fn(tx)` is synchronous, has no side effects and may run again: on a snapshot it records the keys
and ranges it read and the rows it wrote; whoever owns the writing validates the reads against
the index and what is pending, and commits or has fn run again. No transaction lives across an
await (I8). What raises inside fn leaves nothing behind and is in no frame.

Keys are at most `KEY_BYTES_MAX` long and sort as bytes. One conformance suite runs against every
engine: in-memory (the oracle) and LMDB.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol, TypeVar

KEY_BYTES_MAX = 511

T = TypeVar("T")


class ReadTx(Protocol):
    """One consistent snapshot."""

    def get(self, key: bytes) -> bytes | None: ...

    def scan(
        self, start: bytes, stop: bytes, *, reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        """Rows with start <= key < stop, in order (backwards when `reverse`).

        Lazy: only the part that was consumed counts as read.
        """

    def first(self, start: bytes, stop: bytes) -> tuple[bytes, bytes] | None:
        """What a scan forward begins with, and no more is read; None where there is nothing."""


class WriteTx(ReadTx, Protocol):
    """A snapshot with this transaction's own writes on top: it reads what it wrote."""

    def put(self, key: bytes, value: bytes) -> None: ...

    def delete(self, key: bytes) -> None:
        """Remove the row; nothing happens where there is none."""

    def add(self, key: bytes, delta: int) -> None:
        """Add to the signed 64-bit counter row `key`, absent meaning 0.

        Commutes: does not count as a read, so two transactions that add never conflict.
        """


class Kv(Protocol):
    def read(self, fn: Callable[[ReadTx], T]) -> T:
        """Run fn on the latest committed snapshot, now, on the caller's thread."""

    async def write(self, fn: Callable[[WriteTx], T]) -> T:
        """Run fn, make what it wrote durable, then visible, and return what it returned.

        Raises whatever fn raised (nothing is written), or JournalStalled when the frame cannot
        be made durable now: the outcome is then in doubt until recovery settles it.
        """
