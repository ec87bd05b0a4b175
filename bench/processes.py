"""What a process and everything it started cost, from /proc.

CPU time is of the processes alone: what the kernel does later on its own (writing back what was
not synced) is in nobody's account.
"""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
SAMPLE_S = 0.1


def tree(pid: int) -> list[int]:
    """`pid` and its descendants that live."""
    found = [pid]
    for parent in found:
        for task in Path(f"/proc/{parent}/task").glob("*/children"):
            found += [int(child) for child in _text(task).split()]
    return found


def cpu_seconds(pid: int) -> float:
    """User and system time of the tree so far, with that of children already waited for."""
    ticks = 0
    for member in tree(pid):
        fields = _text(Path(f"/proc/{member}/stat")).rpartition(")")[2].split()
        ticks += sum(map(int, fields[11:15]))
    return ticks / _TICKS


def cpu_by_thread(pid: int) -> dict[tuple[int, int], tuple[str, float]]:
    """(process, thread) -> what it is called, and its seconds of CPU so far; of the whole tree.

    A process is called by the first word of its command that is no path and no option, a thread
    by whether it is the one that runs Python's loop.
    """
    found = {}
    for member in tree(pid):
        for task in Path(f"/proc/{member}/task").glob("*"):
            fields = _text(task / "stat").rpartition(")")[2].split()
            if fields:
                kind = "main thread" if int(task.name) == member else "other threads"
                spent = sum(map(int, fields[11:13])) / _TICKS
                found[member, int(task.name)] = f"{_called(member)}, {kind}", spent
    return found


def _called(pid: int) -> str:
    name = _text(Path(f"/proc/{pid}/comm")).strip()
    if name.startswith("s3node-"):  # the engine or an edge
        return name
    words = _text(Path(f"/proc/{pid}/cmdline")).split("\0")
    named = [word for word in words[1:] if word.isalpha() and word != "s3node"]
    return named[0] if named else "?"


def _text(path: Path) -> str:
    """Empty when the process has just ended."""
    try:
        return path.read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""


@dataclass(frozen=True)
class Memory:
    """Resident bytes of a tree. Pages that several processes share count once for each."""

    anonymous: int = 0
    file: int = 0
    shared: int = 0  # of shared memory, tmpfs and shared anonymous maps

    @property
    def total(self) -> int:
        return self.anonymous + self.file + self.shared


def memory(pid: int) -> Memory:
    sums = {"RssAnon": 0, "RssFile": 0, "RssShmem": 0}
    for member in tree(pid):
        for line in _text(Path(f"/proc/{member}/status")).splitlines():
            name, _, value = line.partition(":")
            if name in sums:
                sums[name] += int(value.split()[0]) * 1024
    return Memory(sums["RssAnon"], sums["RssFile"], sums["RssShmem"])


class Watch:
    """`with Watch(pid) as watch:`: CPU seconds of the tree in between, and its peak memory.

    Without a pid (a server elsewhere) both stay None. `peak_anonymous` is a peak of its own: it
    need not be when all memory together was at its highest.
    """

    def __init__(self, pid: int | None) -> None:
        self._pid = pid
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self.cpu: float | None = None
        self.peak: Memory | None = None
        self.peak_anonymous = 0

    def __enter__(self) -> Watch:
        if self._pid is not None:
            self._before = cpu_seconds(self._pid)
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._pid is not None:
            self.cpu = cpu_seconds(self._pid) - self._before
            self._end.set()
            self._thread.join()

    def _sample(self) -> None:
        assert self._pid is not None
        while True:
            now = memory(self._pid)
            if self.peak is None or now.total > self.peak.total:
                self.peak = now
            self.peak_anonymous = max(self.peak_anonymous, now.anonymous)
            if self._end.wait(SAMPLE_S):
                return
