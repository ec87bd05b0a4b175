"""Clients that shut down their sending side when they have sent all: they get all answers.

So do `nc`, some proxies, and programs that say by it that a body has ended.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from s3node.edge.exchange import Exchange, Patience
from s3node.edge.http import HttpServer
from s3node.edge.tls import make_context
from tests.edge.certificates import make_certificate, trusting_all
from tests.edge.handlers import HOST, SHORT, Pouring, echo, get, put
from tests.edge.wire import ANSWER_S_MAX, Wire, refuse, serving, until


async def later(exchange: Exchange) -> None:
    """Answers when the end of the client's side has long come."""
    await asyncio.sleep(0.05)
    await echo(exchange)


@pytest.mark.parametrize("handler", [echo, later])
async def test_a_lone_request_is_answered(handler: object) -> None:
    async with serving(handler) as (server, port), await Wire.connect(port) as wire:  # type: ignore[arg-type]
        await wire.send(put(b"Content-Length: 6\r\n", b"abcdef"))
        wire.writer.write_eof()
        answer = await wire.answer()
        assert (answer.status, answer.body) == (200, b"abcdef")
        assert handler is echo or answer.headers["connection"] == "close"
        assert await wire.closed() == b""
        await until(lambda: not server.connections)


@pytest.mark.parametrize("handler", [echo, later])
@pytest.mark.parametrize("step", [1, 50, 10_000])
async def test_all_pipelined_requests_are_answered(handler: object, step: int) -> None:
    requests = [
        (get(b"", b"one"), b""),
        (put(b"Content-Length: 6\r\n", b"abcdef"), b"abcdef"),
        (put(b"Transfer-Encoding: chunked\r\n", b"3\r\nabc\r\n0\r\nT: x\r\n\r\n"), b"abc"),
        (get(b"", b"two"), b""),
        (put(b"Content-Length: 0\r\n"), b""),
    ]
    sent = b"".join(request for request, _ in requests)
    async with serving(handler) as (server, port), await Wire.connect(port) as wire:  # type: ignore[arg-type]
        for at in range(0, len(sent), step):
            wire.writer.write(sent[at : at + step])
            if step == 1:
                await asyncio.sleep(0)
        wire.writer.write_eof()
        for number, (request, body) in enumerate(requests, 1):
            answer = await wire.answer()
            assert number == len(requests) or answer.headers["connection"] == "keep-alive"
            assert answer.headers["x-target"].encode() == request.split(b" ")[1]
            assert answer.body == body
        assert await wire.closed() == b""
        await until(lambda: not server.connections)


async def test_the_end_may_come_at_every_byte() -> None:
    """As many answers as whole requests, one more for a body that broke off, and the end."""
    requests = [
        get(b"", b"one"),
        put(b"Content-Length: 6\r\n", b"abcdef"),
        put(b"Transfer-Encoding: chunked\r\n", b"3\r\nabc\r\n0\r\nT: x\r\n\r\n"),
        get(b"", b"two"),
    ]
    sent = b"".join(requests)
    ends = [len(b"".join(requests[: n + 1])) for n in range(len(requests))]
    async with serving(later) as (server, port):

        async def ask(count: int) -> None:
            async with await Wire.connect(port) as wire:
                wire.writer.write(sent[:count])
                wire.writer.write_eof()
                answers = await wire.closed()
            whole = sum(end <= count for end in ends)
            rest = sent[([0, *ends])[whole] : count]
            broken = b"\r\n\r\n" in rest
            assert answers.count(b"HTTP/1.1 200 ") == whole
            assert answers.count(b"X-Code: IncompleteBody") == broken
            assert answers.count(b"HTTP/1.1 ") == whole + broken

        await asyncio.gather(*map(ask, range(len(sent) + 1)))
        await until(lambda: not server.connections)


@pytest.mark.parametrize(
    ("lines", "sent"),
    [
        (b"Content-Length: 10\r\n", b"abc"),
        (b"Content-Length: 10\r\n", b""),
        (b"Content-Length: 10\r\nExpect: 100-continue\r\n", b""),
        (b"Transfer-Encoding: chunked\r\n", b"3\r\nabc\r\n"),
        (b"Transfer-Encoding: chunked\r\n", b"3\r\nab"),
        (b"Transfer-Encoding: chunked\r\n", b"0\r\n"),
    ],
)
async def test_a_body_that_ended_too_early_is_told(lines: bytes, sent: bytes) -> None:
    patience = Patience(linger=2 * ANSWER_S_MAX)  # nothing is to come: nothing is waited for
    async with serving(echo, patience) as (server, port), await Wire.connect(port) as wire:
        await wire.send(put(lines, sent))
        wire.writer.write_eof()
        if b"Expect" in lines and (await wire.head())[0] != 100:
            raise AssertionError("told to go on first")
        answer = await wire.answer()
        assert (answer.status, answer.headers["x-code"]) == (400, "IncompleteBody")
        assert answer.headers["connection"] == "close"
        assert await wire.closed() == b""
        await until(lambda: not server.connections)


