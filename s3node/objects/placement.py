"""Which disks a stripe goes to, and with which geometry. Pure.

A stripe is coded over the disks that are writable now. With at least n = k + m of them, n are
chosen by rendezvous hash weighted by free bytes (Schindelhauer and Schomaker, 2005: score
-w / ln(h), highest first), so that disks fill in proportion and adding one moves nothing. With
fewer, k shrinks and m stays: the stripe survives as many losses as any other. Never two shards
of a stripe on one disk.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

import xxhash

from ec import Geometry
from s3node.base.errors import DiskFull, QuorumLost
from s3node.store.seams import DiskStatus, ShardDisks

_UNIT = (1 << 64) + 1
"""What a hash and 1 is divided by: within (0, 1), so that its logarithm is finite and not 0."""


Roomy: TypeAlias = tuple[int, int, bytes]
"""Of a disk: bytes that shards may still take, slot, disk id. Placing looks at nothing else."""


class Plan(NamedTuple):
    """Shard i of the stripe goes to `slots[i]`, or is owed from the beginning where that is None;
    `spares` are the other writable disks, the best first.
    """

    geometry: Geometry
    slots: tuple[int | None, ...]
    spares: tuple[int, ...]

    @property
    def disks(self) -> tuple[int, ...]:
        """All that the stripe may go to."""
        return (*[slot for slot in self.slots if slot is not None], *self.spares)

    @property
    def sent(self) -> list[tuple[int, int]]:
        """Slot and index of every shard that is written."""
        return [(slot, shard) for shard, slot in enumerate(self.slots) if slot is not None]


def write_quorum(geometry: Geometry) -> int:
    """Synced shards at which a stripe is answered: more than it takes to read it."""
    return geometry.k + max(1, geometry.m // 2)


def ranked(disks: Sequence[DiskStatus], data_id: bytes, stripe_index: int) -> list[int]:
    """Slots in order of preference for one stripe."""
    return _by_score(_rooms(disks), data_id, stripe_index)


def _rooms(disks: Sequence[DiskStatus]) -> list[Roomy]:
    return [(one.room, one.slot, one.disk_id or b"") for one in disks]


def _by_score(roomy: Sequence[Roomy], data_id: bytes, stripe_index: int) -> list[int]:
    seed = data_id + stripe_index.to_bytes(4, "big")
    digest, log = xxhash.xxh3_64_intdigest, math.log
    scored = [
        (-free / log((digest(seed + disk_id) + 1) / _UNIT), slot) for free, slot, disk_id in roomy
    ]
    scored.sort(reverse=True)
    return [slot for _, slot in scored]


def plan_stripe(
    disks: Sequence[DiskStatus],
    wanted: Geometry,
    data_id: bytes,
    stripe_index: int,
    stripe_bytes: int,
) -> Plan:
    """Place one stripe on the writable `disks`; raises what `roomy_disks` raises."""
    roomy = roomy_disks(disks, wanted, stripe_bytes)
    n = min(wanted.n, len(roomy))
    geometry = wanted if n == wanted.n else Geometry(n - wanted.m, wanted.m)
    slots = _by_score(roomy, data_id, stripe_index)
    return Plan(geometry, tuple(slots[:n]), tuple(slots[n:]))


def leave_out(plan: Plan, behind: Sequence[int]) -> Plan:
    """The plan without the slots that are `behind`, the worst first: a spare takes the shard, or
    nobody does, as far as that leaves a write quorum. They are the last spares then.
    """
    if not behind:
        return plan
    slots = list(plan.slots)
    spares = [slot for slot in plan.spares if slot not in behind]
    missable = plan.geometry.n - write_quorum(plan.geometry)
    for slot in behind:
        if slot in slots and (spares or slots.count(None) < missable):
            slots[slots.index(slot)] = spares.pop(0) if spares else None
    last = [slot for slot in reversed(behind) if slot not in slots]
    return Plan(plan.geometry, tuple(slots), (*spares, *last))


def roomy_disks(disks: Sequence[DiskStatus], wanted: Geometry, stripe_bytes: int) -> list[Roomy]:
    """Of the writable `disks` those that have room for `stripe_bytes`: more than m of them.

    DiskFull when there are disks but no room, QuorumLost when there are too few disks.
    """
    roomy = [one for one in _rooms(disks) if one[0] >= stripe_bytes]
    if len(roomy) <= wanted.m:
        if len(disks) - wanted.m >= 1:
            raise DiskFull(
                f"only {len(roomy)} of {len(disks)} writable disks have room; "
                f"a stripe needs {wanted.m + 1}"
            )
        raise QuorumLost(f"{len(disks)} disks are writable, a stripe needs at least {wanted.m + 1}")
    return roomy


def need_room(disks: ShardDisks, wanted: Geometry, stripe_bytes: int) -> None:
    """Return where `roomy_disks` does not raise."""
    if not disks.have_room(wanted.m + 1, stripe_bytes):
        roomy_disks(disks.writable(), wanted, stripe_bytes)
