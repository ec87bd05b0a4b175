"""A body received in place: every byte once, in order, and only where it may be written."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from s3node.base import limits
from s3node.edge.body import Memory, Sized

GUARD = 0xEE

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("came"), st.integers(1, 5000)),
        st.tuples(st.just("lend"), st.integers(0, 3000)),
        st.tuples(st.sampled_from(["take", "give back"]), st.just(0)),
    ),
    max_size=60,
)


def receive(body: Sized, data: bytes) -> int:
    """As a socket does; how much there was room for."""
    room = body.room()
    assert len(room), "no room is an error to a socket"
    count = min(len(data), len(room))
    room[:count] = data[:count]
    body.came(count)
    return count


def take(body: Sized, loans: list[bytearray]) -> bytes:
    """What came; if it came in a loan, then in the last one: those before are over."""
    piece = body.take()
    if isinstance(piece, memoryview) and any(piece.obj is loan for loan in loans):
        assert piece.obj is loans[-1]
    return bytes(piece)


@given(st.integers(1, 20_000), st.integers(0, 3), STEPS)
def test_loans_change_neither_bytes_nor_order(
    length: int, first: int, steps: list[tuple[str, int]]
) -> None:
    sent = bytes(index % 199 for index in range(length))
    memory = Memory()
    body = Sized(length, memory)
    behind = b"next" if first >= length else b""
    assert body.put(sent[:first] + behind) == behind
    came, taken = min(first, length), b""
    loans: list[bytearray] = []
    for step, amount in steps:
        if step == "came" and not body.whole and not body.full:
            came += receive(body, sent[came : came + amount])
        elif step == "lend":
            loans.append(bytearray([GUARD]) * (amount + 2))
            body.lend(memoryview(loans[-1])[1 : 1 + amount])
        elif step == "take":
            taken += take(body, loans)
        elif step == "give back":
            body.give_back()
            while loans:
                loans.pop().append(0)  # BufferError if anybody still referred to it
        assert taken == sent[: len(taken)]
        assert all(loan[0] == loan[-1] == GUARD for loan in loans)
    while came < length or len(taken) < came:
        taken += take(body, loans)
        if came < length:
            came += receive(body, sent[came:])
    assert taken == sent and body.whole and body.unread == 0
    body.end()
    for loan in loans:
        loan.append(0)
    assert len(memory.take()) == limits.RECEIVE_BUFFER_BYTES, "what is spared is never a loan"
