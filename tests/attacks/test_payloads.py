"""Attacks on payloads: framing, chunks, trailers, lengths and digests that lie."""

from __future__ import annotations

import gzip
import hashlib
import zlib
from base64 import b64encode
from collections.abc import Callable, Sequence
from functools import cache

import pytest

from s3node.s3.checksums import ALGORITHMS
from s3node.s3.routes import BUILT, BY_COPY_SOURCE, OBJECT, TABLE, Route
from tests.attacks.draft import HOST, Draft, key_of
from tests.attacks.store import BUCKET, OTHER, Store
from tests.s3.build import chunk_signatures, chunked, chunks, trailer_signature

SIGNED = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
SIGNED_TRAILER = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"
UNSIGNED_TRAILER = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
UNSIGNED = "UNSIGNED-PAYLOAD"

SIZES = {"in its row": 100, "striped": 3 * 8192 + 100}
CRC = "x-amz-checksum-crc32"


def crc32(data: bytes) -> str:
    return b64encode(zlib.crc32(data).to_bytes(4, "big")).decode()


class Upload:
    """An upload in chunks, by PutObject or UploadPart: request, and body as it should be."""

    def __init__(self, store: Store, operation: str, kind: str, size: int) -> None:
        self.store = store
        self.data = bytes(range(251)) * (size // 251 + 1)
        self.data = self.data[:size]
        self.kind = kind
        self.pieces = chunks(self.data, 8192)
        self.trailers = [] if kind == SIGNED else [(CRC, crc32(self.data))]
        self.draft = Draft("PUT", f"/{BUCKET}/chunked")
        if operation == "UploadPart":
            query = (("partNumber", "2"), ("uploadId", store.upload))
            self.draft = Draft("PUT", f"/{BUCKET}/parts", query)
        self.draft = self.draft.add("content-encoding", "aws-chunked")
        if self.trailers:
            self.draft = self.draft.add("x-amz-trailer", CRC)

    def signed(self, length: object = None) -> Draft:
        """The head; the declared length unless it is another one."""
        told = str(len(self.data)) if length is None else str(length)
        return self.draft.add("x-amz-decoded-content-length", told).sign(self.kind)

    def body(
        self,
        seed: str,
        pieces: Sequence[bytes] = (),
        trailers: Sequence[tuple[str, str]] | None = None,
    ) -> bytes:
        return chunked(
            pieces or self.pieces,
            None if self.kind == UNSIGNED_TRAILER else seed,
            self.trailers if trailers is None else trailers,
            sign_trailers=self.kind == SIGNED_TRAILER,
        )

    def whole(self) -> Draft:
        draft = self.signed()
        return draft.carry(self.body(draft.signature))

    def refuses(self, draft: Draft, *codes: tuple[int, str]) -> None:
        """However the body is cut, in one piece or in many."""
        for cut in (0, 1000):
            before = self.store.digest()
            answer = self.store.ask(draft, cut=cut)
            assert (answer.status, answer.code) in codes, answer
            assert self.store.digest() == before


BROKEN = (400, "IncompleteBody")
MISMATCH = (403, "SignatureDoesNotMatch")
TRAILER = (400, "MalformedTrailerError")


@pytest.fixture(params=["PutObject", "UploadPart"])
def operation(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=SIZES)
def size(request: pytest.FixtureRequest) -> int:
    return SIZES[request.param]


@pytest.fixture(params=[SIGNED, SIGNED_TRAILER, UNSIGNED_TRAILER])
def upload(request: pytest.FixtureRequest, store: Store, operation: str, size: int) -> Upload:
    one = Upload(store, operation, request.param, size)
    store.accepts(one.whole())
    return one


@pytest.fixture
def chain(store: Store, operation: str) -> Upload:
    """Of several chunks, each of them signed."""
    return Upload(store, operation, SIGNED, SIZES["striped"])


# --- N5, N6: frames without signatures, on everything that changes something -----------------


def writes() -> list[Route]:
    """A form (PostObject) is signed within: it has tests of its own."""
    wanted = BUILT - {"PostObject"}
    return sorted(row for row, name in TABLE.items() if row.method != "GET" and name in wanted)


def drafted(store: Store, row: Route, source: str = "") -> Draft:
    """A request for this route; with a source it is a copy."""
    path = f"/{BUCKET}/key" if row.level == OBJECT else f"/{BUCKET}"
    query: tuple[tuple[str, str], ...] = ()
    if row.subresource == "uploadId":
        path = f"/{BUCKET}/parts"
        query = (("partNumber", "1"),) if row.method == "PUT" else ()
        query += (("uploadId", store.upload),)
    elif row.subresource:
        query = ((row.subresource, ""),)
    draft = Draft(
        row.method, path, query, body=b"3\r\nbad\r\n0\r\n" + CRC.encode() + b":AAAA\r\n\r\n"
    )
    more = {
        "content-encoding": "aws-chunked",
        "x-amz-decoded-content-length": "3",
        "x-amz-trailer": CRC,
    }
    if source:
        more["x-amz-copy-source"] = source
    for name, value in more.items():
        draft = draft.add(name, value)
    return draft


def drafts(store: Store, row: Route) -> list[Draft]:
    """The operations of a route: what a PUT stores may be copied, too."""
    copied = row.level == OBJECT and TABLE[row] in BY_COPY_SOURCE
    return [drafted(store, row, source) for source in (("", f"{OTHER}/key") if copied else ("",))]


FORMS = {"header": Draft.sign, "query": Draft.presign}


def code_of(row: Route, code: str) -> str:
    """The answer to a HEAD has no code."""
    return "" if row.method == "HEAD" else code


@pytest.mark.parametrize("payload", [UNSIGNED_TRAILER, UNSIGNED, SIGNED, SIGNED_TRAILER])
@pytest.mark.parametrize("row", writes(), ids=" ".join)
def test_n5_a_wrong_signature_on_every_route_that_writes(
    store: Store, row: Route, payload: str
) -> None:
    """That the payload is not signed does not mean that the request is not."""
    for draft in drafts(store, row):
        forged = draft.sign(payload, key=key_of(secret="guessed"))
        store.refuses(forged, 403, code_of(row, "SignatureDoesNotMatch"))
        stranger = draft.sign(payload, access_key="AKIASTRANGER00000000")
        store.refuses(stranger, 403, code_of(row, "InvalidAccessKeyId"))
        anonymous = draft.add("x-amz-content-sha256", payload).add("host", HOST)
        if payload in (SIGNED, SIGNED_TRAILER):
            store.refuses(anonymous, 400, code_of(row, "InvalidRequest"))
        else:
            store.refuses(anonymous, 403, code_of(row, "AccessDenied"))


@pytest.mark.parametrize("row", writes(), ids=" ".join)
def test_n6_the_same_in_the_query(store: Store, row: Route) -> None:
    for plain in drafts(store, row):
        in_query = plain.ask("X-Amz-Content-Sha256", UNSIGNED_TRAILER)
        in_header = plain.add("x-amz-content-sha256", UNSIGNED_TRAILER)
        for draft in (in_query, in_header):
            for forged in (
                draft.presign(UNSIGNED_TRAILER, key=key_of(secret="guessed")),
                draft.presign(UNSIGNED),  # signed as what it is not
            ):
                store.refuses(forged, 403, code_of(row, "SignatureDoesNotMatch"))
        unsigned = plain.presign(leave_out=("x-amz-trailer",))
        store.refuses(unsigned, 403, code_of(row, "AccessDenied"))


# --- N7: chunks ------------------------------------------------------------------------------


def test_n7_chunks_that_hold_less_or_more_than_they_say(upload: Upload) -> None:
    draft = upload.signed()
    body = upload.body(draft.signature)
    size = len(upload.pieces[0])
    for said in (size + 1, size - 1, size * 16, 0, 1 << 63):
        lie = body.replace(f"{size:x}".encode(), f"{said:x}".encode(), 1)
        upload.refuses(draft.carry(lie), BROKEN, MISMATCH, TRAILER, (403, "InvalidChunkSizeError"))


@pytest.mark.parametrize(
    "size_line", [b"", b"-1", b"+5", b"0x5", b" 5", b"5 ", b"g", b"\xff", b"5;"]
)
def test_n7_sizes_that_are_none(upload: Upload, size_line: bytes) -> None:
    draft = upload.signed()
    body = upload.body(draft.signature)
    told = f"{len(upload.pieces[0]):x}".encode()
    upload.refuses(draft.carry(body.replace(told, size_line, 1)), BROKEN, MISMATCH)


def test_n7_no_final_chunk(upload: Upload) -> None:
    """Cut off at any place of the end, and the connection closed in good order."""
    draft = upload.signed()
    body = upload.body(draft.signature)
    for cut in (1, 2, 3, 20, len(body) // 2, len(body)):
        upload.refuses(draft.carry(body[:-cut]), BROKEN)


def test_n7_bytes_after_the_final_chunk(upload: Upload) -> None:
    draft = upload.signed()
    body = upload.body(draft.signature)
    for tail in (b"\r\n", b"0\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n", body):
        upload.refuses(draft.carry(body + tail), BROKEN)


def framed(pieces: Sequence[bytes], signatures: Sequence[str]) -> bytes:
    lines = zip(pieces, signatures, strict=True)
    return b"".join(
        f"{len(piece):x};chunk-signature={signature}\r\n".encode() + piece + b"\r\n"
        for piece, signature in lines
    )


def pick(order: Sequence[int], signed: Sequence[int] | None = None) -> Callable[..., bytes]:
    """The chunks in another order, with the signatures in that or a third one."""

    def make(pieces: list[bytes], signatures: list[str]) -> bytes:
        return framed([pieces[i] for i in order], [signatures[i] for i in signed or order])

    return make


CHAINS: dict[str, Callable[..., bytes]] = {
    "reordered": pick((1, 0, 2, 3, 4)),
    "contents swapped": pick((1, 0, 2, 3, 4), (0, 1, 2, 3, 4)),
    "replayed": pick((0, 0, 1, 3, 4)),
    "one left out": pick((0, 2, 3, 4)),
    "the first left out": pick((1, 2, 3, 4)),
    "final signature of another": pick((0, 1, 2, 3, 4), (0, 1, 2, 3, 0)),
    "signature zero": lambda pieces, signatures: framed(pieces, ["0" * 64] * len(pieces)),
    "a byte changed": lambda pieces, signatures: framed(
        [pieces[0], pieces[1][:-1] + b"!", *pieces[2:]], signatures
    ),
    "two as one": lambda pieces, signatures: framed(
        [pieces[0] + pieces[1], *pieces[2:]], signatures[1:]
    ),
    "no signatures": lambda pieces, signatures: chunked(pieces),
}


@pytest.mark.parametrize("name", CHAINS)
def test_n7_chains_that_are_not_the_signed_one(chain: Upload, name: str) -> None:
    draft = chain.signed()
    signatures = chunk_signatures(chain.pieces, draft.signature)
    assert len(signatures) == 5
    made = CHAINS[name](chain.pieces, signatures)
    assert made != framed(chain.pieces, signatures)
    chain.refuses(draft.carry(made), BROKEN, MISMATCH, (403, "InvalidChunkSizeError"))


def test_n7_chunks_of_another_request(chain: Upload) -> None:
    """The same bytes to the same place, signed a second later or for another key."""
    draft = chain.signed()
    for seed in ("0" * 64, chain.draft.add("x-amz-meta-a", "b").sign(SIGNED).signature):
        chain.refuses(draft.carry(chain.body(seed)), MISMATCH)


# --- N8: trailers ----------------------------------------------------------------------------


@pytest.fixture(params=[SIGNED_TRAILER, UNSIGNED_TRAILER])
def trailing(request: pytest.FixtureRequest, store: Store, operation: str, size: int) -> Upload:
    return Upload(store, operation, request.param, size)


LIES = {
    "missing": [],
    "another": [("x-amz-checksum-crc32c", "AAAAAA==")],
    "one too many": [(CRC, ""), ("x-amz-meta-evil", "1")],
    "twice": [(CRC, ""), (CRC, "")],
    "not announced": [(CRC, ""), ("x-amz-checksum-sha1", "2jmj7l5rSw0yVb/vlWAYkK/YBwk=")],
    "no name": [("", "AAAAAA==")],
    "no checksum": [(CRC, "AAAA")],
    "empty": [(CRC, "")],
}


@pytest.mark.parametrize("name", LIES)
def test_n8_trailers_that_were_not_announced(trailing: Upload, name: str) -> None:
    draft = trailing.signed()
    right = crc32(trailing.data)
    lies = [(n, v or right if name != "empty" else v) for n, v in LIES[name]]
    made = trailing.body(draft.signature, trailers=lies)
    trailing.refuses(draft.carry(made), TRAILER, (400, "InvalidRequest"), BROKEN)


def test_n8_a_trailer_that_does_not_match(trailing: Upload) -> None:
    """Signed or not: it has to be the checksum of what came."""
    draft = trailing.signed()
    wrong = [(CRC, crc32(b"other"))]
    trailing.refuses(
        draft.carry(trailing.body(draft.signature, trailers=wrong)), (400, "BadDigest")
    )
    right = draft.carry(trailing.body(draft.signature))
    if trailing.kind == SIGNED_TRAILER:
        forged = right.body.replace(crc32(trailing.data).encode(), crc32(b"other").encode())
        trailing.refuses(draft.carry(forged), MISMATCH)
    trailing.store.accepts(right)


def test_n8_a_trailer_without_its_signature(store: Store, operation: str, size: int) -> None:
    one = Upload(store, operation, SIGNED_TRAILER, size)
    draft = one.signed()
    body = one.body(draft.signature)
    at = body.index(b"x-amz-trailer-signature")
    for end in (b"", b"\r\n", b"\r\n\r\n", b"x-amz-trailer-signature:\r\n\r\n"):
        one.refuses(draft.carry(body[:at] + end), BROKEN, TRAILER, MISMATCH)
    last = chunk_signatures(one.pieces, draft.signature)[-1]
    other = trailer_signature([(CRC, crc32(b"other"))], last)
    line = f"x-amz-trailer-signature:{other}\r\n\r\n".encode()
    one.refuses(draft.carry(body[:at] + line), MISMATCH)


def test_n8_ten_thousand_trailers(trailing: Upload) -> None:
    draft = trailing.signed()
    made = trailing.body(draft.signature)
    end = made.index(CRC.encode())
    for line in (
        b"a:b\r\n",
        b"x-amz-checksum-crc32:AAAAAA==\r\n",
        b"\r\n",
        b"a" * 1000 + b":b\r\n",
    ):
        trailing.refuses(
            draft.carry(made[:end] + line * 10_000), TRAILER, BROKEN, (400, "BadDigest")
        )


# --- N9, N10: lengths and digests ------------------------------------------------------------

LENGTHS = (-1, "", "1e3", "0x10", "٣".encode().decode("latin-1"), 1 << 64, 1 << 63, " 1 1")


def test_n9_another_length_than_declared(upload: Upload) -> None:
    for more in (-1, 1, -len(upload.data), 8192):
        draft = upload.signed(len(upload.data) + more)
        upload.refuses(draft.carry(upload.body(draft.signature)), BROKEN)


@pytest.mark.parametrize("length", LENGTHS, ids=repr)
def test_n9_lengths_that_are_none(store: Store, operation: str, length: object) -> None:
    for kind in (SIGNED, UNSIGNED_TRAILER):
        one = Upload(store, operation, kind, 100)
        draft = one.signed(length)
        one.refuses(
            draft.carry(one.body(draft.signature)),
            (400, "InvalidArgument"),
            (400, "EntityTooLarge"),
        )


def test_n9_no_length_or_one_where_it_says_nothing(store: Store, operation: str) -> None:
    for kind in (SIGNED, UNSIGNED_TRAILER):
        one = Upload(store, operation, kind, 100)
        draft = one.draft.sign(kind)
        one.refuses(draft.carry(one.body(draft.signature)), (411, "MissingContentLength"))
    plain = Draft("PUT", f"/{BUCKET}/new", body=b"new").add("x-amz-decoded-content-length", "2")
    store.refuses(plain.sign(), 400, "InvalidRequest")


DIGESTS: dict[str, tuple[str, str]] = {
    "x-amz-content-sha256": (hashlib.sha256(b"other").hexdigest(), "XAmzContentSHA256Mismatch"),
    "content-md5": (b64encode(hashlib.md5(b"other").digest()).decode(), "BadDigest"),
}


def other_digest(name: str) -> str:
    hasher = ALGORITHMS[name].new()
    hasher.update(memoryview(b"other"))
    return b64encode(hasher.digest()).decode()


for _name in ALGORITHMS:
    DIGESTS[ALGORITHMS[_name].header] = (other_digest(_name), "BadDigest")


@pytest.mark.parametrize("header", DIGESTS)
def test_n10_bytes_that_are_not_what_was_said(
    store: Store, operation: str, size: int, header: str
) -> None:
    """Whatever digest is given: nothing is stored that does not have it."""
    value, code = DIGESTS[header]
    draft = Upload(store, operation, SIGNED, size).draft.drop("content-encoding")
    draft = draft.carry(bytes(size))
    if header == "x-amz-content-sha256":
        store.refuses(draft.sign(value), 400, code)
        return
    store.refuses(draft.add(header, value).sign(), 400, code)
    store.refuses(draft.add(header, value).sign(UNSIGNED), 400, code)
    store.refuses(draft.add(header, value).presign(), 400, code)
    for broken in ("", "AAAA", "=", value[:-4], value + "AAAA", value.replace(value[0], "!", 1)):
        store.refuses(draft.add(header, broken).sign(), 400, "InvalidRequest", "InvalidDigest")


@pytest.mark.parametrize("header", DIGESTS)
def test_n10_documents_that_are_not_what_was_said(store: Store, header: str) -> None:
    """The same for what a DeleteObjects brings."""
    value, code = DIGESTS[header]
    body = b"<Delete><Object><Key>key</Key></Object></Delete>"
    draft = Draft("POST", f"/{BUCKET}", (("delete", ""),), body=body)
    store.refuses(draft.sign(), 400, "InvalidRequest")  # none at all
    if header == "x-amz-content-sha256":
        draft = draft.add("content-md5", b64encode(hashlib.md5(body).digest()).decode())
        store.refuses(draft.sign(value), 400, code)
    else:
        store.refuses(draft.add(header, value).sign(), 400, code)


def test_n10_two_checksums_are_not_one(store: Store) -> None:
    draft = Draft("PUT", f"/{BUCKET}/new", body=b"new").add(CRC, crc32(b"new"))
    store.accepts(draft.sign())
    other = other_digest("CRC32C")
    store.refuses(draft.add("x-amz-checksum-crc32c", other).sign(), 400, "InvalidRequest")
    named = draft.add("x-amz-sdk-checksum-algorithm", "SHA256")
    store.refuses(named.sign(), 400, "InvalidRequest")
    unknown = Draft("PUT", f"/{BUCKET}/new", body=b"new").add("x-amz-checksum-crc16", "AAA=")
    store.refuses(unknown.sign(), 400, "InvalidRequest")


# --- N28: what looks like an encoding --------------------------------------------------------


@cache
def bomb() -> bytes:
    """A few bytes that are a gigabyte to whoever unpacks them, and then unpacks that."""
    inner = gzip.compress(bytes(1 << 20), mtime=0)
    return gzip.compress(inner * 1024, mtime=0)


@pytest.mark.parametrize(
    "encoding", ["gzip", "deflate", "br", "gzip, gzip", "zstd", "identity", "compress", "x-evil"]
)
def test_n28_encoded_bodies_are_stored_as_they_are(store: Store, encoding: str) -> None:
    packed = bomb()
    draft = Draft("PUT", f"/{BUCKET}/packed", body=packed).add("content-encoding", encoding)
    store.accepts(draft.sign())
    got = store.accepts(Draft("GET", f"/{BUCKET}/packed").add("accept-encoding", "identity").sign())
    assert got.body == packed
    assert got.headers["content-encoding"] == encoding
    row = store.row(BUCKET, "packed")
    assert row.size == len(packed)
    store.accepts(Draft("DELETE", f"/{BUCKET}/packed").sign())


def test_n28_encoded_documents_are_not_unpacked(store: Store) -> None:
    plain = b"<Delete><Object><Key>key</Key></Object></Delete>"
    for body in (gzip.compress(plain), zlib.compress(plain), bomb()):
        draft = Draft("POST", f"/{BUCKET}", (("delete", ""),), body=body)
        draft = draft.add("content-encoding", "gzip")
        draft = draft.add("content-md5", b64encode(hashlib.md5(body).digest()).decode())
        store.refuses(draft.sign(), 400, "MalformedXML")


def test_n28_a_transfer_that_is_encoded_is_refused(store: Store) -> None:
    for coding in ("gzip", "gzip, chunked", "deflate", "identity", "chunked, gzip"):
        draft = Draft("PUT", f"/{BUCKET}/new", body=b"3\r\nbad\r\n0\r\n\r\n")
        draft = draft.add("transfer-encoding", coding).sign(UNSIGNED)
        before = store.digest()
        answer = store.ask(draft)
        assert answer.status in (400, 501)
        assert answer.code in ("BadRequest", "NotImplemented")
        assert store.digest() == before
