"""Metadata over the real disk set, with every engine: commits, a failing disk, a kill, recovery."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import random
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from s3node.base.clock import SystemClock
from s3node.base.ids import EpochIds
from s3node.meta import digest, recovery
from s3node.meta.homes import Home
from s3node.meta.journal import Limits
from s3node.meta.lmdb_index import LmdbPlace
from s3node.meta.metadata import Deployment, Metadata, Settings, recover
from s3node.meta.slots import SlotState
from s3node.store import disks
from s3node.store.diskset import Disks
from tests.meta.test_journal import until
from tests.meta.world import everything, put, stop_dead
from tests.store.world import DEPLOYMENT, ENGINES, LIMITS, SLOTS, World, disk_id

SETTINGS = Settings(Limits(retry_seconds=0.02), look_seconds=3600.0, retry_seconds=0.02)
ROWS = [(b"k%03d" % n, b"v%03d" % n * 9) for n in range(30)]


class OnDisks:
    def __init__(self, engine: str, root: Path) -> None:
        self.world = World(engine, root)
        self.index = root / "index"
        self.homes = {
            slot: Home(self.world.fs, path, disk_id(slot))
            for slot, path in enumerate(self.world.paths)
        }
        for home in self.homes.values():
            recovery.initialise(home, DEPLOYMENT)

    @contextlib.asynccontextmanager
    async def running(self, *, kill: bool = False) -> AsyncIterator[Any]:
        opened = disks.open_disks(self.world.fs, self.world.paths)
        recovered = recover(
            LmdbPlace(self.index),
            self.homes,
            Deployment(DEPLOYMENT, SLOTS, 1),
            clock=SystemClock(),
            random=random.Random(1).randbytes,
        )
        ids = EpochIds(recovered.epoch, random.Random(recovered.epoch).randbytes)
        fs, engine = self.world.fs, self.world.engine()
        disk_set = Disks(fs, engine, opened, ids, SystemClock(), LIMITS)
        metadata: Any = Metadata(recovered, disk_set, SystemClock(), SETTINGS)
        metadata.disks = disk_set
        await metadata.start()
        try:
            yield metadata
        finally:
            assert metadata.failed() is None
            await (stop_dead(metadata) if kill else metadata.close())
            await disk_set.close()


@pytest.mark.parametrize("engine", ENGINES)
def test_commits_failing_disk_kill_and_recovery(engine: str, tmp_path: Path) -> None:
    node_of = OnDisks(engine, tmp_path)

    async def run() -> bytes:
        async with node_of.running() as node:
            await put(node, ROWS[:10])
        async with node_of.running(kill=True) as node:
            assert node.recovered.rebuilt == ""
            await put(node, ROWS[10:15])
            node.disks.fence(0, "pulled")
            await put(node, ROWS[15:20])
            await asyncio.gather(*(put(node, [row]) for row in ROWS[20:25]))
            await until(lambda: node.journal.status()[0].state is SlotState.FAILED)
            await node.disks.readmit(0)
            await until(lambda: node.journal.status()[0].state is SlotState.LIVE)
            await until(lambda: node.journal.status()[0].lag_bytes == 0)
            await put(node, ROWS[25:])
        async with node_of.running() as node:
            assert node.recovered.rebuilt
            assert node.recovered.report.corrupt() == []
            assert node.kv.read(everything) == ROWS
            await node.checkpointer.round(everything=True)
            return digest.digest(node.kv)

    before = asyncio.run(run())
    shutil.rmtree(node_of.index)

    async def again() -> bytes:
        async with node_of.running() as node:
            return digest.digest(node.kv)

    assert asyncio.run(again()) == before


@pytest.mark.parametrize("engine", ENGINES)
def test_a_disk_that_takes_no_log_writes_goes_on_in_a_new_log(engine: str, tmp_path: Path) -> None:
    node_of = OnDisks(engine, tmp_path)

    async def run() -> None:
        async with node_of.running() as node:
            await put(node, ROWS[:5])
            node_of.world.faults.fail("pwritev", errno.EIO, lambda path: "disk1/journal" in path)
            await put(node, ROWS[5:10])
            await until(lambda: node.journal.status()[1].state is SlotState.FAILED)
            node_of.world.faults.heal()
            with contextlib.suppress(Exception):
                await node.disks.readmit(1)
            await until(lambda: node.journal.status()[1].state is SlotState.LIVE)
            await put(node, ROWS[10:])
        async with node_of.running() as node:
            assert node.recovered.report.disks[1].lacked == 0
            assert node.kv.read(everything) == ROWS

    asyncio.run(run())
