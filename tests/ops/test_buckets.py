"""Buckets and the read-only probes that clients make about them."""

from __future__ import annotations

import pytest

from s3node.s3.sigv4 import Identity
from tests.ops.world import World, make_world

STRANGER = Identity("AKOTHER", "owner-2", "other")


@pytest.fixture
def world() -> World:
    world = make_world()
    world.bucket()
    return world


def constraint(region: str) -> bytes:
    return (
        '<CreateBucketConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
        f"<LocationConstraint>{region}</LocationConstraint></CreateBucketConfiguration>"
    ).encode()


def test_create_bucket(world: World) -> None:
    made = world.ask("PUT", "/other", body=constraint("eu-west-1"))
    assert (made.status, made.headers["location"]) == (200, "/other")
    assert world.ask("PUT", "/other").code == "BucketAlreadyOwnedByYou"
    taken = world.ask("PUT", "/other", identity=STRANGER)
    assert (taken.status, taken.code) == (409, "BucketAlreadyExists")
    far = world.ask("PUT", "/third", body=constraint("mars-1"))
    assert far.code == "IllegalLocationConstraintException"
    assert world.ask("PUT", "/third", x_amz_bucket_object_lock_enabled="true").status == 501
    for body in (b"<x/>", b"<CreateBucketConfiguration>", b"<CreateBucketConfiguration><a/>"):
        assert world.ask("PUT", "/third", body=body).code == "MalformedXML"
    assert world.ask("HEAD", "/third").status == 404


def test_create_is_idempotent_where_s3_is() -> None:
    world = make_world("us-east-1")
    world.bucket()
    world.put("/bucket/k", b"1")
    assert world.ask("PUT", "/bucket").status == 200
    assert world.get("/bucket/k").status == 200
    assert world.get("/bucket", "location").text(".") in {None, ""}


def test_head_and_location(world: World) -> None:
    assert world.ask("HEAD", "/bucket").headers["x-amz-bucket-region"] == "eu-west-1"
    assert world.get("/bucket", "location").text(".") == "eu-west-1"
    assert world.ask("HEAD", "/bucket", identity=STRANGER).status == 403


def test_delete_bucket(world: World) -> None:
    world.put("/bucket/k", bytes(9000))
    refused = world.ask("DELETE", "/bucket")
    assert (refused.status, refused.code) == (409, "BucketNotEmpty")
    world.ask("DELETE", "/bucket/k")
    for key in ("a", "b"):
        upload = world.ask("POST", f"/bucket/{key}", "uploads").text("UploadId")
        world.ask("PUT", f"/bucket/{key}", f"partNumber=1&uploadId={upload}", b"x" * 9000)
    assert world.ask("DELETE", "/bucket").status == 204
    assert world.ask("DELETE", "/bucket").code == "NoSuchBucket"
    assert len(world.dead_data()) == 3
    world.check_ledger()
    world.bucket()
    assert world.get("/bucket", "uploads").texts("Upload") == []


def test_list_buckets(world: World) -> None:
    for name in ("aaa", "bbb-1", "bbb-2"):
        world.bucket(name)
    whole = world.get("/")
    assert whole.texts("Buckets/Bucket/Name") == ["aaa", "bbb-1", "bbb-2", "bucket"]
    assert whole.text("Owner/ID") == "owner-1"
    assert whole.text("ContinuationToken") is None
    assert world.get("/", "prefix=bbb").texts("Buckets/Bucket/Name") == ["bbb-1", "bbb-2"]
    names: list[str] = []
    query = {"max-buckets": "1"}
    while True:
        page = world.get("/", query)
        names += page.texts("Buckets/Bucket/Name")
        token = page.text("ContinuationToken")
        if token is None:
            break
        query["continuation-token"] = token
    assert names == ["aaa", "bbb-1", "bbb-2", "bucket"]
    assert world.get("/", {"continuation-token": "x"}).code == "InvalidArgument"
    assert world.get("/", "max-buckets=0").code == "InvalidArgument"


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("encryption", "ServerSideEncryptionConfigurationNotFoundError"),
        ("lifecycle", "NoSuchLifecycleConfiguration"),
        ("policy", "NoSuchBucketPolicy"),
        ("policyStatus", "NoSuchBucketPolicy"),
        ("replication", "ReplicationConfigurationNotFoundError"),
        ("website", "NoSuchWebsiteConfiguration"),
        ("object-lock", "ObjectLockConfigurationNotFoundError"),
        ("publicAccessBlock", "NoSuchPublicAccessBlockConfiguration"),
    ],
)
def test_what_is_not_configured_is_said_so(world: World, query: str, code: str) -> None:
    answer = world.get("/bucket", query)
    assert (answer.status, answer.code) == (404, code)
    assert world.ask("PUT", "/bucket", query, b"<x/>").status in {405, 501}


def test_versioning_was_never_enabled(world: World) -> None:
    answer = world.get("/bucket", "versioning")
    assert (answer.status, list(answer.xml)) == (200, [])


def test_acls_are_the_owners(world: World) -> None:
    world.put("/bucket/k", b"1")
    for path in ("/bucket", "/bucket/k"):
        answer = world.get(path, "acl")
        assert answer.text("AccessControlList/Grant/Grantee/ID") == "owner-1"
        assert answer.texts("AccessControlList/Grant/Permission") == ["FULL_CONTROL"]
    assert world.get("/bucket/other", "acl").code == "NoSuchKey"


@pytest.mark.parametrize(
    ("method", "path", "query", "headers"),
    [
        ("GET", "/none/k", "attributes", {}),
        ("GET", "/none/k", "versionId=x", {}),
        ("GET", "/none", "max-keys=x", {}),
        ("GET", "/none", "list-type=2&continuation-token=x", {}),
        ("PUT", "/none/k", "", {"x_amz_storage_class": "COLD"}),
        ("PUT", "/none/k", "", {"x_amz_tagging": "a=1&a=2"}),
        ("PUT", "/none/k", "tagging", {}),
        ("PUT", "/none", "tagging", {}),
        ("PUT", "/none/k", "", {"x_amz_copy_source": "bucket"}),
        ("POST", "/none/k", "uploads", {"x_amz_checksum_algorithm": "x"}),
        ("POST", "/none/k", "uploadId=x", {}),
        ("POST", "/none", "delete", {}),
    ],
)
def test_a_missing_bucket_is_told_first(
    world: World, method: str, path: str, query: str, headers: dict[str, str]
) -> None:
    missing = world.ask(method, path, query, **headers)
    assert (missing.status, missing.code, missing.text("BucketName")) == (
        404,
        "NoSuchBucket",
        "none",
    )
    world.bucket("none")
    there = world.ask(method, path, query, **headers)
    assert there.status >= 400 and there.code != "NoSuchBucket"
