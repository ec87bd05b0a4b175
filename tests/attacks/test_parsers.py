"""Whatever reads what a client sends: any bytes in, a value or a refusal out, in bounded time.

A `Parser` is a function of bytes, things it accepts, and shapes that grow: what hurts parsers is
long, deep or repeated. A new parser of the protocol is entered here (`test_every_parser_is_here`
says which one is missing).

Time is CPU time and bounded so that what grows faster than its input is far beyond; what a machine
is busy with besides does not count.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import random
import time
import tracemalloc
from base64 import b64encode
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

import pytest

import s3node.s3
from s3node.base import limits
from s3node.base.errors import S3Error
from s3node.edge.chunked import ChunkDecoder, MalformedChunk
from s3node.edge.head import Head, HeadRefused
from s3node.model import multipart, tokens, versions
from s3node.s3 import cors, deleting, documents, headers, request, tagging, versioning, xml
from s3node.s3.body import Payload
from s3node.s3.checksums import ALGORITHMS
from s3node.s3.chunked import Decoder
from s3node.s3.claims import read_claim
from s3node.s3.errors import TABLE, render
from s3node.s3.form import FormParser, boundary, values
from s3node.s3.post_policy import check_form, read_policy
from s3node.s3.request import Request
from s3node.s3.routes import route
from s3node.s3.sigv4 import PayloadKind, PayloadSpec
from tests.attacks.draft import NOW_MS, REGION, Draft
from tests.attacks.noise import broken
from tests.s3.build import chunked, chunks

CPU_S_MAX = 3.0
"""For one input, however it is made; the honest ones take milliseconds."""

DOCUMENT_BYTES = limits.XML_BODY_BYTES_MAX // 4

TRACED_BYTES_MAX = 1 << 15
"""To follow every allocation is slow: memory is measured with less."""

REFUSALS = (S3Error, MalformedChunk, HeadRefused)

ROUNDS, ROUNDS_DEEP = 600, 100_000


class Parser(NamedTuple):
    """`memory`: how many times its input it may take, beside half a MiB."""

    read: Callable[[bytes], object]
    good: Sequence[bytes]
    shapes: Sequence[Callable[[int], bytes]] = ()  # of about so many bytes
    bytes_max: int = limits.HEADER_FIELD_BYTES_MAX
    memory: int = 40


def text(function: Callable[[str], object]) -> Callable[[bytes], object]:
    """For what takes a header's or a parameter's text."""
    return lambda data: function(data.decode("latin-1"))


# --- the parsers -----------------------------------------------------------------------------


def parsed(data: bytes) -> Request:
    """A request from its bytes, as the edge makes one of them."""
    head = Head()
    at = data.find(b"\r\n\r\n") + 4
    if at < 4 or not head.feed(data[:at]):
        raise HeadRefused("no head")
    made = request.parse(
        head.method,
        head.target,
        head.fields.headers,
        domains=("s3.example.org",),
        secure=False,
        remote="",
    )
    route(made)
    read_claim(made, NOW_MS, REGION)
    return made


def target(data: bytes) -> Request:
    made = request.parse(
        "GET", data, [(b"host", b"s3.example.org")], domains=(), secure=False, remote=""
    )
    for each in (
        lambda: route(made),
        lambda: read_claim(made, NOW_MS, REGION),
        lambda: headers.response_overrides(made, anonymous=False),
        lambda: headers.part_number(made),
    ):
        allowed(each)
    return made


def header(name: bytes, *uses: Callable[[Request], object]) -> Callable[[bytes], object]:
    """Whatever is made of one header's value."""

    def read(data: bytes) -> None:
        fields = [(b"host", b"s3.example.org"), (name, data)]
        made = request.parse("PUT", b"/bucket/key", fields, domains=(), secure=False, remote="")
        for use in uses:
            allowed(partial(use, made))

    return read


def allowed(step: Callable[[], object]) -> None:
    try:
        step()
    except REFUSALS as refusal:
        told(refusal)


def told(refusal: Exception) -> None:
    """A refusal has to be one that a client can be told."""
    if isinstance(refusal, S3Error):
        assert refusal.code in TABLE
        assert render(refusal, resource="/", request_id="", host_id="", head=False).body


