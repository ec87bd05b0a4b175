"""Large parts of answers are sent by a thread of C (csrc/send.c) while the loop serves others.

To copy bytes into a socket needs no interpreter, and it is the most that a large GET costs in one
go. The thread gives the kernel what this takes at once. The rest is written by whoever asked, as
anything else is: so back-pressure and patience are where they were.

The pieces of a job are kept here, and must stay as they are, until it is over: nobody is told
that it was cancelled before.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import struct
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from s3node.edge._send import ffi, lib
from s3node.edge._spans import spans

LOG = logging.getLogger("s3node.edge")

Pieces = Sequence[bytes | memoryview]

_PIECES_MAX: int = lib.SEND_PIECES_MAX
_JOBS_MAX: int = lib.SEND_JOBS_MAX
_DONE = struct.Struct("=q2i")

assert ffi.sizeof("send_done") == _DONE.size, "as C has it"


def worthwhile(processes: int) -> bool:
    """Whether one of a node's so many processes at work, its engine too, is to have a sender.

    The way to a thread and back costs a quarter of what a large send does. It is won only on a
    core that nobody else would use: with a process for each of them, all it does is cost.
    """
    return len(os.sched_getaffinity(0)) > processes


def system_calls() -> Any:
    """The table of the kernel's calls, to be changed by tests before a sender is made."""
    calls = ffi.new("send_calls *")
    lib.send_system_calls(calls)
    return calls


class Job:
    """What was handed to a sender. Whoever did so waits for it, alone."""

    __slots__ = ("_error", "_number", "_over", "_pieces", "_sender", "_taken", "_waiter")

    def __init__(self, sender: Sender, number: int, pieces: Pieces, loop: Loop) -> None:
        self._sender = sender
        self._number = number
        self._pieces = pieces
        self._over = False
        self._taken = self._error = 0
        self._waiter: asyncio.Future[None] = loop.create_future()

    async def sent(self) -> int:
        """How many bytes, from the first on, the kernel has taken, all or what it had room for.

        OSError when they cannot be sent. Whatever becomes of this, nobody reads the pieces then.
        """
        try:
            await self._waiter
        except asyncio.CancelledError:
            self.withdraw()
            while not self._over:
                self._waiter = self._waiter.get_loop().create_future()
                with suppress(asyncio.CancelledError):
                    await self._waiter
            raise
        if self._error:
            raise OSError(self._error, os.strerror(self._error))
        return self._taken

    def withdraw(self) -> None:
        """It need not be sent any more; if it has not begun it is over."""
        if not self._over and self._sender.withdraw(self._number):
            self.end(0, errno.ECANCELED)

    def end(self, taken: int, error: int) -> None:
        """It is over."""
        self._over = True
        self._pieces = ()
        self._taken, self._error = taken, error
        if not self._waiter.done():
            self._waiter.set_result(None)


Loop = asyncio.AbstractEventLoop


class Sender:
    """A thread that sends, for one loop, until it is closed."""

    def __init__(self, loop: Loop, calls: Any = None) -> None:
        """OSError when there is no thread to be had."""
        self._loop = loop
        self._calls = calls or system_calls()  # kept: it may hold callbacks
        self._event_fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        error = ffi.new("int *")
        self._sender = lib.send_new(self._event_fd, self._calls, error)
        if not self._sender:
            os.close(self._event_fd)
            raise OSError(error[0], os.strerror(error[0]))
        self._packed = ffi.new("send_piece[]", _PIECES_MAX)  # used again for each job
        self._packed_bytes = ffi.buffer(self._packed)
        self._reaped = ffi.new("send_done[]", _JOBS_MAX)  # so many there can be
        self._reaped_bytes = ffi.buffer(self._reaped)
        self._jobs: dict[int, Job] = {}
        loop.add_reader(self._event_fd, self._reap)

    def give(self, fd: int, pieces: Pieces) -> Job | None:
        """Send them there; None when this is not the time for it, and nothing is under way.

        The descriptor is the caller's: he may close it at any moment.
        """
        if self._sender is None or len(pieces) > _PIECES_MAX:
            return None
        pieces = tuple(pieces)
        count = spans(pieces, self._packed_bytes)
        number: int = lib.send_give(self._sender, fd, self._packed, count)
        if number < 0:
            return None
        job = self._jobs[number] = Job(self, number, pieces, self._loop)
        return job

    def withdraw(self, number: int) -> bool:
        """Whether that job had not begun: it never does, and is over."""
        withdrawn: bool = lib.send_withdraw(self._sender, number)
        if withdrawn:
            del self._jobs[number]
        return withdrawn

    def _reap(self) -> None:
        count = lib.send_reap(self._sender, self._reaped, _JOBS_MAX)
        for taken, number, error in _DONE.iter_unpack(self._reaped_bytes[: count * _DONE.size]):
            self._jobs.pop(number).end(taken, error)

    def close(self) -> None:
        """End the thread; what it has not begun is not sent. It waits for nobody but the kernel."""
        lib.send_stop(self._sender)
        self._loop.remove_reader(self._event_fd)
        self._reap()
        assert not self._jobs, "every job is over"
        os.close(self._event_fd)
        lib.send_free(self._sender)
        self._sender = None


def open_sender(loop: Loop, calls: Any = None) -> Sender | None:
    """A sender, if there is a thread to be had: nothing depends on it."""
    try:
        return Sender(loop, calls)
    except OSError as fault:
        LOG.warning("answers are sent without a thread of their own: %s", fault)
        return None


def left_of(pieces: Pieces, taken: int) -> Pieces:
    """The pieces without their first `taken` bytes."""
    for index, piece in enumerate(pieces):
        if taken < len(piece):
            return [memoryview(piece)[taken:], *pieces[index + 1 :]]
        taken -= len(piece)
    return ()
