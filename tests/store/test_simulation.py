"""Power cuts and failing calls, on the simulated file system: the same seed, the same trace.

After any crash at any moment: every answered record can be read back whole, every answered log
append is there, and what a scan calls corruption (not torn) does not exist.
"""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest

from s3node.base.clock import SystemClock
from s3node.base.errors import StorageFault
from s3node.base.filesystem import read_file
from s3node.base.ids import EpochIds
from s3node.store import disks, record, scan, segment
from s3node.store.diskset import Disks
from s3node.store.limits import Limits
from s3node.store.plain import InlineEngine
from s3node.store.seams import DiskState, Place
from tests.simulation.filesystem import SimulatedFileSystem
from tests.store.world import (
    DEPLOYMENT,
    SLOTS,
    Append,
    World,
    append_of,
    appended,
    disk_id,
    log_append,
    outcomes,
    read_back,
)

LIMITS = Limits(segment_bytes=6000, reserve_bytes=0, allocate_min_bytes=512)


class Run:
    """A random workload; `answered` is what was promised, in order."""

    def __init__(self, world: World, seed: int) -> None:
        self.world = world
        self.rng = Random(seed)
        self.answered: list[tuple[Place, Append]] = []
        self.logged: dict[int, dict[str, bytes]] = {slot: {} for slot in range(SLOTS)}
        self.crashes: list[tuple[SimulatedFileSystem, int, dict[int, dict[str, bytes]]]] = []

    def crash(self) -> None:
        """Note one state that a power cut now would leave, and what was promised so far."""
        assert isinstance(self.world.fs, SimulatedFileSystem)
        logged = {slot: dict(logs) for slot, logs in self.logged.items()}
        found = self.world.fs.crash(Random(self.rng.random()))
        self.crashes.append((found, len(self.answered), logged))

    async def steps(self, opened: Disks, count: int) -> None:
        names: dict[int, str] = {}
        for step in range(count):
            slot = self.rng.randrange(SLOTS)
            if self.rng.random() < 0.2 or slot not in names:
                await self._rotate(opened, slot, names, f"{step:04d}.log")
            elif self.rng.random() < 0.4:
                await self._log(opened, slot, names[slot])
            else:
                await self._append(opened)
            self.crash()

    async def _append(self, opened: Disks) -> None:
        batch = [
            append_of(
                self.rng.randbytes(self.rng.randrange(1, 1500)), slot, self.rng.getrandbits(60)
            )
            for slot in range(SLOTS)
            for _ in range(self.rng.randrange(3))
        ]
        for item, result in zip(batch, await outcomes(appended(opened, batch)), strict=True):
            if isinstance(result, Place):
                self.answered.append((result, item))
            else:
                assert isinstance(result, StorageFault)

    async def _log(self, opened: Disks, slot: int, name: str) -> None:
        data = self.rng.randbytes(self.rng.randrange(1, 900))
        (result,) = await outcomes([log_append(opened, slot, data)])
        if result is None:
            self.logged[slot][name] += data
        else:
            assert isinstance(result, StorageFault)

    async def _rotate(self, opened: Disks, slot: int, names: dict[int, str], name: str) -> None:
        (result,) = await outcomes([opened.log_rotate(slot, name)])
        if result is None:
            names[slot] = name
            self.logged[slot][name] = b""
        else:
            assert isinstance(result, StorageFault)


def crash_inside(run: Run, opened: Disks, chance: float) -> None:
    """Have the run crash within calls too: before a sync has done its work."""
    fs = run.world.fs
    assert isinstance(fs, SimulatedFileSystem)
    inner = fs._call

    def call(name: str, path: str) -> None:
        if run.rng.random() < chance:
            run.crash()
        inner(name, path)

    fs._call = call  # type: ignore[method-assign]


def check_crash(
    fs: SimulatedFileSystem,
    answered: list[tuple[Place, Append]],
    logged: dict[int, dict[str, bytes]],
    paths: list[str],
) -> None:
    async def reads() -> None:
        opened = disks.open_disks(fs, paths, DEPLOYMENT)
        ids = EpochIds(99, os.urandom)
        again = Disks(fs, InlineEngine(fs), opened, ids, SystemClock(), LIMITS)
        assert all(one.state is DiskState.ONLINE for one in again.status())
        for place, item in answered:
            assert await read_back(again, place, item) == item.payload
        await again.close()

    asyncio.run(reads())
    for slot, logs in logged.items():
        for name, data in logs.items():
            assert read_file(fs, f"{paths[slot]}/journal/{name}").startswith(data)
    for slot, path in enumerate(paths):
        check_segments(fs, slot, path, [place for place, _ in answered if place.slot == slot])


def check_segments(fs: SimulatedFileSystem, slot: int, path: str, places: list[Place]) -> None:
    """What was synced is whole; damage lies behind it."""
    for name in fs.listdir(f"{path}/segments"):
        segment_id = segment.segment_of(name)
        assert segment_id is not None
        synced = max((one.offset + 8 for one in places if one.segment == segment_id), default=0)
        items = scan.scan(fs, f"{path}/segments/{name}", segment_id, disk_id(slot), synced=synced)
        for item in items:
            if isinstance(item, scan.Damage) and synced:
                assert item.torn, f"{name}: {item}"
            if isinstance(item, scan.Sealed):
                assert not item.fault


