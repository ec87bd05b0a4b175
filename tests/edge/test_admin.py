"""The admin listener: health without keys, everything else with them, nothing for browsers."""

from __future__ import annotations

import base64
import json

import pytest

from s3node.base.shares import Bound
from tests.edge.listening import ACCESS, SECRET, listening
from tests.edge.wire import Answer, Wire


def _basic(access: str = ACCESS, secret: str = SECRET) -> str:
    return "Basic " + base64.b64encode(f"{access}:{secret}".encode()).decode()


async def _get(port: int, path: str, method: str = "GET", **headers: str) -> Answer:
    fields = {"Host": "127.0.0.1:9001"} | headers
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {text}" for name, text in fields.items())]
    async with await Wire.connect(port) as wire:
        return await wire.ask("\r\n".join((*lines, "", "")).encode())


async def test_health_needs_no_keys_and_readiness_says_why() -> None:
    async with listening(ready=False) as edge:
        assert (await _get(edge.admin_port, "/healthz")).status == 200
        answer = await _get(edge.admin_port, "/readyz", Host="some.cluster.name")
        assert answer.status == 503
        assert json.loads(answer.body) == {"ready": False, "reason": "the node is starting"}
        edge.s3.ready(edge.world.node)
        answer = await _get(edge.admin_port, "/readyz")
        assert (answer.status, json.loads(answer.body)["ready"]) == (200, True)


async def test_metrics_and_api_answer_with_the_keys() -> None:
    async with listening() as edge:
        async with await Wire.connect(edge.port) as wire:
            await wire.ask(edge.signed("GET", "/"))
        answer = await _get(edge.admin_port, "/metrics", Authorization=_basic())
        assert answer.status == 200
        assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
        assert b's3node_requests_total{operation="ListBuckets",status="200"}' in answer.body
        answer = await _get(edge.admin_port, "/v1/status", Authorization=_basic())
        assert json.loads(answer.body) == {"answer": 42}
        assert (await _get(edge.admin_port, "/v1/none", Authorization=_basic())).status == 404
        assert (await _get(edge.admin_port, "/bucket/key", Authorization=_basic())).status == 404


REFUSED = {
    "no keys": ({}, 401),
    "wrong secret": ({"Authorization": _basic(secret="x" * 40)}, 401),
    "wrong access key": ({"Authorization": _basic(access="OTHER")}, 401),
    "empty": ({"Authorization": "Basic "}, 401),
    "not base64": ({"Authorization": "Basic !!!"}, 401),
    "other scheme": ({"Authorization": f"Bearer {SECRET}"}, 401),
    "prefix of the secret": ({"Authorization": _basic(secret=SECRET[:-1])}, 401),
    "rebound name": ({"Authorization": _basic(), "Host": "evil.example:9001"}, 421),
    "rebound name like ours": ({"Authorization": _basic(), "Host": "127.0.0.1.evil.example"}, 421),
    "other origin": ({"Authorization": _basic(), "Origin": "http://evil.example"}, 403),
    "null origin": ({"Authorization": _basic(), "Origin": "null"}, 403),
}


@pytest.mark.parametrize("path", ["/metrics", "/v1/status", "/v1/none", "/"])
@pytest.mark.parametrize("name", REFUSED)
async def test_refusals(name: str, path: str) -> None:
    headers, status = REFUSED[name]
    async with listening() as edge:
        answer = await _get(edge.admin_port, path, **headers)
        assert answer.status == status
        assert b"42" not in answer.body
        assert ("www-authenticate" in answer.headers) == (status == 401)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost:1", "[::1]:9001", "admin.example"])
async def test_our_names(host: str) -> None:
    async with listening() as edge:
        answer = await _get(edge.admin_port, "/v1/status", Host=host, Authorization=_basic())
        assert answer.status == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE"])
async def test_nothing_can_be_changed(method: str) -> None:
    async with listening() as edge:
        answer = await _get(edge.admin_port, "/v1/status", method, Authorization=_basic())
        assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD")


async def test_admin_paths_are_not_in_the_s3_namespace() -> None:
    async with listening() as edge:
        for path in ("/healthz", "/metrics", "/v1/status"):
            answer = await _get(edge.port, path, Authorization=_basic())
            assert b"<Error>" in answer.body


async def test_what_is_no_request_and_one_connection_too_many_are_told() -> None:
    async with listening() as edge:
        assert edge.front._admin is not None
        edge.front._admin.bound = Bound(1, 1)
        async with await Wire.connect(edge.admin_port) as first:
            assert (await first.ask(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")).status == 200
            async with await Wire.connect(edge.admin_port) as second:
                answer = await second.ask(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
                assert (answer.status, b"SlowDown" in answer.body) == (503, True)
                assert int(answer.headers["retry-after"]) > 0
            answer = await first.ask(b"GET /healthz HTTP/1.1\nHost: x\r\n\r\n")
            assert (answer.status, b"BadRequest" in answer.body) == (400, True)
