"""A whole node on a simulated machine: the real composition, nothing of it replaced but what a
machine is (disks, clock, randomness, threads) and LMDB.

`Universe` is the machine with its disks through the lives of a node. `live` runs one life; while
it runs, `before` is called before every call that changes a disk: whoever sets it may look at
what a power cut would leave. Requests go in as the edge would hand them on, and answers are traced.
"""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar
from unittest.mock import patch

from s3node.base.errors import QuorumLost, StorageFault
from s3node.config import Config, Keys
from s3node.meta.checkpointer import Sizes
from s3node.meta.journal import Limits as JournalLimits
from s3node.meta.metadata import Settings
from s3node.node import Machine, RunningNode, open_node, site_of
from s3node.objects.faults import as_s3_error
from s3node.s3 import errors
from s3node.services import start
from s3node.store.engine import Read, Write
from s3node.store.limits import Limits
from s3node.store.plain import InlineEngine, InlineExecutor
from tests.ops.world import Answer, World
from tests.simulation.filesystem import SimulatedFileSystem
from tests.simulation.index import MemoryPlace
from tests.simulation.loop import SimulatedLoop
from tests.simulation.watch import Trace, WatchedFileSystem

T = TypeVar("T")
_DATES = re.compile(rb"<(LastModified|Initiated)>[^<]*<")
_TIMES = re.compile(rb"[0-9a-f]{16}(?=[0-9a-f]{16})")  # ids begin with when they were made

PATIENCE_S = 300.0
"""Of virtual time: a request that is not answered then never will be."""

PART_BYTES_MIN = 1
"""Of every part but the last: at 5 MiB a Complete would be the only thing that is simulated."""

EPOCH_MS = 1_750_000_000_000
LIMITS = Limits(
    segment_bytes=9000,
    reserve_bytes=0,
    allocate_min_bytes=512,
    allocate_max_bytes=2048,
    log_step_bytes=512,
)
SETTINGS = Settings(
    JournalLimits(log_bytes=6000, lag_bytes=20_000, retry_seconds=0.05),
    Sizes(range_bytes=1500, journal_bytes=1 << 30),
    look_seconds=3600.0,
    retry_seconds=0.05,
)


HOUR_MS = 3_600_000
YEAR_MS = 8766 * HOUR_MS
SKEWS_MS = (0, HOUR_MS, -HOUR_MS, 30 * HOUR_MS, -30 * HOUR_MS, 100 * YEAR_MS, -40 * YEAR_MS)


class Clock:
    """Virtual time; the wall clock is off by `skew_ms`."""

    def __init__(self) -> None:
        self.loop: SimulatedLoop | None = None
        self.base_ms = EPOCH_MS
        self.skew_ms = 0

    def jump(self, source: random.Random) -> None:
        """Somebody sets the wall clock: by hours, by decades, or right."""
        self.skew_ms = source.choice(SKEWS_MS)

    def wall_ms(self) -> int:
        return self.base_ms + self.skew_ms + int(1000 * self._now())

    def monotonic_ns(self) -> int:
        return int(1e9 * self._now())

    def _now(self) -> float:
        return self.loop.time() if self.loop else 0.0


class PacedEngine(InlineEngine):
    """The inline engine, every disk at its own pace: `delay` draws seconds for a slot's batch."""

    def __init__(self, fs: Any, delay: Callable[[int], float]) -> None:
        super().__init__(fs)
        self._delay = delay
        self._busy: dict[int, list[list[Write]]] = {}

    def submit(self, writes: Any, reads: Any) -> None:
        assert self._loop is not None, "not started"
        slots: dict[int, list[Write]] = {}
        for write in writes:
            slots.setdefault(write.slot, []).append(write)
        for slot, batch in slots.items():
            waiting = self._busy.setdefault(slot, [])
            waiting.append(batch)
            if len(waiting) == 1:
                self._loop.call_later(self._delay(slot), self._turn, slot)
        for read in reads:
            self._loop.call_later(self._delay(read.slot), self._read, read)

    def _turn(self, slot: int) -> None:
        """One batch of the slot is written and synced, then the next has its time."""
        assert self._loop is not None
        super().submit(self._busy[slot].pop(0), ())
        if self._busy[slot]:
            self._loop.call_later(self._delay(slot), self._turn, slot)

    def _read(self, read: Read) -> None:
        super().submit((), (read,))

    async def stop(self) -> None:
        while any(self._busy.values()):
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.01)
        await super().stop()


