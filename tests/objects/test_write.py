"""Writing with disks that fail, lag or come too late; and writes that are given up."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from s3node.base.errors import EngineGone, S3Error
from s3node.base.filesystem import RealFileSystem
from s3node.base.md5 import Md5
from s3node.meta import tables
from s3node.model.rows import Data
from s3node.objects import hashing
from s3node.objects.coding import Job, advance
from s3node.objects.hasher import NativeHasher
from s3node.objects.layout import stripe_bytes
from s3node.objects.placement import write_quorum
from s3node.objects.write import STRIPES_WHOLE_MAX
from s3node.store.record import BLOCK_BYTES
from s3node.store.seams import Answered, Records
from tests.objects.node import TEST_S_MAX, FailingDisk, ObjectNode, content, run, until

STRIPE = stripe_bytes(4)


class HeldDisks(RealFileSystem):
    """Syncs of segments on the `held` disks wait until they are released."""

    def __init__(self) -> None:
        self.held: set[str] = set()
        self.released = threading.Event()
        self.paths: dict[int, str] = {}

    def open(self, path: str, flags: int, mode: int = 0o600) -> int:
        fd = super().open(path, flags, mode)
        self.paths[fd] = path
        return fd

    def fdatasync(self, fd: int) -> None:
        if any(f"{name}/segments" in self.paths[fd] for name in self.held):
            assert self.released.wait(TEST_S_MAX), "nobody released the disk"
        super().fdatasync(fd)


def owed(node: ObjectNode) -> list[tuple[int, ...]]:
    return node.kv.read(lambda tx: [row.stripes for *_, row in tables.scan_owed(tx)])


def test_a_slow_disk_is_owed_its_shard_and_enters_it_late(tmp_path: Path) -> None:
    async def scenario() -> None:
        fs = HeldDisks()
        async with ObjectNode(tmp_path, fs=fs) as node:
            await node.put(content(100_000))  # segments are open
            fs.held = {"disk2"}
            row = await node.put(content(2 * STRIPE), late=True)
            assert owed(node) == [(0, 1)]
            assert node.pinned(), "a disk may still answer"
            assert node.store.writing.used > 0, "its shards are in memory still"
            assert await node.get(row) == content(2 * STRIPE)
            fs.released.set()
            await node.late_entered()
            assert owed(node) == []
            await node.disks.seal()
            assert not node.pinned()
            for slot in (0, 1):
                node.lose(slot)
            assert await node.get(row) == content(2 * STRIPE)

    run(scenario())


def test_below_the_quorum_nothing_is_answered(tmp_path: Path) -> None:
    """4+2 is answered at five synced shards: with two disks hanging it waits for one of them."""

    async def scenario() -> None:
        fs = HeldDisks()
        async with ObjectNode(tmp_path, fs=fs) as node:
            assert write_quorum(node.geometry) == 5
            await node.put(content(100_000))
            fs.held = {"disk1", "disk4"}
            writing = asyncio.create_task(node.put(content(STRIPE)))
            done, _ = await asyncio.wait([writing], timeout=0.3)
            assert not done
            fs.released.set()
            assert await node.get(await writing) == content(STRIPE)

    run(scenario())


def test_a_shard_whose_disk_fails_goes_to_a_spare(tmp_path: Path) -> None:
    async def scenario() -> None:
        fs = FailingDisk()
        async with ObjectNode(tmp_path, fs=fs, disks=7) as node:
            for _ in range(8):  # so that every disk has an open segment
                await node.put(content(20_000))
            for slot in range(7):
                fs.failing = f"disk{slot}/"
                row = await node.put(content(50_000))
                assert row.data is not None
                data_id = row.data.data_id
                found = node.kv.read(lambda tx, name=data_id: tables.get_locations(tx, name, 0))
                assert found is not None
                slots = [place.slot for place in found.stripes[0].shards if place is not None]
                assert len(slots) == len(set(slots)) == 6 and slot not in slots
                assert await node.get(row) == content(50_000)
                fs.failing = ""
                await node.disks.readmit(slot)
            assert owed(node) == []

    run(scenario())


def test_a_spare_that_cannot_even_be_asked_is_a_shard_that_is_missing(tmp_path: Path) -> None:
    async def scenario() -> None:
        fs = FailingDisk()
        async with ObjectNode(tmp_path, fs=fs, disks=7) as node:
            for _ in range(8):  # so that every disk has an open segment
                await node.put(content(20_000))
            append, asked = node.disks.append, 0

            def once(*arguments: Any) -> None:
                nonlocal asked
                asked += 1
                if asked > 1:
                    raise MemoryError("injected")
                append(*arguments)

            node.disks.append = once  # type: ignore[method-assign]
            fs.failing = "disk"  # all of them: as many as there are spares are asked again
            async with asyncio.timeout(10):
                with pytest.raises(S3Error):
                    await node.put(content(50_000))
                await until(lambda: not node.store.writing.used)  # the others have answered
            assert asked == 2
            fs.failing = ""

    run(scenario())


def test_an_engine_that_goes_is_not_told_as_failing_disks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def parted(records: Records, targets: Sequence[tuple[int, int]], answered: Answered) -> None:
        gone = [(shard, EngineGone("the other end")) for _, shard in targets]
        asyncio.get_running_loop().call_soon(answered, gone)

    async def scenario() -> None:
        async with ObjectNode(tmp_path) as node:
            monkeypatch.setattr(node.disks, "append", parted)
            with pytest.raises(S3Error) as refused:
                await node.put(content(STRIPE))
            assert "The node's engine begins anew" in str(refused.value)
            assert "shards" not in str(refused.value)

    run(scenario())


def test_too_many_failing_disks_are_an_error_that_says_so(tmp_path: Path) -> None:
    async def scenario() -> None:
        fs = FailingDisk()
        async with ObjectNode(tmp_path, fs=fs) as node:
            await node.put(content(100_000))
            fs.failing = "/segments/"
            with pytest.raises(S3Error) as refused:
                await node.put(content(STRIPE))
            assert refused.value.code == "ServiceUnavailable"
            assert "0 of 5 shards could be written" in str(refused.value)
            assert "EIO" in str(refused.value)
            await node.late_entered()
            await node.disks.seal()
            assert not node.pinned()

    run(scenario())


@pytest.mark.parametrize("turns", range(0, 60, 3))
def test_cancelled_anywhere_nothing_stays_pinned_or_taken(tmp_path: Path, turns: int) -> None:
    """Once and, while it is being given up, once more."""

    async def scenario() -> None:
        async with ObjectNode(tmp_path) as node:

            async def pieces() -> AsyncIterator[memoryview]:
                for _ in range(6):
                    await asyncio.sleep(0)
                    yield memoryview(bytes(STRIPE // 2))

            writing = asyncio.create_task(node.store.write(pieces(), lambda view: None, 3 * STRIPE))
            for _ in range(turns):
                await asyncio.sleep(0.0002)
            writing.cancel()
            await asyncio.sleep(0)
            writing.cancel()
            (outcome,) = await asyncio.gather(writing, return_exceptions=True)
            if not isinstance(outcome, BaseException):
                node.store.release(outcome)
            await until(lambda: not node.store.writing.used)
            await node.late_entered()
            await node.disks.seal()
            assert not node.pinned()

    run(scenario())


@pytest.mark.parametrize("moment", ["between two steps of MD5", "while the others hash"])
def test_memory_that_changes_under_a_hash_is_a_fault(tmp_path: Path, moment: str) -> None:
    """Digests are taken before bytes are hashed: what a hash saw is stored, or nothing is."""

    class Flipping(NativeHasher):
        """Memory changes after the first step."""

        def submit(self, jobs: Sequence[Job]) -> None:
            advance(jobs, STRIPE // 2)
            if moment == "between two steps of MD5":
                jobs[0].pointer.shards[7] ^= 1
            super().submit(jobs)

    def update(view: memoryview) -> None:
        if moment == "while the others hash":
            view[7] ^= 1

    async def pieces() -> AsyncIterator[memoryview]:
        yield memoryview(bytes(STRIPE))

    async def scenario() -> None:
        async with ObjectNode(tmp_path, hasher=Flipping) as node:
            with pytest.raises(S3Error) as refused:
                await node.store.write(pieces(), update, STRIPE, md5=Md5())
            assert "memory" in str(refused.value)
            await node.disks.seal()
            assert not node.pinned()

    run(scenario())


def taken(node: ObjectNode) -> int:
    """Bytes of the arena that are."""
    return node.store._arena.total - node.store._arena.free()


def test_a_slow_disk_keeps_no_more_memory_than_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a long object whose stripes all wait for it: while it comes, and when it is given up."""
    monkeypatch.setattr("s3node.objects.layout.STRIPE_BYTES_TARGET", 4 * BLOCK_BYTES)
    stripes, shard, row = 3 * STRIPES_WHOLE_MAX, BLOCK_BYTES, 6 * BLOCK_BYTES

    async def scenario() -> None:
        fs, came, last = HeldDisks(), asyncio.Event(), asyncio.Event()
        async with ObjectNode(tmp_path, fs=fs) as node:

            async def pieces() -> AsyncIterator[memoryview]:
                for _ in range(stripes):
                    yield memoryview(bytes(4 * shard))
                came.set()
                await last.wait()

            await node.put(content(100_000))
            fs.held = {"disk2"}
            budget = node.store.writing
            writing = asyncio.create_task(
                node.store.write(pieces(), lambda _: None, (stripes + 1) * 4 * shard)
            )
            await asyncio.wait_for(came.wait(), TEST_S_MAX)
            await until(lambda: budget.used <= stripes * shard)
            seen = [(taken(node), budget.used)]
            writing.cancel()
            await asyncio.gather(writing, return_exceptions=True)
            seen.append((taken(node), budget.used))
            fs.released.set()
            await until(lambda: budget.used == 0)
            seen.append((taken(node), budget.used))
        held = stripes * shard
        assert [used for _, used in seen] == [held, held, 0]
        assert seen[0][0] <= held + STRIPES_WHOLE_MAX * (row - shard)
        assert [there for there, _ in seen[1:]] == [held, 0]

    run(scenario())


