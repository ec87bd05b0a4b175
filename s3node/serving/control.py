"""What the supervisor and its children tell each other, over a socket pair each.

A message is its length (4 bytes, little-endian) and so many bytes of msgpack: an array, its
number first. Both ends are of one program, forked from one process; a message that does not
decode is a bug.

====== ======= =========== ==========================================================
number message by          says
====== ======= =========== ==========================================================
0      Stop    supervisor  finish what is asked, close, end
1      Change  supervisor  settings that are used from now on
2      Ask     supervisor  a question by name; its Answer carries the number
3      Absent  supervisor  why there is no engine, for edges to tell clients
10     Ready   child       it does its work
11     Waiting child       it does not, and why
12     Refused child       it cannot begin (a ConfigError), and ends
13     Answer  child       a value in JSON's types
====== ======= =========== ==========================================================

The socket's end is the other process's end: a child ends with its supervisor.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from contextlib import suppress
from typing import Any, TypeAlias

import msgspec

_LENGTH = struct.Struct("<I")


class Settings(msgspec.Struct, frozen=True, array_like=True):
    """What can change while a node runs."""

    access: str
    secret: str
    domains: tuple[str, ...]
    requests: tuple[int, int, int]  # RequestBounds
    connections: tuple[int, int]  # Bound
    log_level: str
    tls: tuple[str, str, str | None] | None  # files: certificate, key, authorities of clients


class Stop(msgspec.Struct, frozen=True, array_like=True, tag=0):
    grace: float  # seconds for requests in progress


class Change(msgspec.Struct, frozen=True, array_like=True, tag=1):
    settings: Settings


class Ask(msgspec.Struct, frozen=True, array_like=True, tag=2):
    number: int
    question: str


class Absent(msgspec.Struct, frozen=True, array_like=True, tag=3):
    reason: str


class Ready(msgspec.Struct, frozen=True, array_like=True, tag=10):
    pass


class Waiting(msgspec.Struct, frozen=True, array_like=True, tag=11):
    reason: str


class Refused(msgspec.Struct, frozen=True, array_like=True, tag=12):
    reason: str


class Answer(msgspec.Struct, frozen=True, array_like=True, tag=13):
    number: int
    value: Any


Message: TypeAlias = Stop | Change | Ask | Absent | Ready | Waiting | Refused | Answer

_encoder = msgspec.msgpack.Encoder()
_decoder: Any = msgspec.msgpack.Decoder(Message)


class Line:
    """One end of a control socket."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, end: socket.socket) -> Line:
        """On the running loop."""
        return cls(*await asyncio.open_unix_connection(sock=end))

    def send(self, message: Message) -> None:
        """Thrown away when the other end is gone, which `receive` tells."""
        body = _encoder.encode(message)
        if not self._writer.is_closing():
            self._writer.write(_LENGTH.pack(len(body)) + body)

    async def receive(self) -> Message | None:
        """The next message; None when the other end is gone."""
        try:
            (size,) = _LENGTH.unpack(await self._reader.readexactly(_LENGTH.size))
            message: Message = _decoder.decode(await self._reader.readexactly(size))
        except (asyncio.IncompleteReadError, ConnectionError):
            return None
        return message

    async def close(self) -> None:
        """What was sent goes out first."""
        self._writer.close()
        with suppress(OSError):
            await self._writer.wait_closed()
