"""What no task awaits is still heard of: assertions of ours in callbacks end the process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from s3node.objects.budget import Budget
from s3node.serving.life import watch_callbacks


def ours() -> None:
    Budget(1).give(1)  # more than was taken


def of_others() -> None:
    raise AssertionError("somebody else's")


def no_assertion() -> None:
    raise ValueError("a peer did something odd")


@pytest.mark.parametrize(
    ("callback", "ends"), [(ours, True), (of_others, False), (no_assertion, False)]
)
def test_an_assertion_of_ours_in_a_callback_ends_the_process(
    callback: Callable[[], None], ends: bool
) -> None:
    async def scenario() -> list[BaseException]:
        broken: list[BaseException] = []
        watch_callbacks(broken.append)
        asyncio.get_running_loop().call_soon(callback)
        await asyncio.sleep(0.01)
        return broken

    assert bool(asyncio.run(scenario())) == ends
