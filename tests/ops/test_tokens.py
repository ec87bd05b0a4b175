"""What clients are handed to come back with is good for what it was handed out for, only."""

from __future__ import annotations

import pytest

from s3node.s3.sigv4 import Identity
from tests.ops.world import Answer, World, make_world

STRANGER = Identity("AKOTHER", "owner-2", "other")
NONE = "0" * 32


@pytest.fixture
def world() -> World:
    """Two buckets with the same keys, and a third one of somebody else's."""
    world = make_world()
    for name in ("one", "two"):
        world.bucket(name)
        for key in ("a/1", "a/2", "b", "c"):
            world.put(f"/{name}/{key}", key.encode())
    world.ask("PUT", "/theirs", identity=STRANGER)
    return world


def token(answer: Answer) -> str:
    found = answer.text("NextContinuationToken") or answer.text("ContinuationToken")
    assert found, answer.body
    return found


def page(world: World, bucket: str, **query: str) -> Answer:
    return world.get(f"/{bucket}", {"list-type": "2", "max-keys": "1", **query})


def refused(answer: Answer) -> bool:
    return (answer.status, answer.code, answer.text("ArgumentName")) == (
        400,
        "InvalidArgument",
        "continuation-token",
    )


def test_a_token_goes_on_where_it_was_given(world: World) -> None:
    keys, given = [], {}
    while True:
        answer = page(world, "one", **given)
        keys += answer.texts("Contents/Key")
        if answer.text("IsTruncated") == "false":
            break
        given = {"continuation-token": token(answer)}
    assert keys == ["a/1", "a/2", "b", "c"]


def test_a_token_is_of_its_bucket_prefix_and_delimiter(world: World) -> None:
    given = token(page(world, "one"))
    assert refused(page(world, "two", **{"continuation-token": given}))
    assert refused(page(world, "one", **{"continuation-token": given, "prefix": "a"}))
    assert refused(page(world, "one", **{"continuation-token": given, "delimiter": "/"}))
    larger = world.get("/one", {"list-type": "2", "continuation-token": given})
    assert larger.texts("Contents/Key") == ["a/2", "b", "c"]


def test_a_token_does_not_outlive_its_bucket(world: World) -> None:
    given = token(page(world, "one"))
    for key in ("a/1", "a/2", "b", "c"):
        world.ask("DELETE", f"/one/{key}")
    assert world.ask("DELETE", "/one").status == 204
    assert page(world, "one", **{"continuation-token": given}).code == "NoSuchBucket"
    world.bucket("one")
    assert refused(page(world, "one", **{"continuation-token": given}))


def test_a_token_is_of_its_caller_and_of_its_kind(world: World) -> None:
    of_buckets = token(world.get("/", "max-buckets=1"))
    assert world.get("/", f"continuation-token={of_buckets}").texts("Buckets/Bucket/Name") == [
        "two"
    ]
    theirs = world.ask("GET", "/", f"continuation-token={of_buckets}", identity=STRANGER)
    assert refused(theirs)
    assert refused(world.get("/", f"continuation-token={of_buckets}&prefix=t"))
    assert refused(world.get("/", f"continuation-token={of_buckets}&bucket-region=eu-west-1"))
    assert refused(page(world, "one", **{"continuation-token": of_buckets}))
    of_objects = token(page(world, "one"))
    assert refused(world.get("/", f"continuation-token={of_objects}"))


def test_a_foreign_bucket_is_refused_before_the_token_is_looked_at(world: World) -> None:
    given = token(page(world, "one"))
    for value in (given, "forged"):
        assert page(world, "theirs", **{"continuation-token": value}).code == "AccessDenied"


def test_an_upload_id_is_of_its_bucket_key_and_owner(world: World) -> None:
    upload = world.ask("POST", "/one/m", "uploads").text("UploadId")
    assert upload
    complete = b"<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>0</ETag></Part>"
    asks = (
        ("PUT", "&partNumber=1", b"part"),
        ("GET", "", b""),
        ("POST", "", complete + b"</CompleteMultipartUpload>"),
        ("DELETE", "", b""),
    )
    for method, more, body in asks:
        for path in ("/two/m", "/one/n"):
            answer = world.ask(method, path, f"uploadId={upload}{more}", body)
            assert (answer.status, answer.code) == (404, "NoSuchUpload")
        answer = world.ask(method, "/one/m", f"uploadId={upload}{more}", body, identity=STRANGER)
        assert (answer.status, answer.code) == (403, "AccessDenied")
        for made_up in (NONE, upload[:-1], upload + "0", upload.upper(), "x", "", f"{upload} "):
            answer = world.ask(method, "/one/m", {"uploadId": made_up} | _query(more), body)
            assert (answer.status, answer.code) == (404, "NoSuchUpload"), made_up
    assert world.get("/one/m", f"uploadId={upload}").texts("Part") == []


def _query(more: str) -> dict[str, str]:
    return {"partNumber": "1"} if more else {}


def test_a_version_id_is_of_its_bucket_and_key(world: World) -> None:
    body = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"
    for name in ("one", "two"):
        assert world.ask("PUT", f"/{name}", "versioning", body).status == 200
    version = world.put("/one/b", b"new").headers["x-amz-version-id"]
    for path in ("/two/b", "/one/c"):
        for method in ("GET", "HEAD"):
            assert world.ask(method, path, f"versionId={version}").status == 404
        assert world.ask("DELETE", path, f"versionId={version}").status == 204
        source = {"x_amz_copy_source": f"{path}?versionId={version}"}
        assert world.ask("PUT", "/one/copy", **source).code == "NoSuchVersion"
    assert world.get("/one/b", f"versionId={version}").body == b"new"


def test_markers_are_places_and_no_more(world: World) -> None:
    """A marker of another bucket, or one that nobody gave out, is a place in the order."""
    upload = world.ask("POST", "/one/m", "uploads").text("UploadId")
    for marker, left in ((NONE, [upload]), (upload, []), ("f" * 32, [])):
        query = f"uploads&key-marker=m&upload-id-marker={marker}"
        assert world.get("/one", query).texts("Upload/UploadId") == left
        assert world.get("/two", query).texts("Upload/UploadId") == []
    body = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"
    world.ask("PUT", "/one", "versioning", body)
    version = world.put("/one/c", b"new").headers["x-amz-version-id"]
    for marker, left in (
        (NONE, [version, "null"]),
        (version, ["null"]),
        ("null", []),
        ("f" * 32, []),
    ):
        query = f"versions&key-marker=c&version-id-marker={marker}"
        assert world.get("/one", query).texts("Version/VersionId") == left
