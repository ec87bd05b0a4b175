"""A model of spinning disks: files that lie on the real file system, charged as platters would.

Each disk has one head, which stands where the last access ended. Charged are, per disk:

seek        8 ms (half a turn included) when an access does not begin where the head stands. Within
            a file, forward, the head waits for what lies between to pass where that is sooner.
transfer    bytes at 180 MB/s.
pread       a transfer from its offset. Nothing is cached and nothing read ahead, not even by the
            drive: what was skipped is read again later.
pwritev     nothing: it is buffered. What lies next to each other is merged.
fdatasync   the file's buffered runs in order of their offsets, each a seek and a transfer; then,
            if something is uncommitted that the file needs, a commit of the file system's journal.
fsync_dir   that commit, if the directory has uncommitted changes.
commit      a seek to the file system's journal and 16 KiB (descriptor, blocks of inode, directory
            and bitmap, commit record). The way back is the seek of the next access. There is one
            journal for a disk: a commit takes along all that is uncommitted there, so a second
            sync that waited for the same changes pays none.
open        of a file that is not in memory: 2 seeks, to a block of its directory and to its inode.
            In memory is what was made or opened since `forget`. An archive has too many names for
            all their directories to be there.

Uncommitted changes are those of names (of file and directory), of sizes (a file that grows, room
reserved ahead), and the first write to blocks that were only reserved: ext4 and XFS convert such
an extent, and fdatasync waits for that. `Physics.converts` says whether: where blocks had been
written in a former life, a write within the size is a flush of the data and nothing else.

A file's bytes lie in a row in the order of their offsets, and every two files apart. Not charged,
to nobody: what the file system later moves from its journal to its place, looking up names for
writing, and the turn that a disk waits for when it is given the next sector too late.

Nothing is really synced: the figures are the model's, and the folder is thrown away.
"""

from __future__ import annotations

import os
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from s3node.base.filesystem import Buffer, RealFileSystem

JOURNAL = "the file system's journal"


@dataclass(frozen=True)
class Physics:
    """What is charged."""

    seek_s: float = 0.008
    bytes_per_s: float = 180e6
    lookup_seeks: int = 2
    commit_bytes: int = 16 << 10
    converts: bool = True


@dataclass(frozen=True)
class Sums:
    """What one disk has done."""

    seeks: int = 0
    bytes: int = 0
    busy_s: float = 0.0

    def since(self, before: Sums) -> Sums:
        return Sums(
            self.seeks - before.seeks, self.bytes - before.bytes, self.busy_s - before.busy_s
        )


class Platter:
    """One disk: where its head stands, and what it did."""

    def __init__(self, physics: Physics) -> None:
        self.physics = physics
        self.seeks = 0
        self.bytes = 0
        self.busy_s = 0.0
        self._head: tuple[Hashable, int] | None = None
        self._journal_end = 0

    @property
    def sums(self) -> Sums:
        return Sums(self.seeks, self.bytes, self.busy_s)

    def access(self, file: Hashable, offset: int, length: int) -> None:
        """Read or write so many bytes there."""
        self._move(file, offset)
        self.bytes += length
        self.busy_s += length / self.physics.bytes_per_s
        self._head = (file, offset + length)

    def commit(self) -> None:
        """Of the file system's journal, which is written in a row."""
        self.access(JOURNAL, self._journal_end, self.physics.commit_bytes)
        self._journal_end += self.physics.commit_bytes

    def look_up(self) -> None:
        """A name that is not in memory; where the head stands then is of no use."""
        self.seeks += self.physics.lookup_seeks
        self.busy_s += self.physics.lookup_seeks * self.physics.seek_s
        self._head = None

    def _move(self, file: Hashable, offset: int) -> None:
        if self._head is not None and self._head[0] == file and self._head[1] <= offset:
            passing_s = (offset - self._head[1]) / self.physics.bytes_per_s
            if passing_s < self.physics.seek_s:
                self.busy_s += passing_s
                return
        self.seeks += 1
        self.busy_s += self.physics.seek_s


@dataclass(eq=False)
class _File:
    """A file as the model knows it; `written`: where what was ever written ends."""

    slot: int
    inode: int
    size: int
    written: int
    runs: list[tuple[int, int]] = field(default_factory=list)  # buffered: begin, end

    def buffer(self, begin: int, end: int) -> None:
        """Bytes that are to be flushed; runs that touch become one."""
        merged: list[tuple[int, int]] = []
        for one in sorted([*self.runs, (begin, end)]):
            if merged and one[0] <= merged[-1][1]:
                merged[-1] = (merged[-1][0], max(merged[-1][1], one[1]))
            else:
                merged.append(one)
        self.runs = merged


