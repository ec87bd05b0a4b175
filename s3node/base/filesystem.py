"""The file system seam: the system calls that truth on disk is made of, and nothing else.

Paths are strings. Errors are OSError with the errno the kernel gave. Calls are synchronous; who
must not block calls them from a thread. Two implementations pass one conformance suite:
`RealFileSystem` and the simulated one of the tests, which keeps unsynced state apart and can
lose, tear and fail.

Rules of use that the callers keep:
- a name is durable only after `fsync_dir` of its directory;
- after a failed write or fsync the descriptor is dead: it is closed and never retried (I3).
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import mmap
import os
from collections.abc import Sequence
from typing import NamedTuple, Protocol

Buffer = bytes | bytearray | memoryview

DIRECT_ALIGN = 4096
"""Of offsets, lengths and memory of what passes the page cache: no common device asks for more."""


_DIRECT_STEP = 256 << 10
"""Written at once: what others write to the device meanwhile waits behind no more than this."""

assert _DIRECT_STEP % DIRECT_ALIGN == 0


class Usage(NamedTuple):
    """Bytes of the file system that a path lies on."""

    total: int
    free: int


class Reads(Protocol):
    """What reading a file takes, of a `FileSystem` or of `Medium`."""

    def open(self, path: str, flags: int, mode: int = 0o600) -> int: ...

    def close(self, fd: int) -> None: ...

    def pread(self, fd: int, length: int, offset: int) -> bytes: ...

    def size(self, fd: int) -> int: ...


class FileSystem(Protocol):
    def open(self, path: str, flags: int, mode: int = 0o600) -> int:
        """A descriptor, as os.open; O_CLOEXEC is implied. O_DIRECT: OSError(EINVAL) where that is
        not to be had, here or at a `pwritev` that is not of whole blocks of the device.
        """

    def close(self, fd: int) -> None: ...

    def pwritev(self, fd: int, buffers: Sequence[Buffer], offset: int) -> int:
        """Bytes written; may be short."""

    def pread(self, fd: int, length: int, offset: int) -> bytes:
        """At most `length` bytes; fewer only at the end of the file."""

    def open_direct(self, path: str) -> int:
        """A descriptor for `pread_direct`; OSError(EINVAL) where no such reads are to be had."""

    def pread_direct(self, fd: int, length: int, offset: int) -> bytes:
        """As `pread`, but from the medium: what the page cache holds clean is passed by."""

    def drop_cache(self, fd: int) -> bool:
        """Let go of the file's cached pages; whether none is left. Dirty ones stay."""

    def fdatasync(self, fd: int) -> None: ...

    def fsync_dir(self, path: str) -> None: ...

    def ftruncate(self, fd: int, length: int) -> None: ...

    def fallocate(self, fd: int, offset: int, length: int) -> None:
        """Reserve room and extend the size; OSError(EOPNOTSUPP) where it is not to be had."""

    def size(self, fd: int) -> int: ...

    def rename(self, source: str, target: str) -> None: ...

    def unlink(self, path: str) -> None: ...

    def mkdir(self, path: str, mode: int = 0o700) -> None: ...

    def listdir(self, path: str) -> list[str]:
        """Names, sorted."""

    def exists(self, path: str) -> bool: ...

    def usage(self, path: str) -> Usage: ...

    def is_mount(self, path: str) -> bool: ...

    def same_file(self, fd: int, path: str) -> bool:
        """Whether the open file is the one at `path` now."""

    def lock(self, fd: int) -> None:
        """Lock the open file for this process alone until it is closed; BlockingIOError if held."""


