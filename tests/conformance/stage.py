"""The node that the suite talks to: the real listener on a socket, over a world in memory.

One event loop in a thread of its own serves for the whole run; each case is given a world of its
own. Requests are signed by botocore and sent over one kept connection.
"""

from __future__ import annotations

import asyncio
import datetime
import http.client
import logging
import os
import re
import threading
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import botocore.auth
import uvloop
from botocore.auth import S3SigV4Auth, S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from s3node.base.clock import SystemClock
from s3node.base.log import ACCESS as ACCESS_LOG
from s3node.edge.front import Front
from s3node.edge.s3_listener import S3Listener
from s3node.ops import OPERATIONS
from tests.conformance.case import ANONYMOUS, PRESIGNED, Ask
from tests.conformance.scenes import REGION
from tests.ops.world import Answer, World

ACCESS = "TESTACCESSKEY0000001"
SECRET = "canary-secret-key-of-forty-characters-01"
DOMAIN = "s3.test"
WAIT_S_MAX = 60.0
LOG_TRIES_MAX = 10_000

_PLACE = re.compile(r"\{(\w+)\}")


def fill(text: str, names: Mapping[str, str]) -> str:
    """`{name}` replaced by what it is called; other braces stay."""
    return _PLACE.sub(lambda match: names.get(match[1], match[0]), text)


def filled(ask: Ask, names: Mapping[str, str]) -> Ask:
    return ask.but(
        path=fill(ask.path, names),
        query=fill(ask.query, names),
        headers={name: fill(value, names) for name, value in ask.headers.items()},
        body=fill(ask.body.decode("latin-1"), names).encode("latin-1"),
    )


class _Lines(logging.Handler):
    """The access log's lines by request id."""

    def __init__(self) -> None:
        super().__init__()
        self.by_request: dict[str, dict[str, Any]] = {}

    def emit(self, record: logging.LogRecord) -> None:
        fields = dict(record.fields)  # type: ignore[attr-defined]
        self.by_request[fields["request_id"]] = fields


class Client:
    """Signs requests and sends them over one kept connection."""

    def __init__(self, host: str, access: str, secret: str, region: str) -> None:
        self.host = host
        self._access, self._secret, self._region = access, secret, region
        self._connection = http.client.HTTPConnection(host, timeout=WAIT_S_MAX)

    def close(self) -> None:
        self._connection.close()

    def send(self, ask: Ask) -> Answer:
        """Sign and send one request."""
        host = ask.headers.get("host", self.host)
        url = f"http://{host}{ask.path}" + (f"?{ask.query}" if ask.query else "")
        request = AWSRequest(
            method=ask.method,
            url=url,
            data=b"" if ask.auth == PRESIGNED else ask.body,  # which would go into the query
            headers={name: value for name, value in ask.headers.items() if name != "host"},
        )
        self._sign(ask, request)
        parts = urlsplit(request.url)
        target = f"{parts.path}?{parts.query}" if parts.query else parts.path
        fields = {name.lower(): value for name, value in request.headers.items()}
        fields |= {"host": host, **ask.unsigned}
        if "transfer-encoding" not in fields and (ask.body or ask.method in {"PUT", "POST"}):
            fields.setdefault("content-length", str(len(ask.body)))
        return self._exchange(ask.method, target, fields, ask.body)

    def _sign(self, ask: Ask, request: AWSRequest) -> None:
        if ask.auth == ANONYMOUS:
            return
        credentials = Credentials(ask.access or self._access, ask.secret or self._secret)
        signer: Any = S3SigV4Auth(credentials, "s3", self._region)
        if ask.auth == PRESIGNED:
            signer = S3SigV4QueryAuth(credentials, "s3", self._region, expires=600)
        if "x-amz-content-sha256" in ask.headers:
            signer.payload = lambda _request: ask.headers["x-amz-content-sha256"]
        if not ask.late_s:
            signer.add_auth(request)
            return
        when = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=ask.late_s)
        before = botocore.auth.get_current_datetime
        botocore.auth.get_current_datetime = lambda: when
        try:
            signer.add_auth(request)
        finally:
            botocore.auth.get_current_datetime = before

    def _exchange(self, method: str, target: str, fields: Mapping[str, str], body: bytes) -> Answer:
        wire = self._connection
        wire.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
        for name, value in fields.items():
            wire.putheader(name, value.encode("latin-1"))
        wire.endheaders(body or None)
        with wire.getresponse() as response:
            content = response.read()
            headers = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, headers, content)


class Stage:
    """The listener, up until `close`."""

    def __init__(self) -> None:
        self.broken: list[BaseException] = []
        self._loop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._s3 = S3Listener(
            {ACCESS: SECRET},
            OPERATIONS,
            domains=(DOMAIN,),
            clock=SystemClock(),
            random=os.urandom,
            broken=self.broken.append,
        )
        self.log = _Lines()
        ACCESS_LOG.addHandler(self.log)
        self._level = ACCESS_LOG.level
        ACCESS_LOG.setLevel(logging.INFO)
        self._front, host = self._run(self._start())
        self.client = Client(host, ACCESS, SECRET, REGION)

    async def _start(self) -> tuple[Front, str]:
        front = Front(self._s3, None)
        endpoints = await front.start(("127.0.0.1", 0), ("127.0.0.1", 0))
        return front, urlsplit(endpoints.s3).netloc

    def close(self) -> None:
        self.client.close()
        self._run(self._front.stop(0))
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(WAIT_S_MAX)
        ACCESS_LOG.removeHandler(self.log)
        ACCESS_LOG.setLevel(self._level)

    def serve(self, world: World) -> None:
        """Answer from this world now."""

        async def ready() -> None:
            self._s3.ready(world.node)

        self._run(ready())

    def logged(self, request_id: str) -> dict[str, Any]:
        """The access log's line of a request, which may be written after its answer."""
        for _ in range(LOG_TRIES_MAX):
            if request_id in self.log.by_request:
                return self.log.by_request.pop(request_id)
            time.sleep(0.001)
        raise AssertionError(f"no line in the access log for {request_id}")

    def send(self, ask: Ask) -> Answer:
        """Sign and send one request."""
        return self.client.send(ask)

    def _run(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(WAIT_S_MAX)
