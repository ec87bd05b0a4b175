"""The index in memory: what LMDB is to the real node, without its files.

Between lives only what a clean close sealed is kept, and not even that is promised: `lose`.
LMDB itself has tests of its own; after a crash it is always made anew, so nothing is lost here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from sortedcontainers import SortedDict

from s3node.meta import schema
from s3node.meta.frame import ORIGIN, Position
from s3node.meta.index import Index
from s3node.meta.index_seal import Seal
from s3node.meta.kv import ReadTx
from s3node.meta.memory import SortedRows
from s3node.meta.transaction import Rows

T = TypeVar("T")


class MemoryIndex:
    """An `Index`. The place it belongs to is told when it is closed with a seal."""

    def __init__(self, place: MemoryPlace, deployment_id: bytes) -> None:
        self.rows: Any = SortedDict()
        self.at = ORIGIN
        self.deployment_id = deployment_id
        self.open = True
        self.placed = False
        self._place = place

    def read(self, fn: Callable[[ReadTx, Position], T]) -> T:
        assert self.open, "the index is closed"
        return fn(SortedRows(self.rows), self.at)

    def look(self, fn: Callable[[ReadTx], T]) -> T:
        return self.read(lambda tx, _: fn(tx))

    def position(self) -> Position:
        return self.at

    def apply(self, batches: Sequence[tuple[Position, Rows]], *, grow: bool = True) -> None:
        assert self.open, "the index is closed"
        for position, rows in batches:
            assert schema.NODE_STATE not in rows
            for key, value in rows.items():
                if value is None:
                    self.rows.pop(key, None)
                else:
                    self.rows[key] = value
            self.at = position
        if self.placed:
            self._place.newest = self.at.sequence

    def reader_check(self) -> int:
        return 0

    def close(self) -> None:
        self.open = False

    def close_sealed(self) -> Seal:
        self.open = False
        seal = Seal(self.deployment_id, self.at, len(self.rows), bytes(16))
        self._place.keep(self, seal)
        return seal


class MemoryPlace:
    """An `IndexPlace`."""

    def __init__(self) -> None:
        self.kept: tuple[MemoryIndex, Seal] | None = None
        self.newest = 0  # what the index that lies here says that it held

    def keep(self, index: MemoryIndex, seal: Seal) -> None:
        self.kept = index, seal

    def lose(self) -> None:
        """As a crash does: no seal. That it stood somewhere can still be seen."""
        self.kept = None

    def left(self, deployment_id: bytes) -> int:
        return self.newest

    def sealed(self, deployment_id: bytes) -> Seal | str:
        if self.kept is None:
            return "not closed cleanly"
        seal = self.kept[1]
        return seal if seal.deployment_id == deployment_id else "of another deployment"

    def open(self, deployment_id: bytes) -> MemoryIndex:
        index = self.open_readonly(deployment_id)
        index.placed, self.kept = True, None
        return index

    def open_readonly(self, deployment_id: bytes) -> MemoryIndex:
        assert self.kept is not None, "verified before"
        index = MemoryIndex(self, deployment_id)
        index.rows, index.at = self.kept[0].rows.copy(), self.kept[0].at
        return index

    def create(self, deployment_id: bytes, room: int) -> MemoryIndex:
        return MemoryIndex(self, deployment_id)

    def adopt(self, fresh: Index) -> None:
        assert isinstance(fresh, MemoryIndex), "created here"
        fresh.placed, self.kept, self.newest = True, None, fresh.at.sequence

    def discard(self, fresh: Index) -> None:
        fresh.close()
