"""What every operation is given: the node it runs on and the call it answers.

Nothing here knows HTTP servers, files or disks: `Node.kv` and `Node.objects` are seams.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias

from s3node.base.clock import Clock
from s3node.base.crc64 import Crc64
from s3node.base.errors import S3Error
from s3node.base.ids import RandomBytes
from s3node.base.limits import COPIES_MAX, RETRY_AFTER_S, XML_BODIES_BYTES_MAX
from s3node.base.md5 import Md5
from s3node.base.shares import Bound, Client, Holders, Turns, whose
from s3node.meta.kv import Kv, WriteTx
from s3node.model.rows import Data, PartRow, VersionRow
from s3node.model.versions import Deed
from s3node.s3.body import Payload
from s3node.s3.documents import Owner
from s3node.s3.request import Request, Response
from s3node.s3.sigv4 import Identity


class Written(Protocol):
    """Bytes that are durable and that no row names yet."""

    @property
    def size(self) -> int: ...
    @property
    def digest(self) -> bytes: ...
    @property
    def inline(self) -> bytes | None: ...
    @property
    def data(self) -> Data | None: ...


class Objects(Protocol):
    """Bytes to and from the disks; `s3node.objects` is the real one."""

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
    ) -> Any:
        """A `Written`. `update` sees every byte once, in order, perhaps on a worker thread.

        `length` is how many there are, or unless `exact` the most that there can be.

        `md5` and `crc64` take them too; they are done when this returns.

        Without `inline` the bytes get a data id however few they are, also when there are none.
        """

    def stage(self, tx: WriteTx, written: Any) -> None:
        """Its location rows, in the transaction that makes it visible."""

    def release(self, written: Any) -> None:
        """After the decision, for or against."""

    async def read(
        self, row: VersionRow | PartRow, start: int, stop: int
    ) -> AsyncIterator[Sequence[memoryview]]:
        """Verified bytes start..stop in pieces; an S3Error before the first if it cannot."""


class DocumentRoom:
    """The memory for XML bodies of all requests together, and the one turn to parse a long one.

    A client gets its share of the memory (see `shares`), however slowly it sends.

    One at a time, because a parsed document is many times its size, and because threads that
    hold the interpreter keep the event loop from serving others.
    """

    def __init__(self, total: int = XML_BODIES_BYTES_MAX) -> None:
        self.used = 0
        self._bound = Bound.of(total)
        self._holders: Holders[Client] = Holders()
        self.turn = asyncio.Semaphore(1)

    def take(self, client: Client, amount: int) -> None:
        """Room for `amount` bytes; SlowDown when there is none, for it may be long in coming."""
        if not self._bound.allows(self._holders.of(client), self.used, amount):
            raise S3Error("SlowDown", headers={"Retry-After": str(RETRY_AFTER_S)})
        self._holders.take(client, amount)
        self.used += amount

    def give(self, client: Client, amount: int) -> None:
        self._holders.give(client, amount)
        self.used -= amount


@dataclass(frozen=True, slots=True)
class Node:
    """What operations work with. `token_key`: 32 secret bytes for continuation tokens."""

    kv: Kv
    objects: Objects
    clock: Clock
    random: RandomBytes
    region: str
    owner_id: str
    display_name: str
    token_key: bytes
    copies: Turns = field(default_factory=lambda: Turns(COPIES_MAX))
    documents: DocumentRoom = field(default_factory=DocumentRoom)

    @property
    def owner(self) -> Owner:
        return Owner(self.owner_id, self.display_name)


@dataclass(slots=True)
class Call:
    """One request, authenticated. Reading `body` for the first time lets the client send it.

    A piece of `body` may be used until the next one is asked for.
    """

    request: Request
    identity: Identity
    payload: Payload
    body: AsyncIterator[bytes | memoryview]

    @property
    def client(self) -> Client:
        """Whose it is, where shares are counted."""
        return self.identity.access_key, whose(self.request.remote)

    @property
    def bucket(self) -> str:
        assert self.request.bucket is not None, "the route says there is a bucket"
        return self.request.bucket

    @property
    def key(self) -> str:
        assert self.request.key is not None, "the route says there is a key"
        return self.request.key


Operation: TypeAlias = Callable[[Node, Call], Awaitable[Response]]


def deed(node: Node, call: Call, key: str = "") -> Deed:
    """The record of who does what to `key`, now."""
    return Deed(call.bucket, key, call.identity.access_key, node.clock.wall_ms())
