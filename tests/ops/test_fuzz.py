"""Requests made of real names and odd values: every one gets an answer of S3's, never a fault.

A broken invariant stops the process, so nothing a client sends may reach an assertion.
"""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from s3node.s3 import tagging
from s3node.s3.checksums import BY_HEADER
from tests.ops.test_multipart import listing
from tests.ops.test_objects import SAMPLE_DELETE
from tests.ops.world import World, make_world

PARAMETERS = [
    "acl", "attributes", "bucket-region", "continuation-token", "delete", "delimiter",
    "encoding-type", "fetch-owner", "key-marker", "list-type", "location", "marker", "max-keys",
    "max-buckets", "max-parts", "max-uploads", "part-number-marker", "partNumber", "policy",
    "prefix", "response-content-type", "response-expires", "start-after", "tagging",
    "upload-id-marker", "uploadId", "uploads", "versionId", "versioning", "x-id",
]  # fmt: skip
HEADERS = [
    "cache-control", "content-disposition", "content-encoding", "content-md5", "content-type",
    "expires", "if-match", "if-modified-since", "if-none-match", "if-range",
    "if-unmodified-since", "range", "x-amz-acl", "x-amz-checksum-algorithm",
    "x-amz-checksum-mode", "x-amz-checksum-type", "x-amz-copy-source",
    "x-amz-copy-source-if-match", "x-amz-copy-source-range", "x-amz-expected-bucket-owner",
    "x-amz-meta-a", "x-amz-metadata-directive", "x-amz-mp-object-size", "x-amz-storage-class",
    "x-amz-max-parts", "x-amz-object-attributes", "x-amz-part-number-marker", "x-amz-tagging",
    "x-amz-optional-object-attributes", "x-amz-website-redirect-location",
    "x-amz-tagging-directive", *BY_HEADER,
]  # fmt: skip
PLAIN = [
    "", "*", "0", "1", "2", "-1", "1000", "10001", "99999999999999999999", "/", "a", "a/", "true",
    "url", "null", "0" * 32, "f" * 32, "bytes=0-1", "bytes=5-", "bytes=-1", "bucket/a",
    "bucket/a?versionId=null", "COPY", "REPLACE", "CRC32", "SHA256", "COMPOSITE", "FULL_OBJECT",
    "ENABLED", '"x"', 'W/"x"', "Mon, 01 Jan 2001 00:00:00 GMT", "AAAAAA==", "private", "STANDARD",
    "a=b", "a=b&a=c", "ETag,ObjectParts", "RestoreStatus", "\xff", "\x7f", "z" * 1100,
]  # fmt: skip
VALUES = st.one_of(
    st.sampled_from(PLAIN),
    st.text(st.characters(max_codepoint=0xFF), max_size=12),
    st.text(max_size=12),
)
PATHS = st.one_of(
    st.sampled_from(["/", "/bucket", "/bucket/", "/bucket/a", "/bucket/m", "/none/a", "/none"]),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=8).map(lambda t: "/bucket/" + t),
    st.integers(1020, 1030).map(lambda n: "/bucket/" + "k" * n),
)
TAGGING = tagging.document([("a", "b")])
METHODS = st.sampled_from(["GET", "HEAD", "PUT", "POST", "DELETE"])
BODIES = st.sampled_from(
    [b"", b"x", b"<a/>", SAMPLE_DELETE, listing((1, "0" * 32)), TAGGING, b"y" * 5000]
)


@pytest.fixture(scope="module")
def world() -> World:
    world = make_world()
    world.bucket()
    world.put("/bucket/a", b"12345")
    world.put("/bucket/m/n", bytes(9000))
    return world


REQUESTS = (
    METHODS,
    PATHS,
    st.dictionaries(st.sampled_from(PARAMETERS), VALUES, max_size=3),
    st.dictionaries(st.sampled_from(HEADERS), VALUES, max_size=3),
    BODIES,
)
RELAXED = {"deadline": None, "derandomize": True, "suppress_health_check": list(HealthCheck)}


def check(
    world: World,
    method: str,
    path: str,
    query: dict[str, str],
    headers: dict[str, str],
    body: bytes,
) -> None:
    headers = {k: v.encode("utf-8").decode("latin-1") for k, v in headers.items()}
    if "uploadId" in query and query["uploadId"] == "1":
        made = world.ask("POST", path, "uploads")
        query["uploadId"] = made.text("UploadId") or "" if made.status == 200 else "1"
    answer = world.ask(method, path, query, body, **headers)
    assert answer.status in range(200, 300) or answer.status in {
        304, 400, 403, 404, 405, 409, 411, 412, 416, 431, 501,
    }  # fmt: skip
    assert all("\n" not in value and "\r" not in value for value in answer.headers.values())
    if "bucket" not in world.get("/").texts("Buckets/Bucket/Name"):
        world.bucket()
    assert world.objects.pinned == 0


@settings(max_examples=500, **RELAXED)
@given(*REQUESTS)
def test_any_request_is_answered(world, method, path, query, headers, body) -> None:
    check(world, method, path, query, headers, body)


@pytest.mark.deep
@settings(max_examples=20_000, **RELAXED | {"derandomize": False})
@given(*REQUESTS)
def test_many_requests_are_answered(world, method, path, query, headers, body) -> None:
    check(world, method, path, query, headers, body)
