"""One conformance suite for both file systems, and what only the simulated one can do."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import pytest

from s3node.base import filesystem
from s3node.base.filesystem import (
    FileSystem,
    RealFileSystem,
    Sheet,
    read_file,
    write_all,
    write_file,
)
from s3node.base.medium import Medium
from tests.simulation.files import SECTOR, FailedSync
from tests.simulation.filesystem import SimulatedFileSystem

Rooted = tuple[FileSystem, str]


@pytest.fixture(params=["real", "simulated"])
def rooted(request: pytest.FixtureRequest, tmp_path: Path) -> Rooted:
    if request.param == "real":
        return RealFileSystem(), str(tmp_path)
    fs = SimulatedFileSystem()
    fs.mkdir("/root")
    return fs, "/root"


def create(fs: FileSystem, path: str, data: bytes = b"") -> int:
    fd = fs.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL)
    write_all(fs, fd, data, 0)
    return fd


def errno_of(call: Callable[[], object]) -> int | None:
    with pytest.raises(OSError) as raised:
        call()
    return raised.value.errno


def test_write_read_truncate(rooted: Rooted) -> None:
    fs, root = rooted
    fd = create(fs, f"{root}/a")
    assert fs.pwritev(fd, [b"hello", memoryview(b" world")], 3) == 11
    assert fs.pread(fd, 100, 0) == b"\0\0\0hello world"
    assert fs.pread(fd, 4, 4) == b"ello"
    assert fs.pread(fd, 4, 100) == b""
    assert fs.size(fd) == 14
    fs.ftruncate(fd, 5)
    fs.ftruncate(fd, 8)
    assert fs.pread(fd, 100, 0) == b"\0\0\0he\0\0\0"
    fs.fallocate(fd, 8, 4096)
    assert fs.size(fd) == 4104
    fs.fdatasync(fd)
    fs.close(fd)
    assert read_file(fs, f"{root}/a", piece=1000) == b"\0\0\0he" + bytes(4099)


def test_names(rooted: Rooted) -> None:
    fs, root = rooted
    fs.mkdir(f"{root}/d")
    fs.close(create(fs, f"{root}/d/b", b"1"))
    fs.close(create(fs, f"{root}/d/a", b"2"))
    assert fs.listdir(f"{root}/d") == ["a", "b"]
    fs.rename(f"{root}/d/a", f"{root}/d/b")
    assert read_file(fs, f"{root}/d/b") == b"2"
    fs.rename(f"{root}/d/b", f"{root}/c")
    assert fs.listdir(f"{root}/d") == []
    assert fs.exists(f"{root}/c") and not fs.exists(f"{root}/d/b")
    fs.unlink(f"{root}/c")
    assert not fs.exists(f"{root}/c")
    fs.fsync_dir(f"{root}/d")
    write_file(fs, f"{root}/d", "w", b"whole")
    write_file(fs, f"{root}/d", "w", b"again")
    assert fs.listdir(f"{root}/d") == ["w"]
    assert read_file(fs, f"{root}/d/w") == b"again"


def test_an_open_file_outlives_its_name(rooted: Rooted) -> None:
    fs, root = rooted
    fd = create(fs, f"{root}/a", b"still here")
    fs.unlink(f"{root}/a")
    assert fs.pread(fd, 100, 0) == b"still here"
    fs.close(fd)


def test_errors_are_the_kernels(rooted: Rooted) -> None:
    fs, root = rooted
    fd = create(fs, f"{root}/a")
    assert errno_of(lambda: fs.open(f"{root}/none", os.O_RDONLY)) == errno.ENOENT
    assert errno_of(lambda: fs.open(f"{root}/none/x", os.O_CREAT | os.O_RDWR)) == errno.ENOENT
    assert errno_of(lambda: fs.open(f"{root}/a/x", os.O_RDONLY)) == errno.ENOTDIR
    assert errno_of(lambda: create(fs, f"{root}/a")) == errno.EEXIST
    assert errno_of(lambda: fs.mkdir(f"{root}/a")) == errno.EEXIST
    assert errno_of(lambda: fs.unlink(f"{root}/none")) == errno.ENOENT
    assert errno_of(lambda: fs.rename(f"{root}/none", f"{root}/b")) == errno.ENOENT
    assert errno_of(lambda: fs.listdir(f"{root}/none")) == errno.ENOENT
    assert errno_of(lambda: fs.open(root, os.O_RDWR)) == errno.EISDIR
    fs.close(fd)
    reading = fs.open(f"{root}/a", os.O_RDONLY)
    assert errno_of(lambda: fs.pwritev(reading, [b"x"], 0)) == errno.EBADF
    fs.close(reading)
    assert errno_of(lambda: fs.pread(reading, 1, 0)) == errno.EBADF


def test_a_lock_has_one_holder(rooted: Rooted) -> None:
    fs, root = rooted
    fs.close(create(fs, f"{root}/lock"))
    first, second = (fs.open(f"{root}/lock", os.O_RDONLY) for _ in range(2))
    fs.lock(first)
    fs.lock(first)
    with pytest.raises(BlockingIOError):
        fs.lock(second)
    fs.close(first)
    fs.lock(second)
    fs.close(second)


def test_usage(rooted: Rooted) -> None:
    fs, root = rooted
    usage = fs.usage(root)
    assert 0 < usage.free <= usage.total
    assert not fs.is_mount(root)


def test_the_medium_is_read_at_any_place_and_length(rooted: Rooted) -> None:
    """Past the page cache, or where that is not to be had, with nothing left in it."""
    fs, root = rooted
    data = Random(3).randbytes(20_001)
    fd = create(fs, f"{root}/a", data)
    fs.fdatasync(fd)
    for one in (fs, NoDirect(fs)):
        medium = Medium(one)  # type: ignore[arg-type]
        reading = medium.open(f"{root}/a", os.O_RDONLY)
        assert medium.size(reading) == len(data)
        for offset, length in ((0, 1), (4095, 2), (77, 19_000), (19_990, 100), (30_000, 5)):
            assert medium.pread(reading, length, offset) == data[offset : offset + length]
        medium.close(reading)
    assert errno_of(lambda: Medium(fs).open(f"{root}/none", os.O_RDONLY)) == errno.ENOENT
    fs.pwritev(fd, [b"not synced"], 0)
    medium = Medium(fs)
    reading = medium.open(f"{root}/a", os.O_RDONLY)
    assert medium.pread(reading, 10, 0) == b"not synced", "written before it is read"
    medium.close(reading)
    fs.close(fd)


def test_what_stays_in_the_cache_is_not_taken_for_the_medium() -> None:
    fs = SimulatedFileSystem()
    fs.direct = False
    fd = create(fs, "/a", b"not synced")
    assert not fs.drop_cache(fd)
    assert errno_of(lambda: Medium(fs).open("/a", os.O_RDONLY)) == errno.EBUSY
    fs.fdatasync(fd)
    assert fs.drop_cache(fd)
    assert fs.open_descriptors() == 1


class NoDirect:
    """A file system without direct reads."""

    def __init__(self, fs: FileSystem) -> None:
        self._fs = fs

    def open_direct(self, path: str) -> int:
        raise OSError(errno.EINVAL, "no direct reads", path)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._fs, name)


# ---- the simulated one


@pytest.mark.parametrize("kind", FailedSync)
@pytest.mark.parametrize("direct", [True, False])
def test_the_medium_tells_what_each_failed_sync_left(kind: FailedSync, direct: bool) -> None:
    fs = SimulatedFileSystem()
    fs.failed_sync, fs.direct = kind, direct
    fd = create(fs, "/a", b"x" * SECTOR)
    fs.fail("fdatasync", errno.EIO)
    if kind is FailedSync.LATE:
        fs.fdatasync(fd)  # answered as done
    assert errno_of(lambda: fs.fdatasync(fd)) == errno.EIO
    seen = bytes(SECTOR) if kind is FailedSync.OLD_CONTENT else b"x" * SECTOR
    assert fs.pread(fd, SECTOR, 0) == seen
    medium = Medium(fs)
    reading = medium.open("/a", os.O_RDONLY)
    assert medium.pread(reading, SECTOR, 0) == bytes(SECTOR)


def crashes(fs: SimulatedFileSystem, path: str, count: int = 300) -> set[bytes | None]:
    found: set[bytes | None] = set()
    for seed in range(count):
        after = fs.crash(Random(seed))
        found.add(read_file(after, path) if after.exists(path) else None)
    return found


def test_unsynced_names_and_bytes_may_be_lost() -> None:
    fs = SimulatedFileSystem()
    fd = create(fs, "/a", b"x" * 10)
    assert {None, b"", b"x" * 10} <= crashes(fs, "/a")
    fs.fdatasync(fd)
    assert crashes(fs, "/a") == {None, b"x" * 10}
    fs.fsync_dir("/")
    assert crashes(fs, "/a") == {b"x" * 10}


def test_an_overwritten_sector_is_old_new_or_torn_and_no_other_is_touched() -> None:
    fs = SimulatedFileSystem()
    fd = create(fs, "/a", b"a" * 3 * SECTOR)
    fs.fdatasync(fd)
    fs.fsync_dir("/")
    fs.pwritev(fd, [b"b" * SECTOR], SECTOR)
    found = [one for one in crashes(fs, "/a") if one is not None]
    middles = {one[SECTOR : 2 * SECTOR] for one in found}
    assert {b"a" * SECTOR, b"b" * SECTOR} <= middles and len(middles) > 10
    assert all(one[:SECTOR] == one[2 * SECTOR :] == b"a" * SECTOR for one in found)
    assert all(len(middle.lstrip(b"b").strip(b"a")) == 0 for middle in middles)


def test_a_rename_is_there_or_not_never_half() -> None:
    fs = SimulatedFileSystem()
    write_file(fs, "/", "a", b"old")
    for fd in [create(fs, "/t", b"new")]:
        fs.fdatasync(fd)
    fs.rename("/t", "/a")
    assert crashes(fs, "/a") == {b"old", b"new"}


def buffers(data: bytes) -> list[bytes | Sheet]:
    """As it may be given to be written."""
    cuts = sorted(Random(len(data)).sample(range(len(data)), 5))
    sheet = Sheet(b"x" * 5000)  # filled before
    sheet.fill([data[begin:end] for begin, end in pairwise([0, *cuts, len(data)])])
    return [data, sheet]


@pytest.mark.parametrize("direct", [True, False])
@pytest.mark.parametrize("kind", [0, 1])
def test_write_file_is_whole_or_not_at_all(kind: int, direct: bool) -> None:
    old, new = b"old" * 3000, b"new" * 3000
    for nth in range(1, 12):
        fs = SimulatedFileSystem()
        fs.direct = direct
        write_file(fs, "/", "a", buffers(old)[kind])
        fs.fail_at(nth)
        try:
            write_file(fs, "/", "a", buffers(new)[kind])
            written = True
        except OSError:
            written = False
        assert fs.open_descriptors() == 0
        found = crashes(fs, "/a", 50)
        assert found <= {old, new}
        if written and nth > 8:
            assert found == {new}


@pytest.mark.parametrize("size", [5, 4095, 4096, 4097, (3 << 20) + 5])
def test_a_file_is_written_past_the_page_cache_or_through_it(rooted: Rooted, size: int) -> None:
    fs, root = rooted
    data = Random(size).randbytes(size)
    for given in buffers(data):
        write_file(fs, root, "w", given)
        if isinstance(fs, RealFileSystem) and isinstance(given, Sheet) and has_direct(root):
            assert cached_pages(f"{root}/w") <= 1, "the last, which was cut"
        assert read_file(fs, f"{root}/w") == data
    assert fs.listdir(root) == ["w"]


def has_direct(folder: str) -> bool:
    """Found out by trying; files in memory (major 0) only do as if."""
    try:
        os.close(os.open(folder, os.O_TMPFILE | os.O_RDWR | os.O_DIRECT))
    except OSError:
        return False
    return os.major(os.stat(folder).st_dev) != 0


def cached_pages(path: str) -> int:
    with open(path, "rb") as file:
        return filesystem._cached_pages(file.fileno())


def test_behind_what_a_sheet_holds_are_zeros_whatever_it_held_before() -> None:
    sheet = Sheet(b"x" * 9000)
    for size in (4097, 1, 4096, 9000, 20_000):
        sheet.fill([b"y" * size])
        assert sheet.content == b"y" * size and sheet.size == size
        assert sheet.blocks[size:] == bytes(-size % 4096)
    with pytest.raises(AssertionError):
        sheet.fill(iter([b"once"]))  # type: ignore[arg-type]


def test_what_no_device_takes_past_the_page_cache_goes_through_it() -> None:
    data = Random(1).randbytes(9000)
    for short in (None, Random(2)):  # short writes are of no whole blocks
        fs = SimulatedFileSystem()
        fs.short = short
        write_file(fs, "/", "a", Sheet(data))
        assert crashes(fs, "/a", 20) == {data}
        assert ("ftruncate //a.tmp" in fs.trace) == (short is None)
    fs = SimulatedFileSystem()
    fs.fail("pwritev", errno.EIO)
    assert errno_of(lambda: write_file(fs, "/", "a", Sheet(data))) == errno.EIO
    assert fs.trace.count("pwritev //a.tmp") == 1, "no other way is tried"


def test_a_later_sync_does_not_save_what_a_failed_one_gave_up() -> None:
    fs = SimulatedFileSystem()
    fd = create(fs, "/a", b"x" * SECTOR)
    fs.fsync_dir("/")
    fs.fail("fdatasync", errno.EIO)
    assert errno_of(lambda: fs.fdatasync(fd)) == errno.EIO
    fs.heal()
    fs.fdatasync(fd)
    assert fs.pread(fd, SECTOR, 0) == b"x" * SECTOR
    assert bytes(SECTOR) in crashes(fs, "/a")


def test_faults_and_limits() -> None:
    fs = SimulatedFileSystem(capacity=1000)
    fd = create(fs, "/a")
    assert fs.pwritev(fd, [bytes(1500)], 0) == 1000
    assert errno_of(lambda: fs.pwritev(fd, [b"x"], 1000)) == errno.ENOSPC
    assert errno_of(lambda: fs.fallocate(fd, 1000, 1)) == errno.ENOSPC
    fs.read_only = True
    assert errno_of(lambda: fs.pwritev(fd, [b"x"], 0)) == errno.EROFS
    assert errno_of(lambda: fs.mkdir("/d")) == errno.EROFS
    fs.heal()
    fs.fail_at(2)
    fs.pread(fd, 1, 0)
    assert errno_of(lambda: fs.pread(fd, 1, 0)) == errno.EIO
    assert fs.pread(fd, 1, 0) == b"\0"
