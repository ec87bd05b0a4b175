"""Turns: no more at once than there are, and a client with many waiting keeps no other waiting."""

from __future__ import annotations

import asyncio
import random

import pytest

from s3node.base.errors import S3Error
from s3node.base.shares import Client, Turns
from s3node.ops.context import DocumentRoom

GREEDY, OTHER = ("key", "10.0.0.1"), ("key", "10.0.0.2")


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


class Going:
    """Tasks that take a turn and keep it until they are told."""

    def __init__(self, turns: Turns) -> None:
        self._turns = turns
        self.order: list[Client] = []
        self.now: list[asyncio.Event] = []
        self.most = 0

    def begin(self, client: Client) -> asyncio.Task[None]:
        return asyncio.get_running_loop().create_task(self._go(client))

    async def _go(self, client: Client) -> None:
        async with self._turns.turn(client):
            self.order.append(client)
            done = asyncio.Event()
            self.now.append(done)
            self.most = max(self.most, len(self.now))
            try:
                await done.wait()
            finally:
                self.now.remove(done)

    async def end_one(self) -> None:
        self.now[0].set()
        await settle()


def test_who_comes_last_does_not_wait_for_all_of_another() -> None:
    async def run() -> None:
        going = Going(Turns(4))
        tasks = [going.begin(GREEDY) for _ in range(100)]
        await settle()
        tasks += [going.begin(OTHER) for _ in range(2)]
        await settle()
        assert going.order == [GREEDY] * 4
        await going.end_one()
        await going.end_one()
        assert going.order[4:] == [OTHER, OTHER]
        while going.now:
            await going.end_one()
        await asyncio.gather(*tasks)
        assert going.order.count(GREEDY) == 100
        assert going.most == 4

    asyncio.run(run())


@pytest.mark.parametrize("seed", range(20))
def test_cancelled_ones_leave_no_turn_behind(seed: int) -> None:
    drawn = random.Random(seed)

    async def run() -> None:
        turns = Turns(3)
        going = Going(turns)
        tasks: list[asyncio.Task[None]] = []
        for _ in range(300):
            choice = drawn.random()
            if choice < 0.5:
                tasks.append(going.begin(("k", str(drawn.randrange(4)))))
            elif choice < 0.75 and going.now:
                drawn.choice(going.now).set()
            elif tasks:
                drawn.choice(tasks).cancel()
            for _ in range(drawn.randrange(4)):
                await asyncio.sleep(0)
            assert len(going.now) <= 3
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert (turns._free, len(turns._going), turns._waiting) == (3, 0, [])

    asyncio.run(run())


def test_one_client_does_not_get_all_the_memory_of_documents() -> None:
    room = DocumentRoom(1000)
    room.take(GREEDY, 700)
    room.take(GREEDY, 50)
    with pytest.raises(S3Error, match="SlowDown"):
        room.take(GREEDY, 1)
    room.take(OTHER, 187)
    with pytest.raises(S3Error, match="SlowDown"):
        room.take(OTHER, 100)
    room.give(GREEDY, 750)
    room.take(OTHER, 500)
    room.give(OTHER, 687)
    assert room.used == 0
    room.take(OTHER, 750)
