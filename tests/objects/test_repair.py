"""Owed shards: placed once, entered by compare-and-set, one stripe's trouble not another's."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import msgspec

from s3node.meta import tables
from s3node.meta.kv import WriteTx
from s3node.meta.memory import MemoryKv
from s3node.model.rows import Data, Location, LocationRow, OwedRow, PartRow, Stripe
from s3node.objects.layout import stripe_bytes
from s3node.objects.repair import disown, fill
from s3node.store.segment import file_name
from tests.objects.node import ObjectNode, content, run

STRIPE = stripe_bytes(4)


def data_of(row: PartRow) -> Data:
    assert row.data is not None
    return row.data


def locations(node: ObjectNode, row: PartRow) -> LocationRow:
    found = node.kv.read(lambda tx: tables.get_locations(tx, data_of(row).data_id, 0))
    assert found is not None
    return found


def used(node: ObjectNode) -> int:
    """Bytes appended so far, by all disks."""
    return node.disks.counters().bytes_written


def destroy(node: ObjectNode, location: Location) -> None:
    """Overwrite the header of one record."""
    folder = node.folder / f"disk{location.slot}" / "segments"
    with (folder / file_name(location.segment)).open("r+b") as file:
        file.seek(location.offset)
        file.write(b"\xaa" * 64)


async def owing_put(node: ObjectNode, size: int) -> PartRow:
    """An object every stripe of which owes the shard that disk 3 should have taken."""
    row = await node.put(content(size))
    data_id = data_of(row).data_id
    stripes = []
    for stripe in locations(node, row).stripes:
        places = tuple(place if place and place.slot != 3 else None for place in stripe.shards)
        stripes.append(msgspec.structs.replace(stripe, shards=places))
    owing = LocationRow(tuple(stripes))

    def work(tx: WriteTx) -> None:
        tables.put_locations(tx, data_id, 0, owing)
        tables.put_owed(tx, data_id, 0, OwedRow(0, tuple(range(len(stripes))), len(stripes)))

    await node.kv.write(work)
    return row


def test_a_stripe_that_cannot_be_rebuilt_keeps_no_other_from_it(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with ObjectNode(tmp_path) as node:
            row = await owing_put(node, 3 * STRIPE)
            before = locations(node, row)
            broken = 1
            present = [place for place in before.stripes[broken].shards if place is not None]
            for location in present[:2]:
                destroy(node, location)
            done = await node.store.repairer.round()
            assert (done.placed, done.waiting) == (2, 1)
            assert "can be read now" in done.reason
            for number, stripe in enumerate(locations(node, row).stripes):
                assert (None in stripe.shards) == (number == broken)
            written = used(node)
            again = await node.store.repairer.round()
            assert (again.placed, again.waiting) == (0, 1)
            assert used(node) == written, "nothing is appended twice"
            await node.disks.seal()
            assert not node.pinned()

    run(scenario())


def test_a_place_that_was_filled_meanwhile_stays(tmp_path: Path) -> None:
    """The loser of two repairs leaves its record as garbage, and the row as it is (I11)."""

    async def scenario() -> None:
        async with ObjectNode(tmp_path) as node:
            row = await owing_put(node, STRIPE)
            rounds = [node.store.repairer.round() for _ in range(2)]
            first, second = await asyncio.gather(*rounds)
            assert sorted([first.placed, second.placed]) == [0, 1]
            filled = locations(node, row)
            (stripe,) = filled.stripes
            assert None not in stripe.shards
            elsewhere = Location(3, 99, 0)
            found = {(0, shard): elsewhere for shard in range(6)}
            assert await fill(node.kv, data_of(row).data_id, 0, found, 0) == 0
            assert locations(node, row) == filled
            await node.disks.seal()
            assert not node.pinned()

    run(scenario())


def test_two_shards_of_a_stripe_never_get_the_same_disk(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with ObjectNode(tmp_path) as node:
            row = await owing_put(node, STRIPE)
            (stripe,) = locations(node, row).stripes
            owed = stripe.shards.index(None)
            taken = next(place for place in stripe.shards if place is not None)
            found = {(0, owed): Location(taken.slot, taken.segment, taken.offset + 4096)}
            assert await fill(node.kv, data_of(row).data_id, 0, found, 0) == 0
            assert locations(node, row).stripes == (stripe,)

    run(scenario())


def test_what_was_deleted_meanwhile_owes_nothing(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with ObjectNode(tmp_path) as node:
            found = {(0, 0): Location(0, 1, 0)}
            assert await fill(node.kv, bytes(16), 0, found, 0) == 0

    run(scenario())


DATA_ID = bytes(range(16))


def test_a_lost_place_is_given_up_only_while_k_others_can_be_read() -> None:
    """disk 0 lost its shard; of the k = 2 that remain, one may be away."""

    async def scenario() -> None:
        kv = MemoryKv()
        places = tuple(Location(slot, 7, 512) for slot in range(3))
        row = LocationRow((Stripe(2, 1, 4000, places),))
        await kv.write(lambda tx: tables.put_locations(tx, DATA_ID, 0, row))
        lost: Callable[[Location], bool] = lambda place: place.slot == 0  # noqa: E731
        assert await disown(kv, DATA_ID, 0, lost, {0, 1}, 5) == 0
        assert kv.read(lambda tx: tables.get_locations(tx, DATA_ID, 0)) == row
        assert kv.read(lambda tx: tables.get_owed(tx, DATA_ID, 0)) is None
        assert await disown(kv, DATA_ID, 0, lost, {0, 1, 2}, 5) == 1
        found = kv.read(lambda tx: tables.get_locations(tx, DATA_ID, 0))
        assert found is not None and found.stripes[0].shards == (None, *places[1:])
        owed = kv.read(lambda tx: tables.get_owed(tx, DATA_ID, 0))
        assert owed is not None and owed.shards == 1
        assert await disown(kv, DATA_ID, 0, lost, {0, 1, 2}, 6) == 0, "once"

    asyncio.run(scenario())
