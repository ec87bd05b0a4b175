"""Tags end to end: on objects, versions, copies, uploads and buckets."""

from __future__ import annotations

import asyncio
import hashlib
import random
from typing import Any
from urllib.parse import urlencode

import msgspec
import pytest

from s3node.base.limits import PART_BYTES_MIN
from s3node.meta import schema, tables
from s3node.model.rows import VersionRow
from s3node.s3 import tagging
from tests.ops.test_multipart import begin, finish, listing, part
from tests.ops.test_versions import put as put_version
from tests.ops.test_versions import versioning
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
    assert "x-amz-version-id" not in done.headers
    got = world.get("/bucket/k", "tagging&versionId=null")
    assert tagging.parse_document(got.body) == FINE
    assert "x-amz-version-id" not in got.headers
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


def test_with_a_presigned_put(world: World) -> None:
    """Some clients put headers into the query: encoded once more, and decoded once more."""
    done = world.ask("PUT", "/bucket/k", {"x-amz-tagging": "a+b=c%2Bd&e=f%20g"}, b"1")
    assert done.status == 200, done.body
    assert tags_of(world, "/bucket/k") == (("a b", "c+d"), ("e", "f g"))


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


def test_a_bucket_that_is_there_keeps_its_tags() -> None:
    world = make_world("us-east-1")

    def create(value: str) -> Answer:
        tag = f"<Tag><Key>k</Key><Value>{value}</Value></Tag>"
        body = f"<CreateBucketConfiguration><Tags>{tag}</Tags></CreateBucketConfiguration>"
        return world.ask("PUT", "/bucket", "", body.encode())

    for value in ("1", "2"):
        assert create(value).status == 200, "which the first region says to both"
        assert tags_of(world, "/bucket") == (("k", "1"),)


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


# --- versions ----------------------------------------------------------------------------------


def everything(world: World) -> dict[bytes, bytes]:
    """All rows as they are stored."""
    return world.kv.read(lambda tx: dict(tx.scan(schema.JOURNALED_START, schema.KEYS_END)))


def changed(before: dict[bytes, bytes], after: dict[bytes, bytes]) -> set[bytes]:
    return {key for key in before.keys() | after.keys() if before.get(key) != after.get(key)}


@pytest.fixture
def versioned(world: World) -> dict[str, str]:
    """k: the null version, below v1, below v2; gone: g1 below a delete marker."""
    world.put("/bucket/k", b"null")
    versioning(world, "Enabled")
    names = {"null": "null"}
    for name, key in (("v1", "k"), ("v2", "k"), ("g1", "gone")):
        names[name] = put_version(world, key, name.encode() * 3000)
    world.clock.ms += 1000
    names["marker"] = world.ask("DELETE", "/bucket/gone").headers["x-amz-version-id"]
    return names


@pytest.mark.parametrize("which", ["null", "v1", "v2", ""])
@pytest.mark.parametrize("suspended", [False, True])
def test_one_row_changes_of_all(
    world: World, versioned: dict[str, str], which: str, suspended: bool
) -> None:
    """Whatever version it is, and whatever the bucket's versioning: that row and no other."""
    if suspended:
        versioning(world, "Suspended")
    query = f"tagging&versionId={versioned[which]}" if which else "tagging"
    meant = versioned[which or "v2"]
    before, listed = everything(world), world.get("/bucket", "versions").body
    world.clock.ms += 5000
    done = put_tags(world, "/bucket/k", FINE, query)
    assert done.headers["x-amz-version-id"] == meant
    after = everything(world)
    (row_key,) = changed(before, after)
    old, new = (tables.decode(VersionRow, row_key, rows[row_key]) for rows in (before, after))
    assert new == msgspec.structs.replace(old, tags=FINE)
    assert world.get("/bucket", "versions").body == listed, "order, ids, times, classes"
    assert tags_of(world, "/bucket/k", f"tagging&versionId={meant}") == FINE
    for other in {"null", versioned["v1"], versioned["v2"]} - {meant}:
        assert tags_of(world, "/bucket/k", f"tagging&versionId={other}") == ()
    gone = world.ask("DELETE", "/bucket/k", query)
    assert (gone.status, gone.headers["x-amz-version-id"]) == (204, meant)
    assert everything(world) == before
    world.check_ledger()


