"""Transfer-Encoding: chunked, taken off as bytes come. Strict: what is not exactly a chunk ends it.

::

    SIZE --size > 0--> DATA --all bytes--> CRLF --\\r\\n--> SIZE
      \\--size = 0--> TRAILER --empty line--> done          (what follows is the next message's)

Lines end in CRLF and nothing else, have at most `LINE_BYTES_MAX` bytes, trailers together
`limits.HEADER_FIELD_BYTES_MAX`; they must have the form of header fields, and are forgotten. Chunk
extensions are too.

Source: RFC 9112 section 7.1. Knows no sockets.
"""

from __future__ import annotations

import enum
import re

from s3node.base import limits

LINE_BYTES_MAX = 1024

_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})(?:[ \t]*;[\t\x20-\x7e\x80-\xff]*)?\r\n\Z")
_TRAILER = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t\x20-\x7e\x80-\xff]*\r\n\Z")
_END = b"\r\n"


class State(enum.Enum):
    SIZE = enum.auto()
    DATA = enum.auto()
    CRLF = enum.auto()
    TRAILER = enum.auto()
    DONE = enum.auto()


class MalformedChunk(ValueError):
    """These bytes are no chunked body."""


class ChunkDecoder:
    """Finds the content of one chunked body."""

    def __init__(self) -> None:
        self._state = State.SIZE
        self._left = 0  # bytes still to come in this chunk
        self._line = b""  # what has come of a line
        self._trailers = 0  # bytes

    @property
    def done(self) -> bool:
        """The body has ended."""
        return self._state is State.DONE

    def feed(self, data: bytes) -> tuple[list[bytes], bytes]:
        """(content in `data`, what is behind the end of the body); MalformedChunk."""
        pieces: list[bytes] = []
        at = 0
        while at < len(data) and self._state is not State.DONE:
            if self._state is State.DATA:
                piece = data[at : at + self._left]
                pieces.append(piece)
                self._left -= len(piece)
                at += len(piece)
                if not self._left:
                    self._state = State.CRLF
            else:
                at = self._gather(data, at)
        return pieces, data[at:]

    def _gather(self, data: bytes, at: int) -> int:
        """Take a line, or as much of it as there is; where it ended."""
        end = data.find(b"\n", at) + 1
        part = data[at : end or len(data)]
        if len(self._line) + len(part) > LINE_BYTES_MAX:
            raise MalformedChunk("a line is too long")
        self._line += part
        if self._state is State.CRLF and not _END.startswith(self._line[: len(_END)]):
            raise MalformedChunk("a chunk is longer than its size")
        if end:
            line, self._line = self._line, b""
            self._take(line)
        return at + len(part)

    def _take(self, line: bytes) -> None:
        if self._state is State.SIZE:
            self._begin(line)
        elif self._state is State.CRLF:
            if line != _END:
                raise MalformedChunk("a chunk is longer than its size")
            self._state = State.SIZE
        elif line == _END:
            self._state = State.DONE
        else:
            self._trailers += len(line)
            if not _TRAILER.match(line) or self._trailers > limits.HEADER_FIELD_BYTES_MAX:
                raise MalformedChunk("a malformed trailer")

    def _begin(self, line: bytes) -> None:
        match = _SIZE.match(line)
        if match is None:
            raise MalformedChunk("a malformed chunk size")
        self._left = int(match[1], 16)
        self._state = State.DATA if self._left else State.TRAILER
