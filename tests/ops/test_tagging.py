"""Tags end to end: on objects, versions, copies, uploads and buckets."""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import urlencode

import msgspec
import pytest

from s3node.base.limits import PART_BYTES_MIN
from s3node.meta import schema, tables
from s3node.model.rows import VersionRow
from s3node.s3 import tagging
from tests.ops.test_multipart import begin, finish, listing, part
from tests.ops.world import Answer, World, make_world

TAGS = (("b", "2"), ("a", "with space & <sign>"))
FINE = (("b", "2"), ("a", "with space/é"))


@pytest.fixture
def world() -> World:
    world = make_world()
    world.bucket()
    return world


def put_tags(world: World, path: str, tags: tagging.Tags, query: str = "tagging") -> Answer:
    return world.ask("PUT", path, query, tagging.document(tags))


def tags_of(world: World, path: str, query: str = "tagging") -> tagging.Tags:
    answer = world.get(path, query)
    assert answer.status == 200, answer.body
    return tagging.parse_document(answer.body)


def row_of(world: World, key: str = "k") -> tuple[bytes, VersionRow]:
    def find(tx: Any) -> tuple[bytes, VersionRow]:
        bucket = tables.get_bucket(tx, "bucket")
        assert bucket is not None
        found = tables.current_version(tx, bucket.bucket_id, key.encode())
        assert found is not None
        return found

    return world.kv.read(find)


def lock(world: World) -> None:
    """What an earlier or later release may have written into the row."""

    def change(tx: Any) -> None:
        bucket = tables.get_bucket(tx, "bucket")
        identity, row = tables.current_version(tx, bucket.bucket_id, b"k")
        row = msgspec.structs.replace(
            row, retention_mode="COMPLIANCE", retain_until_ms=2**50, legal_hold=True
        )
        tables.put_version(tx, bucket.bucket_id, b"k", identity, row)

    asyncio.run(world.kv.write(change))


def test_put_get_count_delete(world: World) -> None:
    world.put("/bucket/k", b"body", content_type="a/b", x_amz_meta_m="1")
    assert tags_of(world, "/bucket/k") == ()
    assert "x-amz-tagging-count" not in world.get("/bucket/k").headers
    done = put_tags(world, "/bucket/k", FINE)
    assert (done.status, done.body) == (200, b"")
    assert tags_of(world, "/bucket/k") == FINE
    for method in ("GET", "HEAD"):
        assert world.ask(method, "/bucket/k").headers["x-amz-tagging-count"] == "2"
    put_tags(world, "/bucket/k", (("only", ""),))
    assert tags_of(world, "/bucket/k") == (("only", ""),), "tags are replaced, not merged"
    gone = world.ask("DELETE", "/bucket/k", "tagging")
    assert (gone.status, gone.body) == (204, b"")
    assert tags_of(world, "/bucket/k") == ()
    assert world.get("/bucket/k").body == b"body"
    put_tags(world, "/bucket/k", FINE)
    assert put_tags(world, "/bucket/k", ()).status == 200
    assert tags_of(world, "/bucket/k") == ()


@pytest.mark.parametrize("size", [10, 9000])
def test_nothing_but_the_tags_changes(world: World, size: int) -> None:
    """Also where the version is locked: as at S3, a lock does not keep tags."""
    world.put("/bucket/k", bytes(size), x_amz_meta_m="1", cache_control="c")
    lock(world)
    before = row_of(world)
    head = world.ask("HEAD", "/bucket/k").headers
    world.clock.ms += 3_600_000
    put_tags(world, "/bucket/k", FINE)
    after = row_of(world)
    assert after[0] == before[0], "the version id stays"
    assert after[1] == msgspec.structs.replace(before[1], tags=FINE)
    assert world.ask("HEAD", "/bucket/k").headers == head | {"x-amz-tagging-count": "2"}
    world.ask("DELETE", "/bucket/k", "tagging")
    assert row_of(world) == before
    assert world.dead_data() == []
    world.check_ledger()


