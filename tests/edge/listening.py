"""The real edge over an in-memory node: sockets, signatures and operations, no disks."""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import boto3
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials

from s3node.base.clock import SystemClock
from s3node.base.shares import RequestBounds
from s3node.edge.admin_listener import AdminListener
from s3node.edge.exchange import Patience
from s3node.edge.front import Endpoints, Front
from s3node.edge.s3_listener import S3Listener
from s3node.ops import OPERATIONS
from s3node.ops.context import Operation
from tests.edge.wire import ANSWER_S_MAX
from tests.ops.world import World, make_world

ACCESS = "TESTACCESSKEY0000001"
SECRET = "canary-secret-key-of-forty-characters-01"
REGION = "eu-west-1"


class Edge:
    """Both listeners, up; the node can be taken away and given back."""

    def __init__(self, world: World, s3: S3Listener, front: Front, endpoints: Endpoints) -> None:
        self.world = world
        self.front = front
        self.s3 = s3
        self.endpoints = endpoints
        self.broken: list[BaseException] = []

    @property
    def port(self) -> int:
        port = urlsplit(self.endpoints.s3).port
        assert port is not None
        return port

    @property
    def admin_port(self) -> int:
        port = urlsplit(self.endpoints.admin).port
        assert port is not None
        return port

    @property
    def connections(self) -> int:
        """Clients that the S3 listener has not done with."""
        assert self.front._s3 is not None
        return len(self.front._s3.connections)

    def client(self, secret: str = SECRET, **options: Any) -> Any:
        """boto3, one try, default settings else."""
        return boto3.client(
            "s3",
            endpoint_url=self.endpoints.s3,
            aws_access_key_id=ACCESS,
            aws_secret_access_key=secret,
            region_name=REGION,
            config=Config(
                retries={"total_max_attempts": 1}, read_timeout=60, signature_version="s3v4"
            ),
            **options,
        )

    def signed(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        *,
        keys: tuple[str, str] = (ACCESS, SECRET),
        host: str = "",
    ) -> bytes:
        """A whole signed request as it goes over the wire; for `host`, or for the address."""
        there = urlsplit(self.endpoints.s3)
        url = f"{there.scheme}://{host or there.netloc}{path}"
        request = AWSRequest(method=method, url=url, data=body, headers=dict(headers or {}))
        S3SigV4Auth(Credentials(*keys), "s3", REGION).add_auth(request)
        lines = [f"{method} {path} HTTP/1.1", f"Host: {urlsplit(url).netloc}"]
        lines += [f"{name}: {value}" for name, value in request.headers.items()]
        lines += [f"Content-Length: {len(body)}", "", ""]
        return "\r\n".join(lines).encode() + body


@contextlib.asynccontextmanager
async def listening(
    operations: Mapping[str, Operation] = OPERATIONS,
    *,
    ready: bool = True,
    tls: Any = None,
    requests: RequestBounds | None = None,
    domains: Sequence[str] = (),
    secrets: Mapping[str, str] | None = None,
    patience: Patience | None = None,
) -> AsyncIterator[Edge]:
    world = make_world(REGION)
    broken: list[BaseException] = []
    s3 = S3Listener(
        {ACCESS: SECRET, **(secrets or {})},
        operations,
        clock=SystemClock(),
        random=os.urandom,
        broken=broken.append,
        domains=domains,
        requests=requests or RequestBounds.of(100),
    )
    views = {"status": lambda: {"answer": 42}, "disks": lambda: []}
    admin = AdminListener(
        {ACCESS: SECRET}, views, unready=lambda: s3.reason, names=("admin.example",)
    )
    front = Front(s3, admin, patience=patience)
    endpoints = await front.start(("127.0.0.1", 0), ("127.0.0.1", 0), tls)
    if ready:
        s3.ready(world.node)
    edge = Edge(world, s3, front, endpoints)
    edge.broken = broken
    try:
        yield edge
    finally:
        await front.stop(ANSWER_S_MAX)
