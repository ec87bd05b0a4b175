"""Two servers on one listening socket share connections evenly, and no client waits for one that
hangs. Both run on one loop here: what decides is the readiness of the socket and the counts.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator

import pytest

from s3node.base.shares import CONNECTIONS, Bound
from s3node.edge.accepting import HOLD_BACK_S_MAX
from s3node.edge.exchange import Exchange
from s3node.edge.http import HttpServer, bind
from tests.edge.wire import ANSWER_S_MAX, Wire, refuse, until


class Beside:
    """The counts of all servers; each has one entry."""

    def __init__(self, counts: list[int], own: int) -> None:
        self._counts = counts
        self._own = own

    def set(self, count: int) -> None:
        self._counts[self._own] = count

    def ahead(self) -> bool:
        return self._counts[self._own] > min(self._counts)

    def total(self) -> int:
        return sum(self._counts)

    def processes(self) -> int:
        return len(self._counts)


async def hello(exchange: Exchange) -> None:
    await exchange.answer(200, [], b"hello")


@contextlib.asynccontextmanager
async def shared(
    servers: int, *, away: int = 0, bound: Bound = CONNECTIONS
) -> AsyncIterator[tuple[int, list[int]]]:
    """`servers` that accept, and `away` more that are there and never do."""
    listening = bind("127.0.0.1", 0)
    counts = [0] * (servers + away)
    running = []
    for own in range(servers):
        share = Beside(counts, own)
        server = HttpServer(hello, refuse, name="test", share=share, bound=bound)
        server.serve(listening.dup())
        running.append(server)
    try:
        yield listening.getsockname()[1], counts
    finally:
        for server in running:
            await server.stop(ANSWER_S_MAX)
        listening.close()


GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.mark.parametrize("servers", [1, 2, 3])
@pytest.mark.parametrize("together", [True, False])
async def test_connections_are_spread_evenly(servers: int, together: bool) -> None:
    async with shared(servers) as (port, counts), contextlib.AsyncExitStack() as stack:
        for each in range(1, 5):
            if together:
                new = await asyncio.gather(*(Wire.connect(port) for _ in range(servers)))
            else:
                new = [await Wire.connect(port) for _ in range(servers)]
            for wire in new:
                await stack.enter_async_context(wire)
                assert (await wire.ask(GET)).status == 200
            assert counts == [each] * servers


async def test_who_lost_connections_gets_the_next_ones() -> None:
    async with shared(2) as (port, counts):
        wires = [await Wire.connect(port) for _ in range(6)]
        for wire in wires:
            await wire.ask(GET)
        assert counts == [3, 3]
        for wire in wires[::2]:
            wire.writer.close()
        await until(lambda: sum(counts) == 3)
        for _ in range(3):
            wires.append(await Wire.connect(port))
            assert (await wires[-1].ask(GET)).status == 200
        assert counts == [3, 3]


async def test_a_server_that_hangs_holds_up_nobody_for_long() -> None:
    async with shared(1, away=1) as (port, counts):
        clock = asyncio.get_running_loop().time
        wires = []  # a connection that nobody holds is closed
        for count in range(1, 4):
            began = clock()
            wires.append(await Wire.connect(port))
            assert (await wires[-1].ask(GET)).status == 200
            assert counts == [count, 0]
            assert count == 1 or clock() - began >= HOLD_BACK_S_MAX / 2


async def test_the_bound_of_connections_is_of_all_together() -> None:
    async with shared(2, bound=Bound(3, 3)) as (port, counts):
        wires = [await Wire.connect(port) for _ in range(3)]
        for wire in wires:
            assert (await wire.ask(GET)).status == 200
        async with await Wire.connect(port) as one_more:
            assert (await one_more.ask(GET)).status == 503
            assert await one_more.closed() == b""
        assert sum(counts) == 3


async def test_an_accept_that_fails_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    failures = 2
    real = socket.socket.accept

    def accept(self: socket.socket) -> tuple[socket.socket, object]:
        nonlocal failures
        if failures:
            failures -= 1
            raise OSError(24, "Too many open files")
        return real(self)

    monkeypatch.setattr(socket.socket, "accept", accept)
    async with shared(1) as (port, _):
        assert (await (await Wire.connect(port)).ask(GET)).status == 200
    assert failures == 0


async def test_an_address_gets_its_share_of_all_together() -> None:
    async with shared(2, bound=Bound(8, 4)) as (port, counts), contextlib.AsyncExitStack() as stack:
        statuses = []
        for _ in range(8):
            wire = await stack.enter_async_context(
                await Wire.connect(port, local_addr=("127.0.0.2", 0))
            )
            statuses.append((await wire.ask(GET)).status)
        assert statuses == [200] * 4 + [503] * 4
        assert counts == [2, 2]
        async with await Wire.connect(port) as other:
            assert (await other.ask(GET)).status == 200


async def test_who_is_never_greeted_holds_no_place() -> None:
    """The server stops between accepting a connection and anything else."""
    counts = [0]
    listening = bind("127.0.0.1", 0)
    server = HttpServer(hello, refuse, name="test", share=Beside(counts, 0), bound=CONNECTIONS)
    server.serve(listening)
    ours, theirs = socket.socketpair()
    acceptor = server._acceptor
    assert acceptor is not None
    acceptor._take(theirs, "192.0.2.1")
    assert counts == [1]
    acceptor.close()
    await until(lambda: counts == [0])
    assert ours.recv(1) == b""
    ours.close()
    await server.stop(ANSWER_S_MAX)
