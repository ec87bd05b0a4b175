"""Attacks on requests as such: spoofed peers, smuggled requests, forged tokens, odd ranges."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import logging
import random
from collections.abc import Iterator
from typing import Any

import pytest

from s3node.base import log
from tests.attacks.draft import HOST, Draft, key_of
from tests.attacks.noise import broken
from tests.attacks.store import BUCKET, FOREIGN, LARGE, OTHER, SMALL, Store

GET = Draft("GET", f"/{BUCKET}/key")
PUT = Draft("PUT", f"/{BUCKET}/new", body=b"new")


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    """What is logged during the test."""
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    stream = io.StringIO()
    log.setup(stream, level="info", plain=False)
    yield stream
    root.handlers[:], root.level = before, level


def logged(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


SPOOFED = {
    "x-forwarded-for": "10.0.0.1",
    "x-real-ip": "10.0.0.1",
    "forwarded": "for=10.0.0.1;host=evil.example;proto=https",
    "x-forwarded-host": "evil.example",
    "x-forwarded-proto": "https",
    "x-forwarded-port": "443",
    "x-original-url": "/other/key",
    "x-rewrite-url": "/other/key",
    "x-http-method-override": "DELETE",
    "x-http-method": "DELETE",
    "x-client-ip": "10.0.0.1",
    "true-client-ip": "10.0.0.1",
    "via": "1.1 evil.example",
}


@pytest.mark.parametrize("name", SPOOFED)
def test_n23_who_sent_it_is_not_the_senders_to_say(
    store: Store, lines: io.StringIO, name: str
) -> None:
    """Host, method, path and peer are those of the connection, in what is done and in the log."""
    before = store.digest()
    got = store.accepts(GET.add(name, SPOOFED[name]).sign())
    assert got.body == SMALL
    store.refuses(GET.add(name, SPOOFED[name]).add("host", HOST), 403, "AccessDenied")
    store.wait(lambda: len(logged(lines)) >= 2)
    assert [line["remote"] for line in logged(lines)] == ["127.0.0.1"] * 2
    assert {line["bucket"] for line in logged(lines)} == {BUCKET}
    assert store.digest() == before


INTERNAL = {
    "x-amz-replication-status": "REPLICA",
    "x-amz-version-id": "0" * 32,
    "x-amz-delete-marker": "true",
    "x-amz-restore": 'ongoing-request="false"',
    "x-amz-expiration": "now",
    "x-amz-mp-parts-count": "3",
    "x-amz-request-id": "EVIL",
    "x-amz-id-2": "EVIL",
    "x-amz-source-version-id": "0" * 32,
    "x-minio-source-version-id": "0" * 32,
    "x-minio-source-mtime": "2000-01-01T00:00:00Z",
    "x-minio-source-etag": "0" * 32,
    "x-minio-force-delete": "true",
    "x-rgw-replicated-at": "2000-01-01T00:00:00Z",
    "x-s3node-identity": "root",
    "x-s3node-replica": "true",
    "last-modified": "Sat, 01 Jan 2000 00:00:00 GMT",
    "etag": '"00000000000000000000000000000000"',
}


@pytest.mark.parametrize("name", INTERNAL)
def test_n24_headers_that_only_stores_send(store: Store, name: str) -> None:
    """From a client they mean nothing: what is stored is what it is without them."""
    store.accepts(PUT.sign())
    before = store.row(BUCKET, "new")
    for form in (Draft.sign, Draft.presign):
        answer = store.ask(form(PUT.add(name, INTERNAL[name])))
        assert answer.status in (200, 400, 501), answer
        after = store.row(BUCKET, "new")
        for field in before.__struct_fields__:
            if field not in ("hlc", "data", "sha256"):
                assert getattr(after, field) == getattr(before, field), field
        got = store.accepts(Draft("GET", f"/{BUCKET}/new").sign())
        assert got.headers.get(name) != INTERNAL[name]
    keys = store.keys(BUCKET)
    answer = store.ask(Draft("DELETE", f"/{BUCKET}").add(name, INTERNAL[name]).sign())
    assert (answer.status, answer.code) in {(409, "BucketNotEmpty"), (400, "InvalidArgument")}
    assert store.keys(BUCKET) == keys


# --- N27: two requests in one ----------------------------------------------------------------


def smuggled(store: Store) -> bytes:
    """A request that would be carried out, were it taken for one."""
    return Draft("DELETE", f"/{BUCKET}/key").sign().wire()


def framed(store: Store, *lines: str, body: bytes = b"") -> bytes:
    """A signed PUT with these header lines about its length, and a request behind it."""
    draft = PUT.sign("UNSIGNED-PAYLOAD")
    head = draft.add("content-length", "0").wire().partition(b"content-length: 0\r\n")[0]
    return head + "".join(lines).encode("latin-1") + b"\r\n" + body + smuggled(store)


CHUNKED = "Transfer-Encoding: chunked\r\n"
LENGTHS: dict[str, tuple[tuple[str, ...], bytes]] = {
    "length and coding": (("Content-Length: 3\r\n", CHUNKED), b"0\r\n\r\n"),
    "coding and length": ((CHUNKED, "Content-Length: 0\r\n"), b"3\r\nbad\r\n0\r\n\r\n"),
    "two lengths": (("Content-Length: 3\r\n", "Content-Length: 300\r\n"), b"bad"),
    "the same length twice": (("Content-Length: 3\r\n", "content-length: 3\r\n"), b"bad"),
    "a list of lengths": (("Content-Length: 3, 3\r\n",), b"bad"),
    "a length with a sign": (("Content-Length: +3\r\n",), b"bad"),
    "a length in hex": (("Content-Length: 0x3\r\n",), b"bad"),
    "a length of spaces": (("Content-Length: 3 0\r\n",), b"bad"),
    "no length at all": (("Content-Length:\r\n",), b"bad"),
    "a length below nothing": (("Content-Length: -1\r\n",), b"bad"),
    "a length beyond everything": (("Content-Length: 18446744073709551619\r\n",), b"bad"),
    "space before the colon": (("Content-Length : 3\r\n",), b"bad"),
    "coding twice": ((CHUNKED, CHUNKED), b"0\r\n\r\n"),
    "coding and identity": ((CHUNKED, "Transfer-Encoding: identity\r\n"), b"0\r\n\r\n"),
    "coding by a tab": (("Transfer-Encoding:\tchunked\r\n", "Content-Length: 3\r\n"), b"0\r\n\r\n"),
    "coding by a vertical tab": (("Transfer-Encoding: \x0bchunked\r\n",), b"0\r\n\r\n"),
    "another coding": (("Transfer-Encoding: xchunked\r\n",), b"0\r\n\r\n"),
    "coding in quotes": (('Transfer-Encoding: "chunked"\r\n',), b"0\r\n\r\n"),
    "coding on two lines": (("Transfer-Encoding:\r\n chunked\r\n",), b"0\r\n\r\n"),
    "length on two lines": (("Content-Length:\r\n 3\r\n",), b"bad"),
    "coding behind a bare LF": (("X: y\nTransfer-Encoding: chunked\r\n",), b"0\r\n\r\n"),
    "coding behind a bare CR": (("X: y\rTransfer-Encoding: chunked\r\n",), b"0\r\n\r\n"),
    "a NUL in a header": (("X: \x00\r\n", "Content-Length: 3\r\n"), b"bad"),
    "two hosts": (("Host: other.example\r\n", "Content-Length: 3\r\n"), b"bad"),
    "chunk behind a bare LF": ((CHUNKED,), b"3\nbad\n0\n\n"),
    "chunk extension with a bare LF": ((CHUNKED,), b"3;a\nbad\r\n0\r\n\r\n"),
    "chunk extension with a bare CR": ((CHUNKED,), b"3;a\rbad\r\n0\r\n\r\n"),
    "chunk extension without end": ((CHUNKED,), b"3;" + b"a" * 70_000 + b"\r\nbad\r\n0\r\n\r\n"),
    "chunk of another size": ((CHUNKED,), b"2\r\nbad\r\n0\r\n\r\n"),
    "chunk of no size": ((CHUNKED,), b"\r\nbad\r\n0\r\n\r\n"),
    "chunk of a negative size": ((CHUNKED,), b"-3\r\nbad\r\n0\r\n\r\n"),
    "chunk of a huge size": ((CHUNKED,), b"ffffffffffffffff0\r\nbad\r\n0\r\n\r\n"),
    "chunk size with a prefix": ((CHUNKED,), b"0x3\r\nbad\r\n0\r\n\r\n"),
    "trailer with a bare LF": ((CHUNKED,), b"3\r\nbad\r\n0\r\na: b\n\r\n"),
    "trailer that frames": ((CHUNKED,), b"3\r\nbad\r\n0\r\nContent-Length: 5\r\n\r\n"),
}  # fmt: skip


@pytest.mark.parametrize("name", LENGTHS)
def test_n27_nothing_is_smuggled_in(store: Store, name: str) -> None:
    """One refusal, and the connection is closed: what is behind it is never a request."""
    told, body = LENGTHS[name]
    before = store.digest()
    answers = store.wire(framed(store, *told, body=body))
    assert [(one.status, one.code) for one in answers] in [
        [(400, "BadRequest")],
        [(400, "InvalidRequest")],
        [(400, "IncompleteBody")],
        [(411, "MissingContentLength")],
        [(501, "NotImplemented")],
        [(400, "RequestHeaderSectionTooLarge")],
    ], name
    assert store.digest() == before


LINES = {
    "bare LF": b"GET /bucket/key HTTP/1.1\nHost: s3.example.org\n\n",
    "no version": b"GET /bucket/key\r\n\r\n",
    "version 2": b"GET /bucket/key HTTP/2.0\r\nHost: s3.example.org\r\n\r\n",
    "version 1.2": b"GET /bucket/key HTTP/1.2\r\nHost: s3.example.org\r\n\r\n",
    "two spaces": b"GET  /bucket/key HTTP/1.1\r\nHost: s3.example.org\r\n\r\n",
    "tab": b"GET\t/bucket/key\tHTTP/1.1\r\nHost: s3.example.org\r\n\r\n",
    "space in the target": b"GET /bucket/a key HTTP/1.1\r\nHost: s3.example.org\r\n\r\n",
    "no host": b"GET /bucket/key HTTP/1.1\r\n\r\n",
    "two hosts": b"GET /bucket/key HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    "host with a path": b"GET / HTTP/1.1\r\nHost: s3.example.org/bucket\r\n\r\n",
    "host with a comma": b"GET / HTTP/1.1\r\nHost: s3.example.org, other\r\n\r\n",
    "host with a user": b"GET / HTTP/1.1\r\nHost: a@s3.example.org\r\n\r\n",
    "folded": b"GET / HTTP/1.1\r\nHost: s3.example.org\r\nA: b\r\n c\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "SOCKS": b"\x05\x01\x00",
    "PROXY": b"PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "PROXY 2": b"\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c" + bytes(12),
    "preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "asterisk": b"GET * HTTP/1.1\r\nHost: s3.example.org\r\n\r\n",
    "CONNECT": b"CONNECT other:80 HTTP/1.1\r\nHost: other:80\r\n\r\n",
    "TRACE": b"TRACE /bucket/key HTTP/1.1\r\nHost: s3.example.org\r\n\r\n",
    "PATCH": b"PATCH /bucket/key HTTP/1.1\r\nHost: s3.example.org\r\nContent-Length: 0\r\n\r\n",
}


@pytest.mark.parametrize("name", LINES)
def test_n27_request_lines_that_are_none(store: Store, name: str) -> None:
    before = store.digest()
    answers = store.wire(LINES[name])
    assert len(answers) <= 1
    for answer in answers:
        assert answer.status in (400, 403, 405, 501), answer
    if name not in ("SOCKS",):
        assert answers, "told, and not only closed"
    assert store.digest() == before


def test_n27_extensions_of_chunks_are_no_chunks(store: Store) -> None:
    """Well-formed ones are skipped, as RFC 9112 has it: the body is what it is without."""
    draft = PUT.carry(b"").add("transfer-encoding", "chunked")
    body = b'3;a=b;c="d e"\r\nnew\r\n0;x\r\nTrailer: y\r\n\r\n'
    before = store.digest()
    answer = store.ask(draft.sign("UNSIGNED-PAYLOAD").carry(body))
    assert (answer.status, answer.code) == (411, "MissingContentLength")
    assert store.digest() == before
    aws = draft.add("content-encoding", "aws-chunked").add("x-amz-decoded-content-length", "3")
    inner = b"3\r\nnew\r\n0\r\n\r\n"
    outer = b"%x;a=b\r\n%s\r\n0;x\r\nTrailer: y\r\n\r\n" % (len(inner), inner)
    store.accepts(aws.sign("STREAMING-UNSIGNED-PAYLOAD-TRAILER").carry(outer))
    assert store.row(BUCKET, "new").inline == b"new"


def test_n27_pipelined_requests_are_whole_requests(store: Store) -> None:
    """The control: what stands behind a request that has ended is carried out."""
    put, get = PUT.sign().wire(), Draft("GET", f"/{BUCKET}/new").sign().wire()
    answers = store.wire(put + get + put + get)
    assert [one.status for one in answers] == [200] * 4
    assert [one.body for one in answers] == [b"", b"new", b"", b"new"]


NOISE, NOISE_DEEP = 1500, 100_000


def harmless(store: Store) -> list[bytes]:
    """Requests that change nothing, and writes that are signed with a guessed key."""
    forged = [
        PUT.sign(key=key_of(secret="guessed")),
        PUT.presign(key=key_of(secret="guessed")),
        Draft("DELETE", f"/{BUCKET}/key").sign(key=key_of(secret="guessed")),
        *(draft.sign(key=key_of(secret="guessed")) for draft in uploading(store)),
    ]
    reads = [
        GET.sign(),
        GET.add("range", "bytes=0-3").sign(),
        GET.presign(),
        listing(prefix="d", delimiter="%2F").sign(),
        Draft("GET", f"/{BUCKET}", (("uploads", ""),)).sign(),
        Draft("OPTIONS", f"/{BUCKET}/key").add("origin", "https://a.example").add("host", HOST),
    ]
    return [draft.wire() for draft in (*reads, *forged)]


def test_n27_noise_is_answered_or_cut_off(store: Store, deep: bool) -> None:
    """Requests with a few bytes changed: whatever becomes of them, nothing breaks or changes."""
    rng = random.Random(27)
    good = harmless(store)
    before = store.digest()
    told: dict[int, int] = {}
    for _ in range(NOISE_DEEP if deep else NOISE):
        for answer in store.wire(broken(rng, good)):
            assert answer.status in (200, 206, 304, *range(400, 418), 501), answer
            told[answer.status] = told.get(answer.status, 0) + 1
    assert store.digest() == before
    assert {200, 400, 403} <= told.keys(), told


# --- N29: ranges -----------------------------------------------------------------------------

WHOLE = (
    "bytes=" + ",".join(f"{at}-{at}" for at in range(1000)),
    "bytes=0-0,-1",
    "bytes=0-0,0-0",
    "bytes=5-2",
    "bytes=-",
    "bytes=",
    "bytes",
    "items=0-1",
    "bytes=a-b",
    "bytes=0x0-0x5",
    "bytes=+0-1",
    "bytes=0--1",
    "bytes 0-1",
    "bytes=٠-١".encode().decode("latin-1"),
    "none",
)


@pytest.mark.parametrize("value", WHOLE, ids=lambda value: str(value)[:20])
@pytest.mark.parametrize(("key", "content"), [("key", SMALL), ("large", LARGE)])
def test_n29_ranges_that_are_ignored(store: Store, key: str, content: bytes, value: str) -> None:
    """Many, inverted or malformed: the whole object, once, and no more work than that."""
    before = store.digest()
    answer = store.accepts(Draft("GET", f"/{BUCKET}/{key}").add("range", value).sign(), 200)
    assert answer.body == content
    assert "content-range" not in answer.headers
    assert store.digest() == before


EXACT = (
    (f"bytes=0-{1 << 64}", 0, None),
    (f"bytes=3-{'9' * 400}", 3, None),
    (f"bytes=-{1 << 64}", 0, None),
    ("bytes=10-10", 10, 11),
    ("bytes=00000000000000000000000000003-4", 3, 5),
)


@pytest.mark.parametrize(("value", "start", "stop"), EXACT, ids=lambda value: str(value)[:20])
@pytest.mark.parametrize(("key", "content"), [("key", SMALL), ("large", LARGE)])
def test_n29_ranges_that_go_far(
    store: Store, key: str, content: bytes, value: str, start: int, stop: int | None
) -> None:
    answer = store.accepts(Draft("GET", f"/{BUCKET}/{key}").add("range", value).sign())
    assert answer.body == content[start:stop]
    if answer.status == 206:
        end = len(content) if stop is None else stop
        assert answer.headers["content-range"] == f"bytes {start}-{end - 1}/{len(content)}"


BEYOND = (
    "bytes=99999-",
    "bytes=99999-999999",
    f"bytes={1 << 64}-",
    f"bytes={'9' * 300}-",
    "bytes=-0",
)


@pytest.mark.parametrize("value", BEYOND, ids=lambda value: str(value)[:20])
@pytest.mark.parametrize("key", ["key", "large"])
def test_n29_ranges_beyond_the_end(store: Store, key: str, value: str) -> None:
    refused = store.refuses(
        Draft("GET", f"/{BUCKET}/{key}").add("range", value).sign(), 416, "InvalidRange"
    )
    assert refused.text("ActualObjectSize") == str(len(SMALL if key == "key" else LARGE))


COPIED = (
    "bytes=0-99999",
    "bytes=5-2",
    "bytes=0-",
    "bytes=-5",
    "0-1",
    "bytes=0-1,3-4",
    f"bytes=0-{1 << 64}",
    "",
)


@pytest.mark.parametrize("value", COPIED)
def test_n29_ranges_of_a_source_are_exact(store: Store, value: str) -> None:
    """Of a copied part nothing is ignored: it would be another part than was meant."""
    draft = Draft("PUT", f"/{BUCKET}/parts", (("partNumber", "4"), ("uploadId", store.upload)))
    draft = draft.add("x-amz-copy-source", f"{BUCKET}/large")
    store.refuses(draft.add("x-amz-copy-source-range", value).sign(), 400, "InvalidArgument")


# --- N30: listings ---------------------------------------------------------------------------


def listing(bucket: str = BUCKET, **query: str) -> Draft:
    pairs = tuple((name.replace("_", "-"), value) for name, value in query.items())
    return Draft("GET", f"/{bucket}", (("list-type", "2"), *pairs))


def token(store: Store, bucket: str = BUCKET, **query: str) -> str:
    answer = store.accepts(listing(bucket, max_keys="1", **query).sign())
    return answer.text("NextContinuationToken")


def escaped(text: str) -> str:
    return text.replace("+", "%2B").replace("/", "%2F").replace("=", "%3D")


@pytest.mark.parametrize("value", ["-1", "abc", "1.5", "0x10", "9" * 30, "2147483648", "%31e3"])
@pytest.mark.parametrize(
    ("name", "query"),
    [("max-keys", ()), ("max-keys", (("list-type", "2"),)), ("max-uploads", (("uploads", ""),))],
)
def test_n30_counts_that_are_none(
    store: Store, name: str, query: tuple[tuple[str, str], ...], value: str
) -> None:
    draft = Draft("GET", f"/{BUCKET}", (*query, (name, value)))
    store.refuses(draft.sign(), 400, "InvalidArgument")


def test_n30_no_count_is_larger_than_the_page(store: Store) -> None:
    for value, most in (("2147483647", "1000"), ("1001", "1000"), ("0", "0"), ("", "1000")):
        answer = store.accepts(listing(max_keys=value).sign())
        assert answer.text("MaxKeys") == most
        assert answer.text("IsTruncated") == "false"


FORGED = {
    "empty": "",
    "a key": "key",
    "a key in base64": base64.urlsafe_b64encode(b"key").decode(),
    "zeros": base64.urlsafe_b64encode(bytes(16) + b"key").decode(),
    "not base64": "%21%21%21%21",
    "long": "A" * 4000,
    "NUL": base64.urlsafe_b64encode(bytes(40)).decode(),
}


@pytest.mark.parametrize("name", FORGED)
def test_n30_tokens_that_nobody_gave(store: Store, name: str) -> None:
    store.refuses(listing(continuation_token=escaped(FORGED[name])).sign(), 400, "InvalidArgument")


def test_n30_tokens_are_for_their_own_listing(store: Store) -> None:
    """Another bucket, prefix or delimiter: a token opens nothing else, nor with a bit changed."""
    right = token(store)
    store.accepts(listing(continuation_token=escaped(right)).sign())
    for draft in (
        listing(OTHER, continuation_token=escaped(right)),
        listing(prefix="d", continuation_token=escaped(right)),
        listing(delimiter="%2F", continuation_token=escaped(right)),
    ):
        store.refuses(draft.sign(), 400, "InvalidArgument")
    rng = random.Random(30)
    raw = base64.urlsafe_b64decode(right)
    for _ in range(20):
        at = rng.randrange(len(raw))
        changed = raw[:at] + bytes((raw[at] ^ 1 << rng.randrange(8),)) + raw[at + 1 :]
        text = base64.urlsafe_b64encode(changed).decode()
        store.refuses(listing(continuation_token=escaped(text)).sign(), 400, "InvalidArgument")
    for cut in range(1, len(right), 7):
        forged = listing(continuation_token=escaped(right[:-cut]))
        store.refuses(forged.sign(), 400, "InvalidArgument")


def test_n30_markers_show_nothing_of_another_bucket(store: Store) -> None:
    store.refuses(listing(FOREIGN).sign(), 403, "AccessDenied")
    for query in ((("marker", "%2E%2E%2Fforeign%2F"),), (("prefix", "..%2Fforeign%2F"),)):
        answer = store.accepts(Draft("GET", f"/{BUCKET}", query).sign())
        shown = [one.text or "" for one in answer.xml.findall("Contents/Key")]
        assert set(shown) <= {key.decode() for key in store.keys(BUCKET)}


# --- N31: uploads ----------------------------------------------------------------------------


def uploading(
    store: Store, bucket: str = BUCKET, key: str = "parts", *, upload: str = "", number: str = "2"
) -> list[Draft]:
    """Everything that can be done with an upload."""
    query = (("uploadId", upload or store.upload),)
    path = f"/{bucket}/{key}"
    listed = (
        f"<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{store.part_etag}</ETag>"
        "</Part></CompleteMultipartUpload>"
    ).encode()
    part = Draft("PUT", path, (("partNumber", number), *query), body=b"part")
    return [
        part,
        part.carry(b"").add("x-amz-copy-source", f"{BUCKET}/key"),
        Draft("POST", path, query, body=listed),
        Draft("DELETE", path, query),
        Draft("GET", path, query),
    ]


def other_upload(store: Store, bucket: str, key: str) -> str:
    return store.accepts(Draft("POST", f"/{bucket}/{key}", (("uploads", ""),)).sign()).text(
        "UploadId"
    )


def test_n31_uploads_of_another_bucket_or_key(store: Store) -> None:
    for draft in (*uploading(store, OTHER), *uploading(store, BUCKET, "other")):
        store.refuses(draft.sign(), 404, "NoSuchUpload")
    for draft in uploading(store, FOREIGN):
        store.refuses(draft.sign(), 403, "AccessDenied")
    mine = other_upload(store, OTHER, "parts")
    for draft in uploading(store, BUCKET, upload=mine):
        store.refuses(draft.sign(), 404, "NoSuchUpload")
    store.accepts(Draft("DELETE", f"/{OTHER}/parts", (("uploadId", mine),)).sign())


UPLOAD_IDS = ("0" * 32, "f" * 32, "x", "..%2F", "%27%20OR%201", "A" * 5000, "null", "%FF")


@pytest.mark.parametrize("upload", UPLOAD_IDS, ids=lambda text: str(text)[:10])
def test_n31_upload_ids_that_nobody_gave(store: Store, upload: str) -> None:
    code, status = ("InvalidURI", 400) if upload == "%FF" else ("NoSuchUpload", 404)
    for draft in uploading(store, upload=upload):
        store.refuses(draft.sign(), status, code)


def test_n31_an_upload_id_with_a_bit_changed(store: Store) -> None:
    rng = random.Random(31)
    for _ in range(8):
        at = rng.randrange(len(store.upload))
        letter = rng.choice([c for c in "0123456789abcdef" if c != store.upload[at]])
        forged = store.upload[:at] + letter + store.upload[at + 1 :]
        for draft in uploading(store, upload=forged):
            store.refuses(draft.sign(), 404, "NoSuchUpload")


@pytest.mark.parametrize(
    "number", ["0", "10001", "-1", "abc", "", "1.0", "9" * 30, "%31%00", "0x1"]
)
def test_n31_part_numbers_that_are_none(store: Store, number: str) -> None:
    code = "InvalidURI" if "%00" in number else "InvalidArgument"
    for draft in uploading(store, number=number)[:2]:
        store.refuses(draft.sign(), 400, code)


def complete(store: Store, *parts: tuple[int, str]) -> Draft:
    listed = "".join(
        f"<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>"
        for number, etag in parts
    )
    body = f"<CompleteMultipartUpload>{listed}</CompleteMultipartUpload>".encode()
    return Draft("POST", f"/{BUCKET}/parts", (("uploadId", store.upload),), body=body)


def test_n31_parts_out_of_order_or_not_there(store: Store) -> None:
    one = store.part_etag
    two = hashlib.md5(b"part").hexdigest()
    store.accepts(uploading(store)[0].sign())
    wrong: list[tuple[str, tuple[tuple[int, str], ...]]] = [
        ("InvalidPartOrder", ((2, two), (1, one))),
        ("InvalidPartOrder", ((1, one), (1, one))),
        ("InvalidPart", ((1, two),)),
        ("InvalidPart", ((3, one),)),
        ("InvalidPart", ((1, ""),)),
        ("EntityTooSmall", ((1, one), (2, two))),
        ("MalformedXML", ()),
    ]
    for code, parts in wrong:
        store.refuses(complete(store, *parts).sign(), 400, code)
    for number in (0, -1, 10_001, 1 << 31, 1 << 64):
        draft = complete(store, (number, one))
        store.refuses(draft.sign(), 400, "InvalidPart", "MalformedXML", "InvalidArgument")
