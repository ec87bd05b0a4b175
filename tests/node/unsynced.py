"""What a power cut may take from real files: everything not yet synced, undone in place.

Told of every call of a process on files below one root, as it enters and as it returns, it keeps
what each change replaced until a sync that began after the change has returned. `cut` then gives
the files a state that a power cut may leave:

- of each sector (512 bytes) of a file, the content at its last sync or the present one;
- of each file's size, likewise;
- of each name in a directory, what it was after any of the changes since the directory's sync.

Stricter than any one file system: names come only with the directory's own fsync. The process
must be dead by then; what is left counts as being on the platter.
"""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

SECTOR_BYTES = 512
MODES = ("all", "each", "torn", "none")
"""What is lost of a disk: everything unsynced, each sector or not, the end of it, nothing."""


@dataclass
class Change:
    """One call; `done` is its place in the order of returns, None while it is under way."""

    done: int | None = None

    def before(self, moment: int) -> bool:
        return self.done is not None and self.done <= moment


@dataclass
class FileState:
    fd: int  # our own
    synced_size: int
    changes: list[Change] = field(default_factory=list)
    sectors: dict[int, list[tuple[Change, bytes]]] = field(default_factory=dict)

    def synced(self, moment: int, size: int) -> None:
        self.synced_size = size
        self.changes = [one for one in self.changes if not one.before(moment)]
        for number in list(self.sectors):
            left = [one for one in self.sectors[number] if not one[0].before(moment)]
            if left:
                self.sectors[number] = left
            else:
                del self.sectors[number]


@dataclass
class Renaming:
    """A change of a directory: the names it concerns and how to undo it."""

    kind: str
    change: Change
    names: tuple[str, ...]
    undo: Callable[[], None]


class Unsynced:
    def __init__(self, root: Path, stash: Path) -> None:
        """`stash`, on the same file system, keeps what was unlinked or replaced."""
        self.root, self.stash = root, stash
        self._files: dict[tuple[int, int], FileState] = {}
        self._directories: dict[str, list[Renaming]] = {}
        self._moment = 0
        self._stashed = 0

    # --- changes, as they enter -----------------------------------------------------------------

    def finish(self, change: Change) -> None:
        """The call returned."""
        self._moment += 1
        change.done = self._moment

    def _file(self, path: str) -> FileState:
        fd = os.open(path, os.O_RDWR)
        stat = os.fstat(fd)
        key = (stat.st_dev, stat.st_ino)
        if key in self._files:
            os.close(fd)
        else:
            self._files[key] = FileState(fd, stat.st_size)
        return self._files[key]

    def written(self, path: str, offset: int, length: int) -> Change:
        """Bytes from `offset` on are replaced; `path` may be one of /proc."""
        change = Change()
        file = self._file(path)
        if not file.changes:
            file.synced_size = os.fstat(file.fd).st_size
        file.changes.append(change)
        first, last = offset // SECTOR_BYTES, (offset + length + SECTOR_BYTES - 1) // SECTOR_BYTES
        old = os.pread(file.fd, (last - first) * SECTOR_BYTES, first * SECTOR_BYTES)
        for number in range(first, last):
            at = (number - first) * SECTOR_BYTES
            piece = old[at : at + SECTOR_BYTES].ljust(SECTOR_BYTES, b"\0")
            file.sectors.setdefault(number, []).append((change, piece))
        return change

    def resized(self, path: str, size: int) -> Change:
        now = os.stat(path).st_size
        return self.written(path, min(size, now), max(0, now - size))

    def created(self, path: str) -> Change:
        return self._name("creation of", (path,), lambda: _remove(path))

    def made_directory(self, path: str) -> Change:
        undo = partial(shutil.rmtree, path, ignore_errors=True)
        return self._name("directory", (path,), undo)

    def unlinked(self, path: str) -> Change:
        kept = self._keep(path)
        return self._name("removal of", (path,), lambda: _put_back(kept, path))

    def renamed(self, source: str, target: str) -> Change:
        kept = self._keep(target) if os.path.lexists(target) else None

        def undo() -> None:
            if os.path.lexists(target):
                os.rename(target, source)
            if kept is not None:
                _put_back(kept, target)

        return self._name("rename", (target, source), undo)

    def _keep(self, path: str) -> Path:
        self._stashed += 1
        kept = self.stash / str(self._stashed)
        if os.path.lexists(path):
            os.link(path, kept)
        return kept

    def _name(self, kind: str, names: tuple[str, ...], undo: Callable[[], None]) -> Change:
        change = Change()
        ops = self._directories.setdefault(os.path.dirname(names[0]), [])
        ops.append(Renaming(kind, change, names, undo))
        return change

    # --- syncs ----------------------------------------------------------------------------------

    def sync(self, path: str) -> Callable[[], None]:
        """A sync of a file or a directory enters; call the answer when it returned well."""
        moment = self._moment
        real = os.path.realpath(path)
        if os.path.isdir(path):

            def directory_synced() -> None:
                ops = self._directories.get(real, [])
                self._directories[real] = [one for one in ops if not one.change.before(moment)]

            return directory_synced
        file = self._file(path)
        size = os.fstat(file.fd).st_size
        return lambda: file.synced(moment, size)

    # --- the cut --------------------------------------------------------------------------------

    def cut(self, chance: random.Random, mode_of: Callable[[str], str]) -> list[str]:
        """Lose by `mode_of` the path; what was lost, in words."""
        lost = []
        for file in self._files.values():
            path = os.readlink(f"/proc/self/fd/{file.fd}")
            sectors = _cut_file(file, chance, mode_of(path))
            if sectors:
                lost.append(f"{sectors} sectors of {path}")
        for directory, ops in self._directories.items():
            for group in _groups(ops):
                keep = _kept(len(group), chance, mode_of(directory))
                for one in reversed(group[keep:]):
                    one.undo()
                    lost.append(f"{one.kind} {' '.join(one.names)}")
        self.forget()
        return lost

    def forget(self) -> None:
        """As it is now it is on the platter."""
        for file in self._files.values():
            os.close(file.fd)
        self._files.clear()
        self._directories.clear()
        shutil.rmtree(self.stash, ignore_errors=True)
        self.stash.mkdir()


