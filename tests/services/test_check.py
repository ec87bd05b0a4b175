"""check finds nothing where nothing is wrong, and tells what is lost by object; who may look."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path

import pytest

from s3node.base.errors import ConfigError
from s3node.base.filesystem import RealFileSystem
from s3node.services.check import check
from s3node.services.findings import Finding
from s3node.services.inspect import INSPECTORS
from s3node.services.start import rebuild
from tests.node.content import BUCKET
from tests.services.stopped import PARITY, Stopped

pytestmark = pytest.mark.xdist_group("check")

SLOT = 1


class Checked(Stopped):
    """With objects of every kind in it."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        with self.node:
            s3 = self.node.s3()
            s3.create_bucket(Bucket=BUCKET)
            for key, size in {"inline": 100, "empty": 0, "coded": 70_000, "big": 2_300_000}.items():
                s3.put_object(Bucket=BUCKET, Key=key, Body=random.Random(key).randbytes(size))
            s3.put_object(Bucket=BUCKET, Key="gone", Body=bytes(99_999))
            s3.delete_object(Bucket=BUCKET, Key="gone")
            upload = s3.create_multipart_upload(Bucket=BUCKET, Key="begun")["UploadId"]
            s3.upload_part(
                Bucket=BUCKET, Key="begun", UploadId=upload, PartNumber=3, Body=bytes(10_000)
            )
            assert self.node.stop() == 0

    def problems(self) -> list[Finding]:
        return [one for one in self.check() if one.severe]

    def disk(self, slot: int = SLOT) -> Path:
        return self.node.disk_path(slot)


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Checked:
    return Checked(tmp_path_factory.mktemp("check"))


def test_nothing_is_wrong_and_nothing_is_changed(stopped: Checked) -> None:
    before = _contents(stopped)
    assert stopped.check() == []
    assert _contents(stopped) == before


def _contents(stopped: Checked) -> dict[str, bytes]:
    return {
        str(path): path.read_bytes()
        for path in sorted(stopped.node.data.rglob("*"))
        if path.is_file() and path.name != "lock.mdb"
    }


def test_bytes_lost_beyond_the_parity_are_told_by_object(stopped: Checked) -> None:
    segments = [next((stopped.disk(slot) / "segments").iterdir()) for slot in range(PARITY + 1)]
    saved = [path.read_bytes() for path in segments]
    for path, whole in zip(segments, saved, strict=True):
        path.write_bytes(whole[:512] + bytes(len(whole) - 512))
    found = stopped.problems()
    for path, whole in zip(segments, saved, strict=True):
        path.write_bytes(whole)
    lost = {one.where for one in found if "cannot be read" in one.what}
    assert lost >= {f"{BUCKET}/coded (version null)", f"{BUCKET}/big (version null)"}
    assert not any("inline" in where for where in lost)


def test_missing_disks(stopped: Checked) -> None:
    for slot in range(PARITY):
        stopped.node.pull(slot)
    found = stopped.problems()
    for slot in range(PARITY):
        path = str(stopped.disk(slot))
        assert [one.what for one in found if one.where == path and "missing" in one.what]
    less = {one.where: one.what for one in found if one.where.startswith(BUCKET)}
    assert {f"{BUCKET}/coded (version null)", f"{BUCKET}/big (version null)"} <= less.keys()
    assert all("slot 0: " in what and "slot 1: " in what for what in less.values())
    assert not any("cannot be read" in what for what in less.values())
    stopped.node.pull(PARITY)
    found = stopped.problems()
    assert any(one.where == "the journal" for one in found)
    lost = {one.where for one in found if "cannot be read" in one.what}
    assert lost >= less.keys(), "told by the node's own index, which its seal vouches for"
    for slot in range(PARITY + 1):
        stopped.node.push(slot)
    assert stopped.check() == []


def test_lost_segment_and_lost_index(stopped: Checked, tmp_path: Path) -> None:
    segment = next((stopped.disk() / "segments").iterdir())
    segment.rename(tmp_path / "segment")
    found = stopped.problems()
    (tmp_path / "segment").rename(segment)
    assert {one.where.partition("/")[0] for one in found} == {BUCKET}
    assert all(f"there is no {segment.name}" in one.what for one in found)
    shutil.move(stopped.index, tmp_path / "index")
    notes = stopped.check()
    shutil.move(tmp_path / "index", stopped.index)
    assert [(one.severe, one.where) for one in notes] == [(False, str(stopped.index))]


def test_swapped_disks_are_a_note(stopped: Checked) -> None:
    one, other, away = stopped.disk(0), stopped.disk(1), stopped.node.data / "away"

    def swap() -> None:
        one.rename(away)
        other.rename(one)
        away.rename(other)

    swap()
    found = stopped.check()
    swap()
    assert [finding.severe for finding in found] == [False, False]


def test_a_live_node_is_left_alone_and_a_killed_one_is_whole(tmp_path: Path) -> None:
    it = Stopped(tmp_path)
    node = it.node
    with node:
        s3 = node.s3()
        s3.create_bucket(Bucket=BUCKET)
        for number in range(20):
            s3.put_object(Bucket=BUCKET, Key=str(number), Body=bytes(20_000))
        fs, site = RealFileSystem(), it.site
        segment = str(next((node.disk_path(0) / "segments").iterdir()))
        for work in (
            lambda: list(check(site, fs, lambda step, done, total: None)),
            lambda: rebuild(site, fs),
            lambda: INSPECTORS["key"](site, fs, [BUCKET, "1"]),
            lambda: INSPECTORS["disk"](None, fs, [str(node.disk_path(0))]),
        ):
            with pytest.raises(ConfigError, match="in use by another process"):
                work()
        INSPECTORS["segment"](None, fs, [segment])  # a single file may always be looked at
        s3.put_object(Bucket=BUCKET, Key="last", Body=b"still served")
        node.kill()
        done = node.command("check", "--data", str(node.data), "--json")
        assert done.returncode == 0, done.stdout
        assert not [one for one in json.loads(done.stdout)["findings"] if one["severe"]]