class RealFileSystem:
    """The kernel's."""

    def open(self, path: str, flags: int, mode: int = 0o600) -> int:
        return os.open(path, flags | os.O_CLOEXEC, mode)

    def close(self, fd: int) -> None:
        os.close(fd)

    def pwritev(self, fd: int, buffers: Sequence[Buffer], offset: int) -> int:
        return os.pwritev(fd, buffers, offset)

    def pread(self, fd: int, length: int, offset: int) -> bytes:
        return os.pread(fd, length, offset)

    def open_direct(self, path: str) -> int:
        return os.open(path, os.O_RDONLY | os.O_DIRECT | os.O_CLOEXEC)

    def pread_direct(self, fd: int, length: int, offset: int) -> bytes:
        begin = offset & -DIRECT_ALIGN
        size = (offset + length - begin + DIRECT_ALIGN - 1) & -DIRECT_ALIGN
        with mmap.mmap(-1, size) as pages:  # memory that is aligned, as such reads ask for
            got = os.preadv(fd, [pages], begin)
            return pages[offset - begin : max(offset - begin, min(offset - begin + length, got))]

    def drop_cache(self, fd: int) -> bool:
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        return not _cached_pages(fd)

    def fdatasync(self, fd: int) -> None:
        os.fdatasync(fd)

    def fsync_dir(self, path: str) -> None:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def ftruncate(self, fd: int, length: int) -> None:
        os.ftruncate(fd, length)

    def fallocate(self, fd: int, offset: int, length: int) -> None:
        os.posix_fallocate(fd, offset, length)

    def size(self, fd: int) -> int:
        return os.fstat(fd).st_size

    def rename(self, source: str, target: str) -> None:
        os.rename(source, target)

    def unlink(self, path: str) -> None:
        os.unlink(path)

    def mkdir(self, path: str, mode: int = 0o700) -> None:
        os.mkdir(path, mode)

    def listdir(self, path: str) -> list[str]:
        return sorted(os.listdir(path))

    def exists(self, path: str) -> bool:
        return os.path.lexists(path)

    def usage(self, path: str) -> Usage:
        stat = os.statvfs(path)
        return Usage(stat.f_frsize * stat.f_blocks, stat.f_frsize * stat.f_bavail)

    def is_mount(self, path: str) -> bool:
        return os.path.ismount(path)

    def same_file(self, fd: int, path: str) -> bool:
        return os.path.samestat(os.fstat(fd), os.stat(path))

    def lock(self, fd: int) -> None:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _cached_pages(fd: int) -> int:
    """Pages of a file that the page cache holds, as mincore(2) tells. OSError."""
    size = os.fstat(fd).st_size
    if not size:
        return 0
    resident = ctypes.create_string_buffer(-(-size // mmap.PAGESIZE))
    mincore = ctypes.CDLL(None, use_errno=True).mincore
    with mmap.mmap(fd, size, access=mmap.ACCESS_COPY) as mapped:
        begin = ctypes.c_char.from_buffer(mapped)
        failed = mincore(ctypes.c_void_p(ctypes.addressof(begin)), ctypes.c_size_t(size), resident)
        del begin  # or the mapping could not be closed
    if failed:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return sum(page & 1 for page in resident.raw)


def write_all(fs: FileSystem, fd: int, data: Buffer, offset: int) -> None:
    """Write every byte of `data` at `offset`, however short the single writes are."""
    view = memoryview(data)
    while view:
        written = fs.pwritev(fd, [view], offset)
        view = view[written:]
        offset += written


def file_bytes(fs: FileSystem, path: str) -> int:
    """How large a file is. OSError."""
    fd = fs.open(path, os.O_RDONLY)
    try:
        return fs.size(fd)
    finally:
        fs.close(fd)


def read_file(fs: Reads, path: str, piece: int = 1 << 20) -> bytes:
    """The whole content of a file."""
    fd = fs.open(path, os.O_RDONLY)
    try:
        pieces = []
        offset = 0
        while data := fs.pread(fd, piece, offset):
            pieces.append(data)
            offset += len(data)
        return b"".join(pieces)
    finally:
        fs.close(fd)


_OURS = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS


class Sheet:
    """Bytes in aligned memory, with zeros up to the end of the last block: so that a file of them
    can be written past the page cache, whose pages would cost more than the write. (The file is
    cut to its size; the zeros see to it that nothing of an earlier one is on the disk behind it.)
    """

    def __init__(self, *pieces: Buffer) -> None:
        self._memory = memoryview(bytearray())
        self.size = 0
        self.fill(pieces)

    def fill(self, pieces: Sequence[Buffer]) -> None:
        """With these instead, one behind the other. OSError without memory."""
        self.size = sum(map(len, pieces))
        if len(self._memory) < self._end:
            # Never closed: who was told of a fault may refer to it for a while.
            self._memory = memoryview(mmap.mmap(-1, self._end, flags=_OURS))
        at = 0
        for piece in pieces:
            self._memory[at : at + len(piece)] = piece
            at += len(piece)
        assert at == self.size, "what was counted is what was copied"
        self._memory[at : self._end] = bytes(self._end - at)

    @property
    def _end(self) -> int:
        """Of the last block."""
        return self.size + -self.size % DIRECT_ALIGN

    @property
    def content(self) -> memoryview:
        return self._memory[: self.size]

    @property
    def blocks(self) -> memoryview:
        """With the zeros."""
        return self._memory[: self._end]


def write_file(fs: FileSystem, directory: str, name: str, data: Buffer | Sheet) -> None:
    """Put `name` into `directory` so that after a crash it is there whole or not at all.

    Written to a temporary name, synced, renamed, and the directory synced.
    """
    temporary = f"{directory}/{name}.tmp"
    if not isinstance(data, Sheet):
        _create(fs, temporary, data)
    elif not _create_direct(fs, temporary, data):
        _create(fs, temporary, data.content)
    fs.rename(temporary, f"{directory}/{name}")
    fs.fsync_dir(directory)


_NEW = os.O_WRONLY | os.O_CREAT | os.O_TRUNC


def _create(fs: FileSystem, path: str, data: Buffer) -> None:
    fd = fs.open(path, _NEW)
    try:
        write_all(fs, fd, data, 0)
        fs.fdatasync(fd)
    finally:
        fs.close(fd)


def _create_direct(fs: FileSystem, path: str, data: Sheet) -> bool:
    """The same past the page cache; False: that is not to be had here, and what is there is to be
    written again.
    """
    try:
        fd = fs.open(path, _NEW | os.O_DIRECT)
        try:
            blocks = data.blocks
            for start in range(0, len(blocks), _DIRECT_STEP):
                write_all(fs, fd, blocks[start : start + _DIRECT_STEP], start)
            fs.ftruncate(fd, data.size)
            fs.fdatasync(fd)
        finally:
            fs.close(fd)
    except OSError as fault:
        if fault.errno != errno.EINVAL:
            raise
        return False
    return True