def test_what_is_not_there(world: World) -> None:
    for method in ("GET", "PUT", "DELETE"):
        body = tagging.document(FINE) if method == "PUT" else b""
        assert world.ask(method, "/none/k", "tagging", body).code == "NoSuchBucket"
        missing = world.ask(method, "/bucket/none", "tagging", body)
        assert (missing.status, missing.code, missing.text("Key")) == (404, "NoSuchKey", "none")
        version = {"tagging": "", "versionId": "0" * 32}
        world.put("/bucket/k")
        none = world.ask(method, "/bucket/k", version, body)
        assert (none.status, none.code) == (404, "NoSuchVersion")
        bad = world.ask(method, "/bucket/k", version | {"versionId": "x"}, body)
        assert (bad.code, bad.text("ArgumentName")) == ("InvalidArgument", "versionId")


def test_the_null_version_by_its_name(world: World) -> None:
    world.put("/bucket/k")
    done = put_tags(world, "/bucket/k", FINE, "tagging&versionId=null")
    assert done.headers["x-amz-version-id"] == "null"
    got = world.get("/bucket/k", "tagging&versionId=null")
    assert tagging.parse_document(got.body) == FINE
    assert got.headers["x-amz-version-id"] == "null"
    assert "x-amz-version-id" not in world.get("/bucket/k", "tagging").headers


def test_refusals_leave_what_is_there(world: World) -> None:
    world.put("/bucket/k", x_amz_tagging="old=1")
    before = row_of(world)
    refused = put_tags(world, "/bucket/k", TAGS)
    assert (refused.status, refused.code) == (400, "InvalidTag")
    assert (refused.text("TagKey"), refused.text("TagValue")) == TAGS[1]
    many = tuple((f"k{number}", "") for number in range(11))
    assert put_tags(world, "/bucket/k", many).code == "BadRequest"
    assert put_tags(world, "/bucket/k", (("a", ""), ("a", ""))).code == "InvalidTag"
    for body in (b"", b"<Tagging/>", b"junk"):
        assert world.ask("PUT", "/bucket/k", "tagging", body).code == "MalformedXML"
    good = tagging.document(FINE)
    wrong = world.ask("PUT", "/bucket/k", "tagging", good, content_md5="AAAAAAAAAAAAAAAAAAAAAA==")
    assert wrong.code == "BadDigest"
    wrong = world.ask("PUT", "/bucket/k", "tagging", good, x_amz_checksum_crc32="AAAAAA==")
    assert wrong.code == "BadDigest"
    assert row_of(world) == before


def test_with_a_put(world: World) -> None:
    assert world.put("/bucket/k", b"1", x_amz_tagging=urlencode(FINE)).status == 200
    assert tags_of(world, "/bucket/k") == FINE
    world.put("/bucket/k", b"2")
    assert tags_of(world, "/bucket/k") == (), "a new object has no tags of the old one"
    before = row_of(world)
    cases = {
        "a=1&a=2": "InvalidArgument",
        "%": "InvalidArgument",
        "aws:a=1": "InvalidTag",
        "a=%00": "InvalidArgument",
        "a=(": "InvalidTag",
        "&".join(f"k{number}=" for number in range(11)): "BadRequest",
    }
    for value, code in cases.items():
        for body in (b"small", bytes(9000)):
            refused = world.put("/bucket/k", body, x_amz_tagging=value)
            assert (refused.status, refused.code) == (400, code), value
    assert row_of(world) == before
    world.check_ledger()


