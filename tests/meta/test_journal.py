"""The journal writer: who is waited for, who is not, and how a slot comes back."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s3node.base.errors import JournalStalled
from s3node.meta import logscan
from s3node.meta.frame import Frame, Position
from s3node.meta.journal import Limits
from s3node.meta.logscan import FoundFrame
from s3node.meta.metadata import Settings, look
from s3node.meta.slots import SlotState, Waiting
from tests.meta.world import DEPLOYMENT_ID, WAIT_S_MAX, World, everything, put

QUICK = Settings(Limits(retry_seconds=0.01), look_seconds=3600.0, retry_seconds=0.01)


def rows(count: int, size: int = 10, name: bytes = b"k") -> list[tuple[bytes, bytes]]:
    return [(name + b"%03d" % n, b"v" * size) for n in range(count)]


def live(world: World, work: Callable[[Any], Awaitable[None]]) -> None:
    async def run() -> None:
        async with world.running() as node:
            await work(node)

    asyncio.run(run())


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(WAIT_S_MAX):
        while not condition():
            await asyncio.sleep(0.005)


def sequences(world: World, slot: int) -> list[int]:
    """Of the frames on a disk; what lay at the end at a start may be there twice."""
    found = set()
    for path in world.logs(slot):
        for item in logscan.scan(path.read_bytes(), DEPLOYMENT_ID):
            assert isinstance(item, FoundFrame)
            found.add(item.header.sequence)
    return sorted(found)


@given(
    sizes=st.lists(st.integers(0, 9), min_size=1, max_size=12),
    bytes_max=st.integers(1, 40),
    forgotten=st.integers(0, 12),
)
def test_what_waits_is_given_out_in_pieces_without_a_gap(
    sizes: list[int], bytes_max: int, forgotten: int
) -> None:
    start = 7
    waiting = Waiting(start)
    frames = [
        Frame(Position(start + n, b""), bytes([n]) * (100 + size))
        for n, size in enumerate(sizes, 1)
    ]
    for frame in frames:
        waiting.add(frame)
    gone = min(forgotten, len(frames))
    waiting.forget(start + gone)
    assert waiting.held_bytes == sum(len(frame.data) for frame in frames[gone:])
    for n in range(gone, len(frames)):
        rest = frames[n:]
        assert waiting.bytes_after(start + n) == sum(len(frame.data) for frame in rest)
        data, last = waiting.after(start + n, 10 * bytes_max)
        taken = last - (start + n)
        assert data == b"".join(frame.data for frame in rest[:taken])
        assert taken == 1 or len(data) <= 10 * bytes_max
        assert taken == len(rest) or len(data) + len(rest[taken].data) > 10 * bytes_max
    assert waiting.bytes_after(waiting.newest) == 0


def test_slow_disks_stall_nothing_and_catch_up_in_joined_appends(tmp_path: Path) -> None:
    world = World(tmp_path, disks=5, parity=1, settings=QUICK)

    async def work(node: Any) -> None:
        await put(node, rows(1))
        slow = asyncio.Event()
        for slot in (0, 1, 2):
            node.logs.gates[slot] = slow
        before = node.logs.appends[0]
        await put(node, rows(50))
        assert node.journal.status()[0].lag_bytes > 0
        slow.set()
        await until(lambda: node.journal.status()[0].lag_bytes == 0)
        assert node.logs.appends[0] - before <= 3, "what waited went together"

    live(world, work)
    for slot in range(5):
        assert sequences(world, slot) == list(range(1, 53)), "1 epoch, 51 batches"


def test_a_frame_goes_to_one_more_than_it_needs_and_soon_to_all(tmp_path: Path) -> None:
    """Half the syncs of a node of many disks; yet no disk is without a frame for long."""
    frames, disks, parity = 40, 8, 2
    patient = Limits(retry_seconds=0.01, follow_seconds=0.2, patience_seconds=60.0)
    world = World(tmp_path, disks=disks, parity=parity, settings=QUICK._replace(limits=patient))

    async def work(node: Any) -> None:
        await put(node, rows(1))
        await asyncio.sleep(2 * patient.follow_seconds)
        asked = []
        for n in range(frames):
            before = sum(node.logs.appends.values())
            await put(node, rows(1, n))
            asked.append(sum(node.logs.appends.values()) - before)
        # Others follow whenever the time has come: at most once here, on an idle machine.
        assert sorted(asked)[frames // 2] == parity + 2
        behind = [one.lag_bytes for one in node.journal.status().values()]
        assert sum(lag > 0 for lag in behind) <= disks - (parity + 1)

    async def caught_up(node: Any) -> None:
        await work(node)
        await until(lambda: not any(one.lag_bytes for one in node.journal.status().values()))

    live(world, caught_up)
    whole = list(range(1, frames + 3))
    assert [sequences(world, slot) for slot in range(disks)] == [whole] * disks


@pytest.mark.parametrize("stalled", [1, 2, 3, 4])
def test_whoever_a_frame_went_to_first_nobody_waits_for_a_stalled_disk(
    tmp_path: Path, stalled: int
) -> None:
    world = World(tmp_path, disks=8, parity=3, settings=QUICK)

    async def work(node: Any) -> None:
        await put(node, rows(1))
        await until(lambda: not any(one.lag_bytes for one in node.journal.status().values()))
        slow = asyncio.Event()
        node.logs.gates = dict.fromkeys(range(stalled), slow)  # those that it goes to first
        for n in range(5):
            await put(node, rows(1, n))
        assert all(node.journal.status()[slot].lag_bytes for slot in range(stalled))
        slow.set()
        await until(lambda: not any(one.lag_bytes for one in node.journal.status().values()))

    live(world, work)


def test_under_load_batches_gather_and_alone_nobody_waits(tmp_path: Path) -> None:
    world = World(tmp_path, disks=3, parity=1, settings=QUICK)

    async def work(node: Any) -> None:
        start = node.journal.durable.sequence
        for n in range(5):
            await put(node, rows(1, n + 1))
        assert node.journal.durable.sequence == start + 5, "a lone writer has frames of its own"
        await asyncio.gather(*(put(node, [row]) for row in rows(300)))
        assert node.journal.durable.sequence <= start + 7, "300 in two"

    live(world, work)


def test_a_batch_is_bounded(tmp_path: Path) -> None:
    world = World(tmp_path, disks=3, parity=1, settings=QUICK)

    async def work(node: Any) -> None:
        big = rows(20, 1 << 20)
        await asyncio.gather(*(put(node, [row]) for row in big))
        assert node.kv.read(everything) == big
        with pytest.raises(AssertionError, match="bounded"):
            await put(node, rows(1, 5 << 20))

    live(world, work)
    report, _ = look(world.homes, world.deployment)
    assert report.tip >= 1 + 20 // 4


def test_a_torn_append_goes_on_in_a_new_log(tmp_path: Path) -> None:
    world = World(tmp_path, disks=3, parity=1, settings=QUICK)

    async def work(node: Any) -> None:
        await put(node, rows(3))
        node.logs.tearing[0] = 30
        await put(node, rows(3, name=b"m"))
        await until(lambda: node.journal.status()[0].state is SlotState.LIVE)
        await until(lambda: node.journal.status()[0].lag_bytes == 0)

    live(world, work)
    report, _ = look(world.homes, world.deployment)
    assert report.disks[0].lacked == 0
    assert len(report.disks[0].torn) == 1
    assert report.corrupt() == []


def test_a_distrusted_slot_does_not_count_for_the_frame_in_doubt(tmp_path: Path) -> None:
    """It had synced it; whether it still has it is not known."""
    world = World(tmp_path, disks=4, parity=1, settings=QUICK)

    async def work(node: Any) -> None:
        await put(node, rows(1))
        await until(lambda: not any(one.lag_bytes for one in node.journal.status().values()))
        frame = node.journal.durable.sequence + 1
        gates = node.logs.gates = {slot: asyncio.Event() for slot in (1, 2, 3)}
        writing = asyncio.ensure_future(put(node, rows(1, 2)))
        await until(lambda: node.journal.status()[0].synced == frame)
        node.logs.down.add(0)  # so that it does not come back at once
        node.journal.distrust(0, "it was away")
        gates[1].set()
        await until(lambda: node.journal.status()[1].synced == frame)
        assert node.journal.durable.sequence < frame and not writing.done(), "on one disk only"
        gates[2].set()
        await writing
        node.logs.down.clear()
        gates[3].set()

    live(world, work)


@pytest.mark.parametrize("lost", [True, False])
def test_a_failed_log_is_read_back_and_what_it_lost_is_fed_anew(
    tmp_path: Path, lost: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Frames that were answered and are not on the medium: the slot has them from the others."""
    world = World(tmp_path, disks=3, parity=1, settings=QUICK)

    async def work(node: Any) -> None:
        await put(node, rows(3))
        await until(lambda: node.journal.status()[0].lag_bytes == 0)
        newest = max(world.logs(0))
        before = newest.read_bytes()
        if lost:
            newest.write_bytes(before[:-20] + bytes(20))
        node.logs.tearing[0] = 30
        await put(node, rows(3, name=b"m"))
        status = node.journal.status
        await until(lambda: not (status()[0].lag_bytes or status()[0].state is not SlotState.LIVE))
        assert newest.exists() is not lost, "a slot that is given up starts over"

    live(world, work)
    assert ("lacks what it had answered" in caplog.text) is lost
    assert sequences_of_whole(world, 0) == sequences_of_whole(world, 1)
    report, _ = look(world.homes, world.deployment)
    assert report.disks[0].lacked == 0 and report.corrupt() == []


