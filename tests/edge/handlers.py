"""What the tests of the HTTP layer send, and what they have it answered with."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from s3node.base.errors import S3Error
from s3node.edge.exchange import Exchange, ResponseCut

HOST = b"Host: x\r\n"
SHORT = 0.3
"""The one patience that a test is about, in seconds; all others stay as they are for clients."""


def put(lines: bytes, body: bytes = b"") -> bytes:
    return b"PUT /k HTTP/1.1\r\n" + HOST + lines + b"\r\n" + body


def get(lines: bytes, key: bytes = b"k") -> bytes:
    return b"GET /" + key + b" HTTP/1.1\r\n" + HOST + lines + b"\r\n"


async def echo(exchange: Exchange) -> None:
    """Answers the target and the body; the framing as headers."""
    try:
        body = b"".join([bytes(piece) async for piece in exchange.body])
    except S3Error as error:
        await exchange.answer(400, [("X-Code", error.code)])
        return
    await exchange.answer(200, [("X-Target", exchange.target.decode("latin-1"))], body)


class Pouring:
    """Answers without an end; `cut` says why each answer ended all the same."""

    def __init__(self) -> None:
        self.cut: list[str] = []

    async def __call__(self, exchange: Exchange) -> None:
        try:
            await exchange.answer(200, [], stream=self._stream(), length=1 << 40)
        except ResponseCut as cut:
            self.cut.append(cut.cause)

    async def _stream(self) -> AsyncIterator[Sequence[memoryview]]:
        while True:
            yield [memoryview(bytes(1 << 20))]