def test_copies(world: World) -> None:
    world.put("/bucket/k", b"1", x_amz_tagging=urlencode(FINE))

    def copy(**headers: str) -> tagging.Tags | str | None:
        answer = world.ask("PUT", "/bucket/copy", x_amz_copy_source="bucket/k", **headers)
        return tags_of(world, "/bucket/copy") if answer.status == 200 else answer.code

    assert copy() == FINE
    assert copy(x_amz_tagging_directive="COPY", x_amz_tagging="x=y") == FINE
    assert copy(x_amz_metadata_directive="REPLACE") == FINE
    assert copy(x_amz_tagging_directive="REPLACE") == ()
    assert copy(x_amz_tagging_directive="REPLACE", x_amz_tagging="x=y") == (("x", "y"),)
    assert copy(x_amz_tagging_directive="REPLACE", x_amz_tagging="x=y&x=z") == "InvalidArgument"
    assert copy(x_amz_tagging_directive="replace") == "InvalidArgument"
    assert copy(x_amz_tagging_directive="") == "InvalidArgument"
    assert tags_of(world, "/bucket/copy") == (("x", "y"),)


def test_a_multipart_object_has_the_tags_of_its_upload(world: World) -> None:
    assert world.ask("POST", "/bucket/k", "uploads", x_amz_tagging="a=1&a=2").code == (
        "InvalidArgument"
    )
    upload = begin(world, x_amz_tagging=urlencode(FINE))
    etag = part(world, upload, 1, b"x" * PART_BYTES_MIN).etag
    assert finish(world, upload, listing((1, etag))).status == 200
    assert tags_of(world, "/bucket/k") == FINE
    put_tags(world, "/bucket/k", ())
    assert finish(world, upload, listing((1, etag))).status == 200, "sent again"
    assert tags_of(world, "/bucket/k") == (), "which does not bring them back"


def test_of_buckets(world: World) -> None:
    missing = world.get("/bucket", "tagging")
    assert (missing.status, missing.code, missing.text("BucketName")) == (
        404,
        "NoSuchTagSet",
        "bucket",
    )
    many = tuple((f"k{number:02}", "v") for number in range(50))
    done = put_tags(world, "/bucket", many)
    assert (done.status, done.body) == (204, b"")
    assert tags_of(world, "/bucket") == many
    assert put_tags(world, "/bucket", (*many, ("more", ""))).code == "BadRequest"
    assert put_tags(world, "/bucket", (("aws:x", ""),)).code == "InvalidTag"
    assert world.ask("PUT", "/bucket", "tagging", b"<Tagging>").code == "MalformedXML"
    assert tags_of(world, "/bucket") == many
    assert put_tags(world, "/bucket", FINE).status == 204
    assert tags_of(world, "/bucket") == FINE
    for _ in range(2):
        gone = world.ask("DELETE", "/bucket", "tagging")
        assert (gone.status, gone.body) == (204, b"")
        assert world.get("/bucket", "tagging").code == "NoSuchTagSet"
    put_tags(world, "/bucket", FINE)
    assert put_tags(world, "/bucket", ()).status == 204
    assert world.get("/bucket", "tagging").code == "NoSuchTagSet"
    for method, body in (("GET", b""), ("PUT", tagging.document(FINE)), ("DELETE", b"")):
        assert world.ask(method, "/none", "tagging", body).code == "NoSuchBucket"


def test_a_bucket_takes_its_tags_with_it(world: World) -> None:
    put_tags(world, "/bucket", FINE)
    assert world.ask("DELETE", "/bucket").status == 204
    left = world.kv.read(lambda tx: list(tx.scan(schema.CONFIGURATIONS, schema.LOCATIONS)))
    assert left == []
    world.bucket()
    assert world.get("/bucket", "tagging").code == "NoSuchTagSet"


def test_bucket_tags_say_who_and_when(world: World) -> None:
    put_tags(world, "/bucket", FINE)
    row = world.kv.read(
        lambda tx: tables.get_configuration(
            tx, tables.get_bucket(tx, "bucket").bucket_id, schema.TAGGING
        )
    )
    assert (row.changed_ms, row.who) == (world.clock.ms, "AKROOT")
    assert row.content == world.get("/bucket", "tagging").body