def sequences_of_whole(world: World, slot: int) -> set[int]:
    items = [i for path in world.logs(slot) for i in logscan.scan(path.read_bytes(), DEPLOYMENT_ID)]
    return {item.header.sequence for item in items if isinstance(item, FoundFrame)}


def test_a_laggard_is_given_up_and_readmitted(tmp_path: Path) -> None:
    settings = QUICK._replace(limits=QUICK.limits._replace(lag_bytes=3000, log_bytes=1500))
    world = World(tmp_path, disks=4, parity=1, settings=settings)

    async def work(node: Any) -> None:
        node.logs.down.add(2)
        await put(node, rows(40, 100))
        assert node.journal.status()[2].state is SlotState.OUT
        assert "lagged" in node.journal.status()[2].reason
        node.logs.down.clear()
        await until(lambda: node.journal.status()[2].state is SlotState.LIVE)
        await put(node, rows(5, name=b"m"))

    live(world, work)
    assert sequences(world, 2) == sequences(world, 0)
    world.gone = {0}
    world.drop_index()
    assert world.rows() == sorted(rows(40, 100) + rows(5, name=b"m"))


def test_a_blank_disk_at_run_time_gets_journal_and_checkpoint(tmp_path: Path) -> None:
    """An empty place at start; a new disk is mounted there while the node runs."""
    world = World(tmp_path, disks=4, parity=1, settings=QUICK)
    world.fill(rows=rows(20))
    new = world.homes[3]
    shutil.rmtree(new.path)
    world.homes[3] = new._replace(disk_id=bytes(16))

    async def work(node: Any) -> None:
        assert "no disk of ours" in node.journal.status()[3].reason
        node.logs.down.add(3)
        await put(node, rows(5, name=b"m"))
        assert not Path(new.path).exists(), "nothing is written to an empty place"
        Path(new.path).mkdir()
        node.logs.down.clear()
        await until(lambda: node.journal.status()[3].state is SlotState.LIVE)
        await node.checkpointer.upkeep()

    live(world, work)
    world.homes[3] = new
    assert sequences(world, 3) == sequences(world, 0)
    assert world.checkpoint_files(3, ".manifest")
    world.gone = {0}
    world.drop_index()
    assert world.rows() == sorted(rows(20) + rows(5, name=b"m"))


