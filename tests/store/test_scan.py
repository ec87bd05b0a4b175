"""Scanning: everything that is there is found, around whatever is damaged."""

from __future__ import annotations

import asyncio
from pathlib import Path
from random import Random

import pytest
from s3node.store._engine import ffi, lib

from s3node.base.errors import FormatUnknown, StorageFault
from s3node.store import checked, record, scan, seal
from s3node.store.diskset import Disks
from s3node.store.limits import SECTOR
from s3node.store.reading import Wanted, check
from s3node.store.scan import Damage, End, Found, Item, Sealed
from s3node.store.seams import Place
from tests.store.world import Append, World, append_of, appended, disk_id, pack_record

DISK = disk_id(0)


def filled(tmp_path: Path, batch: list[Append], sealed: bool = True) -> tuple[World, list[Place]]:
    """A world with one segment that holds `batch`."""
    world = World("inline", tmp_path)

    async def scenario(disks: Disks) -> tuple[list[Place], bytes]:
        places = await asyncio.gather(*appended(disks, batch))
        return places, world.content(world.segment_path(places[0]))

    places, content = world.run(scenario)
    if not sealed:  # as a crash leaves it: no seal, room reserved ahead
        path = world.segment_path(places[0])
        fd = world.fs.open(path, 2)
        world.fs.ftruncate(fd, 0)
        world.fs.pwritev(fd, [content], 0)
        world.fs.close(fd)
    return world, places


def scanned(world: World, place: Place, **options: int) -> list[Item]:
    path = world.segment_path(place)
    return list(scan.scan(world.fs, path, place.segment, DISK, **options))


def found(items: list[Item]) -> dict[int, str]:
    """Offset and fault of every record."""
    return {item.offset: item.fault for item in items if isinstance(item, Found)}


def small_batch() -> list[Append]:
    rng = Random(6)
    return [append_of(rng.randbytes(size), 0, n, b"h" * n) for n, size in enumerate((90, 1, 200))]


def test_every_flipped_byte_is_told_and_no_wrong_byte_is_read(tmp_path: Path) -> None:
    batch = small_batch()
    world, places = filled(tmp_path, batch)
    path = world.segment_path(places[0])
    content = world.content(path)
    starts = [place.offset for place in places]
    for at in range(len(content)):
        damaged = bytearray(content)
        damaged[at] ^= 1 << at % 8
        world.overwrite(path, at, damaged[at : at + 1])
        items = scanned(world, places[0])
        told = [one for one in items if isinstance(one, Damage) or getattr(one, "fault", "")]
        assert told, f"byte {at} is damaged and nothing says so"
        assert not any(getattr(one, "torn", False) for one in told if at < starts[-1])
        hit = max((start for start in starts if start <= at), default=-1)
        whole = [offset for offset, fault in found(items).items() if not fault]
        assert set(starts) - {hit} <= set(whole), f"byte {at} hides another record"
        for place, item in zip(places, batch, strict=True):
            read_or_fault(bytes(damaged), place, item)
        world.overwrite(path, at, content[at : at + 1])
    assert not any(getattr(item, "fault", "") for item in scanned(world, places[0]))


def read_or_fault(content: bytes, place: Place, item: Append) -> None:
    """What is handed out is right, or nothing is."""
    size = len(item.payload)
    wanted = Wanted(place, item.shard, size, 0, size)
    data = content[place.offset : place.offset + wanted.head + wanted.tail]
    head, body = data[: wanted.head], data[wanted.head :]
    claim = record.claim(
        item.shard, item.shard.shard_index, size, DISK, place.segment, place.offset, 0
    )
    native = lib.record_verify(
        ffi.from_buffer("record_claim *", claim), head, len(head), body, len(body)
    )
    try:
        check(wanted, DISK, head, body, len(data))
    except StorageFault:
        assert not native, "what C lets through, this does as well"
        return
    assert body == item.payload
    assert native


def test_damage_anywhere_leaves_the_other_records(tmp_path: Path) -> None:
    rng = Random(7)
    batch = [append_of(rng.randbytes(rng.randrange(1, 40_000)), 0, n) for n in range(30)]
    world, places = filled(tmp_path, batch)
    path = world.segment_path(places[0])
    content = world.content(path)
    for _ in range(40):
        start = rng.randrange(SECTOR, len(content))
        length = rng.choice([1, 100, 5000, 100_000])
        world.overwrite(path, start, rng.randbytes(min(length, len(content) - start)))
        items = scanned(world, places[0])
        whole = {offset for offset, fault in found(items).items() if not fault}
        for place, item in zip(places, batch, strict=True):
            stop = place.offset + record.record_bytes(len(item.payload))
            if stop <= start or place.offset >= start + length:
                assert place.offset in whole
        covered = [(one.start, one.stop) for one in items if isinstance(one, Damage)]
        assert all(a < b for a, b in covered)
        world.overwrite(path, 0, content)


