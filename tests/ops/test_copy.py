"""CopyObject and UploadPartCopy."""

from __future__ import annotations

import base64
import hashlib
import zlib

import pytest

from tests.ops.world import Answer, World, make_world

BODY = bytes(range(256)) * 100


@pytest.fixture
def world() -> World:
    world = make_world()
    world.bucket()
    world.bucket("other")
    world.put("/bucket/s", BODY, content_type="a/b", x_amz_meta_m="1", cache_control="no-store")
    return world


def copy(world: World, target: str, source: str = "bucket/s", **headers: str) -> Answer:
    return world.ask("PUT", target, x_amz_copy_source=source, **headers)


@pytest.mark.parametrize("target", ["/bucket/t", "/other/t"])
def test_copy_keeps_everything(world: World, target: str) -> None:
    done = copy(world, target)
    assert done.status == 200
    assert done.text("ETag") == f'"{hashlib.md5(BODY).hexdigest()}"'
    got = world.get(target)
    assert got.body == BODY
    assert got.headers["content-type"] == "a/b"
    assert got.headers["x-amz-meta-m"] == "1"
    assert got.headers["cache-control"] == "no-store"
    world.check_ledger()


def test_replace(world: World) -> None:
    headers = {"x_amz_metadata_directive": "REPLACE", "content_type": "c/d", "x_amz_meta_n": "2"}
    assert copy(world, "/bucket/t", **headers).status == 200
    got = world.get("/bucket/t")
    assert got.headers["content-type"] == "c/d"
    assert got.headers["x-amz-meta-n"] == "2"
    assert not {"x-amz-meta-m", "cache-control"} & got.headers.keys()
    assert copy(world, "/bucket/t", x_amz_metadata_directive="MAYBE").code == "InvalidArgument"


def test_onto_itself(world: World) -> None:
    refused = copy(world, "/bucket/s")
    assert refused.code == "InvalidRequest"
    assert "to itself without changing" in (refused.text("Message") or "")
    done = copy(world, "/bucket/s", x_amz_metadata_directive="REPLACE", x_amz_meta_m="2")
    assert done.status == 200
    got = world.get("/bucket/s")
    assert (got.body, got.headers["x-amz-meta-m"]) == (BODY, "2")
    world.check_ledger()


def test_sources_that_are_not_there(world: World) -> None:
    assert copy(world, "/bucket/t", "bucket/none").code == "NoSuchKey"
    assert copy(world, "/bucket/t", "nowhere/s").code == "NoSuchBucket"
    assert copy(world, "/bucket/t", "bucket/s?versionId=" + "0" * 32).code == "NoSuchVersion"
    for source in ("bucket", "/", "bucket/", "bucket/s?x=y", "bucket/%ff"):
        assert copy(world, "/bucket/t", source).code == "InvalidArgument", source
    assert world.get("/bucket/t").status == 404
    versioned = copy(world, "/bucket/t", "/bucket/s?versionId=null")
    assert "x-amz-copy-source-version-id" not in versioned.headers
    empty = copy(world, "/bucket/t", "/bucket/s?versionId=")
    assert (empty.code, empty.text("ArgumentName")) == ("InvalidArgument", "x-amz-copy-source")


def test_source_keys_are_decoded_once(world: World) -> None:
    world.put("/bucket/a+b %41/é", b"odd")
    assert copy(world, "/bucket/t", "bucket/a+b%20%2541/%C3%A9").status == 200
    assert world.get("/bucket/t").body == b"odd"


def test_conditions(world: World) -> None:
    etag = world.get("/bucket/s").headers["etag"]
    before, after = "Mon, 01 Jan 2001 00:00:00 GMT", "Fri, 01 Jan 2100 00:00:00 GMT"

    def code(**headers: str) -> int:
        prefixed = {f"x_amz_copy_source_{name}": value for name, value in headers.items()}
        return copy(world, "/bucket/t", **prefixed).status

    assert code(if_match=etag) == 200
    assert code(if_match='"x"') == 412
    assert code(if_none_match=etag) == 412
    assert code(if_modified_since=after) == 412
    assert code(if_unmodified_since=before) == 412
    assert code(if_match=etag, if_unmodified_since=before) == 200
    assert code(if_none_match=etag, if_modified_since=before) == 412
    assert copy(world, "/bucket/t", if_none_match="*").status == 412
    assert copy(world, "/bucket/t", if_match='"x"').status == 412


def test_checksums_follow(world: World) -> None:
    value = base64.b64encode(zlib.crc32(BODY).to_bytes(4, "big")).decode()
    world.put("/bucket/c", BODY, x_amz_checksum_crc32=value)
    done = copy(world, "/bucket/t", "bucket/c")
    assert (done.text("ChecksumCRC32"), done.text("ChecksumType")) == (value, "FULL_OBJECT")
    done = copy(world, "/bucket/t", "bucket/c", x_amz_checksum_algorithm="SHA256")
    sha = base64.b64encode(hashlib.sha256(BODY).digest()).decode()
    assert done.text("ChecksumSHA256") == sha


def test_part_copy(world: World) -> None:
    upload = world.ask("POST", "/bucket/t", "uploads").text("UploadId")

    def send(number: int, **headers: str) -> Answer:
        query = f"partNumber={number}&uploadId={upload}"
        return world.ask("PUT", "/bucket/t", query, x_amz_copy_source="bucket/s", **headers)

    one = send(1, x_amz_copy_source_range="bytes=10-20")
    assert one.text("ETag") == f'"{hashlib.md5(BODY[10:21]).hexdigest()}"'
    for text in ("bytes=10-", "10-20", "bytes=-5", "bytes=5-2", f"bytes=0-{len(BODY)}"):
        assert send(1, x_amz_copy_source_range=text).code == "InvalidArgument"
    whole = send(1)
    listed = world.get("/bucket/t", f"uploadId={upload}")
    assert listed.texts("Part/Size") == [str(len(BODY))]
    body = (
        f"<CompleteMultipartUpload><Part><PartNumber>1</PartNumber>"
        f"<ETag>{whole.text('ETag')}</ETag></Part></CompleteMultipartUpload>"
    ).encode()
    assert world.ask("POST", "/bucket/t", f"uploadId={upload}", body).status == 200
    assert world.get("/bucket/t").body == BODY
    copied = copy(world, "/bucket/u", "bucket/t")
    assert copied.text("ETag") == f'"{hashlib.md5(BODY).hexdigest()}"'
    world.check_ledger()
