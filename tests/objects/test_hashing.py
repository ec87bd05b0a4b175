"""Jobs of many requests go to the thread together, delay nobody, and survive what may happen.

What the thread does with them is looked at in tests/c/hasher_test.c.
"""

from __future__ import annotations

import asyncio
import errno
import gc
import hashlib
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from typing_extensions import Buffer

from ec import Geometry, NativeCodec
from s3node.base.arena import Loose
from s3node.base.clock import Clock, SystemClock
from s3node.base.md5 import LANES_MAX, Md5
from s3node.objects.coding import Job, Streams, Update
from s3node.objects.filling import FullStripe
from s3node.objects.hasher import NativeHasher, Told
from s3node.objects.hashing import GATHER_NS, IDLE_NS, SharedHashing, Upload

NOISE = memoryview(random.Random(4).randbytes(4 << 20))
GEOMETRY = Geometry(4, 2)
CODEC = NativeCodec()


def job(stream: Md5, data: Buffer, update: Update | None = None) -> Job:
    """A stripe of these bytes."""
    size = len(data)
    row = Loose(GEOMETRY.n, -(-size // GEOMETRY.k))
    row.whole[:size] = data
    full = FullStripe(size, len(row.places[0]), row)
    return Job(Streams(stream, None, update), CODEC, GEOMETRY, full)


class Turns(SystemClock):
    """A clock by which every turn of the loop, while somebody waits, takes so long."""

    def __init__(self, turn_ns: int = 0) -> None:
        self.now_ns, self.turn_ns = 0, turn_ns

    def monotonic_ns(self) -> int:
        self.now_ns += self.turn_ns
        return self.now_ns


Scenario = Callable[[SharedHashing, ThreadPoolExecutor], Coroutine[Any, Any, None]]


def run(
    scenario: Scenario,
    clock: Clock | None = None,
    hasher: Callable[[Told], Any] = NativeHasher,
) -> None:
    async def main() -> None:
        with ThreadPoolExecutor(1) as thread:
            shared = SharedHashing(thread, clock or Turns(), hasher)
            try:
                await asyncio.wait_for(scenario(shared, thread), 60)
            finally:
                shared.close()

    asyncio.run(main())


class Held(NativeHasher):
    """Keeps what it is given until it is let go; notes what came together."""

    def __init__(self, told: Told) -> None:
        super().__init__(told)
        self.batches: list[list[Job]] = []
        self.fault: Exception | None = None

    def submit(self, jobs: Sequence[Job]) -> None:
        if self.fault is not None:
            raise self.fault
        self.batches.append(list(jobs))

    def let_go(self) -> None:
        held, self.batches = self.batches, []
        for jobs in held:
            super().submit(jobs)


def run_held(
    scenario: Callable[[SharedHashing, Held], Coroutine[Any, Any, None]], clock: Clock
) -> None:
    hashers: list[Held] = []

    def make(told: Told) -> Held:
        hashers.append(Held(told))
        return hashers[0]

    run(lambda shared, _: scenario(shared, hashers[0]), clock, make)


async def turns(count: int = 3) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def test_many_streams_in_many_stripes() -> None:
    async def scenario(shared: SharedHashing, _: ThreadPoolExecutor) -> None:
        source = random.Random(1)

        async def one() -> None:
            stream, oracle = Md5(), hashlib.md5()
            for _ in range(source.randrange(6)):
                start, size = source.randrange(1000), source.choice([1, 5, 64, 4096, 100_000])
                await shared.advance(job(stream, NOISE[start:][:size]))
                oracle.update(NOISE[start:][:size])
                assert stream.digest() == oracle.digest()

        await asyncio.gather(*(one() for _ in range(40)))

    run(scenario)


def test_of_several_uploads_streams_wait_while_the_loop_is_busy() -> None:
    clock = Turns(IDLE_NS)

    async def scenario(shared: SharedHashing, held: Held) -> None:
        for _ in range(3):
            shared.begin()
        streams = [Md5() for _ in range(3)]
        waiting = []
        for stream in streams:
            waiting.append(asyncio.create_task(shared.advance(job(stream, NOISE[:2000]))))
            await turns()
        assert not held.batches
        clock.turn_ns -= 1
        await turns()
        assert [len(batch) for batch in held.batches] == [3]
        held.let_go()
        await asyncio.gather(*waiting)
        assert {one.digest() for one in streams} == {hashlib.md5(NOISE[:2000]).digest()}

    run_held(scenario, clock)


def test_nobody_waits_long_nor_when_all_lanes_are_taken_nor_alone() -> None:
    async def scenario(shared: SharedHashing, held: Held) -> None:
        shared.begin()
        other = shared.begin()
        waiting = [asyncio.create_task(shared.advance(job(Md5(), NOISE[:2000])))]
        while not held.batches:
            await turns(1)
        assert clock.now_ns == IDLE_NS + GATHER_NS, "as long as may be"
        for _ in range(LANES_MAX):
            waiting.append(asyncio.create_task(shared.advance(job(Md5(), NOISE[:2000]))))
        await turns(1)
        assert [len(batch) for batch in held.batches] == [1, LANES_MAX]
        assert clock.now_ns == 2 * IDLE_NS + GATHER_NS, "begun when the last came"
        other.stored()
        other.end()
        waiting.append(asyncio.create_task(shared.advance(job(Md5(), NOISE[:2000]))))
        await turns()
        assert [len(batch) for batch in held.batches] == [1, LANES_MAX, 1]
        assert clock.now_ns == 3 * IDLE_NS + GATHER_NS, "nobody looked after it came"
        held.let_go()
        await asyncio.gather(*waiting)

    clock = Turns(IDLE_NS)
    run_held(scenario, clock)


class Uploads:
    """Uploads of one stripe each."""

    def __init__(self, shared: SharedHashing, held: Held) -> None:
        self.shared, self.held = shared, held
        self.receiving: list[Upload] = []
        self.waiting: list[asyncio.Task[None]] = []

    def begin(self, count: int) -> None:
        self.receiving += [self.shared.begin() for _ in range(count)]

    async def come(self, count: int) -> list[Upload]:
        """So many have been received; nobody looks meanwhile."""
        came, self.receiving = self.receiving[:count], self.receiving[count:]
        for upload in came:
            work = self.shared.advance(job(Md5(), NOISE[:2000]), upload)
            self.waiting.append(asyncio.create_task(work))
        await turns(1)
        return came

    @property
    def batches(self) -> list[int]:
        return [len(batch) for batch in self.held.batches]

    async def finish(self) -> None:
        self.held.let_go()
        await asyncio.gather(*self.waiting)


def test_who_is_only_being_decided_is_not_waited_with() -> None:
    async def scenario(shared: SharedHashing, held: Held) -> None:
        uploads = Uploads(shared, held)
        for count in (1, 2):
            uploads.begin(1)
            (one,) = await uploads.come(1)
            assert uploads.batches == [1] * count
            one.stored()
        await uploads.finish()

    run_held(scenario, Turns(IDLE_NS))


def test_many_uploads_form_two_groups() -> None:
    """As many are waited for as are being stored; and those that end are waited for no more."""

    async def scenario(shared: SharedHashing, held: Held) -> None:
        uploads = Uploads(shared, held)
        uploads.begin(12)
        first = await uploads.come(1)
        while not held.batches:
            await turns(1)
        first += await uploads.come(1)
        while len(held.batches) < 2:
            await turns(1)
        assert uploads.batches == [1, 1], "fewer than four: they go when nothing else is to do"
        clock.turn_ns = 0  # nothing is to do, from now on: of two groups that says nothing
        second = await uploads.come(2)
        assert uploads.batches == [1, 1, 2], "as many as are being stored"
        third = await uploads.come(3)
        await turns()
        assert uploads.batches == [1, 1, 2], "they wait for the fourth"
        first[0].end()
        assert uploads.batches == [1, 1, 2, 3], "or for one that ends"
        fourth = await uploads.come(5)
        await turns()
        assert uploads.batches == [1, 1, 2, 3], "six are being stored"
        await asyncio.sleep(2 * GATHER_NS / 1e9)
        assert uploads.batches == [1, 1, 2, 3, 5], "but not for long"
        await uploads.finish()
        for one in (*first, *second, *third, *fourth):
            one.end()  # one of them for the second time
        uploads.begin(3)
        await uploads.come(1)
        await turns()
        assert uploads.batches == [1], "nobody is counted any more"
        await uploads.finish()

    clock = Turns(IDLE_NS - 1)
    run_held(scenario, clock)


def test_the_middle_of_an_upload_is_in_no_group() -> None:
    """Nor is who comes with it: they go when the loop has nothing else to do."""

    async def scenario(shared: SharedHashing, held: Held) -> None:
        uploads = Uploads(shared, held)
        uploads.begin(12)
        await uploads.come(4)
        uploads.waiting.append(asyncio.create_task(shared.advance(job(Md5(), NOISE[:2000]))))
        await turns()
        assert uploads.batches == [4, 1]
        await uploads.come(2)
        await turns()
        assert uploads.batches == [4, 1], "asleep: four are being stored"
        uploads.waiting.append(asyncio.create_task(shared.advance(job(Md5(), NOISE[:2000]))))
        await turns()
        assert uploads.batches == [4, 1, 3], "it wakes them"
        await uploads.finish()

    run_held(scenario, Turns(IDLE_NS - 1))


def test_a_group_that_has_become_too_small_sleeps_no_longer() -> None:
    async def scenario(shared: SharedHashing, held: Held) -> None:
        uploads = Uploads(shared, held)
        uploads.begin(12)
        stored = await uploads.come(4)
        fifth = await uploads.come(1)
        await turns()
        for one in stored[:2]:
            assert uploads.batches == [4]
            one.end()
            await turns()
        assert uploads.batches == [4, 1], "of three uploads nobody waits on an idle loop"
        await uploads.come(1)
        for one in [*stored, *fifth, *uploads.receiving]:
            one.end()
        assert uploads.batches == [4, 1, 1], "nobody else is there"
        await uploads.finish()

    run_held(scenario, Turns(IDLE_NS - 1))


def test_who_gives_up_is_not_waited_for() -> None:
    async def scenario(shared: SharedHashing, held: Held) -> None:
        uploads = Uploads(shared, held)
        uploads.begin(12)
        stored = await uploads.come(4)
        assert uploads.batches == [4]
        given_up = await uploads.come(3)
        await turns()
        for one, task in zip(given_up, uploads.waiting[-3:], strict=True):
            task.cancel()
            one.end()
        await uploads.come(1)
        assert uploads.batches == [4, 4], "their stripes are hashed, for they are in memory"
        await uploads.come(4)
        assert uploads.batches == [4, 4], "five are being stored: those and one"
        stored[0].end()
        assert uploads.batches == [4, 4, 4]
        held.let_go()
        await asyncio.gather(*uploads.waiting, return_exceptions=True)

    run_held(scenario, Turns(IDLE_NS - 1))


@pytest.mark.parametrize("fault", [OSError("injected"), MemoryError("injected")])
def test_jobs_that_nobody_takes_are_their_uploads_misfortune(fault: Exception) -> None:
    async def scenario(shared: SharedHashing, held: Held) -> None:
        shared.begin()
        shared.begin()
        held.fault = fault
        waiting = [asyncio.create_task(shared.advance(job(Md5(), NOISE))) for _ in range(3)]
        await turns(1)
        waiting[0].cancel()
        outcomes = await asyncio.gather(*waiting, return_exceptions=True)
        assert [type(one) for one in outcomes] == [asyncio.CancelledError, type(fault), type(fault)]
        held.fault = None
        stream = Md5()
        again = asyncio.create_task(shared.advance(job(stream, NOISE[:10])))
        await turns()
        held.let_go()
        await again
        assert stream.digest() == hashlib.md5(NOISE[:10]).digest()

    run_held(scenario, Turns())


def test_who_no_longer_waits_harms_nobody() -> None:
    """The buffers of a cancelled request are held until its bytes are taken."""

    async def scenario(shared: SharedHashing, held: Held) -> None:
        stream, other = Md5(), Md5()
        row = Loose(GEOMETRY.n, 25_000)
        buffer = row.whole.obj
        full = FullStripe(100_000, 25_000, row)
        of_it = Job(Streams(stream, None, None), CODEC, GEOMETRY, full)
        cancelled = asyncio.create_task(shared.advance(of_it))
        await turns()
        cancelled.cancel()
        await asyncio.gather(cancelled, return_exceptions=True)
        del row, full, of_it, cancelled
        gc.collect()
        with pytest.raises(BufferError):
            buffer.clear()
        with pytest.raises(AssertionError, match="being advanced"):
            stream.digest()
        held.let_go()
        later = asyncio.create_task(shared.advance(job(other, NOISE[:100_000])))
        await turns()
        held.let_go()
        await later
        assert stream.digest() == hashlib.md5(bytes(100_000)).digest()
        assert other.digest() == hashlib.md5(NOISE[:100_000]).digest()
        buffer.clear()

    run_held(scenario, Turns())


@pytest.mark.parametrize("where", ["in steps", "done", "gathered", "shown"])
def test_what_is_at_work_when_it_is_closed_is_let_go_of(where: str) -> None:
    """Half-way and in the queue; done but not told of; not given away yet; seen by others."""
    begun, go_on = threading.Event(), threading.Event()

    def update(view: memoryview) -> None:
        begun.set()
        assert go_on.wait(30)

    async def main() -> None:
        shared = SharedHashing(ThreadPoolExecutor(1), Turns(IDLE_NS))
        for _ in range(2 if where == "gathered" else 0):
            shared.begin()
        shard = 1 << 20 if where == "in steps" else 1000
        rows = [Loose(GEOMETRY.n, shard) for _ in range(10)]
        buffers = [row.whole.obj for row in rows]
        jobs = []
        for row in rows:
            full = FullStripe(4 * shard, shard, row)
            streams = Streams(Md5(), None, update if where == "shown" else None)
            jobs.append(Job(streams, CODEC, GEOMETRY, full))
        waiting = [asyncio.create_task(shared.advance(one)) for one in jobs]
        await turns(1)
        if where == "done":
            while not all(one.done for one in jobs):
                time.sleep(0.001)  # the loop is not to be told
        elif where == "shown":
            assert await asyncio.to_thread(begun.wait, 30)
            threading.Timer(0.05, go_on.set).start()
        shared.close()
        outcomes = await asyncio.gather(*waiting, return_exceptions=True)
        assert {type(one) for one in outcomes} == {asyncio.CancelledError}
        with pytest.raises(OSError, match="shutdown"):
            await shared.advance(job(Md5(), NOISE[:1000]))
        del row, rows, full, streams, jobs, waiting, outcomes
        gc.collect()
        for buffer in buffers:
            buffer.clear()

    asyncio.run(main())


def test_a_start_that_fails_half_way_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        shared = SharedHashing(ThreadPoolExecutor(1), Turns())
        loop, fds = asyncio.get_running_loop(), len(os.listdir("/proc/self/fd"))

        def full(*_: object) -> None:
            raise OSError(errno.ENOSPC, "injected")

        with monkeypatch.context() as patched:
            patched.setattr(loop, "add_reader", full)
            with pytest.raises(OSError, match="injected"):
                await shared.advance(job(Md5(), NOISE[:1000]))
        assert len(os.listdir("/proc/self/fd")) == fds
        await asyncio.wait_for(shared.advance(job(Md5(), NOISE[:1000])), 30)
        shared.close()

    asyncio.run(main())


def test_others_see_the_bytes_on_their_thread_and_their_fault_is_told() -> None:
    def fail(view: memoryview) -> None:
        raise ValueError(f"after {len(view)} bytes")

    async def scenario(shared: SharedHashing, thread: ThreadPoolExecutor) -> None:
        stream, seen = Md5(), bytearray()
        idents: list[int] = []

        def update(view: memoryview) -> None:
            idents.append(threading.get_ident())
            seen.extend(view)

        await shared.advance(job(stream, NOISE[:10], update))
        ident = await asyncio.get_running_loop().run_in_executor(thread, threading.get_ident)
        assert (idents, seen) == ([ident], NOISE[:10])
        failing = shared.advance(job(stream, NOISE[:10], fail))
        good = job(Md5(), NOISE[:10], seen.extend)
        outcomes = await asyncio.gather(failing, shared.advance(good), return_exceptions=True)
        assert [str(one) for one in outcomes] == ["after 10 bytes", "None"]
        assert good.digests(), "a fault of one is not another's"
        assert stream.digest() == hashlib.md5(bytes(NOISE[:10]) * 2).digest(), "it may go on"

    run(scenario)


def test_faults_that_hold_buffers_are_garbage_that_can_be_collected() -> None:
    """Frames, futures and views of buffers in cycles: the collector must get through them."""

    def fail(view: memoryview) -> None:
        raise ValueError("injected")

    async def scenario(shared: SharedHashing, _: ThreadPoolExecutor) -> None:
        for _ in range(50):
            with pytest.raises(ValueError, match="injected") as told:
                await shared.advance(job(Md5(), NOISE[:1000], fail))
            del told
            gc.collect()

    run(scenario)


def test_a_thread_for_others_that_cannot_be_had_is_one_uploads_misfortune() -> None:
    class Poor(ThreadPoolExecutor):
        refusals = 2

        def submit(self, *args: Any, **named: Any) -> Any:
            if self.refusals:
                self.refusals -= 1
                raise RuntimeError("can't start") if self.refusals else MemoryError("injected")
            return super().submit(*args, **named)

    async def main() -> None:
        with Poor(1) as thread:
            shared = SharedHashing(thread, SystemClock())
            seen, stream = bytearray(), Md5()
            refused = [job(Md5(), NOISE[:1000], seen.extend) for _ in range(2)]
            told = (shared.advance(one) for one in (*refused, job(Md5(), NOISE[:1000])))
            async with asyncio.timeout(30):
                outcomes = await asyncio.gather(*told, return_exceptions=True)
            assert [type(one) for one in outcomes] == [RuntimeError, MemoryError, type(None)]
            await asyncio.wait_for(shared.advance(job(stream, NOISE[:1000], seen.extend)), 10)
            assert (len(seen), stream.digest()) == (
                1000,
                hashlib.md5(NOISE[:1000]).digest(),
            )
            shared.close()

    asyncio.run(main())


NO_THREAD = """
import asyncio, resource
from tests.objects.test_hashing import NOISE, job
from s3node.base.md5 import Md5
from s3node.objects.hasher import NativeHasher

async def main():
    came = asyncio.Event()
    hasher = NativeHasher(lambda jobs: came.set())
    pages = int(open("/proc/self/statm").read().split()[0])
    unlimited = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + (1 << 20), -1))
    try:
        hasher.submit([job(Md5(), NOISE[:1000])])
    except OSError as fault:
        print("refused:", fault)
    resource.setrlimit(resource.RLIMIT_AS, unlimited)
    hasher.submit([job(Md5(), NOISE[:1000])])
    await asyncio.wait_for(came.wait(), 10)
    hasher.close()
    print("done")

asyncio.run(main())
"""


def test_without_memory_for_a_thread_jobs_are_refused_and_later_ones_taken() -> None:
    found = subprocess.run(
        [sys.executable, "-c", NO_THREAD], capture_output=True, text=True, timeout=60, check=False
    )
    assert (found.returncode, found.stderr) == (0, ""), found.stderr
    assert "refused: " in found.stdout and found.stdout.endswith("done\n"), found.stdout