def test_logs_are_cut_whole_and_frames_after_the_base_stay(tmp_path: Path) -> None:
    settings = QUICK._replace(limits=QUICK.limits._replace(log_bytes=1000))
    world = World(tmp_path, disks=3, parity=1, settings=settings)

    async def work(node: Any) -> None:
        await put(node, rows(40, 50))
        many = len(world.logs(0))
        await node.checkpointer.round(everything=True)
        assert len(world.logs(0)) < many
        await put(node, rows(3, name=b"m"))

    live(world, work)
    for slot in range(3):
        found = sequences(world, slot)
        assert found == list(range(found[0], 45)), "a run up to the last frame"
    world.drop_index()
    assert world.rows() == sorted(rows(40, 50) + rows(3, name=b"m"))


def test_a_stall_refuses_and_then_settles_what_was_in_doubt(tmp_path: Path) -> None:
    """Half a batch of writers in doubt, half undecided; nobody waits for ever."""
    world = World(tmp_path, disks=3, parity=1, settings=QUICK)

    async def work(node: Any) -> None:
        await put(node, rows(1))
        node.logs.down.update({0, 1, 2})
        answers = await asyncio.gather(
            *(put(node, [row]) for row in rows(20, name=b"m")), return_exceptions=True
        )
        assert all(isinstance(answer, JournalStalled) for answer in answers)
        assert "journal frame needs" in node.stall
        assert node.kv.read(everything) == rows(1)
        node.logs.down.clear()
        await until(lambda: not node.stall)
        await put(node, rows(1, name=b"z"))
        told = [key for key, _ in node.kv.read(everything) if key.startswith(b"m")]
        assert len(told) in {0, 20}, "one batch, whole or absent"

    live(world, work)


