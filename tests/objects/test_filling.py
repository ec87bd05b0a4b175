"""The memory of stripes that fill: what slow clients leave of it, and when there is none."""

from __future__ import annotations

from ec import Geometry
from s3node.base.arena import Arena, Loose
from s3node.base.inplace import InPlace
from s3node.base.limits import MIB
from s3node.edge.body import Memory, Sized
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


class Wire(InPlace):
    """A body that comes when it is told to."""

    def __init__(self, sent: bytes) -> None:
        self.sent = sent
        self.body = Sized(len(sent), Memory())
        self.lend, self.give_back = self.body.lend, self.body.give_back  # type: ignore[method-assign]

    def come(self, count: int) -> None:
        at = len(self.sent) - self.body.left
        while count:
            room = self.body.room()[:count]
            room[:] = self.sent[at : at + len(room)]
            self.body.came(len(room))
            at, count = at + len(room), count - len(room)

    def hand_to(self, buffer: StripeBuffer) -> None:
        while piece := self.body.take():
            assert buffer.take(memoryview(piece)) == len(piece)


def test_what_was_received_in_place_survives_that_others_need_the_memory() -> None:
    """Whenever the lease is shrunk, and whatever had come by then: nothing is lost, nothing of
    the memory that was let go of is kept or written to."""
    for handed, waiting in ((0, 0), (0, 5000), (5000, 0), (5000, 5000), (SIZE // 4, 1)):
        arena = Arena(2 * ROW)
        wire = Wire(content(SIZE))
        buffer = StripeBuffer(SIZE, GEOMETRY, arena)
        buffer.lend_to(wire)
        wire.come(handed)
        wire.hand_to(buffer)
        buffer.lend_to(wire)
        wire.come(waiting)
        kept = buffer.shrink()
        assert arena.free() == arena.total - kept, "nobody else keeps it"
        others = arena.take_row(1, ROW)
        others.whole[:] = b"\xff" * ROW
        buffer.renew()
        wire.hand_to(buffer)
        buffer.lend_to(wire)
        wire.come(SIZE - handed - waiting)
        wire.hand_to(buffer)
        assert bytes(buffer.stripe(GEOMETRY).content) == content(SIZE)
        assert bytes(others.whole) == b"\xff" * ROW
