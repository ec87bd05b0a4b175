"""Both ends of the border in one process: an engine's door, and edges over socketpairs."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from s3node.base.arena import Arena
from s3node.base.clock import SystemClock
from s3node.base.filesystem import FileSystem, RealFileSystem
from s3node.processes import messages
from s3node.processes.channel import MARK
from s3node.processes.door import Door, Terms
from s3node.processes.link import Link, Machinery, connect
from s3node.processes.messages import Hello
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

    def writable(self) -> list[Any]:
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


TEST_S_MAX = 60
TOLD_S_MAX = 10


def run(scenario: Awaitable[Any]) -> None:
    async def whole() -> None:
        await asyncio.wait_for(scenario, TEST_S_MAX)

    asyncio.run(whole())


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(TOLD_S_MAX):
        while not condition():
            await asyncio.sleep(0.002)


class Raw:
    """The other end of a door, by hand."""

    def __init__(self, door: Door, *, mark: bytes = MARK, fds: tuple[int, ...] = ()) -> None:
        self.sock, theirs = socket.socketpair()
        self.sock.setblocking(False)
        self._sending: list[asyncio.Future[None]] = []
        door.accept(theirs)
        if mark or fds:
            socket.send_fds(self.sock, [mark], list(fds))

    def send(self, *frames: bytes) -> None:
        """In the background: the door may close before all of it is taken."""
        sending = asyncio.get_running_loop().sock_sendall(self.sock, b"".join(frames))
        self._sending.append(asyncio.ensure_future(sending))

    def hello(self, arena_bytes: int = 0, version: int = messages.VERSION) -> None:
        self.send(*messages.pack([Hello(version, arena_bytes)]))

    async def told(self) -> list[Any]:
        """All that comes until the door closes."""
        data = bytearray()
        loop = asyncio.get_running_loop()
        while piece := await loop.sock_recv(self.sock, 1 << 16):
            data += piece
        found: list[Any] = []
        while data:
            (size,) = messages.LENGTH.unpack_from(data)
            found += messages.unpack_from_engine(bytes(data[4 : 4 + size]))
            del data[: 4 + size]
        await asyncio.gather(*self._sending, return_exceptions=True)
        self.sock.close()
        return found
