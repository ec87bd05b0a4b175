"""Requests from the socket to the operation and back: ids, errors, readiness, log, hang-ups."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any

import pytest
from botocore.exceptions import ClientError

from s3node.base import log
from s3node.base.errors import JournalStalled, S3Error
from s3node.base.shares import RequestBounds
from s3node.ops.context import Call, Node
from s3node.s3.request import Response
from tests.edge.listening import ACCESS, SECRET, Edge, listening
from tests.edge.wire import Wire, until

BODY = bytes(range(256)) * 300


@pytest.fixture
def lines() -> Iterator[list[str]]:
    """Everything logged during the test, as JSON lines."""
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    stream = io.StringIO()
    log.setup(stream, level="info", plain=False)
    log.hide(SECRET)
    found: list[str] = []
    yield found
    found += stream.getvalue().splitlines()
    root.handlers[:], root.level = before, level


def logged() -> list[dict[str, Any]]:
    """The lines so far."""
    handler = logging.getLogger().handlers[0]
    assert isinstance(handler, logging.StreamHandler)
    return [json.loads(line) for line in handler.stream.getvalue().splitlines()]


async def test_boto3_stores_reads_lists_and_deletes() -> None:
    async with listening() as edge:
        s3 = edge.client()

        def work() -> None:
            s3.create_bucket(
                Bucket="studies", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"}
            )
            s3.put_object(Bucket="studies", Key="a/é ü//..%2F", Body=BODY, Metadata={"x": "y"})
            found = s3.get_object(Bucket="studies", Key="a/é ü//..%2F", Range="bytes=7-99999")
            assert found["Body"].read() == BODY[7:]
            assert found["Metadata"] == {"x": "y"}
            ids = found["ResponseMetadata"]
            assert len(ids["RequestId"]) == 16
            assert len(ids["HostId"]) == 64
            assert s3.head_object(Bucket="studies", Key="a/é ü//..%2F")["ContentLength"] == len(
                BODY
            )
            listed = s3.list_objects_v2(Bucket="studies")["Contents"]
            assert [one["Key"] for one in listed] == ["a/é ü//..%2F"]
            s3.delete_object(Bucket="studies", Key="a/é ü//..%2F")
            s3.delete_bucket(Bucket="studies")

        await asyncio.to_thread(work)
        assert edge.broken == []


async def test_clients_understand_the_errors() -> None:
    async with listening() as edge:

        def work() -> None:
            with pytest.raises(ClientError) as caught:
                edge.client(secret="wrong" * 8).list_buckets()
            answer = caught.value.response
            assert answer["Error"]["Code"] == "SignatureDoesNotMatch"
            assert len(answer["ResponseMetadata"]["RequestId"]) == 16
            with pytest.raises(ClientError) as caught:
                edge.client().head_object(Bucket="none", Key="k")
            assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 404

        await asyncio.to_thread(work)


async def test_anonymous_and_unparsable_requests_are_refused_in_xml() -> None:
    async with listening() as edge:
        for raw, code in (
            (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"<Code>AccessDenied</Code>"),
            (b"GET /b?acl HTTP/1.1\r\nHost: a b\r\n\r\n", b"<Code>InvalidRequest</Code>"),
            (b"GET / HTTP/1.1\nHost: x\r\n\r\n", b"<Code>BadRequest</Code>"),
            (b"GET /%00 HTTP/1.1\r\nHost: x\r\n\r\n", b"<Code>InvalidURI</Code>"),
        ):
            async with await Wire.connect(edge.port) as wire:
                answer = await wire.ask(raw)
                assert code in answer.body
                assert answer.headers["x-amz-request-id"].encode() in answer.body
                assert answer.headers["x-amz-id-2"].encode() in answer.body


async def test_not_ready_says_why_and_when_to_come_back() -> None:
    async with listening(ready=False) as edge, await Wire.connect(edge.port) as wire:
        answer = await wire.ask(edge.signed("GET", "/"))
        assert answer.status == 503
        assert b"the node is starting" in answer.body
        assert int(answer.headers["retry-after"]) > 0
        edge.s3.ready(edge.world.node)
        assert (await wire.ask(edge.signed("GET", "/"))).status == 200
        edge.s3.unready("only 3 of 6 disks are there")
        assert b"only 3 of 6 disks" in (await wire.ask(edge.signed("GET", "/"))).body


async def test_one_request_too_many_is_told_to_slow_down() -> None:
    gate = asyncio.Event()
    working: list[Call] = []

    async def slow(node: Node, call: Call) -> Response:
        working.append(call)
        await gate.wait()
        return Response(200)

    async with (
        listening({"ListBuckets": slow}, requests=RequestBounds.of(2)) as edge,
        await Wire.connect(edge.port) as first,
        await Wire.connect(edge.port) as second,
        await Wire.connect(edge.port) as third,
    ):
        await first.send(edge.signed("GET", "/"))
        await second.send(edge.signed("GET", "/"))
        await until(lambda: len(working) == 2)
        answer = await third.ask(edge.signed("GET", "/"))
        assert (answer.status, b"<Code>SlowDown</Code>" in answer.body) == (503, True)
        gate.set()
        assert (await first.answer()).status == 200
        assert (await second.answer()).status == 200
        assert (await third.ask(edge.signed("GET", "/"))).status == 200


@pytest.mark.parametrize(
    ("fault", "status", "code", "breaks", "traced"),
    [
        (S3Error("NoSuchKey"), 404, "NoSuchKey", False, False),
        (JournalStalled("2 of 5 journals"), 503, "ServiceUnavailable", False, False),
        (RuntimeError("surprise"), 500, "InternalError", False, True),
        (ValueError("surprise"), 500, "InternalError", False, True),
        (AssertionError("I3 broken"), 500, "InternalError", True, True),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
async def test_the_three_kinds_of_failure(
    fault: Exception, status: int, code: str, breaks: bool, traced: bool, lines: list[str]
) -> None:
    async def fail(node: Node, call: Call) -> Response:
        raise fault

    async with (
        listening({"ListBuckets": fail}) as edge,
        await Wire.connect(edge.port) as wire,
    ):
        answer = await wire.ask(edge.signed("GET", "/"))
        assert answer.status == status
        assert f"<Code>{code}</Code>".encode() in answer.body
        assert b"surprise" not in answer.body
        assert (edge.broken == [fault]) == breaks
        request_id = answer.headers["x-amz-request-id"]
        traces = [line for line in logged() if "traceback" in line]
        assert [line["request_id"] for line in traces] == ([request_id] if traced else [])


@pytest.mark.parametrize("header", [("x-evil", "a\r\nSet-Cookie: b"), ("content-length", "7")])
async def test_operation_cannot_split_or_forge_the_head(header: tuple[str, str]) -> None:
    async def evil(node: Node, call: Call) -> Response:
        return Response(200, [header], b"body")

    async with (
        listening({"ListBuckets": evil}) as edge,
        await Wire.connect(edge.port) as wire,
    ):
        answer = await wire.ask(edge.signed("GET", "/"))
        assert answer.status == 500
        assert "set-cookie" not in answer.headers


@pytest.mark.parametrize("after", [0, 1, 2])
async def test_fault_in_a_stream_is_503_before_and_a_cut_after_the_first_byte(after: int) -> None:
    async def stream() -> AsyncIterator[Sequence[memoryview]]:
        for _ in range(after):
            yield [memoryview(b"x" * 1000)]
        raise S3Error("ServiceUnavailable", "Too few shards")

    async def read(node: Node, call: Call) -> Response:
        return Response(200, stream=stream(), length=3000)

    async with (
        listening({"ListBuckets": read}) as edge,
        await Wire.connect(edge.port) as wire,
    ):
        await wire.send(edge.signed("GET", "/"))
        status, headers = await wire.head()
        if after == 0:
            assert status == 503
            assert b"Too few shards" in await wire.reader.readexactly(
                int(headers["content-length"])
            )
        else:
            assert status == 200
            assert len(await wire.closed()) <= 1000 * after


async def _bucket(edge: Edge, wire: Wire) -> None:
    answer = await wire.ask(edge.signed("PUT", "/bucket"))
    assert answer.status == 200, answer


async def test_expect_is_answered_when_allowed_and_not_when_refused() -> None:
    expect = {"Expect": "100-continue"}
    async with listening() as edge, await Wire.connect(edge.port) as wire:
        await _bucket(edge, wire)
        head, body = edge.signed("PUT", "/bucket/k", BODY, expect).split(b"\r\n\r\n", 1)
        await wire.send(head + b"\r\n\r\n")
        assert (await wire.head())[0] == 100
        assert (await wire.ask(body)).status == 200
        for path, code in (("/bucket/k", 403), ("/nobucket/k", 404)):
            async with await Wire.connect(edge.port) as other:
                head = edge.signed("PUT", path, BODY, expect).split(b"\r\n\r\n", 1)[0]
                if code == 403:
                    head = head.replace(b"Signature=", b"Signature=0")[:-1]
                await other.send(head + b"\r\n\r\n")
                assert (await other.head())[0] in ((code, 400) if code == 403 else (code,))
                await other.closed()


async def test_hang_up_at_every_byte_stores_nothing_and_pins_nothing() -> None:
    async with listening() as edge:
        async with await Wire.connect(edge.port) as wire:
            await _bucket(edge, wire)
        request = edge.signed("PUT", "/bucket/k", b"0123456789" * 600)
        head = request.index(b"\r\n\r\n") + 4
        for count in [*range(head), *range(head, len(request), 37), len(request) - 1]:
            wire = await Wire.connect(edge.port)
            await wire.send(request[:count])
            if count % 2:
                wire.writer.close()
            else:
                wire.writer.transport.abort()
        async with await Wire.connect(edge.port) as wire:  # accepted after all those
            assert (await wire.ask(edge.signed("HEAD", "/bucket"))).status == 200
            await until(lambda: edge.connections == 1)
            assert (await wire.ask(edge.signed("HEAD", "/bucket/k"))).status == 404
            edge.world.check_ledger()
            assert (await wire.ask(request)).status == 200
            assert (await wire.ask(edge.signed("HEAD", "/bucket/k"))).status == 200
        assert edge.world.objects.pinned == 0
        assert edge.broken == []


async def test_access_log_tells_what_happened_and_no_secret(lines: list[str]) -> None:
    async with listening() as edge:
        s3 = edge.client()

        def work() -> None:
            s3.create_bucket(
                Bucket="studies", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"}
            )
            s3.put_object(Bucket="studies", Key="evil\n\x1b[31m", Body=b"12345")
            url = s3.generate_presigned_url("get_object", {"Bucket": "studies", "Key": "k"})
            with pytest.raises(urllib.error.HTTPError):
                urllib.request.urlopen(url)
            logging.getLogger("s3node").error("GET %s with %s", url, SECRET)

        await asyncio.to_thread(work)
        found = logged()
    text = json.dumps(found)
    requests = [line for line in found if line["logger"] == "s3node.access"]
    put = next(line for line in requests if line["operation"] == "PutObject")
    assert put["status"] == 200
    assert put["bucket"] == "studies"
    assert put["key"] == "evil\n\x1b[31m"
    assert put["received_bytes"] >= 5
    assert put["remote"] == "127.0.0.1"
    assert put["identity"] == ACCESS
    assert put["duration_ms"] > 0
    assert [line["error"] for line in requests if line["status"] == 404] == ["NoSuchKey"]
    assert SECRET not in text
    assert "X-Amz-Signature=[hidden]" in text
