"""The index seam: what the metadata needs of the thing that answers reads, and of where it lies.

An index is never the truth: journal and checkpoints are, and it is made anew from them whenever
it is not byte for byte what a clean close left. So a place has to keep an index between two lives
only as long as it can say so (the seal); after anything else it may have lost it.

Two implementations: LMDB in a folder (`s3node.meta.lmdb_index`), and one in memory in the tests.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

from s3node.base.errors import StorageFault
from s3node.meta.frame import Position
from s3node.meta.index_seal import Seal
from s3node.meta.kv import ReadTx
from s3node.meta.transaction import Rows

T = TypeVar("T")


class IndexFull(StorageFault):
    """There is no room now; with leave to wait, there will be."""


class Index(Protocol):
    """An open index."""

    def read(self, fn: Callable[[ReadTx, Position], T]) -> T:
        """fn(snapshot, the position it stands at), now, on this thread. DiskFailed."""

    def look(self, fn: Callable[[ReadTx], T]) -> T:
        """As `read`, for those who do not ask where the snapshot stands."""

    def position(self) -> Position: ...

    def apply(self, batches: Sequence[tuple[Position, Rows]], *, grow: bool = True) -> None:
        """Put batches in, all at once, and move on to the last one's position. DiskFailed.

        To make room may mean to wait for readers: IndexFull when it may not `grow`.
        """

    def reader_check(self) -> int:
        """Free what readers that died hold; how many there were."""

    def close(self) -> None:
        """Without a seal: it will be made anew."""

    def close_sealed(self) -> Seal:
        """Close so that the next life can use it again."""


class IndexPlace(Protocol):
    """Where a node keeps its index."""

    def sealed(self, deployment_id: bytes) -> Seal | str:
        """The seal of an index that is what a clean close left; else why there is none."""

    def left(self, deployment_id: bytes) -> int:
        """The newest sequence that an index without a seal gives proof of having held; 0: none.

        Rows reach an index only from frames that were durable, so the journal must have it,
        however the last life ended. What lies there is read, never believed otherwise.
        """

    def open(self, deployment_id: bytes) -> Index:
        """The sealed index, to be written; from here on it is without a seal."""

    def open_readonly(self, deployment_id: bytes) -> Index:
        """The sealed index, for reading only; it keeps its seal."""

    def create(self, deployment_id: bytes, room: int) -> Index:
        """A new, empty one beside whatever is there, with room for so many bytes."""

    def adopt(self, fresh: Index) -> None:
        """A created one takes the place of whatever is there, open as it is."""

    def discard(self, fresh: Index) -> None:
        """Close a created one and remove it."""
