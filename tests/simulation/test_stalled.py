"""A disk that stands still for five seconds costs writes nothing: on a simulated clock."""

from __future__ import annotations

import asyncio

import pytest

from s3node.base.limits import STRAGGLER_GRACE_S
from tests.simulation.model import Model, begin, put
from tests.simulation.node import Client, Universe

STALL_S = 5.0
SIZE = 9000
OTHER_DISKS_S = 0.02
"""What disks that take a millisecond a batch need for a PUT: shards, then the journal's frame."""


async def timed(client: Client, model: Model, key: str) -> float:
    clock = asyncio.get_running_loop().time
    began = clock()
    assert await put(client, model, key, SIZE) == 200
    return clock() - began


@pytest.mark.parametrize("slot", range(3))
def test_a_put_does_not_wait_for_it(slot: int) -> None:
    """One learns that it does not answer; the others neither wait for it nor lose anything."""
    universe, model = Universe(slot, disks=6, parity=2), Model()
    universe.paced = True

    async def work(client: Client) -> None:
        loop = asyncio.get_running_loop()
        await begin(client, model)
        healthy = [await timed(client, model, f"before/{number}") for number in range(30)]
        assert max(healthy) < OTHER_DISKS_S
        universe.slow[slot] = STALL_S
        ends = loop.time() + STALL_S
        first = await timed(client, model, "first")
        assert first < STRAGGLER_GRACE_S + OTHER_DISKS_S
        del universe.slow[slot]  # the batch that has begun takes its time
        stalled = []
        while loop.time() < ends - 1:
            stalled.append(await timed(client, model, f"stalled/{len(stalled)}"))
            await asyncio.sleep(0.05)
        assert len(stalled) > 40 and max(stalled) < OTHER_DISKS_S
        await asyncio.sleep(2)
        assert client.node.status()["redundancy"] == {"owed_shards": 0}, "late shards are entered"
        again = [await timed(client, model, f"after/{number}") for number in range(30)]
        assert max(again) < OTHER_DISKS_S

    universe.live(work)
