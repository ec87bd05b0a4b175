"""What is decided and not yet in the index, over the index: the state that decisions are made on.

Counters that the open batch adds to are numbers here until it is closed: hundreds of additions
are one row of its frame.

Invariants: a row is that of the newest frame that wrote its key, until that very frame is in the
index; a key has a number only while the open batch's last word on it is an addition; the sorted
keys are those of rows and numbers. No I/O. Belongs to the engine's loop.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator, Mapping

from s3node.meta.kv import ReadTx
from s3node.meta.transaction import Rows, merged
from s3node.meta.values import seal_counter, unseal_counter


class Overlay:
    """Rows of decided frames, over a snapshot of the index: a `ReadTx`."""

    def __init__(self, of: Overlay | None = None, below: ReadTx | None = None) -> None:
        """`of` another: the same rows."""
        # key -> (value or None, sequence)
        self._rows: dict[bytes, tuple[bytes | None, int]] = {} if of is None else of._rows
        self._numbers: dict[bytes, int] = {} if of is None else of._numbers
        self._keys: list[bytes] = [] if of is None else of._keys  # hundreds, seldom thousands
        self._below = below

    def __len__(self) -> int:
        return len(self._keys)

    def over(self, below: ReadTx) -> Overlay:
        """The same rows, over this snapshot."""
        return Overlay(self, below)

    def reset(self) -> None:
        self._rows.clear()
        self._numbers.clear()
        self._keys.clear()

    def put(self, rows: Rows, sequence: int) -> None:
        mine, numbers = self._rows, self._numbers
        for key, value in rows.items():
            if key in numbers:
                del numbers[key]
            elif key not in mine:
                insort(self._keys, key)
            mine[key] = (value, sequence)

    def add(self, adds: Mapping[bytes, int]) -> None:
        """All of it or, with FormatError where a counter is damaged, nothing."""
        numbers = self._numbers
        totals = {
            key: (numbers[key] if key in numbers else unseal_counter(key, self.get(key))) + delta
            for key, delta in adds.items()
        }
        for key in totals:
            if key not in numbers and key not in self._rows:
                insort(self._keys, key)
        numbers.update(totals)

    def close(self, sequence: int) -> Rows:
        """The counters' rows, as of the frame that is made of the open batch."""
        rows: Rows = {key: seal_counter(key, number) for key, number in self._numbers.items()}
        self.put(rows, sequence)
        return rows

    def drop(self, rows: Rows, sequence: int) -> None:
        """Forget the rows of an applied frame that no later one replaced."""
        mine, keys = self._rows, self._keys
        for key in rows:
            if mine[key][1] == sequence:
                del mine[key]
                if key not in self._numbers:
                    del keys[bisect_left(keys, key)]

    def get(self, key: bytes) -> bytes | None:
        assert self._below is not None
        if key in self._numbers or key in self._rows:
            return self._own(key)
        return self._below.get(key)

    def scan(
        self, start: bytes, stop: bytes, *, reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        assert self._below is not None
        if start >= stop:
            return iter(())
        own = self._keys[bisect_left(self._keys, start) : bisect_left(self._keys, stop)]
        below = self._below.scan(start, stop, reverse=reverse)
        if reverse:
            own.reverse()
        return self._merged(below, own, reverse) if own else below

    def first(self, start: bytes, stop: bytes) -> tuple[bytes, bytes] | None:
        assert self._below is not None
        at = bisect_left(self._keys, start)
        if at < len(self._keys) and self._keys[at] < stop:
            return next(self.scan(start, stop), None)
        return self._below.first(start, stop)

    def _merged(
        self, below: Iterator[tuple[bytes, bytes]], own: list[bytes], reverse: bool
    ) -> Iterator[tuple[bytes, bytes]]:
        mine = set(own)
        for key, found in merged(below, own, reverse=reverse):
            value = self._own(key) if key in mine else found
            if value is not None:
                yield key, value

    def _own(self, key: bytes) -> bytes | None:
        if key in self._numbers:
            return seal_counter(key, self._numbers[key])
        return self._rows[key][0]
