"""Payloads: every digest and length that a client declares is held against what came."""

from __future__ import annotations

import hashlib
import threading
from base64 import b64encode
from collections.abc import Mapping
from urllib.parse import quote

import pytest

from s3node.base.errors import S3Error
from s3node.base.limits import UPLOAD_BYTES_MAX
from s3node.s3 import checksums
from s3node.s3.body import Digests, Payload
from s3node.s3.checksums import ALGORITHMS
from s3node.s3.sigv4 import PayloadKind, PayloadSpec

from .build import request

DATA = b"one slice of a study" * 5000
PLAIN = PayloadSpec(PayloadKind.UNSIGNED)


def digest(name: str, data: bytes = DATA) -> str:
    hasher = ALGORITHMS[name].new()
    hasher.update(data)
    return b64encode(hasher.digest()).decode()


def upload(
    headers: Mapping[str, str],
    data: bytes = DATA,
    *,
    spec: PayloadSpec = PLAIN,
    target: str = "/bucket/key",
    method: str = "PUT",
    algorithm: str | None = None,
) -> Digests:
    every = {"content-length": str(len(data)), **headers}
    payload = Payload(spec, request(method, target, every), algorithm=algorithm)
    for piece in payload.feed(data):
        payload.update(piece)
    payload.eof()
    return payload.finish()


def refused(code: str, headers: Mapping[str, str], says: str = "", **options: object) -> S3Error:
    with pytest.raises(S3Error) as caught:
        upload(headers, **options)  # type: ignore[arg-type]
    assert caught.value.code == code, caught.value
    assert says in (caught.value.message or "")
    return caught.value


def test_plain() -> None:
    assert upload({}) == Digests(hashlib.md5(DATA).digest(), None, None)


def test_the_default_is_computed_when_nothing_is_declared() -> None:
    checksum = upload({}, algorithm="CRC64NVME").checksum
    assert checksum is not None and checksum.text == digest("CRC64NVME")
    checksum = upload({"x-amz-checksum-sha1": digest("SHA1")}, algorithm=checksums.DEFAULT).checksum
    assert checksum is not None and (checksum.algorithm, checksum.text) == ("SHA1", digest("SHA1"))


@pytest.mark.parametrize("name", ALGORITHMS)
def test_each_algorithm_is_verified(name: str) -> None:
    header = f"x-amz-checksum-{name.lower()}"
    for named in ({}, {"x-amz-sdk-checksum-algorithm": name}):
        checksum = upload({header: digest(name), **named}).checksum
        assert checksum is not None and (checksum.algorithm, checksum.text) == (name, digest(name))
    says = f"The {name} you specified did not match the calculated checksum."
    refused("BadDigest", {header: digest(name, b"other")}, says)
    for value in ("", "!", digest(name)[:-4], digest(name) + "AAAA", digest(name)[:-1] + "!"):
        refused("InvalidRequest", {header: value}, f"Value for {header} header is invalid.")


@pytest.mark.parametrize("name", ALGORITHMS)
def test_a_url_that_was_signed_before_there_was_a_payload(name: str) -> None:
    """Its checksum is that of nothing, and declares nothing; every other one is verified."""

    def target(value: str) -> str:
        parameter = f"x-amz-checksum-{name.lower()}"
        named = f"x-amz-sdk-checksum-algorithm={name}"
        return f"/bucket/key?{named}&{parameter}={quote(value, safe='')}"

    default = upload({}, target=target(digest(name, b"")), algorithm="CRC64NVME").checksum
    assert default is not None and default.text == digest("CRC64NVME")
    checksum = upload({}, target=target(digest(name))).checksum
    assert checksum is not None and checksum.text == digest(name)
    refused("BadDigest", {}, target=target(digest(name, b"other")))
    refused("BadDigest", {f"x-amz-checksum-{name.lower()}": digest(name, b"")})


def test_content_md5() -> None:
    upload({"content-md5": digest("MD5")})
    error = refused("BadDigest", {"content-md5": digest("MD5", b"")}, "Content-MD5")
    assert error.fields["CalculatedDigest"] == digest("MD5")
    for value in ("", "a", digest("SHA1"), "not base64 at all!!!!!!!"):
        refused("InvalidDigest", {"content-md5": value})


def test_signed_sha256() -> None:
    spec = PayloadSpec(PayloadKind.LITERAL, sha256=hashlib.sha256(DATA).digest())
    assert upload({}, spec=spec).sha256 == spec.sha256
    error = refused("XAmzContentSHA256Mismatch", {}, data=DATA[:-1] + b"!", spec=spec)
    assert error.fields["ClientComputedContentSHA256"] == hashlib.sha256(DATA).hexdigest()


def test_a_supplied_sha256_is_kept_too() -> None:
    assert upload({"x-amz-checksum-sha256": digest("SHA256")}).sha256 is not None


def test_one_checksum_only() -> None:
    two = {"x-amz-checksum-sha1": digest("SHA1"), "x-amz-checksum-crc32": digest("CRC32")}
    refused("InvalidRequest", two, "Expecting a single x-amz-checksum- header")
    refused("InvalidRequest", {"x-amz-checksum-foo": "AAAA"})
    refused("InvalidRequest", {"x-amz-sdk-checksum-algorithm": "CRC32"}, "no corresponding")
    wrong = {"x-amz-sdk-checksum-algorithm": "CRC32", "x-amz-checksum-sha1": digest("SHA1")}
    refused("InvalidRequest", wrong, "x-amz-sdk-checksum-algorithm header is invalid")


