"""Owed shards are placed.

A stripe is answered before all of its shards are on the platter; what is missing is owed, and an
owed row says so from the same transaction on. Two things clear it:

- `fill`: the shard arrived late on the disk it was meant for;
- `Repairer`: it is rebuilt from the others and appended to any disk that holds none of the stripe.

Both change the location row by compare-and-set (I11): only a place that is still empty is filled;
the loser's record is garbage. `disown` is the way back: a shard that is not where the row says is
owed again, as long as enough others are there to make it from.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import partial

import msgspec

from s3node.base.clock import Clock
from s3node.base.errors import QuorumLost, StorageFault
from s3node.meta import tables
from s3node.meta.kv import Kv, ReadTx, WriteTx
from s3node.model.rows import STRIPES_PER_RUN, Data, Location, LocationRow, Stripe
from s3node.objects.placement import ranked
from s3node.objects.read import StripeReader, place_of, shard_identity
from s3node.objects.write import owed_row
from s3node.store.digests import shard_digests
from s3node.store.seams import Place, Records, ShardDisks

Found = Mapping[tuple[int, int], Location]
"""(stripe index, shard index) -> where that shard is now."""

LostAt = Callable[[Location], bool]
"""Whether what a row says to be there is not, or not known to be."""

REPAIR_ANSWER_S = 5.0
"""A disk that has not taken a shard by then gets none for the rest of the round."""

OWED_PER_READ = 256
"""Owed rows taken in one short read transaction."""


@dataclass(slots=True)
class Progress:
    """What one round of repair did."""

    placed: int = 0  # shards
    waiting: int = 0  # owed rows that could not be cleared now
    reason: str = ""  # why the last of them could not


Edit = Callable[[LocationRow], tuple[tuple[Stripe, ...], int]]
"""The row's stripes after a change, and how many shards it concerned; 0: nothing is written."""


async def fill(kv: Kv, data_id: bytes, run: int, found: Found, now_ms: int) -> int:
    """Enter `found` where the row still owes those shards; returns how many were entered."""
    return await _change(kv, data_id, run, lambda row: _filled(row, run, found), now_ms)


async def disown(
    kv: Kv, data_id: bytes, run: int, lost: LostAt, readable: Set[int], now_ms: int
) -> int:
    """Owe every shard at a place that is `lost`, where k others are on `readable` slots.

    Returns how many are owed by that. A place that is not given up stays named: what lies there
    is verified when it is read, and may be the last there is.
    """
    return await _change(kv, data_id, run, lambda row: _disowned(row, lost, readable), now_ms)


async def _change(kv: Kv, data_id: bytes, run: int, edit: Edit, now_ms: int) -> int:
    """Change a location row, and what it owes with it; how many shards that concerned."""

    def work(tx: WriteTx) -> int:
        row = tables.get_locations(tx, data_id, run)
        if row is None:
            return 0
        stripes, count = edit(row)
        if not count:
            return 0
        changed = LocationRow(stripes)
        tables.put_locations(tx, data_id, run, changed)
        owed = owed_row(run, changed, now_ms)
        if owed is None:
            tables.delete_owed(tx, data_id, run)
        else:
            since = tables.get_owed(tx, data_id, run)
            kept = owed if since is None else msgspec.structs.replace(owed, since_ms=since.since_ms)
            tables.put_owed(tx, data_id, run, kept)
        return count

    return await kv.write(work)


def _disowned(row: LocationRow, lost: LostAt, readable: Set[int]) -> tuple[tuple[Stripe, ...], int]:
    """The stripes of `row` without the places that are lost, as far as k others remain."""
    stripes = list(row.stripes)
    count = 0
    for position, stripe in enumerate(row.stripes):
        good = tuple(None if place and lost(place) else place for place in stripe.shards)
        gone = good.count(None) - stripe.shards.count(None)
        others = sum(place is not None and place.slot in readable for place in good)
        if gone and others >= stripe.k:
            stripes[position] = msgspec.structs.replace(stripe, shards=good)
            count += gone
    return tuple(stripes), count


def _filled(row: LocationRow, run: int, found: Found) -> tuple[tuple[Stripe, ...], int]:
    """The stripes of `row` with `found` entered where nothing stood, and how many that were."""
    stripes = list(row.stripes)
    entered = 0
    for (index, shard), location in found.items():
        position = index - run * STRIPES_PER_RUN
        stripe = stripes[position]
        taken = {place.slot for place in stripe.shards if place is not None}
        if stripe.shards[shard] is None and location.slot not in taken:
            shards = list(stripe.shards)
            shards[shard] = location
            stripes[position] = msgspec.structs.replace(stripe, shards=tuple(shards))
            entered += 1
    return tuple(stripes), entered