def test_a_copy_of_a_segment_within_a_payload_fools_nobody(tmp_path: Path) -> None:
    world, places = filled(tmp_path / "a", small_batch())
    inner = world.content(world.segment_path(places[0]))
    payload = bytes(64) + inner + inner[SECTOR:] + record.MAGIC * 3 + seal.MAGIC
    world, places = filled(tmp_path / "b", [append_of(payload), append_of(b"after", 0, 1)])
    assert found(scanned(world, places[0])) == {place.offset: "" for place in places}
    world.flip(world.segment_path(places[0]), places[0].offset + 3)
    assert found(scanned(world, places[0])) == {places[1].offset: ""}


def test_an_unsealed_tail_is_torn_a_synced_one_corrupt(tmp_path: Path) -> None:
    batch = small_batch()
    world, places = filled(tmp_path, batch, sealed=False)
    path = world.segment_path(places[0])
    size = len(world.content(path))
    last = places[-1]
    stop = last.offset + record.record_bytes(200, 2)
    items = scanned(world, last)
    assert found(items) == {place.offset: "" for place in places}
    assert items[-1] == End(stop, size) and size > stop  # reserved room behind it
    world.flip(path, last.offset + 20)
    *_, damage, end = scanned(world, last)
    assert isinstance(damage, Damage) and damage.torn and damage.start == last.offset
    *_, damage, _ = scanned(world, last, synced=stop)
    assert isinstance(damage, Damage) and not damage.torn
    assert isinstance(end, End)
    scan.cut(world.fs, path, end.used)
    assert len(world.content(path)) == end.used


def test_a_cut_segment_keeps_a_payload_of_zeros(tmp_path: Path) -> None:
    world, places = filled(tmp_path, [append_of(bytes(10_000))], sealed=False)
    path = world.segment_path(places[0])
    end = scanned(world, places[0])[-1]
    assert isinstance(end, End)
    assert end.used == places[0].offset + record.record_bytes(10_000)
    scan.cut(world.fs, path, end.used)
    assert found(scanned(world, places[0])) == {places[0].offset: ""}


def test_truncation_of_a_sealed_segment_is_told(tmp_path: Path) -> None:
    world, places = filled(tmp_path, small_batch())
    path = world.segment_path(places[0])
    content = world.content(path)
    fd = world.fs.open(path, 2)
    for size in range(len(content) - 1, 0, -97):
        world.fs.ftruncate(fd, size)
        items = scanned(world, places[0])
        assert not any(isinstance(item, Sealed) for item in items)
        assert items[-1] == End(min(items[-1].used, size), size)  # type: ignore[union-attr]
        assert [f for f in found(items).values() if f] == []
    world.fs.close(fd)


def test_a_vanished_or_replaced_record_breaks_the_seal(tmp_path: Path) -> None:
    world, places = filled(tmp_path, small_batch())
    path = world.segment_path(places[0])
    twin = append_of(Random(9).randbytes(1), 0, 1, b"h")
    packed = pack_record(twin.shard, 1, DISK, places[1][1:], 5, b"h")
    world.overwrite(path, places[1].offset, packed + bytes(twin.payload))
    items = scanned(world, places[0])
    assert all(not fault for fault in found(items).values())  # a valid record, but not the one
    sealed = next(item for item in items if isinstance(item, Sealed))
    assert sealed.fault


def test_a_wrong_or_later_header_is_told(tmp_path: Path) -> None:
    world, places = filled(tmp_path, small_batch())
    path = world.segment_path(places[0])
    first = next(iter(scan.scan(world.fs, path, places[0].segment + 1, DISK)))
    assert isinstance(first, Damage) and first.start == 0
    content = world.content(path)
    for at, size in ((0, SECTOR), (places[1].offset, record.HEADER_BYTES)):
        later = bytearray(content[at : at + size])
        later[8] += 1
        world.overwrite(path, at, checked.finish(bytes(later)))
        with pytest.raises(FormatUnknown):
            scanned(world, places[0])
        world.overwrite(path, 0, content)


def test_headers_alone_are_enough_to_find_records(tmp_path: Path) -> None:
    world, places = filled(tmp_path, small_batch())
    path = world.segment_path(places[0])
    world.flip(path, places[0].offset + record.payload_start(90) + 5)
    items = list(scan.scan(world.fs, path, places[0].segment, DISK, payloads=False))
    assert found(items) == {place.offset: "" for place in places}
    assert found(scanned(world, places[0]))[places[0].offset] != ""
