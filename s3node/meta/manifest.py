"""A manifest: which range files make up the newest checkpoint, and as of when each is true.

Every disk has the newest one; a checkpoint counts once its manifest is on m + 1 disks. The
ranges follow each other without a gap from the first possible key to the last.

====== ==== ============== ==============================================================
offset size header field   the fault it defends against
====== ==== ============== ==============================================================
0      8    magic          some other file
8      2    version        a later release's format
10     2    flags          a later release's options; none are defined
12     4    range count    a cut payload
16     16   deployment id  a disk of another node
32     8    epoch          a disk that was away
40     8    generation     an older manifest: rises with every one
48     8    sequence       a journal that ends before what is known here: newest frame then
56     16   chain          its hash
72     8    base sequence  a journal that begins too late: frames after it are needed
80     16   base chain     its hash
96     8    payload bytes  a cut payload
104    16   payload digest flipped bytes in the payload; XXH3-128
120    4    reserved       zero
124    4    crc            flipped bytes here; CRC-32 (zlib) of bytes 0..124
====== ==== ============== ==============================================================

Payload, per range in key order: epoch (8) and number (4) of the file, start and end key bytes
(2, 2), file bytes (8), file digest (16, XXH3-128), as-of sequence (8) and chain (16), start key,
end key. Epoch and number name the range's file; its bytes and digest are those of the whole file.
The first range starts at 0x01: rows of the node itself are in no checkpoint. The base is the
lowest as-of. Digests are in canonical, big-endian form. The file is EPOCH-GENERATION.manifest (8
and 16 hex digits). No file (0 bytes) means a range without rows; the last range ends with no
bytes, which means everything after. Little-endian.
"""

from __future__ import annotations

import itertools
import struct
import zlib
from typing import NamedTuple

import xxhash

from s3node.base.errors import FormatError, FormatUnknown
from s3node.meta import schema
from s3node.meta.frame import ORIGIN, Position

MAGIC = b"s3nMANI\n"
VERSION = 1
LAYOUT = struct.Struct("<8sHHI16sQQQ16sQ16sQ16sII")
assert LAYOUT.size == 128
ENTRY = struct.Struct("<QIHHQ16sQ16s")
assert ENTRY.size == 64
CRC = struct.Struct("<I")
SUFFIX = ".manifest"


class Range(NamedTuple):
    """Rows of start <= key < end, as they were at `as_of`, in a file or (0 bytes) in none."""

    start: bytes
    end: bytes  # b"": everything after
    epoch: int
    number: int
    file_bytes: int
    file_digest: bytes
    as_of: Position

    @property
    def name(self) -> str:
        return range_name(self.epoch, self.number)

    def stop(self) -> bytes:
        """The end as a bound for scans."""
        return self.end or schema.KEYS_END


class Manifest(NamedTuple):
    deployment_id: bytes
    epoch: int
    generation: int
    position: Position
    base: Position
    ranges: tuple[Range, ...]

    @property
    def name(self) -> str:
        return f"{self.epoch:08x}-{self.generation:016x}{SUFFIX}"


def range_name(epoch: int, number: int) -> str:
    """Never used twice: a counter within an epoch."""
    return f"{epoch:08x}-{number:08x}.range"


def is_manifest(name: str) -> bool:
    return name.endswith(SUFFIX)


def first(deployment_id: bytes) -> Manifest:
    """The manifest of a new node: nothing, at the origin of the chain."""
    whole = Range(schema.JOURNALED_START, b"", 0, 0, 0, bytes(16), ORIGIN)
    return Manifest(deployment_id, 0, 0, ORIGIN, ORIGIN, (whole,))


def pack(manifest: Manifest) -> bytes:
    _check_ranges(manifest)
    pieces = []
    for r in manifest.ranges:
        fixed = (r.epoch, r.number, len(r.start), len(r.end), r.file_bytes, r.file_digest)
        pieces += [ENTRY.pack(*fixed, *r.as_of), r.start, r.end]
    payload = b"".join(pieces)
    header = LAYOUT.pack(
        MAGIC,
        VERSION,
        0,
        len(manifest.ranges),
        manifest.deployment_id,
        manifest.epoch,
        manifest.generation,
        *manifest.position,
        *manifest.base,
        len(payload),
        xxhash.xxh3_128_digest(payload),
        0,
        0,
    )[: -CRC.size]
    return header + CRC.pack(zlib.crc32(header)) + payload


def unpack(data: bytes) -> Manifest:
    """FormatError if it is not a manifest, FormatUnknown if it is a later one."""
    if len(data) < LAYOUT.size:
        raise FormatError("manifest: cut")
    magic, version, flags, count, *fields, zero, crc = LAYOUT.unpack_from(data)
    if magic != MAGIC or crc != zlib.crc32(data[: LAYOUT.size - CRC.size]):
        raise FormatError("manifest: magic or CRC mismatch")
    if version != VERSION or flags or zero:
        raise FormatUnknown(f"manifest: version {version}, flags {flags}")
    deployment_id, epoch, generation, sequence, chain, base, base_chain, size, digest = fields
    payload = data[LAYOUT.size :]
    if len(payload) != size or xxhash.xxh3_128_digest(payload) != digest:
        raise FormatError("manifest: payload digest mismatch")
    manifest = Manifest(
        deployment_id,
        epoch,
        generation,
        Position(sequence, chain),
        Position(base, base_chain),
        _unpack_ranges(payload, count),
    )
    _check_ranges(manifest)
    return manifest


def _unpack_ranges(payload: bytes, count: int) -> tuple[Range, ...]:
    ranges = []
    offset = 0
    for _ in range(count):
        if offset + ENTRY.size > len(payload):
            raise FormatError("manifest: fewer ranges than counted")
        entry = ENTRY.unpack_from(payload, offset)
        epoch, number, start_bytes, end_bytes, file_bytes, file_digest, sequence, chain = entry
        middle = offset + ENTRY.size + start_bytes
        start, end = payload[middle - start_bytes : middle], payload[middle : middle + end_bytes]
        as_of = Position(sequence, chain)
        ranges.append(Range(start, end, epoch, number, file_bytes, file_digest, as_of))
        offset = middle + end_bytes
    if offset != len(payload):
        raise FormatError("manifest: more ranges than counted")
    return tuple(ranges)


def _check_ranges(manifest: Manifest) -> None:
    ranges = manifest.ranges
    whole = bool(ranges) and ranges[0].start == schema.JOURNALED_START and not ranges[-1].end
    joined = all(a.end == b.start for a, b in itertools.pairwise(ranges))
    reached = all(manifest.base.sequence <= r.as_of.sequence for r in ranges)
    if not (whole and joined and reached):
        raise FormatError("manifest: its ranges do not make a whole")
