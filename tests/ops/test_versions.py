"""Versioned buckets: what is kept, hidden, found and listed."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import itertools
import random
import tracemalloc
import xml.etree.ElementTree as ET
from collections.abc import Callable
from threading import Thread
from typing import Any

import msgspec
import pytest

from s3node.base.limits import PART_BYTES_MIN
from s3node.meta import schema, tables
from s3node.meta.kv import ReadTx, WriteTx
from s3node.model.listing import Step
from s3node.model.rows import Data, VersionRow
from tests.ops.world import Answer, World, make_world


def versioning(world: World, status: str, bucket: str = "bucket") -> Answer:
    body = f"<VersioningConfiguration><Status>{status}</Status></VersioningConfiguration>"
    return world.ask("PUT", f"/{bucket}", "versioning", body.encode())


@pytest.fixture
def world() -> World:
    world = make_world()
    world.bucket()
    return world


@pytest.fixture
def versioned(world: World) -> World:
    assert versioning(world, "Enabled").status == 200
    return world


def put(world: World, key: str, body: bytes = b"x", **headers: str) -> str:
    world.clock.ms += 1000
    answer = world.put(f"/bucket/{key}", body, **headers)
    assert answer.status == 200, answer.body
    return answer.headers.get("x-amz-version-id", "")


def delete(world: World, key: str, version: str = "", **headers: str) -> Answer:
    world.clock.ms += 1000
    query = f"versionId={version}" if version else ""
    return world.ask("DELETE", f"/bucket/{key}", query, **headers)


def entry(element: ET.Element) -> tuple[str, str, str, bool]:
    text = {child.tag: child.text or "" for child in element}
    return element.tag, text["Key"], text["VersionId"], text["IsLatest"] == "true"


def page(world: World, **query: str) -> tuple[list[tuple[str, str, str, bool]], list[str], Answer]:
    asked = {"versions": ""} | {name.replace("_", "-"): value for name, value in query.items()}
    answer = world.get("/bucket", asked)
    assert answer.status == 200, answer.body
    rows = [entry(one) for one in answer.xml if one.tag in {"Version", "DeleteMarker"}]
    return rows, answer.texts("CommonPrefixes/Prefix"), answer


def listed(world: World, **query: str) -> list[tuple[str, str, str, bool]]:
    return page(world, **query)[0]


# --- the configuration -----------------------------------------------------------------------


def test_versioning_is_never_off_again(world: World) -> None:
    assert world.get("/bucket", "versioning").texts("Status") == []
    for status in ("Enabled", "Suspended", "Enabled"):
        assert versioning(world, status).status == 200
        assert world.get("/bucket", "versioning").text("Status") == status


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ("", "MalformedXML"),
        ("<VersioningConfiguration/>", "IllegalVersioningConfigurationException"),
        ("<VersioningConfiguration><Status>On</Status></VersioningConfiguration>", "MalformedXML"),
        ("<VersioningConfiguration><Status/></VersioningConfiguration>", "MalformedXML"),
        ("<VersioningConfiguration><State>Enabled</State></VersioningConfiguration>",
         "MalformedXML"),
        ("<Versioning><Status>Enabled</Status></Versioning>", "MalformedXML"),
        ("<VersioningConfiguration><Status>Enabled</Status><MfaDelete>Enabled</MfaDelete>"
         "</VersioningConfiguration>", "NotImplemented"),
        ("<VersioningConfiguration><Status>Enabled</Status><MfaDelete>Off</MfaDelete>"
         "</VersioningConfiguration>", "MalformedXML"),
    ],
)  # fmt: skip
def test_what_is_no_configuration_changes_nothing(world: World, body: str, code: str) -> None:
    assert world.ask("PUT", "/bucket", "versioning", body.encode()).code == code
    assert world.get("/bucket", "versioning").texts("Status") == []
    assert versioning(world, "Enabled", "nowhere").code == "NoSuchBucket"


def test_a_locked_bucket_stays_versioned(versioned: World) -> None:
    def lock(tx: WriteTx) -> None:
        row = tables.get_bucket(tx, "bucket")
        assert row is not None
        tables.put_bucket(tx, "bucket", msgspec.structs.replace(row, object_lock=b"\1"))

    asyncio.run(versioned.kv.write(lock))
    assert versioning(versioned, "Suspended").code == "InvalidBucketState"
    assert versioning(versioned, "Enabled").status == 200


# --- versions --------------------------------------------------------------------------------


def test_every_write_stays(versioned: World) -> None:
    ids = [put(versioned, "k", body) for body in (b"one", b"two" * 2000, b"three")]
    assert len(set(ids)) == 3
    assert versioned.get("/bucket/k").body == b"three"
    assert versioned.get("/bucket/k").headers["x-amz-version-id"] == ids[2]
    for identity, body in zip(ids, (b"one", b"two" * 2000, b"three"), strict=True):
        answer = versioned.get("/bucket/k", f"versionId={identity}")
        assert (answer.body, answer.headers["x-amz-version-id"]) == (body, identity)
    assert versioned.dead_data() == []
    versioned.check_ledger()


def test_a_delete_hides_and_deleting_the_marker_restores(versioned: World) -> None:
    first = put(versioned, "k", b"one")
    hidden = delete(versioned, "k")
    marker = hidden.headers["x-amz-version-id"]
    assert (hidden.status, hidden.headers["x-amz-delete-marker"]) == (204, "true")
    gone = versioned.get("/bucket/k")
    assert (gone.status, gone.code) == (404, "NoSuchKey")
    assert gone.headers["x-amz-delete-marker"] == "true"
    assert gone.headers["x-amz-version-id"] == marker
    named = versioned.get("/bucket/k", f"versionId={marker}")
    assert (named.status, named.code) == (405, "MethodNotAllowed")
    assert named.headers["x-amz-delete-marker"] == "true"
    assert (named.headers["allow"], "last-modified" in named.headers) == ("DELETE", True)
    assert versioned.get("/bucket", "list-type=2").texts("Contents/Key") == []
    assert versioned.get("/bucket/k", f"versionId={first}").body == b"one"
    restored = delete(versioned, "k", marker)
    assert restored.headers["x-amz-delete-marker"] == "true"
    assert restored.headers["x-amz-version-id"] == marker
    assert versioned.get("/bucket/k").body == b"one"


def test_an_older_version_is_restored_by_copying_it(versioned: World) -> None:
    first = put(versioned, "k", b"one", x_amz_meta_of="first")
    second = put(versioned, "k", b"two")
    source = {"x_amz_copy_source": f"bucket/k?versionId={first}"}
    answer = versioned.put("/bucket/k", **source)
    assert answer.status == 200
    assert answer.headers["x-amz-copy-source-version-id"] == first
    third = answer.headers["x-amz-version-id"]
    assert third not in {first, second}
    assert versioned.get("/bucket/k").body == b"one"
    assert versioned.get("/bucket/k").headers["x-amz-meta-of"] == "first"
    marker = delete(versioned, "k").headers["x-amz-version-id"]
    assert versioned.put("/bucket/t", x_amz_copy_source="bucket/k").code == "NoSuchKey"
    refused = versioned.put("/bucket/t", x_amz_copy_source=f"bucket/k?versionId={marker}")
    assert refused.code == "InvalidRequest"
    versioned.check_ledger()


def test_a_named_delete_is_of_that_version_alone(versioned: World) -> None:
    ids = [put(versioned, "k", bytes([number]) * 5000) for number in range(3)]
    assert delete(versioned, "k", ids[1]).headers["x-amz-version-id"] == ids[1]
    assert "x-amz-delete-marker" not in delete(versioned, "k", ids[1]).headers
    assert versioned.get("/bucket/k", f"versionId={ids[1]}").code == "NoSuchVersion"
    assert versioned.get("/bucket/k").body == b"\2" * 5000
    assert len(versioned.dead_data()) == 1
    delete(versioned, "k", ids[2])
    assert versioned.get("/bucket/k").body == b"\0" * 5000
    delete(versioned, "k", ids[0])
    assert versioned.get("/bucket/k").code == "NoSuchKey"
    assert listed(versioned) == []
    versioned.check_ledger()


def test_the_null_version_through_every_state(world: World) -> None:
    assert put(world, "k", b"before") == ""
    versioning(world, "Enabled")
    assert world.get("/bucket/k").headers["x-amz-version-id"] == "null"
    first = put(world, "k", b"first")
    assert world.get("/bucket/k", "versionId=null").body == b"before"
    versioning(world, "Suspended")
    assert put(world, "k", b"between") == ""
    assert world.get("/bucket/k").headers["x-amz-version-id"] == "null"
    assert world.get("/bucket/k", "versionId=null").body == b"between"
    assert [name for _, _, name, _ in listed(world)] == ["null", first]
    hidden = delete(world, "k")
    assert hidden.headers["x-amz-version-id"] == "null"
    assert listed(world) == [("DeleteMarker", "k", "null", True), ("Version", "k", first, False)]
    versioning(world, "Enabled")
    second = put(world, "k", b"second")
    assert [name for _, _, name, _ in listed(world)] == [second, "null", first]
    assert delete(world, "k", "null").headers["x-amz-delete-marker"] == "true"
    assert world.get("/bucket/k", "versionId=null").code == "NoSuchVersion"
    assert [name for _, _, name, _ in listed(world)] == [second, first]
    world.check_ledger()


def test_a_null_version_has_no_other_name(world: World) -> None:
    put(world, "k", b"before")
    versioning(world, "Enabled")

    def internal(tx: ReadTx) -> bytes:
        bucket = tables.get_bucket(tx, "bucket")
        assert bucket is not None
        found = tables.current_version(tx, bucket.bucket_id, b"k")
        assert found is not None
        return found[0]

    name = world.kv.read(internal).hex()
    assert world.get("/bucket/k", f"versionId={name}").code == "NoSuchVersion"
    assert delete(world, "k", name).status == 204
    assert world.get("/bucket/k").body == b"before"


def test_long_keys_have_null_versions_too(world: World) -> None:
    for key in ("k" * 400, "k" * 401, "k" * 1024):
        versioning(world, "Enabled")
        put(world, key, b"own")
        versioning(world, "Suspended")
        put(world, key, b"null")
        versioning(world, "Enabled")
        put(world, key, b"newest")
        assert world.get(f"/bucket/{key}", "versionId=null").body == b"null"
        delete(world, key, "null")
        assert world.get(f"/bucket/{key}", "versionId=null").code == "NoSuchVersion"
    assert world.kv.read(lambda tx: list(tx.scan(schema.NULLS, schema.OWED))) == []


# --- conditions ------------------------------------------------------------------------------


def test_conditions_see_the_current_version(versioned: World) -> None:
    put(versioned, "k", b"one")
    etag = versioned.get("/bucket/k").etag
    assert versioned.put("/bucket/k", b"two", if_none_match="*").code == "PreconditionFailed"
    assert delete(versioned, "k", if_match='"other"').code == "PreconditionFailed"
    assert delete(versioned, "k", if_match=etag).status == 204
    assert delete(versioned, "k", if_match=etag).code == "PreconditionFailed"
    assert delete(versioned, "never", if_match=etag).code == "NoSuchKey"
    assert versioned.put("/bucket/k", b"two", if_match=etag).code == "NoSuchKey"
    assert versioned.put("/bucket/k", b"two", if_none_match="*").status == 200


def test_conditions_of_a_named_delete_see_that_version(versioned: World) -> None:
    first = put(versioned, "k", b"one")
    etag, modified = (
        versioned.get("/bucket/k").headers[name] for name in ("etag", "last-modified")
    )
    put(versioned, "k", b"other")
    assert delete(versioned, "k", first, x_amz_if_match_size="5").code == "PreconditionFailed"
    wrong = {"x_amz_if_match_last_modified_time": "Mon, 01 Jan 2024 00:00:00 GMT"}
    assert delete(versioned, "k", first, **wrong).code == "PreconditionFailed"
    for text in ("-1", "three", ""):
        assert delete(versioned, "k", first, x_amz_if_match_size=text).code == "InvalidArgument"
    right = {"if_match": etag, "x_amz_if_match_size": "3"}
    right["x_amz_if_match_last_modified_time"] = modified
    assert delete(versioned, "k", first, **right).status == 204
    assert versioned.get("/bucket/k", f"versionId={first}").code == "NoSuchVersion"
    refused = versioned.put("/bucket/k", b"", x_amz_if_match_size="3")
    assert (refused.status, refused.code) == (501, "NotImplemented")


def test_many_at_once_each_with_its_own(world: World) -> None:
    put(world, "old", b"null")
    versioning(world, "Enabled")
    ids = [put(world, "k", body) for body in (b"one", b"two!")]
    modified = world.get("/bucket/k", f"versionId={ids[1]}").headers["last-modified"]
    marker = delete(world, "hidden").headers["x-amz-version-id"]
    objects = [
        f"<Key>k</Key><VersionId>{ids[0]}</VersionId><Size>4</Size>",
        f"<Key>k</Key><VersionId>{ids[0]}</VersionId><ETag>other</ETag>",
        f"<Key>k</Key><VersionId>{ids[1]}</VersionId><Size>4</Size>"
        f"<LastModifiedTime>{modified}</LastModifiedTime>",
        f"<Key>k</Key><VersionId>{ids[1]}</VersionId><Size>4</Size>",
        "<Key>old</Key>",
        "<Key>old</Key><VersionId>null</VersionId>",
        f"<Key>hidden</Key><VersionId>{marker}</VersionId>",
        "<Key>never</Key>",
        "<Key>never</Key><VersionId>nonsense</VersionId>",
    ]
    body = "".join(f"<Object>{one}</Object>" for one in objects)
    answer = world.ask(
        "POST", "/bucket", "delete", f"<Delete>{body}</Delete>".encode(),
        content_md5=_md5(f"<Delete>{body}</Delete>".encode()),
    )  # fmt: skip
    errors = [
        (one.findtext("VersionId"), one.findtext("Code")) for one in answer.xml.findall("Error")
    ]
    assert errors == [
        (ids[0], "PreconditionFailed"),
        (ids[0], "PreconditionFailed"),
        (ids[1], "NoSuchKey"),
        ("nonsense", "NoSuchVersion"),
    ]
    done = [
        tuple(one.findtext(name) for name in ("Key", "VersionId", "DeleteMarker"))
        for one in answer.xml.findall("Deleted")
    ]
    assert done == [
        ("k", ids[1], None),
        ("old", None, "true"),
        ("old", "null", None),
        ("hidden", marker, "true"),
        ("never", None, "true"),
    ]
    made = [one.findtext("DeleteMarkerVersionId") for one in answer.xml.findall("Deleted")]
    assert made[3] == marker
    assert world.get("/bucket/old").headers["x-amz-version-id"] == made[1]
    world.check_ledger()


def _md5(data: bytes) -> str:
    return base64.b64encode(hashlib.md5(data).digest()).decode()


# --- uploads ---------------------------------------------------------------------------------


def test_completed_uploads_are_versions_with_parts(versioned: World) -> None:
    old = put(versioned, "k", b"old")
    versions: list[str] = []
    sent: list[tuple[str, bytes]] = []
    for content in (b"a", b"b"):
        upload = versioned.ask("POST", "/bucket/k", "uploads").text("UploadId") or ""
        bodies = [content * PART_BYTES_MIN, content * 3]
        etags = [
            versioned.ask("PUT", "/bucket/k", {"uploadId": upload, "partNumber": str(at)}, body)
            for at, body in enumerate(bodies, 1)
        ]
        listed_parts = "".join(
            f"<Part><PartNumber>{at}</PartNumber><ETag>{answer.etag}</ETag></Part>"
            for at, answer in enumerate(etags, 1)
        )
        document = f"<CompleteMultipartUpload>{listed_parts}</CompleteMultipartUpload>".encode()
        versioned.clock.ms += 1000
        answer = versioned.ask("POST", "/bucket/k", {"uploadId": upload}, document)
        again = versioned.ask("POST", "/bucket/k", {"uploadId": upload}, document)
        assert answer.headers["x-amz-version-id"] == again.headers["x-amz-version-id"]
        versions.append(answer.headers["x-amz-version-id"])
        sent.append((upload, document))
    assert [name for *_, name, _ in listed(versioned)] == [versions[1], versions[0], old]
    for (upload, document), identity in zip(sent, versions, strict=True):
        again = versioned.ask("POST", "/bucket/k", {"uploadId": upload}, document)
        assert again.headers["x-amz-version-id"] == identity
    for identity, content in zip(versions, (b"a", b"b"), strict=True):
        part = versioned.get("/bucket/k", {"versionId": identity, "partNumber": "2"})
        assert (part.status, part.body) == (206, content * 3)
        assert part.headers["x-amz-mp-parts-count"] == "2"
    source = f"bucket/k?versionId={versions[0]}"
    assert versioned.put("/bucket/t", x_amz_copy_source=source).status == 200
    assert versioned.get("/bucket/t").body == b"a" * (PART_BYTES_MIN + 3)
    versioned.check_ledger()


# --- listings --------------------------------------------------------------------------------


def test_pages_are_the_whole_in_order(versioned: World) -> None:
    """However it is cut into pages, with and without prefix and delimiter."""
    chance = random.Random(7)
    names = ["a", "a/1", "a/2", "b/x/1", "b/x/2", "b/y", "c", "é"]
    for _ in range(60):
        state = chance.choice(["Enabled", "Enabled", "Suspended"])
        versioning(versioned, state)
        key = chance.choice(names)
        if chance.random() < 0.3:
            delete(versioned, key)
        else:
            put(versioned, key, chance.randbytes(5))
    whole = listed(versioned)
    assert [key.encode() for _, key, _, _ in whole] == sorted(
        key.encode() for _, key, _, _ in whole
    )
    for _, group in itertools.groupby(whole, lambda one: one[1]):
        latest = [flag for *_, flag in group]
        assert latest == [True, *[False] * (len(latest) - 1)]
    for query in ({}, {"prefix": "b/"}, {"delimiter": "/"}, {"prefix": "b/", "delimiter": "/"}):
        wanted, prefixes, _ = page(versioned, **query)
        for size in (1, 2, 3, 7):
            assert _paged(versioned, size, query) == (wanted, prefixes), (query, size)


def _paged(
    world: World, size: int, query: dict[str, str]
) -> tuple[list[tuple[str, str, str, bool]], list[str]]:
    rows: list[tuple[str, str, str, bool]] = []
    prefixes: list[str] = []
    markers: dict[str, str] = {}
    while True:
        found, groups, answer = page(world, max_keys=str(size), **query, **markers)
        assert len(found) + len(groups) <= size
        rows += found
        prefixes += groups
        if answer.text("IsTruncated") == "false":
            return rows, prefixes
        markers = {"key_marker": answer.text("NextKeyMarker") or ""}
        if answer.text("NextVersionIdMarker"):
            markers["version_id_marker"] = answer.text("NextVersionIdMarker") or ""


def test_the_newest_first_and_one_of_them_the_latest(versioned: World) -> None:
    ids = [put(versioned, "k", bytes([number])) for number in range(4)]
    marker = delete(versioned, "k").headers["x-amz-version-id"]
    wanted = [("DeleteMarker", "k", marker, True)]
    wanted += [("Version", "k", identity, False) for identity in reversed(ids)]
    assert listed(versioned) == wanted
    assert listed(versioned, key_marker="k", version_id_marker=ids[2]) == wanted[3:]
    assert listed(versioned, key_marker="k") == []
    delete(versioned, "k", marker)
    for identity in ids[2:]:
        delete(versioned, "k", identity)
    # What stood before the marker has gone: the next one is the key's latest now.
    assert listed(versioned, key_marker="k", version_id_marker=ids[2])[0][3] is True


def test_markers_that_are_none(versioned: World) -> None:
    put(versioned, "k")
    for query in (
        {"version-id-marker": "ab" * 16},
        {"version-id-marker": "", "key-marker": "k"},
        {"version-id-marker": "nonsense", "key-marker": "k"},
    ):
        answer = versioned.get("/bucket", {"versions": ""} | query)
        assert answer.code == "InvalidArgument", query
        assert answer.text("ArgumentName") in {"version-id-marker", "versionId"}
    assert [one[1] for one in listed(versioned, version_id_marker="")] == ["k"]


@pytest.mark.parametrize("marker", ["a" * 1025, "\u00e9" * 513, "z" * 4000])
def test_a_marker_may_be_longer_than_any_key(versioned: World, marker: str) -> None:
    put(versioned, "k")
    for identity in ("null", "ab" * 16):
        found = listed(versioned, key_marker=marker, version_id_marker=identity)
        assert [one[1] for one in found] == (["k"] if marker < "k" else [])


def test_a_version_that_comes_while_its_key_is_listed_changes_nothing(versioned: World) -> None:
    """Every page is of versions as they were when they were read: one is the latest."""
    first = put(versioned, "k")
    whole = [("Version", "k", first, True)]
    read = versioned.kv.read

    def read_then_write(fn: Callable[[ReadTx], Any]) -> Any:
        found = read(fn)
        if isinstance(found, Step):
            versioned.kv.read = read  # type: ignore[method-assign]
            other = Thread(target=put, args=(versioned, "k", b"newer"))
            other.start()
            other.join()
        return found

    versioned.kv.read = read_then_write  # type: ignore[method-assign]
    assert listed(versioned) == whole
    assert len(listed(versioned)) == 2


def test_a_marker_of_a_null_version_that_has_gone_leaves_nothing_out(world: World) -> None:
    put(world, "k", b"null")
    versioning(world, "Enabled")
    newer = put(world, "k", b"newer")
    assert [one[2] for one in listed(world, key_marker="k", version_id_marker="null")] == []
    delete(world, "k", "null")
    after = listed(world, key_marker="k", version_id_marker="null")
    assert [one[2] for one in after] == [newer]


def test_entries_say_what_s3_says(versioned: World) -> None:
    put(versioned, "k", b"body")
    delete(versioned, "k")
    _, _, answer = page(versioned)
    version, marker = answer.xml.find("Version"), answer.xml.find("DeleteMarker")
    assert version is not None
    assert marker is not None
    assert [child.tag for child in version] == [
        "Key", "VersionId", "IsLatest", "LastModified", "ETag", "ChecksumAlgorithm",
        "ChecksumType", "Size", "StorageClass", "Owner",
    ]  # fmt: skip
    assert [child.tag for child in marker] == [
        "Key", "VersionId", "IsLatest", "LastModified", "Owner",
    ]  # fmt: skip
    assert (version.findtext("Size"), version.findtext("StorageClass")) == ("4", "STANDARD")


def test_a_page_does_not_keep_the_parts_of_its_versions(versioned: World) -> None:
    """An object of ten thousand parts is a long row; a page has a thousand of them."""
    data = tuple(Data(bytes(16), 1, 1, number, bytes(16)) for number in range(1, 10_001))
    row = VersionRow(1, 1, 10_000, "etag", bytes(16), parts=10_000, null=False, data=data)
    count = 16

    def place(tx: WriteTx) -> None:
        bucket = tables.get_bucket(tx, "bucket")
        assert bucket is not None
        for number in range(count):
            tables.put_version(tx, bucket.bucket_id, b"k", bytes([number + 1]) * 16, row)

    asyncio.run(versioned.kv.write(place))
    tracemalloc.start()
    try:
        assert len(listed(versioned)) == count
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 8 << 20  # one of them at a time, of 2.5 MiB


def test_a_bucket_with_versions_is_not_empty(versioned: World) -> None:
    first = put(versioned, "k")
    marker = delete(versioned, "k").headers["x-amz-version-id"]
    assert versioned.ask("DELETE", "/bucket").code == "BucketNotEmpty"
    delete(versioned, "k", first)
    assert versioned.ask("DELETE", "/bucket").code == "BucketNotEmpty"
    delete(versioned, "k", marker)
    assert versioned.ask("DELETE", "/bucket").status == 204
