"""The log of one disk: appends in order, one unsynced at a time; what they mean is not known here.

Room is written ahead with zeros, so that most appends change none of the file's metadata: their
sync waits for the bytes alone, and not for the file system's own journal, which on a spinning disk
is elsewhere.

After a failed append the log is dead: every later append fails with the same fault, until a
rotation to a new name succeeds (I3). Appends and rotations take effect in the order of the calls.
"""

from __future__ import annotations

import contextlib
import errno
import os
from asyncio import Future
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from s3node.base.errors import DiskOffline, StorageFault
from s3node.base.filesystem import DIRECT_ALIGN, Buffer, FileSystem
from s3node.store.disks import JOURNAL
from s3node.store.engine import Completion, File, Lane, Room, Write, fault_from, fault_of
from s3node.store.seams import DiskState, Fault
from s3node.store.state import Context, Disk

LIMIT = 1 << 62
"""Bytes of a log, as far as this module goes: who appends to it rotates."""

Answered = Callable[[int, Fault], None]


@dataclass(slots=True, eq=False)
class _Wanted:
    """An append of `data`, or a rotation to `name`; and who is to be told of it, once."""

    data: Buffer
    name: str
    answered: Answered | None

    def tell(self, slot: int, fault: Fault) -> None:
        answered, self.answered = self.answered, None
        if answered is not None:
            answered(slot, fault)


def _settle(future: Future[None], fault: Fault) -> None:
    if future.done():
        return
    if fault is None:
        future.set_result(None)
    else:
        future.set_exception(fault)


def create_log(fs: FileSystem, disk_path: str, name: str) -> int:
    """A new, empty log file, durable with its name. FileExistsError if the name is taken."""
    directory = f"{disk_path}/{JOURNAL}"
    fd = fs.open(f"{directory}/{name}", os.O_RDWR | os.O_CREAT | os.O_EXCL)
    try:
        fs.fdatasync(fd)
        fs.fsync_dir(directory)
    except OSError:
        fs.close(fd)
        with contextlib.suppress(OSError):  # empty: it means nothing to whoever finds it
            fs.unlink(f"{directory}/{name}")
        raise
    return fd


