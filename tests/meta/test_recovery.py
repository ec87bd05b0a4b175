"""Recovery from real files: tails, lost and stale disks, damage, crashes, rebuilds."""

from __future__ import annotations

import asyncio
import random
import shutil
from pathlib import Path
from typing import Any

import pytest

from s3node.base.errors import JournalStalled, QuorumLost
from s3node.meta.checkpointer import Sizes
from s3node.meta.lmdb_index import LmdbPlace
from s3node.meta.logscan import FoundFrame, scan
from s3node.meta.metadata import Settings, look, rebuild_index
from s3node.meta.survey import JournalDamaged
from tests.meta.faults import CrashAfter, Crashed
from tests.meta.world import DEPLOYMENT_ID, World, everything, put

ROWS = [(b"k%03d" % n, b"v%03d" % n * 5) for n in range(40)]


def test_a_stopped_node_starts_with_its_index(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.fill(rows=ROWS)
    recovered = world.recover()
    assert recovered.rebuilt == ""
    assert recovered.index.read(lambda tx, _: everything(tx)) == ROWS
    assert recovered.report.corrupt() == []
    recovered.index.close()


def test_a_killed_node_rebuilds(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.fill(rows=ROWS, kill=True)
    recovered = world.recover()
    assert "not closed cleanly" in recovered.rebuilt
    assert recovered.index.read(lambda tx, _: everything(tx)) == ROWS
    recovered.index.close()


def test_any_m_disks_may_be_gone(tmp_path: Path) -> None:
    world = World(tmp_path, disks=5, parity=2)
    world.fill(rows=ROWS[:20])
    for first in range(5):
        for second in range(first):
            world.gone = {first, second}
            world.drop_index()
            assert world.rows() == ROWS[:20], world.gone
    world.gone = {0, 1, 2}
    world.drop_index()
    with pytest.raises(QuorumLost, match="slot 2: missing"):
        world.recover()
    world.gone = set()
    assert world.rows() == ROWS[:20]


def test_a_stale_disk_with_a_longer_tail_is_not_believed(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.fill(rows=ROWS[:5])
    keep = tmp_path / "kept"
    shutil.copytree(world.homes[0].path, keep)
    # In one history disk 0 alone gets many frames that nobody was answered for ...
    world.fill(rows=ROWS[5:30])
    long_tail = tmp_path / "long"
    shutil.copytree(world.homes[0].path, long_tail)
    for slot in world.homes:
        shutil.rmtree(world.homes[slot].path)
        shutil.copytree(keep, world.homes[slot].path)
    world.drop_index()
    # ... in the real one it was away while others wrote less.
    world.gone = {0}
    world.fill(rows=[(b"real", b"1")])
    world.fill(rows=[(b"real", b"2")])
    world.gone = set()
    shutil.rmtree(world.homes[0].path)
    shutil.copytree(long_tail, world.homes[0].path)
    world.drop_index()

    async def run() -> None:
        async with world.running() as node:
            assert node.kv.read(everything) == [*ROWS[:5], (b"real", b"2")]
            assert node.recovered.report.disks[0].stale
            await put(node, [(b"more", b"1")])

    asyncio.run(run())
    report, _ = look(world.homes, world.deployment)
    assert not report.disks[0].stale
    assert report.disks[0].lacked == 0


def test_disks_that_come_back_may_be_all_that_is_remembered_of_a_frame(tmp_path: Path) -> None:
    """Of each frame few places are remembered; those of stale disks move when they start over."""
    world = World(tmp_path, disks=12, parity=4)
    world.fill(rows=ROWS)
    world.gone = set(range(4))
    assert world.rows() == ROWS
    world.gone = set()
    assert world.rows() == ROWS
    world.drop_index()
    assert world.rows() == ROWS


def test_what_recovery_says_of_log_files_is_so(tmp_path: Path) -> None:
    """The journal's cut believes it: a log that is said to end too early would go too early."""
    world = World(tmp_path)
    world.fill(rows=ROWS[:10])
    world.gone = {0}
    world.fill(rows=ROWS[10:20])
    world.gone = set()
    shutil.rmtree(world.homes[1].path)
    Path(world.homes[1].path).mkdir()
    recovered = world.recover()
    assert recovered.begun is not None
    for slot in world.homes:
        said = {file.name: file.last for file in recovered.begun.files[slot]}
        assert set(said) == {path.name for path in world.logs(slot)}
        for path in world.logs(slot):
            items = scan(path.read_bytes(), DEPLOYMENT_ID)
            frames = [one.header.sequence for one in items if isinstance(one, FoundFrame)]
            assert said[path.name] == max(frames, default=said[path.name])
    recovered.index.close()


def test_tails_that_differ_are_adopted_whole_or_cut_whole(tmp_path: Path) -> None:
    """Cut every disk's newest log at random: what m + 1 disks had is there, the rest whole."""
    source = random.Random(11)
    world = World(tmp_path, disks=4, parity=1)
    known: list[tuple[bytes, bytes]] = []
    for round_number in range(12):
        more = [(b"r%02d-%d" % (round_number, n), source.randbytes(30)) for n in range(6)]
        world.fill(rows=more, kill=True)
        known = sorted([*known, *more])
        torn = source.sample(range(4), 1)
        for slot in torn:
            newest = world.logs(slot)[-1]
            size = newest.stat().st_size
            with newest.open("r+b") as stream:
                stream.truncate(source.randrange(size + 1))
        assert world.rows() == known
        report, _ = look(world.homes, world.deployment)
        assert report.corrupt() == []


def test_an_unanswered_frame_on_one_disk_is_adopted(tmp_path: Path) -> None:
    world = World(tmp_path)

    async def run() -> None:
        async with world.running(kill=True) as node:
            await put(node, [(b"a", b"1")])
            for slot in (1, 2, 3):
                node.logs.down.add(slot)
            with pytest.raises(JournalStalled):
                await put(node, [(b"b", b"1")])
            with pytest.raises(JournalStalled):
                await put(node, [(b"c", b"1")])

    asyncio.run(run())
    assert world.rows() == [(b"a", b"1"), (b"b", b"1")]


def test_a_stalled_journal_goes_on_with_the_same_frame(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.settings = Settings(
        look_seconds=3600.0,
        retry_seconds=0.01,
        limits=world.settings.limits._replace(retry_seconds=0.01),
    )

    async def run() -> None:
        async with world.running() as node:
            await put(node, [(b"a", b"1")])
            node.logs.down.update((1, 2, 3))
            with pytest.raises(JournalStalled):
                await put(node, [(b"b", b"1")])
            assert "journal frame" in node.stall
            assert node.kv.read(everything) == [(b"a", b"1")]
            node.logs.down.clear()
            while node.stall:
                await asyncio.sleep(0.01)
            await put(node, [(b"c", b"1")])
            assert [key for key, _ in node.kv.read(everything)] == [b"a", b"b", b"c"]

    asyncio.run(run())
    expected = [(b"a", b"1"), (b"b", b"1"), (b"c", b"1")]
    assert world.rows() == expected
    for slot in range(3):
        world.gone = {slot}
        world.drop_index()
        assert world.rows() == expected


def test_flipped_bytes_on_m_disks_are_corruption_and_harmless(tmp_path: Path) -> None:
    world = World(tmp_path, disks=5, parity=2)
    world.fill(rows=ROWS)
    source = random.Random(3)
    pristine = tmp_path / "pristine"
    shutil.copytree(tmp_path, pristine)
    for _ in range(15):
        for slot in source.sample(range(5), 2):
            log = max(world.logs(slot), key=lambda path: path.stat().st_size)
            data = bytearray(log.read_bytes())
            at = source.randrange(len(data) // 2)
            data[at] ^= 1 << source.randrange(8)
            log.write_bytes(data)
        report, _ = look(world.homes, world.deployment)
        assert report.corrupt()
        world.drop_index()
        assert world.rows() == ROWS
        for slot, home in world.homes.items():
            shutil.rmtree(home.path)
            shutil.copytree(pristine / f"disk{slot:02}", home.path)


def test_a_frame_lost_on_every_disk_is_refused_loudly(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.fill(rows=ROWS)
    for slot in world.homes:
        log = max(world.logs(slot), key=lambda path: path.stat().st_size)
        data = bytearray(log.read_bytes())
        data[len(data) // 2] ^= 1
        log.write_bytes(data)
    world.drop_index()
    with pytest.raises(JournalDamaged, match="durable through"):
        world.recover()


def test_an_index_that_knows_more_makes_the_node_read_only(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.fill(rows=ROWS[:10])
    old = tmp_path / "old"
    for slot, home in world.homes.items():
        shutil.copytree(home.path, old / str(slot))
    world.fill(rows=ROWS[10:])
    for slot, home in world.homes.items():
        shutil.rmtree(home.path)
        shutil.copytree(old / str(slot), home.path)

    async def run(**more: Any) -> None:
        async with world.running(**more) as node:
            with pytest.raises(JournalStalled, match="read-only"):
                await put(node, [(b"x", b"y")])
            told.append((node.kv.read(everything), node.stall))

    told: list[Any] = []
    asyncio.run(run())
    asyncio.run(run())
    assert told[0] == told[1]
    assert told[0][0] == ROWS
    assert "the index knows" in told[0][1]
    world.drop_index()
    asyncio.run(run(seen_sequence=1000))
    assert told[2][0] == ROWS[:10]
    assert "a record names" in told[2][1]


SMALL = Settings(
    look_seconds=3600.0, retry_seconds=0.01, sizes=Sizes(range_bytes=1000, journal_bytes=4000)
)


def write_checkpoints(world: World, source: random.Random, rounds: int) -> dict[bytes, bytes]:
    """Random puts and deletes, a checkpoint now and then; what there is in the end."""
    rows: dict[bytes, bytes] = {}

    def change(tx: Any, key: bytes, value: bytes | None) -> None:
        if value is None:
            tx.delete(key)
        else:
            tx.put(key, value)

    async def run() -> None:
        async with world.running() as node:
            rows.update(node.kv.read(everything))
            for _ in range(rounds):
                for _ in range(source.randrange(1, 30)):
                    key = b"k%03d" % source.randrange(300)
                    value = source.randbytes(60) if source.random() < 0.7 else None
                    await node.kv.write(lambda tx, k=key, v=value: change(tx, k, v))
                    rows.pop(key, None) if value is None else rows.update({key: value})
                if node.checkpointer.due():
                    await node.checkpointer.round(everything=source.random() < 0.3)

    asyncio.run(run())
    return rows


def test_rebuild_is_equal_in_everything_whatever_m_disks_lost(tmp_path: Path) -> None:
    source = random.Random(23)
    world = World(tmp_path, disks=5, parity=2, settings=SMALL)
    for _ in range(6):
        rows = write_checkpoints(world, source, 8)
        expected = world.digest()
        names = {path.name for slot in range(5) for path in world.checkpoint_files(slot, ".range")}
        assert len(names) > 3, "the keys were divided"
        for slot in source.sample(range(5), 2):
            for path in [*world.logs(slot), *world.checkpoint_files(slot)]:
                how = source.randrange(4)
                if how == 0:
                    path.unlink()
                elif how == 1 and path.stat().st_size:
                    data = bytearray(path.read_bytes())
                    data[source.randrange(len(data))] ^= 1 << source.randrange(8)
                    path.write_bytes(data)
                elif how == 2:
                    path.write_bytes(source.randbytes(path.stat().st_size))
        world.drop_index()
        assert world.rows() == sorted(rows.items())
        assert world.digest() == expected

        async def mend() -> None:
            async with world.running() as node:
                await node.checkpointer.upkeep(verify=True)

        asyncio.run(mend())


def test_the_journal_is_cut_and_old_files_go(tmp_path: Path) -> None:
    world = World(tmp_path, settings=SMALL)
    world.settings = SMALL._replace(limits=SMALL.limits._replace(log_bytes=2000))
    write_checkpoints(world, random.Random(1), 60)
    for slot in world.homes:
        assert sum(path.stat().st_size for path in world.logs(slot)) < 20_000
        assert len(world.checkpoint_files(slot, ".manifest")) == 1
    wanted = look(world.homes, world.deployment)[1][0].manifest
    for one in wanted.ranges:
        holders = [
            slot
            for slot in world.homes
            if one.name in {path.name for path in world.checkpoint_files(slot)}
        ]
        assert not one.file_bytes or len(holders) == 2


def test_a_checkpoint_without_a_copy_refuses_rather_than_rebuilding_partly(
    tmp_path: Path,
) -> None:
    world = World(tmp_path, settings=SMALL)
    rows = write_checkpoints(world, random.Random(2), 20)
    manifest = look(world.homes, world.deployment)[1][0].manifest
    lost = max(manifest.ranges, key=lambda one: one.file_bytes)
    for slot in world.homes:
        for path in world.checkpoint_files(slot):
            if path.name == lost.name:
                path.unlink()
    assert world.rows() == sorted(rows.items()), "the index still has them"

    async def mend() -> None:
        async with world.running() as node:
            await node.checkpointer.upkeep()

    kept = tmp_path / "kept"
    shutil.copytree(world.index, kept)
    world.drop_index()
    with pytest.raises(JournalDamaged, match=lost.name):
        world.recover()
    assert not world.index.exists()
    shutil.copytree(kept, world.index)
    asyncio.run(mend())
    world.drop_index()
    assert world.rows() == sorted(rows.items())


def test_an_older_checkpoint_serves_while_the_journal_reaches_it(tmp_path: Path) -> None:
    world = World(tmp_path, settings=SMALL)

    def checkpoint(rows: list[tuple[bytes, bytes]]) -> None:
        async def run() -> None:
            async with world.running() as node:
                await put(node, rows)
                kept.append(tmp_path / f"kept{len(kept)}")
                for slot, home in world.homes.items():
                    shutil.copytree(home.path, kept[-1] / str(slot))
                await node.checkpointer.round(everything=True)

        asyncio.run(run())

    kept: list[Path] = []
    for start in range(0, 40, 10):
        checkpoint(ROWS[start : start + 10])
    newest = look(world.homes, world.deployment)[1][0].manifest
    for slot, home in world.homes.items():
        shutil.copytree(kept[-1] / str(slot), home.path, dirs_exist_ok=True)
        for path in world.checkpoint_files(slot, ".range"):
            if path.name in {one.name for one in newest.ranges}:
                path.write_bytes(b"gone")
    chains = look(world.homes, world.deployment)[1]
    assert [chain.manifest.name == newest.name for chain in chains] == [True, False]
    world.drop_index()
    assert world.rows() == ROWS


def test_a_crash_anywhere_in_recovery_is_only_another_start(tmp_path: Path) -> None:
    """Fail the n-th changing call of recovery, for n = 1, 2, ... until it gets through."""
    world = World(tmp_path, disks=4, parity=1)
    world.fill(rows=ROWS[:10], kill=True)
    for slot, cut in ((0, 40), (2, 60)):
        newest = world.logs(slot)[-1]
        with newest.open("r+b") as stream:
            stream.truncate(max(0, newest.stat().st_size - cut))
    real = dict(world.homes)
    number = 0
    while True:
        number += 1
        crash = CrashAfter(number)
        world.homes = {slot: home._replace(fs=crash) for slot, home in real.items()}
        shutil.rmtree(world.index, ignore_errors=True)
        try:
            recovered = world.recover()
        except Crashed:
            world.homes = real
            report, _ = look(real, world.deployment)
            assert report.corrupt() == []
            continue
        recovered.index.close()
        break
    assert number > 15
    world.homes = real
    world.drop_index()
    assert world.rows() == ROWS[:10]


def test_digest_tells_rows_apart(tmp_path: Path) -> None:
    one, other = World(tmp_path / "1"), World(tmp_path / "2")
    one.fill(rows=ROWS)
    other.fill(rows=ROWS[::-1])
    assert one.digest() == other.digest()
    other.fill(rows=[(ROWS[0][0], b"x")])
    assert one.digest() != other.digest()


# --- an index that was not closed, and journals that are shorter than it was -------------------


def lose_last_frames(world: World) -> None:
    """Every journal without its newest frame, as if no disk had kept what it said was synced."""
    for slot in world.homes:
        log = max(path for path in world.logs(slot) if path.stat().st_size)
        data = log.read_bytes()
        found = [one for one in scan(data, DEPLOYMENT_ID) if isinstance(one, FoundFrame)]
        log.write_bytes(data[: found[-1].offset])


def test_answered_frames_lost_on_every_disk_after_a_kill_are_told(tmp_path: Path) -> None:
    """The index is not opened, and still it is proof; starting again does not bury it."""
    world = World(tmp_path)
    world.fill(rows=ROWS[:10], kill=True)
    lose_last_frames(world)

    async def run() -> None:
        async with world.running() as node:
            assert node.recovered.begun is None
            assert "did not end well knows frame 11, the journal ends at 10" in node.stall
            with pytest.raises(JournalStalled, match="bring back the disks"):
                await put(node, [(b"x", b"y")])
            assert node.kv.read(everything) == ROWS[:9]

    before = {slot: world.logs(slot) for slot in world.homes}
    asyncio.run(run())
    asyncio.run(run())
    assert before == {slot: world.logs(slot) for slot in world.homes}
    _, seal = rebuild_index(LmdbPlace(world.index), world.present(), world.deployment)
    assert seal.position.sequence == 10
    world.fill(rows=[(b"on", b"1")])
    assert world.rows() == [*ROWS[:9], (b"on", b"1")]


def test_whatever_a_power_cut_left_of_the_index_is_proof_or_nothing(tmp_path: Path) -> None:
    """Pages old, new, zero or garbage: never a position that the journal has not."""
    world = World(tmp_path)
    source = random.Random(9)
    place = LmdbPlace(world.index)
    pages = [bytes(4096)]
    for round_number in range(6):
        world.fill(rows=ROWS[6 * round_number :][:6], kill=True)
        tip = look(world.homes, world.deployment)[1][0].tip.sequence
        assert place.left(DEPLOYMENT_ID) == tip
        data = world.index / "data.mdb"
        content = bytearray(data.read_bytes())
        pages += [bytes(content[at : at + 4096]) for at in range(0, len(content), 4096)]
        for at in range(0, len(content), 4096):
            if source.random() < 0.6:
                content[at : at + 4096] = source.choice([*pages, source.randbytes(4096)])
        data.write_bytes(content)
        assert place.left(DEPLOYMENT_ID) <= tip
        assert place.left(b"another node's--") == 0
    assert world.rows() == ROWS[:36]


def test_what_was_not_durable_is_not_in_the_index_before_it_is(tmp_path: Path) -> None:
    """A tail on one disk, recovery that fails before it is copied, then that disk is gone."""
    world = World(tmp_path)

    async def run() -> None:
        async with world.running(kill=True) as node:
            await put(node, ROWS[:3])
            node.logs.down.update((1, 2, 3))
            with pytest.raises(JournalStalled):
                await put(node, [(b"unanswered", b"1")])

    asyncio.run(run())
    real = dict(world.homes)
    for number in (1, 4, 8):
        world.homes = {slot: home._replace(fs=CrashAfter(number)) for slot, home in real.items()}
        with pytest.raises((Crashed, QuorumLost)):
            world.recover()
    world.homes = real
    world.gone = {0}
    assert world.rows() == ROWS[:3]