def framed(*, signed: bool, trailing: bool) -> Callable[[bytes], object]:
    def read(data: bytes) -> list[memoryview]:
        announced = ("x-amz-checksum-crc32",) if trailing else ()
        decoder = Decoder(20_000, signed=signed, trailing=trailing, announced=announced)
        half = len(data) // 2
        pieces = decoder.feed(data[:half]) + decoder.feed(data[half:])
        assert sum(map(len, pieces)) <= 20_000
        decoder.eof()
        return pieces

    return read


def transferred(data: bytes) -> object:
    decoder = ChunkDecoder()
    pieces, rest = decoder.feed(data)
    assert sum(map(len, pieces)) + len(rest) <= len(data)
    return pieces


def payload(made: Request) -> object:
    return Payload(PayloadSpec(PayloadKind.UNSIGNED), made)


def completed(data: bytes) -> object:
    return documents.parse_complete(data, ALGORITHMS)


DELETE = (
    b"<Delete xmlns='http://s3.amazonaws.com/doc/2006-03-01/'><Quiet>true</Quiet><Object><Key>a"
    b"&amp;b</Key><VersionId>null</VersionId><ETag>x</ETag></Object></Delete>"
)
COMPLETE = (
    b"<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>&quot;0&quot;</ETag>"
    b"<ChecksumCRC32>AAAAAA==</ChecksumCRC32></Part></CompleteMultipartUpload>"
)
CREATE = (
    b"<?xml version='1.0' encoding='UTF-8'?><CreateBucketConfiguration><LocationConstraint>"
    b"eu-west-1</LocationConstraint></CreateBucketConfiguration>"
)


TAGGING = (
    b"<Tagging><TagSet><Tag><Key>a</Key><Value>b</Value></Tag><Tag><Key>c</Key><Value></Value>"
    b"</Tag></TagSet></Tagging>"
)
VERSIONING = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"


