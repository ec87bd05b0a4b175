"""Planted bugs: each must be found by what the default run does. One function each is replaced."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from s3node.base.errors import StorageFault
from s3node.meta import frame, schema, survey
from s3node.meta.metadata import Metadata
from s3node.services import start
from s3node.store import scan
from tests.simulation import test_recovery_cases
from tests.simulation.enumeration import Counters, Explorer
from tests.simulation.filesystem import SimulatedFileSystem
from tests.simulation.history import History, Shape
from tests.simulation.model import OPERATIONS

Plant = Callable[[pytest.MonkeyPatch], None]
FOUND = (AssertionError, StorageFault, ExceptionGroup, asyncio.TimeoutError)


def without_sync(where: str) -> Plant:
    """Files of one kind are never synced."""
    real = SimulatedFileSystem.fdatasync

    def skip(fs: SimulatedFileSystem, fd: int) -> None:
        if where not in fs._descriptors[fd].path:
            real(fs, fd)

    return lambda patch: patch.setattr(SimulatedFileSystem, "fdatasync", skip)


def without_directory_sync(where: str) -> Plant:
    real = SimulatedFileSystem.fsync_dir

    def skip(fs: SimulatedFileSystem, path: str) -> None:
        if not path.endswith(where):
            real(fs, path)

    return lambda patch: patch.setattr(SimulatedFileSystem, "fsync_dir", skip)


def frame_on_m_disks(patch: pytest.MonkeyPatch) -> None:
    make = Metadata._make_journal

    def careless(self: Metadata, *arguments: Any) -> Any:
        journal = make(self, *arguments)
        journal._need -= 1
        return journal

    patch.setattr(Metadata, "_make_journal", careless)


def segment_cut_too_far(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(start, "cut", lambda fs, path, used: scan.cut(fs, path, used - 512))


def journal_cut_too_far(patch: pytest.MonkeyPatch) -> None:
    real = survey._longest

    def shorter(*arguments: Any) -> survey.Chain:
        chain = real(*arguments)
        return survey.Chain(chain.manifest, chain.frames[:-1])

    patch.setattr(survey, "_longest", shorter)


def death_row_without_a_frame(patch: pytest.MonkeyPatch) -> None:
    """The index has the row, the journal has not."""
    entries, pack = frame.entries, frame.pack
    counts: list[int] = []

    def forgetful(rows: Any) -> Any:
        kept = {key: row for key, row in rows.items() if not key.startswith(schema.DEATHS)}
        counts.append(len(kept))
        return entries(kept)

    def packed(kind: int, payload: Any, count: int, **more: Any) -> Any:
        return pack(kind, payload, counts.pop() if counts else count, **more)

    patch.setattr(frame, "entries", forgetful)
    patch.setattr(frame, "pack", packed)


def stale_disk_believed(patch: pytest.MonkeyPatch) -> None:
    """The longest tail wins, whatever epoch it is of."""
    real = survey._longest

    def longest(manifest: Any, links: dict[bytes, list[survey.Known]]) -> survey.Chain:
        epochs = {known.header.epoch for follow in links.values() for known in follow}
        chains = [real(manifest, up_to(epoch, links)) for epoch in sorted(epochs)]
        return max(chains, key=lambda chain: chain.tip.sequence, default=real(manifest, links))

    patch.setattr(survey, "_longest", longest)


def up_to(epoch: int, links: dict[bytes, list[survey.Known]]) -> dict[bytes, list[survey.Known]]:
    return {
        previous: [known for known in follow if known.header.epoch <= epoch]
        for previous, follow in links.items()
    }


def old_checkpoint_believed(patch: pytest.MonkeyPatch) -> None:
    """The one with the most frames behind it, though they may not reach the newest."""

    def longest(found: survey.Survey, *_: int) -> list[survey.Chain]:
        links: dict[bytes, list[survey.Known]] = {}
        for known in found.frames.values():
            links.setdefault(known.header.previous, []).append(known)
        manifests = [m for disk in found.disks.values() for m in disk.manifests]
        chains = [survey._longest(manifest, links) for manifest in manifests]
        return sorted(chains, key=lambda chain: -len(chain.frames))

    patch.setattr("s3node.meta.metadata.choose", longest)


ENUMERATED: dict[str, Plant] = {
    "journal frames are not synced": without_sync("/journal/"),
    "shards are not synced": without_sync("/segments/"),
    "the names of logs are not synced": without_directory_sync("/journal"),
    "the names of segments are not synced": without_directory_sync("/segments"),
    "a frame is acknowledged at m disks": frame_on_m_disks,
    "a segment's tail is cut too far": segment_cut_too_far,
    "the journal's tail is cut too far": journal_cut_too_far,
    "a death row without a frame": death_row_without_a_frame,
}
STEPS = ("put large", "overwrite", "delete")


@pytest.mark.parametrize("bug", ENUMERATED)
def test_the_enumeration_finds(bug: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ENUMERATED[bug](monkeypatch)
    explorer = Explorer()
    with pytest.raises(FOUND):
        for step in STEPS:
            explorer.explore([OPERATIONS["put small"], OPERATIONS[step]])


RANDOM: dict[str, Plant] = {
    "an old checkpoint is believed": old_checkpoint_believed,
}


@pytest.mark.parametrize("bug", RANDOM)
def test_random_histories_find(bug: str, monkeypatch: pytest.MonkeyPatch) -> None:
    RANDOM[bug](monkeypatch)
    with pytest.raises(FOUND):
        for seed in range(24):
            History(seed, Shape(faults=seed % 4 > 0), Counters()).run()


def test_the_recovery_cases_find_that_a_stale_disk_is_believed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stale_disk_believed(monkeypatch)
    with pytest.raises(AssertionError, match="doubt: found"):
        test_recovery_cases.test_a_disk_that_returns_with_the_longer_tail_of_an_older_epoch()
