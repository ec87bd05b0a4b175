"""The LMDB index: its seal, its map, and that nothing unverified is ever opened."""

from __future__ import annotations

import asyncio
import random
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from s3node.base.errors import FormatError, JournalStalled
from s3node.meta import index_seal, lmdb_index
from s3node.meta.frame import Position
from s3node.meta.index_seal import Seal
from s3node.meta.lmdb_index import DATA, LmdbIndex, LmdbPlace, _Gate, verified
from s3node.meta.metadata import look, rebuild_index
from s3node.meta.schema import KEYS_END
from tests.meta.kvs import lmdb_kv
from tests.meta.world import WAIT_S_MAX, World, everything

DEPLOYMENT = b"D" * 16
AT = Position(5, b"c" * 16)
ROWS = [(b"k%03d" % n, b"v" * 50) for n in range(20)]


def sealed(path: Path) -> Seal:
    index = LmdbIndex(path, DEPLOYMENT)
    index.apply([(AT, {b"k%03d" % n: b"v" * 50 for n in range(200)})])
    return index.close_sealed()


HOLDER = """
import sys, time
from pathlib import Path
from s3node.meta.lmdb_index import LmdbIndex

def hold(tx, at):
    print("holds", at.sequence, flush=True)
    time.sleep(600)

LmdbIndex(Path(sys.argv[1]), sys.argv[2].encode()).read(hold)
"""


def rewrite(index: LmdbIndex, rounds: int) -> int:
    """The same rows over and over; the size of the file afterwards."""
    for number in range(rounds):
        rows = {b"k%03d" % n: b"%03d" % number * 300 for n in range(100)}
        index.apply([(Position(number + 1, b"c" * 16), rows)])
    return (index.path / DATA).stat().st_size


def test_row_37_a_reader_killed_while_it_reads_does_not_make_the_file_grow(tmp_path: Path) -> None:
    """Pages that a snapshot may need are not used again: a dead one's must be let go of."""
    index = LmdbIndex(tmp_path / "index", DEPLOYMENT)
    steady = rewrite(index, 30)
    arguments = [sys.executable, "-c", HOLDER, str(index.path), DEPLOYMENT.decode()]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as reader:
        assert reader.stdout is not None
        assert reader.stdout.readline() == "holds 30\n"
        assert index.reader_check() == 0, "it lives"
        reader.kill()
    grown = rewrite(index, 30)
    assert grown > 3 * steady, "nothing was held"
    assert index.reader_check() == 1
    assert rewrite(index, 200) == grown
    index.close()


