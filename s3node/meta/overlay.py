"""What is decided and not yet in the index, over the index: the state that decisions are made on.

Invariants: a row is that of the newest frame that wrote its key, until that very frame is in the
index. No I/O. Belongs to the engine's loop.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sortedcontainers import SortedDict

from s3node.meta.kv import ReadTx
from s3node.meta.transaction import Rows, merged


class Overlay:
    """Rows of decided frames, over a snapshot of the index: a `ReadTx`."""

    def __init__(self) -> None:
        self._rows: Any = SortedDict()  # key -> (value or None, sequence)
        self._below: ReadTx | None = None

    def __len__(self) -> int:
        return len(self._rows)

    def over(self, below: ReadTx) -> Overlay:
        """The same rows, over this snapshot."""
        view = Overlay()
        view._rows, view._below = self._rows, below
        return view

    def reset(self) -> None:
        self._rows.clear()

    def put(self, rows: Rows, sequence: int) -> None:
        for key, value in rows.items():
            self._rows[key] = (value, sequence)

    def drop(self, rows: Rows, sequence: int) -> None:
        """Forget the rows of an applied frame that no later one replaced."""
        for key in rows:
            if self._rows[key][1] == sequence:
                del self._rows[key]

    def get(self, key: bytes) -> bytes | None:
        assert self._below is not None
        if key in self._rows:
            value: bytes | None = self._rows[key][0]
            return value
        return self._below.get(key)

    def scan(
        self, start: bytes, stop: bytes, *, reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        assert self._below is not None
        if start >= stop:
            return
        own = list(self._rows.irange(start, stop, (True, False), reverse))
        below = self._below.scan(start, stop, reverse=reverse)
        for key, found in merged(below, own, reverse=reverse):
            value = self._rows[key][0] if key in self._rows else found
            if value is not None:
                yield key, value
