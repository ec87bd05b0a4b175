"""Power cuts in the simulation: while serving, while recovering, with disks away.

Every life writes pairs of rows, checkpoints now and then, and is cut at a random moment; unsynced
sectors and names are then new, old or torn. Recovery itself is cut at a random call. Whatever
happened: an answered pair is there, an unanswered one whole or absent, for ever after the same.
Everything runs on the simulated loop, threads too: the same seed is the same story.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import shutil
from asyncio import Future
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Any

import pytest

from s3node.base.clock import SystemClock
from s3node.base.errors import JournalStalled, QuorumLost
from s3node.base.filesystem import Buffer, write_all
from s3node.meta import recovery
from s3node.meta.checkpointer import Sizes
from s3node.meta.homes import Home
from s3node.meta.journal import Limits
from s3node.meta.kv import ReadTx
from s3node.meta.lmdb_index import LmdbPlace
from s3node.meta.metadata import Deployment, Metadata, Settings, recover
from s3node.meta.survey import JournalDamaged
from tests.meta.faults import CHANGING, Crashed
from tests.meta.logs import tell
from tests.meta.world import DEPLOYMENT_ID, stop_dead
from tests.simulation.fates import ChosenFates
from tests.simulation.filesystem import SimulatedFileSystem
from tests.simulation.loop import HOP_S, SimulatedLoop

KEYS = 12


class Plug:
    """Pulled after so many changing calls of all disks together."""

    def __init__(self) -> None:
        self.left = -1

    def draw(self) -> None:
        self.left -= 1
        if self.left == 0:
            raise Crashed


class OneDisk:
    """A simulated file system on a shared plug."""

    def __init__(self, fs: SimulatedFileSystem, plug: Plug) -> None:
        self.fs, self._plug = fs, plug

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.fs, name)

        def call(*arguments: Any) -> Any:
            if name in CHANGING:
                self._plug.draw()
            return method(*arguments)

        return call


class SimulatedLogs:
    """Appends that take a random time before and after the sync; some disks are slower than the
    others all their life.
    """

    def __init__(self, homes: dict[int, Home], source: random.Random) -> None:
        self._homes, self._source = homes, source
        self._open: dict[int, tuple[int, int]] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._pace = {slot: source.choice([0.1, 1, 10]) for slot in homes}

    def writable_logs(self) -> Sequence[int]:
        return list(self._homes)

    def log_append(self, slots: Sequence[int], data: Buffer, answered: Any) -> None:
        for slot in slots:
            tell(slot, self._task(self._append(slot, bytes(data))), answered)

    def log_rotate(self, slot: int, name: str) -> Future[None]:
        return self._task(self._rotate(slot, name))

    def _task(self, work: Any) -> Future[None]:
        self._tasks = [task for task in self._tasks if not task.done()]
        self._tasks.append(asyncio.ensure_future(work))
        return self._tasks[-1]

    async def _pause(self, slot: int) -> None:
        await asyncio.sleep(self._source.random() * self._pace[slot] * HOP_S)

    async def _append(self, slot: int, data: bytes) -> None:
        fd, end = self._open[slot]
        await self._pause(slot)
        write_all(self._homes[slot].fs, fd, data, end)
        self._open[slot] = fd, end + len(data)
        await self._pause(slot)
        self._homes[slot].fs.fdatasync(fd)
        await self._pause(slot)

    async def _rotate(self, slot: int, name: str) -> None:
        home = self._homes[slot]
        fd = home.fs.open(f"{home.journal}/{name}", 0o101 | 0o200)
        home.fs.fsync_dir(home.journal)
        self._open[slot] = fd, 0
        await self._pause(slot)

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


class Universe:
    """The disks of one node through its lives, and what clients were told."""

    def __init__(self, root: Path, seed: int) -> None:
        self.source = random.Random(seed)
        self.disks, self.parity = self.source.choice([(3, 1), (4, 1), (5, 2)])
        self.root = root
        self.plug = Plug()
        self.answered = dict.fromkeys(range(KEYS), 0)  # the newest value known to be durable
        self.tried = dict.fromkeys(range(KEYS), 0)  # the newest value anybody asked for
        self.fs = [SimulatedFileSystem() for _ in range(self.disks)]
        for slot in range(self.disks):
            self.fs[slot].mkdir("/d")
            self.fs[slot].fsync_dir("/")
            recovery.initialise(self.home(slot), DEPLOYMENT_ID)
        self.settings = Settings(
            Limits(log_bytes=1500, lag_bytes=2000, retry_seconds=0.0),
            Sizes(range_bytes=300, journal_bytes=1200),
            look_seconds=3600.0,
            retry_seconds=0.0,
        )

    def home(self, slot: int) -> Home:
        fs: Any = OneDisk(self.fs[slot], self.plug)
        return Home(fs, "/d", bytes([slot + 1]) * 16)

    def power_cut(self) -> None:
        self.fs = [fs.crash(self.source) for fs in self.fs]

    def live(self) -> None:
        """One life: recover (cut at random first), check, serve, cut."""
        gone = self.source.sample(range(self.disks), self.source.randrange(self.parity + 1))
        homes = {slot: self.home(slot) for slot in range(self.disks) if slot not in gone}
        while self.source.random() < 0.4:
            self.plug.left = self.source.randrange(1, 40)
            try:
                self.recover(homes).index.close()
            except Crashed:
                self.power_cut()
                homes = {slot: self.home(slot) for slot in homes}
        self.plug.left = -1
        self.run(self.serve(homes))
        self.power_cut()

    def run(self, life: Coroutine[Any, Any, None]) -> None:
        SimulatedLoop(self.source).run(life)

    def recover(self, homes: dict[int, Home]) -> Any:
        shutil.rmtree(self.root / "meta", ignore_errors=True)
        return recover(
            LmdbPlace(self.root / "meta"),
            homes,
            Deployment(DEPLOYMENT_ID, self.disks, self.parity),
            clock=SystemClock(),
            random=self.source.randbytes,
        )

    async def serve(self, homes: dict[int, Home]) -> None:
        recovered = self.recover(homes)
        logs = SimulatedLogs(homes, self.source)
        metadata: Any = Metadata(recovered, logs, SystemClock(), self.settings)
        await metadata.start()
        metadata.kv.read(self.check)
        clients = [asyncio.ensure_future(self.client(metadata, n)) for n in range(KEYS)]
        for _ in range(self.source.randrange(400)):
            await asyncio.sleep(self.source.random() * HOP_S)
            if self.source.random() < 0.02:
                with contextlib.suppress(QuorumLost):  # disks lag: a later round does it
                    await metadata.checkpointer.round(everything=self.source.random() < 0.5)
        for task in clients:
            task.cancel()
        await asyncio.gather(*clients, return_exceptions=True)
        failure = metadata.failed()
        await logs.stop()
        await stop_dead(metadata)
        assert failure is None, failure

    async def client(self, metadata: Any, number: int) -> None:
        while True:
            self.tried[number] += 1
            value = b"%d" % self.tried[number]
            try:
                await metadata.kv.write(lambda tx, v=value: self.put_pair(tx, number, v))
            except JournalStalled:
                await asyncio.sleep(HOP_S)
            else:
                self.answered[number] = self.tried[number]

    @staticmethod
    def put_pair(tx: Any, number: int, value: bytes) -> None:
        tx.put(b"a%02d" % number, value + b"." * 30)
        tx.put(b"z%02d" % number, value + b"." * 30)

    def check(self, tx: ReadTx) -> None:
        for number in range(KEYS):
            one, other = tx.get(b"a%02d" % number), tx.get(b"z%02d" % number)
            assert one == other, "half of a transaction"
            value = int((one or b"0").rstrip(b"."))
            assert self.answered[number] <= value <= self.tried[number]
            self.answered[number] = value


def run(root: Path, seed: int, lives: int) -> Universe:
    universe = Universe(root, seed)
    for _ in range(lives):
        universe.live()
    return universe


@pytest.mark.parametrize("seed", range(8))
def test_power_cuts_lose_nothing_that_was_answered(tmp_path: Path, seed: int) -> None:
    universe = run(tmp_path, seed, 6)
    assert sum(universe.answered.values()) > 20


@pytest.mark.deep
@pytest.mark.parametrize("seed", range(100, 250))
def test_power_cuts_for_long(tmp_path: Path, seed: int) -> None:
    run(tmp_path, seed, 12)


class Stuck(SimulatedLogs):
    """Writes, and never gets to sync."""

    async def _append(self, slot: int, data: bytes) -> None:
        fd, end = self._open[slot]
        write_all(self._homes[slot].fs, fd, data, end)
        await asyncio.Event().wait()


def test_an_adopted_frame_that_was_never_synced_outlives_a_power_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed between write and sync: the next life reads the frame, and builds on it."""
    universe = Universe(tmp_path, 1)
    homes = {slot: universe.home(slot) for slot in range(universe.disks)}
    with monkeypatch.context() as patch:
        patch.setattr("tests.meta.test_crashes.SimulatedLogs", Stuck)
        while not any(universe.tried.values()):
            universe.run(universe.serve(homes))
    adopted = universe.recover(homes)
    assert adopted.report.tip > 1, "the frame was read"
    adopted.index.close()
    everything_lost = [fs.crashed(ChosenFates(lost=fs.unsynced())) for fs in universe.fs]
    universe.fs = everything_lost
    again = universe.recover({slot: universe.home(slot) for slot in homes})
    again.index.close()
    assert again.chain.has(adopted.begun.position), "what the epoch before began with"


class Impatient(SimulatedLogs):
    """The planted bug: answers before it has synced."""

    async def _append(self, slot: int, data: bytes) -> None:
        fd, end = self._open[slot]
        write_all(self._homes[slot].fs, fd, data, end)
        self._open[slot] = fd, end + len(data)
        await self._pause(slot)


def test_canary_an_answer_before_the_sync_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.meta.test_crashes.SimulatedLogs", Impatient)
    with pytest.raises((AssertionError, JournalDamaged)):
        for seed in range(20):
            run(tmp_path, seed, 6)


def test_canary_a_frame_on_too_few_disks_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = Metadata._make_journal

    def careless(self: Metadata, *arguments: Any) -> Any:
        journal = make(self, *arguments)
        journal._need = 1
        # One slot is as fast as it likes now: by the small limit of these histories the others
        # would be given up and copied anew without end.
        journal._limits = journal._limits._replace(lag_bytes=1 << 20)
        return journal

    monkeypatch.setattr(Metadata, "_make_journal", careless)
    with pytest.raises((AssertionError, JournalDamaged)):
        for seed in range(20):
            run(tmp_path, seed, 6)
