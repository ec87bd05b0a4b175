"""Raw sockets for tests: bytes out, bytes in, nothing in between that could be helpful.

The bounds here end a test that would never end. None of them decides: a machine that stands
still for seconds makes no test fail.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any, NamedTuple

from s3node.base.errors import S3Error
from s3node.edge.exchange import Patience
from s3node.edge.http import Handler, HttpServer
from s3node.s3.errors import status

ANSWER_S_MAX = 60.0


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes


def refuse(error: S3Error, remote: str) -> tuple[int, list[tuple[str, str]], bytes]:
    return status(error), [("X-Code", error.code), *error.headers.items()], remote.encode()


@contextlib.asynccontextmanager
async def serving(
    handler: Handler, patience: Patience | None = None, **options: Any
) -> AsyncIterator[tuple[HttpServer, int]]:
    server = HttpServer(handler, refuse, name="test", patience=patience, **options)
    port = await server.start("127.0.0.1", 0)
    try:
        yield server, port
    finally:
        await server.stop(ANSWER_S_MAX)


async def until(condition: Callable[[], object]) -> None:
    """Let the loop run until it holds."""
    async with asyncio.timeout(ANSWER_S_MAX):
        while not condition():
            await asyncio.sleep(0.002)


class Wire:
    """One TCP connection to the server under test."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def connect(cls, port: int, **options: object) -> Wire:
        return cls(*await asyncio.open_connection("127.0.0.1", port, **options))  # type: ignore[arg-type]

    async def __aenter__(self) -> Wire:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.writer.close()
        with contextlib.suppress(ConnectionError, TimeoutError):
            await asyncio.wait_for(self.writer.wait_closed(), ANSWER_S_MAX)

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def head(self) -> tuple[int, dict[str, str]]:
        raw = await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), ANSWER_S_MAX)
        first, *lines = raw.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
        fields = (line.partition(": ") for line in lines)
        return int(first.split()[1]), {name.lower(): value for name, _, value in fields}

    async def answer(self, method: str = "GET") -> Answer:
        status, headers = await self.head()
        length = 0 if method == "HEAD" else int(headers.get("content-length", "0"))
        body = await asyncio.wait_for(self.reader.readexactly(length), ANSWER_S_MAX)
        return Answer(status, headers, body)

    async def ask(self, data: bytes) -> Answer:
        await self.send(data)
        return await self.answer(data.split(b" ", 1)[0].decode("latin-1"))

    async def closed(self) -> bytes:
        """What still comes until the server closes; TimeoutError when it does not."""
        try:
            return await asyncio.wait_for(self.reader.read(), ANSWER_S_MAX)
        except ConnectionResetError:
            return b""
