"""One request on the wire and its answer: body in, bytes out. Knows HTTP, not S3's operations.

Rules kept here:
- the head and what is there of the body go out together;
- Content-Length is exact: a streamed answer that ends early, late or with an error after its
  first byte cuts the connection;
- the pieces of a stream are sent from where they lie; when the next ones are asked for, the
  kernel has them, and their memory is whoever's it was;
- every wait for the client to take the answer is bounded;
- whatever stream was handed in is closed, whatever happens.
"""

from __future__ import annotations

import asyncio
import functools
import re
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import suppress
from email.utils import formatdate
from http import HTTPStatus
from typing import Protocol

from s3node.base import limits
from s3node.base.clock import SystemClock
from s3node.edge.body import Body, Client, Framing
from s3node.edge.head import HTTP_1_1, Head
from s3node.edge.patience import Patience

__all__ = ["Exchange", "Patience", "ResponseCut", "head"]

SERVER = "s3node"

_FORBIDDEN = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_OWN_HEADERS = frozenset(
    ("content-length", "transfer-encoding", "connection", "date", "server", "keep-alive")
)
_BODILESS = frozenset((HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED))
_CLOCK = SystemClock()  # of the Date header, which decides nothing


class ResponseCut(Exception):
    """The answer could not be finished after its head was sent; the connection is gone."""

    def __init__(self, cause: str) -> None:
        super().__init__(cause)
        self.cause = cause


class Wire(Client, Protocol):
    """What an exchange needs of its connection."""

    secure: bool
    remote: str
    subject: str
    transport: asyncio.Transport | None

    @property
    def ended(self) -> bool:
        """Nothing more will come than what is being answered."""

    async def send(self, pieces: Sequence[bytes | memoryview]) -> None:
        """Returns when the kernel has all of it. ConnectionError, TimeoutError."""

    def abort(self) -> None:
        """Close without sending anything more."""

    def overdue(self) -> float:
        """See Seat."""

    def expire(self) -> None:
        """End the wait for the client."""


class Exchange:
    """A request and the one answer to it."""

    __slots__ = (
        "_patience",
        "_wire",
        "answered",
        "body",
        "headers",
        "keep_alive",
        "lead",
        "method",
        "recurring",
        "remote",
        "secure",
        "sent",
        "subject",
        "target",
    )

    def __init__(self, wire: Wire, lead: Head, framing: Framing, patience: Patience) -> None:
        fields = lead.fields
        self._wire = wire
        self._patience = patience
        self.lead = lead
        self.method = lead.method
        self.target = lead.target
        self.headers: Sequence[tuple[bytes, bytes]] = fields.headers
        self.recurring = fields.recurring  # they will come again
        self.secure = wire.secure
        self.remote = wire.remote
        self.subject = wire.subject
        expecting = fields.expects == b"100-continue" and fields.version == HTTP_1_1
        self.body = Body(wire, framing, patience, expects=expecting)
        self.keep_alive = fields.keep_alive
        self.answered = False  # the head has been sent
        self.sent = 0  # body bytes handed to the socket

    @property
    def whole(self) -> bool:
        """Nothing of the request is left to be read."""
        return self.body.unread == 0

    @property
    def gone(self) -> bool:
        """The client has hung up."""
        return self._wire.transport is None

    async def answer(
        self,
        status: int,
        headers: Sequence[tuple[str, str]],
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
            await self._answer(status, headers, body, len(body) if length is None else length)
            return
        assert length is not None, "a streamed answer says its length"
        try:
            await self._answer(status, headers, body, length, stream)
        finally:
            await _close(stream)

    async def _answer(
        self,
        status: int,
        headers: Sequence[tuple[str, str]],
        body: bytes,
        length: int,
        stream: AsyncIterator[Sequence[memoryview]] | None = None,
    ) -> None:
        """The head with the body, or with the first pieces of the stream and then the rest."""
        bare = status in _BODILESS or self.method == "HEAD"
        pieces: Sequence[bytes | memoryview] = (body,) if body else ()
        if stream is not None and not bare:
            pieces = await _next(stream)
        self._settle_connection()
        told = None if status in _BODILESS else length
        lead = head(status, headers, told, self.keep_alive)
        self.answered = True
        try:
            if bare:
                await self._wire.send((lead,))
                return
            await self._send(lead, pieces, length)
            while pieces and stream is not None:
                pieces = ()  # nobody refers to them now: their memory may be used for the next
                pieces = await _next(stream)
                await self._send(b"", pieces, length)
            if self.sent != length:
                raise ValueError(f"{self.sent} bytes instead of the {length} announced")
        except asyncio.CancelledError:
            self.cut()
            raise
        except Exception as fault:
            self.cut()
            raise ResponseCut(_cause(fault)) from fault

    async def _send(self, lead: bytes, pieces: Sequence[bytes | memoryview], length: int) -> None:
        """`lead`, then pieces of the body, from where they lie if they are long."""
        size = sum(map(len, pieces))
        if self.sent + size > length:
            raise ValueError(f"more than the {length} bytes announced")
        if size <= limits.COALESCE_BYTES_MAX:
            if lead or size:
                await self._wire.send((b"".join((lead, *pieces)),))
            self.sent += size
            return
        for batch, count in _batches(lead, pieces):
            await self._wire.send(batch)
            self.sent += count

    def _settle_connection(self) -> None:
        """Decide, before the head says so, whether the connection can carry another request."""
        unread = self.body.unread
        if self._wire.ended:
            self.keep_alive = False
        if unread == 0:
            return
        if unread is None or unread > limits.UNREAD_BYTES_MAX or self.body.uninvited:
            self.keep_alive = False

    async def finish(self) -> bool:
        """After the answer: read off what nobody wanted, if the connection is to be kept.

        False when the connection must be closed with request bytes still to come.
        """
        if self.whole or self.gone:
            return True
        if self.keep_alive:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._patience.body_idle):
                    await self.body.discard(limits.UNREAD_BYTES_MAX)
            self.keep_alive = self.body.unread == 0
        return self.keep_alive

    def overdue(self) -> float:
        """See Seat."""
        return self._wire.overdue()

    def give_up(self) -> None:
        """See Seat: whoever waits for the client is told that he took too long."""
        self._wire.expire()

    def cut(self) -> None:
        """Close the connection now, so that what was sent cannot pass for a whole answer."""
        self.keep_alive = False
        self._wire.abort()


