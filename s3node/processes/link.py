"""An edge's side of the border: hello to the engine, and the seams that come of it.

    link = await connect(sock, arena, machinery)
    ... link.kv, link.disks, link.ids ...
    reason = await link.gone
    await link.close()

Invariants: a link is to one life of an engine and ends with it; another one has another index,
other ids and its own memory, and no request that began on one goes on over the other.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from s3node.base.arena import Arena
from s3node.base.clock import Clock
from s3node.base.errors import EngineGone
from s3node.base.filesystem import FileSystem
from s3node.base.ids import EpochIds, RandomBytes
from s3node.processes import messages
from s3node.processes.channel import MARK, Channel
from s3node.processes.messages import (
    BadMessage,
    Failed,
    Farewell,
    FromEngine,
    Hello,
    Placed,
    Refused,
    Told,
    Verdict,
    Welcome,
)
from s3node.processes.remote_disks import RemoteDisks
from s3node.processes.remote_kv import Reader, RemoteKv
from s3node.store.engine import Engine
from s3node.store.limits import Limits

PARTED = "the edge parts"


class OpenIndex(Reader, Protocol):
    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Machinery:
    """What an edge's side is made of."""

    fs: FileSystem
    clock: Clock
    random: RandomBytes
    engine: Callable[[int], Engine]  # for reading, of so many disks
    index: Callable[[Path, bytes], OpenIndex]  # of a path and a deployment id
    limits: Limits = Limits()  # noqa: RUF009  # immutable


async def connect(
    sock: socket.socket,
    arena: Arena | None,
    machinery: Machinery,
    *,
    still: Callable[[], bool],
    timeout: float | None = None,  # noqa: ASYNC109  # of one exchange
) -> Link:
    """Say hello on a connected stream socket, which is the link's from here on. EngineGone.

    `arena` is shared and new: another link's may still be read by an engine. `still` tells
    whether no other engine can have begun meanwhile, asked after every snapshot: the end of the
    connection is heard of a little later than it happens. An engine that is recovering answers
    when it has, so there is no `timeout` unless one is given.
    """
    sock.setblocking(False)
    hello = _Beginning(sock, arena)
    try:
        async with asyncio.timeout(timeout):
            await hello.channel.open()
            welcome, told = await hello.done
    except (OSError, TimeoutError) as error:
        hello.channel.close("no Welcome")
        raise EngineGone(f"no welcome: {str(error) or 'none in time'}") from error
    return Link(hello.channel, arena, machinery, still, welcome, told)


class _Beginning:
    """Until engine and edge know each other."""

    def __init__(self, sock: socket.socket, arena: Arena | None) -> None:
        self.done: asyncio.Future[tuple[Welcome, Told]]
        self.done = asyncio.get_running_loop().create_future()
        self.channel = Channel(sock, messages.unpack_from_engine, self._take, self._ended)
        self._welcome: Welcome | None = None
        try:
            if arena is None:
                sock.send(MARK)
            else:
                socket.send_fds(sock, [MARK], [arena.fd])
        except OSError as error:
            self.channel.close(str(error))
        self.channel.send(Hello(messages.VERSION, 0 if arena is None else arena.total))

    def _take(self, message: FromEngine) -> None:
        if isinstance(message, Welcome) and self._welcome is None:
            if message.version != messages.VERSION:
                raise BadMessage(f"version {message.version}, not {messages.VERSION}")
            self._welcome = message
        elif isinstance(message, Told) and self._welcome is not None:
            if not self.done.done():
                self.done.set_result((self._welcome, message))
        elif isinstance(message, Farewell):
            self.channel.close(message.reason)
        else:
            raise BadMessage(f"{type(message).__name__} at the beginning")

    def _ended(self, reason: str) -> None:
        if not self.done.done():
            self.done.set_exception(EngineGone(reason))


class Link:
    """What an edge has of its engine."""

    def __init__(
        self,
        channel: Channel,
        arena: Arena | None,
        machinery: Machinery,
        still: Callable[[], bool],
        welcome: Welcome,
        told: Told,
    ) -> None:
        self.epoch = welcome.epoch
        self.life = welcome.life
        self.deployment_id = welcome.deployment_id
        self.sequence = told.sequence
        self.stall = told.stall
        self.ids = EpochIds(welcome.epoch, machinery.random, welcome.life)
        self.gone: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._channel = channel
        self._index = machinery.index(Path(welcome.index_path), welcome.deployment_id)
        self._engine = machinery.engine(len(told.disks))
        self._closed = False
        self.kv = RemoteKv(self._index, channel.send, still, machinery.random)
        self.disks = RemoteDisks(
            channel.send,
            channel.post,
            arena,
            told.disks,
            welcome.deployment_id,
            machinery.fs,
            self._engine,
            self.ids,
            machinery.clock,
            machinery.limits,
        )
        channel.take_over(self._take, self._ended)

    async def close(self) -> None:
        """Part with the engine, if that has not happened; let go of index and disks."""
        if self._closed:
            return
        self._closed = True
        self._channel.close(PARTED)
        self._index.close()
        self.disks.close()
        await self._engine.stop()

    def _take(self, message: FromEngine) -> None:
        if isinstance(message, Verdict):
            self.kv.decided(message.number, message.accepted)
        elif isinstance(message, Placed):
            self.disks.placed(message.places)
        elif isinstance(message, Failed):
            self.disks.failed(message.number, messages.fault_of(message))
        elif isinstance(message, Refused):
            self.kv.refused(message.number, messages.fault_of(message))
        elif isinstance(message, Told):
            self.sequence, self.stall = message.sequence, message.stall
            self.disks.told(message.disks)
        elif isinstance(message, Farewell):
            self._channel.close(message.reason)
        else:
            raise BadMessage("a second Welcome")

    def _ended(self, reason: str) -> None:
        self.kv.gone(reason)
        self.disks.gone(reason)
        if not self.gone.done():
            self.gone.set_result(reason)
