"""Optimistic transactions: run fn on a snapshot, write down what it read and wrote.

`SnapshotTx` is the transaction that fn sees; what comes out is a `WriteSet`: plain data that can
cross a process border. Whoever owns the writing calls `valid` on it against the newest state
(index and what is pending), and `resolve` to get the physical rows. Whoever runs fn where the
writing is owned, on that newest state itself, has nothing to validate: that is `OwnTx`.
No I/O, no await, no clock.

Invariants: a write set names every row and every gap between rows that fn's outcome depended on,
apart from counters it only added to; ranges count as read as far as they were consumed.
"""

from __future__ import annotations

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
        return _size(self.writes, self.adds)


def _size(writes: Rows, adds: dict[bytes, int]) -> int:
    size = 0
    for key, value in writes.items():
        size += len(key) + _ENTRY_OVERHEAD + (len(value) if value is not None else 0)
    for key in adds:
        size += len(key) + 2 * _ENTRY_OVERHEAD
    return size


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
            self.take(key, value)
            yield key, value
        self.end()

    def take(self, key: bytes, value: bytes) -> None:
        """The next row."""
        self._hasher.update(len(key).to_bytes(2, "big") + key)
        self._hasher.update(len(value).to_bytes(4, "big") + value)
        self._last = key

    def end(self) -> None:
        """There is no further row."""
        self._whole = True

    def record(self) -> RangeRead:
        start, stop = self.start, self.stop
        if not self._whole:
            assert self._last is not None, "a scan that was begun has a row or an end"
            start, stop = (self._last, stop) if self.reverse else (start, self._last + b"\x00")
        return RangeRead(start, stop, self.reverse, self._hasher.digest())


class OwnTx:
    """A `WriteTx` over a state that stays as it is: reads what it wrote, and the rest below."""

    def __init__(self, below: ReadTx) -> None:
        self.writes: Rows = {}
        self.adds: dict[bytes, int] = {}
        self._below = below

    def get(self, key: bytes) -> bytes | None:
        if key in self.writes:
            return self.writes[key]
        return self._added(key, self._get(key))

    def scan(
        self, start: bytes, stop: bytes, *, reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        rows = self._rows(start, stop, reverse)
        if not self.writes and not self.adds:
            return rows
        own = sorted(
            (key for key in (*self.writes, *self.adds) if start <= key < stop), reverse=reverse
        )
        return self._scan(rows, own, reverse)

    def first(self, start: bytes, stop: bytes) -> tuple[bytes, bytes] | None:
        if self.writes or self.adds:
            return next(self.scan(start, stop), None)
        return self._below.first(start, stop)

    def put(self, key: bytes, value: bytes) -> None:
        assert may_write(key)
        self.adds.pop(key, None)
        self.writes[key] = value

    def delete(self, key: bytes) -> None:
        self.adds.pop(key, None)
        self.writes[key] = None

    def add(self, key: bytes, delta: int) -> None:
        if key in self.writes:
            total = unseal_counter(key, self.writes[key]) + delta
            self.writes[key] = seal_counter(key, total)
        else:
            self.adds[key] = self.adds.get(key, 0) + delta

    def size(self) -> int:
        """Bytes that this adds to a frame, at most."""
        return _size(self.writes, self.adds)

    def _get(self, key: bytes) -> bytes | None:
        return self._below.get(key)

    def _rows(self, start: bytes, stop: bytes, reverse: bool) -> Iterator[tuple[bytes, bytes]]:
        return self._below.scan(start, stop, reverse=reverse)

    def _added(self, key: bytes, value: bytes | None) -> bytes | None:
        if key not in self.adds:
            return value
        return seal_counter(key, unseal_counter(key, value) + self.adds[key])

    def _scan(
        self, rows: Iterator[tuple[bytes, bytes]], own: list[bytes], reverse: bool
    ) -> Iterator[tuple[bytes, bytes]]:
        written = {key: self.writes.get(key) for key in own if key in self.writes}
        added = {key: self.adds[key] for key in own if key in self.adds}
        for key, value in merged(rows, own, reverse=reverse):
            if key in written:
                value = written[key]  # noqa: PLW2901
            elif key in added:
                total = unseal_counter(key, value) + added[key]
                value = seal_counter(key, total)  # noqa: PLW2901
            if value is not None:
                yield key, value


class SnapshotTx(OwnTx):
    """An `OwnTx` over a snapshot that records what it read: for whoever commits elsewhere."""

    def __init__(self, snapshot: ReadTx, basis: int) -> None:
        super().__init__(snapshot)
        self._basis = basis
        self._reads: dict[bytes, bytes] = {}
        self._ranges: list[_RangeDigest] = []

    def write_set(self) -> WriteSet:
        """What fn did; it must not go on using the transaction."""
        return WriteSet(
            self._basis,
            self._reads,
            tuple(tracked.record() for tracked in self._ranges),
            self.writes,
            self.adds,
        )

    def _get(self, key: bytes) -> bytes | None:
        value = self._below.get(key)
        self._reads[key] = digest(value)
        return value

    def _rows(self, start: bytes, stop: bytes, reverse: bool) -> Iterator[tuple[bytes, bytes]]:
        tracked = _RangeDigest(start, stop, reverse)
        return self._tracked(tracked)

    def first(self, start: bytes, stop: bytes) -> tuple[bytes, bytes] | None:
        if self.writes or self.adds:
            return next(self.scan(start, stop), None)
        row = self._below.first(start, stop)
        tracked = _RangeDigest(start, stop, False)
        if row is None:
            tracked.end()
        else:
            tracked.take(*row)
        self._ranges.append(tracked)
        return row

    def _tracked(self, tracked: _RangeDigest) -> Iterator[tuple[bytes, bytes]]:
        self._ranges.append(tracked)  # once it is begun: before, nothing was read
        yield from tracked.rows(self._below)


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


def resolve(done: WriteSet | OwnTx, state: ReadTx) -> Rows:
    """The physical rows: puts and deletes, with counters as absolute values. FormatError."""
    rows = dict(done.writes)
    for key, delta in done.adds.items():
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
