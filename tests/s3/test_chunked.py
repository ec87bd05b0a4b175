"""aws-chunked: AWS's published examples, then every way in which a body can lie or break off."""

from __future__ import annotations

import hashlib
import zlib
from base64 import b64encode
from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s3node.base.errors import S3Error
from s3node.s3.body import Digests, Payload
from s3node.s3.chunked import LINE_MAX, Decoder
from s3node.s3.request import Request

from .build import (
    ACCESS_KEY,
    SCOPE,
    STAMP,
    check,
    chunk_signatures,
    chunked,
    chunks,
    request,
    signed,
    trailer_signature,
)

SIGNED = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
SIGNED_TRAILER = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"
UNSIGNED_TRAILER = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"

EXAMPLE = b"a" * 66560
SEED = "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9"
CHUNKS = [
    "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648",
    "0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497",
    "b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9",
]
TRAILER_SEED = "106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e"
TRAILER_CHUNKS = [
    "b474d8862b1487a5145d686f57f013e54db672cee1c953b3010fb58501ef5aa2",
    "1c1344b170168f8e65b41376b44b20fe354e373826ccbbe2c1d40a8cae51e5c7",
    "2ca2aba2005185cf7159c6277faf83795951dd77a3a99e6e65d5c9f85863f992",
]
TRAILER = [("x-amz-checksum-crc32c", "sOO8/Q==")]
TRAILER_SIGNATURE = "d81f82fc3505edab99d459891051a732e8730629a2e4a59689829ca17fe2e435"


def published(seed: str, kind: str, extra: dict[str, str]) -> Request:
    headers = {
        "host": "s3.amazonaws.com",
        "x-amz-date": STAMP,
        "x-amz-storage-class": "REDUCED_REDUNDANCY",
        "x-amz-content-sha256": kind,
        "content-encoding": "aws-chunked",
        "x-amz-decoded-content-length": "66560",
        **extra,
    }
    headers["authorization"] = (
        f"AWS4-HMAC-SHA256 Credential={ACCESS_KEY}/{SCOPE},"
        f"SignedHeaders={';'.join(sorted(headers))},Signature={seed}"
    )
    return request("PUT", "/examplebucket/chunkObject.txt", headers)


def run(payload: Payload, body: bytes, cut: int = 1 << 16) -> tuple[bytes, Digests]:
    """What the wire would do, in pieces of `cut` bytes."""
    out = []
    for at in range(0, len(body), cut):
        for piece in payload.feed(body[at : at + cut]):
            out.append(bytes(piece))
            payload.update(piece)
    payload.eof()
    return b"".join(out), payload.finish()


def test_published_chunk_example() -> None:
    asked = published(SEED, SIGNED, {"content-length": "66824"})
    pieces = chunks(EXAMPLE)
    assert chunk_signatures(pieces, SEED) == CHUNKS
    body = chunked(pieces, SEED)
    assert len(body) == 66824
    _, spec = check(asked)
    assert run(Payload(spec, asked), body)[0] == EXAMPLE


def test_published_trailer_example() -> None:
    asked = published(TRAILER_SEED, SIGNED_TRAILER, {"x-amz-trailer": TRAILER[0][0]})
    pieces = chunks(EXAMPLE)
    assert chunk_signatures(pieces, TRAILER_SEED) == TRAILER_CHUNKS
    assert trailer_signature(TRAILER, TRAILER_CHUNKS[-1]) == TRAILER_SIGNATURE
    body = chunked(pieces, TRAILER_SEED, TRAILER, sign_trailers=True)
    _, spec = check(asked)
    data, digests = run(Payload(spec, asked), body)
    assert data == EXAMPLE
    assert digests.checksum is not None and digests.checksum.text == "sOO8/Q=="


DATA = bytes(range(256)) * 64 + b"tail"  # two chunks of 8192 and a short one


