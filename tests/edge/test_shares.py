"""Fair shares: one that holds all it can get leaves room for whoever comes next."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s3node.base import limits, metrics
from s3node.base.shares import (
    CLIENT,
    IDENTITY,
    NODE,
    REQUESTS,
    Bound,
    Client,
    Holders,
    RequestBounds,
    Room,
    whose,
)
from s3node.edge.exchange import Patience
from s3node.ops.context import Call, Node
from s3node.s3.request import Response
from tests.edge.certificates import make_certificate, trusting_all
from tests.edge.handlers import SHORT, echo, get
from tests.edge.listening import Edge, listening
from tests.edge.wire import Answer, Wire, serving, until

GREEDY, OTHER = "127.0.0.2", "127.0.0.1"


# --- the rule ----------------------------------------------------------------------------------


@given(total=st.integers(1, 5000), data=st.data())
def test_one_that_is_alone_gets_what_is_configured(total: int, data: st.DataObject) -> None:
    most = data.draw(st.integers(1, total))
    bound = Bound(total, most)
    own = 0
    while bound.allows(own, own):
        own += 1
    assert own == most


class Late:
    """A seat whose client has kept it waiting for so long."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds

    def overdue(self) -> float:
        return self.seconds

    def give_up(self) -> None:
        raise AssertionError("nobody has to go")


def entered(room: Room, client: Client, seat: Late | None = None) -> str:
    """The bound that it would break, or "" and it has a place."""
    bound = room.refused(client)
    if not bound:
        room.enter(client, seat or Late())
    return bound


@given(total=st.integers(1, 40), data=st.data())
def test_who_may_be_let_in_without_counting_may_be_let_in(total: int, data: st.DataObject) -> None:
    identity = data.draw(st.integers(1, total))
    bounds = RequestBounds(total, identity, data.draw(st.integers(1, identity)))
    room, counted = Room(bounds), Room(bounds)
    counted._ample = 0
    clients = st.tuples(st.sampled_from("AB"), st.sampled_from("xyz"))
    for client in data.draw(st.lists(clients, max_size=2 * total)):
        assert entered(room, client) == entered(counted, client)


@pytest.mark.parametrize("greedy", [1, 2, 3, 10, 40])
def test_however_many_are_greedy_the_next_one_gets_a_place(greedy: int) -> None:
    room = Room(REQUESTS)
    held = dict.fromkeys(range(greedy), 0)
    while True:
        got = [n for n in held if not entered(room, (f"key{n}", "a"))]
        for n in got:
            held[n] += 1
        if not got:
            break
    assert max(held.values()) - min(held.values()) <= 1, "the same for all"
    assert REQUESTS.total - room.taken >= REQUESTS.total / (3 * greedy + 1) - greedy
    assert entered(room, ("new", "b")) == ""
    if greedy <= 10:
        assert entered(room, ("new", "b")) == ""


@given(
    bounds=st.integers(1, 40).flatmap(
        lambda total: st.tuples(st.just(total), st.integers(1, total), st.integers(1, total))
    ),
    steps=st.lists(st.tuples(st.booleans(), st.integers(0, 3), st.integers(0, 3)), max_size=200),
)
def test_places_are_counted_rightly(
    bounds: tuple[int, int, int], steps: list[tuple[bool, int, int]]
) -> None:
    room = Room(RequestBounds(*bounds))
    total, identity_most, client_most = bounds
    inside: list[tuple[str, str]] = []
    seats: list[Late] = []
    for comes, key, address in steps:
        client = f"k{key}", f"a{address}"
        if not comes:
            if client in inside:
                at = inside.index(client)
                room.leave(inside.pop(at), seats.pop(at))
            continue
        seat = Late()
        bound = entered(room, client, seat)
        own = inside.count(client)
        keys = sum(1 for each in inside if each[0] == client[0])
        if not bound:
            inside.append(client)
            seats.append(seat)
            assert own < client_most
            assert keys < identity_most
        elif bound == NODE:
            assert len(inside) == total
        elif own == keys == 0:
            raise AssertionError("who has nothing gets something while there is something")
        else:
            assert (own if bound == CLIENT else keys) > 0
    assert room.taken == len(inside) <= total
    assert len(room) == len(set(inside))
    for client, seat in zip(inside, seats, strict=True):
        room.leave(client, seat)
    assert (room.taken, len(room), len(room._identities)) == (0, 0, 0)