def keys(size: int) -> bytes:
    return b"&".join(b"k%d=v" % number for number in range(size // 8))


CORS = (
    b"<CORSConfiguration><CORSRule><ID>a</ID><AllowedOrigin>https://*.example</AllowedOrigin>"
    b"<AllowedMethod>GET</AllowedMethod><AllowedHeader>x-*</AllowedHeader><ExposeHeader>etag"
    b"</ExposeHeader><MaxAgeSeconds>9</MaxAgeSeconds></CORSRule></CORSConfiguration>"
)
FORM = (
    b'--B\r\nContent-Disposition: form-data; name="key"\r\n\r\na/${filename}\r\n--B\r\n'
    b'Content-Disposition: form-data; name="file"; filename="x\\".bin"\r\nContent-Type: a/b\r\n\r\n'
    b"content\r\n-\r\n--B--\r\n"
)
POLICY = (
    b'{"expiration": "2013-05-25T00:00:00.000Z", "conditions": [{"bucket": "b"}, ["starts-with", '
    b'"$key", "a/"], ["eq", "$acl", "private"], ["content-length-range", 1, "10"]]}'
)


def formed(data: bytes) -> object:
    """A form with the boundary B, cut in two; its fields as a policy sees them."""
    parser = FormParser(b"B")
    half = len(data) // 2
    pieces = parser.feed(data[:half])
    file_bytes = sum(map(len, pieces)) + sum(map(len, parser.feed(data[half:])))
    assert file_bytes <= len(data)
    parser.eof()
    return values(parser.fields)


def judged(data: bytes) -> object:
    """A policy's JSON, and whether a form keeps to it."""
    policy = read_policy(b64encode(data).decode())
    allowed(partial(check_form, policy, {"key": "a/b", "acl": "private"}, "b", NOW_MS))
    return policy


def typed(data: bytes) -> object:
    return boundary(data.decode("latin-1"))


def part(headers: Callable[[int], bytes]) -> Callable[[int], bytes]:
    """A form whose first part has these headers."""
    return lambda size: b"--B\r\n" + headers(size) + b"\r\n\r\nx\r\n--B--\r\n"


FORM_SHAPES = (
    lambda size: FORM.replace(b"content", b"c" * size),
    lambda size: FORM.replace(b"content", b"\r\n--" * (size // 4)),
    lambda size: FORM.replace(b"content", b"\r\n-" * (size // 3)),
    lambda size: b"\r\n" * (size // 2) + FORM,
    lambda size: FORM + b"--B" * (size // 3),
    lambda size: FORM.replace(b"/${filename}", b"a" * size),
    lambda size: FORM[:60] * (size // 60) + FORM,
    part(lambda size: b"A: b\r\n" * (size // 6)),
    part(lambda size: b"Content-Disposition: form-data" + b";a=b" * (size // 4)),
    part(lambda size: b'Content-Disposition: form-data; name="' + b"\\\\" * (size // 2)),
    part(lambda size: b"Content-Disposition: form-data;" + b" " * size),
)
POLICY_SHAPES = (
    lambda size: b"[" * (size // 2) + b"]" * (size // 2),
    lambda size: b'{"conditions": ' + b"[" * size,
    lambda size: b'{"a":' * (size // 5),
    lambda size: b'{"expiration": "' + b"9" * size + b'", "conditions": []}',
    lambda size: POLICY.replace(b", 1,", b", " + b"9" * size + b","),
    lambda size: POLICY.replace(b"a/", b"\\" * (size // 2 * 2)),
    lambda size: POLICY[:-2] + b', ["eq", "$acl", "private"]' * (size // 27) + b"]}",
    lambda size: b"{" + b",".join(b'"%d":1' % n for n in range(size // 9)) + b"}",
)


def nested(size: int) -> bytes:
    return b"<a>" * (size // 7) + b"</a>" * (size // 7)


def many(element: bytes, root: bytes = b"a") -> Callable[[int], bytes]:
    def make(size: int) -> bytes:
        return b"<%s>%s</%s>" % (root, element * (size // len(element)), root)

    return make


def laughs(size: int) -> bytes:
    names = [b"<!ENTITY l%d '%s'>" % (n, b"&l%d;" % (n - 1) * 10) for n in range(1, 10)]
    doctype = b"<!DOCTYPE l [<!ENTITY l0 'ha'>" + b"".join(names) + b"]>"
    return doctype + b"<l>" + b"&l9;" * (size // 4) + b"</l>"


def quadratic(size: int) -> bytes:
    half = size // 2
    return b"<!DOCTYPE l [<!ENTITY a '" + b"x" * half + b"'>]><l>" + b"&a;" * (half // 3) + b"</l>"


XML_SHAPES = (
    nested,
    many(b"<b/>"),
    many(b"<b>text</b>"),
    many(b"<!-- -->"),
    many(b"<![CDATA[<]]>"),
    many(b"&amp;"),
    many(b"&#65;"),
    lambda size: b"<a " + b"".join(b"a%d='' " % n for n in range(size // 9)) + b"/>",
    lambda size: b"<a b='" + b"x" * size + b"'/>",
    lambda size: b"<" + b"a" * size + b"/>",
    lambda size: b"<a>" + b"x" * size + b"</a>",
    lambda size: b"<a" + b" " * size + b"/>",
    lambda size: b"<a xmlns='" + b"n" * (size // 2) + b"'>" + b"<b/>" * (size // 8) + b"</a>",
    lambda size: b"<a xmlns:b='" + b"n" * (size // 2) + b"'>" + b"<b:b/>" * (size // 12) + b"</a>",
    lambda size: b"<a " + b"".join(b"xmlns:n%d='u' " % n for n in range(size // 16)) + b"/>",
    laughs,
    quadratic,
)


DOCUMENTS = (DELETE, COMPLETE, CREATE, TAGGING, VERSIONING, CORS)


def document(read: Callable[[bytes], object], element: bytes, root: bytes) -> Parser:
    """What reads one kind of document, of which it may find as much as a body holds."""
    return Parser(read, DOCUMENTS, (many(element, root),), DOCUMENT_BYTES, 30)


def repeat(piece: bytes, front: bytes = b"", end: bytes = b"") -> Callable[[int], bytes]:
    return lambda size: front + piece * (size // len(piece)) + end


LISTS = (
    repeat(b'"a",'),
    repeat(b'"a" '),
    repeat(b"a"),
    repeat(b" "),
    repeat(b" ", b"a", b"x"),
    repeat(b'"'),
    repeat(b","),
    repeat(b'W/"'),
    repeat(b"9", b"bytes=", b"-"),
    repeat(b"1-2,", b"bytes="),
    repeat(b"%25", b"/bucket/"),
    repeat(b"../", b"bucket/"),
    repeat(b"\xc3\xa9"),
    repeat(b"=?UTF-8?Q?=C3=A9?= "),
)

SIGNED_GET = Draft("GET", "/bucket/key").sign().wire()
PRESIGNED = Draft("GET", "/bucket/a%2Fb", (("versionId", "null"),)).presign()

PARSERS: dict[str, Parser] = {
    "xml": Parser(xml.parse, DOCUMENTS, XML_SHAPES, DOCUMENT_BYTES, 30),
    "Delete": document(deleting.parse_delete, b"<Object><Key>k</Key></Object>", b"Delete"),
    "CompleteMultipartUpload": document(
        completed,
        b"<Part><PartNumber>1</PartNumber><ETag>0</ETag></Part>",
        b"CompleteMultipartUpload",
    ),
    "CreateBucketConfiguration": document(
        documents.parse_create_bucket, b"<Location/>", b"CreateBucketConfiguration"
    ),
    "Tagging": document(tagging.parse_document, b"<TagSet/>", b"Tagging"),
    "VersioningConfiguration": document(
        versioning.parse_versioning, b"<Status>Enabled</Status>", b"VersioningConfiguration"
    ),
    "CORSConfiguration": document(cors.parse, b"<CORSRule/>", b"CORSConfiguration"),
    "a form": Parser(formed, (FORM,), FORM_SHAPES, 1 << 20),
    "a policy": Parser(judged, (POLICY,), POLICY_SHAPES, limits.FORM_BYTES_MAX, 60),
    "a form's content-type": Parser(
        typed,
        (b'multipart/form-data; boundary="a b"', b"multipart/form-data;boundary=B"),
        (
            *LISTS,
            repeat(b";a=b", b"multipart/form-data"),
            repeat(b"\\", b'multipart/form-data;a="'),
        ),
        memory=120,  # of the expression's own stack
    ),
    "x-amz-tagging": Parser(
        text(tagging.parse_header),
        (b"a=b&c=d+e&f=%C3%A9", b"a=", b""),
        (*LISTS, repeat(b"&"), repeat(b"="), repeat(b"%41", b"a="), keys),
    ),
    "a request": Parser(
        parsed,
        (
            SIGNED_GET,
            PRESIGNED.wire(),
            Draft("PUT", "/bucket/key", body=b"x").add("x-amz-meta-a", "b").sign().wire(),
        ),
        (
            repeat(b"A: b\r\n", b"GET / HTTP/1.1\r\nHost: a\r\n", b"\r\n"),
            repeat(b"a", b"GET / HTTP/1.1\r\nHost: ", b"\r\n\r\n"),
            repeat(b"a", b"GET / HTTP/1.1\r\nHost: a\r\nAuthorization: ", b"\r\n\r\n"),
            repeat(
                b"a=b,",
                b"GET / HTTP/1.1\r\nHost: a\r\nAuthorization: AWS4-HMAC-SHA256 ",
                b"\r\n\r\n",
            ),
            repeat(b"x-amz-meta-a: b\r\n", b"GET / HTTP/1.1\r\nHost: a\r\n", b"\r\n"),
            repeat(b"a", b"GET /", b" HTTP/1.1\r\nHost: a\r\n\r\n"),
        ),
        limits.HEADER_BYTES_MAX,
    ),
    "a target": Parser(
        target,
        (b"/bucket/key?a=b&c=%20+d", PRESIGNED.target.encode(), b"/bucket?list-type=2&prefix=a/b"),
        (
            repeat(b"%2F", b"/"),
            repeat(b"%", b"/"),
            repeat(b"&", b"/b?"),
            repeat(b"a&", b"/b?"),
            repeat(b"=", b"/b?a"),
            repeat(b"%26", b"/b?a="),
            repeat(b"/"),
            repeat(b"../", b"/bucket/"),
            lambda size: b"/b?" + b"&".join(b"a%d=" % n for n in range(size // 8)),
            lambda size: b"/b?" + b"&".join(b"x-amz-%d=" % n for n in range(size // 12)),
        ),
        limits.REQUEST_LINE_BYTES_MAX,
    ),
    "aws-chunked": Parser(
        framed(signed=False, trailing=True),
        (
            chunked(chunks(bytes(10_000), 8192), None, [("x-amz-checksum-crc32", "AAAAAA==")]),
            chunked(chunks(bytes(20_000), 8192), None, [("x-amz-checksum-crc32", "AAAAAA==")]),
        ),
        (
            repeat(b"0\r\n"),
            repeat(b"1\r\na\r\n"),
            repeat(b"\r\n", b"0\r\n"),
            repeat(b"a:b\r\n", b"0\r\n"),
            repeat(b"0"),
            repeat(b"x-amz-checksum-crc32:A\r\n", b"0\r\n"),
        ),
        1 << 20,
    ),
    "aws-chunked and signed": Parser(
        framed(signed=True, trailing=False),
        (chunked(chunks(bytes(20_000), 8192), "0" * 64), chunked([b""], "0" * 64)),
        (repeat(b"0;chunk-signature=" + b"0" * 64 + b"\r\n"), repeat(b";"), repeat(b"0;")),
        1 << 20,
    ),
    "chunked": Parser(
        transferred,
        (b"3\r\nabc\r\n0\r\n\r\n", b"3;a=b\r\nabc\r\n0\r\nA: b\r\n\r\n"),
        (
            repeat(b"1\r\na\r\n"),
            repeat(b"1;a\r\na\r\n"),
            repeat(b"A: b\r\n", b"0\r\n"),
            repeat(b"0"),
            repeat(b";", b"1"),
        ),
        1 << 15,
        200,  # a view of each byte, at most
    ),
    "if-match": Parser(
        header(b"if-match", lambda made: headers.parse_conditions(made.headers)),
        (b'"a"', b'W/"b", "c"', b"*"),
        LISTS,
    ),
    "range": Parser(
        header(b"range", lambda made: headers.parse_range(made.headers.get("range"), 1000)),
        (b"bytes=0-1", b"bytes=-5", b"bytes=0-1,3-4"),
        LISTS,
    ),
    "x-amz-copy-source-range": Parser(text(headers.parse_copy_range), (b"bytes=0-1",), LISTS),
    "x-amz-copy-source": Parser(
        text(headers.parse_copy_source), (b"/bucket/a%20b?versionId=null", b"b.b/key"), LISTS
    ),
    "if-modified-since": Parser(
        text(headers.parse_time),
        (
            b"2026-01-31T23:59:60.123Z",
            b"Sun, 06 Nov 1994 08:49:37 GMT",
            b"Sunday, 06-Nov-94 08:49:37 GMT",
            b"Sun Nov  6 08:49:37 1994",
        ),
        LISTS,
    ),
    "x-amz-meta-*": Parser(
        header(b"x-amz-meta-a", lambda made: headers.user_metadata(made.headers)),
        (b"a", b"=?UTF-8?Q?=C3=A9?="),
        LISTS,
    ),
    "content-encoding": Parser(
        header(b"content-encoding", lambda made: headers.system_headers(made.headers), payload),
        (b"aws-chunked,gzip", b"gzip"),
        LISTS,
    ),
    "x-amz-checksum-crc32": Parser(
        header(b"x-amz-checksum-crc32", payload),
        (b"AAAAAA==", b"2jmj7l5rSw0yVb/vlWAYkK/YBwk="),
        LISTS,
    ),
    "content-md5": Parser(header(b"content-md5", payload), (b"1B2M2Y8AsgTpgAmY7PhCfg==",), LISTS),
    "authorization": Parser(
        header(b"authorization", lambda made: read_claim(made, NOW_MS, REGION)),
        (Draft("GET", "/").sign().get("authorization").encode(),),
        LISTS,
    ),
    "a continuation token": Parser(
        text(lambda token: tokens.open_token(b"k" * 32, (b"a",), token)),
        (tokens.seal(b"k" * 32, (b"a",), b"key").encode(),),
        LISTS,
    ),
    "an upload id": Parser(text(multipart.parse_upload_id), (b"0" * 32,), LISTS),
    "a version id": Parser(text(versions.parse_version), (b"0" * 32, b"null"), LISTS),
}


# --- the tests -------------------------------------------------------------------------------


def survive(parser: Parser, inputs: Iterable[bytes]) -> int:
    """How many of them were accepted; anything but a refusal gets out."""
    accepted = 0
    for data in inputs:
        try:
            parser.read(data)
        except REFUSALS as refusal:
            told(refusal)
        else:
            accepted += 1
    return accepted


def garbage(name: str, parser: Parser, rounds: int) -> Iterator[bytes]:
    rng = random.Random(name)
    for number in range(rounds):
        yield rng.randbytes(rng.randint(0, 60)) if number % 20 == 0 else broken(rng, parser.good)


@pytest.mark.parametrize("name", PARSERS)
def test_good_ones_are_read(name: str) -> None:
    parser = PARSERS[name]
    assert survive(parser, parser.good) > 0


@pytest.mark.parametrize("name", PARSERS)
def test_whatever_comes_is_read_or_refused(name: str, deep: bool) -> None:
    parser = PARSERS[name]
    survive(parser, garbage(name, parser, ROUNDS_DEEP if deep else ROUNDS))


def shapes() -> list[tuple[str, int]]:
    return [
        (name, number) for name, parser in PARSERS.items() for number in range(len(parser.shapes))
    ]


@pytest.mark.parametrize(("name", "number"), shapes())
def test_the_longest_and_worst_takes_bounded_time_and_memory(name: str, number: int) -> None:
    parser = PARSERS[name]
    data = parser.shapes[number](parser.bytes_max)[: parser.bytes_max]
    began = time.process_time()
    survive(parser, [data])
    took = time.process_time() - began
    assert took < CPU_S_MAX, f"{len(data)} bytes took {took:.2f} s"
    shorter = parser.shapes[number](min(len(data), TRACED_BYTES_MAX))
    # What another thread of this process takes meanwhile is counted too: it is not always there.
    peak = min(traced(parser, shorter) for _ in range(3))
    assert peak < parser.memory * len(shorter) + (1 << 19), f"{peak} bytes for {len(shorter)}"


def traced(parser: Parser, data: bytes) -> int:
    """The most bytes that were taken at a time."""
    tracemalloc.start()
    try:
        survive(parser, [data])
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


READERS = {
    "checksums.parse": "x-amz-checksum-crc32",
    "claims.read_claim": "authorization",
    "cors.parse": "CORSConfiguration",
    "deleting.parse_delete": "Delete",
    "post_policy.read_policy": "a policy",
    "documents.parse_complete": "CompleteMultipartUpload",
    "documents.parse_create_bucket": "CreateBucketConfiguration",
    "headers.parse_conditions": "if-match",
    "headers.parse_copy_range": "x-amz-copy-source-range",
    "headers.parse_copy_source": "x-amz-copy-source",
    "headers.parse_etags": "if-match",
    "headers.parse_http_date": "if-modified-since",
    "headers.parse_range": "range",
    "headers.parse_time": "if-modified-since",
    "request.parse": "a request",
    "tagging.parse_document": "Tagging",
    "tagging.parse_header": "x-amz-tagging",
    "tagging.parse_tags": "Tagging",
    "versioning.parse_versioning": "VersioningConfiguration",
    "xml.parse": "xml",
}
"""Every function of the protocol's modules that reads, and which parser above tries it."""


def test_every_parser_is_here() -> None:
    found = set()
    for info in pkgutil.iter_modules(s3node.s3.__path__):
        module = importlib.import_module(f"s3node.s3.{info.name}")
        for name, function in inspect.getmembers(module, inspect.isfunction):
            if name.startswith(("parse", "read_")) and function.__module__ == module.__name__:
                found.add(f"{info.name}.{name}")
    assert found == set(READERS), "enter it in PARSERS and here"
    assert set(READERS.values()) <= set(PARSERS)
