"""Chunked bodies: whatever is taken, aiohttp's parser takes too, and reads the same."""

from __future__ import annotations

import asyncio

import pytest
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.http_parser import HttpRequestParser
from hypothesis import given
from hypothesis import strategies as st

from s3node.base import limits
from s3node.edge.chunked import LINE_BYTES_MAX, ChunkDecoder, MalformedChunk

HEAD = b"PUT / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"


def ours(data: bytes, cut: int) -> tuple[bytes, bool, bytes] | None:
    """(content, ended, what is behind it); None when it is refused."""
    decoder = ChunkDecoder()
    content, rest = b"", b""
    try:
        for part in (data[:cut], data[cut:]):
            if decoder.done:
                rest += part
                continue
            pieces, rest = decoder.feed(part)
            content += b"".join(pieces)
    except MalformedChunk:
        return None
    return content, decoder.done, rest


def theirs(data: bytes) -> tuple[bytes, bool] | None:
    """(content, ended) as the parser of heads would have it."""
    loop = asyncio.new_event_loop()
    try:
        parser = HttpRequestParser(BaseProtocol(loop), loop, 1 << 20)
        ((_, stream),) = parser.feed_data(HEAD)[0]
        try:
            parser.feed_data(data)
        except HttpProcessingError:
            return None
        if stream.exception() is not None:
            return None
        return b"".join(stream._buffer), stream.is_eof()
    finally:
        loop.close()


@st.composite
def bodies(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """(content, wire) of a well-formed body, in all the freedom that clients have."""
    chunks = draw(st.lists(st.binary(min_size=1, max_size=40), max_size=5))
    wire = b""
    for chunk in [*chunks, b""]:
        form = draw(st.sampled_from(("%x", "%X", "%08x")))
        extension = draw(st.sampled_from((b"", b";a", b";a=b;c")))
        wire += (form % len(chunk)).encode() + extension + b"\r\n"
        wire += chunk + b"\r\n" if chunk else b""
    wire += draw(st.sampled_from((b"", b"A: b\r\n", b"A:\r\nC: d e\r\n"))) + b"\r\n"
    return b"".join(chunks), wire


@given(bodies(), st.binary(max_size=9), st.integers(0, 300))
def test_well_formed_bodies_come_whole_however_they_are_cut(
    body: tuple[bytes, bytes], behind: bytes, cut: int
) -> None:
    content, wire = body
    assert ours(wire + behind, cut) == (content, True, behind)
    assert theirs(wire) == (content, True)


SCRAPS = (b"\r", b"\n", b"\r\n", b" ", b"\t", b";", b":", b"0", b"f", b"-", b"+", b"x", b"\0", b"")


@given(bodies(), st.lists(st.tuples(st.integers(0, 200), st.sampled_from(SCRAPS)), max_size=3))
def test_what_is_taken_is_what_the_other_parser_reads(
    body: tuple[bytes, bytes], changes: list[tuple[int, bytes]]
) -> None:
    wire = body[1]
    for at, scrap in changes:
        wire = wire[:at] + scrap + wire[at + 1 :]
    mine = ours(wire, 0)
    if mine is None:
        return
    content, ended, rest = mine
    assert theirs(wire[: len(wire) - len(rest)]) == (content, ended)


@pytest.mark.parametrize(
    "wire",
    [
        b"3\nabc\r\n0\r\n\r\n",
        b"3\r\nabcd\r\n",
        b"3\r\nabc\n0\r\n\r\n",
        b"3\r\nabc\rX",
        b"\r\n",
        b"+3\r\nabc\r\n",
        b"0x3\r\nabc\r\n",
        b"fffffffffffffffff\r\n",
        b"3 3\r\nabc\r\n",
        b"3;a\0\r\nabc\r\n",
        b"0\r\nno colon\r\n\r\n",
        b"0\r\n: no name\r\n\r\n",
        b"0\r\n folded: b\r\n\r\n",
        b"0\r\nA: b\n\r\n",
        b"3;" + b"a" * LINE_BYTES_MAX,
        b"0\r\n" + (b"A: " + b"b" * 500 + b"\r\n") * (limits.HEADER_FIELD_BYTES_MAX // 500 + 1),
    ],
    ids=lambda wire: repr(wire[:20]),
)
def test_malformed_bodies_are_refused(wire: bytes) -> None:
    assert ours(wire, 0) is None
    assert ours(wire, len(wire) // 2) is None