@pytest.mark.parametrize("spare", [1, 2, 5000, STRIPE, 3 * STRIPE])
@pytest.mark.parametrize("size", [4097, STRIPE - 1, STRIPE, STRIPE + 1, 2 * STRIPE + 9])
def test_less_comes_than_could_have(tmp_path: Path, size: int, spare: int) -> None:
    """Where only a bound is known, the last stripe is what came: as if it had been announced."""

    async def scenario() -> None:
        async with ObjectNode(tmp_path) as node:
            bytes_ = content(size)
            row = await node.put(bytes_)
            bounded = await node.put(bytes_, bound=size + spare)
            assert (bounded.size, bounded.digest) == (row.size, row.digest)
            assert row.data is not None and bounded.data is not None
            assert bounded.data.size == size
            assert stripes(node, bounded.data) == stripes(node, row.data) != []
            node.lose(0)
            node.lose(1)
            assert await node.get(bounded) == bytes_
            assert await node.get(bounded, size - 9) == bytes_[-9:]

    run(scenario())


def stripes(node: ObjectNode, data: Data) -> list[tuple[int, int, int]]:
    """(k, m, bytes) of each."""
    row = node.kv.read(lambda tx: tables.get_locations(tx, data.data_id, 0))
    assert row is not None
    return [(one.k, one.m, one.stripe_bytes) for one in row.stripes]


