"""Time that passes only where a modelled disk works: a loop, a clock, and an engine on it.

Processors cost nothing here, and waiting for a disk costs what its platter is charged. A disk does
one thing after the other, in the order in which it was asked; the disks work beside each other.
Everything is in one thread, and the same calls take the same time in every run.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from functools import partial
from typing import Any, TypeVar

from bench.platters import Platter
from s3node.base.filesystem import FileSystem
from s3node.store.drain import drain_read, drain_writes
from s3node.store.engine import Completion, Lane, Read, Write
from s3node.store.plain import InlineEngine, InlineExecutor

T = TypeVar("T")

IDLE_LOOK_S = 0.01
IDLE_LOOKS = 10  # in a row: nobody is about to ask for more
EPOCH_MS = 1_750_000_000_000


class VirtualLoop(asyncio.BaseEventLoop):
    """When nothing is ready it is the time of the next timer. No sockets, no threads."""

    def __init__(self) -> None:
        super().__init__()
        self._now = 0.0
        self._selector = self

    def time(self) -> float:
        return self._now

    def select(self, timeout: float | None) -> list[Any]:
        assert timeout is not None, "everybody waits and nobody will wake them"
        self._now += max(0.0, timeout)
        return []

    def _process_events(self, events: list[Any]) -> None:
        assert not events

    def _write_to_self(self) -> None:
        """Another thread would wake the loop with this; there is none."""

    def run_in_executor(  # type: ignore[override]
        self, executor: Executor | None, func: Callable[..., T], *args: Any
    ) -> asyncio.Future[T]:
        return asyncio.wrap_future(InlineExecutor().submit(func, *args), loop=self)


class VirtualClock:
    """The loop's time; before and after its life it stands."""

    def wall_ms(self) -> int:
        return EPOCH_MS + int(1e3 * self._now())

    def monotonic_ns(self) -> int:
        return int(1e9 * self._now())

    def _now(self) -> float:
        try:
            return asyncio.get_running_loop().time()
        except RuntimeError:  # no loop runs
            return 0.0


class Lines:
    """What waits for each disk. Work is done when its turn comes, and told when its time is up."""

    def __init__(self, platters: Sequence[Platter]) -> None:
        self._platters = platters
        self._waiting: list[deque[tuple[Callable[[], Any], Callable[[Any], None]]]] = [
            deque() for _ in platters
        ]

    def ask(self, slot: int, work: Callable[[], T], done: Callable[[T], None]) -> None:
        """Have `work` done at this disk, then `done` called with what it gave."""
        self._waiting[slot].append((work, done))
        if len(self._waiting[slot]) == 1:
            self._begin(slot)

    def do(self, slot: int, work: Callable[[], T]) -> asyncio.Future[T]:
        """The same as a future, which has the exception when there was one."""
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self.ask(slot, partial(InlineExecutor().submit, work), partial(_settle, future))
        return future

    async def idle(self) -> None:
        """Until no disk has anything to do, nor gets any more."""
        looks = 0
        while looks < IDLE_LOOKS:
            await asyncio.sleep(IDLE_LOOK_S)
            looks = 0 if any(self._waiting) else looks + 1

    def _begin(self, slot: int) -> None:
        work, done = self._waiting[slot][0]
        before = self._platters[slot].busy_s
        result = work()
        cost = self._platters[slot].busy_s - before
        asyncio.get_running_loop().call_later(cost, self._end, slot, done, result)

    def _end(self, slot: int, done: Callable[[Any], None], result: object) -> None:
        self._waiting[slot].popleft()
        if self._waiting[slot]:
            self._begin(slot)
        done(result)


def _settle(future: asyncio.Future[T], made: Future[T]) -> None:
    error = made.exception()
    if future.done():  # cancelled
        return
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(made.result())


class SpinningEngine(InlineEngine):
    """The inline engine at the pace of the disks: what comes while one works is its next batch."""

    def __init__(self, fs: FileSystem, lines: Lines) -> None:
        super().__init__(fs)
        self._lines = lines

    def submit(self, writes: Sequence[Write], reads: Sequence[Read]) -> None:
        self._counters.crossings += 1
        fresh: set[int] = set()
        for write in writes:
            waiting = self._writes.setdefault(write.slot, [])
            if not waiting:
                fresh.add(write.slot)
            waiting.append(write)
        for slot in sorted(fresh):
            self._lines.ask(slot, partial(self._write, slot), self._told)
        for read in reads:
            self._lines.ask(read.slot, partial(self._fill, read), self._told)

    def _write(self, slot: int) -> list[Completion]:
        return drain_writes(self.fs, self._writes.pop(slot), self._counters)

    def _fill(self, read: Read) -> list[Completion]:
        return [drain_read(self.fs, read, self._counters)]

    def _told(self, done: list[Completion]) -> None:
        self._done += done
        self._counters.wakes += 1
        self._wake()

    def run(self, slot: int, lane: Lane, work: Callable[[], T]) -> asyncio.Future[T]:
        return self._lines.do(slot, work)

    async def stop(self) -> None:
        await self._lines.idle()
