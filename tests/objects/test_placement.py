"""Placement: never two shards on one disk, k shrinks and m stays, disks fill in proportion."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from ec import Geometry
from s3node.base.errors import DiskFull, QuorumLost
from s3node.base.limits import GIB, MIB
from s3node.objects.placement import (
    Plan,
    leave_out,
    need_room,
    plan_stripe,
    ranked,
    write_quorum,
)
from s3node.store.seams import DiskState, DiskStatus


def disk(slot: int, free: int = 100 * GIB) -> DiskStatus:
    return DiskStatus(slot, f"/d{slot}", bytes([slot]) * 16, DiskState.ONLINE, "", 200 * GIB, free)


@given(st.integers(1, 4), st.data())
def test_geometry_follows_the_writable_disks(m: int, data: st.DataObject) -> None:
    k = data.draw(st.integers(m + 1, 16 - m))
    writable = data.draw(st.integers(m + 1, 16))
    plan = plan_stripe([disk(i) for i in range(writable)], Geometry(k, m), b"x" * 16, 0, 1000)
    assert plan.geometry == Geometry(min(k, writable - m), m)
    assert len(plan.slots) == plan.geometry.n
    assert sorted([*(slot for slot, _ in plan.sent), *plan.spares]) == list(range(writable))
    assert len(plan.sent) == plan.geometry.n
    assert plan.geometry.k + 1 <= write_quorum(plan.geometry) <= plan.geometry.n


def test_too_few_disks_and_too_little_room_are_told_apart() -> None:
    with pytest.raises(QuorumLost):
        plan_stripe([disk(0), disk(1)], Geometry(4, 2), b"x" * 16, 0, 1000)
    full = [disk(i, free=0) for i in range(6)]
    with pytest.raises(DiskFull):
        plan_stripe(full, Geometry(4, 2), b"x" * 16, 0, 1000)


def test_room_is_what_is_free_but_for_the_reserve() -> None:
    assert disk(0, free=100 * GIB).room == 100 * GIB - 256 * MIB
    assert disk(0)._replace(total_bytes=32 * MIB, free_bytes=5 * MIB).room == 4 * MIB
    assert disk(0, free=0).room < 0


class Disks:
    """As many as are told of."""

    def __init__(self, *disks: DiskStatus) -> None:
        self._writable = disks

    def writable(self) -> Sequence[DiskStatus]:
        return self._writable

    def have_room(self, count: int, size: int) -> bool:
        return sum(one.room >= size for one in self._writable) >= count


def test_small_objects_are_refused_where_large_ones_are() -> None:
    def need(*frees: int, size: int = 1000) -> None:
        disks: Any = Disks(*(disk(slot, free) for slot, free in enumerate(frees)))
        need_room(disks, Geometry(4, 2), size)

    need(GIB, GIB, GIB)
    need(0, GIB, 0, GIB, GIB)
    with pytest.raises(QuorumLost):
        need(GIB, GIB)
    with pytest.raises(DiskFull):
        need(GIB, GIB, 0)
    with pytest.raises(DiskFull):
        need(GIB, GIB, GIB, size=GIB)


def test_full_disks_are_left_out() -> None:
    disks = [disk(i, free=0 if i < 2 else 100 * GIB) for i in range(6)]
    plan = plan_stripe(disks, Geometry(4, 2), b"x" * 16, 0, 1000)
    assert plan.geometry == Geometry(2, 2)
    assert set(plan.slots) == {2, 3, 4, 5}


def test_shards_are_spread_in_proportion_to_free_bytes() -> None:
    disks = [disk(i, free=(40 if i < 4 else 80) * GIB) for i in range(8)]
    counts = dict.fromkeys(range(8), 0)
    for stripe in range(4000):
        for slot in plan_stripe(disks, Geometry(1, 1), b"y" * 16, stripe, 1000).slots:
            assert slot is not None
            counts[slot] += 1
    small = sum(counts[i] for i in range(4)) / 4
    large = sum(counts[i] for i in range(4, 8)) / 4
    assert 1.6 < large / small < 2.2


@given(st.binary(min_size=16, max_size=16), st.integers(0, 2**32 - 1), st.data())
def test_the_order_is_by_the_score_of_the_hash(
    key: bytes, stripe: int, data: st.DataObject
) -> None:
    """As the module says it: what is written faster stays the same order."""
    frees = data.draw(st.lists(st.integers(5 * GIB, 300 * GIB), min_size=2, max_size=16))
    disks = [disk(i, free) for i, free in enumerate(frees)]

    def score(one: DiskStatus) -> tuple[float, int]:
        seed = key + stripe.to_bytes(4, "big") + (one.disk_id or b"")
        h = (xxhash.xxh3_64_intdigest(seed) + 1) / (2**64 + 1)
        return -one.room / math.log(h), one.slot

    best = [one.slot for one in sorted(disks, key=score, reverse=True)]
    assert ranked(disks, key, stripe) == best
    plan = plan_stripe(disks, Geometry(1, 1), key, stripe, 1)
    assert (*plan.slots, *plan.spares) == plan.disks == tuple(best)


def test_slots_that_are_behind_are_left_out_as_far_as_a_stripe_can_miss_them() -> None:
    disks = [disk(i) for i in range(14)]

    def plan(count: int, *behind: int) -> Plan:
        return leave_out(plan_stripe(disks[:count], Geometry(8, 4), b"x" * 16, 0, 1000), behind)

    usual = plan(12)
    assert plan(12, 3).slots == tuple(None if slot == 3 else slot for slot in usual.slots)
    assert plan(12, 5, 3, 7).slots == tuple(None if s in {3, 5} else s for s in usual.slots)
    assert plan(12, 5, 3).spares == (3, 5)
    assert plan(12, 5, 3).sent == [(s, i) for i, s in enumerate(usual.slots) if s not in {3, 5}]
    spares = plan(14).spares
    (kept,) = set(plan(14).slots[:1])
    assert kept is not None
    moved = plan(14, spares[0], kept)
    assert moved.slots == (spares[1], *plan(14).slots[1:])
    assert moved.spares == (kept, spares[0]), "who is behind comes last, the worst at the end"


def test_every_disk_takes_every_shard_index() -> None:
    disks = [disk(i) for i in range(6)]
    seen = {
        (index, slot)
        for stripe in range(300)
        for index, slot in enumerate(plan_stripe(disks, Geometry(4, 2), b"z" * 16, stripe, 1).slots)
    }
    assert len(seen) == 36
