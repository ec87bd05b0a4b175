"""Objects: put, get, head, delete; conditions, ranges, overrides, checksums."""

from __future__ import annotations

import base64
import hashlib

import pytest

from s3node.s3 import checksums
from tests.ops.world import World, make_world


@pytest.fixture
def world() -> World:
    world = make_world()
    world.bucket()
    return world


@pytest.mark.parametrize("size", [0, 1, 4096, 4097, 300_000])
def test_what_is_put_is_got(world: World, size: int) -> None:
    body = bytes(i * 7 % 251 for i in range(size))
    put = world.put("/bucket/a/b", body, content_type="text/x", x_amz_meta_one="1")
    assert put.status == 200
    assert put.etag == hashlib.md5(body).hexdigest()
    got = world.get("/bucket/a/b")
    assert (got.status, got.body) == (200, body)
    assert got.headers["content-type"] == "text/x"
    assert got.headers["x-amz-meta-one"] == "1"
    assert got.headers["accept-ranges"] == "bytes"
    assert "x-amz-version-id" not in got.headers
    assert world.ask("HEAD", "/bucket/a/b").headers == got.headers
    world.check_ledger()


def test_overwriting_and_deleting_leave_deaths(world: World) -> None:
    for size in (10_000, 5_000, 10, 6_000):
        world.put("/bucket/k", bytes(size))
        world.check_ledger()
    assert len(world.dead_data()) == 2
    for _ in range(2):
        assert world.ask("DELETE", "/bucket/k").status == 204
    assert len(world.dead_data()) == 3
    assert world.get("/bucket/k").code == "NoSuchKey"
    world.check_ledger()


def test_wrong_digests_store_nothing(world: World) -> None:
    world.put("/bucket/k", b"before")
    wrong = base64.b64encode(bytes(16)).decode()
    assert world.put("/bucket/k", b"x" * 9000, content_md5=wrong).code == "BadDigest"
    assert world.put("/bucket/k", b"x" * 9000, content_length="9001").code == "IncompleteBody"
    assert world.put("/bucket/k", b"x" * 9000, content_length="8999").code == "IncompleteBody"
    assert world.put("/bucket/k", b"x", x_amz_checksum_crc32="AAAAAA==").code == "BadDigest"
    assert world.get("/bucket/k").body == b"before"
    assert not world.staged_data()


@pytest.mark.parametrize("name", sorted(checksums.ALGORITHMS))
def test_every_checksum_is_verified_kept_and_returned(world: World, name: str) -> None:
    algorithm = checksums.ALGORITHMS[name]
    hasher = algorithm.new()
    hasher.update(b"hello")
    value = base64.b64encode(hasher.digest()).decode()
    put = world.put("/bucket/k", b"hello", **{algorithm.header: value})
    assert put.status == 200 and put.headers[algorithm.header] == value
    assert algorithm.header not in world.get("/bucket/k").headers
    got = world.get("/bucket/k", x_amz_checksum_mode="ENABLED")
    assert got.headers[algorithm.header] == value
    assert got.headers["x-amz-checksum-type"] == "FULL_OBJECT"
    part = world.get("/bucket/k", x_amz_checksum_mode="ENABLED", range="bytes=0-1")
    assert algorithm.header not in part.headers
    assert world.get("/bucket", "list-type=2").text("Contents/ChecksumAlgorithm") == name


def test_a_checksum_is_kept_when_none_was_sent(world: World) -> None:
    world.put("/bucket/k", b"hello")
    got = world.get("/bucket/k", x_amz_checksum_mode="enabled")
    assert "x-amz-checksum-crc64nvme" in got.headers


def test_ranges(world: World) -> None:
    body = bytes(range(200)) * 100
    world.put("/bucket/k", body)
    for text, start, stop in [
        ("bytes=0-0", 0, 1),
        ("bytes=5-", 5, 20000),
        ("bytes=-7", 19993, 20000),
        ("bytes=-99999", 0, 20000),
        ("bytes=10-99999", 10, 20000),
    ]:
        got = world.get("/bucket/k", range=text)
        assert (got.status, got.body) == (206, body[start:stop])
        assert got.headers["content-range"] == f"bytes {start}-{stop - 1}/20000"
        assert world.ask("HEAD", "/bucket/k", range=text).headers == got.headers
    for text in ("bytes=20000-", "bytes=-0"):
        refused = world.get("/bucket/k", range=text)
        assert (refused.status, refused.code) == (416, "InvalidRange")
        assert refused.text("ActualObjectSize") == "20000"
    for text in ("bytes=0-1,3-4", "lines=1-2", "bytes=4-3"):
        assert world.get("/bucket/k", range=text).status == 200


