"""The memory of stripes that fill: what slow clients leave of it, and when there is none."""

from __future__ import annotations

from ec import Geometry
from s3node.base.arena import Arena, Loose
from s3node.base.limits import MIB
from s3node.objects.filling import StripeBuffer

GEOMETRY = Geometry(4, 2)
SIZE = 2 * MIB
ROW = 3 * MIB
ROWS = 8


def filled(arena: Arena, count: int) -> StripeBuffer:
    """A stripe of which `count` bytes have come."""
    buffer = StripeBuffer(SIZE, GEOMETRY, arena)
    assert buffer.take(memoryview(content(count))) == count
    return buffer


def content(count: int) -> bytes:
    return bytes(i % 251 for i in range(count))


def test_silent_clients_leave_room_for_whole_stripes() -> None:
    """However many have begun: what they hold together is little, and lies together."""
    arena = Arena(ROWS * ROW)
    slow = []
    for _ in range(2 * ROWS):
        slow.append(filled(arena, 1000))
        assert slow[-1].shrink() == SIZE // 4
    arena.take_row(GEOMETRY.n, SIZE // 4)
    last = slow.pop()
    slow.clear()
    last.renew()
    assert last.take(memoryview(bytes(SIZE))) == SIZE - 1000
    assert bytes(last.stripe(GEOMETRY).content[:1000]) == content(1000)


def test_of_a_client_that_sent_nothing_nothing_stays() -> None:
    arena = Arena(ROW)
    slow = StripeBuffer(SIZE, GEOMETRY, arena)
    assert slow.shrink() == 0
    assert slow.room == 0
    assert arena.free() == arena.total
    slow.renew()
    assert slow.take(memoryview(content(SIZE))) == SIZE


def test_where_the_arena_has_no_room_together_a_stripe_has_memory_of_its_own() -> None:
    """It was let in by the budget: gaps are no reason to refuse it."""
    arena = Arena(2 * ROW)
    between = [arena.take(MIB) for _ in range(6)]
    del between[::2]
    assert arena.free() == ROW
    buffer = filled(arena, SIZE)
    full = buffer.stripe(GEOMETRY)
    assert isinstance(full.row, Loose) and len(full.row.places) == GEOMETRY.n
    assert arena.find(full.row.places[0]) is None
    assert bytes(full.content) == content(SIZE)
    assert full.row.whole[5 * SIZE // 4] == full.row.places[5][0]
    full.row.end(0)
    assert bytes(full.content) == content(SIZE)
