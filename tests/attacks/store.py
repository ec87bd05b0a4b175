"""A store under attack: the real node on six disks in this process, its S3 listener on a socket.

The node lives on the event loop of a thread; whoever attacks it does so with blocking sockets.
Its clock stands still unless it is moved, so that signatures can be made for any time. Its digest
(`meta.digest`) is of every row there is: what does not change it has changed nothing.
"""

from __future__ import annotations

import asyncio
import http.client
import io
import os
import socket
import threading
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable, Coroutine
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, TypeVar
from urllib.parse import quote

import msgspec
import uvloop

from s3node.base.filesystem import RealFileSystem
from s3node.config import Config, Keys
from s3node.edge.front import Front
from s3node.edge.s3_listener import S3Listener
from s3node.meta import tables
from s3node.meta.digest import digest
from s3node.meta.kv import ReadTx
from s3node.model.rows import VersionRow
from s3node.node import Machine, RunningNode, open_node, site_of
from s3node.ops import OPERATIONS
from s3node.services import start
from s3node.services.check import Finding, check
from tests.attacks.draft import ACCESS_KEY, HOST, NOW_MS, REGION, SECRET_KEY, Draft

T = TypeVar("T")

DISKS, PARITY = 6, 2
WAIT_S_MAX = 120.0
"""For whatever is waited for: it ends a test that would never end, and decides nothing."""

BUCKET, OTHER, FOREIGN = "bucket", "other", "foreign"
SMALL, LARGE = b"hello world", bytes(range(256)) * 36  # in a row; in a stripe


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def xml(self) -> ET.Element:
        root = ET.fromstring(self.body)
        for element in root.iter():
            element.tag = element.tag.rpartition("}")[2]
        return root

    def text(self, path: str) -> str:
        return self.xml.findtext(path) or ""

    @property
    def code(self) -> str:
        """The error's; "" where there is none, or no document to say it."""
        return self.text("Code") if self.status >= 300 and self.body else ""


class Clock:
    """Wall time is what a test says; it does not go on by itself."""

    def __init__(self) -> None:
        self.ms = NOW_MS

    def wall_ms(self) -> int:
        return self.ms

    def monotonic_ns(self) -> int:
        return time.monotonic_ns()