def simulate(seed: int, tmp_path: Path, steps: int, checks: int) -> Run:
    world = World("inline", tmp_path, LIMITS)
    assert isinstance(world.fs, SimulatedFileSystem)
    if seed % 3 == 0:
        world.fs.short = Random(seed)
    run = Run(world, seed)

    async def scenario(opened: Disks) -> None:
        crash_inside(run, opened, 0.02)
        await run.steps(opened, steps)

    world.run(scenario)
    run.crash()
    for fs, count, logged in run.rng.sample(run.crashes, min(checks, len(run.crashes))):
        check_crash(fs, run.answered[:count], logged, world.paths)
    return run


@pytest.mark.parametrize("seed", range(12))
def test_power_cuts_lose_nothing_answered(seed: int, tmp_path: Path, deep: bool) -> None:
    for more in range(20 if deep else 1):
        run = simulate(seed + 1000 * more, tmp_path, 40, 200 if deep else 15)
        assert len(run.answered) > 20


def test_the_same_seed_leaves_the_same_trace(tmp_path: Path) -> None:
    traces = []
    for _ in range(2):
        run = simulate(5, tmp_path, 30, 1)
        assert isinstance(run.world.fs, SimulatedFileSystem)
        traces.append(run.world.fs.trace)
    assert traces[0] == traces[1]


@pytest.mark.parametrize("planted", ["no sync", "no directory sync", "retry after a failed sync"])
def test_planted_bugs_are_found(
    planted: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The canary: an engine that breaks a rule must fail the tests above."""
    if planted == "no sync":
        monkeypatch.setattr(SimulatedFileSystem, "fdatasync", lambda fs, fd: None)
    elif planted == "no directory sync":
        monkeypatch.setattr(SimulatedFileSystem, "fsync_dir", lambda fs, path: None)
    else:
        monkeypatch.setattr(
            SimulatedFileSystem, "fdatasync", retried(SimulatedFileSystem.fdatasync)
        )
    with pytest.raises((AssertionError, StorageFault, OSError)):
        for seed in range(10):
            if planted == "retry after a failed sync":
                fail_each(tmp_path, errno.EIO, range(1, 120))
            else:
                simulate(seed, tmp_path, 40, 15)


def retried(sync: Callable[[Any, int], None]) -> Callable[[Any, int], None]:
    def twice(fs: SimulatedFileSystem, fd: int) -> None:
        try:
            sync(fs, fd)
        except OSError:
            sync(fs, fd)

    return twice


def fail_each(tmp_path: Path, number: int, calls: range) -> int:
    """Run one scenario with its n-th call failing, for each n; how many calls it has."""
    for nth in calls:
        world = World("inline", tmp_path, LIMITS)
        fs = world.fs
        assert isinstance(fs, SimulatedFileSystem)
        run = Run(world, 4)
        run_one(world, run, fs, nth, number)
        for attempt in range(3):
            check_crash(fs.crash(Random(attempt)), run.answered, run.logged, world.paths)
        if fs.calls < nth:
            return nth
    return calls.stop


def run_one(world: World, run: Run, fs: SimulatedFileSystem, nth: int, number: int) -> None:
    async def whole() -> None:
        opened = world.open()
        fs.calls = 0
        fs.fail_at(nth, number)
        await run.steps(opened, 12)
        for place, item in run.answered:  # in the living node, too
            (got,) = await outcomes([opened.read(place, item.shard, len(item.payload), 0, 1)])
            if isinstance(got, BaseException):
                assert isinstance(got, StorageFault) and fs.calls >= nth
            else:
                assert bytes(got) == item.payload[:1]
        assert len(opened.writable()) >= SLOTS - 1, "one failure takes one disk at most"
        (result,) = await outcomes(appended(opened, [append_of(b"x", opened.writable()[0].slot)]))
        assert isinstance(result, Place | StorageFault)
        fs.heal()
        await opened.close()

    asyncio.run(whole())


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.EROFS])
def test_any_one_call_may_fail(number: int, tmp_path: Path, deep: bool) -> None:
    step = 1 if deep or number == errno.EIO else 3
    assert 50 < fail_each(tmp_path, number, range(1, 1000, step)) < 1000


def test_records_of_a_dead_segment_can_be_rewritten_elsewhere(tmp_path: Path) -> None:
    world = World("inline", tmp_path, LIMITS)

    async def scenario(opened: Disks) -> None:
        item = append_of(b"precious", 0, 1)
        world.faults.fail("fdatasync", errno.EIO, lambda path: "disk0/segments" in path)
        (first,) = await outcomes(appended(opened, [item]))
        assert isinstance(first, StorageFault)
        (place,) = await asyncio.gather(*appended(opened, [item._replace(slot=1)]))
        assert await read_back(opened, place, item) == b"precious"
        assert record.block_count(8) == 1

    world.run(scenario)
