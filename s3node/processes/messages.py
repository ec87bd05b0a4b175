"""What crosses the border between engine and edges: one frame carries all of a loop's turn.

A frame is its length (4 bytes, little-endian) and so many bytes of msgpack: an array of messages.
A message is an array, its number first. Memory that is shared (the edge's arena, a memfd) comes
with the Hello as a descriptor; payloads lie in it and only their place is sent.

====== ========= ======== ==================================================================
number message   by       the fault it defends against
====== ========= ======== ==================================================================
0      Hello     edge     another release's messages; memory that is not what it says
1      Offer     edge     (a write set; the answer is a Verdict or a Refused of that number)
2      Appends   edge     (records; the answer to each is a Placed or a Failed of its number)
3      Unpin     edge     segments that nobody lets go of: decided writes let go of theirs
10     Welcome   engine   another release's messages; ids of one edge given out by another
11     Verdict   engine   (whether the write set is durable and in the index, or a conflict)
12     Refused   engine   (the storage fault that an offer met)
13     Placed    engine   (where a record was put; its segment is pinned)
14     Failed    engine   (the storage fault that an append met)
15     Told      engine   states of disks, the newest sequence and stalls that nobody hears of
16     Farewell  engine   an edge that does not know why it lost its connection
====== ========= ======== ==================================================================

What does not decode, is longer than its bounds or cannot be is a `BadMessage`: the receiver ends
the connection. Both ends are of one release and one machine; nothing here is ever stored.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

import msgspec

from s3node.base import errors
from s3node.base.errors import FormatError, StorageFault
from s3node.base.limits import DISKS_MAX, MIB
from s3node.meta import transaction
from s3node.meta.transaction import WRITE_SET_BYTES_MAX, WriteSet
from s3node.store import record
from s3node.store.seams import Append, DiskState, DiskStatus, Shard

VERSION = 1
LENGTH = struct.Struct("<I")
FRAME_BYTES_MAX = 72 * MIB
"""A payload that does not lie in shared memory is sent along, and may be a whole shard."""

assert max(WRITE_SET_BYTES_MAX, record.PAYLOAD_BYTES_MAX) + MIB < FRAME_BYTES_MAX


class BadMessage(Exception):
    """The other end sent what no honest one sends: end the connection."""


class Extent(NamedTuple):
    """A payload's place in the edge's shared memory."""

    offset: int
    size: int


class Record(msgspec.Struct, frozen=True, array_like=True):
    """One record to append: an `Append` whose payload lies in shared memory, or comes along."""

    slot: int
    shard: Shard
    payload: Extent | bytes
    hint: bytes


class Hello(msgspec.Struct, frozen=True, array_like=True, tag=0):
    version: int
    arena_bytes: int  # of the shared memory whose descriptor comes along; 0: none does


class Offer(msgspec.Struct, frozen=True, array_like=True, tag=1):
    number: int
    write_set: WriteSet


class Appends(msgspec.Struct, frozen=True, array_like=True, tag=2):
    first: int  # number of the first record; the others follow
    records: list[Record]


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
    number: int
    segment: int
    offset: int


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


def pack(messages: Sequence[Message]) -> bytearray:
    """One frame."""
    frame = bytearray(LENGTH.size)
    _encoder.encode_into(messages, frame, LENGTH.size)
    LENGTH.pack_into(frame, 0, len(frame) - LENGTH.size)
    return frame


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


def check_record(one: Record, slots: int, arena_bytes: int) -> None:
    """BadMessage unless a record can be made of it and its payload is there."""
    where = one.payload
    if isinstance(where, Extent):
        if not 0 <= where.offset <= where.offset + where.size <= arena_bytes:
            raise BadMessage("a payload lies outside the shared memory")
        size = where.size
    else:
        size = len(where)
    if not 0 <= one.slot < min(slots, DISKS_MAX):
        raise BadMessage(f"no such slot: {one.slot}")
    if any(not 0 <= digest < 1 << 64 for digest in one.shard.digests):
        raise BadMessage("a digest has 64 bits")
    try:
        record.assert_packable(one.shard, size, one.hint)
    except AssertionError as broken:
        raise BadMessage(f"a record that cannot be made: {broken}") from None


def append_of(one: Record, arena: memoryview) -> Append:
    """The append that was asked for; its payload is where the edge has it."""
    where = one.payload
    if isinstance(where, Extent):
        payload: memoryview | bytes = arena[where.offset : where.offset + where.size]
    else:
        payload = where
    return Append(one.slot, one.shard, payload, one.hint)
