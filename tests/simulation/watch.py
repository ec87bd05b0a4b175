"""Every call of a file system, seen by others: for the trace, and for power cuts in between.

The trace is a hash over each call, its arguments and its outcome, and whatever else is told to it
(answers to clients). Two runs that did the same have the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import xxhash

from tests.simulation.filesystem import SimulatedFileSystem

CHANGING = {
    "open",
    "pwritev",
    "fdatasync",
    "fsync_dir",
    "ftruncate",
    "fallocate",
    "rename",
    "unlink",
    "mkdir",
}


class Trace:
    """A hash of all that happened, in order; without `kept` nothing is."""

    def __init__(self, *, kept: bool = True) -> None:
        self._hasher = xxhash.xxh3_128()
        self.kept = kept
        self.events = 0

    def tell(self, *what: object) -> None:
        self.events += 1
        if self.kept:
            self._take(what)

    def _take(self, what: Sequence[object]) -> None:
        for one in what:
            if isinstance(one, list | tuple):
                self._take(one)
            elif isinstance(one, bytes | bytearray | memoryview):
                self._hasher.update(one)
            else:
                self._hasher.update(repr(one).encode())
            self._hasher.update(b"\0")

    def digest(self) -> str:
        return self._hasher.hexdigest()


class WatchedFileSystem:
    """A `FileSystem` over a simulated one; `before` is called before every changing call."""

    def __init__(
        self, fs: SimulatedFileSystem, trace: Trace, before: Callable[[str], None] | None = None
    ) -> None:
        self.fs, self.trace, self.before = fs, trace, before

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.fs, name)

        def call(*arguments: Any) -> Any:
            if self.before is not None and name in CHANGING:
                self.before(name)
            try:
                result = method(*arguments)
            except OSError as error:
                self.trace.tell(name, arguments, error.errno)
                raise
            self.trace.tell(name, arguments, result)
            return result

        self.__dict__[name] = call  # found at once the next time
        return call