def test_if_range(world: World) -> None:
    etag = world.put("/bucket/k", b"0123456789").headers["etag"]
    assert world.get("/bucket/k", range="bytes=1-2", if_range=etag).status == 206
    assert world.get("/bucket/k", range="bytes=1-2", if_range='"other"').body == b"0123456789"


def test_conditional_reads(world: World) -> None:
    etag = world.put("/bucket/k", b"x").headers["etag"]
    modified = world.get("/bucket/k").headers["last-modified"]
    before, after = "Mon, 01 Jan 2001 00:00:00 GMT", "Fri, 01 Jan 2100 00:00:00 GMT"

    def status(**headers: str) -> int:
        return world.get("/bucket/k", **headers).status

    assert status(if_match=etag) == 200
    assert status(if_match="*") == 200
    assert status(if_match='"a", ' + etag) == 200
    assert status(if_match='"a"') == 412
    assert status(if_none_match=etag) == 304
    assert status(if_none_match='"a"') == 200
    assert status(if_modified_since=modified) == 304
    assert status(if_modified_since=before) == 200
    assert status(if_unmodified_since=before) == 412
    assert status(if_unmodified_since=modified) == 200
    # The etag outweighs the date.
    assert status(if_match=etag, if_unmodified_since=before) == 200
    assert status(if_none_match=etag, if_modified_since=before) == 304
    assert status(if_none_match='"a"', if_modified_since=after) == 200
    assert world.get("/bucket/k", if_match='"a"').text("Condition") == "If-Match"
    unmodified = world.get("/bucket/k", if_none_match=etag)
    assert unmodified.headers["etag"] == etag and not unmodified.body


def test_conditional_writes(world: World) -> None:
    assert world.put("/bucket/k", b"1", if_match='"x"').code == "NoSuchKey"
    first = world.put("/bucket/k", b"1", if_none_match="*")
    assert first.status == 200
    again = world.put("/bucket/k", b"2", if_none_match="*")
    assert (again.status, again.code) == (412, "PreconditionFailed")
    assert again.text("Condition") == "If-None-Match"
    assert world.put("/bucket/k", b"2", if_match='"x"').status == 412
    assert world.put("/bucket/k", b"2", if_match=first.headers["etag"]).status == 200
    assert world.put("/bucket/k", b"2", if_none_match='"x"').code == "NotImplemented"
    assert world.get("/bucket/k").body == b"2"


def test_conditional_delete(world: World) -> None:
    etag = world.put("/bucket/k", b"1").headers["etag"]
    assert world.ask("DELETE", "/bucket/k", if_match='"x"').status == 412
    assert world.ask("DELETE", "/bucket/k", if_match=etag).status == 204
    assert world.ask("DELETE", "/bucket/k", if_match="*").code == "NoSuchKey"


def test_version_ids(world: World) -> None:
    world.put("/bucket/k", b"1")
    got = world.get("/bucket/k", "versionId=null")
    assert (got.body, got.headers.get("x-amz-version-id")) == (b"1", None)
    assert world.get("/bucket/k", f"versionId={'0' * 32}").code == "NoSuchVersion"
    assert world.get("/bucket/k", "versionId=nonsense").code == "InvalidArgument"
    assert world.ask("DELETE", "/bucket/k", f"versionId={'0' * 32}").status == 204
    assert world.get("/bucket/k").status == 200
    gone = world.ask("DELETE", "/bucket/k", "versionId=null")
    assert (gone.status, gone.headers["x-amz-version-id"]) == (204, "null")
    assert world.get("/bucket/k").status == 404


