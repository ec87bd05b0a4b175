"""What browsers do, over sockets: preflights, cross-origin requests, forms; as their bytes are."""

from __future__ import annotations

import asyncio
import http.client
from typing import Any, NamedTuple
from xml.etree import ElementTree

import pytest

from tests.edge.listening import REGION, Edge, listening
from tests.s3.forms import content_type, form

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