class Store:
    """Up as long as it is entered."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = Clock()
        self.broken: list[BaseException] = []
        self.port = 0
        self.upload = self.part_etag = ""
        paths = tuple(folder / f"disk{slot}" for slot in range(DISKS))
        for path in paths:
            path.mkdir(parents=True)
        keys = Keys(ACCESS_KEY, SECRET_KEY)
        self.config = Config(paths, folder / "meta", PARITY, keys, region=REGION, domains=(HOST,))
        self._loop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="the store")
        self._node: RunningNode | None = None

    # --- life ---------------------------------------------------------------------------------

    def __enter__(self) -> Store:
        site = site_of(self.config)
        start.initialise(site, RealFileSystem(), self.clock, os.urandom)
        self._thread.start()
        self.call(self._open())
        self._fill()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.call(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(WAIT_S_MAX)
        self._loop.close()

    async def _open(self) -> None:
        machine = Machine(clock=self.clock)
        self._node = await open_node(self.config, lambda reason: None, machine)
        self._s3 = S3Listener(
            {ACCESS_KEY: SECRET_KEY},
            OPERATIONS,
            domains=self.config.domains,
            clock=self.clock,
            random=os.urandom,
            broken=self.broken.append,
        )
        self._front = Front(self._s3, None)
        endpoints = await self._front.start(("127.0.0.1", 0), ("127.0.0.1", 0))
        self.port = int(endpoints.s3.rpartition(":")[2])
        self._s3.ready(self.node.node)

    async def _close(self) -> None:
        await self._front.stop(WAIT_S_MAX)
        await self.node.close()

    def _fill(self) -> None:
        """What there is to be lost, stolen or changed."""
        for bucket in (BUCKET, OTHER, FOREIGN):
            self.accepts(Draft("PUT", f"/{bucket}").sign())
            for key, body in (("key", SMALL), ("large", LARGE), ("dir/key", SMALL)):
                self.accepts(Draft("PUT", f"/{bucket}/{key}", body=body).sign())
        made = self.accepts(Draft("POST", f"/{BUCKET}/parts", (("uploads", ""),)).sign())
        self.upload = made.text("UploadId")
        query = (("partNumber", "1"), ("uploadId", self.upload))
        part = self.accepts(Draft("PUT", f"/{BUCKET}/parts", query, body=LARGE).sign())
        self.part_etag = part.headers["etag"].strip('"')
        self.call(self._estrange())

    async def _estrange(self) -> None:
        """The foreign bucket is somebody else's."""

        def change(tx: Any) -> None:
            row = tables.get_bucket(tx, FOREIGN)
            assert row is not None
            tables.put_bucket(tx, FOREIGN, msgspec.structs.replace(row, owner="somebody else"))

        await self.node.metadata.kv.write(change)

    # --- inside -------------------------------------------------------------------------------

    @property
    def node(self) -> RunningNode:
        assert self._node is not None, "not entered"
        return self._node

    def call(self, work: Coroutine[Any, Any, T]) -> T:
        """Run it where the node lives."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(WAIT_S_MAX)

    def read(self, fn: Callable[[ReadTx], T]) -> T:
        async def run() -> T:
            return self.node.metadata.kv.read(fn)

        return self.call(run())

    def digest(self) -> bytes:
        """Of everything that is stored, once no shard is on its way any more."""

        async def settled() -> bytes:
            await self.node.objects.close()
            return digest(self.node.metadata.kv)

        return self.call(settled())

    def keys(self, bucket: str) -> list[bytes]:
        """All of a bucket, from its rows."""
        return [key for key, _ in self.versions(bucket)]

    def versions(self, bucket: str) -> list[tuple[bytes, VersionRow]]:
        def collect(tx: ReadTx) -> list[tuple[bytes, VersionRow]]:
            row = tables.get_bucket(tx, bucket)
            assert row is not None
            return [(key, one) for key, _, one in tables.scan_versions(tx, row.bucket_id)]

        return self.read(collect)

    def row(self, bucket: str, key: str) -> VersionRow:
        """The current version of a key."""
        found = dict(reversed(self.versions(bucket)))
        return found[key.encode()]

    def at_rest(self) -> bool:
        """Nobody is being served and nothing is held for anyone."""
        objects = self.node.objects
        server = self._front._s3
        assert server is not None
        return not (
            self._s3._working or server.connections or objects.writing.used or objects.reading.used
        )

    def wait(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + WAIT_S_MAX
        while not condition():
            assert time.monotonic() < deadline, "waited in vain"
            time.sleep(0.005)

    def findings(self) -> list[Finding]:
        """What `check` says of a store that was closed."""
        return list(check(site_of(self.config), RealFileSystem(), lambda step, done, total: None))

    # --- from outside -------------------------------------------------------------------------

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), WAIT_S_MAX)

    def ask(self, draft: Draft, *, cut: int = 0) -> Answer:
        """The answer to a request; `cut`: sent in pieces of so many bytes."""
        with self.connect() as sock:
            wire = draft.wire()
            step = cut or len(wire)
            for at in range(0, len(wire), step):
                sock.sendall(wire[at : at + step])
            answer = read_answer(sock, draft.method)
        assert SECRET_KEY.encode() not in answer.body, "a secret got out"
        assert SECRET_KEY not in repr(answer.headers), "a secret got out"
        return answer

    def wire(self, data: bytes) -> list[Answer]:
        """Every answer to these bytes, until the node closes; no more is sent, and it is said."""
        with self.connect() as sock:
            sock.sendall(data)
            sock.shutdown(socket.SHUT_WR)
            return parse_answers(_all(sock))

    def accepts(self, draft: Draft, status: int = 0) -> Answer:
        """The request as it should be: it is done."""
        answer = self.ask(draft)
        right = answer.status == status if status else answer.status in range(200, 300)
        assert right, f"{draft}: {answer}"
        return answer

    def refuses(self, draft: Draft, status: int, *codes: str, cut: int = 0) -> Answer:
        """The request is refused so, and changes nothing whatever. A HEAD's answer has no code."""
        before = self.digest()
        answer = self.ask(draft, cut=cut)
        assert (answer.status, answer.code) in {(status, code) for code in codes or ("",)}, (
            f"{draft}: {answer}"
        )
        assert self.digest() == before, f"{draft} changed the store"
        assert not self.broken, self.broken
        return answer


def read_answer(sock: socket.socket, method: str) -> Answer:
    response = http.client.HTTPResponse(sock, method=method)
    response.begin()
    headers = {name.lower(): value for name, value in response.getheaders()}
    return Answer(response.status, headers, response.read())


def _all(sock: socket.socket) -> bytes:
    pieces = []
    try:
        while piece := sock.recv(1 << 16):
            pieces.append(piece)
    except ConnectionResetError:
        pieces.append(b"")  # the rest of what was sent was not wanted
    return b"".join(pieces)


class _Bytes:
    """What http.client reads answers from."""

    def __init__(self, stream: io.BytesIO) -> None:
        self._stream = stream

    def makefile(self, _mode: str) -> io.BytesIO:
        return self._stream


def parse_answers(data: bytes) -> list[Answer]:
    """Answers with bodies, one behind the other (none of them to a HEAD)."""
    found = []
    while data:
        _head, _, rest = data.partition(b"\r\n\r\n")
        stream: Any = _Bytes(io.BytesIO(data))
        response = http.client.HTTPResponse(stream, method="GET")
        response.begin()
        headers = {name.lower(): value for name, value in response.getheaders()}
        length = int(headers.get("content-length", "0"))
        found.append(Answer(response.status, headers, rest[:length]))
        data = rest[length:]
    return found


def encoded(key: bytes | str) -> str:
    """A key as it stands in a path."""
    return quote(key, safe="/~")
