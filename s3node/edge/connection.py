"""One client connection: bytes in, requests out, one after the other, by one task.

    Head  --whole-->  Exchange  --handler-->  answer, and the next head

A `Head` is given bytes up to its end and not one beyond. What follows is counted here (`body`): of
a body, or of the next request, which waits until this one is answered, and the socket with it. So
never more than one request of a connection is at work, and nothing is taken for a request before
the one in front has ended.

A client that has shut down its sending side gets the answers to all that it sent before. (With
TLS the end of its side is the end of the connection: so the protocol wants it.)
"""

from __future__ import annotations

import asyncio
import logging
from typing import cast

from s3node.base import limits
from s3node.base.errors import S3Error
from s3node.edge.body import Body, Chunked, Sized
from s3node.edge.exchange import Exchange
from s3node.edge.exchange import head as answer_head
from s3node.edge.head import Head, HeadRefused, unacceptable
from s3node.edge.owner import Owner
from s3node.edge.patience import NEVER, acknowledged
from s3node.edge.sender import Job, Pieces, left_of
from s3node.edge.tls import subject_of

LOG = logging.getLogger("s3node.edge")

_HEAD_END = b"\r\n\r\n"
_GONE = "the client hung up"
_UNPARSED = S3Error("BadRequest", "An error occurred when parsing the request.")
_TOO_LONG = S3Error("RequestHeaderSectionTooLarge")
_TOO_SLOW = S3Error("RequestTimeout")
_TOO_MANY = S3Error(
    "SlowDown",
    "Please reduce the number of your connections.",
    headers={"Retry-After": str(limits.RETRY_AFTER_S)},
)


