"""What is kept with an object and comes back exactly as it was given."""

from __future__ import annotations

import pytest

from s3node.base.limits import PART_BYTES_MIN
from s3node.s3.headers import STORAGE_CLASSES
from tests.ops.test_multipart import begin, finish, listing, part
from tests.ops.world import Answer, World, make_world


@pytest.fixture
def world() -> World:
    world = make_world()
    world.bucket()
    return world


def copy(world: World, **headers: str) -> Answer:
    return world.ask("PUT", "/bucket/copy", x_amz_copy_source="bucket/k", **headers)


def head(world: World, key: str = "k") -> dict[str, str]:
    answer = world.ask("HEAD", f"/bucket/{key}")
    assert answer.status == 200
    return answer.headers


# --- storage classes ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(STORAGE_CLASSES))
def test_a_storage_class_is_kept_and_told(world: World, name: str) -> None:
    """And nothing else depends on it: whatever its class, an object is read at once."""
    shown = None if name == "STANDARD" else name
    world.put("/bucket/k", b"body", x_amz_storage_class=name)
    for method in ("GET", "HEAD"):
        assert world.ask(method, "/bucket/k").headers.get("x-amz-storage-class") == shown
    assert world.get("/bucket/k").body == b"body"
    for query in ("", "list-type=2"):
        assert world.get("/bucket", query).texts("Contents/StorageClass") == [name]
    assert copy(world).status == 200
    assert "x-amz-storage-class" not in head(world, "copy"), "a copy is STANDARD unless told"
    assert copy(world, x_amz_storage_class=name).status == 200
    assert head(world, "copy").get("x-amz-storage-class") == shown


def test_of_a_multipart_object(world: World) -> None:
    upload = begin(world, x_amz_storage_class="GLACIER")
    assert world.get("/bucket", "uploads").texts("Upload/StorageClass") == ["GLACIER"]
    query = f"uploadId={upload}"
    assert world.get("/bucket/k", query).text("StorageClass") == "GLACIER"
    etag = part(world, upload, 1, bytes(PART_BYTES_MIN)).etag
    assert finish(world, upload, listing((1, etag))).status == 200
    assert head(world)["x-amz-storage-class"] == "GLACIER"


@pytest.mark.parametrize("name", ["", "standard", "STANDARD ,GLACIER", "OUTPOSTS", "EXPRESS"])
def test_unknown_storage_classes(world: World, name: str) -> None:
    world.put("/bucket/k", b"old")
    asked = {"x_amz_storage_class": name}
    for answer in (
        world.put("/bucket/k", b"new", **asked),
        copy(world, **asked),
        world.ask("POST", "/bucket/k", "uploads", **asked),
    ):
        assert (answer.status, answer.code) == (400, "InvalidStorageClass")
        assert answer.text("Message") == "The storage class you specified is not valid"
        assert (answer.text("StorageClassRequested") or "") == name
    assert world.get("/bucket/k").body == b"old"


# --- website redirects -------------------------------------------------------------------------

REDIRECTS = ("/", "/other?x#y", "http://", "https://example.com/é".encode().decode("latin-1"))


@pytest.mark.parametrize("place", [*REDIRECTS, "/" + "x" * 2047])
def test_a_redirect_is_kept_and_told(world: World, place: str) -> None:
    world.put("/bucket/k", b"body", x_amz_website_redirect_location=place)
    for method in ("GET", "HEAD"):
        answer = world.ask(method, "/bucket/k")
        assert answer.status == 200, "redirects are for websites, not for this interface"
        assert answer.headers["x-amz-website-redirect-location"] == place
    upload = begin(world, x_amz_website_redirect_location=place)
    etag = part(world, upload, 1, b"").etag
    assert finish(world, upload, listing((1, etag))).status == 200
    assert head(world)["x-amz-website-redirect-location"] == place


def test_a_copy_has_a_redirect_of_its_own_or_none(world: World) -> None:
    world.put("/bucket/k", b"", x_amz_website_redirect_location="/old", cache_control="c")
    for directive in ("COPY", "REPLACE"):
        copy(world, x_amz_metadata_directive=directive)
        assert "x-amz-website-redirect-location" not in head(world, "copy")
        copy(
            world,
            x_amz_metadata_directive=directive,
            x_amz_website_redirect_location="/new",
        )
        found = head(world, "copy")
        assert found["x-amz-website-redirect-location"] == "/new"
        assert found.get("cache-control") == ("c" if directive == "COPY" else None)


