"""Multipart uploads, from creation to the object, and everything a Complete can get wrong."""

from __future__ import annotations

import base64
import hashlib

import pytest

from s3node.base.limits import PART_BYTES_MIN
from s3node.s3 import checksums
from tests.ops.world import Answer, World, make_world

BIG = PART_BYTES_MIN


@pytest.fixture
def world() -> World:
    world = make_world()
    world.bucket()
    return world


def begin(world: World, **headers: str) -> str:
    made = world.ask("POST", "/bucket/k", "uploads", **headers)
    assert made.status == 200, made.body
    return made.text("UploadId") or ""


def part(world: World, upload: str, number: int, body: bytes, **headers: str) -> Answer:
    return world.ask("PUT", "/bucket/k", f"partNumber={number}&uploadId={upload}", body, **headers)


def listing(*parts: tuple[int, str], extra: dict[int, str] | None = None) -> bytes:
    rows = "".join(
        f"<Part><PartNumber>{number}</PartNumber><ETag>&quot;{etag}&quot;</ETag>"
        f"{(extra or {}).get(number, '')}</Part>"
        for number, etag in parts
    )
    return (
        '<CompleteMultipartUpload xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
        f"{rows}</CompleteMultipartUpload>"
    ).encode()


def finish(world: World, upload: str, body: bytes, **headers: str) -> Answer:
    return world.ask("POST", "/bucket/k", f"uploadId={upload}", body, **headers)


def test_from_parts_to_object(world: World) -> None:
    world.put("/bucket/k", bytes(9000))
    upload = begin(world, content_type="a/b", x_amz_meta_m="1")
    bodies = {1: b"1" * BIG, 3: b"3" * BIG, 9: b"last"}
    etags = {number: part(world, upload, number, body).etag for number, body in bodies.items()}
    part(world, upload, 1, b"replaced")
    etags[1] = part(world, upload, 1, bodies[1]).etag
    part(world, upload, 7, b"never listed")
    listed = world.get("/bucket/k", f"uploadId={upload}&max-parts=2")
    assert listed.texts("Part/PartNumber") == ["1", "3"]
    assert (listed.text("IsTruncated"), listed.text("NextPartNumberMarker")) == ("true", "3")
    rest = world.get("/bucket/k", f"uploadId={upload}&part-number-marker=3")
    assert rest.texts("Part/PartNumber") == ["7", "9"]
    assert rest.text("IsTruncated") == "false"
    assert world.get("/bucket/k").body == bytes(9000)
    body = listing(*etags.items())
    done = finish(world, upload, body)
    assert done.status == 200, done.body
    whole = b"".join(bodies.values())
    digests = b"".join(hashlib.md5(content).digest() for content in bodies.values())
    etag = hashlib.md5(digests).hexdigest() + "-3"
    assert done.text("ETag") == f'"{etag}"'
    assert done.text("Location") == "http://s3.example/bucket/k"
    got = world.get("/bucket/k")
    assert (got.body, got.etag) == (whole, etag)
    assert (got.headers["content-type"], got.headers["x-amz-meta-m"]) == ("a/b", "1")
    again = finish(world, upload, body)
    assert (again.status, again.body) == (200, done.body)
    assert finish(world, upload, listing((1, etags[1]))).code == "NoSuchUpload"
    assert world.get("/bucket", "uploads").texts("Upload") == []
    world.check_ledger()
    second = world.get("/bucket/k", "partNumber=3")
    assert (second.status, second.body) == (206, bodies[3])
    assert second.headers["x-amz-mp-parts-count"] == "3"
    assert second.headers["content-range"] == f"bytes {BIG}-{2 * BIG - 1}/{len(whole)}"
    assert world.ask("HEAD", "/bucket/k", "partNumber=9").headers["x-amz-mp-parts-count"] == "3"
    missing = world.get("/bucket/k", "partNumber=2")
    assert (missing.status, missing.code) == (416, "InvalidPartNumber")
    both = world.get("/bucket/k", "partNumber=1", range="bytes=0-1")
    assert both.code == "InvalidRequest"
    ranged = world.get("/bucket/k", range=f"bytes={BIG - 2}-{BIG + 1}")
    assert ranged.body == b"1133"