def test_response_overrides(world: World) -> None:
    world.put("/bucket/k", b"1", cache_control="no-store")
    query = {"response-content-type": "a/b", "response-cache-control": "max-age=1"}
    got = world.get("/bucket/k", query)
    assert got.headers["content-type"] == "a/b"
    assert got.headers["cache-control"] == "max-age=1"
    split = world.get("/bucket/k", {"response-content-type": "a\r\nx: y"})
    assert split.code == "InvalidArgument"


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("x_amz_server_side_encryption", "AES256"),
        ("x_amz_object_lock_mode", "COMPLIANCE"),
        ("x_amz_acl", "public-read"),
    ],
)
def test_what_would_not_be_honoured_is_refused(world: World, header: str, value: str) -> None:
    assert world.put("/bucket/k", b"1", **{header: value}).code == "NotImplemented"
    assert world.get("/bucket/k").status == 404


def test_keys_are_keys(world: World) -> None:
    keys = ["../../etc/passwd", "/", "a//b", "ä€𝄞", "a+b %20", "\x01\x1f", "."]
    for key in keys:
        assert world.put(f"/bucket/{key}", key.encode()).status == 200
    for key in keys:
        assert world.get(f"/bucket/{key}").body == key.encode()
    shown = world.get("/bucket", "list-type=2&encoding-type=url")
    assert len(shown.texts("Contents/Key")) == len(keys)


def test_expected_owner(world: World) -> None:
    assert world.get("/bucket", x_amz_expected_bucket_owner="owner-1").status == 200
    assert world.get("/bucket", x_amz_expected_bucket_owner="other").code == "AccessDenied"


def delete_body(*keys: str, quiet: bool = False) -> bytes:
    inner = "".join(f"<Object><Key>{key}</Key></Object>" for key in keys)
    return f"<Delete>{'<Quiet>true</Quiet>' if quiet else ''}{inner}</Delete>".encode()


def md5_of(body: bytes) -> str:
    return base64.b64encode(hashlib.md5(body).digest()).decode()


SAMPLE_DELETE = delete_body("a", "b")


def test_delete_objects(world: World) -> None:
    for key in "abc":
        world.put(f"/bucket/{key}", bytes(9000))
    body = delete_body("a", "b", "never")
    assert world.ask("POST", "/bucket", "delete", body).code == "InvalidRequest"
    done = world.ask("POST", "/bucket", "delete", body, content_md5=md5_of(body))
    assert done.texts("Deleted/Key") == ["a", "b", "never"]
    assert world.get("/bucket").texts("Contents/Key") == ["c"]
    body = delete_body("c", quiet=True)
    done = world.ask("POST", "/bucket", "delete", body, content_md5=md5_of(body))
    assert list(done.xml) == []
    body = (
        b"<Delete><Object><Key>d</Key><VersionId>bad</VersionId></Object>"
        b'<Object><Key>e</Key><ETag>"x"</ETag></Object></Delete>'
    )
    done = world.ask("POST", "/bucket", "delete", body, content_md5=md5_of(body))
    assert done.texts("Error/Code") == ["NoSuchVersion", "NoSuchKey"]
    world.check_ledger()


def test_delete_objects_takes_a_thousand(world: World) -> None:
    body = delete_body(*(f"k{i}" for i in range(1000)))
    done = world.ask("POST", "/bucket", "delete", body, content_md5=md5_of(body))
    assert len(done.texts("Deleted/Key")) == 1000
    body = delete_body(*(f"k{i}" for i in range(1001)))
    refused = world.ask("POST", "/bucket", "delete", body, content_md5=md5_of(body))
    assert refused.code == "MalformedXML"


def test_missing_bucket(world: World) -> None:
    for method, path, query in [
        ("GET", "/other/k", ""),
        ("PUT", "/other/k", ""),
        ("DELETE", "/other/k", ""),
        ("GET", "/other", ""),
        ("GET", "/other", "list-type=2"),
        ("GET", "/other", "uploads"),
        ("POST", "/other/k", "uploads"),
        ("GET", "/other", "location"),
        ("GET", "/other", "versioning"),
        ("GET", "/other", "policy"),
        ("DELETE", "/other", ""),
    ]:
        assert world.ask(method, path, query).code == "NoSuchBucket", (method, path, query)
    assert world.ask("HEAD", "/other").status == 404
