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
from typing import Annotated, Any, TypeAlias

import msgspec

from s3node.base import errors
from s3node.base.errors import FormatError, StorageFault
from s3node.base.filesystem import Buffer
from s3node.base.limits import MIB
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


class Hello(msgspec.Struct, frozen=True, array_like=True, tag=0):
    version: int
    arena_bytes: int  # of the shared memory whose descriptor comes along; 0: none does


class Offer(msgspec.Struct, frozen=True, array_like=True, tag=1):
    number: int
    write_set: WriteSet


Digest: TypeAlias = Annotated[int, msgspec.Meta(ge=0)]

Record: TypeAlias = tuple[int, int, int | bytes, list[Digest], bytes]
"""Slot, shard index, payload (where it begins in the shared memory, or itself), digests, hint."""


class Appends(msgspec.Struct, frozen=True, array_like=True, tag=2):
    """Records of one stripe, their payloads equally long: what they have in common stands once."""

    first: int  # number of the first record; the others follow
    data_id: bytes
    stripe_index: int
    k: int
    m: int
    code: int
    stripe_bytes: int
    stripe_offset: int
    payload_bytes: int
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


def appends_of(message: Appends, slots: int, arena: memoryview) -> list[Append]:
    """What is to be appended; payloads in the shared memory stay there. BadMessage."""
    _, data_id, stripe_index, k, m, code, stripe_bytes, stripe_offset, size, records = (
        msgspec.structs.astuple(message)
    )
    if records:
        _check_record(message)
    blocks, n = record.block_count(size), k + m
    appends = []
    for slot, index, where, digests, hint in records:
        if isinstance(where, int):
            payload: memoryview | bytes = arena[where : where + size] if where >= 0 else b""
        else:
            payload = where
        if len(payload) != size:
            raise BadMessage("a payload lies outside the shared memory, or is of another length")
        if not 0 <= slot < slots:
            raise BadMessage(f"no such slot: {slot}")
        if not 0 <= index < n or len(digests) != blocks or len(hint) > record.HINT_BYTES_MAX:
            raise BadMessage("a record that cannot be made")
        shard = Shard(
            data_id, stripe_index, index, k, m, code, stripe_bytes, stripe_offset, digests
        )
        appends.append(Append(slot, shard, payload, hint))
    return appends


def _check_record(message: Appends) -> None:
    """What its records have in common. BadMessage."""
    _, index, _, digests, hint = message.records[0]
    shard = Shard(
        message.data_id,
        message.stripe_index,
        index,
        message.k,
        message.m,
        message.code,
        message.stripe_bytes,
        message.stripe_offset,
        digests,
    )
    try:
        record.assert_packable(shard, message.payload_bytes, hint)
    except AssertionError as broken:
        raise BadMessage(f"a record that cannot be made: {broken}") from None


def of_appends(
    batch: Sequence[Append], first: int, find: Callable[[Buffer], int | None]
) -> list[Appends]:
    """What asks for a batch of appends; `find` tells where in the shared memory a payload lies."""
    messages: list[Appends] = []
    common: object = None
    for number, (slot, shard, payload, hint) in enumerate(batch, first):
        data_id, stripe, index, k, m, code, stripe_bytes, offset, digests = shard
        size = len(payload)
        this = (data_id, stripe, k, m, code, stripe_bytes, offset, size)
        if this != common:
            common = this
            record.assert_packable(shard, size, hint)
            messages.append(Appends(number, *this, []))
        where = find(payload)
        whole = bytes(payload) if where is None else where
        messages[-1].records.append((slot, index, whole, list(digests), hint))
    return messages
