"""AWS's command line, versions 1 and 2, with its default settings: one workflow a test.

Each command takes a second of CPU for itself: most of them, and version 2, are for the deep run.
"""

from __future__ import annotations

import json
import random
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests.clients import kits
from tests.clients.conftest import Refusals
from tests.clients.tools import (
    AWKWARD,
    LARGE,
    LARGE_BYTES,
    Client,
    bucket_name,
    contents,
    make_tree,
)
from tests.node.process import WAIT_S_MAX, NodeProcess

pytestmark = pytest.mark.xdist_group("aws")

READ_TIMEOUT_S = 60  # its default

VERSIONS = (pytest.param("1", id="v1"), pytest.param("2", id="v2", marks=pytest.mark.deep))


class Aws(Client):
    name = "aws"
    version = ""

    def s3(self, *arguments: str, stdin: bytes = b"", status: int = 0) -> str:
        command = ("aws", "--endpoint-url", self.endpoint, "s3", *arguments)
        return self.run(*command, stdin=stdin, status=status)

    def api(self, *arguments: str) -> Any:
        command = ("aws", "--endpoint-url", self.endpoint, "--output", "json", "s3api", *arguments)
        told = self.run(*command)
        return json.loads(told) if told.strip() else {}


@pytest.fixture(params=VERSIONS)
def aws(request: pytest.FixtureRequest, node: NodeProcess, tmp_path: Path) -> Aws:
    programs = kits.common() if request.param == "1" else kits.aws_v2()
    aws = Aws(node.endpoint, programs, tmp_path / "home")
    aws.version = request.param
    return aws


def test_versions_are_what_they_are_called(aws: Aws) -> None:
    assert aws.run("aws", "--version").startswith(f"aws-cli/{aws.version}.")


@pytest.fixture
def bucket(aws: Aws, request: pytest.FixtureRequest) -> str:
    name = bucket_name(f"aws-{request.node.name}")
    assert "make_bucket" in aws.s3("mb", f"s3://{name}")
    return name


def fetch(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=WAIT_S_MAX) as answer:
        return bytes(answer.read())


def test_sync_both_ways_and_between_buckets(
    aws: Aws, bucket: str, refusals: Refusals, tmp_path: Path
) -> None:
    source, back = tmp_path / "source", tmp_path / "back"
    make_tree(source)
    uploaded = aws.s3("sync", str(source), f"s3://{bucket}")
    assert uploaded.count("upload: ") == len(AWKWARD) + 1
    assert aws.s3("sync", str(source), f"s3://{bucket}") == "", "all was there"
    copy = f"{bucket}-2"[-63:].lstrip("-")
    aws.s3("mb", f"s3://{copy}")
    aws.s3("sync", f"s3://{bucket}", f"s3://{copy}")
    (source / AWKWARD[0]).unlink()
    (source / AWKWARD[1]).write_bytes(b"changed")
    changed = aws.s3("sync", "--delete", str(source), f"s3://{bucket}")
    assert (changed.count("upload: "), changed.count("delete: ")) == (1, 1)
    aws.s3("sync", f"s3://{bucket}", str(back))
    assert contents(back) == contents(source)
    aws.s3("sync", "--delete", f"s3://{copy}", str(back))
    make_tree(source)
    assert contents(back) == contents(source)
    assert "remove_bucket" in aws.s3("rb", "--force", f"s3://{copy}")
    assert copy not in aws.s3("ls")


@pytest.mark.deep
def test_copy_move_list_remove(aws: Aws, bucket: str, refusals: Refusals, tmp_path: Path) -> None:
    large = random.Random("cp").randbytes(LARGE_BYTES)
    (tmp_path / "large").write_bytes(large)
    where = f"s3://{bucket}"
    aws.s3("cp", str(tmp_path / "large"), f"{where}/a/large")
    aws.s3("cp", "-", f"{where}/a/stream", stdin=large)
    aws.s3("cp", f"{where}/a/large", f"{where}/b/copied", "--metadata-directive", "REPLACE",
           "--metadata", "study=1.2.3", "--content-type", "application/dicom")  # fmt: skip
    aws.s3("mv", f"{where}/a/stream", f"{where}/b/moved")
    head = aws.api("head-object", "--bucket", bucket, "--key", "b/copied")
    assert head["Metadata"] == {"study": "1.2.3"}
    assert head["ContentType"] == "application/dicom"
    listed = aws.s3("ls", "--recursive", "--summarize", where)
    assert [line.split()[3] for line in listed.splitlines()[:3]] == [
        "a/large", "b/copied", "b/moved",
    ]  # fmt: skip
    assert f"Total Size: {3 * LARGE_BYTES}" in listed
    assert "PRE a/" in aws.s3("ls", f"{where}/")
    for key in ("a/large", "b/copied", "b/moved"):
        aws.s3("cp", f"{where}/{key}", str(tmp_path / "back"))
        assert (tmp_path / "back").read_bytes() == large
    assert aws.run_bytes(
        "aws", "--endpoint-url", aws.endpoint, "s3", "cp", f"{where}/b/moved", "-"
    ) == large  # fmt: skip
    aws.s3("rm", "--recursive", f"{where}/b")
    assert aws.s3("ls", "--recursive", where).split()[3:] == ["a/large"]
    refusals.expect("DeleteBucket", "BucketNotEmpty")
    aws.s3("rb", where, status=1)
    aws.s3("rb", "--force", where)


