"""HTTP/1.1 on sockets: aiohttp's low-level server with the bounds that it leaves open.

What aiohttp does: parsing (its C parser only; see `refuse_slow_parser`), framing, flow control,
one task per connection. What is added here: a deadline for headers, bounds on their bytes and on
connections, refusals in the caller's own words, answers that are written by `Exchange`, and a
stop that lets requests finish. Bodies are never decompressed: what is sent is what is stored.

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
from contextlib import suppress
from typing import cast

from aiohttp import http_parser, web
from aiohttp.http_exceptions import LineTooLong

from s3node.base import limits, metrics
from s3node.base.errors import ConfigError
from s3node.edge.accepting import Acceptor, Alone, Share
from s3node.edge.exchange import Exchange, Patience

LOG = logging.getLogger("s3node.edge")

Handler = Callable[[Exchange], Awaitable[None]]
Refusal = tuple[int, list[tuple[str, str]], bytes]
Refuse = Callable[[str, str], Refusal]
"""(S3 error code, message) -> status, headers, body, for what never becomes an Exchange."""

_VERSIONS = ((1, 0), (1, 1))


def refuse_slow_parser() -> None:
    """ConfigError when aiohttp runs on its pure-Python parser: slow, and not what is tested."""
    if http_parser.HttpRequestParser is http_parser.HttpRequestParserPy:
        raise ConfigError(
            "aiohttp has no C parser here (AIOHTTP_NO_EXTENSIONS set, or built without it): "
            "install a wheel of aiohttp and unset the variable"
        )


class Connection(web.RequestHandler):
    """One client connection: aiohttp's protocol with deadlines and bounds."""

    __slots__ = (
        "_done",
        "_header_bytes",
        "_header_timer",
        "_lost",
        "_refused",
        "_secure",
        "_server",
        "exchange",
    )

    def __init__(self, server: HttpServer, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(
            server,
            loop=loop,
            keepalive_timeout=server.patience.keepalive,
            access_log=None,  # type: ignore[arg-type]
            logger=LOG,
            max_line_size=limits.REQUEST_LINE_BYTES_MAX,
            max_field_size=limits.HEADER_FIELD_BYTES_MAX,
            max_headers=limits.HEADER_FIELDS_MAX,
            lingering_time=0.0,
            read_bufsize=limits.RECEIVE_BUFFER_BYTES,
            auto_decompress=False,
        )
        self._server = server
        self._secure = server.secure
        self._done = 0  # requests answered
        self._header_bytes = 0
        self._header_timer: asyncio.TimerHandle | None = None
        self._lost = asyncio.Event()
        self._refused = False
        self.exchange: Exchange | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are asyncio's by shape, not by class.
        cast(asyncio.Transport, transport).set_write_buffer_limits(high=limits.SEND_BUFFER_BYTES)
        super().connection_made(transport)
        if not self._server.joined(self):
            self.force_close()

    def connection_lost(self, exc: BaseException | None) -> None:
        self._server.left(self)
        self._end_header()
        self._lost.set()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._refused:
            self._throw_away(len(data))
            return
        count = self._request_count
        super().data_received(data)
        if self.exchange is not None and self._request_count != count:
            self.exchange.body.next_has_begun()
        if self._request_count != self._done:
            self._end_header()
        elif data:
            self._in_header(len(data))

    def _in_header(self, count: int) -> None:
        self._header_bytes += count
        if self._header_bytes > limits.HEADER_BYTES_MAX:
            self.force_close()
        elif self._header_timer is None:
            self._header_timer = self._loop.call_later(
                self._server.patience.header, self.force_close
            )

    def _end_header(self) -> None:
        self._header_bytes = 0
        if self._header_timer is not None:
            self._header_timer.cancel()
            self._header_timer = None

    async def linger(self) -> None:
        """Before a close with bytes still to come, leave the client time to read the answer.

        Closing at once would reset the connection, and the reset overtakes the answer.
        """
        self._refused = True
        transport = self.transport
        if transport is None:
            return
        if transport.can_write_eof():
            transport.write_eof()
        if not transport.is_reading():
            transport.resume_reading()
        with suppress(TimeoutError):
            async with asyncio.timeout(self._server.patience.linger):
                await self._lost.wait()

    def _throw_away(self, count: int) -> None:
        self._header_bytes += count
        if self._header_bytes > limits.LINGER_BYTES_MAX:
            self.force_close()

    def stop_when_idle(self) -> None:
        """Close now, or after the answer that is being worked on."""
        if self.exchange is None:
            self.force_close()
        else:
            self.exchange.keep_alive = False

    async def respond(self, request: web.BaseRequest) -> web.StreamResponse:
        """aiohttp's handler: runs the exchange and reports what became of the connection."""
        exchange = Exchange(request, self._server.patience, secure=self._secure)
        self.exchange = exchange
        self._server.begin()
        try:
            refusal = _unacceptable(request)
            if refusal or self._server.stopping:
                exchange.keep_alive = False
            if refusal:
                status, headers, body = self._server.refuse(*refusal)
                await exchange.answer(status, headers, body)
            else:
                await self._server.handler(exchange)
            if not await exchange.finish():
                await self.linger()
        finally:
            self.exchange = None
            self._done += 1
            self._server.end()
        return _KEPT if exchange.keep_alive else _CLOSED

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """What the parser refused, in the listener's words; the connection is closed."""
        if status >= 500:
            LOG.error("the handler failed", exc_info=exc)
            self.force_close()
            return _CLOSED
        self._refused = True
        code = "RequestHeaderSectionTooLarge" if isinstance(exc, LineTooLong) else "BadRequest"
        LOG.info(
            "request refused by the parser",
            extra={"fields": {"remote": request.remote, "why": type(exc).__name__}},
        )
        return _Refused(*self._server.refuse(code, "An error occurred when parsing the request."))


def _unacceptable(request: web.BaseRequest) -> tuple[str, str] | None:
    """Why a request that parsed is refused all the same: (code, message)."""
    if tuple(request.version) not in _VERSIONS:
        return "BadRequest", "This HTTP version is not supported."
    if request.method == "CONNECT":
        return "MethodNotAllowed", "CONNECT is not supported."
    coding = request.headers.get("Transfer-Encoding")
    if coding is not None and (coding.lower() != "chunked" or request.version < (1, 1)):
        return "NotImplemented", "A header you provided implies functionality not implemented."
    if request.headers.get("Expect", "100-continue").lower() != "100-continue":
        return "BadRequest", "The only expectation that can be met is 100-continue."
    return None


class _Answered(web.StreamResponse):
    """Tells aiohttp that the answer has been written already."""

    def __init__(self, keep_alive: bool) -> None:
        super().__init__()
        if not keep_alive:
            self.force_close()

    @property
    def keep_alive(self) -> bool:
        return self._keep_alive is not False

    async def prepare(self, request: web.BaseRequest) -> None:
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        return None


_KEPT, _CLOSED = _Answered(keep_alive=True), _Answered(keep_alive=False)
"""They hold nothing of a request, and making one is slow."""


class _Refused(_Answered):
    """An answer to what could not be parsed: written when aiohttp asks for it."""

    def __init__(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        super().__init__(keep_alive=False)
        self._refusal = (status, headers, body)

    async def prepare(self, request: web.BaseRequest) -> None:
        exchange = Exchange(request, Patience(), secure=False)
        exchange.keep_alive = False
        status, headers, body = self._refusal
        await exchange.answer(status, headers, body)
        await _connection(request).linger()


class HttpServer(web.Server):
    """Accepts connections on one address and hands every request to `handler`."""

    def __init__(
        self,
        handler: Handler,
        refuse: Refuse,
        *,
        name: str,
        patience: Patience | None = None,
        connections_max: int = limits.CONNECTIONS_MAX,
        share: Share | None = None,
    ) -> None:
        """`connections_max` bounds what all processes of the `share` have open together."""
        super().__init__(_dispatch)
        self.handler = handler
        self.refuse = refuse
        self.name = name
        self.patience = patience or Patience()
        self.connections_max = connections_max
        self.share = share or Alone()
        self.stopping = False
        self._acceptor: Acceptor | None = None
        self._busy = 0
        self._idle = asyncio.Event()
        self._idle.set()

    def begin(self) -> None:
        """A request is being worked on."""
        self._busy += 1
        self._idle.clear()

    def end(self) -> None:
        """It is done with."""
        self._busy -= 1
        if self._busy == 0:
            self._idle.set()

    def __call__(self) -> web.RequestHandler:
        return Connection(self, self._loop)

    @property
    def secure(self) -> bool:
        """Whether connections that are accepted now speak TLS."""
        return self._acceptor is not None and self._acceptor.tls is not None

    def joined(self, connection: Connection) -> bool:
        """It is open; False when it is one too many."""
        metrics.CONNECTIONS.labels(self.name).inc()
        if self.share.total() <= self.connections_max:
            return True
        metrics.CONNECTIONS_REFUSED.labels(self.name).inc()
        return False

    def left(self, connection: Connection) -> None:
        """It is lost."""
        metrics.CONNECTIONS.labels(self.name).dec()
        if self._acceptor is not None:
            self._acceptor.gone(connection)

    async def start(self, host: str, port: int, tls: ssl.SSLContext | None = None) -> int:
        """Bind, listen, accept; returns the port (a free one was taken when `port` is 0)."""
        listening = bind(host, port)
        self.serve(listening, tls)
        bound: int = listening.getsockname()[1]
        return bound

    def serve(self, listening: socket.socket, tls: ssl.SSLContext | None = None) -> None:
        """Accept on a socket that listens, which is this server's from now on."""
        refuse_slow_parser()
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
        for connection in self._live():
            connection.stop_when_idle()
        try:
            async with asyncio.timeout(grace):
                await self._idle.wait()
        except TimeoutError:
            LOG.warning("requests were cut at the end of the grace period")
        await self.shutdown(timeout=0.1)

    def _live(self) -> list[Connection]:
        return [each for each in self.connections if isinstance(each, Connection)]


async def _dispatch(request: web.BaseRequest) -> web.StreamResponse:
    return await _connection(request).respond(request)


def _connection(request: web.BaseRequest) -> Connection:
    connection = request.protocol
    assert isinstance(connection, Connection)
    return connection


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