def test_part_number_of_a_plain_object(world: World) -> None:
    world.put("/bucket/k", b"abc")
    got = world.get("/bucket/k", "partNumber=1")
    assert (got.status, got.body) == (206, b"abc")
    assert world.get("/bucket/k", "partNumber=2").code == "InvalidPartNumber"
    assert world.get("/bucket/k", "partNumber=0").code == "InvalidArgument"


def test_what_a_complete_can_get_wrong(world: World) -> None:
    upload = begin(world)
    one, two = part(world, upload, 1, b"a" * BIG).etag, part(world, upload, 2, b"b").etag
    small = part(world, upload, 3, b"c").etag

    def code(*parts: tuple[int, str]) -> str | None:
        return finish(world, upload, listing(*parts)).code

    assert code((2, two), (1, one)) == "InvalidPartOrder"
    assert code((1, one), (1, one)) == "InvalidPartOrder"
    assert code((1, one), (4, two)) == "InvalidPart"
    assert code((1, one), (2, one)) == "InvalidPart"
    assert code((1, one), (10001, one)) == "InvalidPart"
    assert code() == "MalformedXML"
    refused = finish(world, upload, listing((1, one), (2, two), (3, small)))
    assert refused.code == "EntityTooSmall"
    assert refused.text("PartNumber") == "2" and refused.text("ProposedSize") == "1"
    assert refused.text("MinSizeAllowed") == str(BIG)
    assert finish(world, upload, b"").code == "InvalidRequest"
    for body in (b"<a/>", b"<CompleteMultipartUpload><Part/></CompleteMultipartUpload>"):
        assert finish(world, upload, body).code == "MalformedXML"
    assert finish(world, "0" * 32, listing((1, one))).code == "NoSuchUpload"
    assert finish(world, "../x", listing((1, one))).code == "NoSuchUpload"
    sized = finish(world, upload, listing((1, one), (2, two)), x_amz_mp_object_size="7")
    assert sized.code == "InvalidRequest"
    assert finish(world, upload, listing((1, one)), if_match='"x"').code == "NoSuchKey"
    world.put("/bucket/k", b"there")
    refused = finish(world, upload, listing((1, one)), if_none_match="*")
    assert refused.code == "PreconditionFailed"
    assert world.get("/bucket/k").body == b"there"
    assert finish(world, upload, listing((1, one), (2, two))).status == 200
    world.check_ledger()


def test_one_empty_part(world: World) -> None:
    upload = begin(world)
    etag = part(world, upload, 1, b"").etag
    assert finish(world, upload, listing((1, etag))).status == 200
    got = world.get("/bucket/k")
    assert (got.status, got.body) == (200, b"")
    world.check_ledger()


def test_abort(world: World) -> None:
    upload = begin(world)
    for number in (1, 2):
        part(world, upload, number, b"x" * 9000)
    query = f"uploadId={upload}"
    assert world.ask("DELETE", "/bucket/k", query).status == 204
    assert world.ask("DELETE", "/bucket/k", query).code == "NoSuchUpload"
    assert part(world, upload, 1, b"x").code == "NoSuchUpload"
    assert world.get("/bucket/k", query).code == "NoSuchUpload"
    world.check_ledger()


def test_uploads_belong_to_their_key(world: World) -> None:
    upload = begin(world)
    assert world.ask("PUT", "/bucket/other", f"partNumber=1&uploadId={upload}").code == (
        "NoSuchUpload"
    )
    for number in ("0", "10001", "x", "-1"):
        query = f"partNumber={number}&uploadId={upload}"
        assert world.ask("PUT", "/bucket/k", query, b"x").code == "InvalidArgument"


def value_of(name: str, body: bytes) -> str:
    hasher = checksums.ALGORITHMS[name].new()
    hasher.update(body)
    return base64.b64encode(hasher.digest()).decode()


