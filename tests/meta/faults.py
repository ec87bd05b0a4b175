"""A real file system that stops at the n-th changing call, as a crash would."""

from __future__ import annotations

from typing import Any

from s3node.base.filesystem import RealFileSystem

CHANGING = {"pwritev", "fdatasync", "fsync_dir", "rename", "unlink", "mkdir", "ftruncate"}


class Crashed(BaseException):
    """Not an Exception: nobody may handle it."""


class CrashAfter:
    def __init__(self, calls: int) -> None:
        self._left = calls
        self._real = RealFileSystem()

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._real, name)
        if name not in CHANGING:
            return method

        def call(*arguments: Any) -> Any:
            self._left -= 1
            if self._left == 0:
                if name == "pwritev":  # a torn write
                    fd, buffers, offset = arguments
                    half = bytes(buffers[0])[: len(buffers[0]) // 2]
                    method(fd, [half], offset)
                raise Crashed(name)
            return method(*arguments)

        return call