def _remove(path: str) -> None:
    if os.path.lexists(path):
        os.unlink(path)


def _put_back(kept: Path, path: str) -> None:
    if kept.exists():
        _remove(path)
        os.link(kept, path)


def _groups(ops: Iterable[Renaming]) -> list[list[Renaming]]:
    """Changes that share names stay in order; others may be lost without each other."""
    groups: list[tuple[set[str], list[Renaming]]] = []
    for op in ops:
        names, joined = set(op.names), [op]
        for group in [one for one in groups if one[0] & names]:
            groups.remove(group)
            names |= group[0]
            joined = group[1] + joined
        groups.append((names, joined))
    return [joined for _, joined in groups]


def _kept(count: int, chance: random.Random, mode: str) -> int:
    if mode in ("all", "none"):
        return 0 if mode == "all" else count
    return chance.randint(0, count)


def _cut_file(file: FileState, chance: random.Random, mode: str) -> int:
    """Give the sectors that are lost what they had at the last sync."""
    if mode == "none" or not file.changes:
        return 0
    now = os.fstat(file.fd).st_size
    numbers = list(file.sectors)  # in the order of writing
    kept = numbers[: _kept(len(numbers), chance, mode)]
    if mode == "each":
        kept = [number for number in numbers if chance.random() < 0.5]
    size = file.synced_size if mode == "all" else chance.choice([file.synced_size, now])
    if size > now:  # a cut of the file is lost, so what it took is there again
        kept = [number for number in kept if (number + 1) * SECTOR_BYTES <= now]
    gone = [number for number in numbers if number not in set(kept)]
    for number in gone:
        os.pwrite(file.fd, file.sectors[number][0][1], number * SECTOR_BYTES)
    os.ftruncate(file.fd, size)
    return len(gone) + (size != now)
