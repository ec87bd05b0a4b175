"""The two engines in plain Python: threads, and inline on the event loop.

`ThreadEngine` is the portable one: a writer and a reader thread per slot, each started when first
needed. `InlineEngine` does all work in loop callbacks: on a simulated file system, with a loop
that only runs callbacks, the same inputs give the same trace; `InlineExecutor` does the same for
work that is given to threads.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from asyncio import AbstractEventLoop, Future
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from queue import SimpleQueue
from typing import Any, TypeVar

from s3node.base.filesystem import FileSystem
from s3node.store.drain import drain_read, drain_writes, refused, writes_of
from s3node.store.engine import (
    NO_ROOM,
    Append,
    Completion,
    Counters,
    File,
    Lane,
    Read,
    Room,
    Write,
)

T = TypeVar("T")


class ColdThreads:
    """Cold work in threads: one per slot and lane, made when first needed."""

    def __init__(self) -> None:
        self._pools: dict[tuple[int, Lane], ThreadPoolExecutor] = {}

    def run(
        self, loop: AbstractEventLoop, slot: int, lane: Lane, work: Callable[[], T]
    ) -> Future[T]:
        pool = self._pools.get((slot, lane))
        if pool is None:
            name = f"disk{slot}-{lane.name.lower()}-cold"
            pool = self._pools[slot, lane] = ThreadPoolExecutor(1, thread_name_prefix=name)
        return asyncio.wrap_future(pool.submit(work), loop=loop)

    def stop(self) -> None:
        for pool in self._pools.values():
            pool.shutdown()
        self._pools.clear()


class _Lane:
    """One slot's queue and thread, for writes or for reads."""

    def __init__(self, engine: ThreadEngine, slot: int, lane: Lane) -> None:
        self.queue: SimpleQueue[Sequence[Write] | Sequence[Read] | None] = SimpleQueue()
        self._engine = engine
        drain = self._drain_writes if lane is Lane.WRITE else self._drain_reads
        name = f"disk{slot}-{lane.name.lower()}"
        self.thread = threading.Thread(target=self._loop, args=(drain,), name=name, daemon=True)
        self.thread.start()

    def _loop(self, drain: Callable[[list[Write] | list[Read]], None]) -> None:
        ending = False
        while not ending:
            batch: list[Write] | list[Read] = []
            item = self.queue.get()
            while item is not None:
                batch += item  # type: ignore[operator]
                if self.queue.empty():
                    break
                item = self.queue.get()
            ending = item is None
            if batch:
                drain(batch)

    def _drain_writes(self, batch: list[Write]) -> None:
        counters = Counters()
        done = drain_writes(self._engine.fs, batch, counters)
        self._engine.finish(done, counters)

    def _drain_reads(self, batch: list[Read]) -> None:
        for read in batch:
            counters = Counters()
            done = drain_read(self._engine.fs, read, counters)
            self._engine.finish([done], counters)


class ThreadEngine:
    """A writer and a reader thread per slot, over a `FileSystem`."""

    def __init__(self, fs: FileSystem) -> None:
        self.fs = fs
        self._cold = ColdThreads()
        self._lanes: dict[tuple[int, Lane], _Lane] = {}
        self._lock = threading.Lock()
        self._done: list[Completion] = []
        self._counters = Counters()
        self._loop: AbstractEventLoop | None = None
        self._wake: Callable[[], None] = _asleep

    def start(self, loop: AbstractEventLoop, wake: Callable[[], None]) -> None:
        self._loop, self._wake = loop, wake

    def attach(self, fd: int, size: int, room: Room = NO_ROOM, *, direct: bool = False) -> File:
        return File(fd, size, room)

    def detach(self, file: File) -> None:
        file.fd = -1

    def submit(self, writes: Sequence[Write], reads: Sequence[Read]) -> None:
        self._counters.crossings += 1
        for slot, batch in _by_slot(writes).items():
            self._lane(slot, Lane.WRITE).queue.put(batch)
        for slot, wanted in _by_slot(reads).items():
            self._lane(slot, Lane.READ).queue.put(wanted)

    def append(self, appends: Sequence[Append]) -> Sequence[int]:
        return _append(self, appends)

    def _lane(self, slot: int, lane: Lane) -> _Lane:
        found = self._lanes.get((slot, lane))
        if found is None:
            found = self._lanes[slot, lane] = _Lane(self, slot, lane)
        return found

    def finish(self, done: Sequence[Completion], counters: Counters) -> None:
        """Called by the lanes' threads: one drained batch is done."""
        with self._lock:
            self._done += done
            _add(self._counters, counters)
            self._counters.wakes += 1
        assert self._loop is not None, "submitted before the start"
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._wake)

    def read(self, reads: Sequence[Read]) -> Sequence[Completion | None]:
        self.submit((), [read for read in reads if not read.hurry])
        return [refused(read) for read in reads]

    def at_hand(self, memory: memoryview, stripe: bytes, spots: bytes) -> int:
        return 0  # of files that are read like this nobody knows what is in memory

    def completions(self) -> Sequence[Completion]:
        with self._lock:
            done, self._done = self._done, []
        return done

    def run(self, slot: int, lane: Lane, work: Callable[[], T]) -> Future[T]:
        assert self._loop is not None, "not started"
        return self._cold.run(self._loop, slot, lane, work)

    def counters(self) -> Counters:
        return self._counters

    async def stop(self) -> None:
        assert self._loop is not None, "not started"
        await self._loop.run_in_executor(None, self._stop)

    def _stop(self) -> None:
        for lane in self._lanes.values():
            lane.queue.put(None)
        for lane in self._lanes.values():
            lane.thread.join()
        self._lanes.clear()
        self._cold.stop()


