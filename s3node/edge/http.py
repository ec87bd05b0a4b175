"""HTTP/1.1 on sockets: one address, its connections, and a stop that lets requests finish.

Heads are read by llhttp (`head`). Everything else is ours: framing of bodies (`body`), deadlines
and bounds (`patience`, `connection`), refusals in the caller's own words, answers (`exchange`).
Bodies are never decompressed: what is sent is what is stored.

Requests that smugglers use are refused before anyone sees them: both Content-Length and
Transfer-Encoding, any coding but plain ``chunked``, repeated or malformed lengths and hosts, bare
LF, folded headers, CONNECT, Upgrade on the way to another protocol, HTTP versions other than
1.0 and 1.1.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Awaitable, Callable

from s3node.base import limits, metrics
from s3node.base.errors import ConfigError, S3Error
from s3node.base.shares import CONNECTIONS, Bound
from s3node.edge.accepting import Acceptor, Alone, Share
from s3node.edge.body import Memory
from s3node.edge.connection import Connection
from s3node.edge.exchange import Exchange
from s3node.edge.owner import Refusal
from s3node.edge.patience import Patience, Sweeper
from s3node.edge.sender import Sender

__all__ = ["Handler", "HttpServer", "Refusal", "Refuse"]

LOG = logging.getLogger("s3node.edge")

Handler = Callable[[Exchange], Awaitable[None]]
Refuse = Callable[[S3Error, str], Refusal]
"""The answer to what never becomes an Exchange, and came from this address."""

OpenSender = Callable[[asyncio.AbstractEventLoop], Sender | None]


class HttpServer:
    """Accepts connections on one address and hands every request to `handler`."""

    def __init__(
        self,
        handler: Handler,
        refuse: Refuse,
        *,
        name: str,
        patience: Patience | None = None,
        bound: Bound = CONNECTIONS,
        share: Share | None = None,
        open_sender: OpenSender | None = None,
    ) -> None:
        """`bound` is of what all processes of the `share` have open together; without a way to
        open a sender the loop sends everything.
        """
        self.handler = handler
        self.refuse = refuse
        self.name = name
        self.patience = patience or Patience()
        self.bound = bound
        self.share = share or Alone()
        self.connections: set[Connection] = set()
        self.memory = Memory()
        # What does not have a place of its own is received here, by all: it is taken at once.
        self.scratch = memoryview(bytearray(limits.RECEIVE_BUFFER_BYTES))
        self.stopping = False
        self._loop = asyncio.get_running_loop()
        self._sweeper = Sweeper(self.connections, self.patience)
        self._acceptor: Acceptor | None = None
        self._open_sender = open_sender
        self._sender: Sender | None = None
        self._busy = 0
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def secure(self) -> bool:
        """Whether connections that are accepted now speak TLS."""
        return self._acceptor is not None and self._acceptor.tls is not None

    # --- the acceptor's side ------------------------------------------------------------------

    def make(self, *, welcome: bool) -> Connection:
        """Of a connection that was accepted; one that is not welcome is told so."""
        return Connection(self, self._loop, welcome=welcome)

    def refused(self) -> None:
        """A connection was one too many."""
        metrics.CONNECTIONS_REFUSED.labels(self.name).inc()

    def failed(self, remote: str, why: Exception) -> None:
        """No connection came of what was accepted; who just hung up was looking whether we are
        there.
        """
        if self.secure and not isinstance(why, (ConnectionResetError, BrokenPipeError)):
            metrics.HANDSHAKES_FAILED.labels(self.name).inc()
            LOG.info("no TLS", extra={"fields": {"remote": remote, "why": str(why)}})

    # --- the connections' side ----------------------------------------------------------------

    def joined(self, connection: Connection) -> None:
        """It is open."""
        self.connections.add(connection)
        metrics.CONNECTIONS.labels(self.name).inc()

    def left(self, connection: Connection) -> None:
        """It is lost."""
        self.connections.discard(connection)
        metrics.CONNECTIONS.labels(self.name).dec()
        if self._acceptor is not None:
            self._acceptor.gone(connection)

    def begin(self) -> None:
        """A request is being worked on."""
        self._busy += 1
        self._idle.clear()

    def end(self) -> None:
        """It is done with."""
        self._busy -= 1
        if self._busy == 0:
            self._idle.set()

    def sender_of(self, size: int) -> Sender | None:
        """Who is to send so many bytes: the loop itself when too few others are there whom it
        could serve meanwhile, or when the bytes are so few that the way to a thread costs more.
        """
        if size < limits.SEND_ASIDE_BYTES_MIN or self._busy < limits.SEND_ASIDE_REQUESTS_MIN:
            return None
        return self._sender

    # --- the owner's side ---------------------------------------------------------------------

    async def start(self, host: str, port: int, tls: ssl.SSLContext | None = None) -> int:
        """Bind, listen, accept; returns the port (a free one was taken when `port` is 0)."""
        listening = bind(host, port)
        self.serve(listening, tls)
        bound: int = listening.getsockname()[1]
        return bound

    def serve(self, listening: socket.socket, tls: ssl.SSLContext | None = None) -> None:
        """Accept on a socket that listens, which is this server's from now on."""
        self._sweeper.start()
        if self._open_sender is not None:
            self._sender = self._open_sender(self._loop)
        self._acceptor = Acceptor(listening, self, self.share, tls)

    async def use_tls(self, tls: ssl.SSLContext) -> None:
        """Accept with this context from now on; connections that are open keep theirs."""
        assert self._acceptor is not None, "start first"
        self._acceptor.tls = tls

    async def stop(self, grace: float) -> None:
        """Accept nothing more, let requests finish for `grace` seconds, then cut what is left."""
        self.stopping = True
        if self._acceptor is not None:
            self._acceptor.close()
        for connection in list(self.connections):
            connection.stop()
        try:
            async with asyncio.timeout(grace):
                await self._idle.wait()
        except TimeoutError:
            LOG.warning("requests were cut at the end of the grace period")
        await asyncio.gather(*(connection.cut() for connection in list(self.connections)))
        self._sweeper.stop()
        if self._sender is not None:
            self._sender.close()
            self._sender = None


def bind(host: str, port: int) -> socket.socket:
    """A socket that listens there; port 0 takes a free one. ConfigError when it cannot."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except OSError as fault:  # a name that nobody knows
        raise ConfigError(f"cannot listen on {host}:{port}: {fault.strerror}") from fault
    bound = socket.socket(family, kind, protocol)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
        bound.listen(socket.SOMAXCONN)
        bound.setblocking(False)
    except OSError as fault:
        bound.close()
        raise ConfigError(f"cannot listen on {host}:{port}: {fault.strerror}") from fault
    return bound
