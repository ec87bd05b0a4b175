"""What browsers do, over sockets: preflights, cross-origin requests, forms; as their bytes are."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
from typing import Any, NamedTuple
from xml.etree import ElementTree

import pytest

from s3node.base.shares import RequestBounds
from tests.edge.listening import ACCESS, REGION, SECRET, Edge, listening
from tests.edge.wire import Wire, until
from tests.s3.forms import content_type, form, signed

EXPIRES = "2999-01-01T00:00:00Z"
ORIGIN = "http://viewer.example"
RULE = {
    "AllowedMethods": ["GET", "POST"],
    "AllowedOrigins": ["http://*.example"],
    "AllowedHeaders": ["x-amz-*"],
    "ExposeHeaders": ["ETag"],
    "MaxAgeSeconds": 5,
}
SHARED = {
    "access-control-allow-origin": ORIGIN,
    "access-control-allow-methods": "GET, POST",
    "access-control-expose-headers": "ETag",
    "access-control-max-age": "5",
    "access-control-allow-credentials": "true",
    "vary": "Origin, Access-Control-Request-Headers, Access-Control-Request-Method",
}


class Told(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def shared(self) -> dict[str, str]:
        """Headers that are for scripts of other origins."""
        return {
            name: value
            for name, value in self.headers.items()
            if name.startswith("access-control-") or name == "vary"
        }

    def text(self, path: str) -> str | None:
        return ElementTree.fromstring(self.body).findtext(path)


def ask(edge: Edge, method: str, path: str, body: bytes = b"", **headers: str) -> Told:
    """As a browser: nothing is signed."""
    connection = http.client.HTTPConnection("127.0.0.1", edge.port, timeout=20)
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(method, path, body or None, fields)
    answer = connection.getresponse()
    told = {name.lower(): value for name, value in answer.getheaders()}
    try:
        return Told(answer.status, told, answer.read())
    finally:
        connection.close()


def prepared(edge: Edge) -> Any:
    client = edge.client()
    client.create_bucket(Bucket="bucket", CreateBucketConfiguration={"LocationConstraint": REGION})
    client.put_bucket_cors(Bucket="bucket", CORSConfiguration={"CORSRules": [RULE]})
    return client


def upload(edge: Edge, client: Any, content: bytes, **options: Any) -> Told:
    """A form that boto3 signed, sent by a page."""
    made = client.generate_presigned_post("bucket", "up/${filename}", **options)
    body = form(made["fields"], content, "C:\\scans\\sl\u00efce.dcm")
    return ask(edge, "POST", "/bucket", body, content_type=content_type(), origin=ORIGIN)


async def test_forms_and_scripts_of_another_origin() -> None:
    async with listening() as edge:
        await asyncio.to_thread(_visit, edge)
        edge.world.check_ledger()
        assert not edge.broken


def _visit(edge: Edge) -> None:
    client = prepared(edge)
    for size in (0, 10, 4096, 4097, 3_000_000):
        content = bytes(range(256)) * (size // 256) + b"\r\n-" * (size % 256)
        fields = {"success_action_status": "201", "x-amz-meta-study": "1.2.3"}
        conditions = [*({name: value} for name, value in fields.items())]
        told = upload(edge, client, content, Fields=fields, Conditions=conditions)
        assert told.status == 201, told.body
        assert told.text("Key") == "up/sl\u00efce.dcm"
        assert told.text("Location") == told.headers["location"]
        assert told.headers["location"].endswith("/bucket/up%2Fsl%C3%AFce.dcm")
        assert told.shared == SHARED
        got = client.get_object(Bucket="bucket", Key="up/sl\u00efce.dcm")
        assert got["Body"].read() == content
        assert got["Metadata"] == {"study": "1.2.3"}
        assert got["ETag"] == told.headers["etag"] == told.text("ETag")
    presigned = client.generate_presigned_url(
        "get_object", Params={"Bucket": "bucket", "Key": "up/sl\u00efce.dcm"}
    )
    path = presigned.partition(f":{edge.port}")[2]
    seen = ask(edge, "GET", path, origin=ORIGIN)
    assert (seen.status, len(seen.body), seen.shared) == (200, len(content), SHARED)
    asked = {"origin": ORIGIN, "access_control_request_method": "GET"}
    before = ask(edge, "OPTIONS", path, **asked)
    assert (before.status, before.body, before.shared) == (200, b"", SHARED)


async def test_errors_carry_the_headers_too() -> None:
    async with listening() as edge:
        await asyncio.to_thread(_stray, edge)


def _stray(edge: Edge) -> None:
    prepared(edge)
    denied = ask(edge, "GET", "/bucket/none", origin=ORIGIN)
    assert (denied.status, denied.shared) == (403, SHARED)
    assert ask(edge, "GET", "/bucket/none").shared == {}
    assert ask(edge, "GET", "/bucket/none", origin="http://elsewhere").shared == {}
    assert ask(edge, "PUT", "/bucket/none", origin=ORIGIN).shared == {}
    refused = ask(edge, "OPTIONS", "/bucket/k", origin=ORIGIN, access_control_request_method="PUT")
    assert (refused.status, refused.shared) == (403, {})
    assert refused.text("Code") == "AccessForbidden"
    assert refused.headers["x-amz-request-id"] == refused.text("RequestId")


@pytest.mark.parametrize("secret", ["right", "wrong"])
async def test_only_who_has_the_secret_signs_a_form(secret: str) -> None:
    async with listening() as edge:
        await asyncio.to_thread(_forge, edge, secret)


def _forge(edge: Edge, secret: str) -> None:
    owner = prepared(edge)
    client = owner if secret == "right" else edge.client(secret="x" * 40)
    told = upload(edge, client, b"x" * 9000)
    kept = owner.list_objects_v2(Bucket="bucket").get("KeyCount")
    if secret == "right":
        assert (told.status, told.body, kept) == (204, b"", 1)
    else:
        assert (told.status, told.text("Code"), kept) == (403, "SignatureDoesNotMatch", 0)


def signed_form(edge: Edge, content: bytes) -> bytes:
    """A whole request that posts a form, as it goes over the wire."""
    fields = signed({"key": "k"}, expiration=EXPIRES, access=ACCESS, secret=SECRET)
    body = form(fields, content)
    head = f"POST /bucket HTTP/1.1\r\nHost: 127.0.0.1:{edge.port}\r\nContent-Length: {len(body)}"
    return f"{head}\r\nContent-Type: {content_type()}\r\n\r\n".encode() + body


@pytest.mark.parametrize("size", [100, 9000])
async def test_a_form_cut_at_any_byte_stores_nothing_and_pins_nothing(size: int) -> None:
    async with listening() as edge:
        await asyncio.to_thread(prepared, edge)
        request = signed_form(edge, b"0123456789" * (size // 10))
        step = 1 if size < 1000 else 61
        counts = [*range(len(request) - 300, len(request), 3), *range(0, len(request), 7 * step)]
        for count in [*counts, len(request) - 1]:
            wire = await Wire.connect(edge.port)
            await wire.send(request[:count])
            wire.writer.transport.abort()
        async with await Wire.connect(edge.port) as wire:
            assert (await wire.ask(edge.signed("HEAD", "/bucket"))).status == 200
            await until(lambda: edge.connections == 1)
            assert (await wire.ask(edge.signed("HEAD", "/bucket/k"))).status == 404
            edge.world.check_ledger()
            assert (await wire.ask(request)).status == 204
            assert (await wire.ask(edge.signed("HEAD", "/bucket/k"))).status == 200
        assert edge.world.objects.pinned == 0
        assert edge.broken == []


async def test_forms_of_nobody_yet_leave_room_for_others() -> None:
    """Who has not come to his signature has one share with all who have not."""
    async with listening(requests=RequestBounds.of(16)) as edge:
        await asyncio.to_thread(prepared, edge)
        request = signed_form(edge, b"content")
        stalled = []
        while True:
            wire = await Wire.connect(edge.port)
            await wire.send(request[: len(request) // 2])
            stalled.append(wire)
            with contextlib.suppress(TimeoutError):
                assert (await asyncio.wait_for(wire.head(), 0.2))[0] == 503
                break
            assert len(stalled) <= 16
        assert len(stalled) > 4
        async with await Wire.connect(edge.port) as other:
            assert (await other.ask(edge.signed("HEAD", "/bucket"))).status == 200
            await stalled[0].send(request[len(request) // 2 :])
            assert (await stalled[0].head())[0] == 204
            for wire in stalled:
                wire.writer.transport.abort()
            await until(lambda: edge.connections == 1)
            assert (await other.ask(request)).status == 204


async def test_a_form_that_is_refused_by_its_fields_is_not_received() -> None:
    """The client waits to be told to go on, and is, for the fields; not for all of the file."""
    async with listening() as edge, await Wire.connect(edge.port) as wire:
        await asyncio.to_thread(prepared, edge)
        fields = signed({"key": "k"}, expiration=EXPIRES, access=ACCESS, secret="x" * 40)
        body = form(fields, bytes(100_000_000))
        head = (
            f"POST /bucket HTTP/1.1\r\nHost: x\r\nContent-Type: {content_type()}\r\n"
            f"Content-Length: {len(body)}\r\nExpect: 100-continue\r\n\r\n"
        )
        await wire.send(head.encode())
        assert (await wire.head())[0] == 100
        await wire.send(body[:300_000])
        status, headers = await wire.head()
        assert (status, headers["connection"]) == (403, "close")