@pytest.mark.parametrize("place", ["", "x", "ftp://x", "//\x01", "HTTP://x", "/" + "x" * 2048])
def test_places_that_are_none(world: World, place: str) -> None:
    asked = {"x_amz_website_redirect_location": place}
    if "\x01" in place:  # no header at all, and a parameter may carry none either
        answer = world.ask("PUT", "/bucket/k", {"x-amz-website-redirect-location": place})
        assert answer.status == 400
        return
    answers = (
        world.put("/bucket/k", b"", **asked),
        world.ask("POST", "/bucket/k", "uploads", **asked),
    )
    for answer in answers:
        assert (answer.status, answer.code) == (400, "InvalidRedirectLocation")
        said = "cannot exceed 2,048 characters" if len(place) > 2048 else "must have a prefix of"
        assert said in (answer.text("Message") or "")


def test_what_changes_an_object_in_place(world: World) -> None:
    world.put("/bucket/k", b"body", x_amz_meta_m="1")

    def onto_itself(**headers: str) -> str | None:
        return world.ask("PUT", "/bucket/k", x_amz_copy_source="bucket/k", **headers).code

    assert onto_itself() == "InvalidRequest"
    assert onto_itself(x_amz_tagging_directive="REPLACE", x_amz_tagging="a=b") == "InvalidRequest"
    assert onto_itself(x_amz_storage_class="GLACIER_IR") is None
    assert head(world)["x-amz-storage-class"] == "GLACIER_IR"
    assert onto_itself(x_amz_website_redirect_location="/x") is None
    found = head(world)
    assert found["x-amz-website-redirect-location"] == "/x"
    assert found["x-amz-meta-m"] == "1"
    assert "x-amz-storage-class" not in found
    assert onto_itself(x_amz_metadata_directive="REPLACE") is None
    assert "x-amz-meta-m" not in head(world)
    world.check_ledger()


# --- listings ----------------------------------------------------------------------------------


@pytest.mark.parametrize("query", ["", "list-type=2"])
def test_optional_attributes(world: World, query: str) -> None:
    world.put("/bucket/k", b"1", x_amz_storage_class="GLACIER")
    plain = world.get("/bucket", query)
    asked = world.get("/bucket", query, x_amz_optional_object_attributes="RestoreStatus")
    assert asked.body == plain.body, "nothing is being restored, so there is no status"
    for value in ("restorestatus", "RestoreStatus,Owner", "*"):
        unknown = world.get("/bucket", query, x_amz_optional_object_attributes=value)
        assert (unknown.code, unknown.text("ArgumentName")) == (
            "InvalidArgument",
            "x-amz-optional-object-attributes",
        )


# --- headers exactly as given ------------------------------------------------------------------

HEADERS = {
    "cache-control": "max-age=1,  no-cache ; x",
    "content-disposition": "attachment; filename=\"\xe9 b.txt\"; filename*=UTF-8''%e2%82%ac",
    "content-encoding": "gzip, br",
    "content-language": "de-DE, en",
    "content-type": "Text/HTML; Charset=UTF-8",
    "expires": "not a date, kept all the same",
}


def test_headers_come_back_as_they_were(world: World) -> None:
    given = {name.replace("-", "_"): value for name, value in HEADERS.items()}
    world.put("/bucket/k", b"1", **given)
    assert HEADERS.items() <= head(world).items()
    assert HEADERS.items() <= world.get("/bucket/k").headers.items()
    copy(world)
    assert HEADERS.items() <= head(world, "copy").items()
    copy(world, x_amz_metadata_directive="REPLACE", cache_control="mine")
    found = head(world, "copy")
    assert (found["cache-control"], found["content-type"]) == ("mine", "binary/octet-stream")
    assert not {"expires", "content-language", "content-encoding"} & found.keys()
    upload = begin(world, **given)
    etag = part(world, upload, 1, b"").etag
    finish(world, upload, listing((1, etag)))
    assert HEADERS.items() <= head(world).items()


def test_framing_is_no_encoding_of_the_object(world: World) -> None:
    world.put("/bucket/k", b"1")
    assert head(world)["content-type"] == "binary/octet-stream"
    world.put("/bucket/k", b"1", content_type="")
    assert head(world)["content-type"] == "binary/octet-stream"
