"""The body of one request as it comes off the wire: transfer coding removed, nothing else done.

A body with a Content-Length is received in place: the socket writes into memory of its reader,
who may lend some while he waits, or else into memory that is lent to the connection while the
body lasts and goes from one to the next; what has come is handed out as views of it. A piece is
its reader's until the next one is asked for. He is woken when it is worth while: all has come,
much has, or it took long enough.

Rules kept here:
- never a byte more is taken off the socket than the body has;
- what nobody has asked for yet is at most `limits.RECEIVE_BUFFER_BYTES`: then the socket is not
  read until somebody does;
- every wait on the client is bounded, and so is how slowly a body may come;
- ``100 Continue`` is sent when the body is first read, and never for a body that has begun; for
  an empty one too: whoever expects it takes a final answer without it for a refusal, and AWS's
  command line then misreads the next answer on that connection, and waits a minute for its end;
- a client that hangs up, stalls or breaks the framing is an `S3Error` to whoever reads.
"""

from __future__ import annotations

from collections import deque
from typing import Protocol

from s3node.base import limits
from s3node.base.errors import S3Error
from s3node.base.inplace import InPlace
from s3node.edge.chunked import ChunkDecoder, MalformedChunk
from s3node.edge.patience import Patience

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
GATHER_S = 0.02
"""What comes within this time of its reader beginning to wait may wait for more."""

SPARES_MAX = 32

Piece = bytes | memoryview


class Memory:
    """Receive buffers that nobody uses just now."""

    def __init__(self) -> None:
        self._spare: list[memoryview] = []

    def take(self) -> memoryview:
        return self._spare.pop() if self._spare else memoryview(bytearray(_SIZE))

    def give(self, buffer: memoryview) -> None:
        if len(self._spare) < SPARES_MAX:
            self._spare.append(buffer)


_SIZE = limits.RECEIVE_BUFFER_BYTES


class Client(Protocol):
    """What a body needs of its connection."""

    def time(self) -> float:
        """Of the event loop."""

    async def wait(self, until: float) -> None:
        """Until something happens on the connection; TimeoutError at that time."""

    def interject(self, data: bytes) -> None:
        """An interim answer."""

    def read_on(self, *, reading: bool) -> None:
        """Whether the socket is to be read."""


class Sized:
    """A body of so many bytes."""

    __slots__ = ("_begin", "_buffer", "_end", "_first", "_lent", "_memory", "left", "unread")

    def __init__(self, length: int, memory: Memory) -> None:
        self.left = length  # bytes that have not come
        self.unread: int | None = length  # bytes that were not handed out
        self._first = b""  # before anything in a buffer
        self._memory = memory
        self._buffer: memoryview | None = None  # `memory`'s, or a reader's
        self._lent = False
        self._begin = self._end = 0  # what has come in the buffer and was not handed out

    @property
    def whole(self) -> bool:
        return self.left == 0

    @property
    def full(self) -> bool:
        """There is no room to receive."""
        return self._buffer is not None and self._end == len(self._buffer)

    @property
    def ripe(self) -> bool:
        """There is so much that its reader had better take it."""
        return self.full if self._lent else self._end >= _SIZE // 2

    def lend(self, room: memoryview) -> None:
        """See InPlace; not if anything has come already."""
        self.give_back()
        if len(room) and self.left and self._begin == self._end and not self._first:
            self._let_go()
            self._buffer, self._lent = room[: self.left], True

    def give_back(self) -> None:
        """See InPlace; what came there stays to be handed out."""
        if self._lent and self._buffer is not None:
            self._first += bytes(self._buffer[self._begin : self._end])
            self._let_go()

    def _let_go(self) -> None:
        if self._buffer is not None and not self._lent:
            self._memory.give(self._buffer)
        self._buffer, self._lent = None, False
        self._begin = self._end = 0

    def put(self, data: bytes) -> bytes:
        """What came with the head; gives back what is not of this body."""
        self._first = data[: self.left]
        self.left -= len(self._first)
        return data[len(self._first) :]

    def room(self) -> memoryview:
        """Where to receive what comes next: never more than is left of the body."""
        if self._buffer is None:
            self._buffer = self._memory.take()
        return self._buffer[self._end : self._end + self.left]

    def came(self, count: int) -> None:
        """So many bytes have been received there."""
        self._end += count
        self.left -= count

    def take(self) -> Piece:
        """The next piece, b"" when there is none; the one before is the buffer's again."""
        piece: Piece = self._first
        if piece:
            self._first = b""
        elif self._buffer is not None and self._begin < self._end:
            piece = self._buffer[self._begin : self._end]
            self._begin = self._end
            if self._lent and self.full:
                self._let_go()
        elif not self._lent:
            self._begin = self._end = 0
        if self.unread:
            self.unread -= len(piece)
        return piece

    def end(self) -> None:
        """Nobody reads it any more: the memory is free for the next one."""
        self._let_go()


