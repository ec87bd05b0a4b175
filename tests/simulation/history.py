"""Long random histories by seed: clients at work, disks that fail, power cuts, and all again.

A history has one bad disk for good (with m > 1 as many as a fresh object can spare): it may be
lost and come back, come back as it was long ago, lie about syncs, rot, fail any call, be slow.
The others only lose power. Within a life several crash states are noted, each is survived on its
own (see `enumeration`); the history goes on from the last one.
"""

from __future__ import annotations

import asyncio
import errno
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from s3node.base.errors import StorageFault
from s3node.node import site_of
from tests.simulation import invariants
from tests.simulation.enumeration import Counters, Crash
from tests.simulation.fates import RandomFates
from tests.simulation.files import FailedSync
from tests.simulation.filesystem import SimulatedFileSystem
from tests.simulation.model import (
    LARGE,
    SMALL,
    Model,
    begin,
    checkpoint,
    copy,
    delete,
    multipart,
    put,
    read,
    read_everything,
    remove,
    versioning,
)
from tests.simulation.node import Client, Universe

GEOMETRIES = ((3, 1), (4, 1), (5, 2))
CLIENTS, KEYS = 3, 3
STATUSES = ("Enabled", "Suspended")
ERRORS = (errno.EIO, errno.ENOSPC, errno.EROFS, errno.ENXIO)
CALLS = ("pwritev", "fdatasync", "fsync_dir", "open", "fallocate", "rename", "pread")


@dataclass(frozen=True)
class Shape:
    """How long, and with what."""

    lives: int = 3
    states: int = 5  # noted per life
    calls: int = 900  # of a life until the power goes, at the most
    faults: bool = True
    jumps: bool = True  # of the wall clock, within lives and between them


