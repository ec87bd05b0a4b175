"""The same seed gives the same trace: every call, its outcome, and every answer."""

from __future__ import annotations

from tests.simulation.model import OPERATIONS, Model, begin, put
from tests.simulation.node import Client, Universe


def trace_of(seed: int) -> tuple[str, int]:
    universe, model = Universe(seed), Model()
    universe.paced = True

    async def work(client: Client) -> None:
        await begin(client, model)
        for step in OPERATIONS.values():
            await step(client, model)

    universe.live(work)
    universe.power_cut()
    universe.live(lambda client: put(client, model, "again", 9000))
    return universe.trace.digest(), universe.trace.events


def test_the_same_seed_gives_the_same_trace() -> None:
    first, again, other = trace_of(7), trace_of(7), trace_of(8)
    assert first == again
    assert first[0] != other[0]
    assert first[1] > 500
