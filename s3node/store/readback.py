"""Reading a dead segment back: what of it that was answered is on the medium.

A write or a sync that fails says nothing of the syncs before it: the kernel may have lost what
they promised, and may show it all the same. So the segment is walked past the page cache
(`s3node.base.medium`), every byte against its digest, and what is no whole record is told. A
record that is whole is the right one: its header names disk, segment and offset, and a place in a
segment is written once (I3).

Read in steps, each a piece of cold work, so that opening other files on the disk waits for one
step at most. Nothing is written here.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator

from s3node.base.errors import FormatUnknown
from s3node.base.filesystem import FileSystem
from s3node.base.limits import MIB
from s3node.base.medium import Medium
from s3node.store import scan
from s3node.store.limits import SECTOR
from s3node.store.scan import Found, Item

STEP_BYTES = 8 * MIB


class Examination:
    """One segment file, up to `answered`: where what was answered ends."""

    def __init__(
        self, fs: FileSystem, path: str, segment_id: int, disk_id: bytes, answered: int
    ) -> None:
        self.missing: list[tuple[int, int]] = []
        self.reason = ""
        self.error = 0  # the errno of a read that failed
        self._answered = answered
        self._at = SECTOR
        self._items = scan.scan(Medium(fs), path, segment_id, disk_id)

    def step(self) -> bool:
        """Look at some more of it; whether there is more to come. Blocks.

        What cannot be read is missing, and `reason` says why: it may be there.
        """
        try:
            if self._advance(self._items, self._at + STEP_BYTES):
                return True
        except FileNotFoundError:
            self._at = SECTOR  # that is known: nothing of it is there
        except OSError as fault:
            self.error = fault.errno or errno.EIO
            self.reason = f"it cannot be read: {fault.strerror or fault}"
        except FormatUnknown as fault:
            self.reason = str(fault)
        self._skip(self._answered)
        return False

    def close(self) -> None:
        """Let the file go, wherever it was left."""
        self._items.close()

    def _advance(self, items: Iterator[Item], stop: int) -> bool:
        for item in items:
            if isinstance(item, Found) and not item.fault:
                self._skip(min(item.offset, self._answered))
                self._at = item.stop
            if self._at >= stop:
                return True
        return False

    def _skip(self, to: int) -> None:
        if self._at < to:
            self.missing.append((self._at, to))
            self._at = to
