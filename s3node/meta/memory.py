"""The oracle: a `Kv` in memory, with the same write sets and validation as the real engine.

Nothing is durable. Between running fn and deciding, a write gives way once to the event loop, so
that conflicts happen here as they do with a journal in between.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from sortedcontainers import SortedDict

from s3node.meta.kv import ReadTx, WriteTx
from s3node.meta.transaction import Rows, SnapshotTx, WriteSet, resolve, valid

T = TypeVar("T")


class SortedRows:
    """A `ReadTx` over a sorted dict, which must not change meanwhile."""

    def __init__(self, rows: Any) -> None:
        self._rows = rows

    def get(self, key: bytes) -> bytes | None:
        value: bytes | None = self._rows.get(key)
        return value

    def scan(
        self, start: bytes, stop: bytes, *, reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        if start >= stop:
            return
        for key in self._rows.irange(start, stop, (True, False), reverse):
            yield key, self._rows[key]

    def first(self, start: bytes, stop: bytes) -> tuple[bytes, bytes] | None:
        return next(self.scan(start, stop), None)


class MemoryKv:
    """`Kv` over a sorted dict; reads may come from any thread."""

    def __init__(self) -> None:
        self._rows: Any = SortedDict()
        self._sequence = 0
        self._lock = threading.RLock()

    def read(self, fn: Callable[[ReadTx], T]) -> T:
        with self._lock:
            return fn(SortedRows(self._rows))

    async def write(self, fn: Callable[[WriteTx], T]) -> T:
        while True:
            with self._lock:
                tx = SnapshotTx(SortedRows(self._rows), self._sequence)
                result = fn(tx)
            write_set = tx.write_set()
            await asyncio.sleep(0)
            if self._commit(write_set):
                return result

    def _commit(self, write_set: WriteSet) -> bool:
        with self._lock:
            state = SortedRows(self._rows)
            if not valid(write_set, state):
                return False
            self._apply(resolve(write_set, state))
            return True

    def _apply(self, rows: Rows) -> None:
        self._sequence += 1
        for key, value in rows.items():
            if value is None:
                self._rows.pop(key, None)
            else:
                self._rows[key] = value