class Chunked:
    """A body that says its length piece by piece."""

    def __init__(self) -> None:
        self._decoder = ChunkDecoder()
        self._pieces: deque[bytes] = deque()
        self._held = 0

    @property
    def whole(self) -> bool:
        return self._decoder.done

    @property
    def full(self) -> bool:
        return self._held >= _SIZE

    @property
    def unread(self) -> int | None:
        """None: it does not say."""
        return 0 if self.whole and not self._held else None

    def put(self, data: bytes) -> bytes:
        """What came; gives back what is not of this body. MalformedChunk."""
        pieces, rest = self._decoder.feed(data)
        self._pieces.extend(pieces)
        self._held += sum(map(len, pieces))
        return rest

    def take(self) -> Piece:
        piece = self._pieces.popleft() if self._pieces else b""
        self._held -= len(piece)
        return piece

    def end(self) -> None:
        """It has no memory but its pieces."""


Framing = Sized | Chunked


class Body(InPlace):
    """The wire bytes of a request body, in order, as they come."""

    __slots__ = (
        "_client",
        "_framing",
        "_owes_continue",
        "_patience",
        "_waited",
        "_waiting_since",
        "begun",
        "broken",
        "in_place",
        "received",
    )

    def __init__(
        self, client: Client, framing: Framing, patience: Patience, *, expects: bool
    ) -> None:
        self._client = client
        self._framing = framing
        self._patience = patience
        self._owes_continue = expects
        self._waited = 0.0
        self._waiting_since = 0.0
        self.in_place = isinstance(framing, Sized)  # the socket writes where `room` says
        self.begun = False  # bytes of it have come
        self.broken = ""  # why the rest of it will never come
        self.received = 0  # bytes handed out

    def __aiter__(self) -> Body:
        return self

    async def __anext__(self) -> Piece:
        if self._owes_continue:
            self._continue()
        framing = self._framing
        piece = framing.take()
        if not piece and not framing.whole:
            piece = await self._next()
        if not piece:
            raise StopAsyncIteration
        self.received += len(piece)
        return piece

    def lend(self, room: memoryview) -> None:
        """See InPlace; where the length is known."""
        if isinstance(self._framing, Sized):
            self._framing.lend(room)

    def give_back(self) -> None:
        """See InPlace."""
        if isinstance(self._framing, Sized):
            self._framing.give_back()

    @property
    def unread(self) -> int | None:
        """Bytes still to come or to be read; None when the request does not say."""
        return None if self.broken else self._framing.unread

    @property
    def uninvited(self) -> bool:
        """The client waits for 100 Continue, and has not been told to go on."""
        return self._owes_continue

    @property
    def waited(self) -> float:
        """Seconds for which it has been waited for, but for a wait that goes on."""
        return self._waited

    @property
    def whole(self) -> bool:
        """All of it has come."""
        return self._framing.whole

    async def discard(self, most: int) -> None:
        """Read and forget up to `most` bytes; returns early at the end or when it breaks."""
        try:
            while most > 0 and (piece := self._framing.take() or await self._next()):
                most -= len(piece)
                self.received += len(piece)
        except S3Error as fault:
            self.broken = self.broken or fault.code

    # --- the connection's side ----------------------------------------------------------------

    def room(self) -> memoryview | None:
        """Where the socket is to write what comes; None when `put` is to be told instead."""
        return self._framing.room() if isinstance(self._framing, Sized) else None

    def came(self, count: int) -> bool:
        """So many bytes were written there; whether the reader is to know at once."""
        framing = self._framing
        assert isinstance(framing, Sized), "nobody asked for room"
        self.begun = True
        framing.came(count)
        if framing.whole:
            return True
        if framing.full:
            self._client.read_on(reading=False)
        return framing.ripe or self._client.time() - self._waiting_since >= GATHER_S

    def put(self, data: bytes) -> bytes:
        """Bytes that came; gives back those behind the body's end."""
        self.begun = True
        try:
            rest = self._framing.put(data)
        except MalformedChunk as fault:
            self.broken = str(fault)
            return b""
        self._press()
        return rest

    def lost(self, why: str) -> None:
        """The client is gone: what has not come never will."""
        if not self.whole:
            self.broken = self.broken or why

    def end(self) -> None:
        """The request is over."""
        self._framing.end()

    # --- the reader's side --------------------------------------------------------------------

    async def _next(self) -> Piece:
        """The next piece when none lies ready; b"" at the end."""
        framing = self._framing
        while True:
            if framing.whole:
                return framing.take()
            if self.broken:
                raise S3Error("IncompleteBody", f"The body broke off: {self.broken}")
            self._client.read_on(reading=True)
            await self._wait()
            piece = framing.take()
            if piece:
                self._check_rate(len(piece))
                return piece

    async def _wait(self) -> None:
        began = self._waiting_since = self._client.time()
        try:
            await self._client.wait(began + GATHER_S + self._patience.body_idle)
        except TimeoutError:
            raise _too_slow() from None
        self._waited += self._client.time() - began

    def _check_rate(self, more: int) -> None:
        patience = self._patience
        if self._waited < patience.body_window:
            return
        if self.received + more < patience.body_rate * self._waited:
            raise _too_slow()

    def _continue(self) -> None:
        self._owes_continue = False
        if not self.begun and not self.broken:
            self._client.interject(CONTINUE)

    def _press(self) -> None:
        """Back-pressure: what nobody reads stays in the network."""
        if self._framing.full and not self._framing.whole:
            self._client.read_on(reading=False)


def _too_slow() -> S3Error:
    return S3Error(
        "RequestTimeout",
        "Your socket connection to the server was not read from or written to within the "
        "timeout period. Idle connections will be closed.",
    )