class SpinningFileSystem(RealFileSystem):
    """The real file system; what is done below one of `disks` is charged to that disk's platter.

    For one thread. What lies elsewhere (the index) is not charged.
    """

    def __init__(self, disks: Sequence[str], physics: Physics) -> None:
        self.platters = [Platter(physics) for _ in disks]
        self._physics = physics
        self._roots = [f"{disk}/" for disk in disks]
        self._uncommitted: list[set[Hashable]] = [set() for _ in disks]
        self._files: dict[int, _File] = {}  # in memory, by inode
        self._open: dict[int, _File] = {}  # by descriptor

    def forget(self) -> None:
        """Names and inodes are no longer in memory: it is long after."""
        for slot, waiting in enumerate(self._uncommitted):
            if waiting:
                self._commit(slot)
        self._files.clear()

    # --- names --------------------------------------------------------------------------------

    def open(self, path: str, flags: int, mode: int = 0o600) -> int:
        there = os.path.lexists(path)
        fd = super().open(path, flags, mode)
        slot = self._slot(path)
        if slot is None:
            return fd
        stat = os.fstat(fd)
        file = self._files.get(stat.st_ino)
        if file is None:
            file = _File(slot, stat.st_ino, stat.st_size, stat.st_size)
            self._files[stat.st_ino] = file
            if there:
                self.platters[slot].look_up()
        if not there:
            self._changed_name(path, file)
        elif flags & os.O_TRUNC:
            self._cut(file, 0)
        self._open[fd] = file
        return fd

    def open_direct(self, path: str) -> int:
        """Through the cache, which the model has none of: not every file system has the other."""
        return self.open(path, os.O_RDONLY)

    def close(self, fd: int) -> None:
        self._open.pop(fd, None)
        super().close(fd)

    def rename(self, source: str, target: str) -> None:
        super().rename(source, target)
        self._changed_name(source)
        self._changed_name(target, self._files.get(Path(target).stat().st_ino))

    def unlink(self, path: str) -> None:
        inode = Path(path).stat().st_ino
        super().unlink(path)
        self._changed_name(path)
        self._files.pop(inode, None)

    def mkdir(self, path: str, mode: int = 0o700) -> None:
        super().mkdir(path, mode)
        self._changed_name(path)
        slot = self._slot(path)
        if slot is not None:
            self._uncommitted[slot].add(path)

    def _changed_name(self, path: str, file: _File | None = None) -> None:
        slot = self._slot(path)
        if slot is not None:
            self._uncommitted[slot].add(path.rpartition("/")[0])
        if file is not None:
            self._changed(file)

    def _slot(self, path: str) -> int | None:
        return next((n for n, root in enumerate(self._roots) if path.startswith(root)), None)

    # --- bytes --------------------------------------------------------------------------------

    def pread(self, fd: int, length: int, offset: int) -> bytes:
        data = super().pread(fd, length, offset)
        file = self._open.get(fd)
        if file is not None and data:
            self.platters[file.slot].access(file.inode, offset, len(data))
        return data

    def pread_direct(self, fd: int, length: int, offset: int) -> bytes:
        return self.pread(fd, length, offset)

    def pwritev(self, fd: int, buffers: Sequence[Buffer], offset: int) -> int:
        count = super().pwritev(fd, buffers, offset)
        file = self._open.get(fd)
        if file is not None and count:
            end = offset + count
            file.buffer(offset, end)
            if end > file.size or (end > file.written and self._physics.converts):
                self._changed(file)
            file.size = max(file.size, end)
            file.written = max(file.written, end)
        return count

    def fallocate(self, fd: int, offset: int, length: int) -> None:
        super().fallocate(fd, offset, length)
        file = self._open.get(fd)
        if file is not None and offset + length > file.size:
            file.size = offset + length
            self._changed(file)

    def ftruncate(self, fd: int, length: int) -> None:
        super().ftruncate(fd, length)
        file = self._open.get(fd)
        if file is not None:
            self._cut(file, length)

    def _cut(self, file: _File, length: int) -> None:
        file.size = length
        file.written = min(file.written, length)
        file.runs = [(begin, min(end, length)) for begin, end in file.runs if begin < length]
        self._changed(file)

    # --- durability ---------------------------------------------------------------------------

    def fdatasync(self, fd: int) -> None:
        file = self._open.get(fd)
        if file is None:
            return
        for begin, end in file.runs:
            self.platters[file.slot].access(file.inode, begin, end - begin)
        file.runs = []
        if file.inode in self._uncommitted[file.slot]:
            self._commit(file.slot)

    def fsync_dir(self, path: str) -> None:
        slot = self._slot(f"{path}/")
        if slot is not None and path in self._uncommitted[slot]:
            self._commit(slot)

    def _changed(self, file: _File) -> None:
        self._uncommitted[file.slot].add(file.inode)

    def _commit(self, slot: int) -> None:
        self.platters[slot].commit()
        self._uncommitted[slot].clear()
