"""Whatever is answered carries x-amz-request-id and x-amz-id-2, and both stand in its line of the
log with the address that it went to; so they do when an answer is cut off.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Sequence
from typing import Any

import msgspec
import pytest

from s3node.base import limits, log
from s3node.base.errors import JournalStalled, S3Error
from s3node.base.shares import Bound, RequestBounds
from s3node.edge.exchange import Patience
from s3node.ops import OPERATIONS
from s3node.ops.context import Call, Node
from s3node.s3.request import Response
from tests.edge.handlers import HOST, SHORT, get, put
from tests.edge.listening import listening
from tests.edge.wire import Answer, Wire, until

REQUEST_ID = re.compile(r"[0-9A-F]{16}\Z")
HOST_ID = re.compile(r"[A-Za-z0-9+/]{64}\Z")


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What the access log tells."""
    told: list[dict[str, Any]] = []
    monkeypatch.setattr(log, "access", lambda fields: told.append(msgspec.to_builtins(fields)))
    return told


def check(answer: Answer, line: dict[str, Any], status: int) -> None:
    ids = answer.headers["x-amz-request-id"], answer.headers["x-amz-id-2"]
    assert REQUEST_ID.match(ids[0])
    assert HOST_ID.match(ids[1])
    assert answer.status == line["status"] == status
    assert (line["request_id"], line["host_id"]) == ids
    assert line["remote"] == "127.0.0.1"
    if answer.body.startswith(b"<?xml") and b"<Error>" in answer.body:
        assert f"<RequestId>{ids[0]}</RequestId>".encode() in answer.body
        assert f"<HostId>{ids[1]}</HostId>".encode() in answer.body


async def fault(node: Node, call: Call) -> Response:
    raise RuntimeError("surprise")


async def stalled(node: Node, call: Call) -> Response:
    raise JournalStalled("2 of 5 journals")


async def late(node: Node, call: Call) -> Response:
    pieces = [bytes(piece) async for piece in call.body]
    return Response(200, body=b"".join(pieces))


SIGNED: dict[str, tuple[str, str, bytes, int]] = {
    "done": ("GET", "/", b"", 200),
    "created": ("PUT", "/bucket/k", b"x", 200),
    "nothing to say": ("DELETE", "/bucket/k", b"", 204),
    "no such key": ("GET", "/bucket/none", b"", 404),
    "no such key to HEAD": ("HEAD", "/bucket/none", b"", 404),
    "not modified": ("GET", "/bucket/there", b"", 304),
    "bad document": ("POST", "/bucket?delete", b"<x", 400),
    "unknown operation": ("PATCH", "/bucket", b"", 405),
    "preflight": ("OPTIONS", "/bucket/k", b"", 0),
}


@pytest.mark.parametrize("name", SIGNED)
async def test_ids_on_answers_of_operations(name: str, lines: list[dict[str, Any]]) -> None:
    method, path, body, status = SIGNED[name]
    async with listening() as edge, await Wire.connect(edge.port) as wire:
        where = b"<CreateBucketConfiguration><LocationConstraint>eu-west-1</LocationConstraint>"
        where += b"</CreateBucketConfiguration>"
        assert (await wire.ask(edge.signed("PUT", "/bucket", where))).status == 200
        etag = (await wire.ask(edge.signed("PUT", "/bucket/there", b"y"))).headers["etag"]
        headers = {"If-None-Match": etag} if status == 304 else {}
        if method == "OPTIONS":
            headers = {"Origin": "http://a.example", "Access-Control-Request-Method": "PUT"}
        lines.clear()
        answer = await wire.ask(edge.signed(method, path, body, headers))
        await until(lambda: lines)
        check(answer, lines[0], status or answer.status)
        assert len(lines) == 1


