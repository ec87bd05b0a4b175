"""An object store over real files: six directories as disks, plain engine, metadata in memory."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import random
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from ec import Geometry, NativeCodec
from s3node.base.arena import Arena
from s3node.base.clock import SystemClock
from s3node.base.filesystem import Buffer, RealFileSystem
from s3node.base.ids import EpochIds
from s3node.base.limits import WRITE_BUFFER_BYTES
from s3node.base.md5 import Md5
from s3node.meta.memory import MemoryKv
from s3node.model.rows import PartRow
from s3node.objects.hasher import Hasher, NativeHasher, Told
from s3node.objects.hashing import SharedHashing
from s3node.objects.store import ObjectStore
from s3node.objects.write import Written
from s3node.store.disks import create_disk, open_disks
from s3node.store.diskset import Disks
from s3node.store.identity import Identity
from s3node.store.limits import Limits
from s3node.store.native import NativeEngine
from s3node.store.plain import ThreadEngine

DEPLOYMENT = b"deployment-id-01"


TEST_S_MAX = 240
"""Ends a test that would never end; far from what a busy machine needs."""


def run(scenario: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(scenario, TEST_S_MAX))


async def until(condition: Callable[[], object]) -> None:
    """Let the loop run until it holds."""
    while not condition():
        await asyncio.sleep(0.002)


def content(size: int) -> bytes:
    return random.Random(size).randbytes(size)


class FailingDisk(RealFileSystem):
    """Writes to one disk fail once it is told to."""

    def __init__(self) -> None:
        self.failing = ""
        self.fds: dict[int, str] = {}

    def open(self, path: str, flags: int, mode: int = 0o600) -> int:
        fd = super().open(path, flags, mode)
        self.fds[fd] = path
        return fd

    def pwritev(self, fd: int, buffers: Sequence[Buffer], offset: int) -> int:
        if self.failing and self.failing in self.fds[fd]:
            raise OSError(errno.EIO, "injected")
        return super().pwritev(fd, buffers, offset)


class ObjectNode:
    """`async with ObjectNode(folder) as node:` on the running loop."""

    def __init__(
        self,
        folder: Path,
        k: int = 4,
        m: int = 2,
        codec: NativeCodec | None = None,
        fs: RealFileSystem | None = None,
        *,
        disks: int = 0,
        create: bool = True,
        write_bytes: int = WRITE_BUFFER_BYTES,
        native: bool = False,
        hasher: Callable[[Told], Hasher] = NativeHasher,
    ) -> None:
        """`disks` is k + m unless told. Without `create`, they are taken as they are. What is in
        memory only a `native` engine knows; `fs` has no say in what that reads and writes.
        """
        self.native = native
        self.hasher = hasher
        self.codec = codec or NativeCodec()
        self.folder = folder
        self.write_bytes = write_bytes
        self.disk_count = disks or k + m
        self.create = create
        self.geometry = Geometry(k, m)
        self.fs = fs or RealFileSystem()
        self.kv = MemoryKv()
        self.random = random.Random(1)

    async def __aenter__(self) -> ObjectNode:
        paths = [str(self.folder / f"disk{slot}") for slot in range(self.disk_count)]
        for slot, path in enumerate(paths):
            if self.create and not Path(path).exists():
                identity = Identity(DEPLOYMENT, bytes([slot]) * 16, slot, len(paths), 0)
                create_disk(self.fs, path, identity, bytes(16))
        clock = self.clock = SystemClock()
        ids = EpochIds(1, self.random.randbytes)
        opened = open_disks(self.fs, paths)
        queue_bytes = self.write_bytes // self.disk_count  # as a node has it
        limits = Limits(queue_bytes=queue_bytes, hung_max=self.geometry.m)
        engine = NativeEngine(self.disk_count) if self.native else ThreadEngine(self.fs)
        self.disks = Disks(self.fs, engine, opened, ids, clock, limits)
        self.threads, self.md5_thread = ThreadPoolExecutor(2), ThreadPoolExecutor(1)
        self.hashing = SharedHashing(self.md5_thread, clock, self.hasher)
        self.store = ObjectStore(
            self.kv,
            self.disks,
            self.codec,
            self.geometry,
            ids,
            clock,
            self.threads,
            self.hashing,
            lambda: 0,
            Arena(2 * self.write_bytes),
            self.write_bytes,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.store.close()
        await self.disks.close()
        self.threads.shutdown()
        counted = self.hashing._unwritten, self.hashing._storing
        assert counted == (0, 0), "an upload has not ended: others would wait for it"
        self.hashing.close()
        self.md5_thread.shutdown()
        assert self.store.writing.used == self.store.reading.used == 0

    async def put(
        self, content: bytes, piece: int = 100_000, *, late: bool = False, bound: int = 0
    ) -> PartRow:
        """Write, commit, release: the row that a reader needs. `bound`: see `write`.

        A disk may answer too late at any time, on a machine that has much else to do. Unless
        `late`, what it owes then has been entered when this returns.
        """
        written = await self.write(content, piece, bound=bound)
        await self.kv.write(lambda tx: self.store.stage(tx, written))
        self.store.release(written)
        if not late:
            await self.late_entered()
        return PartRow(
            len(content), "", written.digest, 0, data=written.data, inline=written.inline
        )

    async def late_entered(self) -> None:
        """Until every disk has answered, and what came late has its place in the rows."""
        await until(lambda: not self.store._late)
        assert self.store.failed() is None

    async def write(self, content: bytes, piece: int = 100_000, *, bound: int = 0) -> Written:
        """With a `bound`, only that many are announced, and that it may be fewer."""
        seen = bytearray()

        async def pieces() -> AsyncIterator[memoryview]:
            view = memoryview(content)
            for start in range(0, len(view), piece):
                await asyncio.sleep(0)
                yield view[start : start + piece]

        md5 = Md5()
        length = bound or len(content)
        written = await self.store.write(pieces(), seen.extend, length, md5=md5, exact=not bound)
        assert bytes(seen) == content, "every byte is hashed once, in order"
        assert md5.digest() == hashlib.md5(content).digest(), "the same"
        return written

    async def get(self, row: PartRow, start: int = 0, stop: int | None = None) -> bytes:
        stop = row.size if stop is None else stop
        got = bytearray()
        async for pieces in await self.store.read(row, start, stop):
            for piece in pieces:
                got += piece
        return bytes(got)

    def pinned(self) -> list[tuple[int, int]]:
        """(slot, segment) of what is still written, or not decided."""
        return [
            (slot, segment)
            for slot in range(self.disk_count)
            for segment in self.disks.segments(slot)
            if self.disks.pinned(slot, segment)
        ]

    def lose(self, slot: int) -> None:
        """Every segment of the disk is gone."""
        for path in (self.folder / f"disk{slot}" / "segments").iterdir():
            path.unlink()
