"""Conformance of the disk set: what is read is what was written there, or it is told so."""

from __future__ import annotations

import asyncio
import errno
from pathlib import Path
from random import Random

import pytest

from s3node.base.errors import (
    ShardCorrupt,
    ShardMissing,
)
from s3node.store import record
from s3node.store.diskset import Disks
from s3node.store.limits import Limits
from s3node.store.seams import DiskState, Place
from tests.store.world import (
    ENGINES,
    World,
    append_of,
    appended,
    disk_id,
    pack_record,
    read_back,
    state,
)


def test_damage_is_told_and_only_where_it_is(world: World) -> None:
    payload = Random(4).randbytes(2 * record.BLOCK_BYTES + 10)
    item = append_of(payload)

    async def write(disks: Disks) -> Place:
        return (await asyncio.gather(*appended(disks, [item])))[0]

    place = world.run(write)
    head = record.payload_start(len(payload))
    world.flip(world.segment_path(place), place.offset + head + record.BLOCK_BYTES + 7)

    async def scenario(disks: Disks) -> None:
        size, block = len(payload), record.BLOCK_BYTES
        assert await disks.read(place, item.shard, size, 0, block) == payload[:block]
        last = await disks.read(place, item.shard, size, 2 * block, size)
        assert last == payload[2 * block :]
        with pytest.raises(ShardCorrupt):
            await disks.read(place, item.shard, size, block - 1, block + 1)

    world.run(scenario)


def test_another_record_or_none_is_missing(world: World) -> None:
    item, other = append_of(b"a" * 500, 0, 1), append_of(b"b" * 500, 0, 2)

    async def scenario(disks: Disks) -> None:
        place, second = await asyncio.gather(*appended(disks, [item, other]))
        size = 500
        wrong = [
            (second, item.shard, size),
            (place, item.shard._replace(stripe_index=9), size),
            (place, item.shard._replace(shard_index=2), size),
            (place, item.shard._replace(k=3), size),
            (place, item.shard._replace(m=1), size),
            (place, item.shard._replace(code=2), size),
            (place, item.shard._replace(stripe_bytes=7), size),
            (place, item.shard._replace(stripe_offset=7), size),
            (place, item.shard, size - 1),
            (place._replace(segment=place.segment + 1), item.shard, size),
            (place._replace(offset=1 << 30), item.shard, size),
            (place._replace(slot=1), item.shard, size),
        ]
        for at, shard, length in wrong:
            with pytest.raises(ShardMissing):
                await disks.read(at, shard, length, 0, length)
        with pytest.raises(ShardCorrupt):
            await disks.read(place._replace(offset=place.offset + 8), item.shard, size, 0, 1)

    world.run(scenario)


def test_a_record_moved_to_another_disk_or_segment_is_not_believed(world: World) -> None:
    item = append_of(b"a" * 500, 0, 1)

    async def write(disks: Disks) -> list[Place]:
        twin = item._replace(slot=1)
        return await asyncio.gather(*appended(disks, [item, twin]))

    place, twin = world.run(write)
    world.overwrite(
        world.segment_path(twin), 512, world.content(world.segment_path(place))[512:1200]
    )

    async def scenario(disks: Disks) -> None:
        with pytest.raises(ShardMissing):
            await disks.read(twin, item.shard, 500, 0, 500)

    world.run(scenario)


@pytest.mark.parametrize("wrong", ["segment", "offset", "disk id"])
def test_a_misdirected_write_is_not_believed(world: World, wrong: str) -> None:
    """A whole record of this very shard, but made for another place."""
    item = append_of(b"a" * 500, 0, 1)

    async def scenario(disks: Disks) -> None:
        (place,) = await asyncio.gather(*appended(disks, [item]))
        wrong_place = place.segment + (wrong == "segment"), place.offset + 8 * (wrong == "offset")
        disk = disk_id(1 if wrong == "disk id" else 0)
        packed = pack_record(item.shard, 500, disk, wrong_place, 0)
        world.overwrite(world.segment_path(place), place.offset, packed)
        with pytest.raises(ShardMissing):
            await read_back(disks, place, item)

    world.run(scenario)


def test_unreadable_sectors_are_the_shards_fault(world: World) -> None:
    async def scenario(disks: Disks) -> None:
        item = append_of(b"a" * 500)
        (place,) = await asyncio.gather(*appended(disks, [item]))
        world.faults.fail("pread", errno.EIO)
        with pytest.raises(ShardCorrupt):
            await read_back(disks, place, item)
        world.faults.heal()
        assert await read_back(disks, place, item) == item.payload
        assert state(disks, 0) is DiskState.ONLINE

    world.run(scenario)


def test_many_segments_are_read_with_few_descriptors(tmp_path: Path) -> None:
    small = Limits(segment_bytes=4096, reserve_bytes=1 << 20, read_files=3)
    for kind in ENGINES:
        (tmp_path / kind).mkdir()
        world = World(kind, tmp_path / kind, small)

        async def scenario(disks: Disks) -> None:
            batch = [append_of(bytes([n]) * 3000, 0, n) for n in range(20)]
            places = await asyncio.gather(*appended(disks, batch))
            for _ in range(2):
                got = await asyncio.gather(
                    *(
                        disks.read(place, item.shard, 3000, 0, 3000)
                        for place, item in zip(places, batch, strict=True)
                    )
                )
                assert [bytes(one) for one in got] == [item.payload for item in batch]
                for place, item in zip(places, batch, strict=True):
                    assert await read_back(disks, place, item) == item.payload

        world.run(scenario)
