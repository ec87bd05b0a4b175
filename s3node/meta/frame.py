"""A journal frame: one batch of physical puts and deletes, or the beginning of an epoch.

The same bytes lie on every disk. Frames form a chain: each names the hash of the one before it,
so that a frame proves the whole history below it.

====== ==== ================ ============================================================
offset size header field     the fault it defends against
====== ==== ================ ============================================================
0      8    magic            being taken for something else; where to go on after damage
8      2    version          a later release's format
10     2    flags            a later release's options; none are defined
12     2    kind             (1 batch, 2 epoch)
14     2    reserved         zero
16     16   deployment id    a disk of another node
32     8    epoch            an engine that was declared dead, a disk that was away
40     8    sequence         lost, repeated and re-ordered frames
48     8    time             (milliseconds since 1970, for people)
56     8    synced through   damage being taken for a torn tail: frames up to this sequence
                             were synced on m + 1 disks when this one was made
64     4    payload bytes    a cut payload
68     4    entry count      a payload that ends too early between two entries
72     16   previous         a fork: hash of the frame before (XXH3-128 of its header);
                             zero before the first
88     16   payload digest   flipped bytes in the payload; XXH3-128
104    4    reserved         zero
108    4    crc              flipped bytes in the header; CRC-32 (zlib) of bytes 0..108
====== ==== ================ ============================================================

A batch's payload is its entries, each: op (1: 1 put, 2 delete), zero (1), key bytes (2), value
bytes (4), key, value. An epoch's is: life id (16), then per member disk: slot (2), zero (6),
disk id (16); the entry count counts the members. Little-endian.

The hash of a frame is XXH3-128 of all 112 bytes of its header; hashes and digests are written in
their canonical, big-endian form. Sequences rise by one, epoch frames included. In a log, frames
follow each other without a gap, and what is behind the last is zeros (room written ahead) or a
torn tail. A delete has 0 value bytes.

Unknown version, flag, kind or op: FormatUnknown, and nothing may be written.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import xxhash

from s3node.base.errors import FormatError, FormatUnknown
from s3node.base.filesystem import Buffer
from s3node.meta.transaction import WRITE_SET_BYTES_MAX, Rows

MAGIC = b"s3nFRAM\n"
VERSION = 1
LAYOUT = struct.Struct("<8sHHHH16sQQQQII16s16sII")
assert LAYOUT.size == 112
CRC = struct.Struct("<I")
BATCH, EPOCH = 1, 2
PUT, DELETE = 1, 2
ENTRY = struct.Struct("<BBHI")
assert ENTRY.size == 8
MEMBER = struct.Struct("<H6s16s")
assert MEMBER.size == 24

HASH_BYTES = 16
LIFE_BYTES = 16
PAYLOAD_BYTES_MAX = WRITE_SET_BYTES_MAX


class Position(NamedTuple):
    """A place on the chain: a frame's sequence and hash."""

    sequence: int
    chain: bytes


ORIGIN = Position(0, bytes(HASH_BYTES))


class Header(NamedTuple):
    """The fields that are not fixed or derived."""

    kind: int
    deployment_id: bytes
    epoch: int
    sequence: int
    time_ms: int
    synced_through: int
    payload_bytes: int
    entry_count: int
    previous: bytes
    payload_digest: bytes


class Life(NamedTuple):
    """What an epoch frame says: who began, with which disks."""

    life_id: bytes
    members: Mapping[int, bytes]  # slot -> disk id


class Frame(NamedTuple):
    """A frame ready to be written: its place on the chain, and its bytes."""

    position: Position
    data: bytes


def entries(rows: Rows) -> bytes:
    """The payload of a batch."""
    pieces = []
    for key, value in rows.items():
        op = DELETE if value is None else PUT
        pieces += [ENTRY.pack(op, 0, len(key), len(value or b"")), key, value or b""]
    return b"".join(pieces)


def life(value: Life) -> bytes:
    """The payload of an epoch frame."""
    assert len(value.life_id) == LIFE_BYTES
    members = (MEMBER.pack(slot, b"", disk) for slot, disk in sorted(value.members.items()))
    return value.life_id + b"".join(members)


