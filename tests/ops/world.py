"""A node for tests of operations: the in-memory Kv, objects in a dictionary, a steady clock.

`World.ask` sends a request the way the edge does: parsed, routed, its payload framed and
verified, S3Errors rendered. Only signatures are left out.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import xml.etree.ElementTree as ET
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode

import xxhash

from s3node.base.crc64 import Crc64
from s3node.base.errors import S3Error
from s3node.base.limits import INLINE_BYTES_MAX
from s3node.base.md5 import Md5
from s3node.meta import tables
from s3node.meta.memory import MemoryKv
from s3node.model.rows import Data, LocationRow, PartRow, VersionRow
from s3node.ops import OPERATIONS
from s3node.ops.context import Call, Node
from s3node.ops.post import open_form, post_call, post_object
from s3node.s3 import errors
from s3node.s3.body import Payload
from s3node.s3.request import Response, parse
from s3node.s3.routes import route
from s3node.s3.sigv4 import Identity, PayloadKind, PayloadSpec

ROOT = Identity("AKROOT", "owner-1", "root")
EPOCH_MS = 1_750_000_000_000


class Kept(NamedTuple):
    size: int
    digest: bytes
    inline: bytes | None
    data: Data | None


class DictObjects:
    """Bytes by data id. Counts what is pinned; staging writes an (empty) location row.

    `assumed` holds data ids of rows that a test made up.
    """

    def __init__(self) -> None:
        self.bytes: dict[bytes, bytes] = {}
        self.pinned = 0
        self.assumed: set[bytes] = set()
        self._count = itertools.count(1)

    async def write(
        self,
        pieces: AsyncIterator[memoryview],
        update: Callable[[memoryview], None] | None,
        length: int,
        *,
        md5: Md5 | None = None,
        crc64: Crc64 | None = None,
        inline: bool = True,
        exact: bool = True,
    ) -> Kept:
        content = bytearray()
        async for piece in pieces:
            if update is not None:
                update(piece)
            for hasher in (md5, crc64):
                if hasher is not None:
                    hasher.update(piece)
            content += piece
            await asyncio.sleep(0)
        assert len(content) == length or (not exact and INLINE_BYTES_MAX < len(content) < length)
        digest = xxhash.xxh3_128_digest(content)
        self.pinned += 1
        if inline and len(content) <= INLINE_BYTES_MAX:
            return Kept(len(content), digest, bytes(content), None)
        data_id = next(self._count).to_bytes(16, "big")
        self.bytes[data_id] = bytes(content)
        return Kept(len(content), digest, None, Data(data_id, len(content), 1 << 21))

    def stage(self, tx: Any, written: Kept) -> None:
        if written.data is not None:
            tables.put_locations(tx, written.data.data_id, 0, LocationRow(()))

    def release(self, written: Kept) -> None:
        self.pinned -= 1

    async def read(
        self, row: VersionRow | PartRow, start: int, stop: int
    ) -> AsyncIterator[Sequence[memoryview]]:
        if row.inline is not None:
            content = row.inline
        else:
            assert isinstance(row, VersionRow)
            content = b"".join(self.bytes[data.data_id] for data in row.data)
        assert 0 <= start <= stop <= len(content) == row.size

        async def pieces() -> AsyncIterator[Sequence[memoryview]]:
            yield [memoryview(content)[start:stop]]

        return pieces()


class Hand:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.ms = EPOCH_MS

    def wall_ms(self) -> int:
        return self.ms

    def monotonic_ns(self) -> int:
        return self.ms * 1_000_000


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes
    length: int = 0
    """Content-Length, as the edge would send it."""

    @property
    def xml(self) -> ET.Element:
        """The document, namespaces dropped."""
        root = ET.fromstring(self.body)
        for element in root.iter():
            element.tag = element.tag.rpartition("}")[2]
        return root

    def text(self, path: str) -> str | None:
        return self.xml.findtext(path)

    def texts(self, path: str) -> list[str]:
        return [element.text or "" for element in self.xml.findall(path)]

    @property
    def code(self) -> str | None:
        return self.text("Code") if self.status >= 300 and self.body else None

    @property
    def etag(self) -> str:
        return self.headers["etag"].strip('"')


@dataclass
class World:
    node: Node
    kv: MemoryKv
    objects: DictObjects
    clock: Hand

    def ask(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | str = "",
        body: bytes | Sequence[bytes] = b"",
        **headers: Any,
    ) -> Answer:
        return asyncio.run(self.send(method, path, query, body, **headers))

    async def send(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | str = "",
        body: bytes | Sequence[bytes] = b"",
        *,
        identity: Identity = ROOT,
        **headers: str,
    ) -> Answer:
        """`path` is decoded ("/bucket/key"); header names may have underscores for hyphens."""
        pieces = [body] if isinstance(body, bytes) else body
        text = query if isinstance(query, str) else urlencode(query, quote_via=quote)
        target = f"{quote(path)}?{text}" if text else quote(path)
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        fields = {"host": "s3.example", "content-length": str(sum(map(len, pieces)))} | fields
        raw = [(name.encode(), value.encode("latin-1")) for name, value in fields.items()]
        try:
            request = parse(method, target, raw, domains=(), secure=False, remote="127.0.0.1")
            operation = OPERATIONS[route(request)]
            if operation is post_object:
                call = post_call(await open_form(request, _wire(pieces)), identity)
            else:
                payload = Payload(PayloadSpec(PayloadKind.UNSIGNED), request)
                call = Call(request, identity, payload, _wire(pieces))
            return await _answer(await operation(self.node, call))
        except S3Error as error:
            rendered = errors.render(
                error, resource=path, request_id="R", host_id="H", head=method == "HEAD"
            )
            return await _answer(rendered)

    # What tests do all the time.

    def bucket(self, name: str = "bucket") -> None:
        assert self.ask("PUT", f"/{name}").status == 200

    def put(self, path: str, body: bytes = b"", **headers: str) -> Answer:
        return self.ask("PUT", path, body=body, **headers)

    def get(self, path: str, query: Mapping[str, str] | str = "", **headers: str) -> Answer:
        return self.ask("GET", path, query, **headers)

    def named_data(self) -> set[bytes]:
        """Data ids that versions and parts name."""

        def collect(tx: Any) -> set[bytes]:
            found: set[bytes] = set()
            for _, bucket in tables.scan_buckets(tx):
                for _, _, row in tables.scan_versions(tx, bucket.bucket_id):
                    found |= {data.data_id for data in row.data}
                for _, identity, _ in tables.scan_uploads(tx, bucket.bucket_id):
                    found |= {part.data.data_id for _, part in tables.scan_parts(tx, identity)}
            return found

        return self.kv.read(collect)

    def staged_data(self) -> set[bytes]:
        """Data ids that a committed transaction staged."""
        return self.objects.assumed | self.kv.read(
            lambda tx: {
                data_id
                for data_id in self.objects.bytes
                if tables.get_locations(tx, data_id, 0) is not None
            }
        )

    def dead_data(self) -> list[bytes]:
        """Data ids of death rows, each as often as it occurs."""
        return self.kv.read(
            lambda tx: [item for _, row in tables.scan_deaths(tx) for item in row.data_ids]
        )

    def check_ledger(self) -> None:
        """Every staged data id is named by a row or dead, exactly once and not both; nothing
        stays pinned; usage counts what is there."""
        dead = self.dead_data()
        named = self.named_data()
        assert len(dead) == len(set(dead)), "dead twice"
        assert not named & set(dead), "named and dead"
        assert named | set(dead) == self.staged_data(), "lost without a death row"
        assert self.objects.pinned == 0
        self.kv.read(_check_usage)


def _check_usage(tx: Any) -> None:
    for _, bucket in tables.scan_buckets(tx):
        rows = [row for _, _, row in tables.scan_versions(tx, bucket.bucket_id)]
        expected = (len(rows), sum(row.size for row in rows))
        assert tables.get_usage(tx, bucket.bucket_id) == expected


async def _wire(pieces: Sequence[bytes]) -> AsyncIterator[bytes]:
    for piece in pieces:
        if piece:
            yield piece


async def _answer(response: Response) -> Answer:
    body = response.body
    if response.stream is not None:
        views = [bytes(view) async for batch in response.stream for view in batch]
        body = b"".join(views)
        assert len(body) == response.length
    length = len(body) if response.length is None else response.length
    return Answer(response.status, dict(response.headers), body, length)


def make_world(region: str = "eu-west-1", seed: int = 1, kv: MemoryKv | None = None) -> World:
    kv, objects, clock = kv or MemoryKv(), DictObjects(), Hand()
    node = Node(
        kv=kv,
        objects=objects,
        clock=clock,
        random=random.Random(seed).randbytes,
        region=region,
        owner_id=ROOT.owner_id,
        display_name=ROOT.display_name,
        token_key=b"k" * 32,
    )
    return World(node, kv, objects, clock)
