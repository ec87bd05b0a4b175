"""How many copies there are of what the journal's cut and a readmission lean on."""

from __future__ import annotations

import asyncio
import errno
from collections import Counter

import pytest

from s3node.base.errors import QuorumLost
from s3node.meta.homes import Home
from s3node.meta.slots import SlotState
from s3node.meta.survey import Disk, Survey, survey_journal
from tests.simulation.enumeration import fates
from tests.simulation.filesystem import SimulatedFileSystem
from tests.simulation.history import replace_disk
from tests.simulation.index import MemoryPlace
from tests.simulation.model import SMALL, Model, checkpoint, put
from tests.simulation.node import Client, Universe
from tests.simulation.test_recovery_cases import begun, left_by, recovered


@pytest.mark.parametrize("holder", range(3))
def test_a_checkpoint_that_only_m_disks_take_cuts_nothing(holder: int) -> None:
    universe, model = begun()

    def elsewhere(path: str) -> bool:
        return path.endswith(".manifest") and not path.startswith(f"/d{holder}/")

    async def work(client: Client) -> None:
        assert await put(client, model, "small", SMALL) == 200
        universe.fs.fail("rename", errno.ENOSPC, elsewhere)
        with pytest.raises(QuorumLost):
            await checkpoint(client, model)
        universe.fs.heal()

    left_by(universe, work)
    universe.lose(holder)
    recovered(universe, model, holder)


def ranges(fs: SimulatedFileSystem) -> dict[str, list[str]]:
    """The range files, and the paths of their copies."""
    found: dict[str, list[str]] = {}
    for path in (one for slot in range(3) for one in fs.files(f"/d{slot}/checkpoints")):
        if path.endswith(".range"):
            found.setdefault(path.rpartition("/")[2], []).append(path)
    return found


@pytest.mark.parametrize("how", ["gone", "damaged"])
def test_a_copy_of_a_checkpoint_that_is_lost_is_made_again(how: str) -> None:
    """One of m + 1 copies is lost now, the other with its disk: nothing is missed."""
    for lost in range(2):
        universe, model = begun()

        async def work(
            client: Client, universe: Universe = universe, model: Model = model, lost: int = lost
        ) -> None:
            await checkpoint(client, model)
            fs, checkpointer = universe.fs, client.node.metadata.checkpointer
            assert checkpointer is not None
            copies = ranges(fs)
            assert copies and all(len(paths) == 2 for paths in copies.values())
            for paths in copies.values():
                if how == "gone":
                    fs.unlink(paths[lost])
                else:
                    fs.damage(paths[lost], 70, b"\xff\x00\xff")
            assert await checkpointer.upkeep(verify=how == "damaged") == len(copies)

        left_by(universe, work)
        left = Counter(len(paths) for paths in ranges(universe.fs).values())
        assert set(left) <= {2, 3}, left
        universe.lose(lost)
        recovered(universe, model, lost)


def held(universe: Universe, fs: SimulatedFileSystem, slot: int) -> set[bytes]:
    """The frames that lie whole on a disk."""
    node = universe.node
    assert node is not None
    deployment_id = node.metadata.recovered.deployment.deployment_id
    disk, found = Disk(slot), Survey({}, {})
    survey_journal(found, disk, Home(fs, f"/d{slot}", bytes([1]) * 16), deployment_id)
    return disk.chains


def test_a_disk_has_all_its_frames_at_every_call_of_its_readmission() -> None:
    """Frames were answered because this disk had them: they may not be gone for a moment."""
    universe, model = begun()
    states = 0
    gone: list[str] = []

    async def work(client: Client) -> None:
        journal = client.node.metadata.journal
        assert journal is not None
        for number in range(3):
            assert await put(client, model, f"key{number}", SMALL) == 200
        while any(one.lag_bytes for one in journal.status().values()):
            await asyncio.sleep(0.01)
        before = held(universe, universe.fs, 0)
        assert len(before) > 3

        def cut(name: str) -> None:
            nonlocal states
            for told, fate, _ in fates(universe.fs.unsynced(), universe.disks):
                states += 1
                if not before <= held(universe, universe.fs.crashed(fate), 0):
                    gone.append(f"{name}: {told}")

        universe.before = cut
        journal.distrust(0, "as if it had been away")
        while journal.status()[0].state is not SlotState.LIVE:
            await asyncio.sleep(0.01)
        cut("end")
        universe.before = None

    universe.live(work)
    assert not gone, gone
    assert states > 30


def test_a_disk_that_is_readmitted_gets_the_frame_in_flight() -> None:
    """Else its log would have a gap, and it would count for what lies beyond."""
    universe, model = begun()

    async def work(client: Client) -> None:
        journal = client.node.metadata.journal
        assert journal is not None
        assert await put(client, model, "small", SMALL) == 200
        universe.slow |= {1: 5.0, 2: 5.0}
        flying = asyncio.ensure_future(put(client, model, "flying", SMALL))
        await asyncio.sleep(1.0)
        assert not flying.done(), "one disk is not enough"
        journal.distrust(0, "as if it had been away")
        while journal.status()[0].state is not SlotState.LIVE:
            await asyncio.sleep(0.01)
        assert not flying.done()
        universe.slow.clear()
        assert await put(client, model, "after", SMALL) == 200
        assert await flying == 200
        while any(one.lag_bytes for one in journal.status().values()):
            await asyncio.sleep(0.01)
        assert held(universe, universe.fs, 0) == held(universe, universe.fs, 1)

    universe.live(work)


@pytest.mark.parametrize("step", ["promise", ".log"])
def test_an_epoch_that_only_m_disks_take_does_not_begin(step: str) -> None:
    universe, model = begun()

    def elsewhere(path: str) -> bool:
        return path.endswith(step) and not path.startswith("/d0/")

    universe.fs.fail("rename", errno.EROFS, elsewhere)
    with pytest.raises(QuorumLost):
        universe.live(lambda client: put(client, model, "small", SMALL))
    universe.fs.heal()
    recovered(universe, model)


def test_an_epoch_that_was_promised_is_never_begun_again() -> None:
    """Its frame lies on one disk, which is away when the next life chooses an epoch."""
    universe, model = begun()
    first = universe.node.metadata.recovered.epoch if universe.node else 0
    universe.fs.fail(
        "rename", errno.EROFS, lambda path: path.endswith(".log") and not path.startswith("/d0/")
    )
    with pytest.raises(QuorumLost):
        universe.live(lambda client: put(client, model, "small", SMALL))
    universe.fs.heal()
    universe.lose(0)

    async def work(client: Client) -> None:
        assert client.node.metadata.recovered.epoch > first + 1
        assert await put(client, model, "small", SMALL) == 200

    universe.live(work)
    universe.find(0)
    recovered(universe, model, 0)


def test_a_stale_disk_with_its_own_checkpoint_and_a_longer_tail() -> None:
    """Nothing links it to the true history, whose journal was cut: the epoch alone decides."""
    universe, model = begun()
    fork = universe.fs.copy()

    async def long_tail(client: Client) -> None:
        for number in range(12):
            assert await put(client, Model(), f"other{number}", SMALL) == 200

    async def short(client: Client) -> None:
        assert await put(client, model, "small", SMALL) == 200, client.node.trouble()
        await checkpoint(client, model)

    universe.live(long_tail)
    stale, universe.fs = universe.fs, fork
    universe.place = MemoryPlace()
    universe.lose(0)
    for _ in range(3):
        universe.live(short)
    universe.find(0)
    replace_disk(universe.fs, stale, "/d0")
    universe.place = MemoryPlace()
    recovered(universe, model, 0)
