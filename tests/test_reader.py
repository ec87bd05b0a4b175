"""The recovery program `s3node/reader.py`: everything comes back without the node.

It was written from the README's format description alone, so these tests prove that description,
too. The golden stores in `tests/golden` were made by version 0.1.0; every later release must read
them, with the node and with the reader.
"""

from __future__ import annotations

import ast
import hashlib
import itertools
import json
import random
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest

from s3node import reader
from tests.node.process import NodeProcess

READER = Path(reader.__file__)
GOLDEN = Path(__file__).parent / "golden"
DISKS, PARITY = 6, 2

World = dict[tuple[str, str], bytes]


# --- making a world -------------------------------------------------------------------------------


def multipart(s3: Any, bucket: str, key: str, parts: dict[int, bytes], *, complete: bool) -> None:
    upload = s3.create_multipart_upload(Bucket=bucket, Key=key)["UploadId"]
    where = {"Bucket": bucket, "Key": key, "UploadId": upload}
    done = [
        {"PartNumber": n, "ETag": s3.upload_part(**where, PartNumber=n, Body=part)["ETag"]}
        for n, part in parts.items()
    ]
    if complete:
        s3.complete_multipart_upload(**where, MultipartUpload={"Parts": done})


def make_world(s3: Any, *, small: bool = False) -> World:
    """Every kind of object there is; returns what must come back."""
    bits = random.Random(1)
    world: World = {}

    def put(bucket: str, key: str, body: bytes, **options: Any) -> None:
        s3.put_object(Bucket=bucket, Key=key, Body=body, **options)
        world[bucket, key] = body

    for bucket in ("first", "second", "third.bucket", "gone"):
        s3.create_bucket(Bucket=bucket)
    s3.delete_bucket(Bucket="gone")
    put("first", "empty", b"")
    put("first", "inline", b"small", Metadata={"name": "value"}, ContentType="text/x-small")
    put("first", "stripe", bits.randbytes(100_001))
    put("first", "stripes", bits.randbytes(5_000_000))
    put("first", "runs", bits.randbytes((3 if small else 32) << 20) + b"!")  # two rows of stripes
    put("first", "one byte more than inline", bits.randbytes(4097))
    put("first", "overwritten", bits.randbytes(50_000))
    put("first", "overwritten", bits.randbytes(60_000))
    put("first", "overwritten inline", b"old")
    put("first", "overwritten inline", b"new")
    put("second", "deleted", bits.randbytes(70_000))
    s3.delete_object(Bucket="second", Key="deleted")
    del world["second", "deleted"]
    for key in (
        "../../up", "/leading", "double//slash", "trailing/", "trailing", "trailing//x", "a", "a/b",
        "a/b/c", "a-b", ".", "..", "./.", "%", "%2E", "a%", "\x01\x1f\x7f\n", "ünïcödé/日本/🩻",
        "c" * 399, "c" * 400, "c" * 401, "c" * 400 + "/d", "é" * 450, "x/" * 512,
        "é" * 200 + "\x01",
        "ü" * 512, "d" * 200 + "..", "d" * 200, "d" * 200 + "/e", "-" * 200 + "." , "\x01" * 420,
    ):  # fmt: skip
        put("second", key, f"at {key}".encode())
    parts = {1: bits.randbytes(5 << 20), 7: b"the last"}
    multipart(s3, "third.bucket", "multipart", parts, complete=True)
    world["third.bucket", "multipart"] = b"".join(parts.values())
    multipart(s3, "third.bucket", "one small part", {1: b"small"}, complete=True)
    world["third.bucket", "one small part"] = b"small"
    s3.copy_object(Bucket="first", Key="copy", CopySource={"Bucket": "first", "Key": "stripe"})
    world["first", "copy"] = world["first", "stripe"]
    multipart(s3, "third.bucket", "unfinished", {3: bits.randbytes(9_000)}, complete=False)
    return world


# --- running the reader, and comparing ------------------------------------------------------------


def read(
    disks: list[Path], folder: Path | None = None, *options: str
) -> tuple[int, str, list[dict[str, Any]]]:
    """Exit status, stderr and listing of the reader, run as users run it: without the package."""
    command = [sys.executable, str(READER), *map(str, disks), *options]
    if folder is not None:
        command += ["--extract", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1200, check=False)
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stderr, [json.loads(line) for line in done.stdout.splitlines()]


