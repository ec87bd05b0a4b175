"""The model of spinning disks: what it charges, and that a study can be told by it."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench import spinning
from bench.platters import Physics, Platter, SpinningFileSystem, Sums
from bench.virtual import Lines, VirtualLoop

PHYSICS = Physics(seek_s=1.0, bytes_per_s=100.0, lookup_seeks=2, commit_bytes=50)
COMMIT = Sums(1, 50, 1.5)
WRITE, READ = os.O_RDWR | os.O_CREAT, os.O_RDONLY


class Disk:
    """One modelled disk in a folder, and what each step of a test is charged."""

    def __init__(self, folder: Path, physics: Physics) -> None:
        self.root = str(folder)
        self.fs = SpinningFileSystem([self.root], physics)
        self._told = Sums()

    def charged(self) -> Sums:
        before, self._told = self._told, self.fs.platters[0].sums
        return self._told.since(before)

    def made(self, name: str, content: bytes = b"") -> int:
        """A durable file; what that costs is not counted."""
        fd = self.fs.open(f"{self.root}/{name}", WRITE)
        self.fs.pwritev(fd, [content], 0)
        self.fs.fdatasync(fd)
        self.charged()
        return fd


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    yield Disk(tmp_path, PHYSICS)


def plus(*sums: Sums) -> Sums:
    return Sums(
        sum(one.seeks for one in sums),
        sum(one.bytes for one in sums),
        sum(one.busy_s for one in sums),
    )


def test_the_head_stays_where_an_access_ended() -> None:
    platter = Platter(PHYSICS)
    platter.access("a", 0, 200)
    assert platter.sums == Sums(1, 200, 3.0)
    platter.access("a", 200, 100)  # it goes on
    assert platter.sums == Sums(1, 300, 4.0)
    platter.access("a", 350, 50)  # 50 bytes pass sooner than it would move
    assert platter.sums == Sums(1, 350, 5.0)
    platter.access("a", 500, 100)  # 100 would not
    assert platter.sums == Sums(2, 450, 7.0)
    platter.access("a", 500, 100)  # back
    platter.access("b", 600, 100)  # elsewhere
    assert platter.sums == Sums(4, 650, 11.0)


def test_a_new_file_is_data_and_one_commit(disk: Disk) -> None:
    fd = disk.fs.open(f"{disk.root}/new", WRITE)
    disk.fs.pwritev(fd, [b"x" * 60, b"y" * 40], 0)
    assert disk.charged() == Sums()  # buffered
    disk.fs.fdatasync(fd)
    assert disk.charged() == plus(Sums(1, 100, 2.0), COMMIT)
    disk.fs.fsync_dir(disk.root)  # the commit took its name along
    disk.fs.fdatasync(fd)
    assert disk.charged() == Sums()


def test_what_is_buffered_is_merged_and_each_gap_is_a_move(disk: Disk) -> None:
    fd = disk.made("file", bytes(1000))
    for offset in (100, 700, 0, 200):
        disk.fs.pwritev(fd, [bytes(100)], offset)
    disk.fs.fdatasync(fd)
    assert disk.charged() == Sums(2, 400, 6.0)  # 0-300 and 700-800; nothing to commit


@pytest.mark.parametrize(
    ("converts", "commits"), [(True, [COMMIT, COMMIT]), (False, [COMMIT, Sums()])]
)
def test_room_reserved_ahead(tmp_path: Path, converts: bool, commits: list[Sums]) -> None:
    """The first sync commits the size, the next only the conversion of an extent, if any."""
    physics = Physics(1.0, 100.0, 2, 50, converts)
    disk = Disk(tmp_path, physics)
    fd = disk.made("segment")
    disk.fs.fallocate(fd, 0, 4096)
    for number, commit in enumerate(commits):
        disk.fs.pwritev(fd, [bytes(100)], 100 * number)
        disk.fs.fdatasync(fd)
        assert disk.charged() == plus(Sums(1, 100, 2.0), commit)
    disk.fs.pwritev(fd, [bytes(100)], 0)  # written before: no extent changes
    disk.fs.fdatasync(fd)
    assert disk.charged().seeks == 1


def test_one_commit_takes_every_change_along(disk: Disk) -> None:
    first, second = (disk.fs.open(f"{disk.root}/{name}", WRITE) for name in "ab")
    for fd in (first, second):
        disk.fs.pwritev(fd, [bytes(100)], 0)
    disk.fs.fdatasync(first)
    assert disk.charged() == plus(Sums(1, 100, 2.0), COMMIT)
    disk.fs.fdatasync(second)
    assert disk.charged() == Sums(1, 100, 2.0)
    disk.fs.rename(f"{disk.root}/a", f"{disk.root}/c")
    disk.fs.unlink(f"{disk.root}/b")
    disk.fs.fsync_dir(disk.root)
    assert disk.charged() == plus(Sums(0, 0, 0.0), COMMIT)


def test_a_name_is_looked_up_once(disk: Disk) -> None:
    disk.fs.close(disk.made("file", bytes(300)))
    disk.fs.forget()
    path = f"{disk.root}/file"
    fd = disk.fs.open(path, READ)
    assert disk.charged() == Sums(2, 0, 2.0)
    assert disk.fs.pread(fd, 100, 0) == bytes(100)
    assert disk.charged() == Sums(1, 100, 2.0)
    assert disk.fs.pread(disk.fs.open(path, READ), 1000, 100) == bytes(200)  # to its end
    assert disk.charged() == Sums(0, 200, 2.0)


def test_disks_work_beside_each_other_and_in_turn() -> None:
    platters = [Platter(PHYSICS), Platter(PHYSICS)]
    lines = Lines(platters)

    async def main() -> list[float]:
        loop = asyncio.get_running_loop()
        ended = []

        async def one(slot: int, file: str) -> None:
            await lines.do(slot, lambda: platters[slot].access(file, 0, 100))
            ended.append(loop.time())

        await asyncio.gather(one(0, "a"), one(0, "b"), one(1, "c"))
        await lines.idle()
        return ended

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        assert runner.run(main()) == pytest.approx([2.0, 2.0, 4.0])


@pytest.mark.deep
def test_a_tiny_study_end_to_end(tmp_path: Path) -> None:
    data, file = tmp_path / "data", tmp_path / "found.json"
    data.mkdir()
    command = [sys.executable, "-m", "bench", "spinning", "--folder", str(data)]
    out = subprocess.run(
        [*command, "--slices", "12", "--slice-kib", "64", "--json", str(file)],
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=300,
        check=False,
    )
    assert out.returncode == 0, out.stdout
    assert list(data.iterdir()) == []
    found = {
        (line["layout"], line["work"]): line for line in json.loads(file.read_text())["spinning"]
    }
    assert len(found) == 2 * len(spinning.CONTENDERS)
    for (_, work), line in found.items():
        shards = spinning.DISKS if work == spinning.STORED else spinning.DATA
        assert line["bytes"] >= 12 * (shards << 13)
        assert line["busiest_s"] > 0
        assert line["seeks"] * Physics().seek_s / spinning.DISKS <= line["busiest_s"]
    files = found[spinning.FILES, spinning.RETRIEVED]
    assert files["seeks"] == 12 * spinning.DATA * (Physics().lookup_seeks + 1)
    assert found[spinning.OURS, spinning.RETRIEVED]["seeks"] < files["seeks"] / 4
