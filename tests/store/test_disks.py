"""Disks as they are made, opened, recognised and fenced; the epoch file."""

from __future__ import annotations

import errno
from pathlib import Path
from random import Random

import pytest

from s3node.base.errors import ConfigError, DiskOffline, FormatError, FormatUnknown
from s3node.base.filesystem import FileSystem, RealFileSystem, Usage, read_file, write_file
from s3node.store import checked, disks, epoch, identity
from s3node.store.epoch import Epoch
from s3node.store.identity import Identity, Standing
from s3node.store.limits import Limits
from s3node.store.seams import DiskState
from s3node.store.state import TOLD_SHARE, Disk
from tests.simulation.filesystem import SimulatedFileSystem
from tests.store.world import DEPLOYMENT, LIFE, disk_id


@pytest.fixture(params=["real", "simulated"])
def rooted(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[FileSystem, list[str]]:
    fs: FileSystem = RealFileSystem() if request.param == "real" else SimulatedFileSystem()
    root = str(tmp_path) if request.param == "real" else ""
    return fs, [f"{root}/disk{slot}" for slot in range(4)]


def make(fs: FileSystem, path: str, slot: int, deployment: bytes = DEPLOYMENT) -> Identity:
    made = Identity(deployment, disk_id(slot), slot, 4, 1_700_000_000_000)
    disks.create_disk(fs, path, made, LIFE)
    return made


def standings(fs: FileSystem, paths: list[str]) -> list[Standing]:
    opened = disks.open_disks(fs, paths)
    disks.close_disks(fs, opened)
    return [one.standing for one in opened]


def test_made_disks_open_in_slot_order(rooted: tuple[FileSystem, list[str]]) -> None:
    fs, paths = rooted
    made = [make(fs, path, slot) for slot, path in enumerate(paths)]
    opened = disks.open_disks(fs, paths)
    assert [one.slot for one in opened] == [0, 1, 2, 3]
    assert [one.identity for one in opened] == made
    assert all(one.epoch == Epoch(0, LIFE, disk_id(one.slot)) for one in opened)
    with pytest.raises(ConfigError, match="another process"):
        disks.open_disks(fs, paths)
    disks.close_disks(fs, opened)
    disks.close_disks(fs, disks.open_disks(fs, paths))


def test_nothing_is_made_of_a_path_that_holds_something(
    rooted: tuple[FileSystem, list[str]],
) -> None:
    fs, paths = rooted
    make(fs, paths[0], 0)
    with pytest.raises(ConfigError, match="not empty"):
        make(fs, paths[0], 0)
    fs.mkdir(paths[1])
    write_file(fs, paths[1], "photo.jpg", b"mine")
    with pytest.raises(ConfigError, match=r"photo\.jpg"):
        make(fs, paths[1], 1)
    assert fs.listdir(paths[1]) == ["photo.jpg"]


def test_swapped_disks_serve_the_slot_they_say(rooted: tuple[FileSystem, list[str]]) -> None:
    fs, paths = rooted
    for slot, path in zip((1, 0, 2, 3), paths, strict=True):
        make(fs, path, slot)
    opened = disks.open_disks(fs, paths)
    assert [one.slot for one in opened] == [0, 1, 2, 3]
    assert [one.path for one in opened] == [paths[1], paths[0], paths[2], paths[3]]
    assert [one.standing for one in opened[:3]] == [Standing.SWAPPED] * 2 + [Standing.OK]
    assert "slot 0" in opened[0].reason and "slot 1" in opened[0].reason
    disks.close_disks(fs, opened)


def test_missing_foreign_damaged_and_later_disks_are_told(
    rooted: tuple[FileSystem, list[str]],
) -> None:
    fs, paths = rooted
    make(fs, paths[0], 0)
    make(fs, paths[1], 1)
    make(fs, paths[2], 2, b"F" * 16)
    assert standings(fs, paths) == [Standing.OK, Standing.OK, Standing.FOREIGN, Standing.MISSING]
    made = make(fs, paths[3], 3)
    later = bytearray(identity.pack(made))
    later[8] += 1
    write_file(fs, paths[3], disks.IDENTITY, checked.finish(bytes(later)))
    damaged = bytearray(identity.pack(made))
    damaged[20] ^= 1
    write_file(fs, paths[2], disks.IDENTITY, damaged)
    before = [fs.listdir(path) for path in paths]
    expected = [Standing.OK, Standing.OK, Standing.DAMAGED, Standing.UNKNOWN]
    assert standings(fs, paths) == expected
    assert [fs.listdir(path) for path in paths] == before


def test_a_missing_disk_and_a_swapped_one_keep_their_slots(
    rooted: tuple[FileSystem, list[str]],
) -> None:
    fs, paths = rooted
    for slot, path in ((3, paths[0]), (1, paths[1]), (2, paths[2])):
        make(fs, path, slot)
    opened = disks.open_disks(fs, paths)
    assert [(one.slot, one.standing) for one in opened] == [
        (0, Standing.MISSING),
        (1, Standing.OK),
        (2, Standing.OK),
        (3, Standing.SWAPPED),
    ]
    assert opened[0].path == paths[3]
    disks.close_disks(fs, opened)


def test_clones_are_both_refused(rooted: tuple[FileSystem, list[str]]) -> None:
    fs, paths = rooted
    make(fs, paths[0], 0)
    make(fs, paths[1], 1)
    make(fs, paths[2], 2)
    disks.create_disk(fs, paths[3], Identity(DEPLOYMENT, disk_id(2), 2, 4, 1), LIFE)
    assert standings(fs, paths) == [Standing.OK, Standing.OK, Standing.CLONE, Standing.CLONE]


def test_a_disk_is_whole_or_no_disk_after_any_crash_of_init() -> None:
    whole = 0
    for seed in range(200):
        fs = SimulatedFileSystem()
        fs.fail_at(seed % 40 + 1)
        try:
            make(fs, "/disk0", 0)
        except OSError:
            whole -= 1
        fs.heal()
        after = fs.crash(Random(seed))
        opened = disks.open_disks(after, ["/disk0"], DEPLOYMENT)
        if opened[0].standing is Standing.OK:
            assert opened[0].epoch is not None, opened[0].reason
            whole += 1
        else:
            assert opened[0].standing is Standing.MISSING
            make(after, "/disk0", 0)  # init can be run again
    assert -200 < whole < 200


# ---- the epoch file


def test_epochs_survive_a_torn_write() -> None:
    fs = SimulatedFileSystem()
    make(fs, "/disk0", 0)
    fs.fsync_dir("/")
    for number in range(1, 9):
        new = Epoch(number, bytes([number]) * 16, disk_id(0))
        fs.fail("fdatasync", errno.EIO)
        before = epoch.read(fs, "/disk0")
        with pytest.raises(OSError):
            epoch.write(fs, "/disk0", new)
        fs.heal()
        for seed in range(30):
            after = epoch.read(fs.crash(Random(seed)), "/disk0")
            assert after == before or after[:3] == new[:3]
        written = epoch.write(fs, "/disk0", new)
        assert epoch.read(fs, "/disk0") == written
        for seed in range(10):
            assert epoch.read(fs.crash(Random(seed)), "/disk0") == written


def test_an_epoch_never_goes_back_and_damage_is_mended() -> None:
    fs = SimulatedFileSystem()
    make(fs, "/disk0", 0)
    epoch.write(fs, "/disk0", Epoch(5, LIFE, disk_id(0)))
    with pytest.raises(DiskOffline, match="knows epoch 5"):
        epoch.write(fs, "/disk0", Epoch(4, LIFE, disk_id(0)))
    write_file(fs, "/disk0", epoch.NAME, bytes(1024))
    with pytest.raises(FormatError):
        epoch.read(fs, "/disk0")
    epoch.write(fs, "/disk0", Epoch(6, LIFE, disk_id(0)))
    assert epoch.read(fs, "/disk0").epoch == 6


def test_an_epoch_of_a_later_release_is_not_overwritten() -> None:
    fs = SimulatedFileSystem()
    make(fs, "/disk0", 0)
    later = bytearray(epoch.pack(Epoch(9, LIFE, disk_id(0))))
    later[8] += 1
    content = checked.finish(bytes(later)) + bytes(512)
    write_file(fs, "/disk0", epoch.NAME, content)
    with pytest.raises(FormatUnknown):
        epoch.write(fs, "/disk0", Epoch(10, LIFE, disk_id(0)))
    assert read_file(fs, f"/disk0/{epoch.NAME}") == content
    assert standings(fs, ["/disk0"]) == [Standing.UNKNOWN]


def test_an_epoch_file_of_another_disk_is_not_believed() -> None:
    fs = SimulatedFileSystem()
    make(fs, "/disk0", 0)
    write_file(fs, "/disk0", epoch.NAME, epoch.pack(Epoch(9, LIFE, disk_id(1))) + bytes(512))
    (opened,) = disks.open_disks(fs, ["/disk0"])
    assert opened.epoch is None and "another disk" in opened.reason


def test_a_disk_is_told_to_have_little_more_room_than_it_has() -> None:
    """However much is written, fails or is under way; and of a full one nothing else is told."""
    limits, random = Limits(reserve_bytes=1000), Random(1)
    disk = Disk(0, "/d", None, DiskState.ONLINE, "", Usage(0, 0), -1)
    disk.has_room(Usage(1 << 30, 1_000_000), limits)
    used, flying = 0, [0]
    told = set()
    while disk.room >= 500:
        flying.append(random.randrange(1, 500))
        disk.take(flying[-1])
        if random.random() < 0.9:
            size, written = flying.pop(random.randrange(len(flying))), random.random() < 0.8
            disk.ended(size, written=written)
            used += size * written
        if random.random() < 0.01:  # asked again: what was written is in the answer
            disk.has_room(Usage(1 << 30, 1_000_000 - used), limits)
        free = 1_000_000 - used - sum(flying)
        status = disk.status()
        assert 0 <= status.free_bytes - free <= disk.room / TOLD_SHARE
        assert disk.room == free - limits.reserve_bytes
        told.add(status.free_bytes)
    assert len(told) < 1000, "made anew only now and then"
