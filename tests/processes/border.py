"""Both ends of the border in one process: an engine's door, and edges over socketpairs."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

from s3node.base.arena import Arena
from s3node.base.clock import SystemClock
from s3node.base.filesystem import FileSystem, RealFileSystem
from s3node.processes.door import Door, Terms
from s3node.processes.link import Link, Machinery, connect
from s3node.store.engine import Engine
from s3node.store.limits import Limits
from s3node.store.native import NativeEngine

DEPLOYMENT = b"D" * 16
EPOCH = 1


class Shared:
    """The writer's own index, lent to an edge in the same process: LMDB opens a file once."""

    def __init__(self, index: Any) -> None:
        if index is not None:
            self.read, self.look = index.read, index.look

    def close(self) -> None:
        """It stays the writer's."""


class NoDisks:
    """For edges that only have to do with metadata."""

    def status(self) -> list[Any]:
        return []

    def writable(self, most: int | None = None) -> list[Any]:
        return []

    def unpin(self, places: list[Any]) -> None:
        assert not places


class Undecided:
    """For edges that only have to do with disks."""

    stall = ""
    sequence = pending = 0


def make_door(
    deciding: Any = None,
    disks: Any = None,
    *,
    path: Path = Path("/nowhere"),
    reader_check: Callable[[], int] = lambda: 0,
) -> Door:
    """A started one; what is not there is not needed."""
    terms = Terms(EPOCH, DEPLOYMENT, str(path))
    door = Door(deciding or Undecided(), disks or NoDisks(), terms, reader_check)
    door.start()
    return door


async def knock(
    door: Door,
    arena: Arena | None = None,
    *,
    index: Any = None,
    fs: FileSystem | None = None,
    engine: Callable[[int], Engine] = NativeEngine,
    limits: Limits | None = None,
    still: Callable[[], bool] = lambda: True,
) -> Link:
    """One more edge of this process; `index` is the writer's."""
    ours, theirs = socket.socketpair()
    door.accept(theirs)
    machinery = Machinery(
        fs or RealFileSystem(),
        SystemClock(),
        os.urandom,
        engine,
        lambda path, deployment_id: Shared(index),
        limits or Limits(),
    )
    return await connect(ours, arena, machinery, still=still, timeout=10)
