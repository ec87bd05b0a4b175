"""MD5 of many requests shares the lanes, delays nobody, and survives what may happen to it."""

from __future__ import annotations

import asyncio
import gc
import hashlib
import random
import threading
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from s3node.base.clock import Clock, SystemClock
from s3node.base.limits import HASH_STEP_BYTES
from s3node.base.md5 import LANES_MAX, Job, Md5
from s3node.base.md5 import advance as advance_jobs
from s3node.objects import hashing
from s3node.objects.hashing import GATHER_NS, IDLE_NS, SharedHashing

NOISE = memoryview(random.Random(4).randbytes(1 << 20))


def nothing() -> None:
    """Is to be done besides."""


class Turns(SystemClock):
    """A clock by which every turn of the loop, while somebody waits, takes so long."""

    def __init__(self, turn_ns: int = 0) -> None:
        self.now_ns, self.turn_ns = 0, turn_ns

    def monotonic_ns(self) -> int:
        self.now_ns += self.turn_ns
        return self.now_ns


def run(
    scenario: Callable[[SharedHashing, ThreadPoolExecutor], Coroutine[Any, Any, None]],
    clock: Clock | None = None,
) -> None:
    clock = clock or Turns()

    async def main() -> None:
        with ThreadPoolExecutor(1) as thread:
            await asyncio.wait_for(scenario(SharedHashing(thread, clock), thread), 60)

    asyncio.run(main())


