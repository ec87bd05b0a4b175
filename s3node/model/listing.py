"""Listings: sorted rows in, at most so many entries out, common prefixes rolled up.

One algorithm serves objects and uploads. It walks rows in byte order through an iterator factory
and, when a key rolls up into a common prefix, does not read the rest of that prefix but seeks
behind it: a listing costs what it shows, not what it hides.

A walk is done in steps, each within one short read transaction; a `Position` carries it from
one to the next. Keys that come or go in between are seen or not, as S3 allows.

An entry is behind a marker when it sorts after it; a common prefix that contains the marker
counts as shown already, so a walk that continues at a common prefix never shows it twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Generic, NamedTuple, TypeVar

R = TypeVar("R")

LAST_ID = b"\xff" * 16
"""No id: version ids and upload ids of 2^64 - 1 clock ticks do not occur."""

FIRST_ID = b"\x00" * 16
"""Before every id that occurs."""

SKIPS_BEFORE_SEEK = 4
"""Older versions of one key that are read past before a seek is cheaper."""


class Position(NamedTuple):
    """Everything strictly after this (key, id) is still to come.

    b"" comes before every id, `LAST_ID` after.
    """

    key: bytes
    id: bytes = b""


Scan = Callable[[Position], Iterator[tuple[bytes, bytes, R]]]


class Query(NamedTuple):
    """What a listing is about: bytes of UTF-8, so that order is S3's."""

    prefix: bytes
    delimiter: bytes

    def group(self, key: bytes) -> bytes | None:
        """The common prefix that `key` rolls up into, if any."""
        if not self.delimiter or not key.startswith(self.prefix):
            return None
        at = key.find(self.delimiter, len(self.prefix))
        return None if at < 0 else key[: at + len(self.delimiter)]


Entry = tuple[bytes, bytes, R | None]
"""(key, id, row) as it was read, or a common prefix: (prefix, b"", None)."""


class Step(NamedTuple, Generic[R]):
    """What one read found; `position` is None at the end of the walk."""

    entries: list[Entry[R]]
    position: Position | None


def successor(prefix: bytes) -> bytes | None:
    """The first byte string behind every one that begins with `prefix`; None: there is none."""
    stem = prefix.rstrip(b"\xff")
    return stem[:-1] + bytes([stem[-1] + 1]) if stem else None


def behind(key: bytes) -> Position:
    """Where the next key begins."""
    return Position(key, LAST_ID)


def start(query: Query, marker: bytes, marker_id: bytes = b"") -> Position | None:
    """Where a walk begins that continues after `marker` (b"": from the beginning)."""
    if marker < query.prefix:
        return Position(query.prefix)
    if not marker:
        return Position(b"")
    group = query.group(marker)
    if group is not None:
        return _behind_group(group)
    return Position(marker, marker_id) if marker_id else behind(marker)


def _behind_group(group: bytes) -> Position | None:
    after = successor(group)
    return None if after is None else Position(after)


def step(
    query: Query,
    position: Position,
    scan: Scan[R],
    *,
    room: int,
    rows_max: int,
    visible: Callable[[R], bool] = lambda _row: True,
    newest_only: bool = False,
) -> Step[R]:
    """Walk on from `position` over at most `rows_max` rows, to at most `room` entries.

    `newest_only`: a key's first row stands for it, and is left out unless `visible`.
    """
    entries: list[Entry[R]] = []
    prefix, rolled_up = query.prefix, bool(query.delimiter)
    rows = scan(position)
    done, done_id = position
    skipped = 0
    for _ in range(rows_max):
        if len(entries) >= room:
            break
        item = next(rows, None)
        if item is None or not item[0].startswith(prefix):
            return Step(entries, None)
        key, identity, row = item
        # The key alone tells nearly always; else: an older version of a key that is done.
        if key <= done and (key, identity) <= (done, done_id):
            skipped += 1
            if skipped == SKIPS_BEFORE_SEEK:
                rows = scan(Position(done, done_id))
            continue
        skipped = 0
        done, done_id = key, LAST_ID if newest_only else identity
        if not visible(row):
            continue
        group = query.group(key) if rolled_up else None
        if group is None:
            entries.append(item)
            continue
        entries.append((group, b"", None))
        after = _behind_group(group)
        if after is None:
            return Step(entries, None)
        done, done_id = after
        rows = scan(after)
    return Step(entries, Position(done, done_id))