class InlineEngine:
    """Everything in callbacks of the event loop: what one turn submits is one batch."""

    def __init__(self, fs: FileSystem) -> None:
        self.fs = fs
        self._writes: dict[int, list[Write]] = {}
        self._reads: deque[Read] = deque()
        self._done: list[Completion] = []
        self._counters = Counters()
        self._loop: AbstractEventLoop | None = None
        self._wake: Callable[[], None] = _asleep
        self._scheduled = False

    def start(self, loop: AbstractEventLoop, wake: Callable[[], None]) -> None:
        self._loop, self._wake = loop, wake

    def attach(self, fd: int, size: int, room: Room = NO_ROOM, *, direct: bool = False) -> File:
        return File(fd, size, room)

    def detach(self, file: File) -> None:
        file.fd = -1

    def submit(self, writes: Sequence[Write], reads: Sequence[Read]) -> None:
        assert self._loop is not None, "not started"
        self._counters.crossings += 1
        for slot, batch in _by_slot(writes).items():
            self._writes.setdefault(slot, []).extend(batch)
        self._reads.extend(reads)
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._drain)

    def append(self, appends: Sequence[Append]) -> Sequence[int]:
        return _append(self, appends)

    def _drain(self) -> None:
        self._scheduled = False
        queued, self._writes = self._writes, {}
        for batch in queued.values():
            self._done += drain_writes(self.fs, batch, self._counters)
        while self._reads:
            self._done.append(drain_read(self.fs, self._reads.popleft(), self._counters))
        self._counters.wakes += 1
        self._wake()

    def read(self, reads: Sequence[Read]) -> Sequence[Completion | None]:
        self.submit((), [read for read in reads if not read.hurry])
        return [refused(read) for read in reads]

    def at_hand(self, memory: memoryview, stripe: bytes, spots: bytes) -> int:
        return 0  # of files that are read like this nobody knows what is in memory

    def completions(self) -> Sequence[Completion]:
        done, self._done = self._done, []
        return done

    def run(self, slot: int, lane: Lane, work: Callable[[], T]) -> Future[T]:
        assert self._loop is not None, "not started"
        future: Future[T] = self._loop.create_future()
        try:
            future.set_result(work())
        except Exception as fault:
            future.set_exception(fault)
        return future

    def counters(self) -> Counters:
        return self._counters

    async def stop(self) -> None:
        if self._scheduled:
            self._drain()


def _asleep() -> None:
    raise AssertionError("the engine was not started")


B = TypeVar("B", Write, Read)


def _by_slot(batch: Sequence[B]) -> dict[int, list[B]]:
    slots: dict[int, list[B]] = {}
    for one in batch:
        slots.setdefault(one.slot, []).append(one)
    return slots


def _append(engine: ThreadEngine | InlineEngine, appends: Sequence[Append]) -> list[int]:
    """Submit what `appends` are in single writes."""
    writes: list[Write] = []
    crcs: list[int] = []
    for one in appends:
        some, theirs = writes_of(one)
        writes += some
        crcs += theirs
    engine.submit(writes, ())
    return crcs


def _add(total: Counters, part: Counters) -> None:
    for name in Counters.__slots__:
        setattr(total, name, getattr(total, name) + getattr(part, name))


class InlineExecutor(Executor):
    """An `Executor` that works at once, where it is asked."""

    def __init__(self, workers: int = 1) -> None:
        assert workers > 0

    def submit(
        self, fn: Callable[..., T], /, *args: Any, **kwargs: Any
    ) -> concurrent.futures.Future[T]:
        future: concurrent.futures.Future[T] = concurrent.futures.Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future