class Held:
    """Stands in the place of `advance`: each crossing waits until it is let go."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.begun, self.let_go = threading.Semaphore(0), threading.Semaphore(0)
        self.sizes: list[int] = []
        self.fault: BaseException | None = None
        monkeypatch.setattr(hashing, "advance", self.advance)

    def advance(self, jobs: Sequence[Job], bytes_max: int) -> None:
        self.sizes.append(len(jobs))
        self.begun.release()
        assert self.let_go.acquire(timeout=30)
        if self.fault is not None:
            raise self.fault
        advance_jobs(jobs, bytes_max)

    async def crossing(self) -> None:
        """The next one has begun."""
        assert await asyncio.to_thread(self.begun.acquire, timeout=30)


async def turns(count: int = 3) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def test_many_streams_in_many_pieces() -> None:
    async def scenario(shared: SharedHashing, _: ThreadPoolExecutor) -> None:
        source = random.Random(1)

        async def one() -> None:
            stream, oracle = Md5(), hashlib.md5()
            for _ in range(source.randrange(6)):
                start = source.randrange(1000)
                sizes = [source.choice([0, 5, 64, 4096, 100_000]) for _ in range(3)]
                pieces = [NOISE[start:][:size] for size in sizes]
                await shared.advance(stream, pieces, nothing)
                for piece in pieces:
                    oracle.update(piece)
                assert stream.digest() == oracle.digest()

        await asyncio.gather(*(one() for _ in range(40)))

    run(scenario)


def test_who_comes_meanwhile_goes_on_together(monkeypatch: pytest.MonkeyPatch) -> None:
    held = Held(monkeypatch)

    async def scenario(shared: SharedHashing, _: ThreadPoolExecutor) -> None:
        streams = [Md5() for _ in range(12)]
        lone = asyncio.create_task(shared.advance(streams[0], [NOISE[:1000]], nothing))
        await held.crossing()
        others = [
            asyncio.create_task(shared.advance(one, [NOISE[:2000]], nothing)) for one in streams[1:]
        ]
        await turns()
        held.let_go.release(2)
        await asyncio.gather(lone, *others)
        assert held.sizes == [1, 11]
        assert (shared.crossings, shared.advanced) == (2, 12)
        assert streams[0].digest() == hashlib.md5(NOISE[:1000]).digest()
        assert {one.digest() for one in streams[1:]} == {hashlib.md5(NOISE[:2000]).digest()}

    run(scenario)


def test_a_long_one_keeps_nobody_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    held = Held(monkeypatch)

    async def scenario(shared: SharedHashing, _: ThreadPoolExecutor) -> None:
        long, short = Md5(), Md5()
        pieces = [NOISE[:HASH_STEP_BYTES]] * 4
        first = asyncio.create_task(shared.advance(long, pieces, nothing))
        await held.crossing()
        second = asyncio.create_task(shared.advance(short, [NOISE[:100]], nothing))
        await turns()
        held.let_go.release(2)
        await second
        assert not first.done(), "two of four steps"
        held.let_go.release(2)
        await first
        assert held.sizes == [1, 2, 1, 1]
        assert long.digest() == hashlib.md5(b"".join(pieces)).digest()

    run(scenario)


def test_of_several_uploads_streams_wait_while_the_loop_is_busy() -> None:
    clock = Turns(IDLE_NS)

    async def scenario(shared: SharedHashing, _: ThreadPoolExecutor) -> None:
        for _ in range(3):
            shared.begin()
        streams = [Md5() for _ in range(3)]
        waiting = []
        for stream in streams:
            waiting.append(asyncio.create_task(shared.advance(stream, [NOISE[:2000]], nothing)))
            await turns()
        assert shared.crossings == 0
        clock.turn_ns -= 1
        await asyncio.gather(*waiting)
        assert (shared.crossings, shared.advanced) == (1, 3)
        assert {one.digest() for one in streams} == {hashlib.md5(NOISE[:2000]).digest()}

    run(scenario, clock)


def test_nobody_waits_long_nor_when_all_lanes_are_taken_nor_alone() -> None:
    async def scenario(shared: SharedHashing, _: ThreadPoolExecutor) -> None:
        shared.begin()
        shared.begin()
        await shared.advance(Md5(), [NOISE[:2000]], nothing)
        assert clock.now_ns == IDLE_NS + GATHER_NS, "as long as may be"
        many = [shared.advance(Md5(), [NOISE[:2000]], nothing) for _ in range(LANES_MAX)]
        await asyncio.gather(*many)
        assert (shared.crossings, shared.advanced) == (2, 1 + LANES_MAX)
        assert clock.now_ns == 2 * IDLE_NS + GATHER_NS, "begun when the last came"
        shared.end()
        await shared.advance(Md5(), [NOISE[:2000]], nothing)
        assert clock.now_ns == 2 * IDLE_NS + GATHER_NS, "nobody looked"

    clock = Turns(IDLE_NS)
    run(scenario, clock)


def test_a_fault_is_told_to_all_who_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    held = Held(monkeypatch)

    async def scenario(shared: SharedHashing, _: ThreadPoolExecutor) -> None:
        waiting = [asyncio.create_task(shared.advance(Md5(), [NOISE], nothing)) for _ in range(2)]
        await held.crossing()
        waiting.append(asyncio.create_task(shared.advance(Md5(), [NOISE], nothing)))
        await turns()
        waiting[0].cancel()
        held.fault = MemoryError("injected")
        held.let_go.release()
        outcomes = await asyncio.gather(*waiting, return_exceptions=True)
        assert [type(one) for one in outcomes] == [asyncio.CancelledError, MemoryError, MemoryError]
        held.fault = None
        held.let_go.release(2)
        stream = Md5()
        await shared.advance(stream, [NOISE[:10]], nothing)
        assert stream.digest() == hashlib.md5(NOISE[:10]).digest()

    run(scenario)


def test_who_no_longer_waits_harms_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """The buffers of a cancelled request are held until its bytes are taken."""
    held = Held(monkeypatch)

    async def scenario(shared: SharedHashing, _: ThreadPoolExecutor) -> None:
        buffer, stream, other = bytearray(100_000), Md5(), Md5()
        cancelled = asyncio.create_task(shared.advance(stream, [memoryview(buffer)], nothing))
        await held.crossing()
        cancelled.cancel()
        await asyncio.gather(cancelled, return_exceptions=True)
        with pytest.raises(BufferError):
            buffer.clear()
        with pytest.raises(AssertionError, match="being advanced"):
            stream.digest()
        held.let_go.release(3)
        await shared.advance(other, [NOISE], nothing)
        assert stream.digest() == hashlib.md5(bytes(100_000)).digest()
        assert other.digest() == hashlib.md5(NOISE).digest()

    run(scenario)


def test_what_is_to_be_done_after_is_done_by_the_same_thread_and_its_fault_is_told() -> None:
    def fail() -> None:
        raise ValueError("after 10 bytes")

    async def scenario(shared: SharedHashing, thread: ThreadPoolExecutor) -> None:
        stream = Md5()
        ident = await asyncio.get_running_loop().run_in_executor(thread, threading.get_ident)
        assert await shared.advance(stream, [NOISE[:10]], threading.get_ident) == ident
        with pytest.raises(ValueError, match="after 10 bytes"):
            await shared.advance(stream, [NOISE[:10]], fail)
        assert stream.digest() == hashlib.md5(bytes(NOISE[:10]) * 2).digest(), "it may go on"

    run(scenario)


def test_faults_that_hold_buffers_are_garbage_that_can_be_collected() -> None:
    """Frames, futures and views of buffers in cycles: the collector must get through them."""

    def fail() -> None:
        raise ValueError("injected")

    async def scenario(shared: SharedHashing, _: ThreadPoolExecutor) -> None:
        for _ in range(50):
            view = memoryview(bytearray(1000))[10:]
            with pytest.raises(ValueError, match="injected") as told:
                await shared.advance(Md5(), [view], fail)
            del told, view
            gc.collect()

    run(scenario)