@pytest.mark.parametrize("how", ["lagging", "distrusted"])
def test_given_up_while_its_log_was_made_it_counts_for_nothing_that_is_not_there(
    tmp_path: Path, how: str
) -> None:
    """The log that it gets after all is removed by the readmission: it must not be appended to."""
    settings = QUICK._replace(limits=QUICK.limits._replace(lag_bytes=6000, log_bytes=1500))
    world = World(tmp_path, disks=3, parity=1, settings=settings)

    async def work(node: Any) -> None:
        gate, begun = asyncio.Event(), asyncio.Event()
        rotate = node.logs._rotate

        async def slow(slot: int, name: str) -> None:
            if slot == 2 and not gate.is_set():
                begun.set()
                await gate.wait()
            await rotate(slot, name)

        node.logs._rotate = slow
        await put(node, rows(20, 100))  # until its log is full
        await asyncio.wait_for(begun.wait(), WAIT_S_MAX)
        if how == "lagging":
            await put(node, rows(60, 100, name=b"l"))
        else:
            node.journal.distrust(2, "it was away")
        assert node.journal.status()[2].state is SlotState.OUT
        gate.set()
        await until(lambda: node.journal.status()[2].state is SlotState.LIVE)
        await put(node, rows(3, name=b"m"))
        await until(lambda: node.journal.status()[2].lag_bytes == 0)
        durable = node.journal.durable.sequence
        assert node.journal.status()[2].synced == durable
        assert sequences(world, 2)[-1] == durable

    live(world, work)


def test_with_all_slots_out_frames_are_forgotten_as_ever(tmp_path: Path) -> None:
    settings = QUICK._replace(limits=QUICK.limits._replace(join_bytes=100))
    world = World(tmp_path, disks=3, parity=1, settings=settings)
    broken: list[Any] = []

    async def work(node: Any) -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: broken.append(context.get("exception")))
        await put(node, rows(3, 100))
        node.logs.down.update({0, 1, 2})
        for slot in range(3):
            node.journal.distrust(slot, "the shelf was away")
        node.journal._look()
        node.logs.down.clear()
        await until(lambda: all(s.state is SlotState.LIVE for s in node.journal.status().values()))

    live(world, work)
    assert not broken, broken