def test_bounds_that_became_narrower_send_nobody_away() -> None:
    room = Room(RequestBounds(8, 8, 8))
    seats = [Late() for _ in range(6)]
    assert [entered(room, ("k", "a"), seat) for seat in seats] == [""] * 6
    room.change(RequestBounds(4, 4, 3))
    assert entered(room, ("k", "b")) == NODE
    for seat in seats[:4]:
        room.leave(("k", "a"), seat)
    assert entered(room, ("k", "b")) == ""


def test_an_identity_is_bounded_wherever_it_comes_from() -> None:
    room = Room(RequestBounds(16, 12, 8))
    answers = [entered(room, ("k", f"a{n}")) for n in range(20)]
    assert answers == [""] * 12 + [IDENTITY] * 8
    assert entered(room, ("other", "a0")) == ""


def test_who_goes_first_is_of_the_same_bound_and_waits_longest() -> None:
    room = Room(RequestBounds(16, 16, 16))
    seats = [Late(seconds) for seconds in (0, 7, 9, 30, 8, 40)]
    clients = [("k", "1"), ("k", "1"), ("k", "1"), ("k", "2"), ("l", "1"), ("l", "2")]
    for client, seat in zip(clients, seats, strict=True):
        room.enter(client, seat)
    assert room.longest_overdue(CLIENT, ("k", "1")) is seats[2]
    assert room.longest_overdue(IDENTITY, ("k", "1")) is seats[3]
    assert room.longest_overdue(NODE, ("k", "1")) is seats[5]
    assert room.longest_overdue() is seats[5]
    assert room.longest_overdue(CLIENT, ("k", "9")) is None
    for seat in seats:
        seat.seconds = 0
    assert room.longest_overdue() is None