class History:
    def __init__(self, seed: int, shape: Shape, counters: Counters) -> None:
        self.seed, self.shape, self.counters = seed, shape, counters
        self.source = random.Random(seed)
        self.times = random.Random(seed + 1)  # of its own: the rest is the same without jumps
        disks, parity = self.source.choice(GEOMETRIES)
        self.universe = Universe(seed, disks=disks, parity=parity)
        self.universe.paced = True
        self.model = Model()
        self.bad = f"/d{self.source.randrange(disks)}"
        self.slot = int(self.bad[2:])
        self.old: SimulatedFileSystem | None = None  # the disks as they were some time ago
        self.damaged = False
        self.noted: list[Crash] = []

    def run(self) -> str:
        """All lives; the trace of what happened."""
        self.universe.live(lambda client: begin(client, self.model))
        for _ in range(self.shape.lives):
            if self.source.random() < 0.3:
                self.old = self.universe.fs.copy()
            last = self._life()
            for crash in self.noted:
                self._survive(crash)
            self._go_on(last)
        return self.universe.trace.digest()

    def _life(self) -> Crash:
        """One life, cut; what it left."""
        self.noted = []
        shape = self.shape
        wanted = sorted(self.source.randrange(1, shape.calls) for _ in range(shape.states))
        calls = 0
        cut = asyncio.Event()
        universe = self.universe

        def before(name: str) -> None:
            nonlocal calls
            calls += 1
            self._jump(0.02)
            while wanted and calls >= wanted[0] and not cut.is_set():
                wanted.pop(0)
                self.counters.cuts += 1
                self._note(f"seed {self.seed}, call {calls}, {name}")
                if not wanted:
                    self._healthy()
                    cut.set()
                    universe.fs.gone = {""}  # nothing works any more

        async def life() -> None:
            work = asyncio.ensure_future(self._serve())
            ended = asyncio.ensure_future(cut.wait())
            await asyncio.wait({work, ended}, return_when=asyncio.FIRST_COMPLETED)
            if not cut.is_set():
                await work  # it ended by itself: that is a failure, and told
            work.cancel()

        universe.before = before
        universe.run(life, cut=True)
        universe.before = None
        return self.noted.pop()

    def _note(self, where: str) -> None:
        self.counters.states += 1
        gone = set(self.universe.fs.gone)
        fs = self.universe.fs.crashed(RandomFates(self.source))
        if not self.damaged and not gone and self.source.random() < 0.5:
            slot = self.slot if self.shape.faults else self.source.randrange(self.universe.disks)
            gone = {f"/d{slot}"}
        fs.gone = gone
        self.noted.append(Crash(fs, self.model.copy(), where, self.universe.place.newest))

    def _jump(self, chance: float) -> None:
        if self.shape.jumps and self.times.random() < chance:
            self.universe.clock.jump(self.times)

    def _healthy(self) -> None:
        node = self.universe.node
        failure = node.failed() if node is not None else None
        assert failure is None, failure

    async def _serve(self) -> None:
        node = await self.universe.open()
        client = Client(self.universe, node)
        await read_everything(client, self.model)
        works = [self._client(client, number) for number in range(CLIENTS)]
        await asyncio.gather(*works, self._mischief(), self._checkpoints(client))

    async def _client(self, client: Client, number: int) -> None:
        """Works on keys of its own, so that what may be found is known."""
        source = random.Random(self.source.random())
        names = [f"c{number}/{key}" for key in range(KEYS)]
        while True:
            key, other = source.sample(names, 2)
            size = source.choice([0, 1, SMALL, LARGE, 3 * LARGE])
            doings: list[Callable[[], Any]] = [
                lambda key=key, size=size: put(client, self.model, key, size),
                lambda key=key, size=size: put(client, self.model, key, size),
                lambda key=key: delete(client, self.model, key),
                lambda key=key, size=size: multipart(client, self.model, key, (LARGE, size + 1)),
                lambda key=key, other=other: copy(client, self.model, other, key),
                lambda key=key: read(client, self.model, key),
                lambda key=key: remove(client, self.model, key),
                lambda: versioning(client, source.choice(STATUSES)),
            ]
            await source.choice(doings)()
            await asyncio.sleep(source.random() * source.choice([0.001, 0.5]))

    async def _checkpoints(self, client: Client) -> None:
        while True:
            await asyncio.sleep(self.source.random())
            try:
                await checkpoint(client, self.model)
            except StorageFault:
                continue  # too few disks just now: the next one does it

    # --- what happens to disks

    async def _mischief(self) -> None:
        faults = [self._away, self._failing, self._rot] if self.shape.faults else []
        while True:
            await asyncio.sleep(self.source.random() * 0.3)
            await self.source.choice([self._slow, *faults])()

    async def _away(self) -> None:
        fs = self.universe.fs
        fs.gone.add(self.bad)
        await asyncio.sleep(self.source.random() * 3)
        fs.gone.discard(self.bad)

    async def _failing(self) -> None:
        fs = self.universe.fs
        fs.failed_sync = self.source.choice(list(FailedSync))
        self.damaged = self.damaged or fs.failed_sync is FailedSync.LATE
        fs.fail(
            self.source.choice(CALLS),
            self.source.choice(ERRORS),
            lambda path: path.startswith(f"{self.bad}/"),
        )
        await asyncio.sleep(self.source.random() * 2)
        fs.heal()

    async def _slow(self) -> None:
        """Any disks may be slow: that is no damage."""
        universe = self.universe
        for slot in self.source.sample(
            range(universe.disks), self.source.randrange(universe.disks)
        ):
            universe.slow[slot] = self.source.random() * 0.3
        await asyncio.sleep(self.source.random() * 2)
        universe.slow.clear()

    async def _rot(self) -> None:
        """Bits flip, or bytes land where others belong."""
        fs = self.universe.fs
        files = [one for one in fs.files(self.bad) if fs.content(one)]
        if self.source.random() < 0.7 or not files:
            return
        self.damaged = True
        path, source = self.source.choice(files), self.source.choice(files)
        content = fs.content(path)
        offset = self.source.randrange(len(content))
        if self.source.random() < 0.5:
            fs.damage(path, offset, bytes([content[offset] ^ 1 << self.source.randrange(8)]))
        else:
            fs.damage(path, offset // 512 * 512, fs.content(source)[:512])

    # --- between two lives

    def _go_on(self, crash: Crash) -> None:
        """The next life finds what this one left."""
        self.universe.fs, self.model = crash.fs, crash.model
        self._jump(0.5)
        self.universe.place.lose()
        self.universe.place.newest = crash.newest
        self.universe.slow.clear()
        if not self.shape.faults:
            crash.fs.gone.clear()
            return
        if self.source.random() < 0.3:
            crash.fs.gone ^= {self.bad}
        if self.old is not None and self.source.random() < 0.3:
            replace_disk(crash.fs, self.old, self.bad)
            self.damaged = True

    def _survive(self, crash: Crash) -> None:
        """Recover, read everything, write, stop, look at the disks."""
        self._jump(0.3)
        universe = self.universe.after(crash.fs, self.seed, crash.newest)
        site = site_of(universe.config)
        before = invariants.segments(crash.fs, site)

        async def work(client: Client) -> None:
            self.counters.checked += await read_everything(client, crash.model)
            status = await put(client, crash.model, "afterwards", LARGE)
            assert status == 200, (status, client.node.disk_list(), client.node.trouble())
            await read(client, crash.model, "afterwards")

        try:
            universe.live(work)
            invariants.unchanged(before, universe.fs, site)
            dead = [int(path[2:]) for path in crash.fs.gone]
            bad = dead[0] if dead else self.slot if self.shape.faults else None
            invariants.check(site, universe.fs, universe.place, bad=bad)
            self.counters.crashes += 1
        except Exception as error:
            error.add_note(f"after {crash.where}, gone: {sorted(crash.fs.gone)}")
            raise


def replace_disk(fs: SimulatedFileSystem, old: SimulatedFileSystem, disk: str) -> None:
    """The disk is back as it was in `old`."""
    fs.root.seen[disk[1:]] = old.copy().root.seen[disk[1:]]
    fs.root.platter = dict(fs.root.seen)