def end_log(fs: FileSystem, fd: int, end: int | None) -> None:
    """Close a log; the zeros behind `end` are given back, but for those of its block: cut within
    one it would be read, and written again.

    A dead one (None) is touched no more, nor is this tried again: what stays costs room alone.
    """
    try:
        if end is not None:
            with contextlib.suppress(OSError):
                fs.ftruncate(fd, -(-end // DIRECT_ALIGN) * DIRECT_ALIGN)
    finally:
        fs.close(fd)


class LogWriter:
    """The open log of one disk, and what waits for it."""

    def __init__(self, disk: Disk, context: Context) -> None:
        self.disk = disk
        self._context = context
        self._file: File | None = None
        self._end = 0
        self._fault: StorageFault | None = DiskOffline(f"slot {disk.slot}: no log is open")
        self._queue: deque[_Wanted] = deque()
        self._queued_bytes = 0
        self._busy = False
        self._under_way: _Wanted | None = None
        self._proven = False
        self._idle: list[Future[None]] = []

    def append(self, data: Buffer, answered: Answered) -> None:
        """Told when `data` is on the platter behind everything appended before."""
        fault = self._refusal(len(data))
        if fault:
            answered(self.disk.slot, fault)
            return
        self._queued_bytes += len(data)
        self._queue.append(_Wanted(data, "", answered))
        if not self._busy:
            self._next()

    def rotate(self, name: str) -> Future[None]:
        """Make the new file `name` the open log, after what was appended before."""
        assert name and "/" not in name, "a log's name is a file name"
        future: Future[None] = self._context.loop.create_future()
        if not self.disk.readable:
            text = f"slot {self.disk.slot} is {self.disk.state.value}: {self.disk.reason}"
            future.set_exception(DiskOffline(text))
            return future
        self._queue.append(_Wanted(b"", name, lambda _, fault: _settle(future, fault)))
        self._next()
        return future

    def abandon(self) -> None:
        """The open log is dead: the disk was away."""
        self._fault = DiskOffline(f"slot {self.disk.slot}: the log of before the disk was away")

    def give_up(self, fault: StorageFault) -> None:
        """Tell whoever waits; the open log is dead."""
        self._fault = fault
        waiting = [self._under_way] if self._under_way else []
        for wanted in [*waiting, *self._queue]:
            wanted.tell(self.disk.slot, fault)

    async def close(self) -> None:
        """Wait for what is queued, then close the log."""
        while self._busy:
            idle: Future[None] = self._context.loop.create_future()
            self._idle.append(idle)
            await idle
        self._fault = DiskOffline(f"slot {self.disk.slot}: closed")
        await self._close_file()

    def _refusal(self, size: int) -> StorageFault | None:
        if self.disk.state in (DiskState.FENCED, DiskState.OFFLINE):
            return DiskOffline(f"slot {self.disk.slot} is {self.disk.state.value}")
        if self._fault and not any(one.name for one in self._queue):
            return self._fault  # and no rotation is on its way
        if self._queued_bytes and self._queued_bytes + size > self._context.limits.queue_bytes:
            return DiskOffline(f"slot {self.disk.slot}: {self._queued_bytes} bytes queued already")
        return None

    def _next(self) -> None:
        """Begin what is first in the queue, if nothing is under way."""
        while self._queue and not self._busy:
            wanted = self._queue.popleft()
            self._under_way = wanted
            if wanted.name:
                self._begin_rotation(wanted)
            elif self._fault or self._file is None:
                self._answer(wanted, self._fault)
            else:
                self._begin_append(self._file, wanted)
        if not self._busy:
            idle, self._idle = self._idle, []
            for future in idle:
                future.set_result(None)

    def _answer(self, wanted: _Wanted, fault: StorageFault | None) -> None:
        self._queued_bytes -= len(wanted.data)
        wanted.tell(self.disk.slot, fault)

    def _begin_append(self, file: File, wanted: _Wanted) -> None:
        self._busy = True
        slot = self.disk.slot
        token = self._context.expect(slot, self._appended)
        self._context.submit([Write(token, slot, file, self._end, wanted.data)])
        self._end += len(wanted.data)

    def _appended(self, completion: Completion) -> None:
        wanted, self._under_way, self._busy = self._under_way, None, False
        assert wanted is not None, "one append at a time"
        if completion.error:
            self.disk.write_failed(completion.error, completion.stage, self._proven)
            self._fault = fault_of(completion.error, f"slot {self.disk.slot}: its log")
        else:
            self._proven = True
        self._answer(wanted, self._fault)
        self._next()

    def _begin_rotation(self, wanted: _Wanted) -> None:
        self._busy = True
        work = partial(create_log, self._context.fs, self.disk.path, wanted.name)
        made = self._context.run(self.disk.slot, Lane.WRITE, work)
        made.add_done_callback(partial(self._rotated, wanted))

    def _rotated(self, wanted: _Wanted, made: Future[int]) -> None:
        self._busy = False
        error = made.exception()
        if error is not None:  # the log before, if it is alive, stays the open one
            self.disk.write_failed(getattr(error, "errno", None) or 0, 0, proven=False)
            self._answer(wanted, fault_from(error, f"slot {self.disk.slot}: log {wanted.name}"))
        else:
            step = self._context.limits.log_step_bytes
            room = Room(step, step, LIMIT, filled=True)
            self._adopt(wanted, self._context.attach(made.result(), 0, room, direct=True))
        self._next()

    def _adopt(self, wanted: _Wanted, file: File | None) -> None:
        """The new log is there: it takes the place of the one before."""
        if file is None:
            self._answer(wanted, fault_of(errno.ENOMEM, f"slot {self.disk.slot}: {wanted.name}"))
            return
        self._close_file()
        self._file, self._end, self._fault, self._proven = file, 0, None, False
        self._answer(wanted, None)

    def _close_file(self) -> Future[None]:
        """Close the open file, if there is one, behind everything done to it."""
        file, self._file = self._file, None
        if file is None:
            closed: Future[None] = self._context.loop.create_future()
            closed.set_result(None)
            return closed
        work = partial(end_log, self._context.fs, file.fd, None if self._fault else self._end)
        self._context.engine.detach(file)
        return self._context.run(self.disk.slot, Lane.WRITE, work)
