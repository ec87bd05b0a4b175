"""A connected Unix socket between an engine and an edge: frames of messages, both ways.

What is sent during one turn of the event loop goes out together at its end, in one call; what
need not hurry waits a little for something that goes that way, since each call wakes a process.
What came is handed out message by message, in order. A descriptor crosses once, with the first
byte, before there is a channel.

Invariants: `ended` is told exactly once, whatever ended it; nothing is handed out afterwards.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Sequence
from typing import Any, cast

from s3node.processes import messages
from s3node.processes.messages import BadMessage, Message

Take = Callable[[Any], None]
"""Is given each message; BadMessage ends the channel."""

Ended = Callable[[str], None]

POST_S = 0.01
"""How long what need not hurry waits for company."""

CONGESTED_BYTES = 1 << 20
"""An other end with so much before it does not take anything just now."""

CLOSED = "the other end is gone"
MARK = b"M"
"""The first byte of a connection: what the descriptor of the memory comes with."""


class Channel(asyncio.Protocol):
    """One end. To be opened once made."""

    def __init__(
        self,
        sock: socket.socket,
        unpack: Callable[[memoryview], Sequence[Any]],
        take: Take,
        ended: Ended,
        farewell: Callable[[str], Message] | None = None,
    ) -> None:
        """`farewell` makes the last message, of the reason why this end closes."""
        self._sock = sock
        self._loop = asyncio.get_running_loop()
        self._unpack = unpack
        self._take = take
        self._tell = ended
        self._farewell = farewell
        self._out: list[Message] = []
        self._hurried = False  # somebody sees to it that what is in there goes out this turn
        self._posted = False  # the same, soon
        self._in = bytearray()
        self._transport: asyncio.WriteTransport | None = None
        self._reason = ""

    async def open(self) -> None:
        """Begin to receive; what was sent before goes out."""
        if self._reason:
            self._sock.close()
            return
        try:
            await self._loop.create_unix_connection(lambda: self, sock=self._sock)
        except OSError as error:
            self.close(str(error))
            self._sock.close()

    @property
    def congested(self) -> bool:
        """Whether the other end takes nothing, and what is but news had better be left out."""
        transport = self._transport
        return transport is not None and transport.get_write_buffer_size() > CONGESTED_BYTES

    def take_over(self, take: Take, ended: Ended) -> None:
        """From here on messages, and the end, are told to others; at once if it has ended."""
        self._take, self._tell = take, ended
        if self._reason:
            ended(self._reason)

    def send(self, message: Message) -> None:
        """At the end of this turn; thrown away if the channel is closed."""
        if self._reason:
            return
        self._out.append(message)
        if not self._hurried:
            self._hurried = True
            self._loop.call_soon(self._flush)

    def post(self, message: Message) -> None:
        """With the next message that is sent, or soon."""
        if self._reason:
            return
        self._out.append(message)
        if not self._posted:
            self._posted = True
            self._loop.call_later(POST_S, self._post)

    def close(self, reason: str) -> None:
        """What was sent before goes out first; `ended` is told now."""
        if not self._reason:
            if self._farewell is not None:
                self._out.append(self._farewell(reason))
            self._flush()
            self._end(reason)
            if self._transport is not None:
                self._transport.close()

    # ---- the loop's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.WriteTransport, transport)
        if self._reason:
            transport.close()
        else:
            self._flush()

    def data_received(self, data: bytes) -> None:
        if self._reason:
            return
        if self._in:
            self._in += data
            rest = self._hand_out(self._in)
            del self._in[: len(self._in) - rest]
        elif rest := self._hand_out(data):
            self._in += memoryview(data)[len(data) - rest :]

    def connection_lost(self, exc: Exception | None) -> None:
        self._end(f"{CLOSED}: {exc}" if exc else CLOSED)

    def _hand_out(self, data: bytes | bytearray) -> int:
        """Whole frames are taken; how many bytes are left over at the end."""
        at, end = 0, len(data)
        with memoryview(data) as view:
            try:
                while end - at >= messages.LENGTH.size and not self._reason:
                    (size,) = messages.LENGTH.unpack_from(view, at)
                    if size > messages.FRAME_BYTES_MAX:
                        raise BadMessage(f"a frame of {size} bytes")
                    begin = at + messages.LENGTH.size
                    if end - begin < size:
                        break
                    at = begin + size
                    for message in self._unpack(view[begin:at]):
                        if not self._reason:
                            self._take(message)
            except BadMessage as bad:
                self.close(f"bad message: {bad}")
        return end - at

    def _post(self) -> None:
        self._posted = False
        self._flush()

    def _flush(self) -> None:
        self._hurried = False
        if self._out and not self._reason and self._transport is not None:
            out, self._out = self._out, []
            for frame in messages.pack(out):
                self._transport.write(frame)

    def _end(self, reason: str) -> None:
        if not self._reason:
            self._reason = reason
            self._out.clear()
            self._tell(reason)
