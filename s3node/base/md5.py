"""MD5 streams on the C kernels of csrc/md5*.c: one by one, or many advanced together.

`Md5` is used as hashlib's, and with the same results. `advance` takes pieces of many streams in
one crossing: the streams sit in the lanes of vector registers, so that sixteen take hardly longer
than two. No byte is copied, and the GIL is released while C works.

Invariants: a stream is in one `Job` at a time, and while it is nobody else updates it or asks for
its digest; the job keeps its buffers alive, whoever gave them leaves them as they are until then.

Which kernel runs is decided once for the process: the one that the environment variable
S3NODE_MD5_KERNEL names, else the fastest that the CPU has.

Source: RFC 1321.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cache
from itertools import count, takewhile
from typing import TYPE_CHECKING, Any

from s3node.base._md5 import ffi, lib

if TYPE_CHECKING:
    from typing_extensions import Buffer

KERNEL_VARIABLE = "S3NODE_MD5_KERNEL"
DIGEST_BYTES = 16
LANES_MAX: int = lib.MD5_LANES_MAX
"""Streams that go on together, at most."""

_BUFFER = ffi.typeof("uint8_t[]")
_STREAM = ffi.typeof("struct md5_stream *")
_PIECES = ffi.typeof("struct md5_piece[]")
_JOB = ffi.typeof("struct md5_job *")
_JOBS = ffi.typeof("struct md5_job *[]")


class Md5KernelError(ValueError):
    """The kernel asked for cannot be had: it is unknown, of another architecture, or this CPU
    lacks its instructions."""


def kernel_names() -> list[str]:
    """All kernels there are, built or not, fastest first."""
    names = takewhile(lambda name: name != ffi.NULL, map(lib.md5_kernel_name, count()))
    return [ffi.string(name).decode() for name in names]


def kernels_available() -> list[str]:
    """The kernels that this build and this CPU can run, fastest first."""
    kernel = ffi.new("const struct md5_kernel **")
    return [n for n in kernel_names() if lib.md5_select(n.encode(), kernel) == lib.MD5_SELECTED]


@cache
def kernel(name: str | None = None) -> Any:
    """The struct md5_kernel of that name, or what the environment says, or the fastest.

    Raises Md5KernelError.
    """
    name = name or os.environ.get(KERNEL_VARIABLE) or None
    found = ffi.new("const struct md5_kernel **")
    outcome = lib.md5_select(name.encode() if name is not None else ffi.NULL, found)
    if outcome == lib.MD5_UNKNOWN:
        raise Md5KernelError(f"no kernel {name!r}: there are {', '.join(kernel_names())}")
    if outcome == lib.MD5_NOT_BUILT:
        raise Md5KernelError(f"kernel {name!r} is not for this architecture")
    if outcome == lib.MD5_NO_CPU:
        available = ", ".join(kernels_available())
        raise Md5KernelError(f"this CPU cannot run kernel {name!r}: {available}")
    return found[0]


class Md5:
    """A running MD5."""

    __slots__ = ("_job", "_kernel", "_stream")

    def __init__(self, kernel_name: str | None = None) -> None:
        self._kernel = kernel(kernel_name)
        self._stream = ffi.new(_STREAM)
        self._job: Job | None = None
        lib.md5_init(self._stream)

    @property
    def length(self) -> int:
        """Bytes taken so far."""
        return int(self._stream.bytes)

    def update(self, data: Buffer, /) -> None:
        """Take all of `data`, now."""
        assert self._job is None, "the stream is being advanced"
        view = ffi.from_buffer(_BUFFER, data)
        lib.md5_update(self._kernel, self._stream, view, len(view))

    def digest(self) -> bytes:
        """Of what was taken so far; the stream may go on."""
        assert self._job is None, "the stream is being advanced"
        digest = ffi.new(_BUFFER, DIGEST_BYTES)
        lib.md5_digest(self._stream, digest)
        return bytes(ffi.buffer(digest))

    def hexdigest(self) -> str:
        return self.digest().hex()

    def copy(self) -> Md5:
        """Another stream that took the same bytes."""
        assert self._job is None, "the stream is being advanced"
        other = Md5.__new__(Md5)
        other._kernel, other._job = self._kernel, None
        other._stream = ffi.new(_STREAM, self._stream[0])
        return other


class Job:
    """Pieces that continue a stream, in order; `advance` it until it is `done`."""

    __slots__ = ("_alive", "_stream", "pointer")

    def __init__(self, stream: Md5, pieces: Sequence[Buffer]) -> None:
        assert stream._job is None, "the stream is being advanced"
        views = [ffi.from_buffer(_BUFFER, piece) for piece in pieces]
        listed = ffi.new(_PIECES, [(view, len(view)) for view in views])
        self.pointer = ffi.new(_JOB, (stream._stream, listed, len(views)))
        self._alive: tuple[Any, ...] = (stream._stream, listed, views)
        self._stream = stream
        stream._job = self

    @property
    def done(self) -> bool:
        return not self.pointer.count

    def end(self) -> None:
        """The stream is free again; called where streams are used, not where they advance."""
        assert self.done and self._stream._job is self, "ends once, when all is taken"
        self._stream._job = None
        self.give_up()

    def give_up(self) -> None:
        """Let go of the buffers, of which no more is taken.

        Never left to the garbage collector: CPython 3.11 crashes when it clears a cycle with a
        memoryview in it that something else has a buffer of.
        """
        self._alive = ()


def advance(jobs: Sequence[Job], bytes_max: int, kernel_name: str | None = None) -> None:
    """Take at most `bytes_max` bytes (but at least a block) of each job, all together."""
    pointers = ffi.new(_JOBS, [job.pointer for job in jobs])
    lib.md5_advance(kernel(kernel_name), pointers, len(jobs), bytes_max)