@pytest.mark.parametrize(
    ("remote", "holder"),
    [
        ("10.0.0.1", "10.0.0.1"),
        ("::ffff:10.0.0.1", "10.0.0.1"),
        ("::ffff:a00:2", "10.0.0.2"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::", "2001:db8:1:3::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::1", "::/64"),
        ("", ""),
        ("somewhere", "somewhere"),
    ],
)
def test_whose_an_address_is(remote: str, holder: str) -> None:
    assert whose(remote) == holder


def test_nothing_is_kept_of_who_holds_nothing() -> None:
    holders: Holders[str] = Holders()
    for _ in range(3):
        holders.take("a")
    for left in (2, 1, 0):
        holders.give("a")
        assert holders.of("a") == left
    assert len(holders) == 0


# --- requests ----------------------------------------------------------------------------------


class Held:
    """An operation that goes on until the gate opens."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.working = 0

    async def __call__(self, node: Node, call: Call) -> Response:
        self.working += 1
        await self.gate.wait()
        return Response(200)


@contextlib.asynccontextmanager
async def wires(edge: Edge, count: int, local: str) -> AsyncIterator[list[Wire]]:
    async with contextlib.AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(
                await Wire.connect(edge.port, local_addr=(local, 0), limit=1 << 20)
            )
            for _ in range(count)
        ]


def slowed_down(bound: str) -> float:
    value: Any = metrics.REQUESTS_REFUSED_BUSY.labels(bound)._value  # type: ignore[attr-defined]
    return float(value.get())


def is_slow_down(answer: Answer) -> bool:
    assert (answer.status, b"<Code>SlowDown</Code>" in answer.body) == (503, True)
    return int(answer.headers["retry-after"]) > 0 and "x-amz-request-id" in answer.headers


async def test_a_greedy_client_leaves_room_for_others() -> None:
    held = Held()
    before = slowed_down(CLIENT)
    async with (
        listening({"ListBuckets": held}, requests=RequestBounds(16, 16, 12)) as edge,
        wires(edge, 16, GREEDY) as greedy,
        wires(edge, 1, OTHER) as (other,),
    ):
        ask = edge.signed("GET", "/")
        for wire in greedy:
            await wire.send(ask)
        for wire in greedy[12:]:
            assert is_slow_down(await wire.answer())
        assert held.working == 12
        assert slowed_down(CLIENT) - before == 4
        await other.send(ask)
        await until(lambda: held.working == 13)
        assert is_slow_down(await greedy[-1].ask(ask))
        held.gate.set()
        for wire in (other, *greedy[:12]):
            assert (await wire.answer()).status == 200
        assert (await greedy[-1].ask(ask)).status == 200
        assert edge.s3._room.taken == len(edge.s3._room) == 0


async def test_an_identity_has_a_bound_of_its_own() -> None:
    held = Held()
    before = slowed_down(IDENTITY)
    secrets = {"SECONDACCESSKEY00001": "another-secret-of-forty-characters-00002"}
    async with (
        listening({"ListBuckets": held}, requests=RequestBounds(8, 5, 4), secrets=secrets) as edge,
        wires(edge, 4, GREEDY) as first,
        wires(edge, 2, OTHER) as second,
    ):
        for wire in (*first, *second):
            await wire.send(edge.signed("GET", "/"))
            await asyncio.sleep(0.01)
        assert is_slow_down(await second[1].answer())
        assert slowed_down(IDENTITY) - before == 1
        (access,) = secrets
        keys = access, secrets[access]
        await second[1].send(edge.signed("GET", "/", keys=keys))
        await until(lambda: held.working == 6)
        held.gate.set()
        for wire in (*first, *second):
            assert (await wire.answer()).status == 200


async def test_who_does_not_take_refusals_shuts_nobody_out() -> None:
    """Without a key, and without reading a byte: neither places nor answers are used up."""
    async with (
        listening(requests=RequestBounds(8, 8, 6)) as edge,
        wires(edge, 1, OTHER) as (other,),
    ):
        assert edge.front._s3 is not None
        assert edge.front._s3._acceptor is not None
        listener = edge.front._s3._acceptor._socket
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        async with wires(edge, 9, GREEDY) as greedy:
            for wire in greedy:
                wire.writer.transport.pause_reading()
                wire.writer.write(b"GET /bucket/key HTTP/1.1\r\nHost: x\r\n\r\n" * 5000)
            await until(lambda: edge.s3._refusals.taken == 6 and edge.connections == 7)
            assert edge.s3._room.taken == 0
            for _ in range(3):
                assert (await other.ask(edge.signed("GET", "/"))).status == 200
                assert (await other.ask(get(b"", b"bucket/key"))).status == 403
            for wire in greedy:
                wire.writer.transport.abort()
            await until(lambda: edge.connections == 1)
        assert edge.s3._refusals.taken == 0


async def test_forms_that_do_not_say_who_sends_them_shut_nobody_out() -> None:
    """Without a key, from wherever: they take no place of those who have one."""
    begun = (
        b"POST /bucket HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n"
        b"Content-Type: multipart/form-data; boundary=b\r\n\r\n--b\r\n"
    )
    held = Held()
    async with (
        listening({"ListBuckets": held}, requests=RequestBounds(8, 8, 6)) as edge,
        contextlib.AsyncExitStack() as stack,
        wires(edge, 6, OTHER) as others,
    ):
        for number in range(4):
            for wire in await stack.enter_async_context(wires(edge, 4, f"127.0.1.{number}")):
                await wire.send(begun)
        await until(lambda: edge.s3._forms.taken == 8)
        for wire in others:
            await wire.send(edge.signed("GET", "/"))
        await until(lambda: held.working == 6)
        held.gate.set()
        for wire in others:
            assert (await wire.answer()).status == 200
        await stack.aclose()
        await until(lambda: edge.s3._forms.taken == 0)


async def test_x_forwarded_for_makes_nobody_somebody_else() -> None:
    """N23."""
    held = Held()
    async with (
        listening({"ListBuckets": held}, requests=RequestBounds(4, 4, 2)) as edge,
        wires(edge, 3, GREEDY) as greedy,
    ):
        for number, wire in enumerate(greedy):
            claim = f"10.0.0.{number}"
            names = ("X-Forwarded-For", "Forwarded", "X-Real-IP", "True-Client-IP", "Via")
            headers = {name: f"for={claim}" if name == "Forwarded" else claim for name in names}
            await wire.send(edge.signed("GET", "/", headers=headers))
        assert is_slow_down(await greedy[2].answer())
        held.gate.set()
        for wire in greedy[:2]:
            assert (await wire.answer()).status == 200


# --- slow ones make room -----------------------------------------------------------------------


def given_up() -> float:
    value: Any = metrics.REQUESTS_GIVEN_UP._value  # type: ignore[attr-defined]
    return float(value.get())


async def take(node: Node, call: Call) -> Response:
    size = 0
    async for piece in call.body:
        size += len(piece)
    return Response(200, body=b"%d" % size)


async def pour(node: Node, call: Call) -> Response:
    async def stream() -> AsyncIterator[Sequence[memoryview]]:
        while True:
            yield [memoryview(bytes(1 << 16))]

    return Response(200, stream=stream(), length=1 << 40)


TAKES = {"PutObject": take, "GetObject": pour, "ListBuckets": take}


async def test_a_stalled_upload_makes_room_for_the_same_client() -> None:
    """Nobody is ended without need, and one for each that comes."""
    before = given_up()
    patience = Patience(overdue=SHORT)
    async with (
        listening(TAKES, requests=RequestBounds(4, 4, 3), patience=patience) as edge,
        wires(edge, 3, OTHER) as slow,
        wires(edge, 1, GREEDY) as (other,),
        wires(edge, 1, OTHER) as (same,),
    ):
        for number, wire in enumerate(slow):
            await wire.send(edge.signed("PUT", "/bucket/key", b"body")[: -1 - number % 2])
        await until(lambda: edge.s3._room.taken == 3)
        await asyncio.sleep(3 * SHORT)
        assert (await other.ask(edge.signed("GET", "/"))).status == 200
        assert (given_up(), edge.s3._room.taken) == (before, 3)
        for left in (2, 2):
            assert (await same.ask(edge.signed("GET", "/"))).status == 200
            await until(lambda left=left: edge.s3._room.taken == left)
        assert given_up() == before + 1, "there was room for the second"
        answer = await slow[0].answer()
        assert (answer.status, b"<Code>RequestTimeout</Code>" in answer.body) == (400, True)
        for number, wire in list(enumerate(slow))[1:]:
            await wire.send(b"body"[-1 - number % 2 :])
            assert (await wire.answer()).body == b"4"


async def test_who_was_not_waited_for_long_is_not_ended() -> None:
    patience = Patience(overdue=10 * limits.BODY_IDLE_S)
    before = given_up()
    async with (
        listening(TAKES, requests=RequestBounds(1, 1, 1), patience=patience) as edge,
        wires(edge, 2, OTHER) as (slow, same),
    ):
        await slow.send(edge.signed("PUT", "/bucket/key", b"body")[:-1])
        await until(lambda: edge.s3._room.taken == 1)
        assert is_slow_down(await same.ask(edge.signed("GET", "/")))
        await slow.send(b"y")
        assert (await slow.answer()).body == b"4"
    assert given_up() == before


async def test_who_sends_fast_enough_is_not_ended() -> None:
    patience = Patience(overdue=SHORT, body_rate=100)
    before = given_up()
    async with (
        listening(TAKES, requests=RequestBounds(1, 1, 1), patience=patience) as edge,
        wires(edge, 2, OTHER) as (steady, same),
    ):
        await same.ask(edge.signed("GET", "/"))  # it is there
        connection = next(iter(edge.front._s3.connections))  # type: ignore[union-attr]
        request = edge.signed("PUT", "/bucket/key", bytes(100_000))
        at = request.index(b"\r\n\r\n") + 4
        await steady.send(request[:at])
        await until(lambda: edge.s3._room.taken == 1)
        clock = asyncio.get_running_loop().time
        began = clock()
        while clock() - began < 4 * SHORT and at < len(request):
            sent = clock()
            await steady.send(request[at : at + 1000])
            at += 1000
            await asyncio.sleep(SHORT / 20)
            answer = await same.ask(edge.signed("GET", "/"))
            if clock() - sent > SHORT / 2:
                return  # the machine stood still, and the rest would be no surprise
            assert is_slow_down(answer)
        assert connection.overdue() == 0.0
        await steady.send(request[at:])
        assert (await steady.answer()).body == b"100000"
    assert given_up() == before


@pytest.mark.parametrize("reads", [False, True])
async def test_who_does_not_take_the_answer_makes_room(reads: bool) -> None:
    before = given_up()
    async with (
        listening(TAKES, requests=RequestBounds(1, 1, 1), patience=Patience(overdue=SHORT)) as edge,
        wires(edge, 2, OTHER) as (slow, same),
    ):
        await slow.send(edge.signed("GET", "/bucket/key"))
        await slow.head()
        clock = asyncio.get_running_loop().time
        began = clock()
        while clock() - began < 4 * SHORT:
            if reads:
                await slow.reader.read(1 << 20)
            await asyncio.sleep(0)
        answer = await same.ask(edge.signed("GET", "/"))
        if reads:
            assert is_slow_down(answer)
            return
        while answer.status != 200:  # it is seen between two looks
            assert is_slow_down(answer)
            await asyncio.sleep(2 * SHORT)
            answer = await same.ask(edge.signed("GET", "/"))
        assert given_up() - before == 1


async def pour_much(node: Node, call: Call) -> Response:
    piece = memoryview(bytes(limits.SEND_BUFFER_BYTES))

    async def stream() -> AsyncIterator[Sequence[memoryview]]:
        while True:
            yield [piece]

    return Response(200, stream=stream(), length=1 << 40)


@pytest.mark.parametrize("secure", [False, True])
async def test_who_takes_the_answer_slowly_is_not_ended(secure: bool, tmp_path: Path) -> None:
    """Each wait for it lasts longer than what would be overdue, and all the time some is taken."""
    tls = make_certificate(tmp_path, serial=1) if secure else None
    async with listening(
        {"GetObject": pour_much}, patience=Patience(overdue=SHORT), tls=tls
    ) as edge:
        context = trusting_all() if secure else None
        async with await Wire.connect(edge.port, ssl=context, limit=1 << 14) as slow:
            await slow.send(edge.signed("GET", "/bucket/key"))
            await slow.head()
            (connection,) = edge.front._s3.connections  # type: ignore[union-attr]
            clock = asyncio.get_running_loop().time
            waits = 0
            while waits < 2:
                await slow.reader.read(1 << 14)
                await asyncio.sleep(0.02)
                if connection._paused and clock() - connection._waiting_since > 1.5 * SHORT:
                    assert connection.overdue() == 0.0
                    waits += 1


# --- connections -------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def connected(port: int, count: int, local: str) -> AsyncIterator[list[Wire]]:
    async with contextlib.AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(await Wire.connect(port, local_addr=(local, 0)))
            for _ in range(count)
        ]


async def test_one_address_does_not_get_all_connections() -> None:
    async with (
        serving(echo, bound=Bound(8, 6)) as (server, port),
        connected(port, 8, GREEDY) as greedy,
        connected(port, 1, OTHER) as (other,),
    ):
        assert [(await wire.ask(get(b""))).status for wire in greedy] == [200] * 6 + [503] * 2
        assert (await other.ask(get(b""))).status == 200
        for wire in greedy:
            wire.writer.transport.abort()
        await until(lambda: len(server.connections) == 1)
        assert server._acceptor is not None
        assert len(server._acceptor._holders) == 1
        assert not server._acceptor._turned_away
        async with connected(port, 5, GREEDY) as again:
            assert [(await wire.ask(get(b""))).status for wire in again] == [200] * 5


async def test_who_is_turned_away_is_not_waited_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "TURNED_AWAY_MAX", 2)
    async with (
        serving(echo, Patience(linger=SHORT), bound=Bound(1, 1)) as (server, port),
        connected(port, 1, OTHER) as (welcome,),
        connected(port, 2, GREEDY) as (silent, slow),
    ):
        await slow.send(get(b"")[:-2])
        async with connected(port, 1, GREEDY) as (one_more,):
            assert await one_more.closed() == b"", "at once"
        assert await silent.closed() == b""
        assert (await slow.answer()).status == 400
        await until(lambda: len(server.connections) == 1)
        assert (await welcome.ask(get(b""))).status == 200


async def test_who_is_turned_away_is_told_behind_a_body() -> None:
    body = random.Random(1).randbytes(limits.UNREAD_BYTES_MAX * 4)
    head = b"PUT /k HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body)
    async with (
        serving(echo, bound=Bound(1, 1)) as (_, port),
        connected(port, 1, OTHER),
        connected(port, 1, GREEDY) as (wire,),
    ):
        answer = await wire.ask(head + body)
        assert (answer.status, answer.headers["x-code"]) == (503, "SlowDown")


async def test_no_more_are_turned_away_than_there_is_room_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """They are closed at once: nothing else would end them here."""
    monkeypatch.setattr(limits, "TURNED_AWAY_MAX", 2)
    patience = Patience(linger=10 * limits.KEEPALIVE_S)
    async with (
        serving(echo, patience, bound=Bound(1, 1)) as (server, port),
        connected(port, 3, OTHER),
        connected(port, 1, OTHER) as (one_more,),
    ):
        assert await one_more.closed() == b""
        assert len(server.connections) == 3