class Universe:
    """The machine. `source` is where all chance comes from."""

    def __init__(
        self, seed: int, *, disks: int = 3, parity: int = 1, settings: Settings = SETTINGS
    ) -> None:
        self.source = random.Random(seed)
        self.trace = Trace()
        self.clock = Clock()
        self.place = MemoryPlace()
        self.settings = settings
        self.paced = False
        self.slow: dict[int, float] = {}  # slots that take so many seconds per batch
        self.config = Config(
            tuple(Path(f"/d{slot}") for slot in range(disks)),
            Path("/meta"),
            parity,
            Keys("AKROOT", "s" * 40),
        )
        self.fs = SimulatedFileSystem()
        self.before: Callable[[str], None] | None = None
        self.node: RunningNode | None = None
        self.outcomes: list[tuple[str, str, int, bytes]] = []  # every answer, without dates
        for path in self.config.disks:
            self.fs.mkdir(str(path))
        self.fs.fsync_dir("/")
        start.initialise(site_of(self.config), self.fs, self.clock, self.source.randbytes)

    @property
    def disks(self) -> int:
        return len(self.config.disks)

    def after(self, fs: SimulatedFileSystem, seed: int, newest: int = 0) -> Universe:
        """Another machine that finds this state on its disks, and no index but the trace of one
        that stood at `newest`.
        """
        other = Universe.__new__(Universe)
        other.__dict__.update(self.__dict__)
        other.source = random.Random(seed)
        other.trace, other.place, other.fs = Trace(kept=False), MemoryPlace(), fs
        other.place.newest = newest
        other.clock = Clock()
        other.clock.base_ms = self.clock.wall_ms() - self.clock.skew_ms
        other.clock.skew_ms = self.clock.skew_ms
        other.before, other.node, other.slow = None, None, {}
        return other

    def power_cut(self) -> None:
        """What is unsynced is lost by chance; the index is."""
        gone = self.fs.gone
        self.fs = self.fs.crash(self.source)
        self.fs.gone = gone
        self.place.lose()

    def lose(self, slot: int) -> None:
        """The disk does not answer any more."""
        self.fs.gone.add(f"/d{slot}")

    def find(self, slot: int) -> None:
        """It is back as it was."""
        self.fs.gone.discard(f"/d{slot}")

    def machine(self, fs: Any) -> Machine:
        def engine(slots: int) -> InlineEngine:
            return PacedEngine(fs, self.delay) if self.paced else InlineEngine(fs)

        return Machine(
            fs=fs,
            clock=self.clock,
            random=self.source.randbytes,
            engine=engine,
            index=lambda path: self.place,
            threads=InlineExecutor,
            limits=LIMITS,
            settings=self.settings,
        )

    def delay(self, slot: int) -> float:
        return self.slow.get(slot, 0.0) + self.source.random() * 1e-3

    def run(self, main: Callable[[], Coroutine[Any, Any, T]], *, cut: bool = False) -> T:
        """On a loop of its own; the clock stays where it ended. `cut`: the power goes at the end
        of `main`, so that what fails afterwards does not matter.
        """
        loop = self.clock.loop = SimulatedLoop(self.source)
        try:
            with patch("s3node.model.multipart.PART_BYTES_MIN", PART_BYTES_MIN):
                return loop.run(main(), cut=cut)
        finally:
            self.clock.base_ms += int(1000 * loop.time())
            self.clock.loop = None

    async def open(self) -> RunningNode:
        """Recovery, and everything started. QuorumLost at once when the node would wait."""

        def refuse(reason: str) -> None:
            raise QuorumLost(reason)

        fs: Any = self.fs
        if self.before is not None or self.trace.kept:  # somebody looks
            fs = WatchedFileSystem(self.fs, self.trace, self._before)
        self.node = await open_node(self.config, refuse, self.machine(fs))
        return self.node

    def _before(self, name: str) -> None:
        if self.before is not None:
            self.before(name)

    def live(self, work: Callable[[Client], Awaitable[T]]) -> T:
        """One whole life: opened, worked with, closed in good order."""

        async def main() -> T:
            node = await self.open()
            try:
                return await work(Client(self, node))
            finally:
                await node.close()
                failure = node.failed()
                assert failure is None, failure

        return self.run(main)


class Client:
    """Sends requests to a node, as the edge does."""

    def __init__(self, universe: Universe, node: RunningNode) -> None:
        self.universe, self.node = universe, node
        parts: Any = (node.node, None, None, None)
        self._world = World(*parts)

    async def ask(
        self, method: str, path: str, query: str = "", body: Any = b"", **h: str
    ) -> Answer:
        try:
            async with asyncio.timeout(PATIENCE_S):
                answer = await self._world.send(method, path, query, body, **h)
        except StorageFault as fault:
            rendered = errors.render(
                as_s3_error(fault), resource=path, request_id="", host_id="", head=False
            )
            answer = Answer(rendered.status, dict(rendered.headers), rendered.body)
        self.universe.trace.tell(method, path, query, answer.status, answer.body)
        told = _TIMES.sub(b"", _DATES.sub(b"", f"{query}\n".encode() + answer.body))
        self.universe.outcomes.append((method, path, answer.status, told))
        return answer
