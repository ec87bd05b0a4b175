"""The stripes of all requests together: those that are to be hashed at the same time share lanes.

One thread works (`hasher`). It takes whatever is queued when it becomes free: together, streams
cost little more than one. A lone upload's is begun at once. Where there are several, it waits while
the loop has other things to do, for some of them bring stripes that join it; when the loop has
nothing to do it goes, so that nobody waits for what does not come.

What others are to see of a job's bytes, in Python, is done by a thread that waits for the
interpreter's lock: those who do not need it are not behind it.

A job's buffers must stay as they are until it has ended, also when who waited for it was cancelled;
they are kept alive until then.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Executor

from s3node.base.clock import Clock
from s3node.base.md5 import LANES_MAX
from s3node.objects.coding import Job
from s3node.objects.hasher import Hasher, NativeHasher, Told

GATHER_NS = 3_000_000
"""A job waits for others this long at most: a part of what uploads take on a loop so busy."""

IDLE_NS = 100_000
"""A turn of the loop that took less had nothing to do that counts."""


class SharedHashing:
    """Does jobs; belongs to one event loop, and has `thread` to itself."""

    def __init__(
        self, thread: Executor, clock: Clock, hasher: Callable[[Told], Hasher] = NativeHasher
    ) -> None:
        self._thread = thread
        self._clock = clock
        self._hasher = hasher(self._came)
        self._waiting: dict[Job, asyncio.Future[None]] = {}
        self._uploads = 0
        self._gathered: list[Job] = []
        self._looking: asyncio.Handle | None = None

    def begin(self) -> None:
        """An upload begins, which may have stripes; `end` it."""
        self._uploads += 1

    def end(self) -> None:
        """It has come to its end."""
        self._uploads -= 1

    async def advance(self, job: Job) -> None:
        """Do all of it, finish it and end it; raises what others raise in `Job.finish`."""
        loop = asyncio.get_running_loop()
        done = self._waiting[job] = loop.create_future()
        self._gathered.append(job)
        if self._uploads < 2 or len(self._gathered) == LANES_MAX:
            self._go()
        elif self._looking is None:
            now = self._clock.monotonic_ns()
            self._looking = loop.call_soon(self._look, loop, now, now + GATHER_NS)
        await done

    def _look(self, loop: asyncio.AbstractEventLoop, last: int, until: int) -> None:
        """Once in each turn of the loop: go on waiting while it has other things to do."""
        now = self._clock.monotonic_ns()
        if now - last < IDLE_NS or now >= until:
            self._go()
        else:
            self._looking = loop.call_soon(self._look, loop, now, until)

    def _go(self) -> None:
        """What was gathered goes to the thread."""
        if self._looking is not None:
            self._looking.cancel()
            self._looking = None
        jobs, self._gathered = self._gathered, []
        try:
            self._hasher.submit(jobs)
        except (OSError, MemoryError) as fault:  # the next stream tries again
            for job in jobs:
                job.give_up()
                self._tell(job, fault)

    def _came(self, jobs: Sequence[Job]) -> None:
        """Done, but for the others."""
        for job in jobs:
            if job.others:
                self._show(job)
            else:
                self._end(job, None)

    def _show(self, job: Job) -> None:
        """To the others."""
        try:
            seen = asyncio.get_running_loop().run_in_executor(self._thread, job.finish)
        except (RuntimeError, MemoryError) as fault:  # no thread was to be had
            self._end(job, fault)
        else:
            seen.add_done_callback(lambda seen: self._end(job, seen.exception()))

    def _end(self, job: Job, fault: BaseException | None) -> None:
        if job not in self._waiting:  # closed meanwhile
            return
        job.end()
        self._tell(job, fault)

    def _tell(self, job: Job, fault: BaseException | None) -> None:
        done = self._waiting.pop(job)
        if done.cancelled():
            return
        if fault is None:
            done.set_result(None)
        else:
            done.set_exception(fault)

    def close(self) -> None:
        """Nothing is begun any more; what is at work ends here, told to nobody."""
        self._hasher.close()
        if self._looking is not None:
            self._looking.cancel()
            self._looking = None
        self._gathered.clear()
        self._thread.shutdown()
        for job, done in self._waiting.items():
            job.give_up()
            done.cancel()
        self._waiting.clear()
