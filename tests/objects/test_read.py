"""Reading: what a read holds of the budget, and that pieces that fit together are checked too."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import msgspec
import pytest
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st

from s3node.base.errors import S3Error, ShardCorrupt
from s3node.base.limits import INLINE_BYTES_MAX, READ_STEP_BYTES_MIN, READ_STRIDE_BYTES_MAX
from s3node.meta import tables
from s3node.meta.kv import ReadTx
from s3node.model.rows import STRIPES_PER_RUN, Data, Location, LocationRow, PartRow
from s3node.objects.layout import StripeRange, shard_bytes, stripe_bytes, stripe_ranges
from s3node.objects.read import place_of, shard_identity
from s3node.objects.reading import ItemCheck
from s3node.store import record
from s3node.store.digests import shard_digests
from s3node.store.record import BLOCK_BYTES
from tests.objects.node import ObjectNode, content, run
from tests.simulation.faults import Faults, FaultyFileSystem
from tests.store.world import Append, appended

STRIPE = stripe_bytes(4)
SMALL_STRIPE = 2 * 4 * BLOCK_BYTES


async def close(stream: AsyncIterator[Sequence[memoryview]]) -> None:
    await stream.aclose()  # type: ignore[attr-defined]  # as every one of them has


@pytest.mark.parametrize("room", [1, 2, 64])
def test_a_read_holds_two_stripes_at_most(
    tmp_path: Path, room: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one that is sent and the one after it; with room for one only, just that."""
    monkeypatch.setattr("s3node.objects.reading.CLIENT_SLOW_S", 3600.0)  # on no machine

    async def scenario() -> None:
        async with ObjectNode(tmp_path) as node:
            row = await node.put(content(4 * STRIPE))
            budget = node.store.reading
            budget.total = room * STRIPE
            got = bytearray()
            async for pieces in await node.store.read(row, 10, row.size - 10):
                assert STRIPE - 10 <= budget.used <= min(room, 2) * STRIPE
                for piece in pieces:
                    got += piece
            assert got == content(4 * STRIPE)[10:-10]
            assert budget.used == 0

    run(scenario())


def noting(asked: list[int]) -> Callable[[ReadTx, bytes, int], LocationRow | None]:
    """Locates stripes as ever, and notes the runs that are asked for."""
    located = tables.get_locations

    def noted(tx: ReadTx, data_id: bytes, run_index: int) -> LocationRow | None:
        asked.append(run_index)
        return located(tx, data_id, run_index)

    return noted


