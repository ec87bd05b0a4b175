"""The checker finds what is wrong, and nothing else."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from tests.linear.checker import ABSENT, Kind, Operation, linearizable


def put(value: str, called: int, returned: int, answer: str | None = "ok") -> Operation:
    return Operation(Kind.PUT, called, returned, value, answer=answer)


def get(value: str, called: int, returned: int) -> Operation:
    return Operation(Kind.GET, called, returned, answer=value)


def test_a_plain_history_is_fine() -> None:
    assert linearizable([put("a", 0, 1), get("a", 2, 3), put("b", 4, 5), get("b", 6, 7)])


def test_a_lost_write_is_found() -> None:
    assert not linearizable([put("a", 0, 1), get(ABSENT, 2, 3)])


def test_a_stale_read_is_found() -> None:
    assert not linearizable([put("a", 0, 1), put("b", 2, 3), get("a", 4, 5)])


def test_a_resurrected_value_is_found() -> None:
    assert not linearizable(
        [put("a", 0, 1), put("b", 2, 3), get("b", 4, 5), get("a", 6, 7), get("b", 8, 9)]
    )


def test_overlapping_operations_may_go_either_way() -> None:
    for seen in ("a", "b"):
        assert linearizable([put("a", 0, 10), put("b", 1, 9), get(seen, 11, 12)])
    assert not linearizable([put("a", 0, 10), put("b", 1, 9), get("a", 11, 12), get("b", 13, 14)])


def test_an_unanswered_write_may_have_happened_before_recovery_or_never() -> None:
    lost = put("b", 2, 10, answer=None)
    assert linearizable([put("a", 0, 1), lost, get("b", 11, 12)])
    assert linearizable([put("a", 0, 1), lost, get("a", 11, 12)])
    assert not linearizable([put("a", 0, 1), lost, get("a", 11, 12), get("b", 13, 14)])


def test_of_two_conditional_writes_one_wins() -> None:
    def create(value: str, answer: str) -> Operation:
        return Operation(Kind.PUT_IF_ABSENT, 0, 10, value, answer=answer)

    assert linearizable([create("a", "ok"), create("b", "failed"), get("a", 11, 12)])
    assert not linearizable([create("a", "ok"), create("b", "ok"), get("b", 11, 12)])
    assert not linearizable([create("a", "failed"), create("b", "failed")])


def test_a_put_that_expects_a_value_replaces_that_one_only() -> None:
    def replace(expected: str, answer: str) -> Operation:
        return Operation(Kind.PUT_IF_MATCH, 2, 3, "b", expected, answer)

    first = put("a", 0, 1)
    assert linearizable([first, replace("a", "ok"), get("b", 4, 5)])
    assert linearizable([first, replace("x", "failed"), get("a", 4, 5)])
    assert not linearizable([first, replace("x", "ok")])
    assert not linearizable([first, replace("a", "failed")])
    assert not linearizable([first, replace("a", "ok"), get("a", 4, 5)])
    assert not linearizable([replace(ABSENT, "ok")]), "what is absent cannot be expected"


def test_a_delete_that_was_undone_is_found() -> None:
    gone = Operation(Kind.DELETE, 2, 3, answer="ok")
    assert linearizable([put("a", 0, 1), gone, get(ABSENT, 4, 5)])
    assert not linearizable([put("a", 0, 1), gone, get("a", 4, 5)])


@given(st.lists(st.tuples(st.sampled_from("pg"), st.integers(0, 2)), max_size=5), st.randoms())
def test_agrees_with_trying_all_orders(steps: list[tuple[str, int]], random: object) -> None:
    history = []
    for number, (kind, seen) in enumerate(steps):
        called = number * 2
        returned = called + 1 + seen * 3
        if kind == "p":
            history.append(put(str(number), called, returned))
        else:
            history.append(
                get(ABSENT if seen == 0 else str(max(0, number - seen)), called, returned)
            )
    assert linearizable(history) == any(map(_explains, itertools.permutations(history)))


def _explains(order: tuple[Operation, ...]) -> bool:
    state = ABSENT
    for position, one in enumerate(order):
        if any(later.returned < one.called for later in order[position + 1 :]):
            return False
        after = one.effect(state)
        if after is None:
            return False
        state = after
    return True
