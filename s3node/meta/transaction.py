"""Optimistic transactions: run fn on a snapshot, write down what it read and wrote.

`SnapshotTx` is the transaction that fn sees; what comes out is a `WriteSet`: plain data that can
cross a process border. Whoever owns the writing calls `valid` on it against the newest state
(index and what is pending), and `resolve` to get the physical rows. No I/O, no await, no clock.

Invariants: a write set names every row and every gap between rows that fn's outcome depended on,
apart from counters it only added to; ranges count as read as far as they were consumed.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator
from typing import Any

import msgspec
import xxhash

from s3node.base.errors import FormatError
from s3node.base.filesystem import Buffer
from s3node.meta.kv import KEY_BYTES_MAX, ReadTx
from s3node.meta.schema import JOURNALED_START
from s3node.meta.values import seal_counter, unseal_counter

WRITE_SET_BYTES_MAX = 4 << 20
_ENTRY_OVERHEAD = 16  # what a frame adds to a row, rounded up
_DELTA_MAX = 1 << 56  # of one addition, so that many of them stay in a counter's 64 bits
ABSENT = b""

Rows = dict[bytes, bytes | None]


class RangeRead(msgspec.Struct, frozen=True, array_like=True):
    """Rows of start <= key < stop, as consumed in that direction."""

    start: bytes
    stop: bytes
    reverse: bool
    digest: bytes


class WriteSet(msgspec.Struct, frozen=True, array_like=True):
    """What a transaction read, as digests, and what it wants to write."""

    basis: int  # sequence of the snapshot it ran on
    reads: dict[bytes, bytes]  # key -> digest of the value, or ABSENT
    ranges: tuple[RangeRead, ...]
    writes: Rows  # key -> value, or None: delete
    adds: dict[bytes, int]

    def size(self) -> int:
        """Bytes that this adds to a frame, at most."""
        rows = sum(len(k) + len(v or b"") + _ENTRY_OVERHEAD for k, v in self.writes.items())
        return rows + sum(len(k) + 2 * _ENTRY_OVERHEAD for k in self.adds)


def may_write(key: bytes) -> bool:
    """Whether it is the key of a journaled row: rows of the node itself are not."""
    return key >= JOURNALED_START and len(key) <= KEY_BYTES_MAX


def digest(value: bytes | None) -> bytes:
    """What stands for a value in a write set."""
    return ABSENT if value is None else xxhash.xxh3_128_digest(value)


class _RangeDigest:
    """The consumed part of a scan."""

    def __init__(self, start: bytes, stop: bytes, reverse: bool) -> None:
        self.start, self.stop, self.reverse = start, stop, reverse
        self._hasher = xxhash.xxh3_128()
        self._last: bytes | None = None
        self._whole = False

    def rows(self, tx: ReadTx) -> Iterator[tuple[bytes, bytes]]:
        for key, value in tx.scan(self.start, self.stop, reverse=self.reverse):
            self._hasher.update(len(key).to_bytes(2, "big") + key)
            self._hasher.update(len(value).to_bytes(4, "big") + value)
            self._last = key
            yield key, value
        self._whole = True

    def record(self) -> RangeRead:
        start, stop = self.start, self.stop
        if not self._whole:
            assert self._last is not None, "a scan that was begun has a row or an end"
            start, stop = (self._last, stop) if self.reverse else (start, self._last + b"\x00")
        return RangeRead(start, stop, self.reverse, self._hasher.digest())


class SnapshotTx:
    """A `WriteTx` over a snapshot: reads what it wrote, records the rest."""

    def __init__(self, snapshot: ReadTx, basis: int) -> None:
        self._snapshot = snapshot
        self._basis = basis
        self._reads: dict[bytes, bytes] = {}
        self._ranges: list[_RangeDigest] = []
        self._writes: Rows = {}
        self._adds: dict[bytes, int] = {}
        self._own: list[bytes] = []  # keys of _writes and _adds, sorted

    def get(self, key: bytes) -> bytes | None:
        if key in self._writes:
            return self._writes[key]
        value = self._snapshot.get(key)
        self._reads[key] = digest(value)
        return self._added(key, value)

    def scan(
        self, start: bytes, stop: bytes, *, reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        tracked = _RangeDigest(start, stop, reverse)
        own = self._own[bisect_left(self._own, start) : bisect_left(self._own, stop)]
        return self._scan(tracked, own[::-1] if reverse else own)

    def put(self, key: bytes, value: bytes) -> None:
        assert may_write(key)
        self._write(key, value)

    def delete(self, key: bytes) -> None:
        self._write(key, None)

    def add(self, key: bytes, delta: int) -> None:
        if key in self._writes:
            total = unseal_counter(key, self._writes[key]) + delta
            self._writes[key] = seal_counter(key, total)
            return
        if key not in self._adds:
            insort(self._own, key)
        self._adds[key] = self._adds.get(key, 0) + delta

    def write_set(self) -> WriteSet:
        """What fn did; it must not go on using the transaction."""
        return WriteSet(
            self._basis,
            self._reads,
            tuple(tracked.record() for tracked in self._ranges),
            self._writes,
            self._adds,
        )

    def _write(self, key: bytes, value: bytes | None) -> None:
        if key not in self._writes and key not in self._adds:
            insort(self._own, key)
        self._adds.pop(key, None)
        self._writes[key] = value

    def _added(self, key: bytes, value: bytes | None) -> bytes | None:
        if key not in self._adds:
            return value
        return seal_counter(key, unseal_counter(key, value) + self._adds[key])

    def _scan(self, tracked: _RangeDigest, own: list[bytes]) -> Iterator[tuple[bytes, bytes]]:
        self._ranges.append(tracked)
        written = {key: self._writes.get(key) for key in own if key in self._writes}
        added = {key: self._adds[key] for key in own if key in self._adds}
        for key, value in merged(tracked.rows(self._snapshot), own, reverse=tracked.reverse):
            if key in written:
                value = written[key]  # noqa: PLW2901
            elif key in added:
                total = unseal_counter(key, value) + added[key]
                value = seal_counter(key, total)  # noqa: PLW2901
            if value is not None:
                yield key, value


def merged(
    rows: Iterator[tuple[bytes, bytes]], keys: list[bytes], *, reverse: bool
) -> Iterator[tuple[bytes, bytes | None]]:
    """`rows` with `keys` (in the same order) woven in; a key without a row has the value None."""
    waiting = iter(keys)
    key = next(waiting, None)
    for row in rows:
        while key is not None and (key > row[0] if reverse else key < row[0]):
            yield key, None
            key = next(waiting, None)
        if key == row[0]:
            key = next(waiting, None)
        yield row
    while key is not None:
        yield key, None
        key = next(waiting, None)


def valid(write_set: WriteSet, state: ReadTx) -> bool:
    """Whether everything the transaction read is still so in `state`."""
    for key, expected in write_set.reads.items():
        if digest(state.get(key)) != expected:
            return False
    for read in write_set.ranges:
        tracked = _RangeDigest(read.start, read.stop, read.reverse)
        for _ in tracked.rows(state):
            pass
        if tracked.record().digest != read.digest:
            return False
    return True


def resolve(write_set: WriteSet, state: ReadTx) -> Rows:
    """The physical rows: puts and deletes, with counters as absolute values. FormatError."""
    rows = dict(write_set.writes)
    for key, delta in write_set.adds.items():
        rows[key] = seal_counter(key, unseal_counter(key, state.get(key)) + delta)
    return rows


_encoder = msgspec.msgpack.Encoder()
_decoder: Any = msgspec.msgpack.Decoder(WriteSet)


def pack(write_set: WriteSet) -> bytes:
    """For a process border."""
    return _encoder.encode(write_set)


def unpack(data: Buffer) -> WriteSet:
    """What `pack` made; FormatError for everything that no transaction could have come to."""
    try:
        write_set: WriteSet = _decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise FormatError(f"a write set: {error}") from error
    check(write_set)
    return write_set


def check(write_set: WriteSet) -> None:
    """FormatError unless a transaction can have come to it."""
    if write_set.size() > WRITE_SET_BYTES_MAX:
        raise FormatError(f"a write set of {write_set.size()} bytes")
    for key in (*write_set.writes, *write_set.adds):
        if not may_write(key):
            raise FormatError(f"a write set with the key {key!r}")
    if any(abs(delta) > _DELTA_MAX for delta in write_set.adds.values()):
        raise FormatError("a write set that adds more than there can be")
    if b"" in write_set.reads:
        raise FormatError("a write set that read no key")
