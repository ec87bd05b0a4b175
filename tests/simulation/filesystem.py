"""A file system in memory that keeps apart what is on the platter and what is not.

State: every file has its content as processes see it and as the platter has it; they differ in
sectors written since the last successful sync. Every directory has its names as seen and as on
the platter; they differ by the changes since its last fsync.

`crashed(fates)` is what is found after the power went: each unsynced sector new, old or torn, the
file's size old or new, each unsynced change of a name there or not (a rename wholly); `unsynced`
lists what there is to lose. Sectors whose sync failed are never made durable by a later sync: the
kernel took them for clean. What processes then read is up to `failed_sync` (Rebello et al., USENIX
ATC 2020, found all four in use).

`pread_direct` and `drop_cache` look past such sectors in memory to the platter; a dirty one stays
in the cache, and is written before a direct read.

Faults: `fail_at(n, errno)` makes the n-th call from now fail, `fail(call, errno)` every call of
one name until `heal()`, `capacity` bytes give ENOSPC, `read_only` EROFS, `short` makes writes
short. Nothing here reads a clock or an own random source.
"""

from __future__ import annotations

import copy
import errno
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from random import Random

import xxhash

from s3node.base.filesystem import DIRECT_ALIGN, Buffer, Usage
from tests.simulation.fates import (
    ChosenFates,
    Fates,
    RandomFates,
    Unsynced,
    crashed_content,
    gather,
)
from tests.simulation.files import SECTOR, Change, Directory, FailedSync, File, Node

UNLIMITED = 1 << 40


@dataclass
class Descriptor:
    node: Node
    path: str
    writable: bool
    direct: bool


def fault(number: int, path: str = "") -> OSError:
    return OSError(number, os.strerror(number), path)


@lru_cache(1 << 16)
def _parts(path: str) -> tuple[str, ...]:
    """The names in a path; of the root none, told as one that is empty."""
    return tuple(filter(None, path.split("/"))) or ("",)


