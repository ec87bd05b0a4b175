"""How long shards are waited for, and what a disk that stands still costs who reads."""

from __future__ import annotations

import asyncio

from s3node.base.limits import READ_HEDGE_S, READ_HEDGE_S_FIRST, READ_HEDGE_S_MIN
from s3node.objects.patience import Patience
from tests.simulation.model import BUCKET, LARGE
from tests.simulation.node import Client, Universe

READS = 400
STALL_S = 5.0


def test_it_is_learnt_from_what_reads_take() -> None:
    patience = Patience()
    assert patience.seconds == READ_HEDGE_S_FIRST
    for _ in range(100):
        patience.learn(0.001, 0)
    assert patience.seconds == READ_HEDGE_S_MIN
    for _ in range(100):
        patience.learn(0.1, 0)
    assert 0.1 <= patience.seconds < 0.11, "steady: a little longer than they take"
    for number in range(100):
        patience.learn(0.05 + 0.1 * (number % 2), 0)
    assert 0.2 < patience.seconds < 0.4, "unsteady: the deviation four times"
    for _ in range(100):
        patience.learn(patience.seconds, 2)
    assert patience.seconds == READ_HEDGE_S, "all disks are busy: they are given time"


def test_one_disk_that_is_late_says_nothing_of_the_others() -> None:
    patience = Patience()
    for _ in range(100):
        patience.learn(0.001, 0)
        patience.learn(READ_HEDGE_S, 1)
    assert patience.seconds == READ_HEDGE_S_MIN


async def read_times(client: Client) -> list[float]:
    """Virtual seconds of one read after the other."""
    clock = asyncio.get_running_loop().time
    times = []
    for number in range(READS):
        began = clock()
        answer = await client.ask("GET", f"{BUCKET}/{number % 8}")
        assert answer.status == 200 and len(answer.body) == LARGE
        times.append(clock() - began)
    return sorted(times)


def test_a_disk_that_stands_still_for_five_seconds_costs_a_read_in_a_hundred_nothing() -> None:
    """On the simulated clock: six disks, two of parity; the 99th percentile stays as it was, and
    the one read that met the disk first is read around it."""
    universe = Universe(5, disks=6, parity=2)
    universe.paced = True

    async def work(client: Client) -> None:
        assert (await client.ask("PUT", BUCKET)).status == 200
        for number in range(8):
            assert (await client.ask("PUT", f"{BUCKET}/{number}", body=b"x" * LARGE)).status == 200
        healthy = await read_times(client)
        universe.slow[2] = STALL_S
        ill = await read_times(client)
        universe.slow.clear()
        p99 = READS * 99 // 100
        print(f"p99 {healthy[p99]:.4f} s, with a disk that stands {ill[p99]:.4f} s")
        assert ill[p99] <= 2 * healthy[p99]
        assert ill[-1] <= READ_HEDGE_S_FIRST + 0.1, "who met it first did not wait for it either"

    universe.live(work)
