"""Disks that do not answer: neither reads nor writes wait for m of them."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from s3node.base.limits import KIB
from s3node.meta import tables
from s3node.model.rows import PartRow
from s3node.objects import patience, read, repair
from s3node.store.limits import Limits
from tests.objects.node import ObjectNode, content, run, until
from tests.simulation.faults import Faults, FaultyFileSystem

SIZE = 300_000


def on_two_disks(path: str) -> bool:
    return "disk2/" in path or "disk4/" in path


def test_writes_go_on_with_m_hung_disks_and_what_they_owe_is_placed(tmp_path: Path) -> None:
    async def scenario() -> None:
        faults = Faults()
        async with ObjectNode(tmp_path, fs=FaultyFileSystem(faults)) as node:
            first = await node.put(content(SIZE))
            faults.hold("fdatasync", on_two_disks)
            waiting = asyncio.create_task(node.write(content(SIZE)))
            await asyncio.to_thread(faults.entered["fdatasync"].wait)
            await until(lambda: set(node.disks._context.unanswered()) == {2, 4})
            for _ in range(Limits().hung_looks + 1):
                await node.disks.refresh()
            assert len(node.disks.writable()) == 4
            await asyncio.gather(waiting, return_exceptions=True)
            assert waiting.exception() is not None, "four shards are no quorum of 4+2"
            row = await node.put(content(SIZE))
            assert await node.get(row) == content(SIZE)
            assert await node.get(first) == content(SIZE)
            faults.release("fdatasync")
            for slot in (2, 4):
                while not (await node.disks.probe(slot)).writable:
                    await asyncio.sleep(0.01)
                await node.disks.readmit(slot)
            whole = await node.put(content(SIZE))
            assert whole.data is not None
            assert owing(node) == 0

    run(scenario())


SEVERAL = 24
WHOLE = 256 * KIB
STRIPE_IN_MEMORY = 6 * WHOLE // 4
BUDGET = 8 * STRIPE_IN_MEMORY


@asynccontextmanager
async def hanging(
    folder: Path, disk: str
) -> AsyncIterator[tuple[ObjectNode, Faults, list[PartRow]]]:
    """A node of 4+2 with a small budget, one disk of which hangs, and what was stored meanwhile:
    so much that the disk is left out in the end.
    """
    faults = Faults()
    async with ObjectNode(folder, fs=FaultyFileSystem(faults), write_bytes=BUDGET) as node:
        await node.put(content(WHOLE))
        faults.hold("fdatasync", lambda path: f"{disk}/" in path)
        rows = [await node.put(content(WHOLE), late=True) for _ in range(SEVERAL)]
        yield node, faults, rows


def owing(node: ObjectNode) -> int:
    """How many rows owe shards."""
    return len(node.kv.read(lambda tx: list(tables.scan_owed(tx))))


@pytest.mark.parametrize("m", [1, 2])
def test_a_write_is_not_refused_because_all_disks_are_slow(tmp_path: Path, m: int) -> None:
    """All of the budget waits for disks: the others wait with it, and every shard is written."""

    async def scenario() -> None:
        faults = Faults()
        fs = FaultyFileSystem(faults)
        async with ObjectNode(tmp_path, 6 - m, m, fs=fs, write_bytes=BUDGET) as node:
            await node.put(content(WHOLE))
            faults.hold("fdatasync")
            writes = [asyncio.create_task(node.put(content(WHOLE))) for _ in range(SEVERAL)]
            await until(lambda: node.store.writing.used > BUDGET - STRIPE_IN_MEMORY)
            faults.release("fdatasync")
            await asyncio.gather(*writes)
            assert owing(node) == 0

    run(scenario())


@pytest.mark.parametrize(("k", "m", "away"), [(6, 3, 2), (8, 4, 4)])
def test_nor_with_disks_away_and_no_disk_is_left_out_for_it(
    tmp_path: Path, k: int, m: int, away: int
) -> None:
    """Narrow stripes have larger shards, and a whole budget of them is more for each disk."""

    async def scenario() -> None:
        faults = Faults()
        content_bytes, fs = k * 64 * KIB, FaultyFileSystem(faults)
        budget = 8 * (k + m) * 64 * KIB
        async with ObjectNode(tmp_path, k, m, fs=fs, write_bytes=budget) as node:
            await node.put(content(content_bytes))
            for slot in range(away):
                node.disks.fence(slot, "test")
            faults.hold("fdatasync")
            writes = [asyncio.create_task(node.put(content(content_bytes))) for _ in range(SEVERAL)]
            await until(lambda: node.store.writing.used > budget - (k + m) * 64 * KIB)
            faults.release("fdatasync")
            await asyncio.gather(*writes)
            assert owing(node) == 0

    run(scenario())


def test_who_was_left_out_takes_the_shard_of_a_disk_that_fails(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with hanging(tmp_path, "disk3") as (node, faults, _):
            faults.fail("pwritev", errno.EIO, lambda path: "disk0/" in path)
            write = asyncio.create_task(node.put(content(WHOLE), late=True))
            await asyncio.sleep(0.5)
            assert not write.done(), "four shards are no quorum of 4+2"
            faults.release("fdatasync")
            row = await write
            assert await node.get(row) == content(WHOLE)

    run(scenario())


def test_a_round_of_repair_does_not_stand_still_behind_a_hung_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repair, "REPAIR_ANSWER_S", 0.5)

    async def scenario() -> None:
        async with hanging(tmp_path, "disk1") as (node, faults, rows):
            faults.release("fdatasync")
            await node.late_entered()
            owed = owing(node)
            faults.hold("fdatasync", lambda path: "disk3/" in path)
            rows += [await node.put(content(WHOLE), late=True) for _ in range(3)]
            progress = await node.store.repairer.round()
            assert owed > 0
            assert (progress.placed, progress.waiting) == (owed, 3)
            faults.release("fdatasync")
            await node.late_entered()
            for row in rows:
                assert await node.get(row) == content(WHOLE)
            await until(lambda: not any(one.pins for one in node.disks._writers))

    run(scenario())


def test_a_hung_disk_holds_a_part_of_the_memory_and_later_stripes_owe_it(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with hanging(tmp_path, "disk3") as (node, faults, rows):
            assert 0 < node.store.writing.used <= BUDGET // 3
            assert owing(node) == SEVERAL
            faults.release("fdatasync")
            await node.late_entered()
            assert SEVERAL - owing(node) == 13, (
                "a sixth of 48 shards, and twice the mean of six disks"
            )
            await node.store.repairer.round()
            assert owing(node) == 0
            for row in rows:
                assert await node.get(row) == content(WHOLE)

    run(scenario())


def test_reads_do_not_wait_for_m_hung_disks(tmp_path: Path) -> None:
    async def scenario() -> None:
        faults = Faults()
        async with ObjectNode(tmp_path, fs=FaultyFileSystem(faults)) as node:
            row = await node.put(content(SIZE))
            faults.hold("pread", on_two_disks)
            assert await node.get(row) == content(SIZE)
            assert node.store.counters.reads_hedged > 0
            faults.release("pread")

    run(scenario())


def test_nor_when_the_other_disks_are_slow_as_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At first nobody answers in time; the hung ones are not waited for then either."""
    for name in ("READ_HEDGE_S", "READ_HEDGE_S_FIRST", "READ_HEDGE_S_MIN"):
        monkeypatch.setattr(patience, name, 0.0)
    monkeypatch.setattr(read, "READ_HEDGE_AGAIN_S", 1.0)

    async def scenario() -> None:
        faults = Faults()
        async with ObjectNode(tmp_path, fs=FaultyFileSystem(faults)) as node:
            row = await node.put(content(SIZE))
            faults.hold("pread", on_two_disks)
            assert await node.get(row) == content(SIZE)
            faults.release("pread")

    run(scenario())


def test_a_read_that_needs_a_slow_disk_waits_for_it(tmp_path: Path) -> None:
    async def scenario() -> None:
        faults = Faults()
        async with ObjectNode(tmp_path, fs=FaultyFileSystem(faults)) as node:
            row = await node.put(content(SIZE))
            for slot in (0, 1):
                node.disks.fence(slot, "test")
            faults.hold("pread", on_two_disks)
            reading = asyncio.create_task(node.get(row))
            await asyncio.sleep(1.5)
            assert not reading.done()
            faults.release("pread")
            assert await reading == content(SIZE)

    run(scenario())
