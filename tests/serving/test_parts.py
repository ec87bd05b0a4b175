"""The parts of the process tree by themselves: counts that are shared, pauses, sums, changes."""

from __future__ import annotations

import asyncio
import os
import socket
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s3node.base import metrics
from s3node.base.errors import ConfigError
from s3node.base.limits import EDGES_MAX
from s3node.base.shares import Bound, RequestBounds
from s3node.config import CHANGEABLE, Address, Config, Keys, Tls, changed
from s3node.serving import sums
from s3node.serving.board import Board
from s3node.serving.change import load_again, settings_of
from s3node.serving.control import Answer, Change, Line, Message, Ready, Stop
from s3node.serving.engine_life import knock
from s3node.serving.seats import PAUSE_S_MAX, STEADY_S, Child, Seat

CONFIG = Config(
    disks=tuple(Path(f"/d{slot}") for slot in range(6)),
    meta=Path("/meta"),
    parity=2,
    keys=Keys("access", "secret-secret"),
    edges=2,
)


# --- the board ---------------------------------------------------------------------------------


@given(counts=st.lists(st.none() | st.integers(0, 50), min_size=1, max_size=EDGES_MAX))
def test_who_is_ahead(counts: list[int | None]) -> None:
    board = Board()
    for edge, count in enumerate(counts):
        board.set_alive(edge, True)
        board.share(edge).set(count or 0)
        if count is None:
            board.set_alive(edge, False)
    alive = [count for count in counts if count is not None]
    for edge, count in enumerate(counts):
        assert board.connections(edge) == (count or 0)
        if count is not None:
            assert board.share(edge).ahead() == (count > min(alive))
        assert board.share(edge).total() == sum(alive)


def test_a_dead_edge_has_no_connections_and_holds_nobody_back() -> None:
    board = Board()
    for edge in range(2):
        board.set_alive(edge, True)
    board.share(1).set(3)
    assert board.share(1).ahead()
    board.set_alive(0, False)
    assert not board.share(1).ahead()
    board.set_alive(1, False)
    board.set_alive(1, True)
    assert board.share(0).total() == 0


# --- seats -------------------------------------------------------------------------------------


def die_after(seat: Seat, born: float, lived: float) -> float:
    """The pause until the next child."""
    seat.take(Child(1, None, born))  # type: ignore[arg-type]  # nothing is said to it
    seat.leave(born + lived, expected=False)
    return seat.due - born - lived


def test_pauses_grow_while_children_die_quickly() -> None:
    seat = Seat("edge", 0)
    pauses = [die_after(seat, 1000.0 * n, 0.1) for n in range(12)]
    assert pauses[0] == 0.0
    assert all(0 < a <= b for a, b in pairwise(pauses[1:]))
    assert pauses[-1] == pytest.approx(PAUSE_S_MAX)
    assert die_after(seat, 1e6, STEADY_S + 1) == 0.0
    assert seat.deaths == 13
    assert not seat.ready


async def test_who_asks_a_child_that_dies_is_answered_with_nothing() -> None:
    ours, theirs = socket.socketpair()
    child = Child(1, await Line.open(ours), 0.0)
    asked = asyncio.ensure_future(child.ask("status"))
    await asyncio.sleep(0)
    child.dies()
    assert await asked is None
    child.answered(0, "too late")
    theirs.close()
    await child.line.close()


# --- control -----------------------------------------------------------------------------------


async def test_messages_come_as_they_were_sent_and_the_end_is_told() -> None:
    ours, theirs = socket.socketpair()
    near, far = await Line.open(ours), await Line.open(theirs)
    told: list[Message] = [
        Stop(1.5),
        Change(settings_of(CONFIG)),
        Ready(),
        Answer(7, {"a": [1, None, "text"] * 100_000}),
    ]
    for message in told:
        near.send(message)
    assert [await far.receive() for _ in told] == told
    await near.close()
    assert await far.receive() is None
    await far.close()


