"""Recovery, case by case: what each is about stands in its name."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable

import pytest

from s3node.meta import tables
from s3node.meta.kv import ReadTx
from s3node.meta.logscan import FoundFrame, scan
from s3node.meta.recovery import Report
from s3node.meta.survey import survey
from s3node.node import site_of
from s3node.services.start import looked_at
from tests.simulation import invariants
from tests.simulation.enumeration import Explorer
from tests.simulation.fates import ChosenFates
from tests.simulation.files import Directory
from tests.simulation.filesystem import SimulatedFileSystem
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


def joined_append(universe: Universe, model: Model) -> tuple[SimulatedFileSystem, str]:
    """A power cut just before a lagging disk syncs an append of several frames: disks, and log.

    More than four sectors: one frame, and the zeros behind it, do not take so many.
    """
    universe.slow[2] = 0.7
    found: list[tuple[SimulatedFileSystem, str, Model]] = []

    def before(name: str) -> None:
        for one in universe.fs.unsynced() if name == "fdatasync" else ():
            if one.path.startswith("/d2/journal/") and one.kind == "sectors" and one.count > 4:
                lost = ChosenFates([one._replace(count=2)])
                found.append((universe.fs.crashed(lost), one.path, model.copy()))

    async def work(client: Client) -> None:
        for number in range(12):
            assert await put(client, model, f"key{number}", SMALL) == 200
        universe.before = before
        await asyncio.sleep(3)
        universe.before = None

    left_by(universe, work)
    universe.slow.clear()
    fs, path, promised = found[0]
    model.may = promised.may
    return fs, path


def frames_of(universe: Universe, slot: int, name: str) -> tuple[list[int], int]:
    """The valid frames of a log, and the sequence of what is damaged in it, 0 for nothing."""
    with looked_at(site_of(universe.config), universe.fs) as looked:
        seen = survey(looked.usable(), looked.deployment.deployment_id)
    places = [(place, known) for known in seen.frames.values() for place in known.places]
    valid = [k.position.sequence for p, k in places if p.slot == slot and p.name == name]
    (log,) = [log for log in seen.disks[slot].logs if log.name == name]
    return sorted(valid), min((one.sequence for one in log.damages), default=0)


def reports(universe: Universe, model: Model, bad: int | None = None) -> Report:
    """What recovery tells; all is there and in order afterwards."""
    told: list[Report] = []

    async def work(client: Client) -> None:
        told.append(client.node.metadata.recovered.report)
        await read_everything(client, model)

    fork = universe.after(universe.fs.copy(), 1)
    fork.live(work)
    recovered(universe, model, bad)
    return told[0]


def test_an_append_of_several_frames_that_lost_its_first_sectors_is_a_torn_tail() -> None:
    """Others had those frames synced and later ones say so: still this disk is not damaged."""
    universe, model = begun()
    universe.fs, path = joined_append(universe, model)
    valid, damaged = frames_of(universe, 2, path.rpartition("/")[2])
    assert damaged and any(sequence > damaged for sequence in valid), "none is valid behind it"
    report = reports(universe, model)
    assert report.corrupt() == []
    assert report.disks[2].torn


def test_a_flipped_bit_in_a_frame_that_was_durable_is_told() -> None:
    """In any frame of the newest log, though it might all be one append: bits do not tear."""
    universe, model = begun()

    async def work(client: Client) -> None:
        for number in range(4):
            assert await put(client, model, f"key{number}", SMALL) == 200

    left_by(universe, work)
    newest = max(universe.fs.files("/d2/journal"), key=lambda path: len(frames_in(universe, path)))
    durable = frames_in(universe, newest)[:-1]
    assert len(durable) >= 2
    whole = universe.fs
    for frame in durable:
        universe = universe.after(whole.copy(), 1)
        universe.fs.damage(newest, frame.offset + 50, b"\xff")
        (told,) = reports(universe, model.copy(), bad=2).corrupt()
        assert told.startswith("slot 2: ")


def frames_in(universe: Universe, path: str) -> list[FoundFrame]:
    with looked_at(site_of(universe.config), universe.fs) as looked:
        found = scan(universe.fs.content(path), looked.deployment.deployment_id)
        return [one for one in found if isinstance(one, FoundFrame)]


def test_sectors_that_a_disk_forgot_below_its_last_append_are_told() -> None:
    """Zeros are what was never written only where nothing was written afterwards."""
    universe, model = begun()

    async def work(client: Client) -> None:
        for number in range(40):  # several logs, as they are small here
            assert await put(client, model, f"key{number}", SMALL) == 200

    left_by(universe, work)
    logs = [path for path in universe.fs.files("/d1/journal") if path.endswith(".log")]
    assert len(logs) > 3
    universe.fs.damage(logs[-2], 1024, bytes(512))
    assert reports(universe, model, bad=1).corrupt()


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


# --- the clock ---------------------------------------------------------------------------------


def test_what_replaces_a_version_is_newer_whatever_the_clock_says() -> None:
    """I9: the wall clock is set before each write and each start, by hours and by decades."""
    universe, model = begun()
    times: list[int] = []

    def newest(tx: ReadTx) -> int:
        ((_, bucket),) = tables.scan_buckets(tx)
        found = tables.scan_versions(tx, bucket.bucket_id)
        (hlc,) = [row.hlc for key, _, row in found if key == b"base"]
        return hlc

    async def work(client: Client) -> None:
        await read_everything(client, model)
        for _ in range(4):
            universe.clock.jump(universe.source)
            assert await put(client, model, "base", SMALL) == 200
            times.append(client.node.metadata.kv.read(newest))

    for _ in range(6):
        universe.clock.jump(universe.source)
        left_by(universe, work)
    assert times == sorted(set(times))
    recovered(universe, model)


def test_no_part_is_left_of_an_upload_that_was_completed() -> None:
    """One part too many was sent, which the Complete does not list."""
    universe, model = begun()
    left_by(universe, lambda client: OPERATIONS["complete"](client, model))
    recovered(universe, model)