def unescape(path: str) -> str:
    """The key of an extracted file, from its path alone: the inverse of the reader's rule."""
    names: list[str] = []
    for name in path.split("/"):
        if names and names[-1].endswith("%+"):
            names[-1] = names[-1][:-2] + name
        else:
            names.append(name)
    names = ["" if name in ("%", "%%") else name.removesuffix("%") for name in names]
    raw = "/".join(names).encode("utf-8", "surrogateescape")
    return re.sub(rb"%([0-9A-F]{2})", lambda m: bytes.fromhex(m[1].decode()), raw).decode()


def extracted(folder: Path, under: str = "") -> World:
    found: World = {}
    for path in (folder / under).rglob("*"):
        relative = str(path.relative_to(folder / under))
        if path.is_file() and (under or not relative.startswith("%")):
            bucket, _, key = relative.partition("/")
            assert (bucket, unescape(key)) not in found
            found[bucket, unescape(key)] = path.read_bytes()
    return found


def assert_equal(found: World, world: World) -> None:
    assert found.keys() == world.keys()
    assert [place for place, body in world.items() if found[place] != body] == []


def flip(path: Path, offset: int) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ 0x40]))


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Path], World]:
    """A node that was killed in the middle of its life, lived again, and was stopped."""
    data = tmp_path_factory.mktemp("reader") / "data"
    with NodeProcess(data, disks=DISKS, parity=PARITY) as node:
        node.s3().create_bucket(Bucket="before")
        node.kill()
        world = make_world(node.start().s3())
        node.stop()
    return [node.disk_path(slot) for slot in range(DISKS)], world


@pytest.fixture
def copied(stopped: tuple[list[Path], World], tmp_path: Path) -> tuple[list[Path], World]:
    for disk in stopped[0]:
        shutil.copytree(disk, tmp_path / "disks" / disk.name)
    return [tmp_path / "disks" / disk.name for disk in stopped[0]], stopped[1]


# --- the tests ------------------------------------------------------------------------------------


def test_it_stands_alone() -> None:
    source = READER.read_text()
    assert len(source.splitlines()) < 500
    imported = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            imported |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            imported.add((node.module or "").partition(".")[0])
    assert imported - sys.stdlib_module_names == {"xxhash"}


def test_all_disks(stopped: tuple[list[Path], World], tmp_path: Path) -> None:
    disks, world = stopped
    status, said, lines = read(disks, tmp_path / "out", "--list")
    assert (status, said.count("LOST")) == (0, 0), said
    assert_equal(extracted(tmp_path / "out"), world)
    index = (tmp_path / "out" / "%index.jsonl").read_text()
    assert [json.loads(line) for line in index.splitlines()] == lines

    versions = {(v["bucket"], v["key"]): v for v in lines if v["kind"] == "version"}
    assert {place: v["size"] for place, v in versions.items()} == {
        place: len(body) for place, body in world.items()
    }
    small = versions["first", "inline"]
    assert small["etag"] == hashlib.md5(b"small").hexdigest()
    assert small["metadata"] == [["name", "value"]]
    assert ["content-type", "text/x-small"] in small["headers"]
    assert abs(small["modified_ms"] / 1000 - (tmp_path / "out/first/inline").stat().st_mtime) < 0.01
    buckets = [line["bucket"] for line in lines if line["kind"] == "bucket"]
    assert buckets == ["before", "first", "second", "third.bucket"]
    (upload,) = [line for line in lines if line["kind"] == "upload"]
    assert (upload["key"], upload["parts"]["3"]["size"]) == ("unfinished", 9_000)
    assert not list(tmp_path.glob("up")) and not list((tmp_path / "out").glob("up"))


