"""Faults on real files: a `FileSystem` and a table of C calls that fail when they are told to.

`Faults` decides; `FaultyFileSystem` and `faulty_calls` ask it before every call on a file. The
simulated file system has the same methods of its own.
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Sequence
from typing import Any

from s3node.base.filesystem import Buffer, RealFileSystem

Where = Callable[[str], bool]


def everywhere(path: str) -> bool:
    return True


class Faults:
    """What fails, where; thread-safe, for engines call from their threads."""

    def __init__(self) -> None:
        self.short_bytes = 0  # no write is longer than this; 0: no limit
        self._failing: dict[str, tuple[int, Where]] = {}
        self._fail_at: tuple[int, int] | None = None
        self._held: dict[str, tuple[threading.Event, Where]] = {}
        self._lock = threading.Lock()
        self.calls = 0
        self.entered: dict[str, threading.Event] = {}
        self.touched: list[tuple[str, str]] = []

    def fail(self, call: str, number: int, where: Where = everywhere) -> None:
        self._failing[call] = (number, where)

    def fail_at(self, nth: int, number: int = errno.EIO) -> None:
        """The `nth` call from now (1 is the next) fails, once."""
        self._fail_at = (self.calls + nth, number)

    def hold(self, call: str, where: Where = everywhere) -> None:
        """Calls of that name there wait, having set `entered[call]`, until `release`."""
        self.entered[call] = threading.Event()
        self._held[call] = (threading.Event(), where)

    def let_go(self, call: str) -> None:
        """Calls that wait go on; later ones wait as before."""
        event, where = self._held[call]
        self.hold(call, where)
        event.set()

    def release(self, call: str) -> None:
        self._held.pop(call)[0].set()

    def heal(self) -> None:
        self._failing.clear()
        self._fail_at = None
        self.short_bytes = 0

    def active(self, call: str) -> bool:
        """Whether any call of that name may go wrong."""
        return self._fail_at is not None or call in self._failing or call in self._held

    def error(self, call: str, path: str) -> int:
        """The errno this call is to fail with; 0 for none."""
        with self._lock:
            self.calls += 1
            self.touched.append((call, path))
            nth = self._fail_at
            if nth and self.calls == nth[0]:
                return nth[1]
        held = self._held.get(call)
        if held is not None and held[1](path):
            self.entered[call].set()
            assert held[0].wait(240), "held for too long"
        number, where = self._failing.get(call, (0, everywhere))
        return number if where(path) else 0


def path_of(fd: int) -> str:
    return os.readlink(f"/proc/self/fd/{fd}")


class FaultyFileSystem(RealFileSystem):
    def __init__(self, faults: Faults) -> None:
        self.faults = faults

    def _check(self, call: str, path: str) -> None:
        number = self.faults.error(call, path)
        if number:
            raise OSError(number, os.strerror(number), path)

    def open(self, path: str, flags: int, mode: int = 0o600) -> int:
        self._check("open", path)
        return super().open(path, flags, mode)

    def pwritev(self, fd: int, buffers: Sequence[Buffer], offset: int) -> int:
        self._check("pwritev", path_of(fd))
        limit = self.faults.short_bytes
        if limit:
            buffers = [memoryview(b"".join(bytes(one) for one in buffers))[:limit]]
        return super().pwritev(fd, buffers, offset)

    def pread(self, fd: int, length: int, offset: int) -> bytes:
        self._check("pread", path_of(fd))
        return super().pread(fd, length, offset)

    def open_direct(self, path: str) -> int:
        self._check("open_direct", path)
        return super().open_direct(path)

    def pread_direct(self, fd: int, length: int, offset: int) -> bytes:
        self._check("pread", path_of(fd))
        return super().pread_direct(fd, length, offset)

    def drop_cache(self, fd: int) -> bool:
        self._check("drop_cache", path_of(fd))
        return super().drop_cache(fd)

    def fdatasync(self, fd: int) -> None:
        self._check("fdatasync", path_of(fd))
        super().fdatasync(fd)

    def fallocate(self, fd: int, offset: int, length: int) -> None:
        self._check("fallocate", path_of(fd))
        super().fallocate(fd, offset, length)

    def fsync_dir(self, path: str) -> None:
        self._check("fsync_dir", path)
        super().fsync_dir(path)

    def ftruncate(self, fd: int, length: int) -> None:
        self._check("ftruncate", path_of(fd))
        super().ftruncate(fd, length)


def faulty_calls(faults: Faults) -> Any:
    """The C engine's table of calls, asking `faults` first; keep it as long as the engine."""
    from s3node.store._engine import ffi, lib

    system = ffi.new("engine_calls *")
    lib.engine_system_calls(system)
    calls = ffi.new("engine_calls *")
    lib.engine_system_calls(calls)

    def pwritev(fd: int, iov: Any, count: int, offset: int) -> int:
        number = faults.error("pwritev", path_of(fd))
        if number:
            return -number
        limit = faults.short_bytes
        if limit and iov[0].length > 0:
            first = ffi.new("engine_iov *", (iov[0].base, min(limit, iov[0].length)))
            return int(system.pwritev(fd, first, 1, offset))
        return int(system.pwritev(fd, iov, count, offset))

    def preadv(fd: int, iov: Any, count: int, offset: int, now: bool) -> int:
        if now and faults.active("pread"):
            return -errno.EAGAIN  # a disk with faults is asked, and not the memory
        number = 0 if now else faults.error("pread", path_of(fd))
        return -number or int(system.preadv(fd, iov, count, offset, now))

    def fdatasync(fd: int) -> int:
        return -faults.error("fdatasync", path_of(fd)) or int(system.fdatasync(fd))

    def fallocate(fd: int, offset: int, length: int) -> int:
        number = faults.error("fallocate", path_of(fd))
        return -number or int(system.fallocate(fd, offset, length))

    def wake(fd: int) -> int:
        return -faults.error("wake", "") or int(system.wake(fd))

    def spawn(thread: Any, body: Any, argument: Any) -> int:
        return -faults.error("spawn", "") or int(system.spawn(thread, body, argument))

    def allocate(size: int) -> Any:
        return ffi.NULL if faults.error("allocate", "") else system.allocate(size)

    replaced = {
        "pwritev": ("int64_t(int, const engine_iov *, int, int64_t)", pwritev),
        "preadv": ("int64_t(int, const engine_iov *, int, int64_t, bool)", preadv),
        "fdatasync": ("int(int)", fdatasync),
        "fallocate": ("int(int, int64_t, int64_t)", fallocate),
        "wake": ("int(int)", wake),
        "spawn": ("int(void *, void *(*)(void *), void *)", spawn),
        "allocate": ("void *(size_t)", allocate),
    }
    kept = []
    for name, (signature, function) in replaced.items():
        callback = ffi.callback(signature, function)
        setattr(calls, name, callback)
        kept.append(callback)
    _KEPT[calls] = kept
    return calls


_KEPT: dict[Any, list[Any]] = {}