def _batches(
    lead: bytes, pieces: Sequence[bytes | memoryview]
) -> Iterator[tuple[list[bytes | memoryview], int]]:
    """Pieces in order, (some, their bytes) at a time: what a client is given one patience for."""
    batch: list[bytes | memoryview] = [lead] if lead else []
    count = 0
    for piece in pieces:
        rest = piece
        while count + len(rest) > limits.SEND_BUFFER_BYTES:
            fits = limits.SEND_BUFFER_BYTES - count
            yield [*batch, rest[:fits]], limits.SEND_BUFFER_BYTES
            rest, batch, count = rest[fits:], [], 0
        batch.append(rest)
        count += len(rest)
    if count:
        yield batch, count


def head(
    status: int, headers: Sequence[tuple[str, str]], length: int | None, keep_alive: bool
) -> bytes:
    """Status line and headers as bytes; header text is latin-1, as it is when it is read."""
    lines = [_status_line(status)]
    lines += [f"{name}: {value}" for name, value in headers]
    if not _OWN_HEADERS.isdisjoint([name.lower() for name, _ in headers]):
        raise ValueError("a header that is set by the edge")
    told = "".join(lines)
    if not told.isprintable() and _FORBIDDEN.search(told):
        names = [line.partition(":")[0] for line in lines if _FORBIDDEN.search(line)]
        raise ValueError(f"control character in header {names[0]!r}")
    if length is not None:
        lines.append(f"Content-Length: {length}")
    lines.append(_ending(_CLOCK.wall_ms() // 1000, keep_alive))
    return "\r\n".join(lines).encode("latin-1")


@functools.lru_cache(maxsize=4)
def _ending(second: int, keep_alive: bool) -> str:
    """What every head of this second ends with."""
    connection = "keep-alive" if keep_alive else "close"
    date = formatdate(second, usegmt=True)
    return f"Date: {date}\r\nServer: {SERVER}\r\nConnection: {connection}\r\n\r\n"


@functools.cache
def _status_line(status: int) -> str:
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = ""
    return f"HTTP/1.1 {status} {phrase}"


def _cause(fault: Exception) -> str:
    if isinstance(fault, TimeoutError):
        return "stalled"
    return "hung_up" if isinstance(fault, ConnectionError) else "fault"


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