class Repairer:
    """Walks the owed rows and places what it can."""

    def __init__(self, kv: Kv, disks: ShardDisks, reader: StripeReader, clock: Clock) -> None:
        self._kv = kv
        self._disks = disks
        self._reader = reader
        self._clock = clock
        self._silent: set[int] = set()  # slots that this round has waited for in vain

    async def round(self) -> Progress:
        """Try every owed row once."""
        progress = Progress()
        self._silent.clear()
        after = b""
        while batch := self._kv.read(partial(_owed_after, after=after)):
            for cursor, data_id, run in batch:
                after = cursor
                await self._repair_run(data_id, run, progress)
        return progress

    async def _repair_run(self, data_id: bytes, run: int, progress: Progress) -> None:
        """Place what one run owes. A stripe that cannot be repaired keeps no other from it: what
        was appended is entered in any case, or the next round would append it once more.
        """
        row, first = self._kv.read(
            lambda tx: (
                tables.get_locations(tx, data_id, run),
                tables.get_locations(tx, data_id, 0),
            )
        )
        if row is None or first is None:
            return  # deleted meanwhile
        item = Data(data_id, 0, first.stripes[0].stripe_bytes)
        owed = sum(stripe.shards.count(None) for stripe in row.stripes)
        found: dict[tuple[int, int], Location] = {}
        entered = 0
        try:
            for index, stripe in enumerate(row.stripes, run * STRIPES_PER_RUN):
                try:
                    placed = await self._place(item, index, stripe)
                except StorageFault as fault:
                    progress.reason = str(fault)
                else:
                    found |= {(index, shard): location for shard, location in placed.items()}
            if found:
                entered = await fill(self._kv, data_id, run, found, self._clock.wall_ms())
        except StorageFault as fault:
            progress.reason = str(fault)
        finally:
            self._unpin(found.values())
        progress.placed += entered
        progress.waiting += entered < owed

    async def _place(self, item: Data, index: int, stripe: Stripe) -> dict[int, Location]:
        """Rebuild what one stripe owes and append it to disks without any of it, as far as there
        are such disks: the location of each shard by its index.
        """
        lost = [shard for shard, place in enumerate(stripe.shards) if place is None]
        if not lost:
            return {}
        slots = self._targets(item.data_id, index, stripe)
        if not slots:
            raise QuorumLost("no writable disk that holds none of the stripe")
        lost = lost[: len(slots)]
        payloads = await self._reader.rebuild(item, index, stripe, lost)
        placed: dict[int, Location] = {}
        pending = dict(zip(lost, slots, strict=False))
        answered: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def tell(outcomes: Sequence[tuple[int, Place | StorageFault]]) -> None:
            for shard, outcome in outcomes:
                if isinstance(outcome, Place):
                    placed[shard] = Location(*outcome)
                del pending[shard]
            if not pending:
                answered.set_result(None)

        for shard, slot in list(pending.items()):
            payload = payloads[shard]
            identity = shard_identity(item, index, stripe, shard)
            identity = identity._replace(digests=shard_digests(payload, len(payload)))
            self._disks.append(Records(identity, payload, len(payload)), [(slot, shard)], tell)
        found: dict[int, Location] = {}
        try:
            await asyncio.wait([answered], timeout=REPAIR_ANSWER_S)
            self._silent.update(pending.values())
            found = dict(placed)
            return found
        finally:  # nobody will enter the others
            answered.add_done_callback(
                lambda _: self._unpin(placed[shard] for shard in placed.keys() - found.keys())
            )

    def _unpin(self, found: Iterable[Location]) -> None:
        self._disks.unpin([place_of(location) for location in found])

    def _targets(self, data_id: bytes, index: int, stripe: Stripe) -> list[int]:
        taken = {place.slot for place in stripe.shards if place is not None}
        free = [
            disk
            for disk in self._disks.writable()
            if disk.slot not in taken | self._silent and disk.room >= stripe.stripe_bytes
        ]
        return ranked(free, data_id, index)


def _owed_after(tx: ReadTx, after: bytes) -> list[tuple[bytes, bytes, int]]:
    """The next owed rows: (cursor, data id, run)."""
    rows = []
    for cursor, data_id, run, _ in tables.scan_owed(tx, after):
        rows.append((cursor, data_id, run))
        if len(rows) == OWED_PER_READ:
            break
    return rows