def test_upkeep_frees_what_dead_readers_hold(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.settings = world.settings._replace(look_seconds=0.01, upkeep_seconds=0.0)
    freed = []

    async def run() -> None:
        async with world.running() as node:
            arguments = ["-c", HOLDER, str(world.index), DEPLOYMENT.decode()]
            reader = await asyncio.create_subprocess_exec(
                sys.executable, *arguments, stdout=asyncio.subprocess.PIPE
            )
            assert reader.stdout is not None
            assert (await reader.stdout.readline()).startswith(b"holds")
            check = node.index.reader_check
            node.index.reader_check = lambda: freed.append(check())
            reader.kill()
            await reader.wait()
            async with asyncio.timeout(60):
                while 1 not in freed:
                    await asyncio.sleep(0.01)

    asyncio.run(run())


def test_every_byte_of_the_seal_and_samples_of_the_data_count(tmp_path: Path) -> None:
    path = tmp_path / "index"
    seal = sealed(path)
    assert verified(path, DEPLOYMENT) == seal
    assert verified(path, b"E" * 16) == "of another deployment"
    source = random.Random(1)
    size = (path / DATA).stat().st_size
    places = [(index_seal.NAME, at) for at in range(index_seal.LAYOUT.size)]
    places += [(DATA, source.randrange(size)) for _ in range(100)] + [(DATA, 0), (DATA, size - 1)]
    for name, at in places:
        before = (path / name).read_bytes()
        data = bytearray(before)
        data[at] ^= 1 << source.randrange(8)
        (path / name).write_bytes(data)
        assert isinstance(verified(path, DEPLOYMENT), str), (name, at)
        (path / name).write_bytes(before)
    for name in (index_seal.NAME, DATA):
        before = (path / name).read_bytes()
        for length in (0, 1, len(before) // 2, len(before) - 1):
            (path / name).write_bytes(before[:length])
            assert isinstance(verified(path, DEPLOYMENT), str)
        (path / name).unlink()
        assert isinstance(verified(path, DEPLOYMENT), str)
        (path / name).write_bytes(before)
    assert verified(path, DEPLOYMENT) == seal


def damage_seal(world: World) -> None:
    data = bytearray((world.index / index_seal.NAME).read_bytes())
    data[33] ^= 1
    (world.index / index_seal.NAME).write_bytes(data)


def damage_data(world: World) -> None:
    data = bytearray((world.index / DATA).read_bytes())
    data[4096 + 20] ^= 1
    (world.index / DATA).write_bytes(data)


def garbage(world: World) -> None:
    (world.index / DATA).write_bytes(random.Random(1).randbytes(20_000))


def no_seal(world: World) -> None:
    (world.index / index_seal.NAME).unlink()


def other_history(world: World) -> None:
    """A seal that is right in itself, at a position that is not on the chain."""
    shutil.rmtree(world.index)
    index = LmdbIndex(world.index, world.deployment.deployment_id)
    index.apply([(AT, {b"wrong": b"row"})])
    index.close_sealed()


@pytest.mark.parametrize(
    "damage", [damage_seal, damage_data, garbage, no_seal, other_history], ids=lambda d: d.__name__
)
def test_a_damaged_index_is_made_anew(tmp_path: Path, damage: Any) -> None:
    world = World(tmp_path)
    world.fill(rows=ROWS)
    damage(world)
    recovered = world.recover()
    assert recovered.rebuilt
    assert recovered.index.read(lambda tx, _: everything(tx)) == ROWS
    recovered.index.close()


def test_an_old_copy_catches_up(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.fill(rows=ROWS[:10])
    shutil.copytree(world.index, tmp_path / "old")
    world.fill(rows=ROWS[10:])
    shutil.rmtree(world.index)
    shutil.copytree(tmp_path / "old", world.index)
    recovered = world.recover()
    assert recovered.rebuilt == ""
    assert recovered.index.read(lambda tx, _: everything(tx)) == ROWS
    recovered.index.close()


def test_the_seal_is_gone_before_the_first_write(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.fill(rows=ROWS)
    assert (world.index / index_seal.NAME).exists()
    recovered = world.recover()
    assert not (world.index / index_seal.NAME).exists()
    recovered.index.close()


def test_offline_rebuild_leaves_a_sealed_index_that_is_used(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.fill(rows=ROWS, kill=True)
    before = look(world.homes, world.deployment)[0]
    report, seal = rebuild_index(LmdbPlace(world.index), world.homes, world.deployment)
    assert report.tip == before.tip == seal.position.sequence
    recovered = world.recover()
    assert recovered.rebuilt == ""
    assert recovered.index.read(lambda tx, _: everything(tx)) == ROWS
    recovered.index.close()


def test_a_full_map_grows_while_others_read(tmp_path: Path) -> None:
    """32 MiB into a map that begins with 64 KiB, readers going on in threads."""

    async def run() -> None:
        async with lmdb_kv(tmp_path, map_bytes=1 << 16) as kv:
            stop = asyncio.Event()

            def look() -> int:
                seen = 0
                while not stop.is_set():
                    rows = kv.read(lambda tx: [key for key, _ in tx.scan(b"", KEYS_END)])
                    assert rows == sorted(rows)
                    assert len(rows) >= seen
                    seen = len(rows)
                    time.sleep(0.001)  # or the two of them leave nobody else the interpreter
                return seen

            readers = [asyncio.create_task(asyncio.to_thread(look)) for _ in range(2)]
            for n in range(16):
                await kv.write(lambda tx, n=n: tx.put(b"k%02d" % n, bytes([n]) * (2 << 20)))
            stop.set()
            await asyncio.gather(*readers)
            values = kv.read(lambda tx: [value for _, value in tx.scan(b"", KEYS_END)])
            assert values == [bytes([n]) * (2 << 20) for n in range(16)]

    asyncio.run(run())


def test_an_index_of_another_deployment_is_not_written_to(tmp_path: Path) -> None:
    sealed(tmp_path / "index")
    index = LmdbIndex(tmp_path / "index", b"E" * 16)
    with pytest.raises(FormatError, match="another deployment"):
        index.read(lambda tx, at: at)
    index.close()


def test_a_write_that_lmdb_refuses_stalls_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The index's disk is full: the frame is durable, the caller in doubt, then it is there."""
    full = True
    write = LmdbIndex._write

    def refuse(self: LmdbIndex, txn: Any, rows: Any) -> None:
        if full:
            raise lmdb_index.lmdb.DiskError("No space left on device")
        write(self, txn, rows)

    monkeypatch.setattr(LmdbIndex, "_write", refuse)

    async def run() -> None:
        nonlocal full
        async with lmdb_kv(tmp_path) as kv:
            with pytest.raises(Exception, match="No space left"):
                await kv.write(lambda tx: tx.put(b"a", b"1"))
            assert "index takes no writes" in kv.stall
            with pytest.raises(Exception, match="index takes no writes"):
                await kv.write(lambda tx: tx.put(b"b", b"1"))
            full = False
            while kv.stall:
                await asyncio.sleep(0.005)
            await kv.write(lambda tx: tx.put(b"c", b"1"))
            assert [key for key, _ in kv.read(everything)] == [b"a", b"c"]

    asyncio.run(run())


def test_nobody_is_left_waiting_when_the_index_stalls_and_recovers(tmp_path: Path) -> None:
    """A write set that was queued, not yet decided, at that very moment is refused at once; one
    that is found queued when the index takes writes again is decided.
    """

    async def run() -> None:
        async with lmdb_kv(tmp_path) as kv:
            waiting = asyncio.create_task(kv.write(lambda tx: tx.put(b"a", b"1")))
            await asyncio.sleep(0)  # queued; its decision is the next thing the loop does
            kv._index_failed("no space")
            with pytest.raises(JournalStalled, match="no space"):
                await asyncio.wait_for(waiting, WAIT_S_MAX)
            kv._stalls["index"] = ""
            first = asyncio.create_task(kv.write(lambda tx: tx.put(b"b", b"1")))
            while not kv._unapplied:
                await asyncio.sleep(0)
            second = asyncio.create_task(kv.write(lambda tx: tx.put(b"c", b"1")))
            await asyncio.sleep(0)
            kv._stalls["index"] = "no space"  # until the first one is in the index
            await asyncio.wait_for(asyncio.gather(first, second), WAIT_S_MAX)
            assert [key for key, _ in kv.read(everything)] == [b"b", b"c"]

    asyncio.run(run())


def test_the_gate_lets_many_in_or_one_alone() -> None:
    """With threads that are switched at every chance."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    gate = _Gate()
    inside = [0] * 4
    found: list[str] = []

    def enter(me: int) -> None:
        for _ in range(2000):
            with gate, gate:  # a read within a read
                inside[me] = 1
                inside[me] = 0

    def alone() -> None:
        for _ in range(300):
            with gate.alone():
                if any(inside):
                    found.append("not alone")

    threads = [threading.Thread(target=enter, args=(me,)) for me in range(4)]
    threads += [threading.Thread(target=alone) for _ in range(2)]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(usual)
    assert not found
    assert not gate._inside and not gate._alone