def test_versions_and_settings(tmp_path: Path) -> None:
    """All versions of all keys come back, without the node and with an index made anew."""
    bits = random.Random(3)
    kept: dict[tuple[str, str], bytes] = {}
    with NodeProcess(tmp_path / "data", disks=DISKS, parity=PARITY) as node:
        s3 = node.s3()
        s3.create_bucket(Bucket="kept")

        def put(key: str, body: bytes) -> None:
            version = s3.put_object(Bucket="kept", Key=key, Body=body).get("VersionId", "null")
            kept[key, version] = body

        keys = ("short", "l" * 401, "ü" * 512)
        for key in keys:
            put(key, b"before" * 1000)
        for status in ("Enabled", "Suspended", "Enabled"):
            s3.put_bucket_versioning(Bucket="kept", VersioningConfiguration={"Status": status})
            for key in keys:
                put(key, bits.randbytes(10_000))
                put(key, b"small")
        s3.delete_object(Bucket="kept", Key="short")
        tags = {"TagSet": [{"Key": "of", "Value": "the archive"}]}
        s3.put_bucket_tagging(Bucket="kept", Tagging=tags)
        listed = s3.list_object_versions(Bucket="kept")
        assert {(v["Key"], v["VersionId"]) for v in listed["Versions"]} == set(kept)
        node.stop()

        disks = [node.disk_path(slot) for slot in range(DISKS)]
        status, said, lines = read(disks[PARITY:], tmp_path / "out", "--list")
        assert (status, said.count("LOST")) == (0, 0), said
        bucket, *versions = lines
        assert (bucket["versioning"], "the archive" in bucket["configurations"]["tagging"]) == (
            "Enabled",
            True,
        )
        found = {
            (line["key"], "null" if line["null"] else line["id"])
            for line in versions
            if not line["delete_marker"]
        }
        assert found == set(kept)
        markers = [line["key"] for line in versions if line["delete_marker"] and line["current"]]
        assert markers == ["short"]
        bodies = sorted(extracted(tmp_path / "out").values())
        assert bodies == sorted(kept.values())

        assert list((tmp_path / "data").glob("meta/index*"))
        shutil.rmtree(tmp_path / "data/meta")
        s3 = node.start().s3()
        again = s3.list_object_versions(Bucket="kept")
        for kind in ("Versions", "DeleteMarkers"):
            assert again[kind] == listed[kind]
        for (key, version), body in kept.items():
            got = s3.get_object(Bucket="kept", Key=key, VersionId=version)["Body"].read()
            assert got == body, (key, version)
        assert s3.get_bucket_tagging(Bucket="kept")["TagSet"] == tags["TagSet"]


def test_any_d_minus_m_disks(stopped: tuple[list[Path], World], tmp_path: Path) -> None:
    disks, world = stopped
    subsets = list(itertools.combinations(disks, DISKS - PARITY))
    for number, subset in enumerate(random.Random(2).sample(subsets, 2)):
        status, said, _ = read(list(subset), tmp_path / str(number))
        assert (status, said.count("LOST")) == (0, 0), said
        assert_equal(extracted(tmp_path / str(number)), world)
        shutil.rmtree(tmp_path / str(number))


def test_one_bucket_and_only_verifying(stopped: tuple[list[Path], World], tmp_path: Path) -> None:
    disks, world = stopped
    status, _, lines = read(disks, tmp_path / "out", "--bucket", "second")
    assert (status, lines) == (0, [])
    assert_equal(extracted(tmp_path / "out"), {p: b for p, b in world.items() if p[0] == "second"})
    assert read(disks)[0] == 0
    assert read(disks, None, "--bucket", "no-such-bucket")[0] == 1
    assert read(disks, tmp_path / "out")[0] == 2  # not empty
    assert read([])[0] == 2


def test_killed(tmp_path: Path) -> None:
    with NodeProcess(tmp_path / "data", disks=DISKS, parity=PARITY) as node:
        world = make_world(node.s3(), small=True)
        node.kill()
        shutil.rmtree(node.data / "meta")
    disks = [node.disk_path(slot) for slot in (0, 2, 3, 5)]
    status, said, _ = read(disks, tmp_path / "out")
    assert (status, said.count("LOST")) == (0, 0), said
    logs = [log for disk in disks for log in (disk / "journal").iterdir()]
    assert any(log.read_bytes().endswith(bytes(4096)) for log in logs), "room was written ahead"
    assert "a header should be here" not in said
    assert_equal(extracted(tmp_path / "out"), world)


def test_too_few_disks(stopped: tuple[list[Path], World], tmp_path: Path) -> None:
    """What has k shards no more is lost, and named; what is inline is still there."""
    disks, world = stopped
    status, said, _ = read(disks[:3], tmp_path / "out")
    assert status == 1
    assert "LOST: first/stripes: bytes 0 to 2097152: 3 good shards of the 4" in said
    inline = {place: body for place, body in world.items() if len(body) < 4096}
    inline.pop(("third.bucket", "one small part"))  # parts are never inline
    assert_equal(extracted(tmp_path / "out"), inline)
    damaged = extracted(tmp_path / "out", "%damaged")
    assert damaged.keys() | inline.keys() == world.keys()
    assert all(len(damaged[place]) == len(world[place]) for place in damaged)


def test_flipped_bytes(copied: tuple[list[Path], World], tmp_path: Path) -> None:
    """One flipped byte in every 64 KiB of two disks' segments, and one in every other file."""
    disks, world = copied
    bits = random.Random(3)
    for number, disk in enumerate(disks):
        for path in disk.rglob("*"):
            size = path.stat().st_size
            if path.suffix == ".seg" and number < PARITY:
                for start in range(0, size, 1 << 16):
                    flip(path, bits.randrange(start, min(size, start + (1 << 16))))
            elif path.is_file() and size and path.suffix != ".seg" and number in (2, 3):
                flip(path, bits.randrange(size))
    status, said, _ = read(disks, tmp_path / "out")
    assert "differ" in said
    assert_equal(extracted(tmp_path / "out"), world)
    # Two identities cannot be read any more, but their disks' files can:
    assert status == (1 if said.count("identity") > PARITY else 0), said