async def test_a_knock_is_answered_by_whoever_is_the_engine() -> None:
    door, outside = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    outside.setblocking(False)
    knocking = asyncio.ensure_future(knock(outside))
    await asyncio.sleep(0.01)
    assert not knocking.done()  # it waits for as long as there is no engine
    _, ends, _, _ = socket.recv_fds(door, 1, 1)
    with socket.socket(fileno=ends[0]) as edge:
        edge.send((3).to_bytes(8, "little"))
        own, life = await knocking
        assert life == 3
        own.send(b"hello")
        assert edge.recv(5) == b"hello"
        own.close()
    knocking = asyncio.ensure_future(knock(outside))
    await asyncio.sleep(0.01)
    _, ends, _, _ = socket.recv_fds(door, 1, 1)
    os.close(ends[0])  # the engine dies with it in hand
    with pytest.raises(ConnectionError):
        await knocking
    door.close()
    outside.close()


# --- sums --------------------------------------------------------------------------------------


def test_every_gauge_is_told_by_somebody_and_only_once() -> None:
    """Whatever is neither a count nor a sum of what processes hold is named as one process's."""
    families = {one.name: one.type for one in metrics.REGISTRY.collect()}
    named = sums.OWN | sums.PASSING | sums.ENGINE
    assert named <= families.keys()
    assert not sums.OWN & sums.ENGINE
    assert not sums.PASSING & (sums.OWN | sums.ENGINE)
    counted_by_gauges = {"s3node_engine", "s3node_objects"}
    gauges = {name for name, kind in families.items() if kind == "gauge"}
    assert gauges - named == counted_by_gauges


def test_samples_are_taken_from_where_the_process_began() -> None:
    metrics.REQUESTS_REFUSED_BUSY.labels("node").inc(5)
    mine = sums.Samples()
    metrics.REQUESTS_REFUSED_BUSY.labels("node").inc(7)
    bound = (("bound", "node"),)
    key = ("s3node_requests_refused_busy", "s3node_requests_refused_busy_total", bound)
    taken = sums.received(mine.take())
    assert taken[key] == 7
    total: dict[sums.Key, float] = {}
    sums.add(total, taken, without=frozenset())
    sums.add(total, sums.lasting(taken), without=frozenset())
    assert total[key] == 14
    assert b's3node_requests_refused_busy_total{bound="node"} 14.0' in sums.page(total)
    passing = ("s3node_buffer_bytes", "s3node_buffer_bytes", ())
    assert passing in taken
    assert passing not in sums.lasting(taken)


# --- changes -----------------------------------------------------------------------------------


OTHER: dict[str, object] = {
    "disks": CONFIG.disks[:5],
    "meta": Path("/other"),
    "parity": 1,
    "keys": Keys("other", "secret-secret"),
    "listen": Address("127.0.0.1", 1),
    "admin_listen": Address("127.0.0.1", 1),
    "region": "mars",
    "domains": ("example.org",),
    "tls": Tls(Path("/c"), Path("/k")),
    "allow_non_mount": True,
    "requests": RequestBounds.of(1),
    "connections": Bound.of(1),
    "edges": 3,
    "log_level": "debug",
}


@pytest.mark.parametrize("name", Config.__dataclass_fields__)
def test_each_setting_can_change_or_is_refused(name: str) -> None:
    new = replace(CONFIG, **{name: OTHER[name]})  # type: ignore[arg-type]
    if name in CHANGEABLE and name != "tls":
        assert changed(CONFIG, new) == [name]
        assert load_again(CONFIG, lambda: new) is new
        assert settings_of(new) != settings_of(CONFIG)
    else:
        with pytest.raises(ConfigError, match=name):
            changed(CONFIG, new)
        assert load_again(CONFIG, lambda: new) is CONFIG


def test_files_of_the_certificate_can_change() -> None:
    old = replace(CONFIG, tls=Tls(Path("/c"), Path("/k")))
    assert changed(old, replace(old, tls=Tls(Path("/d"), Path("/k")))) == ["tls"]


@given(requests=st.integers(1, 10_000), edges=st.integers(1, EDGES_MAX))
def test_edges_share_the_bound_of_requests(requests: int, edges: int) -> None:
    bounds = RequestBounds.of(requests)
    for share, of_all in zip(bounds.part(edges), bounds, strict=True):
        assert of_all <= share * edges < of_all + edges
