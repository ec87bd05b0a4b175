"""check names every byte that is changed, and finds nothing where nothing is wrong."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from s3node.base.errors import ConfigError, FormatError
from s3node.base.filesystem import RealFileSystem
from s3node.services.check import check
from s3node.services.findings import Finding
from s3node.services.inspect import INSPECTORS
from s3node.services.start import Site, rebuild
from tests.node.process import NodeProcess

pytestmark = pytest.mark.xdist_group("check")

DISKS, PARITY = 6, 2
BUCKET = "studies"
SLOT = 1
FLIPS = 5
TAIL = 512  # the last frame of a journal, the seal of a segment: torn tails look like that
FLIPS_DEEP = 2000


def site_of(node: NodeProcess) -> Site:
    paths = tuple(str(node.disk_path(slot)) for slot in range(DISKS))
    return Site(paths, node.data / "meta", PARITY)


class Stopped:
    """A node that was stopped cleanly, with objects of every kind in it."""

    def __init__(self, data: Path) -> None:
        self.node = NodeProcess(data, disks=DISKS, parity=PARITY)
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
        self.site = site_of(self.node)

    def check(self) -> list[Finding]:
        return list(check(self.site, RealFileSystem(), lambda step, done, total: None))

    def problems(self) -> list[Finding]:
        return [one for one in self.check() if one.severe]

    def disk(self, slot: int = SLOT) -> Path:
        return self.node.disk_path(slot)


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Stopped:
    return Stopped(tmp_path_factory.mktemp("check") / "data")


def test_nothing_is_wrong_and_nothing_is_changed(stopped: Stopped) -> None:
    before = _contents(stopped)
    assert stopped.check() == []
    assert _contents(stopped) == before


def _contents(stopped: Stopped) -> dict[str, bytes]:
    return {
        str(path): path.read_bytes()
        for path in sorted(stopped.node.data.rglob("*"))
        if path.is_file() and path.name != "lock.mdb"
    }


FILES: dict[str, Callable[[Stopped], Iterator[Path]]] = {
    "identity": lambda one: iter([one.disk() / "identity"]),
    "epoch": lambda one: iter([one.disk() / "epoch"]),
    "journal": lambda one: (one.disk() / "journal").iterdir(),
    "checkpoint": lambda one: (one.disk() / "checkpoints").iterdir(),
    "segment": lambda one: (one.disk() / "segments").iterdir(),
    "index": lambda one: iter([one.site.index / "data.mdb", one.site.index / "index.seal"]),
}


@pytest.mark.parametrize("kind", FILES)
def test_every_changed_byte_is_named(stopped: Stopped, kind: str, deep: bool) -> None:
    chance = random.Random(kind)
    for path in FILES[kind](stopped):
        whole = path.read_bytes()
        count = min(len(whole), FLIPS_DEEP if deep else FLIPS)
        places = {0, len(whole) - 1, *chance.sample(range(len(whole)), count)}
        for place in sorted(places):
            changed = bytearray(whole)
            changed[place] ^= 1 << chance.randrange(8)
            path.write_bytes(changed)
            found = stopped.check()
            path.write_bytes(whole)
            assert found, f"{path}, byte {place}"
            torn = place >= len(whole) - TAIL and kind in ("journal", "segment")
            harmless = torn or kind == "index"  # which is made anew at the next start
            assert harmless or any(one.severe for one in found), f"{path}, byte {place}"
            owner = stopped.site.index if kind == "index" else stopped.disk()
            assert any(one.where.startswith(str(owner)) for one in found), found
            assert all(one.advice for one in found)
    assert stopped.check() == []


def test_bytes_lost_beyond_the_parity_are_told_by_object(stopped: Stopped) -> None:
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


def test_missing_disks(stopped: Stopped) -> None:
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


def test_lost_segment_and_lost_index(stopped: Stopped, tmp_path: Path) -> None:
    segment = next((stopped.disk() / "segments").iterdir())
    segment.rename(tmp_path / "segment")
    found = stopped.problems()
    (tmp_path / "segment").rename(segment)
    assert {one.where.partition("/")[0] for one in found} == {BUCKET}
    assert all(f"there is no {segment.name}" in one.what for one in found)
    shutil.move(stopped.site.index, tmp_path / "index")
    notes = stopped.check()
    shutil.move(tmp_path / "index", stopped.site.index)
    assert [(one.severe, one.where) for one in notes] == [(False, str(stopped.site.index))]


def test_swapped_disks_are_a_note(stopped: Stopped) -> None:
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
    node = NodeProcess(tmp_path / "data", disks=DISKS, parity=PARITY)
    with node:
        s3 = node.s3()
        s3.create_bucket(Bucket=BUCKET)
        for number in range(20):
            s3.put_object(Bucket=BUCKET, Key=str(number), Body=bytes(20_000))
        fs, site = RealFileSystem(), site_of(node)
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


def test_inspectors_show_what_is_there(stopped: Stopped) -> None:
    fs = RealFileSystem()
    segment = str(next((stopped.disk() / "segments").iterdir()))
    log = str(sorted((stopped.disk() / "journal").glob("*.log"))[-1])
    words: dict[str, list[list[str]]] = {
        "disk": [[str(stopped.disk())]],
        "segment": [[segment]],
        "record": [[segment, "512"]],
        "frame": [[log], [log, "0"]],
        "key": [[BUCKET, "big"]],
        "version": [[BUCKET, "big"], [BUCKET, "inline"]],
    }
    assert words.keys() == INSPECTORS.keys()
    for kind, variants in words.items():
        for one in variants:
            told = INSPECTORS[kind](stopped.site, fs, one)
            assert json.loads(json.dumps(told)) == told
    version = json.dumps(INSPECTORS["version"](stopped.site, fs, [BUCKET, "big"]))
    assert version.count('"segment"') == 2 * DISKS


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("disk", []),
        ("segment", ["/none"]),
        ("record", ["/none", "x"]),
        ("record", ["SEGMENT", "-1"]),
        ("frame", ["/none"]),
        ("key", ["none", "k"]),
        ("key", [BUCKET, "none"]),
        ("version", [BUCKET, "big", "00"]),
    ],
)
def test_inspectors_say_what_they_cannot_show(
    stopped: Stopped, kind: str, words: list[str]
) -> None:
    names = {
        "SEGMENT": str(next((stopped.disk() / "segments").iterdir())),
        "LOG": str(sorted((stopped.disk() / "journal").glob("*.log"))[0]),
    }
    with pytest.raises((ConfigError, FormatError)) as caught:
        INSPECTORS[kind](stopped.site, RealFileSystem(), [names.get(one, one) for one in words])
    assert "\n" not in str(caught.value)
