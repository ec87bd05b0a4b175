"""The buffer budget: bounded, in order, and nothing is lost when a waiter goes away."""

from __future__ import annotations

import asyncio

import pytest

from s3node.objects.budget import Budget


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
        await asyncio.wait_for(other, 1)
        assert waiter.cancelled() or waiter.cancelling()
        await asyncio.gather(waiter, return_exceptions=True)
        assert budget.used == 5
        budget.give(5)

    asyncio.run(scenario())
