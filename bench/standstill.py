"""How long the disk under a server answered nothing of what it was asked, from sysfs.

A disk that stands still stops whoever waits for its syncs, and nobody else: what a figure of ours
was measured with can only be told when this is told beside it. (The disk of a virtual machine is
its host's, and busy with others.)

Source: Documentation/block/stat.rst of Linux.
"""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

STILL_S = 0.01
"""Answers further apart than this while something is asked are a standstill: a sync of many writes
takes less."""

SAMPLE_S = 0.003

_UNDER_WAY = 8
_DONE = (0, 4, 11, 15)  # reads, writes, discards, flushes


class Standstill:
    """Sums up samples of one disk, in the order of their times."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._done = -1
        self._moved = 0.0  # when it answered last, or was asked nothing

    def see(self, now: float, done: int, under_way: int) -> None:
        """So many requests have been answered so far; so many have not."""
        if done == self._done and under_way:
            return
        if done != self._done and self._done >= 0 and now - self._moved >= STILL_S:
            self.seconds += now - self._moved
        self._done, self._moved = done, now


class DiskWatch:
    """`with DiskWatch(folder) as watch:`: seconds of standstills that ended in between, of the disk
    that the folder is on. None where there is no disk, or no folder: a server elsewhere.
    """

    def __init__(self, folder: Path | None) -> None:
        self._stat = None if folder is None else _stat_of(folder)
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._seen = Standstill()

    @property
    def seconds(self) -> float | None:
        return None if self._stat is None else self._seen.seconds

    def __enter__(self) -> DiskWatch:
        if self._stat is not None:
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._stat is not None:
            self._end.set()
            self._thread.join()

    def _sample(self) -> None:
        assert self._stat is not None
        while not self._end.wait(SAMPLE_S):
            words = [int(word) for word in self._stat.read_text().split()]
            done = sum(words[at] for at in _DONE if at < len(words))
            self._seen.see(time.monotonic(), done, words[_UNDER_WAY])


def _stat_of(folder: Path) -> Path | None:
    device = folder.stat().st_dev
    found = Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}/stat")
    return found if found.exists() else None