def test_what_is_in_memory_is_read_in_strides(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """But for the first stripe. A read holds one, and looks at each row once."""
    monkeypatch.setattr("s3node.objects.reading.CLIENT_SLOW_S", 3600.0)  # on no machine
    asked: list[int] = []

    async def scenario() -> None:
        async with ObjectNode(tmp_path, native=True) as node:
            row = await node.put(content(3 * STRIPE + 12_345))
            await node.get(row)  # files are opened
            monkeypatch.setattr(tables, "get_locations", noting(asked))
            budget = node.store.reading
            for start, stop in ((0, row.size), (7, STRIPE + 1), (STRIPE - 1, row.size - 1)):
                asked.clear()
                got = bytearray()
                async for pieces in await node.store.read(row, start, stop):
                    assert 0 < budget.used <= (READ_STRIDE_BYTES_MAX if got else STRIPE)
                    for piece in pieces:
                        got += piece
                assert got == content(row.size)[start:stop]
                assert asked == [0]
            assert node.store.counters.stripes_degraded == 0

    run(scenario())


@pytest.mark.parametrize("size", [STRIPE, STRIPE // 3 + 1, INLINE_BYTES_MAX + 1, 2 * STRIPE + 9])
def test_what_is_in_memory_is_read_around_lost_disks_at_once(tmp_path: Path, size: int) -> None:
    async def scenario() -> None:
        async with ObjectNode(tmp_path, native=True) as node:
            row = await node.put(content(size))
            await node.get(row)
            located = node.kv.read(lambda tx: tables.get_locations(tx, row.data.data_id, 0))
            assert located is not None
            for place in located.stripes[0].shards[:2]:
                assert place is not None
                node.disks.fence(place.slot, "test")
            assert await node.get(row) == content(size)  # files are opened
            asked, degraded = node.disks.counters().wakes, node.store.counters.stripes_degraded
            assert degraded > 0
            assert await node.get(row) == content(size)
            assert node.store.counters.stripes_degraded == 2 * degraded
            assert node.disks.counters().wakes == asked, "no thread was asked"

    run(scenario())


def test_too_few_disks_for_the_first_stripe_are_an_error_before_any_byte(tmp_path: Path) -> None:
    """However much of it is in memory."""

    async def scenario() -> None:
        async with ObjectNode(tmp_path, native=True) as node:
            row = await node.put(content(STRIPE + 5000))
            await node.get(row)
            for slot in range(3):
                node.disks.fence(slot, "test")
                if slot < 2:
                    assert await node.get(row) == content(row.size)
            with pytest.raises(S3Error, match="Too few disks"):
                await node.store.read(row, 0, row.size)
            assert node.store.reading.used == 0

    run(scenario())


def test_others_have_a_turn_while_a_large_object_is_read_from_memory(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with ObjectNode(tmp_path, native=True) as node:
            row = await node.put(content(4 * STRIPE))
            await node.get(row)
            turns = 0

            async def other() -> None:
                nonlocal turns
                while True:
                    await asyncio.sleep(0)
                    turns += 1

            task = asyncio.create_task(other())
            assert await node.get(row) == content(4 * STRIPE)
            assert turns >= 2, "after each stripe but the last, once it has begun"
            task.cancel()

    run(scenario())


@pytest.mark.parametrize("how", ["fenced", "moved"])
@pytest.mark.parametrize("taken", range(1, 6))
def test_what_is_not_in_memory_any_more_is_read_otherwise(
    tmp_path: Path, taken: int, how: str
) -> None:
    """Wherever in a stripe, or between two, the first step is that is not at hand."""

    async def scenario() -> None:
        async with ObjectNode(tmp_path, native=True) as node:
            row = await node.put(content(2 * STRIPE + 5000))
            await node.disks.seal()
            await node.get(row)
            stream = await node.store.read(row, 0, row.size)
            got = bytearray()
            for _ in range(taken):
                for piece in await anext(stream):
                    got += piece
            if how == "fenced":
                for slot in range(2):
                    node.disks.fence(slot, "test")
            else:
                assert row.data is not None
                await move_all(node, row.data)
            async for pieces in stream:
                for piece in pieces:
                    got += piece
            assert got == content(row.size)
            assert node.store.reading.used == 0

    run(scenario())


async def move_all(node: ObjectNode, data: Data) -> None:
    """As a compaction does: all records are elsewhere, their segments gone (I11)."""
    row = node.kv.read(lambda tx: tables.get_locations(tx, data.data_id, 0))
    assert row is not None
    stripes = []
    for index, stripe in enumerate(row.stripes):
        batch = []
        for shard, location in enumerate(stripe.shards):
            assert location is not None
            of, size = (
                shard_identity(data, index, stripe, shard),
                shard_bytes(stripe.stripe_bytes, stripe.k),
            )
            payload = await node.disks.read(place_of(location), of, size, 0, size)
            digests = shard_digests(payload, size)
            batch.append(Append(location.slot, of._replace(digests=digests), payload))
        places = await asyncio.gather(*appended(node.disks, batch))
        shards = tuple(Location(*place) for place in places)
        stripes.append(msgspec.structs.replace(stripe, shards=shards))
    await node.kv.write(
        lambda tx: tables.put_locations(tx, data.data_id, 0, LocationRow(tuple(stripes)))
    )
    for slot, segment in {(one.slot, one.segment) for s in row.stripes for one in s.shards if one}:
        await node.disks.drop(slot, segment)


def test_without_memory_a_read_goes_on_in_small_steps(tmp_path: Path) -> None:
    """Nobody who reads waits for memory: who has it may be waiting for his client."""

    async def scenario() -> None:
        async with ObjectNode(tmp_path) as node:
            row = await node.put(content(2 * STRIPE + 12_345))
            budget = node.store.reading
            assert budget.try_take(budget.total)
            for start, stop in ((0, row.size), (7, STRIPE + 1), (STRIPE - 1, row.size - 1)):
                got = bytearray()
                async for pieces in await node.store.read(row, start, stop):
                    assert 0 < budget.used - budget.total <= READ_STEP_BYTES_MIN
                    for piece in pieces:
                        got += piece
                assert got == content(2 * STRIPE + 12_345)[start:stop]
            budget.give(budget.total)

    run(scenario())


@pytest.mark.parametrize("taken", [0, 1, 3])
def test_a_read_given_up_gives_everything_back(tmp_path: Path, taken: int) -> None:
    async def scenario() -> None:
        async with ObjectNode(tmp_path) as node:
            row = await node.put(content(4 * STRIPE))
            stream = await node.store.read(row, 0, row.size)
            for _ in range(taken):
                await anext(stream)
            await close(stream)
            assert node.store.reading.used == 0

    run(scenario())


def test_a_read_that_cannot_go_on_ends_in_an_error_and_gives_everything_back(
    tmp_path: Path,
) -> None:
    async def scenario() -> None:
        async with ObjectNode(tmp_path) as node:
            row = await node.put(content(4 * STRIPE))
            await node.disks.seal()
            stream = await node.store.read(row, 0, row.size)
            await anext(stream)
            for slot in range(3):
                node.disks.fence(slot, "test")
            with pytest.raises(S3Error, match="Too few disks"):
                async for _ in stream:
                    pass
            assert node.store.reading.used == 0

    run(scenario())


def item(data: bytes, stripe: int) -> Data:
    return Data(b"i" * 16, len(data), stripe, digest=xxhash.xxh3_128_digest(data))


def feed(check: ItemCheck, of: Data, data: bytes, ranges: list[StripeRange]) -> None:
    for one in ranges:
        begin = one.stripe * of.stripe_bytes
        check.take(one, [memoryview(data)[begin + one.start : begin + one.stop]])


def test_an_item_is_compared_when_all_of_it_was_seen() -> None:
    data = content(1000)
    good = item(data, 300)
    bad = Data(good.data_id, good.size, 300, digest=bytes(16))
    ranges = list(stripe_ranges([good], 0, 1000))
    feed(ItemCheck(), good, data, ranges)
    with pytest.raises(ShardCorrupt, match="not the bytes that were stored"):
        feed(ItemCheck(), bad, data, list(stripe_ranges([bad], 0, 1000)))
    with pytest.raises(ShardCorrupt):
        feed(ItemCheck(), good, data[::-1], ranges)


@pytest.mark.parametrize(("start", "stop"), [(1, 1000), (0, 999), (300, 1000), (400, 500)])
def test_a_part_of_an_item_says_nothing_about_it(start: int, stop: int) -> None:
    bad = Data(b"i" * 16, 1000, 300, digest=bytes(16))
    feed(ItemCheck(), bad, content(1000), list(stripe_ranges([bad], start, stop)))


def test_every_item_of_an_object_is_compared_by_itself() -> None:
    """The first one is seen in part only: it must not blur the next."""
    first, second = item(content(500), 200), item(content(700), 200)
    swapped = Data(b"j" * 16, 700, 200, digest=first.digest)
    for last, fits in ((second, True), (swapped, False)):
        check = ItemCheck()
        feed(check, first, content(500), list(stripe_ranges([first], 100, 500)))
        ranges = list(stripe_ranges([last], 0, 700))
        if fits:
            feed(check, last, content(700), ranges)
        else:
            with pytest.raises(ShardCorrupt):
                feed(check, last, content(700), ranges)


def test_a_row_that_names_another_order_of_shards_is_seen(tmp_path: Path) -> None:
    """Every shard is as it was written, the digest of the whole is not: nothing of the last piece
    leaves.
    """

    async def scenario() -> None:
        async with ObjectNode(tmp_path) as node:
            row = await node.put(content(2 * STRIPE))
            assert row.data is not None
            wrong = Data(
                row.data.data_id, row.data.size, row.data.stripe_bytes, digest=b"not this digest!"
            )
            stream = await node.store.read(
                PartRow(row.size, "", row.digest, 0, data=wrong), 0, row.size
            )
            assert sum(len(piece) for piece in await anext(stream)) == STRIPE
            with pytest.raises(S3Error):
                await anext(stream)

    run(scenario())


def test_a_range_of_a_large_object_touches_the_rows_of_its_stripes_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And of the segments, the blocks it lies in and what their digests are with."""
    monkeypatch.setattr("s3node.objects.layout.stripe_bytes", lambda k: k * BLOCK_BYTES)
    stripe, rows = 4 * BLOCK_BYTES, 5
    asked: list[int] = []

    async def scenario() -> None:
        async with ObjectNode(tmp_path) as node:
            size = (rows - 1) * STRIPES_PER_RUN * stripe + 10 * stripe
            row = await node.put(content(size), piece=1 << 20)
            monkeypatch.setattr(tables, "get_locations", noting(asked))
            run_bytes = STRIPES_PER_RUN * stripe
            for start, stop, runs in (
                (0, 1, {0}),
                (2 * run_bytes - 1, 2 * run_bytes + 1, {1, 2}),
                (3 * run_bytes + 5, 3 * run_bytes + 2 * stripe, {3}),
                (size - 1, size, {rows - 1}),
            ):
                asked.clear()
                before = node.disks.counters().bytes_read
                assert await node.get(row, start, stop) == content(size)[start:stop]
                assert set(asked) == runs
                blocks = (stop - 1) // BLOCK_BYTES - start // BLOCK_BYTES + 1
                read = node.disks.counters().bytes_read - before
                assert read <= blocks * (BLOCK_BYTES + record.payload_start(BLOCK_BYTES))

    run(scenario())


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_range_is_right_with_any_two_disks_gone_slow_or_damaged(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Whatever is rebuilt stands where it belongs, whole or in part."""
    size = data.draw(st.integers(INLINE_BYTES_MAX + 1, 3 * SMALL_STRIPE))
    start = data.draw(st.integers(0, size - 1))
    stop = data.draw(st.integers(start + 1, size))
    bad = data.draw(st.lists(st.integers(0, 5), max_size=2, unique=True))
    how = data.draw(st.sampled_from(["fenced", "lost", "held", "failing"]))

    async def scenario() -> None:
        faults = Faults()
        folder = tmp_path_factory.mktemp("node")
        async with ObjectNode(folder, fs=FaultyFileSystem(faults)) as node:
            row = await node.put(content(size))
            await node.disks.seal()

            def is_bad(path: str) -> bool:
                return any(f"disk{slot}/" in path for slot in bad)

            for slot in bad:
                if how == "fenced":
                    node.disks.fence(slot, "test")
                elif how == "lost":
                    node.lose(slot)
            if how == "held":
                faults.hold("pread", is_bad)
            elif how == "failing":
                faults.fail("pread", errno.EIO, is_bad)
            for _ in range(2):
                assert await node.get(row, start, stop) == content(size)[start:stop]
            if how == "held":
                faults.release("pread")
            faults.heal()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("s3node.objects.layout.stripe_bytes", lambda k: 2 * k * BLOCK_BYTES)
        run(scenario())


def test_a_row_that_has_changed_is_not_asked_in_vain_for_every_stripe(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with ObjectNode(tmp_path, native=True) as node:
            row = await node.put(content(8 * STRIPE))
            await node.disks.seal()
            await node.get(row)
            stream = await node.store.read(row, 0, row.size)
            got = bytearray()
            for piece in await anext(stream):
                got += piece
            assert row.data is not None
            await move_all(node, row.data)
            before = node.store.counters.shard_faults
            async for pieces in stream:
                for piece in pieces:
                    got += piece
            assert got == content(row.size)
            of_two_stripes = 2 * len(node.disks.status())
            assert node.store.counters.shard_faults - before <= of_two_stripes

    run(scenario())