class Case:
    """One upload: its request, and its body as it should be."""

    def __init__(self, kind: str, data: bytes = DATA, *, announce: bool = True) -> None:
        self.kind = kind
        self.pieces = chunks(data, 8192)
        self.trailers = []
        headers = {
            "x-amz-content-sha256": kind,
            "content-encoding": "aws-chunked",
            "x-amz-decoded-content-length": str(len(data)),
        }
        if kind != SIGNED and announce:
            crc = b64encode(zlib.crc32(data).to_bytes(4, "big")).decode()
            self.trailers = [("x-amz-checksum-crc32", crc)]
            headers["x-amz-trailer"] = "x-amz-checksum-crc32"
        self.asked, signature = signed("PUT", "/bucket/key", headers)
        self.seed = None if kind == UNSIGNED_TRAILER else signature
        self.sign_trailers = kind == SIGNED_TRAILER
        self.body = self.make(self.pieces)

    def make(self, pieces: list[bytes]) -> bytes:
        return chunked(pieces, self.seed, self.trailers, sign_trailers=self.sign_trailers)

    def payload(self) -> Payload:
        _, spec = check(self.asked)
        return Payload(spec, self.asked)

    def refuses(self, body: bytes, *codes: str, cut: int = 1 << 16) -> None:
        with pytest.raises(S3Error) as caught:
            run(self.payload(), body, cut)
        assert caught.value.code in codes, caught.value


@pytest.fixture(params=[SIGNED, SIGNED_TRAILER, UNSIGNED_TRAILER])
def case(request: pytest.FixtureRequest) -> Case:
    return Case(request.param)


def test_whole(case: Case) -> None:
    data, digests = run(case.payload(), case.body)
    assert data == DATA
    assert digests.md5 == hashlib.md5(DATA).digest()


def test_an_empty_payload() -> None:
    for kind in (SIGNED, SIGNED_TRAILER, UNSIGNED_TRAILER):
        case = Case(kind, b"")
        assert run(case.payload(), case.body)[0] == b""


def test_one_byte_at_a_time(case: Case) -> None:
    assert run(case.payload(), case.body, 1)[0] == DATA


def test_truncated_at_every_byte(case: Case) -> None:
    payload = case.payload()
    for at in range(len(case.body)):
        with pytest.raises(S3Error) as caught:
            payload.eof()
        assert caught.value.code == "IncompleteBody", at
        payload.feed(case.body[at : at + 1])
    payload.eof()


def test_every_byte_after_the_end_is_refused(case: Case) -> None:
    for tail in (b"\r\n", b"\0", b"0\r\n\r\n", case.body):
        case.refuses(case.body + tail, "IncompleteBody")


def test_every_flipped_bit_of_a_signed_body_is_refused() -> None:
    case = Case(SIGNED_TRAILER, b"some data")
    for at in range(len(case.body)):
        for bit in (0, 5):
            flipped = bytearray(case.body)
            flipped[at] ^= 1 << bit
            if flipped.lower() == case.body.lower():
                continue  # letter case of the trailer's name and of the size does not matter
            case.refuses(
                bytes(flipped), "IncompleteBody", "SignatureDoesNotMatch", "MalformedTrailerError"
            )


def swapped(case: Case) -> bytes:
    signatures = chunk_signatures(case.pieces, case.seed or "")
    order = [1, 0, 2, 3]
    return framed([case.pieces[i] for i in order], [signatures[i] for i in order])


def framed(pieces: list[bytes], signatures: list[str]) -> bytes:
    lines = zip(pieces, signatures, strict=True)
    return b"".join(
        f"{len(piece):x};chunk-signature={signature}\r\n".encode() + piece + b"\r\n"
        for piece, signature in lines
    )


def replayed(case: Case) -> bytes:
    signatures = chunk_signatures(case.pieces, case.seed or "")
    return framed([case.pieces[i] for i in (0, 0, 2, 3)], [signatures[i] for i in (0, 0, 2, 3)])


def foreign(case: Case) -> bytes:
    """The same data signed for another request."""
    return chunked(case.pieces, "0" * 64)


def dropped(case: Case) -> bytes:
    signatures = chunk_signatures(case.pieces, case.seed or "")
    return framed([case.pieces[i] for i in (1, 2, 3)], [signatures[i] for i in (1, 2, 3)])


def bad_final(case: Case) -> bytes:
    signatures = chunk_signatures(case.pieces, case.seed or "")
    return framed(case.pieces, [*signatures[:-1], "0" * 64])


def altered(case: Case) -> bytes:
    signatures = chunk_signatures(case.pieces, case.seed or "")
    pieces = [case.pieces[0], case.pieces[1][:-1] + b"!", *case.pieces[2:]]
    return framed(pieces, signatures)


def joined(case: Case) -> bytes:
    """Two chunks sent as one, with the second's signature."""
    signatures = chunk_signatures(case.pieces, case.seed or "")
    one, two, *rest = case.pieces
    return framed([one + two, *rest], signatures[1:])


