"""How long the HTTP layer waits: for heads, bodies and their rate, and for answers to be taken."""

from __future__ import annotations

import asyncio

import pytest

from s3node.base import limits
from s3node.edge.exchange import Exchange, Patience
from tests.edge.handlers import HOST, SHORT, Pouring, echo, get, put
from tests.edge.wire import Wire, serving, until


async def test_endless_headers_are_cut() -> None:
    field = b"A: " + b"b" * (limits.HEADER_FIELD_BYTES_MAX // 2) + b"\r\n"
    count = 0
    async with serving(echo) as (_, port), await Wire.connect(port) as wire:
        await wire.send(b"GET /k HTTP/1.1\r\n" + HOST)
        answer = asyncio.create_task(wire.answer())
        while not answer.done():
            await wire.send(field)
            count += 1
            await asyncio.sleep(0.001)
        told = await answer
        assert (told.status, told.headers["x-code"]) == (400, "RequestHeaderSectionTooLarge")
        assert count * len(field) > limits.HEADER_BYTES_MAX
        with pytest.raises((ConnectionError, RuntimeError)):  # uvloop's word for closed
            for _ in range(3 * limits.LINGER_BYTES_MAX // len(field)):
                await wire.send(field)


async def test_silence_closes() -> None:
    patience = Patience(keepalive=SHORT)
    async with serving(echo, patience) as (_, port), await Wire.connect(port) as wire:
        assert await wire.closed() == b""


@pytest.mark.parametrize(
    "sent", [b"G", b"GET /k HTTP/1.1\r\n", b"GET /k HTTP/1.1\r\n" + HOST], ids=repr
)
async def test_a_head_that_does_not_come_in_time_is_a_request_timeout(sent: bytes) -> None:
    patience = Patience(header=SHORT, linger=SHORT)
    async with serving(echo, patience) as (server, port), await Wire.connect(port) as wire:
        answer = await wire.ask(sent)
        assert (answer.status, answer.headers["x-code"]) == (400, "RequestTimeout")
        assert answer.headers["connection"] == "close"
        assert await wire.closed() == b""
        await until(lambda: not server.connections)


async def test_header_deadline_does_not_move_with_each_byte() -> None:
    patience = Patience(header=SHORT)
    async with serving(echo, patience) as (_, port), await Wire.connect(port) as wire:
        answer = asyncio.create_task(wire.answer())
        async with asyncio.timeout(200 * SHORT):
            for byte in b"GET /k HTTP/1.1\r\nHost: " + b"x" * 10000:
                await wire.send(bytes((byte,)))
                await asyncio.sleep(SHORT / 15)
                if answer.done():
                    break
        assert (await answer).headers["x-code"] == "RequestTimeout"


async def test_idle_connection_closes_after_keepalive() -> None:
    """Counted from the last answer: whoever goes on asking is not idle."""
    patience = Patience(keepalive=2.0)
    clock = asyncio.get_running_loop().time
    async with serving(echo, patience) as (_, port), await Wire.connect(port) as wire:
        began = clock()
        while clock() - began < 1.2 * patience.keepalive:
            assert (await wire.ask(get(b""))).status == 200
        assert await wire.closed() == b""


async def test_stalled_body_is_a_request_timeout() -> None:
    patience = Patience(body_idle=SHORT)
    async with serving(echo, patience) as (_, port), await Wire.connect(port) as wire:
        answer = await wire.ask(put(b"Content-Length: 10\r\n", b"abc"))
        assert answer.headers["x-code"] == "RequestTimeout"


async def test_trickled_body_is_a_request_timeout() -> None:
    """Never idle for long, yet below the minimum rate."""
    patience = Patience(body_window=2 * SHORT, body_rate=1000)
    async with serving(echo, patience) as (_, port), await Wire.connect(port) as wire:
        await wire.send(put(b"Content-Length: 100000\r\n"))
        answer = asyncio.create_task(wire.answer())
        while not answer.done():
            wire.writer.write(b"x")
            await asyncio.sleep(0.05)
        assert (await answer).headers["x-code"] == "RequestTimeout"


async def test_slow_server_is_not_held_against_the_client() -> None:
    """It takes longer over one piece than it would wait for one, or for the rate."""
    patience = Patience(body_idle=3.0, body_window=3.0, body_rate=1 << 40)

    async def dawdle(exchange: Exchange) -> None:
        count = 0
        async for piece in exchange.body:
            if count == 0:
                await asyncio.sleep(1.2 * patience.body_window)
            count += len(piece)
        await exchange.answer(200, [], str(count).encode())

    async with serving(dawdle, patience) as (_, port), await Wire.connect(port) as wire:
        answer = await wire.ask(put(b"Content-Length: 2000000\r\n", b"x" * 2_000_000))
        assert (answer.status, answer.body) == (200, b"2000000")


async def test_client_that_does_not_read_is_cut() -> None:
    pouring = Pouring()
    patience = Patience(send_idle=SHORT)
    async with serving(pouring, patience) as (_, port), await Wire.connect(port) as wire:
        await wire.send(get(b""))
        await until(lambda: pouring.cut)
        assert pouring.cut == ["stalled"]
