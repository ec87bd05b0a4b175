"""The HTTP layer on real sockets: framing, bounds, deadlines, 100-continue, hang-ups, stop."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import random
from collections.abc import AsyncIterator, Sequence

import pytest

from s3node.base import limits
from s3node.base.errors import S3Error
from s3node.base.shares import Bound
from s3node.edge.exchange import Exchange, Patience, ResponseCut
from s3node.edge.head import Head
from tests.edge.handlers import HOST, SHORT, echo, get, put
from tests.edge.wire import ANSWER_S_MAX, Wire, serving, until


async def refuse_unread(exchange: Exchange) -> None:
    await exchange.answer(403, [], b"no")


GOOD = {
    "plain": (b"GET /k HTTP/1.1\r\n" + HOST + b"\r\n", b""),
    "slashes": (b"GET ///a//b HTTP/1.1\r\n" + HOST + b"\r\n", b""),
    "escapes": (b"GET /a%2Fb/%2e%2e/%zz?x=%&y=+ HTTP/1.1\r\n" + HOST + b"\r\n", b""),
    "odd path": (b"GET /[::1]:90/@a:b HTTP/1.1\r\n" + HOST + b"\r\n", b""),
    "absolute": (b"GET http://x/b/k HTTP/1.1\r\n" + HOST + b"\r\n", b""),
    "length": (b"PUT /k HTTP/1.1\r\n" + HOST + b"Content-Length: 3\r\n\r\nabc", b"abc"),
    "gzip kept": (
        b"PUT /k HTTP/1.1\r\n" + HOST + b"Content-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc",
        b"abc",
    ),
    "chunked": (
        b"PUT /k HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n"
        b"3\r\nabc\r\n1;x=y\r\nd\r\n0\r\nTrailer: t\r\n\r\n",
        b"abcd",
    ),
    "upgrade ignored": (
        b"PUT /k HTTP/1.1\r\n" + HOST + b"Connection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Content-Length: 3\r\n\r\nabc",
        b"abc",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", GOOD)
async def test_target_and_body_arrive_as_sent(name: str) -> None:
    request, body = GOOD[name]
    async with serving(echo) as (_, port), await Wire.connect(port) as wire:
        for _ in range(2):  # the connection carries another one
            answer = await wire.ask(request)
            assert answer.status == 200
            assert answer.headers["x-target"].encode() == request.split(b" ")[1]
            assert answer.body == body
            assert answer.headers["server"] == "s3node"
            assert answer.headers["date"].endswith(" GMT")


REFUSED = {
    "length and coding": put(b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n", b"0\r\n\r\n"),
    "coding and length": put(b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n", b"0\r\n\r\n"),
    "two lengths": put(b"Content-Length: 3\r\nContent-Length: 3\r\n", b"abc"),
    "length list": put(b"Content-Length: 3, 3\r\n", b"abc"),
    "signed length": put(b"Content-Length: +3\r\n", b"abc"),
    "negative length": put(b"Content-Length: -3\r\n", b"abc"),
    "empty length": put(b"Content-Length: \r\n", b"abc"),
    "huge length": put(b"Content-Length: 99999999999999999999999\r\n", b"abc"),
    "space before colon": put(b"Content-Length : 3\r\n", b"abc"),
    "other coding": put(b"Transfer-Encoding: xchunked\r\n", b"0\r\n\r\n"),
    "two codings": put(b"Transfer-Encoding: gzip, chunked\r\n", b"0\r\n\r\n"),
    "coding twice": put(b"Transfer-Encoding: chunked\r\n" * 2, b"0\r\n\r\n"),
    "coding last": put(b"Transfer-Encoding: chunked, gzip\r\n", b"0\r\n\r\n"),
    "coding identity": put(b"Transfer-Encoding: identity\r\n", b"0\r\n\r\n"),
    "chunked in 1.0": put(b"Transfer-Encoding: chunked\r\n", b"0\r\n\r\n").replace(b"1.1", b"1.0"),
    "bad chunk size": put(b"Transfer-Encoding: chunked\r\n", b"zz\r\nabc"),
    "chunk too long": put(b"Transfer-Encoding: chunked\r\n", b"3\r\nabcX\r\n0\r\n\r\n"),
    "chunk bare LF": put(b"Transfer-Encoding: chunked\r\n", b"3\nabc\n0\n\n"),
    "chunk size huge": put(b"Transfer-Encoding: chunked\r\n", b"fffffffffffffffff\r\nabc"),
    "two hosts": b"GET /k HTTP/1.1\r\n" + HOST * 2 + b"\r\n",
    "no host": b"GET /k HTTP/1.1\r\nA: b\r\n\r\n",
    "bare LF line": b"GET /k HTTP/1.1\n" + HOST + b"\r\n",
    "bare LF header": b"GET /k HTTP/1.1\r\nHost: x\nA: b\r\n\r\n",
    "bare CR": get(b"A: b\rc\r\n"),
    "folded": get(b"A: b\r\n c\r\n"),
    "NUL in value": get(b"A: b\x00c\r\n"),
    "control in name": get(b"A\x01: bc\r\n"),
    "no colon": get(b"nocolon\r\n"),
    "no name": get(b": a\r\n"),
    "HTTP/2.0": b"GET /k HTTP/2.0\r\n" + HOST + b"\r\n",
    "HTTP/0.9": b"GET /k\r\n\r\n",
    "preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "lower case method": b"get /k HTTP/1.1\r\n" + HOST + b"\r\n",
    "unknown method": b"FOO /k HTTP/1.1\r\n" + HOST + b"\r\n",
    "CONNECT": b"CONNECT h:80 HTTP/1.1\r\n" + HOST + b"\r\n",
    "space in target": b"GET /a b HTTP/1.1\r\n" + HOST + b"\r\n",
    "raw UTF-8 target": b"GET /\xc3\xa9 HTTP/1.1\r\n" + HOST + b"\r\n",
    "NUL in target": b"GET /a\x00b HTTP/1.1\r\n" + HOST + b"\r\n",
    "bad absolute": b"GET http://[bad/ HTTP/1.1\r\n" + HOST + b"\r\n",
    "TLS on plain": b"\x16\x03\x01\x00\xa5\x01\x00",
    "other expectation": put(b"Expect: 200-ok\r\nContent-Length: 0\r\n"),
    "long target": get(b"", b"a" * limits.REQUEST_LINE_BYTES_MAX),
    "long field": get(b"A: " + b"b" * (limits.HEADER_FIELD_BYTES_MAX + 9) + b"\r\n"),
    "many fields": get(b"A: b\r\n" * limits.HEADER_FIELDS_MAX),
}  # fmt: skip


REFUSED_FORMS = [
    pytest.param(name, split, id=f"{name}{' byte by byte' if split else ''}")
    for name, request in REFUSED.items()
    for split in (False, True)
    if not split or len(request) < 1000
]


@pytest.mark.parametrize(("name", "split"), REFUSED_FORMS)
async def test_what_smugglers_send_is_refused(name: str, split: bool) -> None:
    """One refusal, then the connection is closed: nothing behind it is taken for a request."""
    request = REFUSED[name]
    async with serving(echo) as (_, port), await Wire.connect(port) as wire:
        if split:
            for at in range(len(request)):
                wire.writer.write(request[at : at + 1])
                await asyncio.sleep(0.0002)
        else:
            await wire.send(request + b"GET /smuggled HTTP/1.1\r\n" + HOST + b"\r\n")
        answers = await wire.closed()
    assert b"/smuggled" not in answers
    assert answers.count(b"HTTP/1.1 ") == 1
    assert answers.startswith((b"HTTP/1.1 4", b"HTTP/1.1 501 "))
    assert b"\r\nConnection: close\r\n" in answers


async def test_malformed_chunk_is_told_to_the_reader_at_once() -> None:
    """Not when its patience ends, which would be a RequestTimeout."""
    pieces: list[bytes] = []

    async def read(exchange: Exchange) -> None:
        with pytest.raises(S3Error) as caught:
            async for piece in exchange.body:
                pieces.append(bytes(piece))
        await exchange.answer(400, [("X-Code", caught.value.code)])

    async with serving(read) as (_, port), await Wire.connect(port) as wire:
        await wire.send(put(b"Transfer-Encoding: chunked\r\n", b"3\r\nabc\r\n"))
        await until(lambda: pieces)
        answer = await wire.ask(b"zz\r\n")
        assert answer.headers["x-code"] == "IncompleteBody"
        assert answer.headers["connection"] == "close"
        await wire.closed()


PIPELINED = [
    GOOD["plain"],
    GOOD["length"],
    GOOD["chunked"],
    GOOD["upgrade ignored"],
    GOOD["slashes"],
    GOOD["chunked"],
    GOOD["length"],
    GOOD["plain"],
]


@pytest.mark.parametrize("step", [1, 7, 64, 10_000])
async def test_pipelined_requests_are_answered_in_turn(step: int) -> None:
    """None is lost, none is read into another, wherever the packets end."""
    sent = b"\r\n".join(request for request, _ in PIPELINED)  # an empty line is allowed between
    async with serving(echo) as (_, port), await Wire.connect(port) as wire:
        for at in range(0, len(sent), step):
            wire.writer.write(sent[at : at + step])
            if step < 64:
                await asyncio.sleep(0)
        for request, body in PIPELINED:
            answer = await wire.answer()
            assert answer.headers["x-target"].encode() == request.split(b" ")[1]
            assert answer.body == body


async def test_next_request_waits_in_the_network() -> None:
    """While one is at work what comes behind it is held, but little of it."""
    gate, begun = asyncio.Event(), asyncio.Event()

    async def later(exchange: Exchange) -> None:
        begun.set()
        await gate.wait()
        await echo(exchange)

    async with serving(later) as (server, port), await Wire.connect(port) as wire:
        await wire.send(GOOD["plain"][0])
        await begun.wait()
        wire.writer.write(GOOD["length"][0] * 200_000)
        await asyncio.sleep(0.2)
        (connection,) = server.connections
        assert len(connection._tail) <= limits.RECEIVE_BUFFER_BYTES
        gate.set()
        for _ in range(50):
            assert (await wire.answer()).status == 200
        wire.writer.transport.abort()  # or it would first be sent all that nobody takes answers to


async def test_bodies_are_received_whole_through_memory_that_is_used_again() -> None:
    """Readers that dawdle, readers that do not, several at once, bodies over and under a buffer."""
    sizes = [1, limits.RECEIVE_BUFFER_BYTES - 1, 3 * limits.RECEIVE_BUFFER_BYTES + 5]

    async def digest(exchange: Exchange) -> None:
        taken = hashlib.sha256()
        async for piece in exchange.body:
            await asyncio.sleep(0.001 * (piece[0] % 3))  # it is the reader's until then
            taken.update(piece)
        await exchange.answer(200, [], taken.hexdigest().encode())

    async def send(port: int, seed: int) -> None:
        async with await Wire.connect(port) as wire:
            for size in sizes * 3:
                body = random.Random(seed + size).randbytes(size)
                answer = await wire.ask(put(b"Content-Length: %d\r\n" % size, body))
                assert answer.body == hashlib.sha256(body).hexdigest().encode()

    async with serving(digest) as (_, port):
        await asyncio.gather(*(send(port, seed) for seed in range(4)))


async def test_pieces_of_an_answer_are_sent_before_the_next_are_asked_for() -> None:
    """So whoever makes them can use their memory again."""
    memory = bytearray(3 * limits.SEND_BUFFER_BYTES)
    rounds = 8

    async def handler(exchange: Exchange) -> None:
        async def stream() -> AsyncIterator[Sequence[memoryview]]:
            for number in range(rounds):
                memory[:] = bytes((number,)) * len(memory)
                half = len(memory) // 2
                yield [memoryview(memory)[:half], memoryview(memory)[half:]]

        await exchange.answer(200, [], stream=stream(), length=rounds * len(memory))

    async with serving(handler) as (_, port), await Wire.connect(port, limit=1 << 16) as wire:
        await wire.send(GOOD["plain"][0])
        await wire.head()
        for number in range(rounds):
            await asyncio.sleep(0.01)
            got = await wire.reader.readexactly(len(memory))
            assert got == bytes((number,)) * len(memory)


async def test_nobody_sees_the_pieces_of_an_answer_when_the_next_are_asked_for() -> None:
    """So that they are the only memory that an answer takes; also when nobody makes them again."""
    size = limits.SEND_BUFFER_BYTES + 7

    async def handler(exchange: Exchange) -> None:
        async def stream() -> AsyncIterator[Sequence[memoryview]]:
            for _ in range(4):
                memory = bytearray(size)
                yield [memoryview(memory)[:9], memoryview(memory)[9:]]
                memory.append(1)  # BufferError if a view of it is left

        await exchange.answer(200, [], stream=stream(), length=4 * size)

    async with serving(handler) as (_, port), await Wire.connect(port) as wire:
        answer = await wire.ask(GOOD["plain"][0])
        assert answer.body == bytes(4 * size)


EXPECT = b"Expect: 100-continue\r\nContent-Length: 3\r\n"


async def test_continue_is_sent_when_the_body_is_wanted() -> None:
    begun, gate = asyncio.Event(), asyncio.Event()

    async def later(exchange: Exchange) -> None:
        begun.set()
        await gate.wait()
        await echo(exchange)

    async with serving(later) as (_, port), await Wire.connect(port) as wire:
        await wire.send(put(EXPECT))
        await begun.wait()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(wire.reader.read(1), 0.1)
        gate.set()
        assert await wire.head() == (100, {})
        answer = await wire.ask(b"abc")
        assert (answer.status, answer.body) == (200, b"abc")
        assert (await wire.ask(GOOD["plain"][0])).status == 200


async def test_continue_is_sent_for_an_empty_body_too() -> None:
    """As S3 does: botocore takes an answer without it for a refusal that came early."""
    async with serving(echo) as (_, port), await Wire.connect(port) as wire:
        for _ in range(2):
            await wire.send(put(b"Expect: 100-continue\r\nContent-Length: 0\r\n"))
            assert await wire.head() == (100, {})
            assert (await wire.answer()).body == b""


async def test_refused_expectation_gets_the_error_without_continue_and_a_close() -> None:
    async with serving(refuse_unread) as (_, port), await Wire.connect(port) as wire:
        answer = await wire.ask(put(EXPECT))
        assert (answer.status, answer.body) == (403, b"no")
        assert answer.headers["connection"] == "close"
        assert await wire.closed() == b""


async def test_body_that_did_not_wait_needs_no_continue() -> None:
    async with serving(echo) as (_, port), await Wire.connect(port) as wire:
        answer = await wire.ask(put(EXPECT, b"abc"))
        assert (answer.status, answer.body) == (200, b"abc")


@pytest.mark.parametrize(
    ("count", "kept"), [(limits.UNREAD_BYTES_MAX, True), (limits.UNREAD_BYTES_MAX + 1, False)]
)
async def test_unread_body_is_drained_or_the_connection_closed(count: int, kept: bool) -> None:
    async with serving(refuse_unread) as (_, port), await Wire.connect(port) as wire:
        body = b"GET /smuggled HTTP/1.1\r\n" + HOST + b"\r\n"
        body += b"x" * (count - len(body))
        answer = await wire.ask(put(b"Content-Length: %d\r\n" % count, body))
        assert answer.status == 403
        if kept:
            assert (await wire.ask(GOOD["plain"][0])).status == 403
        else:
            assert answer.headers["connection"] == "close"
            assert await wire.closed() == b""


async def test_refusal_is_read_in_whole_by_a_client_that_is_still_sending() -> None:
    """No reset overtakes the answer, though far more comes than the socket buffers hold."""
    patience = Patience(linger=ANSWER_S_MAX)
    async with serving(refuse_unread, patience) as (_, port), await Wire.connect(port) as wire:
        answer = asyncio.create_task(wire.answer())
        await wire.send(put(b"Content-Length: 50000000\r\n"))
        await wire.send(b"x" * 20_000_000)
        assert (await answer).body == b"no"


async def test_head_has_length_and_no_body() -> None:
    async def sized(exchange: Exchange) -> None:
        await exchange.answer(200, [], length=12345)

    async with serving(sized) as (_, port), await Wire.connect(port) as wire:
        for _ in range(2):
            answer = await wire.ask(b"HEAD /k HTTP/1.1\r\n" + HOST + b"\r\n")
            assert answer.headers["content-length"] == "12345"


@pytest.mark.parametrize("status", [204, 304])
async def test_bodiless_statuses_say_no_length(status: int) -> None:
    async def bodiless(exchange: Exchange) -> None:
        await exchange.answer(status, [("ETag", '"x"')])

    async with serving(bodiless) as (_, port), await Wire.connect(port) as wire:
        for _ in range(2):
            answer = await wire.ask(GOOD["plain"][0])
            assert answer.status == status
            assert "content-length" not in answer.headers


async def test_header_bytes_are_latin_1_both_ways() -> None:
    async def back(exchange: Exchange) -> None:
        value = dict(exchange.headers)[b"X-Meta"]
        await exchange.answer(200, [("x-meta", value.decode("latin-1"))])

    async with serving(back) as (_, port), await Wire.connect(port) as wire:
        await wire.send(b"GET / HTTP/1.1\r\n" + HOST + b"X-Meta: \xc3\xa9\xff\r\n\r\n")
        raw = await wire.reader.readuntil(b"\r\n\r\n")
        assert b"\r\nx-meta: \xc3\xa9\xff\r\n" in raw


@pytest.mark.parametrize("header", ["a\r\nb", "a\nb", "a\0b", "\x7f"], ids=repr)
async def test_response_header_cannot_be_split(header: str) -> None:
    async def split(exchange: Exchange) -> None:
        with pytest.raises(ValueError, match="control character"):
            await exchange.answer(200, [("X-Evil", header)])
        assert not exchange.answered
        await exchange.answer(500, [])

    async with serving(split) as (_, port), await Wire.connect(port) as wire:
        assert (await wire.ask(GOOD["plain"][0])).status == 500


PIECES = 5
PIECE = 70_000


@pytest.mark.parametrize("fault", ["short", "long", "raises", "none"])
@pytest.mark.parametrize("after", range(PIECES))
async def test_streams_are_exact_or_cut(fault: str, after: int) -> None:
    """Before the first byte a fault is an error to the caller; later it cuts the connection."""
    closed: list[bool] = []
    seen: list[str] = []
    content = [bytes((index,)) * PIECE for index in range(PIECES)]

    async def stream() -> AsyncIterator[Sequence[memoryview]]:
        try:
            for index, piece in enumerate(content):
                if index == after and fault == "raises":
                    raise S3Error("ServiceUnavailable")
                if index == after and fault == "short":
                    return
                half = len(piece) // 2
                yield [memoryview(piece)[:half], memoryview(piece)[half:]]
            if fault == "long":
                yield [memoryview(b"x")]
        finally:
            closed.append(True)

    async def handler(exchange: Exchange) -> None:
        try:
            await exchange.answer(200, [], stream=stream(), length=PIECES * PIECE)
        except ResponseCut:
            seen.append("cut")
        except S3Error:
            seen.append("error")
            await exchange.answer(503, [])

    async with serving(handler) as (_, port), await Wire.connect(port) as wire:
        await wire.send(GOOD["plain"][0])
        status, headers = await wire.head()
        rest = b"".join(content)
        if fault == "none":
            assert await wire.reader.readexactly(PIECES * PIECE) == rest
        elif fault == "raises" and after == 0:
            assert (status, seen) == (503, ["error"])
        elif fault == "long":
            await wire.closed()
            assert seen == ["cut"]
        else:
            assert status == 200
            assert int(headers["content-length"]) == len(rest)
            got = await wire.closed()
            assert len(got) < len(rest)
            assert rest.startswith(got)
            assert seen == ["cut"]
    assert closed == [True]


UPLOAD = put(b"Content-Length: 40\r\n", b"0123456789" * 4)


@pytest.mark.parametrize("polite", [True, False], ids=["FIN", "RST"])
async def test_hang_up_at_every_byte_of_an_upload(polite: bool) -> None:
    """Whoever reads the body sees an error, never an early end; nothing stays behind."""
    ended: list[str] = []

    async def store(exchange: Exchange) -> None:
        got = b""
        try:
            async for piece in exchange.body:
                got += piece
            ended.append("whole" if len(got) == 40 else f"short: {len(got)}")
        except S3Error as error:
            ended.append(error.code)
        with contextlib.suppress(ResponseCut):  # nobody is there to take it
            await exchange.answer(200, [])

    async with serving(store) as (server, port):
        for count in range(len(UPLOAD)):
            wire = await Wire.connect(port)
            await wire.send(UPLOAD[:count])
            if count % 3 == 0:
                await asyncio.sleep(0.002)
            if polite:
                wire.writer.close()
            else:
                wire.writer.transport.abort()
        async with await Wire.connect(port) as wire:  # accepted after all those
            assert (await wire.ask(UPLOAD)).status == 200
        await until(lambda: not server.connections)
        assert ended.count("whole") == 1
        assert set(ended) <= {"IncompleteBody", "whole"}, ended


async def test_hang_up_during_a_download_closes_the_stream() -> None:
    closed = asyncio.Event()

    async def pour(exchange: Exchange) -> None:
        async def stream() -> AsyncIterator[Sequence[memoryview]]:
            try:
                while True:
                    yield [memoryview(bytes(1 << 16))]
                    await asyncio.sleep(0)
            finally:
                closed.set()

        with pytest.raises(ResponseCut, match="hung_up"):
            await exchange.answer(200, [], stream=stream(), length=1 << 40)

    async with serving(pour) as (server, port):
        wire = await Wire.connect(port)
        await wire.send(GOOD["plain"][0])
        await wire.reader.readexactly(1000)
        wire.writer.transport.abort()
        await closed.wait()
        await until(lambda: not server.connections)


async def test_one_connection_too_many_is_told_to_slow_down() -> None:
    async with (
        serving(echo, bound=Bound(2, 2)) as (_, port),
        await Wire.connect(port) as first,
        await Wire.connect(port) as second,
    ):
        assert (await first.ask(GOOD["plain"][0])).status == 200
        assert (await second.ask(GOOD["plain"][0])).status == 200
        async with await Wire.connect(port) as third:
            answer = await third.ask(GOOD["plain"][0])
            assert (answer.status, answer.headers["x-code"]) == (503, "SlowDown")
            assert int(answer.headers["retry-after"]) > 0
            assert answer.headers["connection"] == "close"
            assert await third.closed() == b""
        assert (await first.ask(GOOD["plain"][0])).status == 200


async def test_stop_lets_requests_finish_and_closes_idle_connections() -> None:
    began = asyncio.Event()

    async def slow(exchange: Exchange) -> None:
        began.set()
        await echo(exchange)

    async with serving(slow) as (server, port):
        idle = await Wire.connect(port)
        assert (await idle.ask(GOOD["plain"][0])).status == 200
        busy = await Wire.connect(port)
        began.clear()
        await busy.send(put(b"Content-Length: 6\r\n", b"abc"))
        await began.wait()
        stop = asyncio.create_task(server.stop(ANSWER_S_MAX))
        assert await idle.closed() == b""
        with pytest.raises(OSError, match="refused"):
            await Wire.connect(port)
        await busy.send(b"def")
        answer = await busy.answer()
        assert (answer.status, answer.body) == (200, b"abcdef")
        assert answer.headers["connection"] == "close"
        await asyncio.wait_for(stop, ANSWER_S_MAX / 2)


async def test_stop_cuts_what_outlasts_the_grace() -> None:
    begun = asyncio.Event()
    patience = Patience(body_idle=2 * ANSWER_S_MAX)  # what ends it is the stop

    async def slow(exchange: Exchange) -> None:
        begun.set()
        await echo(exchange)

    async with serving(slow, patience) as (server, port), await Wire.connect(port) as wire:
        await wire.send(put(b"Content-Length: 6\r\n", b"abc"))
        await begun.wait()
        await asyncio.wait_for(server.stop(SHORT), ANSWER_S_MAX / 2)
        assert b"200" not in await wire.closed()


async def test_a_connection_whose_task_ends_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever ended it: a mistake of ours costs that connection, and no place for ever."""
    async with serving(echo) as (server, port), await Wire.connect(port) as wire:
        feed = Head.feed

        def broken(self: Head, data: bytes) -> bool:
            if b"/bad" in data:
                raise KeyError("injected")
            return feed(self, data)

        monkeypatch.setattr(Head, "feed", broken)
        good = b"GET /a HTTP/1.1\r\n" + HOST + b"\r\n"
        await wire.send(good + good.replace(b"/a", b"/bad"))
        assert (await wire.answer()).status == 200
        async with asyncio.timeout(ANSWER_S_MAX):
            await wire.closed()
        assert not server.connections and not server._busy