@pytest.mark.parametrize("make", [swapped, replayed, foreign, dropped, bad_final, altered, joined])
@pytest.mark.parametrize("cut", [1 << 16, 1000])
def test_chunks_that_are_not_the_signed_ones(make: Callable[[Case], bytes], cut: int) -> None:
    case = Case(SIGNED)
    assert framed(case.pieces, chunk_signatures(case.pieces, case.seed or "")) == case.body
    case.refuses(make(case), "SignatureDoesNotMatch", "IncompleteBody", cut=cut)


def test_no_payload_outlives_a_bad_signature() -> None:
    """A chunk whose end never comes was not accepted, however much of it was."""
    case = Case(SIGNED)
    payload = case.payload()
    for piece in payload.feed(case.body[:9000]):
        payload.update(piece)
    with pytest.raises(S3Error):
        payload.eof()
    with pytest.raises(AssertionError):
        payload.finish()


LIES = {
    "declared size beyond the data": b"fffffff\r\nabc",
    "64 bits": b"ffffffffffffffff\r\nabc",
    "more than 64 bits": b"1" + b"0" * 16 + b"\r\nabc",
    "negative": b"-1\r\n\r\n",
    "prefix": b"0x3\r\nabc\r\n0\r\n\r\n",
    "spaces": b" 3 \r\nabc\r\n0\r\n\r\n",
    "underscores": b"0_3\r\nabc\r\n0\r\n\r\n",
    "no size": b"\r\nabc\r\n0\r\n\r\n",
    "bare LF": b"3\nabc\r\n0\r\n\r\n",
    "extension": b"3;a=b\r\nabc\r\n0\r\n\r\n",
    "signature in an unsigned chunk": b"3;chunk-signature=" + b"0" * 64 + b"\r\nabc\r\n0\r\n\r\n",
    "size too small": b"2\r\nabc\r\n0\r\n\r\n",
    "size too large": b"4\r\nabc\r\n0\r\n\r\n",
    "no CRLF after the data": b"3\r\nabc0\r\n\r\n",
    "less than declared": b"2\r\nab\r\n0\r\n\r\n",
    "no final chunk": b"3\r\nabc\r\n",
    "endless line": b"3" * (LINE_MAX + 1),
    "endless extension": b"3;" + b"a" * (LINE_MAX + 1),
}


@pytest.mark.parametrize("name", LIES)
def test_sizes_that_lie(name: str) -> None:
    for cut in (1 << 16, 1):
        Case(UNSIGNED_TRAILER, b"abc", announce=False).refuses(
            LIES[name], "IncompleteBody", cut=cut
        )


def test_only_the_last_chunk_may_be_small() -> None:
    case = Case(UNSIGNED_TRAILER, b"x" * 9000, announce=False)
    case.refuses(case.make([b"x" * 8191, b"x" * 809, b""]), "InvalidChunkSizeError")
    assert run(case.payload(), case.make([b"x" * 8192, b"x" * 808, b""]))[0] == b"x" * 9000


@pytest.mark.parametrize("length", ["2", "4", "18446744073709551616", "-1", "1e3", "", "\xb2"])
def test_declared_lengths_that_lie(length: str) -> None:
    headers = {
        "x-amz-content-sha256": UNSIGNED_TRAILER,
        "x-amz-decoded-content-length": length,
    }
    asked, _ = signed("PUT", "/bucket/key", headers)
    _, spec = check(asked)
    with pytest.raises(S3Error) as caught:
        run(Payload(spec, asked), b"3\r\nabc\r\n0\r\n\r\n")
    assert caught.value.code in ("IncompleteBody", "InvalidArgument", "EntityTooLarge")


GOOD = b"x-amz-checksum-crc32:NSRBwg=="
CASES = {
    "missing": b"\r\n",
    "no colon": b"x-amz-checksum-crc32\r\n\r\n",
    "not announced": b"x-amz-checksum-sha1:qZk+NkcGgWq6PiVxeFDCbJzQ2J0=\r\n\r\n",
    "one more": GOOD + b"\r\nx-amz-meta-a:b\r\n\r\n",
    "twice": GOOD + b"\r\n" + GOOD + b"\r\n\r\n",
    "space in the name": b"x-amz-checksum-crc32 :NSRBwg==\r\n\r\n",
    "folded": GOOD + b"\r\n NSRBwg==\r\n\r\n",
    "control": b"x-amz-checksum-crc32:NSRB\x00wg==\r\n\r\n",
    "a signature where none belongs": GOOD
    + b"\r\nx-amz-trailer-signature:"
    + b"0" * 64
    + b"\r\n\r\n",
    "ten thousand": b"".join(b"a%d:b\r\n" % i for i in range(10_000)),
}