def test_delete_markers_have_no_tags(world: World, versioned: dict[str, str]) -> None:
    before = everything(world)
    for method, body in (("GET", b""), ("PUT", tagging.document(FINE)), ("DELETE", b"")):
        for query in ("tagging", f"tagging&versionId={versioned['marker']}"):
            marker = world.ask(method, "/bucket/gone", query, body)
            assert (marker.status, marker.code) == (405, "MethodNotAllowed")
            assert marker.headers["x-amz-delete-marker"] == "true"
            assert marker.headers["x-amz-version-id"] == versioned["marker"]
    assert everything(world) == before
    older = f"tagging&versionId={versioned['g1']}"
    assert put_tags(world, "/bucket/gone", FINE, older).status == 200
    assert tags_of(world, "/bucket/gone", older) == FINE


def test_tags_of_versions_go_where_the_versions_go(world: World, versioned: dict[str, str]) -> None:
    older = f"versionId={versioned['v1']}"
    put_tags(world, "/bucket/k", FINE, f"tagging&{older}")
    world.put("/bucket/k", b"new")
    assert tags_of(world, "/bucket/k") == ()
    restored = world.ask("PUT", "/bucket/k", x_amz_copy_source=f"bucket/k?{older}")
    assert restored.status == 200
    assert tags_of(world, "/bucket/k") == FINE, "a copy of a version has that version's tags"
    world.ask("DELETE", "/bucket/k")
    assert world.get("/bucket/k", "tagging").code == "MethodNotAllowed"
    assert tags_of(world, "/bucket/k", f"tagging&{older}") == FINE
    versioning(world, "Suspended")
    world.put("/bucket/k", b"null", x_amz_tagging="n=1")
    assert tags_of(world, "/bucket/k", "tagging&versionId=null") == (("n", "1"),)
    world.check_ledger()


# --- at the same time --------------------------------------------------------------------------


def test_tags_and_versions_at_once(world: World) -> None:
    """Whatever comes between: no version comes back, none is lost, tags are one set or another."""
    dice = random.Random(7)
    sets = [tuple((f"set{number}", str(tag)) for tag in range(1)) for number in range(4)]

    async def tagger() -> None:
        for _ in range(30):
            document = tagging.document(dice.choice(sets))
            answer = await world.send("PUT", "/bucket/k", "tagging", document)
            assert answer.status == 200 or answer.code in {"NoSuchKey", "MethodNotAllowed"}

    async def writer() -> None:
        for _ in range(30):
            body = dice.randbytes(dice.choice([10, 5000]))
            if dice.random() < 0.3:
                await world.send("DELETE", "/bucket/k")
            else:
                await world.send("PUT", "/bucket/k", "", body)
            got = await world.send("GET", "/bucket/k")
            assert got.status == 404 or hashlib.md5(got.body).hexdigest() == got.etag

    async def crowd() -> None:
        await asyncio.gather(*(tagger() for _ in range(3)), *(writer() for _ in range(3)))

    for status in ("", "Enabled", "Suspended"):
        if status:
            versioning(world, status)
        world.put("/bucket/k", b"first")
        asyncio.run(crowd())
        world.check_ledger()
        if world.get("/bucket/k").status == 200:
            assert tags_of(world, "/bucket/k") in [(), *sets]


def test_a_deleted_object_stays_deleted(world: World) -> None:
    async def both() -> list[Answer]:
        document = tagging.document(FINE)
        return await asyncio.gather(
            world.send("PUT", "/bucket/k", "tagging", document), world.send("DELETE", "/bucket/k")
        )

    for _ in range(10):
        world.put("/bucket/k", b"x" * 5000)
        tagged, gone = asyncio.run(both())
        assert tagged.status == 200 or tagged.code == "NoSuchKey"
        assert gone.status == 204
        assert world.get("/bucket/k").status == 404
    world.check_ledger()
