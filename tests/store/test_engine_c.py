"""The C engine by itself: under sanitizers, and each of its calls failing in turn."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from s3node.base.errors import StorageFault
from s3node.base.filesystem import DIRECT_ALIGN
from s3node.store import disks
from s3node.store.diskset import Disks
from s3node.store.native import NativeEngine
from s3node.store.seams import Place
from tests.simulation.faults import Faults, faulty_calls
from tests.store.world import (
    SLOTS,
    TEST_S_MAX,
    Append,
    World,
    append_of,
    appended,
    disk_id,
    log_append,
    outcomes,
    pack_record,
    read_back,
)

ROOT = Path(__file__).resolve().parents[2]
WARNINGS = ["-Wall", "-Wextra", "-Werror", "-Wconversion", "-Wshadow", "-Wpointer-arith"]


SOURCES = [
    *("csrc/engine.c", "csrc/engine_calls.c", "csrc/engine_queue.c"),
    "csrc/system.c",
    *("csrc/engine_direct.c", "csrc/engine_read.c", "csrc/engine_write.c"),
    *("csrc/record.c", "csrc/record_digests.c", "csrc/crc32.c"),
    *("csrc/xxh3.c", "csrc/xxh3_avx2.c", "csrc/xxh3_avx512.c"),
]
SANITIZERS = ["address,undefined", "thread"]


def build(program: str, sanitizer: str, into: Path) -> Path:
    """A program of tests/c with the engine in it."""
    built = into / program
    command = ["gcc", "-std=gnu11", "-O1", "-g", *WARNINGS, f"-fsanitize={sanitizer}"]
    command += ["-fno-sanitize-recover=all", "-pthread", "-Icsrc", "-o", str(built)]
    command += [*SOURCES, f"tests/c/{program}.c"]
    subprocess.run(command, cwd=ROOT, check=True, timeout=600)
    return built


@pytest.mark.parametrize("sanitizer", SANITIZERS)
def test_engine_under_sanitizers(sanitizer: str, tmp_path: Path, deep: bool) -> None:
    program = build("engine_test", sanitizer, tmp_path)
    rounds = "2000" if deep else "30"
    result = subprocess.run(
        [program, "1", rounds], check=False, capture_output=True, text=True, timeout=1200
    )
    assert (result.returncode, result.stdout) == (0, "ok\n"), result.stderr[-4000:]
    assert result.stderr == ""


@pytest.mark.parametrize("sanitizer", SANITIZERS)
def test_each_call_goes_wrong_in_each_way_under_sanitizers(sanitizer: str, tmp_path: Path) -> None:
    """EIO, ENOSPC, EINTR, short, empty, overstated and slow calls; no memory, no thread."""
    program = build("engine_faults_test", sanitizer, tmp_path)
    result = subprocess.run(
        [program, tmp_path], check=False, capture_output=True, text=True, timeout=1200
    )
    assert (result.returncode, result.stderr) == (0, ""), result.stderr[-4000:]
    runs = int(result.stdout.split()[0])
    print(f"{runs} runs, another call failing in each")
    assert runs > 200


@pytest.mark.parametrize("sanitizer", SANITIZERS)
def test_writes_past_the_page_cache_under_sanitizers(sanitizer: str, tmp_path: Path) -> None:
    program = build("engine_direct_test", sanitizer, tmp_path)
    result = subprocess.run(
        [program, tmp_path], check=False, capture_output=True, text=True, timeout=1200
    )
    assert (result.returncode, result.stderr) == (0, ""), result.stderr[-4000:]


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC])
def test_any_one_call_of_the_engine_may_fail(number: int, tmp_path: Path, deep: bool) -> None:
    """Every call of the table and of the file system fails once, until none is left to fail."""
    nth, done, step = 0, False, 1 if deep or number == errno.EIO else 4
    while not done:
        nth += step
        root = tmp_path / str(nth)
        root.mkdir()
        world = World("native", root)
        assert isinstance(world.faults, Faults)
        done = asyncio.run(asyncio.wait_for(one_failure(world, nth, number), TEST_S_MAX))
    assert nth > 40


async def one_failure(world: World, nth: int, number: int) -> bool:
    """The n-th call fails; what was answered is there. True if there was no such call."""
    faults = world.faults
    assert isinstance(faults, Faults)
    opened = world.open()
    start = faults.calls
    faults.fail_at(nth, number)
    rng = Random(nth)
    answered: list[tuple[Place, Append]] = []
    for step in range(4):
        batch = [append_of(rng.randbytes(3000), slot, step) for slot in range(SLOTS)]
        for item, result in zip(batch, await outcomes(appended(opened, batch)), strict=True):
            if isinstance(result, Place):
                answered.append((result, item))
            else:
                assert isinstance(result, StorageFault)
        logs = await outcomes([opened.log_rotate(0, f"{step}.log"), log_append(opened, 0, b"x")])
        assert all(result is None or isinstance(result, StorageFault) for result in logs)
    for place, item in answered:
        (got,) = await outcomes([opened.read(place, item.shard, 3000, 0, 3000)])
        assert got == item.payload or isinstance(got, StorageFault)
    assert len(answered) >= 4 * (SLOTS - 1), "one failure takes one disk at most"
    over = faults.calls - start < nth
    faults.heal()
    for place, item in answered:
        assert await read_back(opened, place, item) == item.payload
    await opened.close()
    return over


def test_an_engine_without_memory_or_threads_does_not_start(tmp_path: Path) -> None:
    faults = Faults()
    before = len(os.listdir("/proc/self/fd"))
    for call in ("allocate", "spawn"):
        faults.fail(call, errno.EAGAIN)
        with pytest.raises(StorageFault, match="does not start"):
            NativeEngine(SLOTS, calls=faulty_calls(faults))
        faults.heal()
    assert len(os.listdir("/proc/self/fd")) == before


def test_without_memory_a_batch_fails_and_nothing_hangs(tmp_path: Path) -> None:
    world = World("native", tmp_path)

    async def scenario(opened: Disks) -> None:
        world.faults.fail("allocate", errno.ENOMEM)
        results = await outcomes(appended(opened, [append_of(b"x", slot) for slot in range(SLOTS)]))
        assert all(isinstance(result, StorageFault) for result in results)
        world.faults.heal()

    world.run(scenario)


def test_records_are_packed_as_the_format_says(tmp_path: Path) -> None:
    """By the C engine, in one segment and in the next, as `Heads` packs them."""
    world = World("native", tmp_path)
    batch = [
        append_of(bytes([slot]) * size, slot, size + slot, b"hint" * (size % 3))
        for size in (1, 7, 3000, 70_000, 500_000, 600_000)
        for slot in range(SLOTS)
    ]

    async def scenario(opened: Disks) -> None:
        opened.set_sequence(77)
        for item, place in zip(batch, await outcomes(appended(opened, batch)), strict=True):
            assert isinstance(place, Place)
            where = (place.segment, place.offset)
            disk, size = disk_id(place.slot), len(item.payload)
            head = pack_record(item.shard, size, disk, where, 77, item.hint)
            expected = head + item.payload + item.hint
            stored = world.content(world.segment_path(place))[place.offset :]
            assert stored[: len(expected)] == expected

    world.run(scenario)


def test_a_lost_wake_is_made_up_for(tmp_path: Path) -> None:
    world = World("native", tmp_path)

    async def scenario(opened: Disks) -> None:
        world.faults.fail("wake", errno.EIO)
        futures = appended(opened, [append_of(b"x")])
        while ("wake", "") not in world.faults.touched:
            await asyncio.sleep(0.002)
        world.faults.heal()
        await asyncio.gather(*futures)

    world.run(scenario)


def test_a_second_process_is_refused(tmp_path: Path) -> None:
    world = World("native", tmp_path)

    async def scenario(opened: Disks) -> None:
        code = (
            "import sys; from s3node.base.filesystem import RealFileSystem; "
            "from s3node.store import disks; disks.open_disks(RealFileSystem(), sys.argv[1:])"
        )
        command = [sys.executable, "-c", code, *world.paths]
        result = await asyncio.to_thread(
            subprocess.run, command, cwd=ROOT, capture_output=True, text=True, timeout=TEST_S_MAX
        )
        assert result.returncode and "in use by another process" in result.stderr

    world.run(scenario)
    disks.close_disks(world.fs, disks.open_disks(world.fs, world.paths))


def test_a_moment_without_memory_takes_no_disk(tmp_path: Path) -> None:
    """The first records of some disks, or all, go to the engine, and it cannot take them."""

    async def scenario() -> None:
        world = World("native", tmp_path)
        opened = world.open()
        append = opened._context.engine.append

        def refuse(*_: object) -> None:
            opened._context.engine.append = append  # type: ignore[method-assign]
            raise MemoryError("injected")

        opened._context.engine.append = refuse  # type: ignore[method-assign]
        batch = [append_of(b"x" * 3000, slot, 0) for slot in range(SLOTS)]
        first = await outcomes(appended(opened, batch))
        assert any(isinstance(one, StorageFault) for one in first)
        second = await outcomes(appended(opened, batch))
        assert all(isinstance(one, Place) for one in second)
        await opened.close()

    asyncio.run(asyncio.wait_for(scenario(), TEST_S_MAX))


def test_segments_and_logs_pass_the_page_cache_and_logs_are_filled(tmp_path: Path) -> None:
    """Where the file system has such writes; a log that is closed gives its zeros back."""
    world = World("native", tmp_path)

    def flags(part: str) -> set[int]:
        """Of what is open for writing below a folder of that name."""
        found = set()
        for fd in os.listdir("/proc/self/fd"):
            with contextlib.suppress(OSError):
                if f"/{part}/" in os.readlink(f"/proc/self/fd/{fd}"):
                    found.add(fcntl.fcntl(int(fd), fcntl.F_GETFL))
        return {one & os.O_DIRECT for one in found if one & os.O_ACCMODE == os.O_RDWR}

    async def scenario(opened: Disks) -> None:
        (place,) = await asyncio.gather(*appended(opened, [append_of(b"x" * 100)]))
        await opened.log_rotate(0, "first.log")
        log = Path(world.paths[0]) / "journal" / "first.log"
        frame = b"f" * 3000
        await log_append(opened, 0, frame)
        assert log.stat().st_size <= DIRECT_ALIGN, "a log that may fail at once is not filled"
        for _ in range(3):
            await log_append(opened, 0, frame)
        step = opened._context.limits.log_step_bytes
        assert step <= log.stat().st_size < 2 * step
        if direct_is_to_be_had(Path(world.segment_path(place))):
            assert flags("segments") == flags("journal") == {os.O_DIRECT}
        await opened.log_rotate(0, "second.log")
        await log_append(opened, 0, frame)
        await until(lambda: log.stat().st_size == 3 * DIRECT_ALIGN)
        assert world.log(0, "first.log") == 4 * frame

    world.run(scenario)


def direct_is_to_be_had(path: Path) -> bool:
    """Found out by trying; files in memory (major 0) only do as if."""
    try:
        os.close(os.open(path, os.O_RDONLY | os.O_DIRECT))
    except OSError:
        return False
    return os.major(path.stat().st_dev) != 0


async def until(condition: Callable[[], bool]) -> None:
    for _ in range(1000):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it has not come to that")
