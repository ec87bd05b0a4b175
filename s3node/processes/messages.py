"""What crosses the border between engine and edges: one frame carries all of a loop's turn.

A frame is its length (4 bytes, little-endian) and so many bytes of msgpack: an array of messages.
A message is an array, its number first. Memory that is shared (the edge's arena, a memfd) comes
with the Hello as a descriptor; payloads lie in it and only their place is sent.

====== ========= ======== ==================================================================
number message   by       the fault it defends against
====== ========= ======== ==================================================================
0      Hello     edge     another release's messages; memory that is not what it says
1      Offer     edge     (a write set; the answer is a Verdict or a Refused of that number)
2      Appends   edge     (shards; the answer to each is a Placed or a Failed of its number)
3      Unpin     edge     segments that nobody lets go of: decided writes let go of theirs
10     Welcome   engine   another release's messages; ids of one edge given out by another
11     Verdict   engine   (whether the write set is durable and in the index, or a conflict)
12     Refused   engine   (the storage fault that an offer met)
13     Placed    engine   (where records were put; each pins its segment)
14     Failed    engine   (the storage fault that an append met)
15     Told      engine   states of disks, the newest sequence and stalls that nobody hears of
16     Farewell  engine   an edge that does not know why it lost its connection
====== ========= ======== ==================================================================

What does not decode, is longer than its bounds or cannot be is a `BadMessage`: the receiver ends
the connection. Both ends are of one release and one machine; nothing here is ever stored.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import msgspec

from s3node.base import errors
from s3node.base.errors import FormatError, StorageFault
from s3node.base.filesystem import Buffer
from s3node.base.limits import MIB
from s3node.meta import transaction
from s3node.meta.transaction import WRITE_SET_BYTES_MAX, WriteSet
from s3node.store import record
from s3node.store.seams import DiskState, DiskStatus, Records, Shard

VERSION = 1
LENGTH = struct.Struct("<I")
NUMBERS_MAX = 1 << 62
"""Numbers of appends begin below this; what is counted on from there crosses the border too."""
FRAME_BYTES_MAX = 72 * MIB
"""Payloads that do not lie in shared memory are sent along, and may be a whole stripe."""

assert max(WRITE_SET_BYTES_MAX, record.PAYLOAD_BYTES_MAX) + MIB < FRAME_BYTES_MAX


class BadMessage(Exception):
    """The other end sent what no honest one sends: end the connection."""


class Hello(msgspec.Struct, frozen=True, array_like=True, tag=0):
    version: int
    arena_bytes: int  # of the shared memory whose descriptor comes along; 0: none does


class Offer(msgspec.Struct, frozen=True, array_like=True, tag=1):
    number: int
    write_set: WriteSet


class Appends(msgspec.Struct, frozen=True, array_like=True, tag=2):
    """Shards of a stripe that are to be appended, as `Records` and its `Shard` describe them."""

    first: int  # number of the first target; the others follow
    targets: list[tuple[int, int]]  # slot, shard index
    data_id: bytes
    stripe_index: int
    shard_index: int
    k: int
    m: int
    code: int
    stripe_bytes: int
    stripe_offset: int
    digests: bytes
    payloads: int | bytes  # where they begin in the shared memory, or themselves
    payload_bytes: int
    shards: int  # how many payloads there are
    hint: bytes


class Unpin(msgspec.Struct, frozen=True, array_like=True, tag=3):
    """As often as a place was answered: slots, and segments."""

    places: list[tuple[int, int]]


class Welcome(msgspec.Struct, frozen=True, array_like=True, tag=10):
    version: int
    life: int  # of the edge: the upper part of its data ids' counter
    epoch: int
    deployment_id: bytes
    index_path: str


class Verdict(msgspec.Struct, frozen=True, array_like=True, tag=11):
    number: int
    accepted: bool  # False: a conflict, and what it ran into is in the index now


class Refused(msgspec.Struct, frozen=True, array_like=True, tag=12):
    """Of an offer."""

    number: int
    kind: str  # of the fault, a name in `FAULTS`
    text: str


class Placed(msgspec.Struct, frozen=True, array_like=True, tag=13):
    """Number, segment and offset of each record that is on the platter."""

    places: list[tuple[int, int, int]]


class Failed(msgspec.Struct, frozen=True, array_like=True, tag=14):
    """Of a record."""

    number: int
    kind: str  # of the fault, a name in `FAULTS`
    text: str


class DiskTold(msgspec.Struct, frozen=True, array_like=True):
    """A `DiskStatus`, whether the disk takes appends, and how often it came back to service."""

    slot: int
    path: str
    disk_id: bytes | None
    state: DiskState
    reason: str
    total_bytes: int
    free_bytes: int
    writable: bool
    returns: int

    def status(self) -> DiskStatus:
        return DiskStatus(
            self.slot,
            self.path,
            self.disk_id,
            self.state,
            self.reason,
            self.total_bytes,
            self.free_bytes,
        )


class Told(msgspec.Struct, frozen=True, array_like=True, tag=15):
    sequence: int  # the newest in the index
    stall: str  # why nothing is decided; "" in good times
    disks: list[DiskTold]


class Farewell(msgspec.Struct, frozen=True, array_like=True, tag=16):
    reason: str


FromEdge: TypeAlias = Hello | Offer | Appends | Unpin
FromEngine: TypeAlias = Welcome | Verdict | Refused | Placed | Failed | Told | Farewell
Message: TypeAlias = FromEdge | FromEngine

_encoder = msgspec.msgpack.Encoder()
_from_edge: Any = msgspec.msgpack.Decoder(list[FromEdge])
_from_engine: Any = msgspec.msgpack.Decoder(list[FromEngine])


def pack(messages: Sequence[Message]) -> list[bytearray]:
    """One frame, or as many as it takes."""
    frame = bytearray(LENGTH.size)
    _encoder.encode_into(messages, frame, LENGTH.size)
    size = len(frame) - LENGTH.size
    if size > FRAME_BYTES_MAX:
        half = len(messages) // 2
        assert half, "a message fits into a frame"
        return [*pack(messages[:half]), *pack(messages[half:])]
    LENGTH.pack_into(frame, 0, size)
    return [frame]


def unpack_from_edge(body: bytes | memoryview) -> list[FromEdge]:
    """The messages of a frame without its length. BadMessage."""
    try:
        messages: list[FromEdge] = _from_edge.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise BadMessage(str(error)) from None
    return messages


def unpack_from_engine(body: bytes | memoryview) -> list[FromEngine]:
    """The messages of a frame without its length. BadMessage."""
    try:
        messages: list[FromEngine] = _from_engine.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise BadMessage(str(error)) from None
    return messages


# ---- faults

FAULTS: dict[str, type[StorageFault]] = {
    kind.__name__: kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, StorageFault)
}


def fault_of(told: Refused | Failed) -> StorageFault:
    """The fault that the other side met. BadMessage."""
    kind = FAULTS.get(told.kind)
    if kind is None:
        raise BadMessage(f"no such fault: {told.kind[:100]!r}")
    return kind(told.text)


# ---- what the engine checks before it believes


def check_write_set(write_set: WriteSet) -> None:
    """BadMessage unless a transaction of this release can have made it."""
    try:
        transaction.check(write_set)
    except FormatError as fault:
        raise BadMessage(str(fault)) from None


def records_of(message: Appends, slots: int, arena: memoryview) -> Records:
    """What is to be appended; payloads in the shared memory stay there. BadMessage."""
    begin, size = message.payloads, message.shards * message.payload_bytes
    if isinstance(begin, bytes):
        payloads = memoryview(begin)
    else:
        payloads = arena[begin : begin + size] if begin >= 0 else memoryview(b"")
    if len(payloads) != size:
        raise BadMessage("payloads lie outside the shared memory, or are of another length")
    shard = Shard(
        message.data_id,
        message.stripe_index,
        message.shard_index,
        message.k,
        message.m,
        message.code,
        message.stripe_bytes,
        message.stripe_offset,
        message.digests,
    )
    records = Records(shard, payloads, message.payload_bytes, message.hint)
    if not 0 < message.first < NUMBERS_MAX:
        raise BadMessage("numbers that cannot be sent back")
    try:
        record.assert_packable(records)
    except AssertionError as broken:
        raise BadMessage(f"a record that cannot be made: {broken}") from None
    if not message.targets:
        raise BadMessage("an append of nothing")
    left = set(range(message.shard_index, message.shard_index + message.shards))
    for slot, index in message.targets:
        if not 0 <= slot < slots or index not in left:
            raise BadMessage(f"no such slot, or no such shard any more: {slot}, {index}")
        left.remove(index)
    return records


def of_records(
    records: Records,
    targets: Sequence[tuple[int, int]],
    first: int,
    find: Callable[[Buffer], int | None],
) -> Appends:
    """What asks for appends; `find` tells where in the shared memory the payloads lie."""
    record.assert_packable(records)
    shard, payloads, payload_bytes, hint = records
    where = find(payloads)
    if where is None:
        payloads, shard = _only(records, targets)
    return Appends(
        first,
        list(targets),
        *shard,
        bytes(payloads) if where is None else where,
        payload_bytes,
        len(payloads) // payload_bytes,
        hint,
    )


def _only(records: Records, targets: Sequence[tuple[int, int]]) -> tuple[memoryview, Shard]:
    """The payloads that are asked for and what lies between them, for those are sent."""
    shard, payloads, payload_bytes, _ = records
    indexes = [index for _, index in targets]
    first, count = min(indexes), max(indexes) + 1 - min(indexes)
    start, _ = records.span(first)
    digests = record.DIGEST_BYTES * record.block_count(payload_bytes)
    at = (first - shard.shard_index) * digests
    only = shard._replace(shard_index=first, digests=shard.digests[at : at + count * digests])
    return payloads[start : start + count * payload_bytes], only
