"""Forms on a real node, in one process and with edges: large files, in bounded memory."""

from __future__ import annotations

import hashlib
import http.client
import random
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from s3node.base.limits import MIB, READ_ARENA_BYTES, WRITE_ARENA_BYTES
from tests.node.process import ACCESS_KEY, REGION, SECRET_KEY, NodeProcess
from tests.node.test_memory import ANONYMOUS_BYTES_MAX, anonymous_bytes
from tests.s3.forms import content_type, form, signed

SIZE = 20 * MIB + 3
SIZE_DEEP = 2 * (WRITE_ARENA_BYTES + READ_ARENA_BYTES) + 3
"""Twice what there is memory for."""
CONTENT = random.Random(1).randbytes(MIB)


def pieces(size: int) -> Iterator[bytes]:
    whole, rest = divmod(size, MIB)
    for _ in range(whole):
        yield CONTENT
    yield CONTENT[:rest]


def upload(node: NodeProcess, key: str, size: int, most: int = 1 << 40) -> tuple[int, bytes]:
    """Post a file of so many bytes under a policy that allows up to `most`."""
    fields = signed(
        {"key": key},
        more=[["content-length-range", 0, most]],
        expiration="2999-01-01T00:00:00Z",
        access=ACCESS_KEY,
        secret=SECRET_KEY,
        region=REGION,
    )
    before, mark, after = form(fields, b"MARK").partition(b"MARK")
    assert mark
    connection = http.client.HTTPConnection(urlsplit(node.endpoint).netloc, timeout=240)
    connection.putrequest("POST", "/bucket")
    connection.putheader("Content-Type", content_type())
    connection.putheader("Content-Length", str(len(before) + size + len(after)))
    connection.endheaders(before)
    for piece in pieces(size):
        connection.send(piece)
    connection.send(after)
    answer = connection.getresponse()
    try:
        return answer.status, answer.read()
    finally:
        connection.close()


def preflight(node: NodeProcess) -> tuple[int, str | None]:
    connection = http.client.HTTPConnection(urlsplit(node.endpoint).netloc, timeout=240)
    asked = {"Origin": "http://page", "Access-Control-Request-Method": "POST"}
    connection.request("OPTIONS", "/bucket/k", headers=asked)
    answer = connection.getresponse()
    try:
        return answer.status, answer.getheader("access-control-allow-origin")
    finally:
        connection.close()


@pytest.mark.parametrize("edges", [0, 2])
def test_a_large_file_by_a_form(tmp_path: Path, edges: int) -> None:
    check(tmp_path, edges, SIZE)


@pytest.mark.deep
@pytest.mark.parametrize("edges", [0, 2])
def test_a_very_large_file_by_a_form(tmp_path: Path, edges: int) -> None:
    check(tmp_path, edges, SIZE_DEEP)


def check(tmp_path: Path, edges: int, length: int) -> None:
    with NodeProcess(tmp_path / "data", edges=edges) as node:
        s3 = node.s3()
        s3.create_bucket(Bucket="bucket")
        assert upload(node, "up", length) == (204, b"")
        found = s3.get_object(Bucket="bucket", Key="up")
        wanted, got = hashlib.md5(), hashlib.md5()
        for piece in pieces(length):
            wanted.update(piece)
        for piece in found["Body"].iter_chunks(MIB):
            got.update(piece)
        assert found["ContentLength"] == length
        assert got.digest() == wanted.digest()
        assert found["ETag"] == f'"{wanted.hexdigest()}"'
        assert anonymous_bytes(node) < ANONYMOUS_BYTES_MAX + edges * 50 * MIB
        size = 9 * MIB
        status, told = upload(node, "large", size, most=size - 1)
        assert status == 400 and b"EntityTooLarge" in told
        assert s3.list_objects_v2(Bucket="bucket")["KeyCount"] == 1
        rules = {"CORSRules": [{"AllowedMethods": ["POST"], "AllowedOrigins": ["http://page"]}]}
        s3.put_bucket_cors(Bucket="bucket", CORSConfiguration=rules)
        assert node.stop() == 0
        node.start()
        assert node.s3().get_bucket_cors(Bucket="bucket")["CORSRules"] == rules["CORSRules"]
        assert preflight(node) == (200, "http://page")
        assert node.stop() == 0
        checked = node.command("check", "--data", str(node.data))
        assert checked.returncode == 0, checked.stdout
