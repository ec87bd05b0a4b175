"""A page of memory that the processes of a node share: numbers that are read without asking.

========== ===== ==================================================================
offset     bytes field
========== ===== ==================================================================
0          8     life: how many engines have begun; rises before the next one begins
64 + 16 i  8     of edge i: 1 while it lives (written by the supervisor)
72 + 16 i  8     of edge i: its open connections (by itself; 0 again by the supervisor)
========== ===== ==================================================================

Each number has one writer at a time, is aligned and is copied whole, so a reader sees an old
value or a new one. `life` is what keeps an edge that was held up from answering out of the index
of an engine that is gone: nothing is decided by a new engine before the number has risen.
"""

from __future__ import annotations

import mmap

from s3node.base.limits import EDGES_MAX

_LIFE, _EDGES, _FIELDS = 0, 8, 2  # in words of 8 bytes
_WORD = 8

assert (_EDGES + _FIELDS * EDGES_MAX) * _WORD <= mmap.PAGESIZE


class Board:
    """Made before the first fork; every child has the same page."""

    def __init__(self) -> None:
        self._page = mmap.mmap(-1, mmap.PAGESIZE)
        self._words = memoryview(self._page).cast("Q")

    @property
    def life(self) -> int:
        return self._words[_LIFE]

    def next_life(self) -> None:
        """Another engine is about to begin."""
        self._words[_LIFE] += 1

    def set_alive(self, edge: int, alive: bool) -> None:
        """An edge begins, or is gone and with it its connections."""
        at = _EDGES + _FIELDS * edge
        self._words[at + 1] = 0
        self._words[at] = alive

    def connections(self, edge: int) -> int:
        """Open ones of an edge."""
        return self._words[_EDGES + _FIELDS * edge + 1]

    def share(self, edge: int) -> EdgeShare:
        return EdgeShare(self._words, edge)


class EdgeShare:
    """The connections of one edge beside those of the others (a `Share` of its acceptor)."""

    def __init__(self, words: memoryview, edge: int) -> None:
        self._words = words
        self._own = _EDGES + _FIELDS * edge + 1

    def set(self, count: int) -> None:
        self._words[self._own] = count

    def ahead(self) -> bool:
        own = self._words[self._own]
        return own > 0 and any(count < own for count in self._counts())

    def total(self) -> int:
        return sum(self._counts())

    def processes(self) -> int:
        return len(self._counts())

    def _counts(self) -> list[int]:
        """Of those that live."""
        words = self._words
        places = range(_EDGES, _EDGES + _FIELDS * EDGES_MAX, _FIELDS)
        return [words[at + 1] for at in places if words[at]]
