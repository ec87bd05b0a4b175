"""The stripes of all requests together: those that are to be hashed at the same time share lanes.

One thread works (`hasher`). It takes whatever is queued when it becomes free: together, streams
cost little more than one. Where no other upload has bytes that are not written yet, a stripe is
begun at once. Else it waits while the loop has other things to do, for some of them bring stripes
that join it; when the loop has nothing to do it goes, so that nobody waits for what does not come.

From `GROUPS_MIN` uploads on that are at their last stripe or beyond, two groups form: last stripes
wait until as many have come as there are uploads being stored and decided, also while the loop has
nothing to do. Those end together and their clients come back together, so one group is hashed while
the other is written; and what a group does it does once: a crossing into the disk set, a sync of
each disk, a frame of the journal. Nobody waits for uploads that are still being received, however
slowly; and stripes in the middle of an upload are in no group, nor is a last one that is too small
for the thread.

No stripe waits for longer than `GATHER_NS`.

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

GATHER_NS = 4_000_000
"""A stripe waits for others this long at most: a part of what it takes to store one, under load."""

GROUPS_MIN = 4
"""Of three uploads one would wait for two, and lose more than all of them gain."""

IDLE_NS = 100_000
"""A turn of the loop that took less had nothing to do that counts."""


class Upload:
    """One that may bring stripes: then all of it is `stored`, and then it has come to its `end`."""

    __slots__ = ("_ended", "_of", "_out", "_stored")

    def __init__(self, of: SharedHashing) -> None:
        self._of = of
        self._out = False  # counted among those that are being stored and decided
        self._stored = self._ended = False

    def leave(self) -> bool:
        """Its last stripe goes to be hashed; whether it is counted from now on."""
        self._out = not self._ended
        return self._out

    def stored(self) -> None:
        """All of it is on a write quorum."""
        if not self._stored:
            self._stored = True
            self._of.stored()

    def end(self) -> None:
        """It is decided or given up, so its client may come back. For the second time: nothing."""
        self.stored()
        self._ended = True
        if self._out:
            self._out = False
            self._of.ended()


class SharedHashing:
    """Does jobs; belongs to one event loop, and has `thread` to itself."""

    def __init__(
        self, thread: Executor, clock: Clock, hasher: Callable[[Told], Hasher] = NativeHasher
    ) -> None:
        self._thread = thread
        self._clock = clock
        self._hasher = hasher(self._came)
        self._waiting: dict[Job, asyncio.Future[None]] = {}
        self._unwritten = 0  # uploads that are not stored
        self._storing = 0  # uploads whose last stripe has gone, and that have not ended
        self._gathered: list[Job] = []
        self._leaving: list[Upload] = []  # whose last stripe is among those
        self._until = 0  # the first of those waits no longer, by the clock
        self._seen = 0  # when the loop was last looked at
        self._looking: asyncio.Handle | None = None
        self._asleep = False  # `_looking` is a timer

    def begin(self) -> Upload:
        """An upload begins; it is to be ended."""
        self._unwritten += 1
        return Upload(self)

    def stored(self) -> None:
        """An upload has been stored, or given up."""
        self._unwritten -= 1
        self._consider()

    def ended(self) -> None:
        """One has ended whose last stripe had gone."""
        self._storing -= 1
        self._consider()

    async def advance(self, job: Job, leaves: Upload | None = None) -> None:
        """Do all of it, finish it and end it; raises what others raise in `Job.finish`.

        `leaves`: the upload whose last stripe this is, if it is one.
        """
        done = self._waiting[job] = asyncio.get_running_loop().create_future()
        if not self._gathered:
            self._seen = self._clock.monotonic_ns()
            self._until = self._seen + GATHER_NS
        self._gathered.append(job)
        if leaves is not None:
            self._leaving.append(leaves)
        self._consider()
        await done

    def _consider(self) -> None:
        """Something has changed: whether to go, to wait on, or to wait otherwise."""
        if not self._gathered:
            return
        if self._enough():
            self._go()
        elif self._looking is None or (self._asleep and not self._in_groups()):
            self._rest()
            self._looking = asyncio.get_running_loop().call_soon(self._look)

    def _in_groups(self) -> bool:
        leaving = len(self._leaving)
        return leaving == len(self._gathered) and leaving + self._storing >= GROUPS_MIN

    def _enough(self) -> bool:
        """Nobody more is waited for, whatever the loop has to do."""
        if len(self._gathered) == LANES_MAX:
            return True
        if self._in_groups():
            return len(self._leaving) >= self._storing
        return self._unwritten < 2

    def _look(self) -> None:
        """In each turn of the loop: go on waiting while it has other things to do. For a group, it
        sleeps: that changes with what is told here, not with the loop.
        """
        loop = asyncio.get_running_loop()
        now, before = self._clock.monotonic_ns(), self._seen
        self._seen = now
        if now >= self._until:
            self._go()
        elif self._in_groups():
            self._looking = loop.call_later((self._until - now) / 1e9, self._go)
            self._asleep = True
        elif now - before < IDLE_NS:
            self._go()
        else:
            self._looking = loop.call_soon(self._look)

    def _rest(self) -> None:
        """Look no more."""
        if self._looking is not None:
            self._looking.cancel()
        self._looking, self._asleep = None, False

    def _go(self) -> None:
        """What was gathered goes to the thread."""
        self._rest()
        jobs, self._gathered = self._gathered, []
        leaving, self._leaving = self._leaving, []
        self._storing += sum(upload.leave() for upload in leaving)
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
        self._rest()
        self._gathered.clear()
        self._leaving.clear()
        self._thread.shutdown()
        for job, done in self._waiting.items():
            job.give_up()
            done.cancel()
        self._waiting.clear()
