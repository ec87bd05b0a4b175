"""Range files as they are written: whole, where they were cut, each from memory of its own."""

from __future__ import annotations

import asyncio
import errno
import threading
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from s3node.base import filesystem
from s3node.base.errors import FormatError, MemoryShort
from s3node.base.filesystem import Buffer, RealFileSystem, read_file
from s3node.meta import rangefile
from s3node.meta.checkpointer import Checkpointer, Sizes
from s3node.meta.frame import ORIGIN, Position
from s3node.meta.homes import Home
from s3node.meta.lmdb_index import LmdbIndex, LmdbPlace
from s3node.meta.manifest import Manifest, Range
from s3node.meta.rangefile import RangeHeader
from tests.meta.logs import make_homes

DEPLOYMENT = b"D" * 16
FIRST = b"\x05"
WAIT_S_MAX = 60.0


class Journal:
    """Nothing is to be cut."""

    def retained_bytes(self) -> int:
        return 0

    def sequence_leaving(self, retained: int) -> int:
        return 1 << 60

    def live(self) -> Sequence[int]:
        return [0, 1]

    async def cut(self, base: int) -> None:
        """It is as long as it was."""


class HeldFileSystem(RealFileSystem):
    """Whose next write waits, once `armed`."""

    def __init__(self) -> None:
        self.armed = False
        self.entered, self.released = threading.Event(), threading.Event()

    def pwritev(self, fd: int, buffers: Sequence[Buffer], offset: int) -> int:
        if self.armed:
            self.armed = False
            self.entered.set()
            assert self.released.wait(WAIT_S_MAX)
        return super().pwritev(fd, buffers, offset)


def checkpointer(index: Any, homes: dict[int, Home], range_bytes: int) -> Checkpointer:
    everything = Range(b"\x01", b"", 1, 0, 0, bytes(16), ORIGIN)
    current = Manifest(DEPLOYMENT, 1, 1, ORIGIN, ORIGIN, (everything,))
    sizes = Sizes(range_bytes=range_bytes)
    return Checkpointer(
        index, Journal(), homes, current, epoch=1, position=ORIGIN, need=2, sizes=sizes
    )


def position(sequence: int) -> Position:
    return Position(sequence, bytes([sequence]) * len(ORIGIN[1]))


def rows_of(seed: int, count: int) -> dict[bytes, bytes]:
    source = Random(seed)
    return {FIRST + b"%06d" % number: source.randbytes(100) for number in range(count)}


class World:
    """An index, two disks, and a checkpointer of them."""

    def __init__(self, root: Path, range_bytes: int) -> None:
        self.fs = HeldFileSystem()
        self.homes = {slot: home._replace(fs=self.fs) for slot, home in make_homes(root, 2).items()}
        self.index: LmdbIndex = LmdbPlace(root / "index").create(DEPLOYMENT, 1 << 26)
        self.index.apply([(ORIGIN, {})])
        self.checkpointer = checkpointer(self.index, self.homes, range_bytes)
        self.sequence = 0

    def commit(self, rows: dict[bytes, bytes]) -> None:
        self.sequence += 1
        at = position(self.sequence)
        self.index.apply([(at, rows)])
        self.checkpointer.touch(rows, at)

    async def round(self) -> None:
        await asyncio.wait_for(self.checkpointer.round(everything=True), WAIT_S_MAX)

    def checked_names(self, home: Home) -> list[str]:
        """Of all range files on a disk, which must say of themselves what they are named."""
        names = [one for one in self.fs.listdir(home.checkpoints) if one.endswith(".range")]
        for name in names:
            header = rangefile.unpack_header(read_file(self.fs, f"{home.checkpoints}/{name}"))
            assert name == f"{header.epoch:08x}-{header.number:08x}.range"
        return names

    def files(self) -> list[dict[bytes, bytes]]:
        """The rows of every range that the manifest names, from each disk: the same of both."""
        found = []
        for home in self.homes.values():
            rows: dict[bytes, bytes] = {}
            for one in self.checkpointer.manifest.ranges:
                if one.file_bytes:
                    data = read_file(self.fs, f"{home.checkpoints}/{one.name}")
                    assert xxhash.xxh3_128_digest(data) == one.file_digest
                    part = dict(rangefile.unpack(data)[1])
                    assert not part.keys() & rows.keys(), "a row is in one range"
                    rows |= part
            found.append(rows)
        return found


@pytest.mark.parametrize("count", [1, 99, 100, 101, 1000])
@pytest.mark.parametrize("rows_a_range", [1, 2, 100])
def test_each_row_is_in_one_range(tmp_path: Path, count: int, rows_a_range: int) -> None:
    """The bound is met exactly by whole rows, among others."""
    rows = rows_of(count, count)

    async def scenario() -> None:
        for off in (-1, 0, 1):
            world = World(tmp_path / str(off), rows_a_range * 107 + off)
            world.commit(rows)
            await world.round()
            assert world.files() == [rows, rows]
            ranges = world.checkpointer.manifest.ranges
            whole = rows_a_range + (off == 1)  # with the row that takes it over the bound
            assert len([one for one in ranges if one.file_bytes]) == -(-count // whole)
            world.index.close()

    asyncio.run(scenario())


def test_a_round_that_was_cancelled_writes_from_memory_of_its_own(tmp_path: Path) -> None:
    """Its thread goes on beside the next round's."""

    async def scenario() -> None:
        world = World(tmp_path, 1 << 20)
        world.commit(rows_of(1, 2000))
        await world.round()
        assert len(world.checkpointer._sheets) == 1, "to be used again"
        world.commit(rows_of(2, 2000))
        world.fs.armed = True
        cancelled = asyncio.create_task(world.round())
        assert await asyncio.to_thread(world.fs.entered.wait, WAIT_S_MAX)
        cancelled.cancel()
        await asyncio.wait([cancelled])
        rows = rows_of(3, 2000)
        world.commit(rows)
        await world.round()
        world.fs.released.set()
        await asyncio.get_running_loop().shutdown_default_executor()  # the thread has ended
        assert world.files() == [rows, rows]
        late = [name for home in world.homes.values() for name in world.checked_names(home)]
        assert late.count("00000001-00000002.range") == 1, "cleaned up on one disk, not the other"
        world.index.close()

    asyncio.run(scenario())


def test_without_memory_a_round_fails_as_storage_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> Any:
        raise OSError(errno.ENOMEM, "Cannot allocate memory")

    async def scenario() -> None:
        world = World(tmp_path, 1 << 20)
        world.commit(rows_of(1, 10))
        with monkeypatch.context() as patched:
            patched.setattr(filesystem.mmap, "mmap", refuse)
            with pytest.raises(MemoryShort):
                await world.round()
        await world.round()
        assert world.files() == [rows_of(1, 10)] * 2
        world.index.close()

    asyncio.run(scenario())


KEYS = st.lists(st.binary(min_size=1, max_size=3), max_size=6)


@given(KEYS, st.binary(min_size=1, max_size=2), st.binary(max_size=2))
def test_rows_out_of_their_range_or_order_are_no_range_file(
    keys: list[bytes], start: bytes, end: bytes
) -> None:
    header = RangeHeader(DEPLOYMENT, 1, 1, 1, start, end)
    data = b"".join(rangefile.pack(header, rangefile.pack_body((key, b"") for key in keys)))
    right = keys == sorted(set(keys)) and all(
        start <= key and (not end or key < end) for key in keys
    )
    found: list[bytes] | None = None
    try:
        found = [key for key, _ in rangefile.unpack(data)[1]]
    except FormatError:
        assert not right
    assert found == keys if right else found is None
