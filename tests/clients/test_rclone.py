"""rclone with its default settings: one workflow a test."""

from __future__ import annotations

import json
import os
import random
import subprocess
import time
import urllib.request
from pathlib import Path

import pytest

from tests.clients import kits
from tests.clients.conftest import Refusals
from tests.clients.tools import LARGE, LARGE_BYTES, Client, contents, make_tree
from tests.node.process import ACCESS_KEY, REGION, SECRET_KEY, WAIT_S_MAX, NodeProcess

pytestmark = pytest.mark.xdist_group("clients")


class Rclone(Client):
    name = "rclone"

    def configure(self) -> None:
        """As a user would: rclone's own command writes its configuration."""
        self.command(
            "config", "create", "node", "s3", "provider=Other", f"endpoint={self.endpoint}",
            f"access_key_id={ACCESS_KEY}", f"secret_access_key={SECRET_KEY}", f"region={REGION}",
        )  # fmt: skip

    def command(self, *arguments: str, stdin: bytes = b"", status: int = 0) -> str:
        return self.run("rclone", *arguments, stdin=stdin, status=status)


@pytest.fixture
def rclone(node: NodeProcess, tmp_path: Path) -> Rclone:
    rclone = Rclone(node.endpoint, kits.common(), tmp_path / "home")
    rclone.configure()
    return rclone


def test_sync_and_check_both_ways(
    rclone: Rclone, tmp_path: Path, tree: Path, refusals: Refusals
) -> None:
    source, back = tmp_path / "source", tmp_path / "back"
    make_tree(source)
    refusals.expect("HeadObject", "NoSuchKey")
    refusals.expect("HeadObject", "NoSuchBucket")
    refusals.expect("ListObjects", "NoSuchBucket")
    rclone.command("mkdir", "node:rclone-sync")
    rclone.command("sync", str(source), "node:rclone-sync")
    rclone.command("check", "--download", str(source), "node:rclone-sync")
    rclone.command("sync", "node:rclone-sync", "node:rclone-copy/below")
    rclone.command("check", "node:rclone-sync", "node:rclone-copy/below")
    (source / "plain.txt").unlink()
    (source / "with space.txt").write_bytes(b"changed")
    rclone.command("check", str(source), "node:rclone-sync", status=1)
    rclone.command("sync", str(source), "node:rclone-sync")
    rclone.command("check", str(source), "node:rclone-sync")
    rclone.command("sync", "node:rclone-copy/below", str(back))
    assert contents(back) == contents(tree)
    size = json.loads(rclone.command("size", "--json", "node:rclone-copy"))
    assert size["count"] == len(contents(tree))
    for bucket in ("rclone-sync", "rclone-copy"):
        rclone.command("purge", f"node:{bucket}")
    assert "rclone-" not in rclone.command("lsd", "node:")


def test_single_files(rclone: Rclone, tmp_path: Path, refusals: Refusals) -> None:
    whole = random.Random("rclone").randbytes(LARGE_BYTES)
    (tmp_path / "large").write_bytes(whole)
    refusals.expect("HeadObject", "NoSuchKey")
    where = "node:rclone-files"
    rclone.command("mkdir", where)
    rclone.command("copyto", str(tmp_path / "large"), f"{where}/a/file")
    rclone.command("rcat", f"{where}/a/stream", stdin=whole)
    rclone.command("moveto", f"{where}/a/stream", f"{where}/b/moved")
    rclone.command("touch", f"{where}/b/touched")
    assert rclone.command("lsf", "-R", "--files-only", where).split() == [
        "a/file", "b/moved", "b/touched",
    ]  # fmt: skip
    for key in ("a/file", "b/moved"):
        assert rclone.run_bytes("rclone", "cat", f"{where}/{key}") == whole
    middle = rclone.run_bytes(
        "rclone", "cat", "--offset", "8388600", "--count", "99", f"{where}/a/file"
    )
    assert middle == whole[8388600:8388699]
    with urllib.request.urlopen(
        rclone.command("link", f"{where}/a/file").strip(), timeout=WAIT_S_MAX
    ) as answer:
        assert answer.read() == whole
    rclone.command("delete", f"{where}/b")
    assert rclone.command("lsf", "-R", "--files-only", where).split() == ["a/file"]
    rclone.command("cleanup", where)
    rclone.command("purge", where)


def test_versions(rclone: Rclone, refusals: Refusals) -> None:
    where = "node:rclone-versions"
    rclone.command("mkdir", where)
    rclone.command("backend", "versioning", where, "Enabled")
    assert "Enabled" in rclone.command("backend", "versioning", where)
    for body in (b"one", b"two"):
        rclone.command("rcat", f"{where}/k.txt", stdin=body)
        time.sleep(1.1)  # it tells versions apart by the second
    rclone.command("deletefile", f"{where}/k.txt")
    assert rclone.command("lsf", where) == ""
    names = rclone.command("lsf", "--s3-versions", where).split()
    assert len(names) == 2
    found = {rclone.command("cat", "--s3-versions", f"{where}/{name}") for name in names}
    assert found == {"one", "two"}
    rclone.command("backend", "cleanup-hidden", where)
    assert rclone.command("lsf", "--s3-versions", where) == ""
    rclone.command("rmdir", where)


@pytest.mark.deep
def test_mounted(node: NodeProcess, rclone: Rclone, tmp_path: Path, refusals: Refusals) -> None:
    """A bucket as a folder: files written, read, renamed and removed by ordinary programs."""
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        pytest.skip("there is no FUSE here")
    kits.debian("fusermount3", "fuse3")
    source, mount = tmp_path / "source", tmp_path / "mount"
    make_tree(source)
    mount.mkdir()
    rclone.command("mkdir", "node:rclone-mount")
    command = ["rclone", "mount", "node:rclone-mount", str(mount), "--vfs-cache-mode", "writes"]
    process = subprocess.Popen(command, env=rclone.env, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + WAIT_S_MAX
        while not mount.is_mount():
            assert process.poll() is None, "rclone mount ended"
            assert time.monotonic() < deadline
            time.sleep(0.1)
        rclone.run("cp", "-r", f"{source}/.", str(mount))
        assert contents(mount) == contents(source)
        with (mount / LARGE).open("rb") as large:
            large.seek(LARGE_BYTES // 2)
            middle = large.read(1000)
        assert middle == (source / LARGE).read_bytes()[LARGE_BYTES // 2 :][:1000]
        (mount / "plain.txt").rename(mount / "renamed.txt")
        (mount / "with space.txt").unlink()
        with (mount / "double  space/and/deep/er/file").open("ab") as appended:
            appended.write(b"more")
        assert (mount / "renamed.txt").read_bytes() == (source / "plain.txt").read_bytes()
        (source / "plain.txt").rename(source / "renamed.txt")
        (source / "with space.txt").unlink()
        with (source / "double  space/and/deep/er/file").open("ab") as appended:
            appended.write(b"more")
        node.wait(lambda: stored(node) == sizes(source))  # it sends files seconds after the close
    finally:
        subprocess.run(["umount", str(mount)], check=False, timeout=WAIT_S_MAX)
        process.wait(WAIT_S_MAX)
    back = tmp_path / "back"
    rclone.command("copy", "node:rclone-mount", str(back))
    assert contents(back) == contents(source)


def sizes(folder: Path) -> dict[str, int]:
    return {name: (folder / name).stat().st_size for name in contents(folder)}


def stored(node: NodeProcess) -> dict[str, int]:
    found = node.s3().list_objects_v2(Bucket="rclone-mount").get("Contents", ())
    return {item["Key"]: item["Size"] for item in found}