@pytest.mark.parametrize("name", CASES)
def test_wrong_trailers(name: str) -> None:
    case = Case(UNSIGNED_TRAILER, b"abc")
    assert case.trailers[0][1] == "NSRBwg=="
    case.refuses(b"3\r\nabc\r\n0\r\n" + CASES[name], "MalformedTrailerError")


def test_wrong_trailer_values() -> None:
    case = Case(UNSIGNED_TRAILER, b"abc")
    start = b"3\r\nabc\r\n0\r\nx-amz-checksum-crc32:"
    case.refuses(start + b"NSRBww==\r\n\r\n", "BadDigest")
    case.refuses(start + b"NSRB\r\n\r\n", "InvalidRequest")
    case.refuses(start + b"\r\n\r\n", "InvalidRequest")
    with pytest.raises(S3Error) as caught:
        run(case.payload(), start + b"NSRB\r\n\r\n")
    assert caught.value.message == "Value for x-amz-checksum-crc32 trailing header is invalid."


def test_signed_trailers_need_their_signature() -> None:
    case = Case(SIGNED_TRAILER, b"abc")
    head, _, _ = case.body.partition(b"x-amz-trailer-signature")
    case.refuses(head + b"\r\n", "IncompleteBody")
    case.refuses(head + b"\r\n\r\n", "MalformedTrailerError")
    wrong = b"x-amz-trailer-signature:" + b"0" * 64 + b"\r\n\r\n"
    case.refuses(head + wrong, "SignatureDoesNotMatch")
    case.refuses(head + b"x-amz-trailer-signature:\xff\r\n\r\n", "MalformedTrailerError")


def test_a_trailer_after_plain_signed_chunks_is_refused() -> None:
    case = Case(SIGNED, b"abc")
    case.refuses(case.body[:-2] + GOOD + b"\r\n\r\n", "MalformedTrailerError")


def test_line_ends_as_minio_go_sends_them() -> None:
    unsigned = Case(UNSIGNED_TRAILER, b"abc")
    assert run(unsigned.payload(), b"3\r\nabc\r\n0\r\n" + GOOD + b"\n\r\n")[0] == b"abc"
    case = Case(SIGNED_TRAILER, b"abc")
    body = case.body.replace(b"==\r\nx-amz-trailer", b"==\n\r\nx-amz-trailer")
    assert body != case.body
    assert run(case.payload(), body)[0] == b"abc"


def test_without_an_announced_trailer_none_is_needed() -> None:
    case = Case(UNSIGNED_TRAILER, b"abc", announce=False)
    _, spec = check(case.asked)
    payload = Payload(spec, case.asked, algorithm="CRC64NVME")
    _, digests = run(payload, case.body)
    assert digests.checksum is not None and digests.checksum.algorithm == "CRC64NVME"


def cut(data: bytes, at: list[int]) -> list[memoryview]:
    places = sorted({0, len(data), *(place % (len(data) + 1) for place in at)})
    return [memoryview(data)[a:b] for a, b in pairwise(places)]


CUTS = st.lists(st.integers(0, 50_000), max_size=12)


@given(
    st.sampled_from([SIGNED, SIGNED_TRAILER, UNSIGNED_TRAILER]),
    st.sampled_from([0, 1, 8191, 8192, 8193, 20_000]),
    CUTS,
    CUTS,
)
def test_any_cuts_give_the_same(kind: str, size: int, wire: list[int], hashed: list[int]) -> None:
    data = (b"%d" % size * size)[:size]
    case = Case(kind, data)
    payload = case.payload()
    found = b"".join(bytes(piece) for part in cut(case.body, wire) for piece in payload.feed(part))
    payload.eof()
    assert found == data
    for piece in cut(found, hashed):  # hashed later, and in other cuts than it was framed
        payload.update(piece)
    assert payload.finish().md5 == hashlib.md5(data).digest()


@given(st.lists(st.binary(max_size=40), max_size=8), st.booleans(), st.booleans())
def test_nothing_but_s3_errors_comes_out_of_garbage(
    pieces: list[bytes], with_signatures: bool, trailing: bool
) -> None:
    announced = ("x-amz-checksum-crc32",) if trailing else ()
    decoder = Decoder(30, signed=with_signatures, trailing=trailing, announced=announced)
    found = 0
    try:
        for piece in pieces:
            found += sum(map(len, decoder.feed(piece)))
        decoder.eof()
    except S3Error:
        return
    finally:
        assert found <= 30
    assert found == 30
