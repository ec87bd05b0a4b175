"""Memory for payloads: mapped once, used again and again, and mappable by another process.

A buffer that is fresh from the system costs a page fault for every 4 KiB of it, which is more than
coding its bytes does. Here pages stay: the lowest free place is taken first, so that what is used
is what was used a moment ago.

    take   the lowest gap that fits; its view, aligned for any vector instruction
    row    several places at once, behind each other
    end    when the last reference to the view, or to anything made of it, is gone, wherever that
           is: what a thread or a disk may still read is never given to somebody else

Invariants: live places never overlap; a place is free again only when nobody can reach it; gaps
are kept in order, and never touch each other. An arena belongs to one thread; the end of a view
may come in any. A shared arena's file can be neither shrunk nor grown, so that who maps
it cannot be made to fault.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import gc
import mmap
import os
import weakref
from bisect import bisect_left
from collections import deque
from functools import lru_cache
from typing import Any

from s3node.base._md5 import ffi
from s3node.base.errors import MemoryShort
from s3node.base.filesystem import Buffer

ALIGN = 64
"""Of places, in bytes: a cache line, and the widest vector register."""

_SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL


class _Watch(weakref.ref[Any]):
    """Tells when the last reference to a row is gone."""

    __slots__ = ("free", "number", "start", "stop")
    number: int
    start: int
    stop: int
    free: list[tuple[int, int]]  # beginnings and ends of what was given back before


class Row:
    """Places of one size, one right behind the other; `whole` is all of them as one view.

    They end together, with the last reference to any of them; or one by one, by `end`.
    """

    __slots__ = ("_arena", "_size", "_watch", "whole")

    def __init__(self, arena: Arena, watch: _Watch, whole: memoryview, size: int) -> None:
        self._arena = arena
        self._watch = watch
        self._size = size
        self.whole = whole

    @property
    def places(self) -> list[memoryview]:
        """Each by itself."""
        size = self._size
        return [self.whole[at : at + size] for at in range(0, len(self.whole), size)]

    def end(self, index: int) -> None:
        """Nobody will use this place any more, though others of the row are used."""
        start = self._watch.start + index * self._size
        self._arena.free_part(self._watch, start, start + self._size)


class Loose(Row):
    """The same in memory of its own, where an arena has no room for it together."""

    __slots__ = ()

    def __init__(self, count: int, size: int) -> None:
        self._size = size
        self.whole = memoryview(bytearray(count * size))

    def end(self, index: int) -> None:
        """Nothing: it ends with the last reference to any."""


class Arena:
    """`total` bytes of memory, zero until they are used. `fd` is -1 unless `shared`."""

    def __init__(self, total: int, *, shared: bool = False) -> None:
        assert total > 0 and total % mmap.PAGESIZE == 0, "whole pages"
        self.total = total
        self.peak = 0  # where the highest place ever taken ended: what has pages
        self.fd = _sealed_file(total) if shared else -1
        if shared:
            weakref.finalize(self, os.close, self.fd)
        kind = mmap.MAP_SHARED if shared else mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
        memory = mmap.mmap(self.fd, total, flags=kind)
        memory.madvise(mmap.MADV_DONTDUMP)  # objects' bytes are no part of a core file
        with contextlib.suppress(OSError):  # a kernel without them
            memory.madvise(mmap.MADV_HUGEPAGE)
        self._memory = memory
        self._all = memoryview(memory)
        self._address = address_of(self._all)
        self._starts, self._sizes = [0], [total]  # gaps, in order
        self._live: dict[int, _Watch] = {}  # by number
        self._taken = 0
        self._ended: deque[_Watch] = deque()

    def take(self, size: int) -> memoryview:
        """A place of `size` bytes, with whatever was there before. MemoryShort when none fits."""
        return self.take_row(1, size).whole

    def take_row(self, count: int, size: int, *, thorough: bool = True) -> Row:
        """The same for `count` places of `size` bytes; the first is aligned.

        `thorough`: what nobody refers to but a cycle is looked for before it is given up.
        """
        assert size > 0 and count > 0, "a place has bytes"
        bytes_ = count * size
        start = self._carve(bytes_)
        if start < 0 and thorough:
            gc.collect()  # what only a cycle holds, an exception's traceback say, is nobody's
            start = self._carve(bytes_)
        if start < 0:
            raise MemoryShort(f"no {bytes_} bytes together in {self.total}, {self.free()} free")
        self.peak = max(self.peak, start + bytes_)
        memory = _bytes_type(bytes_).from_buffer(self._memory, start)
        self._taken += 1
        watch = self._live[self._taken] = _Watch(memory, self._ended.append)
        watch.number, watch.free = self._taken, []
        watch.start, watch.stop = start, start + bytes_
        return Row(self, watch, memoryview(memory).cast("B"), size)

    def free_part(self, watch: _Watch, start: int, stop: int) -> None:
        """Bytes start..stop of a row have ended before the others; see `Row.end`."""
        assert all(stop <= begun or ended <= start for begun, ended in watch.free), "ends once"
        watch.free.append((start, stop))
        self._add_gap(start, stop - start)

    def offset(self, view: memoryview) -> int:
        """Where in the arena `view`, a place or a part of one, begins."""
        start = address_of(view) - self._address
        assert start >= 0 and start + len(view) <= self.total, "of another memory"
        return start

    def find(self, view: Buffer) -> int | None:
        """As `offset`; None when it is of another memory."""
        if not isinstance(view, memoryview) or view.readonly:
            return None
        start = address_of(view) - self._address
        return start if start >= 0 and start + len(view) <= self.total else None

    def free(self) -> int:
        """Bytes that are not taken."""
        self._collect()
        return sum(self._sizes)

    def _carve(self, room: int) -> int:
        """Take the lowest place that is aligned; -1 if there is none."""
        self._collect()
        for index, (start, size) in enumerate(zip(self._starts, self._sizes, strict=True)):
            skipped = -start % ALIGN
            left = size - skipped - room
            if left < 0:
                continue
            # What stays is behind the place, before it, both, or nothing.
            if left:
                self._starts[index], self._sizes[index] = start + skipped + room, left
            else:
                del self._starts[index], self._sizes[index]
            if skipped:
                self._starts.insert(index, start)
                self._sizes.insert(index, skipped)
            return start + skipped
        return -1

    def _collect(self) -> None:
        """Make gaps of what ended."""
        while self._ended:
            watch = self._ended.popleft()
            del self._live[watch.number]
            start = watch.start
            for begun, ended in sorted(watch.free):
                if begun > start:
                    self._add_gap(start, begun - start)
                start = ended
            if watch.stop > start:
                self._add_gap(start, watch.stop - start)

    def _add_gap(self, start: int, room: int) -> None:
        index = bisect_left(self._starts, start)
        joins_before = index and self._starts[index - 1] + self._sizes[index - 1] == start
        joins_after = index < len(self._starts) and start + room == self._starts[index]
        if joins_after:
            room += self._sizes[index]
            del self._starts[index], self._sizes[index]
        if joins_before:
            self._sizes[index - 1] += room
        else:
            self._starts.insert(index, start)
            self._sizes.insert(index, room)


def map_shared(fd: int) -> memoryview:
    """Another process's arena, whole. ValueError if its size could be changed under us."""
    if fcntl.fcntl(fd, fcntl.F_GET_SEALS) & _SEALS != _SEALS:
        raise ValueError("the file of an arena is sealed")
    return memoryview(mmap.mmap(fd, os.fstat(fd).st_size))


def _sealed_file(total: int) -> int:
    fd = os.memfd_create("s3node-arena", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(fd, total)
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, _SEALS)
    return fd


def address_of(view: memoryview) -> int:
    """Where in this process's memory it begins."""
    return int(ffi.cast("uintptr_t", ffi.from_buffer(view)))


@lru_cache
def _bytes_type(size: int) -> Any:
    return ctypes.c_ubyte * size
