"""One request on the wire and its answer: body in, bytes out. Knows HTTP, not S3's operations.

Rules kept here:
- ``100 Continue`` is sent when the body is first read and never for a body that has begun;
- every wait on the client is bounded: body bytes, their rate, and the client taking the answer;
- a client that hangs up, stalls or breaks the framing is an `S3Error` to whoever reads the body,
  so that it unwinds like any other bad request;
- Content-Length is exact: a streamed answer that ends early, late or with an error after its
  first byte cuts the connection;
- whatever stream was handed in is closed, whatever happens.
"""

from __future__ import annotations

import asyncio
import functools
import re
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from email.utils import formatdate
from http import HTTPStatus

from aiohttp import web

from s3node.base import limits
from s3node.base.clock import SystemClock
from s3node.base.errors import S3Error

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
SERVER = "s3node"

_FORBIDDEN = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_OWN_HEADERS = frozenset(
    ("content-length", "transfer-encoding", "connection", "date", "server", "keep-alive")
)
_BODILESS = frozenset((HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED))
_VERSION_1_1 = (1, 1)
_CLOCK = SystemClock()  # of the Date header, which decides nothing


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a client is waited for, in seconds."""

    header: float = limits.HEADER_S
    keepalive: float = limits.KEEPALIVE_S
    body_idle: float = limits.BODY_IDLE_S
    body_window: float = limits.BODY_RATE_WINDOW_S
    body_rate: int = limits.BODY_RATE_BYTES_MIN
    send_idle: float = limits.SEND_IDLE_S
    linger: float = limits.LINGER_S


class ResponseCut(Exception):
    """The answer could not be finished after its head was sent; the connection is gone."""

    def __init__(self, cause: str) -> None:
        super().__init__(cause)
        self.cause = cause


class Body:
    """The wire bytes of a request body, in order, as they come (transfer coding removed)."""

    def __init__(self, request: web.BaseRequest, patience: Patience, *, expects: bool) -> None:
        self._request = request
        self._stream = request.content
        self._patience = patience
        self._owes_continue = expects
        self._waited = 0.0
        self.received = 0

    def __aiter__(self) -> Body:
        return self

    async def __anext__(self) -> bytes:
        if self._owes_continue:
            await self._continue()
        piece = await self._receive()
        if not piece:
            raise StopAsyncIteration
        self.received += len(piece)
        return piece

    @property
    def unread(self) -> int | None:
        """Bytes still to come or to be read; None when the request does not say."""
        if self._stream.at_eof():
            return 0
        length = self._request.content_length
        return None if length is None else length - self.received

    @property
    def uninvited(self) -> bool:
        """The client waits for 100 Continue, and has not been told to go on."""
        return self._owes_continue

    def next_has_begun(self) -> None:
        """Another message, or a refusal to parse one, came behind this body.

        If the body has not ended, its chunks are malformed: whoever reads it is told now.
        """
        if not self._stream.is_eof():
            self._stream.set_exception(web.RequestPayloadError("malformed chunk"))

    async def discard(self, most: int) -> None:
        """Read and forget up to `most` bytes; returns early at the end or when it breaks."""
        with suppress(S3Error):
            while most > 0 and (piece := await self._receive()):
                most -= len(piece)

    async def _continue(self) -> None:
        self._owes_continue = False
        if self._stream.total_bytes == 0 and not self._stream.at_eof():
            with suppress(ConnectionError):
                await self._request.writer.write(CONTINUE)

    async def _receive(self) -> bytes:
        """The next piece as it came, b"" at the end."""
        clock = asyncio.get_running_loop().time
        began = clock()
        try:
            async with asyncio.timeout(self._patience.body_idle):
                piece = await self._next_piece()
        except TimeoutError:
            raise _too_slow() from None
        except (web.RequestPayloadError, ConnectionError) as fault:
            raise S3Error("IncompleteBody", f"The body broke off: {fault}") from None
        self._waited += clock() - began
        self._check_rate()
        return piece

    async def _next_piece(self) -> bytes:
        stream = self._stream
        while not stream.at_eof():
            if stream.total_bytes == self.received and self._request.transport is None:
                raise ConnectionResetError("the client hung up")
            piece, _ = await stream.readchunk()
            if piece:
                return piece
        return b""

    def _check_rate(self) -> None:
        patience = self._patience
        if self._waited < patience.body_window:
            return
        if self.received < patience.body_rate * self._waited:
            raise _too_slow()


def _too_slow() -> S3Error:
    return S3Error(
        "RequestTimeout",
        "Your socket connection to the server was not read from or written to within the "
        "timeout period. Idle connections will be closed.",
    )


class Exchange:
    """A request and the one answer to it."""

    def __init__(self, request: web.BaseRequest, patience: Patience, *, secure: bool) -> None:
        self._request = request
        self._patience = patience
        self.method = request.method
        # The parser hands the target over as text; this gives back the bytes of the wire.
        self.target = request._message.path.encode("utf-8", "surrogateescape")
        self.headers: Sequence[tuple[bytes, bytes]] = request.raw_headers
        self.secure = secure
        self.remote = request.remote or ""
        expects = request.headers.get("Expect", "").lower() == "100-continue"
        self.body = Body(request, patience, expects=expects and request.version >= _VERSION_1_1)
        self.keep_alive = request.keep_alive
        self.answered = False  # the head has been sent
        self.sent = 0  # body bytes handed to the socket

    @property
    def gone(self) -> bool:
        """The client has hung up."""
        return self._request.transport is None

    async def answer(
        self,
        status: int,
        headers: Iterable[tuple[str, str]],
        body: bytes = b"",
        *,
        stream: AsyncIterator[Sequence[memoryview]] | None = None,
        length: int | None = None,
    ) -> None:
        """Send the one answer; with `stream`, exactly `length` bytes of it.

        The first piece is fetched before the head is sent: an error until then is raised as it
        is and nothing has been sent. Afterwards: ResponseCut.
        """
        assert not self.answered, "a request has one answer"
        if stream is None:
            await self._answer(status, headers, _one(body), len(body) if length is None else length)
            return
        assert length is not None, "a streamed answer says its length"
        try:
            await self._answer(status, headers, stream, length)
        finally:
            await _close(stream)

    async def _answer(
        self,
        status: int,
        headers: Iterable[tuple[str, str]],
        stream: AsyncIterator[Sequence[memoryview]],
        length: int,
    ) -> None:
        bodiless = self.method == "HEAD" or status in _BODILESS
        pieces: Sequence[memoryview] = () if bodiless else await _next(stream)
        self._settle_connection()
        lines = _head(status, headers, None if status in _BODILESS else length, self.keep_alive)
        self.answered = True
        try:
            if sum(map(len, pieces)) <= min(length, limits.COALESCE_BYTES_MAX):
                lines = b"".join((lines, *pieces))  # one packet instead of two
                self.sent = sum(map(len, pieces))
                pieces = ()
            await self._send(lines)
            if not bodiless:
                await self._send_body(pieces or await _next(stream), stream, length)
        except asyncio.CancelledError:
            self.cut()
            raise
        except Exception as fault:
            self.cut()
            raise ResponseCut(_cause(fault)) from fault

    async def _send_body(
        self,
        pieces: Sequence[memoryview],
        stream: AsyncIterator[Sequence[memoryview]],
        length: int,
    ) -> None:
        while pieces:
            for piece in pieces:
                if self.sent + len(piece) > length:
                    raise ValueError(f"more than the {length} bytes announced")
                await self._send(piece)
                self.sent += len(piece)
            pieces = await _next(stream)
        if self.sent != length:
            raise ValueError(f"{self.sent} bytes instead of the {length} announced")

    async def _send(self, data: bytes | memoryview) -> None:
        writer = self._request.writer
        await writer.write(data, drain=False)  # type: ignore[call-arg]  # not in the ABC
        if self._request.protocol.writing_paused:  # the client has to take some of it first
            async with asyncio.timeout(self._patience.send_idle):
                await writer.drain()

    def _settle_connection(self) -> None:
        """Decide, before the head says so, whether the connection can carry another request."""
        unread = self.body.unread
        if unread == 0:
            return
        if unread is None or unread > limits.UNREAD_BYTES_MAX or self.body.uninvited:
            self.keep_alive = False

    async def finish(self) -> bool:
        """After the answer: read off what nobody wanted, if the connection is to be kept.

        False when the connection must be closed with request bytes still to come.
        """
        if self.body.unread == 0 or self.gone:
            return True
        if self.keep_alive:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._patience.body_idle):
                    await self.body.discard(limits.UNREAD_BYTES_MAX)
            self.keep_alive = self.body.unread == 0
        return self.keep_alive

    def cut(self) -> None:
        """Close the connection now, so that what was sent cannot pass for a whole answer."""
        self.keep_alive = False
        transport = self._request.transport
        if transport is not None:
            transport.abort()


def _cause(fault: Exception) -> str:
    if isinstance(fault, TimeoutError):
        return "stalled"
    return "hung_up" if isinstance(fault, ConnectionError) else "fault"


def _head(
    status: int, headers: Iterable[tuple[str, str]], length: int | None, keep_alive: bool
) -> bytes:
    """Status line and headers as bytes; header text is latin-1, as it is when it is read."""
    lines = []
    for name, value in headers:
        if name.lower() in _OWN_HEADERS:
            raise ValueError(f"{name} is set by the edge")
        lines.append(f"{name}: {value}")
    if _FORBIDDEN.search("".join(lines)):
        names = [line.partition(":")[0] for line in lines if _FORBIDDEN.search(line)]
        raise ValueError(f"control character in header {names[0]!r}")
    lines.insert(0, f"HTTP/1.1 {status} {_reason(status)}")
    if length is not None:
        lines.append(f"Content-Length: {length}")
    lines.append(f"Date: {_date(_CLOCK.wall_ms() // 1000)}")
    lines.append(f"Server: {SERVER}")
    lines.append("Connection: " + ("keep-alive" if keep_alive else "close"))
    return "\r\n".join((*lines, "", "")).encode("latin-1")


@functools.lru_cache(maxsize=2)
def _date(second: int) -> str:
    return formatdate(second, usegmt=True)


@functools.cache
def _reason(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""


async def _one(body: bytes) -> AsyncIterator[Sequence[memoryview]]:
    if body:
        yield [memoryview(body)]


async def _next(stream: AsyncIterator[Sequence[memoryview]]) -> Sequence[memoryview]:
    """The next pieces, none at the end. (anext's default breaks in CPython 3.11.)"""
    try:
        return await anext(stream)
    except StopAsyncIteration:
        return ()


async def _close(stream: AsyncIterator[Sequence[memoryview]]) -> None:
    close = getattr(stream, "aclose", None)
    if close is not None:
        await close()
