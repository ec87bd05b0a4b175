"""What is sent by the thread for large answers: its calls to the system, and what it is given."""

from __future__ import annotations

import asyncio
import errno
import os
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from random import Random
from typing import Any

from s3node.edge._send import ffi

from s3node.base import limits
from s3node.edge.connection import Connection
from s3node.edge.exchange import Exchange, ResponseCut
from s3node.edge.http import HttpServer
from s3node.edge.sender import Sender, open_sender, system_calls
from tests.edge.handlers import get
from tests.edge.wire import ANSWER_S_MAX, Wire, serving

LARGE = limits.SEND_ASIDE_BYTES_MIN


class Calls:
    """The sender's calls to the system: counted, held, or wrong when they are told to be."""

    def __init__(self) -> None:
        self.sends = 0
        self.wrong: Callable[[int], int | None] = lambda nth: None  # a negated errno, or bytes
        self.free = threading.Event()
        self.free.set()
        self.entered = threading.Event()
        self.table = system_calls()
        self._system = system_calls()
        self._kept = [
            ffi.callback("int64_t(int, const send_piece *, int)", self._send),
            ffi.callback("int(int)", self._duplicate),
        ]
        self.table.send, self.table.duplicate = self._kept
        self.descriptors = 0  # of duplicates that may be had; the others fail

    def hold(self) -> None:
        """Sends wait until `free` is set."""
        self.entered.clear()
        self.free.clear()

    def open(self, loop: asyncio.AbstractEventLoop) -> Sender | None:
        return open_sender(loop, self.table)

    def _send(self, fd: int, pieces: Any, count: int) -> int:
        self.sends += 1
        wrong = self.wrong(self.sends)
        self.entered.set()
        assert self.free.wait(ANSWER_S_MAX), "held for too long"
        if wrong is None:
            return int(self._system.send(fd, pieces, count))
        if wrong <= 0:
            return wrong
        first = ffi.new("send_piece *", (pieces[0].base, min(wrong, pieces[0].length)))
        return int(self._system.send(fd, first, 1))

    def _duplicate(self, fd: int) -> int:
        if self.descriptors < 0:
            return -errno.EMFILE
        return int(self._system.duplicate(fd))


def content(seed: int, size: int) -> bytes:
    return Random(seed).randbytes(size)


class Answering:
    """Answers ``/SEED-SIZE-STEP`` with that content, in steps, all from one piece of memory, which
    is used for the next step as soon as the last one is said to be sent.
    """

    def __init__(self) -> None:
        self.whole = 0
        self.cut: list[str] = []
        self.closed = 0

    async def __call__(self, exchange: Exchange) -> None:
        seed, size, step = map(int, exchange.target.strip(b"/").split(b"-"))
        try:
            stream = self._stream(content(seed, size), step)
            await exchange.answer(200, [], stream=stream, length=size)
            self.whole += 1
        except ResponseCut as cut:
            self.cut.append(cut.cause)

    async def _stream(self, data: bytes, step: int) -> AsyncIterator[Sequence[memoryview]]:
        room = bytearray(step)
        rng = Random(step)
        try:
            for at in range(0, len(data), step):
                part = data[at : at + step]
                room[: len(part)] = part
                cuts = sorted(rng.randrange(len(part) + 1) for _ in range(4))
                view = memoryview(room)
                ends = (*cuts, len(part))
                yield [view[a:b] for a, b in zip((0, *cuts), ends, strict=True)]
        finally:
            room[:] = bytes(len(room))  # it is somebody else's
            self.closed += 1


def ask(seed: int, size: int, step: int = LARGE) -> bytes:
    return get(b"", b"%d-%d-%d" % (seed, size, step))


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


async def descriptors_at_rest() -> int:
    """With those that every process gets at its first connection."""
    async with serving(Answering()) as (_, port), await Wire.connect(port):
        pass
    return descriptors()


def only(server: HttpServer) -> Connection:
    (connection,) = server.connections
    return connection
