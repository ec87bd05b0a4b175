"""The child that owns all writing: it opens the disks, lets edges in, and seals at its end.

    inherits  a line to the supervisor; the socket at which edges knock
    tells     Waiting (too few disks), Ready, Refused
    answers   status, disks, trouble, samples

Edges knock with one end of a socket pair; the engine that takes it says which life it is.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Protocol

from s3node.base.errors import ConfigError
from s3node.base.log import hide, set_level
from s3node.config import Config
from s3node.serving.child import Orders, Question
from s3node.serving.control import Ready, Refused, Settings, Waiting
from s3node.serving.life import (
    REFUSED,
    STOPPED,
    Broken,
    Running,
    Stop,
    Tell,
    end_broken,
    open_unless,
    until_asked,
    watch_callbacks,
)
from s3node.serving.sums import Samples

LOG = logging.getLogger("s3node")

_KNOCK_BYTES = 1
_LIFE = struct.Struct("<Q")


class Engine(Running, Protocol):
    """The storage of a node with a door for edges."""

    def accept(self, sock: socket.socket) -> None:
        """An edge, at the other end of a connected stream socket, which is the engine's now."""


OpenEngine = Callable[[Config, Tell], Awaitable[Engine]]


async def engine_life(
    config: Config,
    end: socket.socket,
    knocks: socket.socket,
    life: int,
    open_engine: OpenEngine,
    broken: Broken = end_broken,
) -> int:
    """Until the supervisor says stop; the process's exit status."""
    watch_callbacks(broken)
    stop = Stop()
    questions: dict[str, Question] = {"samples": Samples().take}
    orders = await Orders.open(end, stop, _change, questions)
    orders.listen(broken)
    told = ""

    def tell(reason: str) -> None:
        nonlocal told
        if told != reason:
            told = reason
            LOG.warning("waiting", extra={"fields": {"for": reason}})
            orders.line.send(Waiting(reason))

    try:
        engine = await open_unless(partial(open_engine, config, tell), stop)
    except ConfigError as fault:
        orders.line.send(Refused(str(fault)))
        await orders.close()
        return REFUSED
    if engine is None:
        return STOPPED
    questions |= {**engine.views, "trouble": engine.trouble}
    loop = asyncio.get_running_loop()
    loop.add_reader(knocks.fileno(), _let_in, knocks, engine, life)
    orders.line.send(Ready())
    try:
        await until_asked(stop, engine, broken)
    finally:
        loop.remove_reader(knocks.fileno())
        await engine.close()
    LOG.info("engine stopped")
    return STOPPED


def _let_in(knocks: socket.socket, engine: Engine, life: int) -> None:
    try:
        _, ends, _, _ = socket.recv_fds(knocks, _KNOCK_BYTES, 1)
    except BlockingIOError:
        return
    for end in ends:
        edge = socket.socket(fileno=end)
        try:
            edge.send(_LIFE.pack(life))
        except OSError:  # it did not wait
            edge.close()
        else:
            engine.accept(edge)


async def _change(settings: Settings) -> None:
    hide(settings.secret)
    set_level(settings.log_level)


async def knock(knocks: socket.socket) -> tuple[socket.socket, int]:
    """An edge's end of a new connection to the engine, and that one's life, when it lets in.

    ConnectionError when it died before; BlockingIOError when too many wait already.
    """
    own, other = socket.socketpair()
    with other:
        try:
            socket.send_fds(knocks, [b"k"], [other.fileno()])
        except BaseException:
            own.close()
            raise
    own.setblocking(False)
    try:
        said = await asyncio.get_running_loop().sock_recv(own, _LIFE.size)
        if len(said) < _LIFE.size:
            raise ConnectionResetError("the engine died before it let anybody in")
    except BaseException:
        own.close()
        raise
    return own, _LIFE.unpack(said)[0]
