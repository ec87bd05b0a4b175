"""Checksums of uploads as S3 takes them: types by algorithm, what does not match, what is none."""

from __future__ import annotations

import base64

import pytest

from s3node.base.limits import PART_BYTES_MIN
from s3node.s3.checksums import ALGORITHMS, COMPOSITE, FULL_OBJECT
from tests.ops.test_attributes import crc
from tests.ops.test_multipart import begin, finish, listing, part
from tests.ops.world import Answer, World, make_world

FIRST, SECOND = b"1" * PART_BYTES_MIN, b"2"
KINDS = [(name, kind) for name, algorithm in ALGORITHMS.items() for kind in algorithm.types]


@pytest.fixture
def world() -> World:
    world = make_world()
    world.bucket()
    return world


def header(name: str) -> str:
    return ALGORITHMS[name].header.replace("-", "_")


def said(answer: Answer) -> tuple[int, str | None, str | None]:
    return answer.status, answer.code, answer.text("Message")


# --- one object --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ALGORITHMS)
def test_of_one_body(world: World, name: str) -> None:
    right = crc(b"body", name)
    done = world.put("/bucket/k", b"body", **{header(name): right})
    assert done.headers[ALGORITHMS[name].header] == right
    assert done.headers["x-amz-checksum-type"] == FULL_OBJECT
    asked = world.ask("HEAD", "/bucket/k", x_amz_checksum_mode="ENABLED")
    assert asked.headers[ALGORITHMS[name].header] == right
    assert asked.headers["x-amz-checksum-type"] == FULL_OBJECT
    assert ALGORITHMS[name].header not in world.ask("HEAD", "/bucket/k").headers
    wrong = world.put("/bucket/k", b"other", **{header(name): right})
    message = f"The {name} you specified did not match the calculated checksum."
    assert said(wrong) == (400, "BadDigest", message)
    for value in ("", "x", right + "-1", right[:-4], "é"):
        bad = world.put("/bucket/k", b"body", **{header(name): value})
        message = f"Value for {ALGORITHMS[name].header} header is invalid."
        assert said(bad) == (400, "InvalidRequest", message), value
    assert world.get("/bucket/k").body == b"body"


def test_what_the_sdk_says_it_sends(world: World) -> None:
    right = {"x_amz_checksum_crc32": crc(b"body", "CRC32")}
    named = "x_amz_sdk_checksum_algorithm"
    assert world.put("/bucket/k", b"body", **right, **{named: "crc32"}).status == 200
    for value in ("CRC32C", "", "none"):
        other = world.put("/bucket/k", b"body", **right, **{named: value})
        message = "Value for x-amz-sdk-checksum-algorithm header is invalid."
        assert said(other) == (400, "InvalidRequest", message)
    alone = world.put("/bucket/k", b"body", **{named: "CRC32"})
    assert said(alone) == (
        400,
        "InvalidRequest",
        "x-amz-sdk-checksum-algorithm specified, but no corresponding x-amz-checksum-* or "
        "x-amz-trailer headers were found.",
    )
    two = world.put("/bucket/k", b"body", **right, x_amz_checksum_sha1=crc(b"body", "SHA1"))
    assert said(two) == (
        400,
        "InvalidRequest",
        "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.",
    )
    unknown = world.put("/bucket/k", b"body", x_amz_checksum_crc16="AAA=")
    assert said(unknown) == (
        400,
        "InvalidRequest",
        "The algorithm type you specified in x-amz-checksum- header is invalid.",
    )


# --- objects made of parts ---------------------------------------------------------------------


@pytest.mark.parametrize("name", ALGORITHMS)
@pytest.mark.parametrize("kind", [COMPOSITE, FULL_OBJECT])
def test_which_algorithm_has_which_type(world: World, name: str, kind: str) -> None:
    asked = {"x_amz_checksum_algorithm": name.lower(), "x_amz_checksum_type": kind.lower()}
    made = world.ask("POST", "/bucket/k", "uploads", **asked)
    if kind in ALGORITHMS[name].types:
        assert made.headers["x-amz-checksum-algorithm"] == name
        assert made.headers["x-amz-checksum-type"] == kind
    else:
        message = (
            f"The {kind} checksum type cannot be used with the {name.lower()} checksum algorithm."
        )
        assert said(made) == (400, "InvalidRequest", message)


