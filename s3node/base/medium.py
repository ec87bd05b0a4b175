"""Reading what lies on the medium, where the page cache may hold something else.

After a failed sync the kernel takes the pages that it could not write for clean: what is read may
be the new content, which a power cut takes, or the old (Rebello et al., USENIX ATC 2020). So what
was answered before is read past the cache (O_DIRECT). Where a file system has no such reads, its
cached pages are dropped first, and if one of them stays, as dirty ones do, nothing is read:
OSError(EBUSY), and the caller knows nothing of the medium.

Where both work the cache is left alone: it may hold the last good copy of what the medium lost.
"""

from __future__ import annotations

import errno
import os

from s3node.base.filesystem import FileSystem

_NO_SUCH_READS = {errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS}


class Medium:
    """`Reads` past the page cache of a file system."""

    def __init__(self, fs: FileSystem) -> None:
        self._fs = fs
        self._direct: set[int] = set()

    def open(self, path: str, flags: int, mode: int = 0o600) -> int:
        """OSError(EBUSY) where the page cache can neither be passed by nor be dropped."""
        assert flags == os.O_RDONLY, "the medium is only read"
        try:
            fd = self._fs.open_direct(path)
        except OSError as error:
            if error.errno not in _NO_SUCH_READS:
                raise
            return self._open_dropped(path)
        self._direct.add(fd)
        return fd

    def _open_dropped(self, path: str) -> int:
        fd = self._fs.open(path, os.O_RDONLY)
        try:
            if self._fs.drop_cache(fd):
                return fd
            raise OSError(errno.EBUSY, "pages stay in the cache", path)
        except OSError:
            self._fs.close(fd)
            raise

    def close(self, fd: int) -> None:
        self._direct.discard(fd)
        self._fs.close(fd)

    def pread(self, fd: int, length: int, offset: int) -> bytes:
        read = self._fs.pread_direct if fd in self._direct else self._fs.pread
        return read(fd, length, offset)

    def size(self, fd: int) -> int:
        return self._fs.size(fd)