def test_settings_are_no_digests() -> None:
    names = ("x-amz-checksum-algorithm", "x-amz-checksum-type", "x-amz-checksum-mode")
    assert upload(dict.fromkeys(names, "CRC32")).checksum is None


def test_a_completes_checksum_speaks_of_the_object() -> None:
    headers = {"x-amz-checksum-crc32": digest("CRC32", b"the object")}
    assert upload(headers, method="POST", target="/bucket/key?uploadId=u").checksum is None


@pytest.mark.parametrize("length", [len(DATA) - 1, len(DATA) + 1, 0])
def test_lengths_that_lie(length: int) -> None:
    refused("IncompleteBody", {"content-length": str(length)})


LENGTHS = [
    ({}, "MissingContentLength"),
    ({"transfer-encoding": "chunked"}, "MissingContentLength"),
    ({"transfer-encoding": "chunked", "content-length": "1"}, "InvalidRequest"),
    ({"content-length": "-1"}, "InvalidArgument"),
    ({"content-length": "+1"}, "InvalidArgument"),
    ({"content-length": "1,1"}, "InvalidArgument"),
    ({"content-length": "9" * 40}, "InvalidArgument"),
    ({"content-length": str(UPLOAD_BYTES_MAX + 1)}, "EntityTooLarge"),
    ({"content-length": "5", "x-amz-decoded-content-length": "4"}, "InvalidRequest"),
    ({"content-length": "5", "content-encoding": "aws-chunked"}, "InvalidRequest"),
    ({"content-length": "5", "content-encoding": "gzip, aws-chunked"}, "InvalidRequest"),
    ({"content-length": "5", "x-amz-trailer": "x-amz-checksum-crc32"}, "InvalidRequest"),
]


@pytest.mark.parametrize(("headers", "code"), LENGTHS)
def test_headers_that_promise_no_good_body(headers: Mapping[str, str], code: str) -> None:
    with pytest.raises(S3Error) as caught:
        Payload(PLAIN, request("PUT", "/bucket/key", headers))
    assert caught.value.code == code


@pytest.mark.parametrize("kind", [kind for kind in PayloadKind if "STREAMING" in kind.value])
def test_chunked_payloads_declare_their_length(kind: PayloadKind) -> None:
    asked = request("PUT", "/bucket/key", {"content-length": "5"})
    with pytest.raises(S3Error) as caught:
        Payload(PayloadSpec(kind), asked)
    assert caught.value.code == "MissingContentLength"
    trailer = {"x-amz-decoded-content-length": "5", "x-amz-trailer": "x-amz-meta-a"}
    with pytest.raises(S3Error) as caught:
        Payload(PayloadSpec(kind), request("PUT", "/bucket/key", trailer))
    assert caught.value.code == "InvalidRequest"


def test_no_body_where_none_is_needed() -> None:
    for method, target in (
        ("GET", "/bucket/key"),
        ("POST", "/bucket/key?uploads"),
        ("PUT", "/b-1"),
    ):
        assert Payload(PLAIN, request(method, target)).length == 0
    copy = request("PUT", "/bucket/key", {"x-amz-copy-source": "/a/b"})
    assert Payload(PLAIN, copy).length == 0
    largest = request("PUT", "/bucket/key", {"content-length": str(UPLOAD_BYTES_MAX)})
    assert Payload(PLAIN, largest).length == UPLOAD_BYTES_MAX


def test_unsigned_chunks_known_by_their_length_alone() -> None:
    """boto3 without credentials sends no x-amz-content-sha256."""
    headers = {
        "content-encoding": "aws-chunked",
        "x-amz-decoded-content-length": "3",
        "x-amz-trailer": "x-amz-checksum-crc32",
    }
    body = b"3\r\nabc\r\n0\r\nx-amz-checksum-crc32:NSRBwg==\r\n\r\n"
    checksum = upload(headers, body).checksum
    assert checksum is not None and checksum.text == "NSRBwg=="


def test_finish_insists_on_the_end() -> None:
    payload = Payload(PLAIN, request("PUT", "/bucket/key", {"content-length": "3"}))
    pieces = payload.feed(b"abc")
    with pytest.raises(AssertionError):
        payload.finish()
    payload.eof()
    with pytest.raises(AssertionError):
        payload.finish()  # never hashed
    payload.update(pieces[0])
    assert payload.finish().md5 == hashlib.md5(b"abc").digest()


def test_hashing_may_run_in_another_thread_behind_the_framing() -> None:
    payload = Payload(PLAIN, request("PUT", "/bucket/key", {"content-length": str(len(DATA))}))
    pieces = [
        piece for at in range(0, len(DATA), 999) for piece in payload.feed(DATA[at : at + 999])
    ]
    payload.eof()
    thread = threading.Thread(target=lambda: [payload.update(piece) for piece in pieces])
    thread.start()
    thread.join()
    assert payload.finish().md5 == hashlib.md5(DATA).digest()