def test_uploads_with_settings_that_cannot_be(world: World) -> None:
    cases = {
        ("x_amz_checksum_type", "COMPOSITE"): "The x-amz-checksum-type header can only be used "
        "with the x-amz-checksum-algorithm header.",
        ("x_amz_checksum_algorithm", "CRC16"): "Checksum algorithm provided is unsupported. Please "
        f"try again with any of the valid types: [{', '.join(ALGORITHMS)}]",
        ("x_amz_checksum_algorithm", ""): "Checksum algorithm provided is unsupported. Please "
        f"try again with any of the valid types: [{', '.join(ALGORITHMS)}]",
    }
    for (name, value), message in cases.items():
        made = world.ask("POST", "/bucket/k", "uploads", **{name: value})
        assert said(made) == (400, "InvalidRequest", message)
    made = world.ask(
        "POST", "/bucket/k", "uploads", x_amz_checksum_algorithm="CRC32", x_amz_checksum_type="x"
    )
    message = "Value for x-amz-checksum-type header is invalid."
    assert said(made) == (400, "InvalidRequest", message)


class Upload:
    """An upload of two parts under one algorithm and type, ready to be completed."""

    def __init__(self, world: World, name: str, kind: str) -> None:
        self.world, self.name = world, name
        self.id = begin(world, x_amz_checksum_algorithm=name, x_amz_checksum_type=kind)
        self.etags = [
            (number, part(world, self.id, number, body, **{header(name): crc(body, name)}).etag)
            for number, body in ((1, FIRST), (2, SECOND))
        ]
        self.extra = {1: self.element(crc(FIRST, name)), 2: self.element(crc(SECOND, name))}
        digests = [base64.b64decode(crc(body, name)) for body in (FIRST, SECOND)]
        if kind == COMPOSITE:
            self.whole = crc(b"".join(digests), name) + "-2"
        else:
            self.whole = crc(FIRST + SECOND, name)

    def element(self, value: str, name: str = "") -> str:
        tag = f"Checksum{name or self.name}"
        return f"<{tag}>{value}</{tag}>"

    def complete(self, extra: dict[int, str] | None = None, **headers: str) -> Answer:
        body = listing(*self.etags, extra=self.extra if extra is None else extra)
        return finish(self.world, self.id, body, **headers)


@pytest.mark.parametrize(("name", "kind"), KINDS)
def test_a_whole_upload(world: World, name: str, kind: str) -> None:
    upload = Upload(world, name, kind)
    wrong = upload.complete(**{header(name): crc(FIRST, name)})
    message = f"The {name.lower()} you specified did not match the calculated checksum."
    assert said(wrong) == (400, "BadDigest", message)
    done = upload.complete(**{header(name): upload.whole, "x_amz_checksum_type": kind})
    assert done.status == 200, done.body
    assert done.text(f"Checksum{name}") == upload.whole
    assert done.text("ChecksumType") == kind
    asked = world.ask("HEAD", "/bucket/k", x_amz_checksum_mode="ENABLED").headers
    assert asked[ALGORITHMS[name].header] == upload.whole
    assert asked["x-amz-checksum-type"] == kind
    one = world.ask("HEAD", "/bucket/k", "partNumber=2", x_amz_checksum_mode="ENABLED").headers
    assert one[ALGORITHMS[name].header] == crc(SECOND, name)


def test_a_composite_with_or_without_its_count(world: World) -> None:
    upload = Upload(world, "SHA256", COMPOSITE)
    digest = upload.whole.removesuffix("-2")
    for value in (f"{digest}-3", f"{digest}-1"):
        assert upload.complete(x_amz_checksum_sha256=value).code == "BadDigest"
    message = "Value for x-amz-checksum-sha256 header is invalid."
    for value in (f"{digest}-0", f"{digest}-", f"{digest}-2-2", "-2", "invalid", "", "é"):
        bad = upload.complete(x_amz_checksum_sha256=value)
        assert said(bad) == (400, "InvalidRequest", message), value
    assert upload.complete(x_amz_checksum_sha256=digest).status == 200


