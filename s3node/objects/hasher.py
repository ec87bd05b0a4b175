"""The thread in C that does stripes' jobs (csrc/hasher.h), on an event loop.

It is started by the first job, and ended by `close`. Jobs and what they point to are kept alive
here until they came back, or the thread has ended.
"""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any, Protocol

from s3node.base import md5
from s3node.base.limits import HASH_STEP_BYTES
from s3node.objects._hasher import ffi, lib
from s3node.objects.coding import Job

Told = Callable[[Sequence[Job]], None]
"""Called on the loop with jobs that are done, but for what others are to see of them."""

_REAP = 64  # jobs taken over at one crossing

_HASHER = ffi.typeof("struct hasher *")
_JOBS = ffi.typeof("struct stripe_job *[]")
_KERNEL = ffi.typeof("const struct md5_kernel *")
_TOKENS = ffi.typeof("uint64_t[]")


class Hasher(Protocol):
    """Does jobs: those together that are there together."""

    def submit(self, jobs: Sequence[Job]) -> None:
        """OSError or MemoryError when there is no thread to be had: then they are not taken."""

    def close(self) -> None:
        """Whatever has not come back does not, and is not touched any more; no more is taken."""


class NativeHasher:
    """The one in C; belongs to one event loop."""

    def __init__(self, told: Told) -> None:
        self._told = told
        self._loop: asyncio.AbstractEventLoop | None = None  # while there is a thread
        self._event_fd = -1
        self._hasher: Any = None
        self._tokens = ffi.new(_TOKENS, _REAP)
        self._jobs: dict[int, Job] = {}  # by token
        self._next = 0
        self._closed = False

    def submit(self, jobs: Sequence[Job]) -> None:
        """See Hasher."""
        if self._closed:
            raise OSError(errno.ESHUTDOWN, os.strerror(errno.ESHUTDOWN))
        if self._loop is None:
            self._start(asyncio.get_running_loop())
        pointers = ffi.new(_JOBS, [one.pointer for one in jobs])
        for job in jobs:
            self._next += 1
            job.pointer.token = self._next
            self._jobs[self._next] = job
        lib.hasher_submit(self._hasher, pointers, len(jobs))

    def _start(self, loop: asyncio.AbstractEventLoop) -> None:
        kernel = ffi.cast(_KERNEL, md5.kernel())
        with ExitStack() as undone:
            event_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
            undone.callback(os.close, event_fd)
            loop.add_reader(event_fd, self._reap)
            undone.callback(loop.remove_reader, event_fd)
            hasher = ffi.new(_HASHER, (kernel, HASH_STEP_BYTES, event_fd))
            error = lib.hasher_start(hasher)
            if error:
                raise OSError(-error, f"no thread that hashes: {os.strerror(-error)}")
            undone.pop_all()
        self._event_fd, self._hasher, self._loop = event_fd, hasher, loop

    def _reap(self) -> None:
        count = _REAP
        while count == _REAP:
            count = lib.hasher_reap(self._hasher, self._tokens, _REAP)
            self._told([self._jobs.pop(token) for token in ffi.unpack(self._tokens, count)])

    def close(self) -> None:
        """See Hasher."""
        self._closed = True
        if self._loop is not None:
            self._loop.remove_reader(self._event_fd)
            lib.hasher_stop(self._hasher)
            os.close(self._event_fd)
            self._loop = None
        self._jobs.clear()
