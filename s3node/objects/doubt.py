"""Segments that failed: what they had answered and the medium does not have is owed.

A failed write or sync puts in doubt what earlier ones promised. The disk set reads such a segment
back past the page cache; here every location row that names a record which is missing, or could
not be read back, gives it up (`disown`), and the repairer makes it anew from the others.

A write that is not decided yet may come to name the segment: while it is pinned, the rows are
looked through once more afterwards. A row that would keep too few shards keeps the place until
other disks can be read.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from dataclasses import dataclass
from functools import partial

from s3node.base.clock import Clock
from s3node.base.errors import StorageFault
from s3node.meta import tables
from s3node.meta.kv import Kv, ReadTx
from s3node.model.rows import Location, LocationRow
from s3node.objects.repair import disown
from s3node.store.seams import DiskSet, DiskState, ReadBack

LOG = logging.getLogger("s3node.disks")

ROWS_PER_READ = 256
"""Location rows looked at in one short read transaction."""


@dataclass(slots=True)
class _Doubt:
    """A segment that lacks something, and how far the rows know."""

    found: ReadBack
    readable: frozenset[int] = frozenset()  # slots that could be read when rows were looked at
    decided: bool = False  # no write was open then that could still name the segment
    kept: int = 0  # places that rows could not give up then

    def lost(self, place: Location) -> bool:
        found = self.found
        here = (place.slot, place.segment) == (found.slot, found.segment)
        return here and found.lacks(place.offset)


class Doubts:
    """All segments in doubt of this life, and what became of them."""

    def __init__(self, kv: Kv, disks: DiskSet, clock: Clock) -> None:
        self._kv = kv
        self._disks = disks
        self._clock = clock
        self._doubts: list[_Doubt] = []
        self._owed: Counter[int] = Counter()  # shards given up, by slot
        self._unread: dict[int, str] = {}  # why a slot's segment could not be read back

    def fresh(self) -> bool:
        """Whether a segment failed that nobody has looked at yet."""
        return bool(self._disks.suspects())

    def alarms(self) -> list[str]:
        """What somebody should know."""
        lost = [
            f"disk {slot}: {count} shards that were answered were not on it after a write that "
            "failed, and are placed anew: replace the disk"
            for slot, count in sorted(self._owed.items())
        ]
        unread = [
            f"disk {slot}: what a failed segment had answered is not believed, {why}"
            for slot, why in sorted(self._unread.items())
        ]
        return (
            lost
            + unread
            + [
                f"disk {one.found.slot}: {one.kept} of its shards are in doubt, and too few others "
                "can be read to make them anew: bring the other disks back"
                for one in self._doubts
                if one.kept
            ]
        )

    async def settle(self) -> None:
        """Read back what failed, and have rows give up what is missing. StorageFault: later."""
        for slot, segment in self._disks.suspects():
            try:
                found = await self._disks.read_back(slot, segment)
            except StorageFault as fault:
                fields = {"slot": slot, "segment": f"{segment:016x}", "why": str(fault)}
                LOG.warning("a failed segment is not read back yet", extra={"fields": fields})
                continue
            self._take(found)
        readable = self._readable()
        for one in [one for one in self._doubts if self._due(one, readable)]:
            await self._look_through(one, readable)
        self._doubts = [one for one in self._doubts if one.kept or not one.decided]

    def _take(self, found: ReadBack) -> None:
        fields: dict[str, object] = {"slot": found.slot, "segment": f"{found.segment:016x}"}
        if found.reason:
            self._unread[found.slot] = found.reason
            fields["why"] = found.reason
            LOG.warning("a failed segment cannot be read back", extra={"fields": fields})
        elif found.missing:
            fields["bytes"] = sum(stop - start for start, stop in found.missing)
            LOG.warning("a failed segment lacks what it had answered", extra={"fields": fields})
        else:
            LOG.info("a failed segment has all that it had answered", extra={"fields": fields})
        if found.missing:
            self._doubts.append(_Doubt(found))

    def _due(self, one: _Doubt, readable: frozenset[int]) -> bool:
        """Not looked through yet, or with an outcome that may be another one now."""
        if not one.decided and (not one.readable or not self._pinned(one)):
            return True
        return bool(one.kept) and one.readable != readable

    def _pinned(self, one: _Doubt) -> bool:
        return self._disks.pinned(one.found.slot, one.found.segment)

    def _readable(self) -> frozenset[int]:
        there = (DiskState.ONLINE, DiskState.READONLY)
        return frozenset(disk.slot for disk in self._disks.status() if disk.state in there)

    async def _look_through(self, one: _Doubt, readable: frozenset[int]) -> None:
        """Every location row there is, a few at a time."""
        decided = not self._pinned(one)
        one.kept = 0
        after = b""
        while cursor := (batch := self._kv.read(partial(_named, after=after, one=one))).cursor:
            after = cursor
            for data_id, run, count in batch.rows:
                now_ms = self._clock.wall_ms()
                owed = await disown(self._kv, data_id, run, one.lost, readable, now_ms)
                self._owed[one.found.slot] += owed
                one.kept += count - owed
            await asyncio.sleep(0)
        one.readable, one.decided = readable, decided


@dataclass(slots=True)
class _Batch:
    """Rows that name what is lost: (data id, run, how many places); b"" ends the table."""

    cursor: bytes
    rows: list[tuple[bytes, int, int]]


def _named(tx: ReadTx, after: bytes, one: _Doubt) -> _Batch:
    batch = _Batch(b"", [])
    for looked, (cursor, data_id, run, row) in enumerate(tables.scan_all_locations(tx, after), 1):
        batch.cursor = cursor
        count = sum(one.lost(place) for place in _places(row))
        if count:
            batch.rows.append((data_id, run, count))
        if looked == ROWS_PER_READ:
            break
    return batch


def _places(row: LocationRow) -> list[Location]:
    return [place for stripe in row.stripes for place in stripe.shards if place is not None]
