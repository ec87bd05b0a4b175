"""Accepting connections from a listening socket, which several processes may share.

One connection is accepted each time the socket is ready, never all that wait: what is left goes
to whoever has room. A process that has more connections than another leaves new ones to it (see
`Share`), looks again after `HOLD_BACK_S`, and takes them all the same when nobody did for
`HOLD_BACK_S_MAX`: a process that hangs keeps nobody waiting. So a few clients with one busy
connection each are spread over the processes, not left to chance.

How many connections may be open is bounded for all processes together, and each address gets its
share of them (see `shares`). One more is not welcome: it is accepted to be told so, and closed at
once where `limits.TURNED_AWAY_MAX` wait for that already.

The socket is closed by `close`, connections that are open or shaking hands are the server's.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from functools import partial
from typing import Protocol

from s3node.base import limits
from s3node.base.shares import Bound, Holders, whose

LOG = logging.getLogger("s3node.edge")

HOLD_BACK_S = 0.0015
HOLD_BACK_S_MAX = 0.03
EXHAUSTED_S = 0.2
"""After a failure to accept (no descriptors, no memory), until it is tried again."""


class Share(Protocol):
    """How many connections are open here, and in the other processes of the node."""

    def set(self, count: int) -> None:
        """So many are open here."""

    def ahead(self) -> bool:
        """Whether another process has fewer."""

    def total(self) -> int:
        """Of all processes."""

    def processes(self) -> int:
        """How many they are."""


class Alone:
    """The share of a process that shares with nobody."""

    def __init__(self) -> None:
        self._count = 0

    def set(self, count: int) -> None:
        self._count = count

    def ahead(self) -> bool:
        return False

    def total(self) -> int:
        return self._count

    def processes(self) -> int:
        return 1


class Server(Protocol):
    """Whom connections are accepted for."""

    bound: Bound
    """Connections of all processes, and of one address."""

    def make(self, *, welcome: bool) -> asyncio.BaseProtocol:
        """The protocol of a connection, which says `gone` when that is lost."""

    def refused(self) -> None:
        """A connection was not welcome."""

    def failed(self, remote: str, why: Exception) -> None:
        """No connection came of what was accepted."""


class Acceptor:
    """Accepts on one socket for one server, on the running loop."""

    def __init__(
        self,
        listening: socket.socket,
        server: Server,
        share: Share,
        tls: ssl.SSLContext | None,
    ) -> None:
        self.tls = tls  # of connections that are accepted from now on
        self._loop = asyncio.get_running_loop()
        self._socket = listening
        self._server = server
        self._share = share
        self._open: dict[asyncio.BaseProtocol, str] = {}  # welcome ones, and whose they are
        self._holders: Holders[str] = Holders()
        self._turned_away: set[asyncio.BaseProtocol] = set()
        self._waiting: asyncio.TimerHandle | None = None
        self._held_since: float | None = None
        self._greeting: set[asyncio.Task[None]] = set()
        self._listen()

    def gone(self, protocol: asyncio.BaseProtocol) -> None:
        """Its connection is lost, or never was; it may be said twice."""
        self._turned_away.discard(protocol)
        holder = self._open.pop(protocol, None)
        if holder is not None:
            self._holders.give(holder)
            self._share.set(len(self._open))

    def close(self) -> None:
        """Accept nothing more. It may be said twice."""
        if self._socket.fileno() < 0:
            return
        if self._waiting is not None:
            self._waiting.cancel()
        self._loop.remove_reader(self._socket.fileno())
        self._socket.close()
        for task in self._greeting:
            task.cancel()

    def _listen(self) -> None:
        self._waiting = None
        self._loop.add_reader(self._socket.fileno(), self._ready)

    def _pause(self, seconds: float) -> None:
        self._loop.remove_reader(self._socket.fileno())
        self._waiting = self._loop.call_later(seconds, self._listen)

    def _ready(self) -> None:
        if self._share.ahead() and self._may_hold_back():
            self._pause(HOLD_BACK_S)
            return
        self._held_since = None
        try:
            client, address = self._socket.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return  # another process was faster, or the client is gone
        except OSError as fault:
            LOG.error("cannot accept connections: %s", fault)
            self._pause(EXHAUSTED_S)
            return
        self._take(client, address[0])

    def _take(self, client: socket.socket, remote: str) -> None:
        """A connection of this address has been accepted."""
        holder = whose(remote)
        welcome = self._may_have_one_more(holder)
        if not welcome:
            self._server.refused()
            if len(self._turned_away) >= limits.TURNED_AWAY_MAX:
                client.close()
                return
        client.setblocking(False)
        protocol = self._server.make(welcome=welcome)
        if welcome:
            self._open[protocol] = holder
            self._holders.take(holder)
            self._share.set(len(self._open))
        else:
            self._turned_away.add(protocol)
        task = self._loop.create_task(self._greet(client, protocol, remote))
        self._greeting.add(task)
        task.add_done_callback(partial(self._greeted, protocol, client))

    def _greeted(
        self, protocol: asyncio.BaseProtocol, client: socket.socket, task: asyncio.Task[None]
    ) -> None:
        """Whatever it ended with, and also when it never began: no place is held by nobody."""
        self._greeting.discard(task)
        if task.cancelled():
            client.close()
            self.gone(protocol)
        elif task.exception() is not None:
            LOG.error("greeting a connection failed", exc_info=task.exception())
            self.gone(protocol)

    def _may_have_one_more(self, holder: str) -> bool:
        """By what all processes have open; an address is taken to have as many with each."""
        bound, share = self._server.bound, self._share
        return bound.allows(self._holders.of(holder) * share.processes(), share.total())

    def _may_hold_back(self) -> bool:
        """Whether this connection has not waited too long already; begins to count."""
        now = self._loop.time()
        if self._held_since is None or now - self._held_since > 2 * HOLD_BACK_S_MAX:
            self._held_since = now
        return now - self._held_since <= HOLD_BACK_S_MAX

    async def _greet(
        self, client: socket.socket, protocol: asyncio.BaseProtocol, remote: str
    ) -> None:
        """From an accepted socket to a protocol that has its connection."""
        timeout = limits.TLS_HANDSHAKE_S if self.tls else None
        try:
            await self._loop.connect_accepted_socket(
                lambda: protocol, client, ssl=self.tls, ssl_handshake_timeout=timeout
            )
        except OSError as fault:  # of TLS too
            self._server.failed(remote, fault)
            self.gone(protocol)
