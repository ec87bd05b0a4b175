"""Recovery, case by case: what each is about stands in its name."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable

import pytest

from s3node.node import site_of
from tests.simulation import invariants
from tests.simulation.enumeration import Explorer
from tests.simulation.filesystem import ChosenFates, Directory, SimulatedFileSystem
from tests.simulation.history import replace_disk
from tests.simulation.model import (
    BUCKET,
    LARGE,
    OPERATIONS,
    SMALL,
    Model,
    begin,
    checkpoint,
    put,
    read_everything,
)
from tests.simulation.node import Client, Universe

Work = Callable[[Client], Awaitable[object]]


def begun(seed: int = 1, **shape: int) -> tuple[Universe, Model]:
    universe, model = Universe(seed, **shape), Model()
    universe.paced = True
    universe.live(lambda client: begin(client, model))
    return universe, model


def left_by(universe: Universe, work: Work) -> None:
    """A life that is cut at the end of `work`, with nothing unsynced left on any disk."""

    async def main() -> None:
        await work(Client(universe, await universe.open()))
        unsynced = universe.fs.unsynced()
        universe.fs = universe.fs.crashed(ChosenFates(unsynced))

    universe.run(main, cut=True)
    universe.place.lose()


def recovered(universe: Universe, model: Model, bad: int | None = None) -> None:
    """It starts, everything promised is there, it works, and its disks are in order."""
    site = site_of(universe.config)
    before = invariants.segments(universe.fs, site)

    async def work(client: Client) -> None:
        await read_everything(client, model)
        assert await put(client, model, "afterwards", LARGE) == 200

    universe.live(work)
    invariants.unchanged(before, universe.fs, site)
    invariants.check(site, universe.fs, universe.place, bad=bad)


def test_journal_tails_that_differ_between_disks() -> None:
    """One disk lags; another is lost with the power: the one that is left has all."""
    for lost in range(3):
        universe, model = begun()
        universe.slow[2] = 0.7

        async def work(client: Client, model: Model = model) -> None:
            for number in range(12):
                assert await put(client, model, f"key{number}", SMALL) == 200

        left_by(universe, work)
        universe.slow.clear()
        sizes = {len(journal(universe.fs, slot)) for slot in range(3)}
        assert len(sizes) > 1, "no disk lagged"
        universe.lose(lost)
        recovered(universe, model, lost)


def journal(fs: SimulatedFileSystem, slot: int) -> bytes:
    return b"".join(fs.content(path) for path in fs.files(f"/d{slot}/journal"))


def test_m_disks_lost_at_the_same_moment() -> None:
    for lost in itertools.combinations(range(5), 2):
        universe, model = begun(disks=5, parity=2)

        async def work(client: Client, model: Model = model) -> None:
            for number in range(3):
                assert await put(client, model, f"key{number}", SMALL) == 200

        left_by(universe, work)
        for slot in lost:
            universe.lose(slot)

        async def check(client: Client, model: Model = model) -> None:
            await read_everything(client, model)
            assert await put(client, model, "afterwards", LARGE) == 200

        universe.live(check)


def test_a_disk_that_returns_with_the_longer_tail_of_an_older_epoch() -> None:
    """Only that disk has the last frame of its epoch; the others went on without it."""
    universe, model = begun()
    universe.slow |= {1: 50.0, 2: 50.0}

    async def work(client: Client) -> None:
        doubtful = asyncio.ensure_future(put(client, model, "doubt", SMALL))
        await asyncio.sleep(1.0)
        assert not doubtful.done(), "one disk is not enough for an answer"

    before = len(journal(universe.fs, 0))
    left_by(universe, work)
    universe.slow.clear()
    assert len(journal(universe.fs, 0)) > before
    with_doubt = universe.fs.copy()
    universe.lose(0)
    left_by(universe, lambda client: read_everything(client, model))
    assert model.may["doubt"] == (None,), "decided, for ever"
    left_by(universe, lambda client: put(client, model, "base", SMALL))
    universe.find(0)
    replace_disk(universe.fs, with_doubt, "/d0")
    recovered(universe, model, 0)
    recovered(universe, model, 0)


def test_a_crash_at_every_call_of_recovery() -> None:
    explorer = Explorer()
    crashes = explorer.crashes([OPERATIONS["put large"]])
    for crash in [crashes[len(crashes) // 3], crashes[-1]]:
        explorer.survive_all(explorer.crashes_of_recovery(crash))
    print(explorer.counters)
    assert explorer.counters.crashes > 50


def test_a_crash_at_every_call_of_a_checkpoint_and_of_the_journals_cut() -> None:
    explorer = Explorer()
    names: list[str] = []
    real = SimulatedFileSystem.unlink

    def unlink(fs: SimulatedFileSystem, path: str) -> None:
        names.append(path)
        real(fs, path)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SimulatedFileSystem, "unlink", unlink)
        steps = [OPERATIONS["put small"], checkpoint, OPERATIONS["delete"], checkpoint]
        crashes = explorer.crashes(steps)
    assert any("/journal/" in name for name in names), "the journal was not cut"
    assert any("/checkpoints/" in name for name in names), "no old checkpoint was removed"
    explorer.survive_all(crashes)
    print(explorer.counters)


# --- the index, and records, that do not fit the journal ---------------------------------------


def test_an_index_that_is_behind_catches_up() -> None:
    universe, model = begun()
    old = universe.place.kept
    left_by(universe, lambda client: put(client, model, "more", LARGE))
    universe.place.kept = old
    recovered(universe, model)


def test_an_index_of_another_life_is_made_anew() -> None:
    universe, model = begun()
    fork, index = universe.fs.copy(), universe.place.kept
    universe.live(lambda client: put(client, Model(), "of the other life", SMALL))
    foreign = universe.place.kept
    universe.fs, universe.place.kept = fork, index
    universe.live(lambda client: put(client, model, "mine", SMALL))
    mine = universe.place.kept
    assert foreign is not None and mine is not None
    assert foreign[1].position.sequence == mine[1].position.sequence
    universe.place.kept = foreign
    recovered(universe, model)


def refuses_writes(universe: Universe, model: Model, reason: str) -> None:
    async def work(client: Client) -> None:
        assert reason in client.node.trouble()
        assert (await client.ask("PUT", f"{BUCKET}/new", body=b"x")).status == 503
        assert (await client.ask("DELETE", f"{BUCKET}/base")).status == 503

    universe.live(work)


def test_an_index_ahead_of_the_journal_is_read_only_and_loud() -> None:
    universe, model = begun()
    old = universe.fs.copy()
    universe.live(lambda client: put(client, model, "newest", SMALL))
    universe.fs = old
    refuses_writes(universe, model, "the index knows frame")


def test_records_ahead_of_the_journal_are_read_only_and_loud() -> None:
    universe, model = begun()
    old = universe.fs.copy()

    async def work(client: Client) -> None:
        for key in ("newest", "later"):
            assert await put(client, model, key, LARGE) == 200

    left_by(universe, work)
    for slot in range(universe.disks):
        for name in ("journal", "checkpoints"):
            give_back(universe.fs, old, f"d{slot}", name)
    refuses_writes(universe, model, "a record names frame")


def give_back(fs: SimulatedFileSystem, old: SimulatedFileSystem, disk: str, name: str) -> None:
    """A directory of a disk is as it was in `old`."""
    here, there = fs.root.seen[disk], old.copy().root.seen[disk]
    assert isinstance(here, Directory) and isinstance(there, Directory)
    here.seen[name] = there.seen[name]
    here.platter = dict(here.seen)