def test_of_a_slow_client_less_comes_than_could_have(tmp_path: Path) -> None:
    """What was given back of its stripe while others waited is not asked for in vain."""

    async def scenario() -> None:
        shard = -(-STRIPE // 4)
        async with ObjectNode(tmp_path, write_bytes=7 * shard) as node:
            seen = bytearray()
            go_on = asyncio.Event()

            async def pieces() -> AsyncIterator[memoryview]:
                yield memoryview(content(9000))
                await go_on.wait()

            slow = asyncio.create_task(node.store.write(pieces(), seen.extend, STRIPE, exact=False))
            await until(lambda: node.store.writing.used)
            row = await node.put(content(STRIPE))  # whose memory the slow one had
            go_on.set()
            written = await slow
            assert bytes(seen) == content(9000)
            await node.kv.write(lambda tx: node.store.stage(tx, written))
            node.store.release(written)
            kept = row.__class__(9000, "", written.digest, 0, data=written.data)
            assert await node.get(kept) == content(9000)

    run(scenario())


def test_disks_that_cannot_even_be_asked_cost_no_memory(tmp_path: Path) -> None:
    """As when this process has no memory for the question."""

    async def scenario() -> None:
        async with ObjectNode(tmp_path) as node:
            append = node.disks.append

            def poor(*_: object) -> None:
                node.disks.append = append  # type: ignore[method-assign]
                raise MemoryError("injected")

            node.disks.append = poor  # type: ignore[method-assign]
            with pytest.raises(MemoryError):
                await node.put(content(300_000))
            assert node.store.writing.used == 0
            assert not any(node.store._backlog._sent.values())
            row = await node.put(content(300_000))
            assert await node.get(row) == content(300_000)

    run(scenario())


def test_many_uploads_are_stored_in_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An upload is counted from its last stripe to its release, and waited with as long."""
    monkeypatch.setattr(hashing, "GATHER_NS", 2 * int(TEST_S_MAX * 1e9))
    monkeypatch.setattr(hashing, "IDLE_NS", 0)  # what the loop has to do does not matter
    together: list[int] = []

    class Noting(NativeHasher):
        def submit(self, jobs: Sequence[Job]) -> None:
            together.append(len(jobs))
            super().submit(jobs)

    async def scenario() -> None:
        async with ObjectNode(tmp_path, hasher=Noting) as node:
            first = await asyncio.gather(*(node.write(content(100_000)) for _ in range(8)))
            assert together == [4, 4], "the first four, and as many as those"
            second = [asyncio.create_task(node.write(content(100_000))) for _ in range(3)]
            await until(lambda: len(node.hashing._gathered) == len(second))
            for written in first[:5]:
                assert together == [4, 4], "more are not released than have come"
                node.store.release(written)
            assert together == [4, 4, 3]
            for written in [*first[5:], *await asyncio.gather(*second)]:
                node.store.release(written)

    run(scenario())
