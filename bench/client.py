"""A client of raw sockets: presigned requests, counted exactly, answers checked.

It is what fills a store before it is measured and what plays the hospital; the table of requests
a second is wrk's. It runs in a process of its own, so that its work is in nobody's account.
"""

from __future__ import annotations

import asyncio
import http.client
import multiprocessing
import signal
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar
from urllib.parse import urlsplit

READ_BYTES = 1 << 20
T = TypeVar("T")


class Failure(Exception):
    """An answer that is not the one a measurement can go on with."""


class Connection:
    """One keep-alive connection; one request at a time."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str):
        self._reader, self._writer = reader, writer
        self._host = host

    @classmethod
    async def open(cls, endpoint: str) -> Connection:
        parts = urlsplit(endpoint)
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port, limit=READ_BYTES)
        return cls(reader, writer, parts.netloc)

    async def exchange(
        self, method: str, target: str, body: Sequence[bytes | memoryview] = ()
    ) -> bytearray:
        """The body of the answer; Failure when its status is not 2xx. `body`: its pieces."""
        length = sum(map(len, body))
        head = f"{method} {target} HTTP/1.1\r\nHost: {self._host}\r\nContent-Length: {length}\r\n"
        self._writer.writelines([f"{head}\r\n".encode(), *body])
        await self._writer.drain()
        answer = await self._reader.readuntil(b"\r\n\r\n")
        expected = 0
        for line in answer.split(b"\r\n"):
            if line.lower().startswith(b"content-length:"):
                expected = int(line[15:])
        found = bytearray()
        while len(found) < expected:
            piece = await self._reader.read(min(READ_BYTES, expected - len(found)))
            if not piece:
                raise Failure(f"the answer was cut after {len(found)} of {expected} bytes")
            found += piece
        if not answer[9:12].startswith(b"2"):
            raise Failure(f"{method} {target.partition('?')[0]}: {answer[:500]!r} {found[:300]!r}")
        return found

    def close(self) -> None:
        self._writer.close()


def ask(endpoint: str, method: str, target: str, body: bytes = b"") -> bytes:
    """One request on a connection of its own; the body of its answer."""
    parts = urlsplit(endpoint)
    assert parts.hostname is not None
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=60)
    try:
        connection.request(method, target, body)
        answer = connection.getresponse()
        found = answer.read()
    except http.client.HTTPException as error:
        raise Failure(f"{method}: {error!r}") from error
    finally:
        connection.close()
    if answer.status // 100 != 2:
        raise Failure(f"{method} {target.partition('?')[0]}: {answer.status} {found[:300]!r}")
    return found


def apart(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run `work` on an event loop of a process of its own; what it raises is raised here."""
    mine, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("fork").Process(target=_run, args=(theirs, work))
    process.start()
    theirs.close()
    try:
        outcome = mine.recv()
    except EOFError:
        raise Failure("the client's process ended without an answer") from None
    finally:
        process.kill()  # it has nothing left to do
        process.join()
    if isinstance(outcome, BaseException):
        raise outcome
    result: T = outcome
    return result


def _run(pipe: Any, work: Callable[[], Coroutine[Any, Any, Any]]) -> None:
    # Ctrl-C is the parent's to handle; its handlers are not ours.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    try:
        outcome = asyncio.run(work())
    except Exception as error:
        outcome = Failure(f"{type(error).__name__}: {error}")
    pipe.send(outcome)


def load(
    endpoint: str, method: str, targets: list[str], body: bytes, connections: int
) -> tuple[float, list[float]]:
    """Every target once; the seconds of all of it, and of each."""

    async def work() -> tuple[float, list[float]]:
        waiting = iter(targets)
        taken: list[float] = []

        async def one() -> None:
            connection = await Connection.open(endpoint)
            for target in waiting:
                began = time.perf_counter()
                await connection.exchange(method, target, [body])
                taken.append(time.perf_counter() - began)
            connection.close()

        began = time.perf_counter()
        await asyncio.gather(*(one() for _ in range(connections)))
        return time.perf_counter() - began, taken

    return apart(work)