@pytest.mark.parametrize("sent", [b"", b"GET", get(b"")[:-2], get(b"") + b"G"], ids=repr)
async def test_no_request_no_answer(sent: bytes) -> None:
    patience = Patience(header=2 * ANSWER_S_MAX, keepalive=2 * ANSWER_S_MAX)
    async with serving(echo, patience) as (server, port), await Wire.connect(port) as wire:
        await wire.send(sent)
        wire.writer.write_eof()
        assert (await wire.closed()).count(b"HTTP/1.1 ") == sent.count(b"\r\n\r\n")
        await until(lambda: not server.connections)


async def test_what_is_refused_is_told() -> None:
    async with serving(echo) as (server, port), await Wire.connect(port) as wire:
        await wire.send(b"GET / HTTP/1.1\nHost: x\r\n\r\n")
        wire.writer.write_eof()
        assert (await wire.answer()).headers["x-code"] == "BadRequest"
        await until(lambda: not server.connections)


async def test_a_long_answer_comes_whole() -> None:
    content = random.Random(1).randbytes(20_000_000)

    async def stream() -> AsyncIterator[Sequence[memoryview]]:
        for at in range(0, len(content), 1_000_000):
            yield [memoryview(content)[at : at + 1_000_000]]

    async def handler(exchange: Exchange) -> None:
        await exchange.answer(200, [], stream=stream(), length=len(content))

    async with serving(handler) as (_, port), await Wire.connect(port, limit=1 << 16) as wire:
        await wire.send(get(b""))
        wire.writer.write_eof()
        assert (await wire.answer()).body == content
        assert await wire.closed() == b""


@pytest.mark.parametrize("how", ["gone", "silent"])
async def test_who_does_not_take_the_answer_is_cut(how: str) -> None:
    """The end of the client's side says nothing of whether it still reads."""
    pouring = Pouring()
    patience = Patience(send_idle=SHORT if how == "silent" else 2 * ANSWER_S_MAX)
    async with serving(pouring, patience) as (server, port), await Wire.connect(port) as wire:
        await wire.send(get(b""))
        wire.writer.write_eof()
        await wire.head()
        if how == "gone":
            wire.writer.transport.abort()
        await until(lambda: pouring.cut)
        assert pouring.cut == ["stalled" if how == "silent" else "hung_up"]
        await until(lambda: not server.connections)


async def test_a_stop_waits_for_the_answer() -> None:
    gate = asyncio.Event()

    async def held(exchange: Exchange) -> None:
        await gate.wait()
        await echo(exchange)

    async with serving(held) as (server, port), await Wire.connect(port) as wire:
        await wire.send(put(b"Content-Length: 3\r\n", b"abc"))
        wire.writer.write_eof()
        await until(lambda: server._busy)
        stop = asyncio.create_task(server.stop(ANSWER_S_MAX))
        await asyncio.sleep(0.01)
        gate.set()
        assert (await wire.answer()).body == b"abc"
        await stop


async def test_with_tls_the_end_of_one_side_is_the_end(tmp_path: Path) -> None:
    """RFC 8446 lets one side end alone, RFC 5246 does not; the TLS below knows the older one."""
    begun = asyncio.Event()
    cut: list[BaseException] = []

    async def handler(exchange: Exchange) -> None:
        begun.set()
        try:
            await asyncio.sleep(0.1)
            await echo(exchange)
        except BaseException as fault:
            cut.append(fault)
            raise

    server = HttpServer(handler, refuse, name="test")
    port = await server.start("127.0.0.1", 0, make_context(*make_certificate(tmp_path, serial=1)))
    async with await Wire.connect(port, ssl=trusting_all()) as wire:
        await wire.send(b"GET /k HTTP/1.1\r\n" + HOST + b"\r\n")
        await begun.wait()
        wire.writer.close()
        await until(lambda: not server.connections)
    await until(lambda: cut)
    await server.stop(ANSWER_S_MAX)