def test_a_full_object_checksum_has_no_count(world: World) -> None:
    upload = Upload(world, "CRC32", FULL_OBJECT)
    assert upload.complete(x_amz_checksum_crc32=f"{upload.whole}-2").code == "BadDigest"
    assert upload.complete(x_amz_checksum_crc32=upload.whole).status == 200


def test_checksums_of_parts_that_do_not_match(world: World) -> None:
    upload = Upload(world, "SHA1", COMPOSITE)
    other, sha256 = upload.element(crc(b"x", "SHA1")), crc(FIRST, "SHA256")
    wrong = upload.complete({**upload.extra, 1: other})
    assert (wrong.code, wrong.text("PartNumber")) == ("InvalidPart", "1")
    foreign = upload.complete({**upload.extra, 1: upload.element(sha256, "SHA256")})
    message = "The sha256 you specified for part 1 did not match what we received."
    assert said(foreign) == (400, "BadDigest", message)
    missing = upload.complete({2: upload.extra[2]})
    assert said(missing) == (
        400,
        "InvalidRequest",
        "The upload was created using a sha1 checksum. The complete request must include the "
        "checksum for each part. It was missing for part 1 in the request.",
    )
    twice = upload.extra[1] + upload.element(sha256, "SHA256")
    for value in (twice, upload.element("x"), upload.element(""), upload.element("AAAA")):
        bad = upload.complete({**upload.extra, 1: value})
        message = "Invalid Base64 or multiple checksums present in request"
        assert said(bad) == (400, "InvalidArgument", message), value
        assert bad.text("ArgumentName") == "Checksum"
    assert upload.complete().status == 200


def test_another_type_at_the_end(world: World) -> None:
    upload = Upload(world, "CRC32C", FULL_OBJECT)
    other = upload.complete(x_amz_checksum_type="COMPOSITE")
    assert said(other) == (
        400,
        "InvalidRequest",
        "The upload was created using the FULL_OBJECT checksum mode. The complete request must "
        "use the same checksum mode.",
    )
    two = upload.complete(
        x_amz_checksum_crc32=crc(b"", "CRC32"), x_amz_checksum_crc32c=crc(b"", "CRC32C")
    )
    assert two.code == "InvalidRequest"


def test_parts_of_another_algorithm(world: World) -> None:
    upload = begin(world, x_amz_checksum_algorithm="SHA1")
    other = part(world, upload, 1, b"x", x_amz_checksum_crc32=crc(b"x", "CRC32"))
    message = (
        "Checksum Type mismatch occurred, expected checksum Type: {}, actual checksum Type: {}"
    )
    assert said(other) == (400, "InvalidRequest", message.format("sha1", "crc32"))
    none = part(world, upload, 1, b"x")
    assert said(none) == (400, "InvalidRequest", message.format("sha1", "null"))
    full = begin(world, x_amz_checksum_algorithm="CRC32", x_amz_checksum_type="FULL_OBJECT")
    taken = part(world, full, 1, b"x")
    assert taken.headers["x-amz-checksum-crc32"] == crc(b"x", "CRC32")


def test_the_size_that_a_complete_says(world: World) -> None:
    upload = Upload(world, "CRC64NVME", FULL_OBJECT)
    size = len(FIRST) + len(SECOND)
    wrong = upload.complete(x_amz_mp_object_size=str(size - 1))
    assert said(wrong) == (
        400,
        "InvalidRequest",
        f"The provided 'x-amz-mp-object-size' header value {size - 1} does not match what was "
        f"computed: {size}",
    )
    below = upload.complete(x_amz_mp_object_size="-1")
    message = "Value for x-amz-mp-object-size header is less than zero: '-1'"
    assert said(below) == (400, "InvalidRequest", message)
    for value in ("", "x", "1.0", "9" * 30):
        bad = upload.complete(x_amz_mp_object_size=value)
        message = "Value for x-amz-mp-object-size header is invalid."
        assert said(bad) == (400, "InvalidRequest", message)
    assert upload.complete(x_amz_mp_object_size=str(size)).status == 200
