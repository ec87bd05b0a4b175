"""The index read by a process that does not write it, beside the one that does.

Each read is one LMDB transaction on what is committed at that moment: a commit is seen by every
process as soon as the writer has made it. The writer may enlarge the map at any time; a reader
notices when it begins a transaction, and follows. A reader that is killed keeps its snapshot's
pages from being used again until the writer's `reader_check` has freed its slot.

Invariants: opened once per process, after any fork, and only while a writer has the index open
(who verified it); a transaction lives within one call and never across an await (I8); the map
changes only while no transaction of this process is open.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import lmdb

from s3node.base.errors import DiskFailed
from s3node.meta.frame import Position
from s3node.meta.kv import ReadTx
from s3node.meta.lmdb_index import READERS_MAX, LmdbTx, state_of

T = TypeVar("T")


class LmdbReader:
    """An index open for reading."""

    def __init__(self, path: Path, deployment_id: bytes) -> None:
        """DiskFailed if it is not there. The writer has its first commit behind it."""
        self.path = path
        self._deployment_id = deployment_id
        self._turn = threading.RLock()
        self._inside = False
        try:
            self._env: Any = lmdb.open(
                str(path), max_readers=READERS_MAX, readonly=True, create=False, readahead=False
            )
        except lmdb.Error as error:
            raise DiskFailed(f"{path}: {error}") from error

    def read(self, fn: Callable[[ReadTx, Position], T]) -> T:
        """fn(snapshot, the position it stands at), now, on this thread. DiskFailed."""
        return self._within(lambda txn: fn(LmdbTx(txn), state_of(txn, self._deployment_id)))

    def look(self, fn: Callable[[ReadTx], T]) -> T:
        """As `read`, for those who do not ask where the snapshot stands."""
        return self._within(lambda txn: fn(LmdbTx(txn)))

    def close(self) -> None:
        """Waits for other threads' transactions to end. DiskFailed is what reads are told then."""
        with self._turn:
            self._env.close()

    def _within(self, fn: Callable[[Any], T]) -> T:
        with self._turn:
            assert not self._inside, "a read within a read"
            self._inside = True
            try:
                with self._begin() as txn:
                    return fn(txn)
            except lmdb.Error as error:
                raise DiskFailed(f"{self.path}: {error}") from error
            finally:
                self._inside = False

    def _begin(self) -> Any:
        try:
            return self._env.begin()
        except lmdb.MapResizedError:
            self._env.set_mapsize(0)
            return self._env.begin()
