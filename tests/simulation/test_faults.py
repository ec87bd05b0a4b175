"""Calls that fail, syncs that lie, and more damage than is covered: never a wrong byte."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import itertools
import os
import random
from collections.abc import Callable

import pytest

from s3node.base.errors import StorageFault
from s3node.meta import tables
from s3node.meta.kv import ReadTx
from s3node.node import site_of
from s3node.store import record
from s3node.store.segment import file_name
from tests.simulation import invariants
from tests.simulation.fates import ChosenFates
from tests.simulation.files import SECTOR, FailedSync, File
from tests.simulation.filesystem import SimulatedFileSystem
from tests.simulation.model import (
    BUCKET,
    LARGE,
    SMALL,
    Model,
    begin,
    checkpoint,
    delete,
    multipart,
    put,
    read_everything,
)
from tests.simulation.node import Client, Universe


async def some_of_everything(client: Client, model: Model) -> None:
    await put(client, model, "small", SMALL)
    await put(client, model, "base", LARGE)
    await multipart(client, model, "parts", (LARGE, SMALL))
    await delete(client, model, "other")


def begun() -> tuple[Universe, Model]:
    universe, model = Universe(1), Model()
    universe.paced = True
    universe.live(lambda client: begin(client, model))
    return universe, model


def checked(universe: Universe, model: Model, bad: int | None) -> None:
    universe.live(lambda client: read_everything(client, model))
    invariants.check(site_of(universe.config), universe.fs, universe.place, bad=bad)


def fails(nth: int, number: int) -> int:
    """The n-th call of a life fails, and the power goes at its end; how many calls it had.
    Of 0 none fails.
    """
    universe, model = begun()
    universe.fs.calls = 0
    universe.fs.fail_at(nth, number)
    opened = False
    calls = 0

    async def main() -> None:
        nonlocal opened, calls
        client = Client(universe, await universe.open())
        opened = True
        await some_of_everything(client, model)
        await read_everything(client, model)
        with contextlib.suppress(StorageFault):  # too few disks for it just now
            await checkpoint(client, model)
        assert client.node.failed() is None
        calls = universe.fs.calls
        universe.fs = universe.fs.crashed(ChosenFates(universe.fs.unsynced()))

    try:
        universe.run(main, cut=True)
    except (StorageFault, OSError):
        assert not opened, "a node that runs does not end by one failed call"
        universe.fs = universe.fs.crashed(ChosenFates(universe.fs.unsynced()))
    universe.place.lose()
    checked(universe, model, None)
    return calls


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.EROFS])
def test_any_one_call_may_fail(number: int, deep: bool) -> None:
    total = fails(0, number)
    for nth in range(1 + number % 7, total, 1 if deep else 11):
        try:
            fails(nth, number)
        except Exception as error:
            error.add_note(f"call {nth} of {total}: {os.strerror(number)}")
            raise


@pytest.mark.parametrize("kind", FailedSync)
def test_a_failed_sync_of_each_kind(kind: FailedSync) -> None:
    """Every sync of one disk in turn, then the power goes."""
    for nth in itertools.count(1):
        universe, model = begun()
        universe.fs.failed_sync = kind
        left = nth
        real = universe.fs._call

        def call(name: str, path: str, real: object = real) -> None:
            nonlocal left
            if name == "fdatasync" and path.startswith("/d1/"):
                left -= 1
                if left == 0:
                    raise OSError(errno.EIO, "planted", path)
            assert callable(real)
            real(name, path)

        universe.fs._call = call  # type: ignore[method-assign]

        async def main(universe: Universe = universe, model: Model = model) -> None:
            client = Client(universe, await universe.open())
            await some_of_everything(client, model)
            await read_everything(client, model)
            universe.fs = universe.fs.crashed(ChosenFates(universe.fs.unsynced()))

        universe.run(main, cut=True)
        universe.place.lose()
        checked(universe, model, 1)
        if left > 0:
            assert nth > 5
            return


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(120):
        while not condition():
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("direct", [True, False])
@pytest.mark.parametrize("kind", FailedSync)
def test_what_a_dead_segment_had_answered_is_read_back(kind: FailedSync, direct: bool) -> None:
    """An object is answered, then a sync of the same segment fails, and takes with it (or, late,
    had never done) what was answered: the shard is owed, placed anew, and survives the power.
    """
    universe, model = begun()
    fs = universe.fs
    fs.failed_sync, fs.direct = kind, direct

    async def main() -> None:
        client = Client(universe, await universe.open())
        assert await put(client, model, "first", LARGE) == 200
        node = client.node
        (slot, segment), _ = open_segment(client, 1)
        path = f"/d{slot}/segments/{file_name(segment)}"
        if kind is not FailedSync.LATE:  # the answered sectors, given up together with the new
            file = fs._find(path)
            assert isinstance(file, File)
            file.platter[SECTOR:] = bytes(len(file.platter) - SECTOR)
            file.dirty.update(range(1, len(file.seen) // SECTOR))
        fs.fail("fdatasync", errno.EIO, lambda where: where == path)
        for n in range(3):
            await put(client, model, f"more{n}", LARGE)  # 503 without its quorum
            if node.disks.suspects():
                break
        assert node.disks.suspects() == [(slot, segment)]
        named = [at for at in open_segment(client, 1, segment)[1] if not lies_there(fs, path, at)]
        assert named, "or the test would show nothing"
        fs.heal()
        await until(lambda: not node.disks.suspects())
        await until(lambda: bool(node.doubts.alarms()))
        await until(lambda: not node.metadata.kv.read(owed_shards))
        assert not set(named) & set(open_segment(client, 1, segment)[1]), "rows gave them up"
        assert any(f"disk {slot}: " in alarm for alarm in node.alarms())
        await read_everything(client, model)
        universe.fs = fs.crashed(ChosenFates(fs.unsynced()))

    universe.run(main, cut=True)
    universe.place.lose()
    universe.live(lambda client: read_everything(client, model))
    invariants.check(site_of(universe.config), universe.fs, universe.place)


def open_segment(client: Client, slot: int, segment: int = 0) -> tuple[tuple[int, int], list[int]]:
    """A segment of a slot, the newest unless told, and the offsets in it that rows name."""
    rows = client.node.metadata.kv.read(lambda tx: list(tables.scan_all_locations(tx)))
    places = [
        place
        for *_, row in rows
        for stripe in row.stripes
        for place in stripe.shards
        if place is not None and place.slot == slot
    ]
    segment = segment or max(place.segment for place in places)
    return (slot, segment), [place.offset for place in places if place.segment == segment]


def lies_there(fs: SimulatedFileSystem, path: str, offset: int) -> bool:
    file = fs._find(path)
    assert isinstance(file, File)
    return fs._on_platter(file)[offset:].startswith(record.MAGIC)


def owed_shards(tx: ReadTx) -> int:
    return sum(row.shards for *_, row in tables.scan_owed(tx))


def test_one_disk_more_than_is_covered_fails_loudly_and_never_wrongly() -> None:
    """m + 1 disks lost, rotten or both: right bytes or an error, never anything else."""
    loud = right = 0
    for seed in range(40):
        source = random.Random(seed)
        universe, model = begun()
        universe.live(lambda client, model=model: some_of_everything(client, model))
        if source.random() < 0.5:
            universe.place.lose()
        for slot in source.sample(range(3), 2):
            if source.random() < 0.3:
                universe.lose(slot)
            else:
                rot(universe.fs, slot, source)
        try:
            loud_here, right_here = universe.live(lambda c, model=model: answers(c, model))
        except StorageFault:
            loud += 1
            continue
        loud, right = loud + loud_here, right + right_here
    print(f"{loud} refusals, {right} right answers")
    assert loud > 20 and right > 20


def rot(fs: SimulatedFileSystem, slot: int, source: random.Random) -> None:
    """A few bits of every file of some kind, or of every file."""
    kind = source.choice(["/segments/", "/journal/", "/checkpoints/", "/"])
    for path in fs.files(f"/d{slot}"):
        content = fs.content(path)
        if kind in path and content:
            for offset in source.sample(range(len(content)), min(5, len(content))):
                fs.damage(path, offset, bytes([content[offset] ^ 1 << source.randrange(8)]))


async def answers(client: Client, model: Model) -> tuple[int, int]:
    loud = right = 0
    for key, (value,) in model.may.items():
        got = await client.ask("GET", f"{BUCKET}/{key}")
        if got.status >= 500:
            loud += 1
        else:
            found = None if got.status == 404 else got.body
            assert found == value, f"{key}: a wrong answer ({got.status})"
            right += 1
    return loud, right
