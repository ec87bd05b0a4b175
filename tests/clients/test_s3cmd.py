"""s3cmd with its default settings: one workflow a test."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.clients import kits
from tests.clients.conftest import Refusals
from tests.clients.tools import LARGE_BYTES, S3cmd, contents, make_tree
from tests.node.process import NodeProcess

pytestmark = pytest.mark.xdist_group("clients")


@pytest.fixture
def s3cmd(node: NodeProcess, tmp_path: Path) -> S3cmd:
    return S3cmd(node.endpoint, kits.common(), tmp_path / "home")


def test_sync_both_ways(s3cmd: S3cmd, tmp_path: Path, refusals: Refusals) -> None:
    source, back = tmp_path / "source", tmp_path / "back"
    make_tree(source)
    back.mkdir()
    where = "s3://s3cmd-sync"
    s3cmd.command("mb", where)
    s3cmd.command("sync", f"{source}/", f"{where}/")
    (source / "plain.txt").unlink()
    (source / "with space.txt").write_bytes(b"changed")
    told = s3cmd.command("sync", "--delete-removed", f"{source}/", f"{where}/")
    assert told.count("upload: ") == told.count("delete: ") == 1, told
    s3cmd.command("sync", f"{where}/", f"{back}/")
    assert contents(back) == contents(source)
    assert f"{len(contents(source))} objects" in s3cmd.command("du", where)
    refusals.expect("DeleteBucket", "BucketNotEmpty")
    s3cmd.command("rb", "--recursive", "--force", where)
    assert where not in s3cmd.command("ls")


def test_single_files(node: NodeProcess, s3cmd: S3cmd, tmp_path: Path, refusals: Refusals) -> None:
    whole = random.Random("s3cmd").randbytes(LARGE_BYTES)
    (tmp_path / "large").write_bytes(whole)
    where = "s3://s3cmd-files"
    s3cmd.command("mb", where)
    s3cmd.command("put", "--add-header=x-amz-meta-study:1.2", str(tmp_path / "large"), f"{where}/a")
    s3cmd.command("cp", f"{where}/a", f"{where}/b")
    s3cmd.command("mv", f"{where}/b", f"{where}/c/d")
    s3cmd.command("modify", "--add-header=Cache-Control: no-store", f"{where}/c/d")
    for operation, code in (
        ("GetBucketPolicy", "NoSuchBucketPolicy"),
        ("GetBucketCors", "NoSuchCORSConfiguration"),
        ("-", "NotImplemented"),  # it writes the ACL that it read to each copy, if it may
    ):
        refusals.expect(operation, code)
    told = s3cmd.command("info", f"{where}/c/d")
    assert f"File size: {LARGE_BYTES}" in told
    assert "x-amz-meta-study: 1.2" in told
    assert node.s3().head_object(Bucket="s3cmd-files", Key="c/d")["CacheControl"] == "no-store"
    s3cmd.command("get", f"{where}/c/d", str(tmp_path / "back"))
    assert (tmp_path / "back").read_bytes() == whole
    listed = s3cmd.command("la", "--recursive")
    assert f"{where}/a" in listed
    assert f"{where}/c/d" in listed
    s3cmd.command("del", "--recursive", "--force", where)
    s3cmd.command("rb", where)


def test_what_it_asks_of_a_bucket(s3cmd: S3cmd, refusals: Refusals) -> None:
    where = "s3://s3cmd-bucket"
    s3cmd.command("mb", where)
    for operation, code in (
        ("GetBucketPolicy", "NoSuchBucketPolicy"),
        ("GetBucketCors", "NoSuchCORSConfiguration"),
        ("GetBucketLifecycleConfiguration", "NoSuchLifecycleConfiguration"),
        ("GetBucketTagging", "NoSuchTagSet"),
        ("GetPublicAccessBlock", "NoSuchPublicAccessBlockConfiguration"),
    ):
        refusals.expect(operation, code)
    told = s3cmd.command("info", where)
    assert "Location:  us-east-1" in told
    assert "Policy:    none" in told
    s3cmd.command("settagging", where, "ward=west&kind=ct")
    assert "west" in s3cmd.command("gettagging", where)
    s3cmd.command("setversioning", where, "enable")
    assert "Enabled" in s3cmd.command("info", where)
