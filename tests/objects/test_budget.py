"""The buffer budget: bounded, in order, and nothing is lost when a waiter goes away."""

from __future__ import annotations

import asyncio
import selectors
import time
from collections.abc import Coroutine
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from s3node.base.errors import BufferLost
from s3node.base.limits import CLIENT_SILENCE_S
from s3node.objects.budget import Budget

SERVED_S_MAX = 60.0
"""Ends a test that would never end."""


class _NoWait(selectors.DefaultSelector):
    """Time passes only when everybody waits for it; a deadlock is an error."""

    now = 0.0

    def select(self, timeout: float | None = None) -> Any:
        assert timeout is not None, "everybody waits, and for nothing"
        self.now += max(timeout, 0)
        return super().select(0)


def run_in_virtual_time(coroutine: Coroutine[Any, Any, None]) -> None:
    selector = _NoWait()
    loop = asyncio.SelectorEventLoop(selector)
    loop.time = lambda: selector.now  # type: ignore[method-assign]
    try:
        loop.run_until_complete(coroutine)
    finally:
        loop.close()


def test_waiters_are_served_in_order_and_never_over_the_total() -> None:
    async def scenario() -> list[int]:
        budget = Budget(10)
        order = []

        async def user(name: int, amount: int) -> None:
            await budget.take(amount)
            order.append(name)
            assert budget.used <= budget.total
            await asyncio.sleep(0)
            budget.give(amount)

        await asyncio.gather(*(user(i, amount) for i, amount in enumerate([6, 7, 1, 9, 2, 10])))
        assert budget.used == 0
        return order

    assert asyncio.run(scenario()) == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("when", ["waiting", "served"])
def test_a_cancelled_waiter_takes_nothing(when: str) -> None:
    async def scenario() -> None:
        budget = Budget(10)
        await budget.take(10)
        waiter = asyncio.ensure_future(budget.take(5))
        other = asyncio.ensure_future(budget.take(5))
        await asyncio.sleep(0)
        if when == "served":
            budget.give(10)
            waiter.cancel()
        else:
            waiter.cancel()
            await asyncio.sleep(0)
            budget.give(10)
        await asyncio.wait_for(other, SERVED_S_MAX)
        assert waiter.cancelled() or waiter.cancelling()
        await asyncio.gather(waiter, return_exceptions=True)
        assert budget.used == 5
        budget.give(5)

    asyncio.run(scenario())


STRIPE, SHARD = 6, 1


class Filled:
    """So many bytes of a stripe have come."""

    def __init__(self, filled: int) -> None:
        self.filled = filled
        self.dropped = False

    def shrink(self) -> int:
        return self.filled

    def drop(self) -> None:
        assert not self.dropped, "dropped once"
        self.dropped = True


def test_the_memory_of_silent_clients_is_lent_to_others_and_comes_back_in_turn() -> None:
    async def scenario() -> None:
        budget = Budget(12)
        slow = [await budget.lease(STRIPE) for _ in range(2)]
        for lease in slow:
            lease.memory = Filled(SHARD)
            lease.await_client()
        assert not budget.try_take(1)
        other = await asyncio.wait_for(budget.lease(STRIPE), SERVED_S_MAX)
        assert [lease.held for lease in slow] == [SHARD, SHARD]
        slow[0].hear()
        again = asyncio.ensure_future(slow[0].restore())
        await asyncio.sleep(CLIENT_SILENCE_S * 2)
        assert not again.done(), "whose client sends keeps all of its room"
        other.end()
        await asyncio.wait_for(again, SERVED_S_MAX)
        assert slow[0].held == STRIPE
        for lease in slow:
            lease.end()
        assert budget.used == 0

    asyncio.run(scenario())


def test_that_this_process_stood_still_is_no_silence_of_clients() -> None:
    async def scenario() -> None:
        budget = Budget(STRIPE)
        lease = await budget.lease(STRIPE)
        lease.memory = Filled(0)
        lease.await_client()
        other = asyncio.ensure_future(budget.lease(STRIPE))
        await asyncio.sleep(0)
        time.sleep(2 * CLIENT_SILENCE_S)
        await asyncio.sleep(0)  # timers run
        await asyncio.sleep(0)  # and then who was woken by what had come meanwhile
        lease.hear()
        assert lease.held == STRIPE
        lease.end()
        (await asyncio.wait_for(other, SERVED_S_MAX)).end()

    asyncio.run(scenario())


def test_silent_clients_hold_a_bounded_part_and_the_longest_begun_are_dropped() -> None:
    async def scenario() -> None:
        budget = Budget(24)
        slow = [await budget.lease(STRIPE) for _ in range(4)]
        stripes = [Filled(5 * SHARD) for _ in slow]
        for lease, stripe in zip(slow, stripes, strict=True):
            lease.memory = stripe
            lease.await_client()
        other = await asyncio.wait_for(budget.lease(STRIPE), SERVED_S_MAX)
        assert [lease.dropped for lease in slow] == [True, False, False, False]
        assert [one.dropped for one in stripes] == [True, False, False, False]
        used = budget.used
        later = asyncio.ensure_future(budget.lease(STRIPE))
        await asyncio.sleep(2.5 * CLIENT_SILENCE_S)  # looked at again, and silent all the while
        assert (slow[0].held, budget.used) == (0, used), "what was dropped stays dropped"
        with pytest.raises(BufferLost):
            slow[0].hear()
        other.end()
        for lease in (*slow, await asyncio.wait_for(later, SERVED_S_MAX)):
            lease.end()
        assert budget.used == 0

    asyncio.run(scenario())


@given(st.integers(1, 200), st.randoms(use_true_random=False))
@settings(max_examples=25)
def test_fillers_never_wait_for_each_other_for_ever(total: int, chance: Random) -> None:
    """Whatever clients do, as long as each goes on in the end: all finish or are dropped."""

    async def fill(budget: Budget, size: int) -> bool:
        lease = await budget.lease(size)
        lease.memory = memory = Filled(0)
        try:
            for _ in range(size - 1):
                if chance.random() < 0.1:
                    lease.await_client()
                    await asyncio.sleep(chance.random() * 3 * CLIENT_SILENCE_S)
                    lease.hear()
                await asyncio.sleep(0)
                await lease.restore()
                memory.filled += 1
            await lease.restore()
        except BufferLost:
            return False
        finally:
            lease.end()
        return True

    async def scenario() -> None:
        budget = Budget(4 * total)
        sizes = [chance.randint(1, min(total, 9)) for _ in range(40)]
        await asyncio.gather(*(fill(budget, size) for size in sizes))
        assert budget.used == 0
        assert budget.peak <= budget.total

    run_in_virtual_time(scenario())