class SimulatedFileSystem:
    def __init__(self, capacity: int = UNLIMITED) -> None:
        self.root = Directory()
        self.capacity = capacity
        self.read_only = False
        self.short: Random | None = None
        self.failed_sync = FailedSync.NEW_IN_CACHE
        self.direct = True  # whether its cache can be passed by
        self.gone: set[str] = set()  # first parts of paths: the device does not answer
        self.calls = 0
        self.trace: list[str] = []
        self._descriptors: dict[int, Descriptor] = {}
        self._next_fd = 1000
        self._fail_at: tuple[int, int] | None = None
        self._failing: dict[str, tuple[int, Callable[[str], bool]]] = {}

    # ---- faults

    def fail_at(self, nth: int, number: int = errno.EIO) -> None:
        """The `nth` call from now (1 is the next) fails, once."""
        self._fail_at = (self.calls + nth, number)

    def fail(
        self, call: str, number: int, where: Callable[[str], bool] = lambda path: True
    ) -> None:
        """Every such call on a path that `where` accepts fails until `heal`."""
        self._failing[call] = (number, where)

    def heal(self) -> None:
        self._failing.clear()
        self._fail_at = None
        self.read_only = False

    def damage(self, path: str, offset: int, content: bytes) -> None:
        """What a disk does by itself: bytes on the platter change, and nobody is told."""
        file = self._find(path)
        assert isinstance(file, File), "damage is done to files"
        for held in (file.seen, file.platter):
            held[offset : offset + len(content)] = content[: max(0, len(held) - offset)]

    def content(self, path: str) -> bytes:
        """What a file holds, for those who watch: no call is made."""
        file = self._find(path)
        assert isinstance(file, File), "files have content"
        return bytes(file.seen)

    def files(self, path: str) -> list[str]:
        """Every file below a directory."""
        found: list[str] = []
        for name, child in sorted(self._directory(path).seen.items()):
            inner = f"{path}/{name}"
            found += self.files(inner) if isinstance(child, Directory) else [inner]
        return found

    def open_descriptors(self) -> int:
        return len(self._descriptors)

    def _call(self, name: str, path: str) -> None:
        self.calls += 1
        self.trace.append(f"{name} {path}")
        if self.gone and name != "close" and self._is_gone(path):
            raise fault(errno.ENXIO, path)
        if self._fail_at and self.calls == self._fail_at[0]:
            raise fault(self._fail_at[1], path)
        if name in self._failing and self._failing[name][1](path):
            raise fault(self._failing[name][0], path)

    def _is_gone(self, path: str) -> bool:
        return "" in self.gone or f"/{_parts(path)[0]}" in self.gone

    # ---- names

    def _parent(self, path: str) -> tuple[Directory, str]:
        parts = _parts(path)
        here = self.root
        for part in parts[:-1]:
            found = here.seen.get(part)
            if found is None:
                raise fault(errno.ENOENT, path)
            if not isinstance(found, Directory):
                raise fault(errno.ENOTDIR, path)
            here = found
        return here, parts[-1]

    def _find(self, path: str) -> Node:
        parent, name = self._parent(path)
        if not name:
            return self.root
        if name not in parent.seen:
            raise fault(errno.ENOENT, path)
        return parent.seen[name]

    def _directory(self, path: str) -> Directory:
        found = self._find(path)
        if not isinstance(found, Directory):
            raise fault(errno.ENOTDIR, path)
        return found

    def _change(self, where: Directory, *names: tuple[str, Node | None]) -> None:
        for name, node in names:
            if node is None:
                where.seen.pop(name, None)
            else:
                where.seen[name] = node
        where.pending.append(Change(names))

    def _may_write(self, path: str) -> None:
        if self.read_only:
            raise fault(errno.EROFS, path)

    def open(self, path: str, flags: int, mode: int = 0o600) -> int:
        self._call("open", path)
        if flags & os.O_DIRECT and not self.direct:
            raise fault(errno.EINVAL, path)
        parent, name = self._parent(path)
        node = parent.seen.get(name) if name else self.root
        writable = flags & (os.O_WRONLY | os.O_RDWR) != 0
        if writable or (flags & os.O_CREAT and node is None):
            self._may_write(path)
        if node is None:
            if not flags & os.O_CREAT:
                raise fault(errno.ENOENT, path)
            node = File()
            self._change(parent, (name, node))
        elif flags & os.O_CREAT and flags & os.O_EXCL:
            raise fault(errno.EEXIST, path)
        if isinstance(node, Directory) and writable:
            raise fault(errno.EISDIR, path)
        if isinstance(node, File) and node.evicts:
            self._revert(node)
        if isinstance(node, File) and flags & os.O_TRUNC:
            self._truncate(node, 0)
        self._next_fd += 1
        direct = flags & os.O_DIRECT != 0
        self._descriptors[self._next_fd] = Descriptor(node, path, writable, direct)
        return self._next_fd

    def close(self, fd: int) -> None:
        descriptor = self._descriptors.pop(fd, None)
        if descriptor is None:
            raise fault(errno.EBADF)
        self._call("close", descriptor.path)
        if isinstance(descriptor.node, File) and descriptor.node.locked_by == fd:
            descriptor.node.locked_by = -1

    def rename(self, source: str, target: str) -> None:
        self._call("rename", target)
        self._may_write(target)
        from_directory, from_name = self._parent(source)
        to_directory, to_name = self._parent(target)
        node = self._find(source)
        if from_directory is to_directory:
            self._change(from_directory, (from_name, None), (to_name, node))
        else:
            self._change(to_directory, (to_name, node))
            self._change(from_directory, (from_name, None))

    def unlink(self, path: str) -> None:
        self._call("unlink", path)
        self._may_write(path)
        parent, name = self._parent(path)
        if isinstance(self._find(path), Directory):
            raise fault(errno.EISDIR, path)
        self._change(parent, (name, None))

    def mkdir(self, path: str, mode: int = 0o700) -> None:
        self._call("mkdir", path)
        self._may_write(path)
        parent, name = self._parent(path)
        if name in parent.seen or not name:
            raise fault(errno.EEXIST, path)
        self._change(parent, (name, Directory()))

    def listdir(self, path: str) -> list[str]:
        self._call("listdir", path)
        return sorted(self._directory(path).seen)

    def exists(self, path: str) -> bool:
        try:
            self._call("exists", path)
            self._find(path)
        except OSError:
            return False
        return True

    def fsync_dir(self, path: str) -> None:
        self._call("fsync_dir", path)
        directory = self._directory(path)
        directory.platter = dict(directory.seen)
        directory.pending.clear()

    def is_mount(self, path: str) -> bool:
        self._call("is_mount", path)
        return False

    # ---- content

    def _descriptor(self, fd: int, writing: bool = False) -> tuple[File, str]:
        descriptor = self._descriptors.get(fd)
        if descriptor is None or (writing and not descriptor.writable):
            raise fault(errno.EBADF)
        if not isinstance(descriptor.node, File):
            raise fault(errno.EISDIR)
        return descriptor.node, descriptor.path

    def pwritev(self, fd: int, buffers: Sequence[Buffer], offset: int) -> int:
        file, path = self._descriptor(fd, writing=True)
        self._call("pwritev", path)
        self._may_write(path)
        data = b"".join(bytes(buffer) for buffer in buffers)
        if self._descriptors[fd].direct and (offset % DIRECT_ALIGN or len(data) % DIRECT_ALIGN):
            raise fault(errno.EINVAL, path)
        if self.short and len(data) > 1:
            data = data[: self.short.randrange(1, len(data) + 1)]
        if self.capacity < UNLIMITED:
            room = self.capacity - self._used() + len(file.seen)
            data = data[: max(0, room - offset)]
        if not data:
            raise fault(errno.ENOSPC, path)
        self._extend(file, offset + len(data))
        file.seen[offset : offset + len(data)] = data
        touched = range(offset // SECTOR, (offset + len(data) - 1) // SECTOR + 1)
        file.dirty.update(touched)
        file.lost.difference_update(touched)
        return len(data)

    def pread(self, fd: int, length: int, offset: int) -> bytes:
        file, path = self._descriptor(fd)
        self._call("pread", path)
        return bytes(file.seen[offset : offset + length])

    def open_direct(self, path: str) -> int:
        if not self.direct:
            self._call("open_direct", path)
            raise fault(errno.EINVAL, path)
        return self.open(path, os.O_RDONLY)

    def pread_direct(self, fd: int, length: int, offset: int) -> bytes:
        """Dirty sectors are written before they are read, as the kernel does."""
        file, path = self._descriptor(fd)
        self._call("pread", path)
        return bytes(self._on_platter(file)[offset : offset + length])

    def drop_cache(self, fd: int) -> bool:
        file, path = self._descriptor(fd)
        self._call("drop_cache", path)
        self._revert(file)
        return not file.dirty

    def fdatasync(self, fd: int) -> None:
        descriptor = self._descriptors.get(fd)
        if descriptor is None or not isinstance(descriptor.node, File):
            raise fault(errno.EBADF)
        file = descriptor.node
        try:
            self._call("fdatasync", descriptor.path)
            if file.late_error:
                raise fault(file.late_error, descriptor.path)
        except OSError as error:
            if self._sync_failed(file, error):
                raise
            return
        self._resize_platter(file)
        for sector in file.dirty:
            part = slice(sector * SECTOR, (sector + 1) * SECTOR)
            file.platter[part] = file.seen[part]
        file.dirty.clear()

    def _sync_failed(self, file: File, error: OSError) -> bool:
        """Nothing was written; whether the caller is told now."""
        late = self.failed_sync is FailedSync.LATE and not file.late_error
        file.late_error = (error.errno or errno.EIO) if late else 0
        file.lost |= file.dirty
        file.dirty.clear()
        file.evicts = self.failed_sync is FailedSync.LOST
        if self.failed_sync is FailedSync.OLD_CONTENT:
            self._revert(file)
        return not late

    def _revert(self, file: File) -> None:
        """Sectors that a failed sync gave up are read as the platter has them."""
        file.evicts = False
        file.seen = self._on_platter(file)
        file.lost.clear()

    def _on_platter(self, file: File) -> bytearray:
        """The content, but sectors that a failed sync gave up as the platter has them."""
        content = bytearray(file.seen)
        for sector in file.lost:
            start, stop = sector * SECTOR, min((sector + 1) * SECTOR, len(content))
            old = bytes(file.platter[start:stop])
            content[start:stop] = old + bytes(stop - start - len(old))
        return content

    def ftruncate(self, fd: int, length: int) -> None:
        file, path = self._descriptor(fd, writing=True)
        self._call("ftruncate", path)
        self._may_write(path)
        self._truncate(file, length)

    def fallocate(self, fd: int, offset: int, length: int) -> None:
        file, path = self._descriptor(fd, writing=True)
        self._call("fallocate", path)
        self._may_write(path)
        grows = offset + length - len(file.seen)
        if self.capacity < UNLIMITED and grows > self.capacity - self._used():
            raise fault(errno.ENOSPC, path)
        self._extend(file, offset + length)

    def size(self, fd: int) -> int:
        file, path = self._descriptor(fd)
        self._call("size", path)
        return len(file.seen)

    def usage(self, path: str) -> Usage:
        self._call("usage", path)
        self._find(path)
        used = self._used() if self.capacity < UNLIMITED else 0
        return Usage(self.capacity, max(0, self.capacity - used))

    def same_file(self, fd: int, path: str) -> bool:
        self._call("same_file", path)
        return self._descriptor(fd)[0] is self._find(path)

    def lock(self, fd: int) -> None:
        file, path = self._descriptor(fd)
        self._call("lock", path)
        if file.locked_by not in (-1, fd):
            raise BlockingIOError(errno.EWOULDBLOCK, "locked", path)
        file.locked_by = fd

    def _used(self) -> int:
        def size(node: Node) -> int:
            if isinstance(node, File):
                return len(node.seen)
            return sum(size(child) for child in node.seen.values())

        return size(self.root)

    def _extend(self, file: File, size: int) -> None:
        if size > len(file.seen):
            file.seen.extend(bytes(size - len(file.seen)))

    def _truncate(self, file: File, size: int) -> None:
        if size < len(file.seen):
            del file.seen[size:]
            last = -(-size // SECTOR)
            file.dirty = {sector for sector in file.dirty if sector < last}
            file.lost = {sector for sector in file.lost if sector < last}
        self._extend(file, size)

    def _resize_platter(self, file: File) -> None:
        size = len(file.seen)
        if size < len(file.platter):
            del file.platter[size:]
        file.platter.extend(bytes(size - len(file.platter)))

    # ---- the power goes

    def crash(self, source: Random) -> SimulatedFileSystem:
        """One of the states that may be found afterwards; nothing is open or locked in it."""
        return self.crashed(RandomFates(source))

    def crashed(self, fates: Fates) -> SimulatedFileSystem:
        """The state that these fates of all that is unsynced lead to."""
        found = SimulatedFileSystem(self.capacity)
        found.root = self._crashed(self.root, fates, {})  # type: ignore[assignment]
        return found

    def _crashed(self, node: Node, fates: Fates, made: dict[int, Node]) -> Node:
        if id(node) in made:
            return made[id(node)]
        if isinstance(node, File):
            content = crashed_content(node, fates)
            made[id(node)] = found = File(bytearray(content), bytearray(content))
            return found
        names = dict(node.platter)
        for change, there in zip(node.pending, fates.changes(node), strict=True):
            for name, child in change.names if there else ():
                if child is None:
                    names.pop(name, None)
                else:
                    names[name] = child
        directory = made[id(node)] = Directory()
        for name in sorted(names):
            directory.seen[name] = self._crashed(names[name], fates, made)
        directory.platter = dict(directory.seen)
        return directory

    def copy(self) -> SimulatedFileSystem:
        """The same content on other disks, all of it synced."""
        return self.crashed(ChosenFates())

    def killed(self) -> SimulatedFileSystem:
        """What the next process finds when this one was killed: all as it was seen, and what was
        unsynced still is. Nothing is open or locked in it.
        """
        found = SimulatedFileSystem(self.capacity)
        found.root = copy.deepcopy(self.root)
        found.gone = set(self.gone)
        found.failed_sync = self.failed_sync
        _unlock(found.root, set())
        return found

    def unsynced(self) -> list[Unsynced]:
        """Everything that a power cut now may or may not leave, in the order of the paths."""
        found: list[Unsynced] = []
        gather(self.root, "", found, set())
        return found

    def digest(self) -> bytes:
        """Of all names and contents as processes see them."""
        hasher = xxhash.xxh3_128()
        _hash(self.root, hasher)
        return hasher.digest()


def _unlock(node: Node, seen: set[int]) -> None:
    if isinstance(node, File):
        node.locked_by = -1
    elif id(node) not in seen:
        seen.add(id(node))
        for child in node.seen.values():
            _unlock(child, seen)


def _hash(node: Node, hasher: xxhash.xxh3_128) -> None:
    if isinstance(node, File):
        hasher.update(b"f%d:" % len(node.seen))
        hasher.update(node.seen)
        return
    hasher.update(b"d%d:" % len(node.seen))
    for name in sorted(node.seen):
        hasher.update(name.encode())
        _hash(node.seen[name], hasher)