def test_flipped_beyond_repair(copied: tuple[list[Path], World], tmp_path: Path) -> None:
    """Never a wrong byte under an object's name."""
    disks, world = copied
    for disk in disks[: PARITY + 1]:
        for path in (disk / "segments").iterdir():
            for offset in range(1 << 15, path.stat().st_size, 1 << 16):
                flip(path, offset)
    status, said, _ = read(disks, tmp_path / "out")
    assert status == 1
    found = extracted(tmp_path / "out")
    assert "LOST: first/runs" in said
    assert ("first", "runs") not in found
    assert all(world[place] == body for place, body in found.items())


def test_a_hole_in_the_journal(copied: tuple[list[Path], World], tmp_path: Path) -> None:
    """A frame that is damaged on every disk is named, and the rest comes back."""
    disks, world = copied
    for disk in disks:
        for path in (disk / "journal").glob("*.log"):
            if (at := path.read_bytes().find(b"small")) >= 0:
                flip(path, at)
    status, said, _ = read(disks, tmp_path / "out")
    assert status == 1
    assert "LOST: changes: journal frames" in said
    found = extracted(tmp_path / "out")
    assert ("first", "inline") not in found
    assert len(found) == len(world) - 1


def golden(name: str, folder: Path) -> tuple[list[Path], dict[str, str]]:
    with tarfile.open(GOLDEN / f"{name}.tar.xz") as tar:
        tar.extractall(folder)  # ours; Debian 12's Python has no filters yet
    sums = json.loads((GOLDEN / f"{name}.json").read_text())
    return [folder / f"disk{slot + 1:02}" for slot in range(DISKS)], sums


def test_disks_of_two_nodes(stopped: tuple[list[Path], World], tmp_path: Path) -> None:
    other, _ = golden("v1", tmp_path)
    assert read([*stopped[0][:5], other[5]])[0] == 2


@pytest.mark.parametrize("name", ["v1", "v1-checkpoint"])
def test_golden_store(name: str, tmp_path: Path) -> None:
    """What this version wrote is read for ever: by the reader, and by the node."""
    disks, sums = golden(name, tmp_path / "data")
    for number, subset in enumerate((disks, disks[:2] + disks[4:], disks[1:5])):
        status, said, _ = read(subset, tmp_path / f"out{number}")
        assert (status, said.count("LOST")) == (0, 0), said
        found = extracted(tmp_path / f"out{number}")
        assert {key: hashlib.sha256(body).hexdigest() for (_, key), body in found.items()} == sums

    with NodeProcess(tmp_path / "data", disks=DISKS, parity=PARITY) as node:
        s3 = node.s3()
        assert [b["Name"] for b in s3.list_buckets()["Buckets"]] == ["empty", "golden"]
        listed = s3.list_objects_v2(Bucket="golden")["Contents"]
        bodies = {o["Key"]: s3.get_object(Bucket="golden", Key=o["Key"])["Body"] for o in listed}
        assert {key: hashlib.sha256(b.read()).hexdigest() for key, b in bodies.items()} == sums
        assert s3.head_object(Bucket="golden", Key="inline")["Metadata"] == {"of": "gold"}
        (upload,) = s3.list_multipart_uploads(Bucket="golden")["Uploads"]
        assert upload["Key"] == "unfinished"
        s3.put_object(Bucket="golden", Key="new", Body=b"it is written to again")
        node.stop()
    status, said, _ = read(disks, tmp_path / "again", "--bucket", "golden")
    assert (status, said.count("LOST")) == (0, 0), said
    assert (tmp_path / "again/golden/new").read_bytes() == b"it is written to again"


def test_damaged_checkpoint(tmp_path: Path) -> None:
    """Any copy of a range file serves; without one, what is lost is said."""
    disks, sums = golden("v1-checkpoint", tmp_path / "data")
    ranges = sorted((tmp_path / "data").glob("*/checkpoints/*.range"))
    assert len(ranges) == PARITY + 1
    flip(ranges[0], 100_000)
    ranges[1].unlink()
    status, said, _ = read(disks, tmp_path / "out", "--list")
    assert (status, len(extracted(tmp_path / "out"))) == (0, len(sums)), said
    ranges[2].unlink()
    status, said, _ = read(disks, tmp_path / "lost")
    assert (status, "no checkpoint is complete" in said) == (1, True), said
