"""MD5 for all requests together: streams that are to go on at the same time share the lanes.

One thread works. It takes whatever is queued when it becomes free: together, streams cost little
more than one. A lone upload's is begun at once. Where there are several, it waits while the loop
has other things to do, for some of them bring streams that join it; when the loop has nothing to
do it goes, so that nobody waits for what does not come. The thread tells the loop once for all that
it has finished, and goes on without waiting for the loop. Of a long job it does one step of
`HASH_STEP_BYTES`, then looks who else has come.

What else is to be done with the same bytes, on no loop, is done right after by the same thread:
a hop from thread to thread costs more than coding a small stripe.

A stream's buffers must stay as they are until its `advance` has returned; they are kept alive also
when who waited for it was cancelled.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import Any, NamedTuple, TypeVar

from s3node.base.clock import Clock
from s3node.base.limits import HASH_STEP_BYTES
from s3node.base.md5 import LANES_MAX, Job, Md5, advance

T = TypeVar("T")
Pieces = Sequence[memoryview]

GATHER_NS = 3_000_000
"""A stream waits for others this long at most: a part of what uploads take on a loop so busy."""

IDLE_NS = 100_000
"""A turn of the loop that took less had nothing to do that counts."""


class _Waiting(NamedTuple):
    job: Job
    then: Callable[[], Any]
    done: asyncio.Future[Any]


class _Finished(NamedTuple):
    waiting: _Waiting
    result: Any
    fault: BaseException | None


class SharedHashing:
    """Advances MD5 streams; belongs to one event loop, and has `thread` to itself."""

    def __init__(self, thread: Executor, clock: Clock) -> None:
        self.crossings = 0
        self.advanced = 0  # jobs, each counted in every crossing that it took part in
        self._thread = thread
        self._clock = clock
        self._lock = threading.Lock()  # guards these two
        self._queued: list[_Waiting] = []
        self._working = False
        self._uploads = 0
        self._gathered: list[_Waiting] = []
        self._looking: asyncio.Handle | None = None

    def begin(self) -> None:
        """An upload begins, which may want a stream to be advanced; `end` it."""
        self._uploads += 1

    def end(self) -> None:
        """It has come to its end."""
        self._uploads -= 1

    async def advance(self, stream: Md5, pieces: Pieces, then: Callable[[], T]) -> T:
        """Take all of `pieces`, in order, and answer what `then` does, or raise what it raises."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[T] = loop.create_future()
        self._gathered.append(_Waiting(Job(stream, pieces), then, done))
        if self._uploads < 2 or len(self._gathered) == LANES_MAX:
            self._go(loop)
        elif self._looking is None:
            now = self._clock.monotonic_ns()
            self._looking = loop.call_soon(self._look, loop, now, now + GATHER_NS)
        return await done

    def _look(self, loop: asyncio.AbstractEventLoop, last: int, until: int) -> None:
        """Once in each turn of the loop: go on waiting while it has other things to do."""
        now = self._clock.monotonic_ns()
        if now - last < IDLE_NS or now >= until:
            self._go(loop)
        else:
            self._looking = loop.call_soon(self._look, loop, now, until)

    def _go(self, loop: asyncio.AbstractEventLoop) -> None:
        """What was gathered goes to the thread."""
        if self._looking is not None:
            self._looking.cancel()
            self._looking = None
        with self._lock:
            self._queued += self._gathered
            begin, self._working = not self._working, True
        self._gathered.clear()
        if begin:
            loop.run_in_executor(self._thread, self._work, loop)

    def _work(self, loop: asyncio.AbstractEventLoop) -> None:
        """On the thread, until nothing is queued."""
        under_way: list[_Waiting] = []
        while True:
            with self._lock:
                under_way += self._queued
                self._queued.clear()
                if not under_way:
                    self._working = False
                    return
            try:
                advance([one.job for one in under_way], HASH_STEP_BYTES)
            except BaseException as fault:
                self._give_up(loop, under_way, fault)
                return
            self.crossings += 1
            self.advanced += len(under_way)
            finished = [_finish(one) for one in under_way if one.job.done]
            under_way = [one for one in under_way if not one.job.done]
            if finished:
                loop.call_soon_threadsafe(_tell, finished)

    def _give_up(
        self, loop: asyncio.AbstractEventLoop, under_way: list[_Waiting], fault: BaseException
    ) -> None:
        """Nobody waits for what will not come; later streams find a new beginning."""
        with self._lock:
            under_way += self._queued
            self._queued.clear()
            self._working = False
        loop.call_soon_threadsafe(_refuse, under_way, fault)


def _finish(one: _Waiting) -> _Finished:
    try:
        return _Finished(one, one.then(), None)
    except BaseException as fault:  # it belongs to who waits
        return _Finished(one, None, fault)


def _tell(finished: Sequence[_Finished]) -> None:
    for (job, _, done), result, fault in finished:
        job.end()
        if done.cancelled():
            continue
        if fault is None:
            done.set_result(result)
        else:
            done.set_exception(fault)


def _refuse(waiting: Sequence[_Waiting], fault: BaseException) -> None:
    for one in waiting:
        one.job.give_up()
        if not one.done.cancelled():
            one.done.set_exception(fault)