def pack(
    kind: int,
    payload: bytes,
    entry_count: int,
    *,
    after: Position,
    deployment_id: bytes,
    epoch: int,
    time_ms: int,
    synced_through: int,
) -> Frame:
    """The frame that follows `after`."""
    assert len(payload) <= PAYLOAD_BYTES_MAX, f"a frame of {len(payload)} bytes"
    assert synced_through <= after.sequence
    fields = Header(
        kind,
        deployment_id,
        epoch,
        after.sequence + 1,
        time_ms,
        synced_through,
        len(payload),
        entry_count,
        after.chain,
        xxhash.xxh3_128_digest(payload),
    )
    header = pack_header(fields)
    return Frame(Position(fields.sequence, chain(header)), header + payload)


def pack_header(fields: Header) -> bytes:
    kind, deployment_id, *middle, previous, payload_digest = fields
    body = LAYOUT.pack(
        MAGIC, VERSION, 0, kind, 0, deployment_id, *middle, previous, payload_digest, 0, 0
    )[: -CRC.size]
    return body + CRC.pack(zlib.crc32(body))


def chain(header: Buffer) -> bytes:
    """A frame's hash: what the next one names."""
    return xxhash.xxh3_128_digest(bytes(header[: LAYOUT.size]))


def unpack_header(data: Buffer) -> Header:
    """The header at the beginning of `data`; FormatError, FormatUnknown."""
    if len(data) < LAYOUT.size:
        raise FormatError(f"frame: {len(data)} bytes are too short for a header")
    magic, version, flags, kind, zero, *fields, rest, crc = LAYOUT.unpack_from(data)
    if magic != MAGIC:
        raise FormatError("frame: no magic")
    if crc != zlib.crc32(data[: LAYOUT.size - CRC.size]):
        raise FormatError("frame: header CRC mismatch")
    if version != VERSION or flags or zero or rest or kind not in {BATCH, EPOCH}:
        raise FormatUnknown(f"frame: version {version}, flags {flags}, kind {kind}")
    header = Header(kind, *fields)
    if header.payload_bytes > PAYLOAD_BYTES_MAX or header.synced_through >= header.sequence:
        raise FormatError(f"frame {header.sequence}: impossible header")
    return header


def check_payload(header: Header, payload: Buffer) -> None:
    """FormatError unless the payload is the one that the header is about."""
    if len(payload) != header.payload_bytes:
        raise FormatError(f"frame {header.sequence}: payload is cut")
    if xxhash.xxh3_128_digest(payload) != header.payload_digest:
        raise FormatError(f"frame {header.sequence}: payload digest mismatch")


def unpack_entries(header: Header, payload: bytes) -> Iterator[tuple[bytes, bytes | None]]:
    """(key, value or None for a delete) of a batch whose payload was checked."""
    assert header.kind == BATCH
    offset = 0
    for _ in range(header.entry_count):
        if offset + ENTRY.size > len(payload):
            raise FormatError(f"frame {header.sequence}: fewer entries than counted")
        op, zero, key_bytes, value_bytes = ENTRY.unpack_from(payload, offset)
        if op not in {PUT, DELETE} or zero:
            raise FormatUnknown(f"frame {header.sequence}: op {op}")
        start = offset + ENTRY.size
        offset = start + key_bytes + value_bytes
        if offset > len(payload) or (op == DELETE and value_bytes):
            raise FormatError(f"frame {header.sequence}: an entry does not fit")
        key = payload[start : start + key_bytes]
        yield key, payload[start + key_bytes : offset] if op == PUT else None
    if offset != len(payload):
        raise FormatError(f"frame {header.sequence}: more entries than counted")


def unpack_life(header: Header, payload: bytes) -> Life:
    """What an epoch frame says, its payload having been checked."""
    assert header.kind == EPOCH
    if len(payload) != LIFE_BYTES + header.entry_count * MEMBER.size:
        raise FormatError(f"frame {header.sequence}: not an epoch's payload")
    members = {slot: disk for slot, _, disk in MEMBER.iter_unpack(payload[LIFE_BYTES:])}
    return Life(payload[:LIFE_BYTES], members)