def test_an_empty_file_and_then_others_on_one_connection(
    aws: Aws, bucket: str, refusals: Refusals, tmp_path: Path
) -> None:
    """Version 1 takes a final answer without 100 Continue before it for an early one, and the
    next answer's status line for a header: it would wait for its read timeout, and send again.
    """
    source = tmp_path / "source"
    source.mkdir()
    for number in range(6):
        (source / f"{number}").write_bytes(b"x" * (number % 2))
    aws.run("aws", "configure", "set", "default.s3.max_concurrent_requests", "1")
    began = time.monotonic()
    aws.s3("sync", str(source), f"s3://{bucket}")
    assert time.monotonic() - began < READ_TIMEOUT_S


def test_presigned_download(aws: Aws, bucket: str, refusals: Refusals) -> None:
    """Version 1 signs URLs for us-east-1 with signatures of version 2, which S3 does not take for
    buckets made since 2020, unless it is told otherwise.
    """
    key = AWKWARD[2]
    aws.s3("cp", "-", f"s3://{bucket}/{key}", stdin=b"signed")
    if aws.version == "1":
        refusals.expect("GetObject", "InvalidRequest")
        with pytest.raises(urllib.error.HTTPError, match="400"):
            fetch(aws.s3("presign", f"s3://{bucket}/{key}").strip())  # of version 2
        aws.run("aws", "configure", "set", "default.s3.signature_version", "s3v4")
    assert fetch(aws.s3("presign", f"s3://{bucket}/{key}").strip()) == b"signed"
    assert fetch(aws.s3("presign", "--expires-in", "60", f"s3://{bucket}/{key}").strip())


@pytest.mark.deep
def test_parts_by_hand(aws: Aws, bucket: str, refusals: Refusals, tmp_path: Path) -> None:
    whole = random.Random("parts").randbytes(6 << 20)
    at = ("--bucket", bucket, "--key", "k")
    upload = aws.api("create-multipart-upload", *at, "--metadata", "made=byhand")["UploadId"]
    given = ("--upload-id", upload)
    parts = []
    for number, piece in enumerate((whole[: 5 << 20], whole[5 << 20 :]), 1):
        (tmp_path / "part").write_bytes(piece)
        answer = aws.api("upload-part", *at, *given, "--part-number", str(number),
                         "--body", str(tmp_path / "part"))  # fmt: skip
        parts.append({"ETag": answer["ETag"], "PartNumber": number})
        parts[-1] |= {name: value for name, value in answer.items() if name == "ChecksumCRC64NVME"}
    assert len(aws.api("list-parts", *at, *given)["Parts"]) == 2
    assert len(aws.api("list-multipart-uploads", "--bucket", bucket)["Uploads"]) == 1
    done = aws.api("complete-multipart-upload", *at, *given,
                   "--multipart-upload", json.dumps({"Parts": parts}))  # fmt: skip
    assert done["ETag"].endswith('-2"')
    aws.api("get-object", *at, str(tmp_path / "back"))
    assert (tmp_path / "back").read_bytes() == whole
    upload = aws.api("create-multipart-upload", *at)["UploadId"]
    aws.api("abort-multipart-upload", *at, "--upload-id", upload)
    assert not aws.api("list-multipart-uploads", "--bucket", bucket).get("Uploads")


@pytest.mark.deep
def test_the_large_file_is_the_same_however_it_is_asked_for(
    aws: Aws, bucket: str, refusals: Refusals, tmp_path: Path, tree: Path
) -> None:
    whole = (tree / LARGE).read_bytes()
    aws.s3("cp", str(tree / LARGE), f"s3://{bucket}/k")
    at = ("--bucket", bucket, "--key", "k")
    aws.api("get-object", *at, "--range", "bytes=8388600-8388700", str(tmp_path / "range"))
    assert (tmp_path / "range").read_bytes() == whole[8388600:8388701]
    head = aws.api("head-object", *at, "--checksum-mode", "ENABLED", "--part-number", "2")
    assert head["ContentLength"] == 8 << 20
    aws.api("get-object", *at, "--part-number", "2", str(tmp_path / "part"))
    assert (tmp_path / "part").read_bytes() == whole[8 << 20 : 16 << 20]