@pytest.mark.parametrize("name", sorted(checksums.ALGORITHMS))
def test_checksums_of_the_whole(world: World, name: str) -> None:
    algorithm = checksums.ALGORITHMS[name]
    for kind in algorithm.types:
        upload = begin(world, x_amz_checksum_algorithm=name, x_amz_checksum_type=kind)
        bodies = {1: b"a" * BIG, 2: b"tail"}
        values = {number: value_of(name, body) for number, body in bodies.items()}
        etags = {}
        for number, body in bodies.items():
            put = part(world, upload, number, body, **{algorithm.header: values[number]})
            assert put.headers[algorithm.header] == values[number]
            etags[number] = put.etag
        tag = f"Checksum{name}"
        assert world.get("/bucket/k", f"uploadId={upload}").texts(f"Part/{tag}") == [
            *values.values()
        ]
        if kind == "COMPOSITE":
            missing = finish(world, upload, listing(*etags.items()))
            assert missing.code == "InvalidRequest"
            digests = b"".join(base64.b64decode(value) for value in values.values())
            expected = value_of(name, digests) + "-2"
        else:
            expected = value_of(name, b"".join(bodies.values()))
        extra = {number: f"<{tag}>{value}</{tag}>" for number, value in values.items()}
        body = listing(*etags.items(), extra=extra)
        swapped = {1: extra[2], 2: extra[1]}
        wrong = finish(world, upload, listing(*etags.items(), extra=swapped))
        assert wrong.code == "InvalidPart"
        bad = finish(world, upload, body, **{algorithm.header: values[1]})
        assert bad.code == "BadDigest"
        done = finish(world, upload, body, x_amz_checksum_type=kind, **{algorithm.header: expected})
        assert done.status == 200, done.body
        assert (done.text(tag), done.text("ChecksumType")) == (expected, kind)
        got = world.get("/bucket/k", x_amz_checksum_mode="ENABLED")
        assert got.headers[algorithm.header] == expected
        assert got.headers["x-amz-checksum-type"] == kind
        one = world.get("/bucket/k", "partNumber=2", x_amz_checksum_mode="ENABLED")
        assert one.headers[algorithm.header] == values[2]


def test_checksum_types_that_are_none(world: World) -> None:
    def code(**headers: str) -> str | None:
        return world.ask("POST", "/bucket/k", "uploads", **headers).code

    for name, kind in [("SHA256", "FULL_OBJECT"), ("CRC64NVME", "COMPOSITE"), ("CRC32", "x")]:
        headers = {"x_amz_checksum_algorithm": name, "x_amz_checksum_type": kind}
        assert code(**headers) == "InvalidRequest"
    assert code(x_amz_checksum_algorithm="CRC31") == "InvalidRequest"
    assert code(x_amz_checksum_type="COMPOSITE") == "InvalidRequest"


def test_part_checksums_are_the_uploads(world: World) -> None:
    upload = begin(world, x_amz_checksum_algorithm="SHA256")
    other = {"x_amz_checksum_crc32": value_of("CRC32", b"x")}
    assert part(world, upload, 1, b"x", **other).code == "InvalidRequest"
    assert part(world, upload, 1, b"x").code == "InvalidRequest"
    full = begin(world, x_amz_checksum_algorithm="CRC32", x_amz_checksum_type="FULL_OBJECT")
    kept = part(world, full, 1, b"x")
    assert kept.headers["x-amz-checksum-crc32"] == value_of("CRC32", b"x")


def test_without_an_algorithm_the_default_is_kept(world: World) -> None:
    upload = begin(world)
    one = part(world, upload, 1, b"a" * BIG).etag
    two = part(world, upload, 2, b"b").etag
    done = finish(world, upload, listing((1, one), (2, two)))
    assert done.text("ChecksumCRC64NVME") == value_of("CRC64NVME", b"a" * BIG + b"b")
    assert done.text("ChecksumType") == "FULL_OBJECT"