REFUSED: dict[str, tuple[bytes, int]] = {
    "no HTTP": (b"GET / HTTP/1.1\nHost: x\r\n\r\n", 400),
    "no version": (b"GET / HTTP/3.0\r\nHost: x\r\n\r\n", 400),
    "CONNECT": (b"CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n", 405),
    "coding": (put(b"Transfer-Encoding: gzip\r\n"), 400),
    "codings": (put(b"Transfer-Encoding: gzip, chunked\r\n"), 501),
    "expectation": (put(b"Expect: 200-ok\r\n"), 400),
    "long head": (get(b"A: b\r\n" * 20_000), 400),
    "long line": (get(b"", b"a" * 2 * limits.REQUEST_LINE_BYTES_MAX), 400),
    "bad host": (b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400),
    "bad escape": (b"GET /%zz HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "anonymous": (b"GET /bucket/k HTTP/1.1\r\n" + HOST + b"\r\n", 403),
    "chunked": (put(b"Transfer-Encoding: chunked\r\n", b"3\r\nabc\r\n0\r\n\r\n"), 400),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_ids_on_refusals(name: str, lines: list[dict[str, Any]]) -> None:
    request, status = REFUSED[name]
    async with listening() as edge, await Wire.connect(edge.port, limit=1 << 20) as wire:
        answer = await wire.ask(request)
        await until(lambda: lines)
        check(answer, lines[0], status)


@pytest.mark.parametrize("operation", [fault, stalled])
async def test_ids_on_faults(operation: Any, lines: list[dict[str, Any]]) -> None:
    async with (
        listening({**OPERATIONS, "ListBuckets": operation}) as edge,
        await Wire.connect(edge.port) as wire,
    ):
        answer = await wire.ask(edge.signed("GET", "/"))
        await until(lambda: lines)
        check(answer, lines[0], 500 if operation is fault else 503)


async def test_ids_where_one_is_told_to_come_back(lines: list[dict[str, Any]]) -> None:
    async with (
        listening({"PutObject": late}, ready=False, requests=RequestBounds.of(1)) as edge,
        await Wire.connect(edge.port) as wire,
        await Wire.connect(edge.port) as other,
    ):
        check(await wire.ask(edge.signed("GET", "/")), lines[0], 503)
        edge.s3.ready(edge.world.node)
        begun = edge.signed("PUT", "/bucket/k", b"body")
        await other.send(begun[:-1])
        await until(lambda: edge.s3._room.taken)
        check(await wire.ask(edge.signed("GET", "/")), lines[1], 503)
        assert edge.front._s3 is not None
        edge.front._s3.bound = Bound(1, 1)
        async with await Wire.connect(edge.port) as third:
            check(await third.ask(edge.signed("GET", "/")), lines[2], 503)
        assert lines[2]["error"] == "SlowDown"
        await other.send(begun[-1:])
        check(await other.answer(), lines[3], 200)


@pytest.mark.parametrize("sent", [b"GET / HT", put(b"Content-Length: 9\r\n", b"abc")])
async def test_ids_where_the_client_is_too_slow(sent: bytes, lines: list[dict[str, Any]]) -> None:
    patience = Patience(header=SHORT, body_idle=SHORT)

    async with (
        listening({"PutObject": late}, patience=patience) as edge,
        await Wire.connect(edge.port) as wire,
    ):
        if sent.startswith(b"PUT"):
            sent = edge.signed("PUT", "/bucket/k", b"body")[:-1]
        await wire.send(sent)
        check(await wire.answer(), lines[0], 400)
        assert lines[0]["error"] == "RequestTimeout"


class Breaking:
    """Answers with a stream that does not come to its end; `how` says why not."""

    def __init__(self, how: str) -> None:
        self.how = how
        self.begun = asyncio.Event()

    async def __call__(self, node: Node, call: Call) -> Response:
        return Response(200, stream=self._stream(), length=1 << 30)

    async def _stream(self) -> AsyncIterator[Sequence[memoryview]]:
        yield [memoryview(bytes(100_000))]
        self.begun.set()
        if self.how == "fault":
            raise S3Error("InternalError")
        if self.how == "stop":
            await asyncio.Event().wait()
        while True:
            yield [memoryview(bytes(100_000))]


@pytest.mark.parametrize("how", ["fault", "hung_up", "stalled", "stop"])
async def test_an_answer_that_is_cut_off_stands_in_the_log(
    how: str, lines: list[dict[str, Any]]
) -> None:
    breaking = Breaking(how)
    patience = Patience(send_idle=SHORT) if how == "stalled" else Patience()
    async with (
        listening({"ListBuckets": breaking}, patience=patience) as edge,
        await Wire.connect(edge.port, limit=1 << 16) as wire,
    ):
        await wire.send(edge.signed("GET", "/"))
        status, headers = await wire.head()
        await breaking.begun.wait()
        if how == "hung_up":
            wire.writer.transport.abort()
        if how == "stop":
            await edge.front.stop(0)
        await until(lambda: lines)
        line = lines[0]
        assert (line["status"], status) == (200, 200)
        assert line["request_id"] == headers["x-amz-request-id"]
        assert line["host_id"] == headers["x-amz-id-2"]
        assert line["cut"] == ("stopped" if how == "stop" else how)
        assert edge.s3._room.taken == 0


async def test_x_forwarded_for_is_nobodys_address(lines: list[dict[str, Any]]) -> None:
    """N23: neither in the log nor in what decides (see the shares)."""
    names = ("X-Forwarded-For", "Forwarded", "X-Real-IP", "X-Forwarded-Host", "X-Forwarded-Proto")
    async with listening() as edge, await Wire.connect(edge.port) as wire:
        headers = dict.fromkeys(names, "for=10.9.8.7")
        answer = await wire.ask(edge.signed("GET", "/", headers=headers))
        check(answer, lines[0], 200)
        assert "10.9.8.7" not in str(lines)


async def test_each_process_has_an_id_of_its_own_and_each_request() -> None:
    async with listening() as one, listening() as two:
        assert one.s3._host_id != two.s3._host_id
        async with await Wire.connect(one.port) as wire:
            ids = [
                (await wire.ask(one.signed("GET", "/"))).headers["x-amz-request-id"]
                for _ in range(100)
            ]
        assert len(set(ids)) == 100
