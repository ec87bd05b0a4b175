"""Garbage in: whatever comes, the protocol layer answers with a value or an S3Error."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from s3node.base.errors import S3Error
from s3node.s3 import attributes, tagging
from s3node.s3 import headers as h
from s3node.s3.body import Payload
from s3node.s3.errors import TABLE, render
from s3node.s3.request import Request, parse
from s3node.s3.routes import route

from .build import DOMAINS, EMPTY, STAMP, check, signed

NAMES = [
    "host",
    "authorization",
    "range",
    "date",
    "content-length",
    "content-md5",
    "content-encoding",
    "transfer-encoding",
    "if-match",
    "x-amz-date",
    "x-amz-content-sha256",
    "x-amz-decoded-content-length",
    "x-amz-trailer",
    "x-amz-checksum-crc32",
    "x-amz-sdk-checksum-algorithm",
    "x-amz-copy-source",
    "x-amz-copy-source-range",
    "x-amz-meta-a",
    "x-amz-object-attributes",
    "x-amz-optional-object-attributes",
    "x-amz-storage-class",
    "x-amz-tagging",
    "x-amz-website-redirect-location",
]
VALUES = [
    EMPTY,
    STAMP,
    "UNSIGNED-PAYLOAD",
    "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
    "STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
    "aws-chunked",
    "x-amz-checksum-crc32",
    "s3.amazonaws.com",
    "AWS4-HMAC-SHA256 Credential=a/20130524/us-east-1/s3/aws4_request,SignedHeaders=host,Signature="
    + "0" * 64,
    "bytes=0-",
    "/bucket/key?versionId=1",
    "3",
    "99999999999999999999",
]
FIELDS = st.lists(
    st.tuples(
        st.sampled_from(NAMES).map(str.encode) | st.binary(max_size=8),
        st.sampled_from(VALUES).map(str.encode) | st.binary(max_size=20),
    ),
    max_size=8,
)
TARGETS = st.binary(max_size=40) | st.from_regex(
    rb"\A/[a-c]{3}/(%[0-9A-F]{2}|.){0,9}\?(X-Amz-(Algorithm|Signature|Date|Expires)=[0-9A-Za-z%]{0,9}&?){0,6}\Z"
)


def use(asked: Request, body: bytes) -> None:
    """Everything that the layer does with a request, each on its own."""
    for step in (
        lambda: route(asked),
        lambda: h.parse_range(asked.headers.get("range"), 10),
        lambda: h.parse_conditions(asked.headers),
        lambda: h.parse_copy_source(asked.headers.get("x-amz-copy-source") or ""),
        lambda: h.parse_copy_range(asked.headers.get("x-amz-copy-source-range") or ""),
        lambda: h.user_metadata(asked.headers),
        lambda: h.system_headers(asked.headers),
        lambda: h.storage_class(asked.headers),
        lambda: h.website_redirect(asked.headers),
        lambda: h.check_optional_attributes(asked.headers),
        lambda: attributes.wanted(asked.headers),
        lambda: tagging.parse_header(asked.headers.get(tagging.HEADER) or ""),
        lambda: tagging.parse_document(body),
        lambda: h.response_overrides(asked, anonymous=False),
        lambda: h.part_number(asked),
        lambda: h.refuse_unbuilt(asked),
        lambda: pay(asked, body),
    ):
        try:
            step()
        except S3Error as error:
            answer(error)


def pay(asked: Request, body: bytes) -> None:
    _, spec = check(asked)
    payload = Payload(spec, asked)
    for piece in payload.feed(body):
        payload.update(piece)
    payload.eof()
    payload.finish()


def answer(error: S3Error) -> None:
    assert error.code in TABLE
    assert render(error, resource="/", request_id="", host_id="", head=False).body


@given(st.text(max_size=6) | st.sampled_from(["GET", "PUT", "POST"]), TARGETS, FIELDS, st.binary())
@settings(max_examples=400)
def test_nothing_but_s3_errors(
    method: str, target: bytes, fields: list[tuple[bytes, bytes]], body: bytes
) -> None:
    try:
        asked = parse(method, target, fields, domains=DOMAINS, secure=False, remote="")
    except S3Error as error:
        answer(error)
    else:
        use(asked, body)


def mutate(rng: random.Random, data: bytes) -> bytes:
    at = rng.randrange(len(data) + 1)
    junk = rng.choice((b"", b"\0", b"\r\n", b"%", b";", b",", b"=", b"\xff", rng.randbytes(2)))
    return data[:at] + junk + data[at + rng.randrange(3) :]


def storm(seeds: range) -> None:
    """Good requests with a few bytes broken get far into the code."""
    asked, _ = signed("PUT", "/bucket/a%2Fb", {"x-amz-meta-a": "b", "content-length": "3"})
    fields = [
        (name.encode("latin-1"), value.encode("latin-1")) for name, value in asked.headers.items()
    ]
    for seed in seeds:
        rng = random.Random(seed)
        target = mutate(rng, b"/bucket/a%2Fb?x-id=PutObject&versionId=1")
        broken = [
            (
                mutate(rng, n) if rng.random() < 0.1 else n,
                mutate(rng, v) if rng.random() < 0.3 else v,
            )
            for n, v in fields
        ]
        try:
            made = parse("PUT", target, broken, domains=DOMAINS, secure=False, remote="")
        except S3Error as error:
            answer(error)
        else:
            use(made, rng.randbytes(3))


def test_broken_good_requests() -> None:
    storm(range(3000))


@pytest.mark.deep
def test_broken_good_requests_at_length() -> None:
    storm(range(300_000))