class Connection(asyncio.BufferedProtocol):
    """Reads requests, has them handled, and waits: for at most one thing at a time."""

    __slots__ = (
        "_acknowledged",
        "_body",
        "_busy",
        "_carry",
        "_ended",
        "_head",
        "_head_bytes",
        "_job",
        "_loop",
        "_paused",
        "_reading",
        "_refused",
        "_server",
        "_tail",
        "_task",
        "_waiter",
        "_waiting_since",
        "_welcome",
        "deadline",
        "exchange",
        "remote",
        "secure",
        "subject",
        "transport",
    )

    def __init__(
        self, server: Owner, loop: asyncio.AbstractEventLoop, *, welcome: bool = True
    ) -> None:
        """One that is not welcome is one too many: what it asks is not done."""
        self._server = server
        self._loop = loop
        self._welcome = welcome
        self._head: Head | None = None  # that is being received
        self._carry = b""  # the last bytes of an unfinished head: its end may begin there
        self._head_bytes = 0
        self._tail = b""  # came while there was no use for it
        self._body: Body | None = None  # that is being received
        self._task: asyncio.Task[None] | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._busy = False  # a request is at work, or its refusal is given time to be read
        self._refused = False  # what comes is thrown away
        self._reading = True
        self._paused = False  # the client has to take some of the answer first
        self._job: Job | None = None  # part of the answer that someone else sends
        self._ended = False  # the client has, and will send nothing more
        self._waiting_since = 0.0
        self._acknowledged = 0  # bytes, when the wait began
        self.deadline = NEVER
        self.exchange: Exchange | None = None
        self.remote = ""
        self.subject = ""  # of the client's certificate
        self.secure = server.secure
        self.transport: asyncio.Transport | None = None

    # --- the transport's side -----------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are asyncio's by shape, not by class.
        self.transport = cast(asyncio.Transport, transport)
        # Nothing is queued. While a write has not paused us the kernel has all of it, and what
        # it came from can be used again. (0 would always be too much for a TLS transport.)
        self.transport.set_write_buffer_limits(high=1 if self.secure else 0, low=0)
        peer = transport.get_extra_info("peername")
        self.remote = peer[0] if isinstance(peer, tuple) else ""
        if self.secure:
            self.subject = subject_of(transport.get_extra_info("peercert"))
        self._server.joined(self)
        self._rest()

    def connection_lost(self, exc: BaseException | None) -> None:
        self.transport = None
        self.deadline = NEVER
        self._server.left(self)
        if self._job is not None:
            self._job.withdraw()
        self._hung_up()
        if self.exchange is None:
            self._done()

    def eof_received(self) -> bool:
        """Whether there is something to answer yet; if not the transport closes."""
        self._ended = True
        if self._body is not None:
            self._hung_up()
        return self._busy and not self._refused and not self.secure

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        self._wake()

    def get_buffer(self, sizehint: int) -> memoryview:
        if self._body is None:
            return self._server.scratch[: limits.HEAD_RECEIVE_BYTES]
        room = self._body.room()
        return self._server.scratch if room is None else room

    def buffer_updated(self, count: int) -> None:
        body = self._body
        if body is not None and body.in_place:
            ripe = body.came(count)
            if body.whole:
                self._body = None
            if ripe:
                self._wake()
        else:
            self._take(bytes(self._server.scratch[:count]))

    # --- reading ------------------------------------------------------------------------------

    def _take(self, data: bytes) -> None:
        """Bytes that were not received in place."""
        if self._refused:
            self._throw_away(len(data))
            return
        body = self._body
        if body is not None:
            data = body.put(data)
            if body.whole or body.broken:
                self._body = None
            self._wake()
        if not data:
            return
        if self._busy:
            self._tail += data
            self.read_on(reading=False)
        else:
            self._read_head(data)

    def _read_head(self, data: bytes) -> None:
        """Take what may belong to a head; a request begins when one is whole."""
        goes_on = self._head_bytes > 0
        while data:
            part, data = self._split(data)
            self._head_bytes += len(part)
            if self._head_bytes > limits.HEADER_BYTES_MAX:
                self._refuse(_TOO_LONG, "the head is too long")
                return
            head = self._head = self._head or Head()
            try:
                whole = head.feed(part)
            except HeadRefused as fault:
                self._refuse(_TOO_LONG if fault.long else _UNPARSED, str(fault))
                return
            if whole:
                self._head = None
                self._begin(head, data)
                return
        if not goes_on:
            self._give(self._server.patience.header)

    def _split(self, data: bytes) -> tuple[bytes, bytes]:
        """(to the end of a head, beyond it)."""
        carry = self._carry
        joined = carry + data if carry else data
        end = joined.find(_HEAD_END)
        if end < 0:
            self._carry = joined[1 - len(_HEAD_END) :]
            return data, b""
        self._carry = b""
        end += len(_HEAD_END) - len(carry)
        return (data, b"") if end == len(data) else (data[:end], data[end:])

    def _begin(self, head: Head, rest: bytes) -> None:
        """A request has come; `rest` is what follows its head."""
        self._head_bytes = 0
        self.deadline = NEVER
        self._busy = True
        self._server.begin()
        fields = head.fields
        framing = Chunked() if fields.coding else Sized(fields.length, self._server.memory)
        exchange = self.exchange = Exchange(self, head, framing, self._server.patience)
        body = exchange.body
        if not body.whole:
            if rest:
                rest = body.put(rest)
            if not body.whole and not body.broken:
                self._body = body
        if rest:
            self._tail = rest
            self.read_on(reading=False)
        if self._task is None:
            self._task = self._loop.create_task(self._work())
        else:
            self._wake()

    @property
    def ended(self) -> bool:
        """Nothing more will come than what is being answered."""
        return self._ended and not self._tail

    def _hung_up(self) -> None:
        if self._body is not None:
            self._body.lost(_GONE)
            self._body = None
        self._wake()

    # --- the task -----------------------------------------------------------------------------

    async def _work(self) -> None:
        """Requests, until the connection is closed."""
        try:
            while self.exchange is not None or self.transport is not None:
                if self.exchange is None:
                    await self._sleep()
                else:
                    await self._respond(self.exchange)
        except BaseException:  # nobody is left who would answer
            self.abort()
            raise

    async def _respond(self, exchange: Exchange) -> None:
        """Have one request answered; then whatever becomes of the connection."""
        settled = False
        try:
            refusal = unacceptable(exchange.lead) if self._welcome else _TOO_MANY
            if refusal or self._server.stopping:
                exchange.keep_alive = False
            if refusal:
                status, headers, content = self._server.refuse(refusal, self.remote)
                await exchange.answer(status, headers, content)
            else:
                await self._server.handler(exchange)
                settled = exchange.whole or await exchange.finish()
        except asyncio.CancelledError:
            self.abort()
            raise
        except Exception:
            LOG.exception("the handler failed")
            self.abort()
        finally:
            self._body = self.exchange = None
            exchange.body.end()
            if settled or self.transport is None:
                self._done()
        if self.transport is None:  # what came behind it is nobody's any more
            return
        if not settled:
            self._linger()
        elif exchange.keep_alive:
            self._rest()
        else:
            self.close()

    def _done(self) -> None:
        """With the request that was at work, if one was."""
        if self._busy:
            self._busy = False
            self._server.end()

    def _rest(self) -> None:
        """Nothing to do, unless the next request has come already."""
        self._give(self._server.patience.keepalive)
        self.read_on(reading=True)
        if self._tail:
            tail, self._tail = self._tail, b""
            self._read_head(tail)
        if self._ended and not self._busy:
            self.close()

    # --- waiting ------------------------------------------------------------------------------

    def _give(self, seconds: float) -> None:
        """Time for a request to come; not much to one that is turned away."""
        if not self._welcome:
            seconds = min(seconds, self._server.patience.linger)
        self.deadline = self._loop.time() + seconds

    def time(self) -> float:
        return self._loop.time()

    async def wait(self, until: float) -> None:
        """For anything to happen; TimeoutError at the loop's time `until`."""
        self.deadline = until
        self._waiting_since = self._loop.time()
        try:
            await self._sleep()
        finally:
            self.deadline = NEVER

    async def _sleep(self) -> None:
        assert self._waiter is None, "one thing at a time"
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def overdue(self) -> float:
        """For how long the client has kept its request waiting, at less than the least rate; 0
        when it has not, or not for long.
        """
        if self._waiter is None or self._waiter.done() or self.exchange is None:
            return 0.0
        patience = self._server.patience
        waited = self._loop.time() - self._waiting_since
        if self._paused and self.transport is not None:
            came = acknowledged(self.transport) - self._acknowledged
            if came >= patience.body_rate * waited:  # counted anew from this look on
                self._acknowledged += came
                self._waiting_since += waited
        elif waited >= patience.overdue:
            came = 0
        else:
            came = self.exchange.body.received
            waited += self.exchange.body.waited
        slow = came < patience.body_rate * waited
        return waited if slow and waited >= patience.overdue else 0.0

    def expire(self) -> None:
        """The deadline has passed: the request is told, if there is one."""
        self.deadline = NEVER
        if self.exchange is None and self._head_bytes and not self._refused:
            self._refuse(_TOO_SLOW, "the head did not come in time")
        elif self.exchange is None:
            self.close()
        elif self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(TimeoutError())

    # --- writing ------------------------------------------------------------------------------

    async def send(self, pieces: Pieces) -> None:
        """Returns when the kernel has all of it: its memory may then be used again.

        ConnectionError when the client hangs up, TimeoutError when it does not take it.
        """
        transport = self._open()
        job = self._job = self._hand_over(transport, pieces)
        if job is not None:
            try:
                pieces = left_of(pieces, await job.sent())
            except OSError as fault:
                raise ConnectionResetError(_GONE) from fault
            finally:
                self._job = None
            if not pieces:
                return
            transport = self._open()
        if len(pieces) == 1:
            transport.write(pieces[0])
        else:
            transport.writelines(pieces)
        if self._paused:
            self._acknowledged = acknowledged(transport)
            until = self._loop.time() + self._server.patience.send_idle
            while self._paused and self.transport is not None:
                await self.wait(until)
            if self.transport is None:
                raise ConnectionResetError(_GONE)

    def _open(self) -> asyncio.Transport:
        transport = self.transport
        if transport is None or transport.is_closing():
            raise ConnectionResetError(_GONE)
        return transport

    def _hand_over(self, transport: asyncio.Transport, pieces: Pieces) -> Job | None:
        """To whoever is to send them, while nothing that was written before is on its way. As
        long as he does nobody else writes.
        """
        if self.secure or self._paused:
            return None
        sender = self._server.sender_of(sum(map(len, pieces)))
        if sender is None:
            return None
        return sender.give(transport.get_extra_info("socket").fileno(), pieces)

    def interject(self, data: bytes) -> None:
        """A few bytes before the answer, if they can still be sent."""
        transport = self.transport
        if transport is not None and not transport.is_closing() and self._job is None:
            transport.write(data)

    def read_on(self, *, reading: bool) -> None:
        transport = self.transport
        if self._reading == reading or self._ended or transport is None or transport.is_closing():
            return
        self._reading = reading
        if reading:
            transport.resume_reading()
        else:
            transport.pause_reading()

    # --- the end ------------------------------------------------------------------------------

    def stop(self) -> None:
        """Close now, or after the answer that is being worked on."""
        if self.exchange is not None:
            self.exchange.keep_alive = False
        elif not self._refused:
            self.close()

    def close(self) -> None:
        """Close now; whatever has not been taken by then is not sent."""
        if self._paused:
            self.abort()
        elif self.transport is not None:
            self.transport.close()

    def abort(self) -> None:
        if self.transport is not None:
            self.transport.abort()

    async def cut(self) -> None:
        """End whatever is being worked on; it is given a moment to give back what it holds."""
        self.abort()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task}, timeout=limits.CUT_S)

    def _refuse(self, error: S3Error, why: str) -> None:
        """What is no head is answered in the listener's words, and that is all."""
        self._busy = True
        self._server.begin()
        told = {"remote": self.remote, "why": why}
        LOG.info("request refused by the parser", extra={"fields": told})
        status, headers, content = self._server.refuse(error, self.remote)
        self.interject(answer_head(status, headers, len(content), keep_alive=False) + content)
        self._linger()

    def _linger(self) -> None:
        """Before a close with bytes still to come, leave the client time to read the answer.

        Closing at once would reset the connection, and the reset overtakes the answer.
        """
        transport = self.transport
        if transport is None or transport.is_closing():
            return
        if self._ended:  # nothing is to come
            self.close()
            return
        self._refused = True
        self._tail = b""
        self._head_bytes = 0
        self.deadline = self._loop.time() + self._server.patience.linger
        if transport.can_write_eof():
            transport.write_eof()
        self.read_on(reading=True)

    def _throw_away(self, count: int) -> None:
        self._head_bytes += count
        if self._head_bytes > limits.LINGER_BYTES_MAX:
            self.close()
