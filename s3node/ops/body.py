"""Request bodies: payload out of the wire's framing, its digests, and documents.

Nothing of a body counts before `Sums.finish` or `read_document` returned: what is declared about
it (length, signatures, digests, checksums) is verified by then.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

from s3node.base.crc64 import QUICK, Crc64
from s3node.base.errors import S3Error
from s3node.base.inplace import InPlace
from s3node.base.limits import OFFLOAD_BYTES_MIN, XML_BODY_BYTES_MAX
from s3node.base.md5 import Md5
from s3node.model.multipart import COMPOSITE, common_algorithm, part_algorithm
from s3node.model.rows import Checksum, PartRow, UploadRow
from s3node.objects.coding import Update
from s3node.ops.context import Call, Node
from s3node.s3 import checksums

T = TypeVar("T")

DEFAULT_ALGORITHM = checksums.DEFAULT


class Totals(NamedTuple):
    """Digests of a whole payload; `sha256` is empty unless the client gave one."""

    md5: bytes
    sha256: bytes
    checksum: Checksum | None


class Received(InPlace):
    """The payload's bytes as they come; S3Error when framing or length is wrong.

    No generator, which the event loop would keep track of.
    """

    def __init__(self, call: Call) -> None:
        self._payload = call.payload
        self._body = call.body
        self._pieces: list[memoryview] = []  # that came together, the next one last

    def __aiter__(self) -> Received:
        return self

    def lend(self, room: memoryview) -> None:
        """See InPlace; where the payload is what the wire brings."""
        if not self._pieces and self._payload.verbatim and isinstance(self._body, InPlace):
            self._body.lend(room)

    def give_back(self) -> None:
        """See InPlace."""
        if isinstance(self._body, InPlace):
            self._body.give_back()

    async def __anext__(self) -> memoryview:
        while not self._pieces:
            try:
                data = await self._body.__anext__()
            except StopAsyncIteration:
                self._payload.eof()
                raise
            self._pieces = self._payload.feed(data)
            self._pieces.reverse()
        return self._pieces.pop()


def receive(call: Call) -> Received:
    """What comes of a call's body, piece by piece, each to be used until the next is asked for."""
    return Received(call)


async def read_document(node: Node, call: Call, parse: Callable[[bytes], T]) -> T:
    """What `parse` makes of a whole XML body, which is verified first.

    A long document is read on a thread, so that others are served meanwhile.
    """
    if call.payload.length > XML_BODY_BYTES_MAX:
        most = str(XML_BODY_BYTES_MAX)
        raise S3Error("MaxMessageLengthExceeded", MaxMessageLengthBytes=most)
    room, client = node.documents, call.client
    data = bytearray()
    taken = 0
    try:
        async for piece in receive(call):
            call.payload.update(piece)
            data += piece
            more = max(0, len(data) - OFFLOAD_BYTES_MIN) - taken
            if more:
                room.take(client, more)
                taken += more
        call.payload.finish()
        if len(data) < OFFLOAD_BYTES_MIN:
            return parse(bytes(data))
        async with room.turn:
            return await asyncio.to_thread(parse, bytes(data))
    finally:
        if taken:
            room.give(client, taken)


def require_digest(call: Call) -> None:
    """DeleteObjects wants its body to be protected, by Content-MD5 or any checksum."""
    if "content-md5" not in call.request.headers and call.payload.declared is None:
        raise S3Error("InvalidRequest", "Missing required header for this request: Content-MD5")


class Hashes:
    """MD5 and one checksum over bytes that the node itself reads, all of which take the same.

    `md5`, and `crc64` where there is one, are C's to continue; `update`, if any, is for the rest.
    """

    def __init__(self, algorithm: str) -> None:
        self.md5 = Md5()
        self._algorithm = algorithm
        self._hasher = hasher = _hasher(algorithm)
        self.crc64 = hasher if isinstance(hasher, Crc64) else None
        self.update: Update | None = None if self.crc64 else hasher.update

    def checksum(self) -> Checksum:
        return Checksum(self._algorithm, self._hasher.digest())


def _hasher(algorithm: str) -> checksums.Hasher:
    """One that C can continue, if it can."""
    if algorithm == checksums.CRC64NVME and QUICK:
        return Crc64()
    return checksums.ALGORITHMS[algorithm].new()


class Sums:
    """The digests of a payload that is being received.

    The payload computes and verifies what the client declared. Where it declared no checksum,
    the one that S3 keeps then is computed beside it: the upload's, or the default.

    `md5`, `crc64` and `update` are as those of `Hashes`.
    """

    def __init__(self, call: Call, upload: UploadRow | None = None) -> None:
        self._payload = call.payload
        self.md5 = call.payload.md5
        self.crc64: Crc64 | None = None
        self._own: tuple[str, checksums.Hasher] | None = None
        declared = call.payload.declared
        given = declared.algorithm.name if declared else ""
        wanted = given or DEFAULT_ALGORITHM
        if upload is not None:
            wanted = part_algorithm(upload, given, DEFAULT_ALGORITHM)
        if wanted != call.payload.algorithm:
            hasher = _hasher(wanted)
            self._own = wanted, hasher
            self.crc64 = hasher if isinstance(hasher, Crc64) else None

    @property
    def update(self) -> Update | None:
        """See `Hashes`."""
        called = self._payload.others or (self._own is not None and self.crc64 is None)
        return self._update if called else None

    def _update(self, view: memoryview) -> None:
        self._payload.update_others(view)
        if self._own is not None and self.crc64 is None:
            self._own[1].update(view)

    def finish(self) -> Totals:
        """Every declared digest verified, or S3Error."""
        digests = self._payload.finish()
        checksum = Checksum(*digests.checksum) if digests.checksum else None
        if self._own is not None:
            checksum = Checksum(self._own[0], self._own[1].digest())
        return Totals(digests.md5, digests.sha256 or b"", checksum)


def combined(upload: UploadRow, chosen: Sequence[PartRow]) -> Checksum | None:
    """The checksum of an object made of parts, from those of the parts."""
    name, kind = common_algorithm(upload, chosen)
    if not name:
        return None
    algorithm = checksums.ALGORITHMS[name]
    digests = [part.checksum.digest for part in chosen if part.checksum is not None]
    if kind == COMPOSITE:
        digest = checksums.composite(algorithm, digests)
        return Checksum(name, digest, composite=True, parts=len(digests))
    sizes = [part.size for part in chosen]
    return Checksum(name, checksums.combine(algorithm, zip(digests, sizes, strict=True)))
