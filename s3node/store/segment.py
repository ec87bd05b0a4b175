"""The header of a segment file.

====== ==== ============= ==============================================================
offset size field         the fault it defends against
====== ==== ============= ==============================================================
0      8    magic         some other file
8      2    version       a later release's format
10     2    flags         a later release's options; none are defined
12     4    reserved      zero
16     16   deployment id a file copied from another node
32     16   disk id       a file copied from another disk
48     8    segment id    a file under another name
56     8    epoch         the life of the engine that wrote it; earlier lives write no more
64     8    created       (milliseconds since 1970, for people)
72     436  room          zero; fills the sector, so that no append changes or tears the header
508    4    crc           bit rot and torn writes; CRC-32 of all bytes before
====== ==== ============= ==============================================================

Little-endian. Records follow from offset 512, each at a multiple of 8; a sealed segment ends
with a seal (`s3node.store.seal`). What lies behind the last record of one that was never sealed
is zeros (room reserved ahead) or a torn tail. The file is named by its id: 16 hex digits.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from s3node.store import checked
from s3node.store.limits import SECTOR

MAGIC = b"s3nSEGM\n"
VERSION = 1
LAYOUT = struct.Struct("<8sHHI16s16sQQQ436sI")
assert LAYOUT.size == SECTOR
SUFFIX = ".seg"


class SegmentHeader(NamedTuple):
    deployment_id: bytes
    disk_id: bytes
    segment: int
    epoch: int
    created_ms: int


def pack(header: SegmentHeader) -> bytes:
    return checked.finish(
        LAYOUT.pack(
            MAGIC,
            VERSION,
            0,
            0,
            header.deployment_id,
            header.disk_id,
            header.segment,
            header.epoch,
            header.created_ms,
            b"",
            0,
        )
    )


def unpack(data: bytes) -> SegmentHeader:
    """FormatError if it is not a segment header, FormatUnknown if it is a later one."""
    checked.check(data, LAYOUT.size, MAGIC, VERSION, "segment header")
    fields = LAYOUT.unpack(data[: LAYOUT.size])
    _, _, _, _, deployment_id, disk_id, segment, epoch, created_ms, _, _ = fields
    return SegmentHeader(deployment_id, disk_id, segment, epoch, created_ms)


def file_name(segment: int) -> str:
    """The name of a segment's file."""
    return f"{segment:016x}{SUFFIX}"


def segment_of(name: str) -> int | None:
    """The segment a file name stands for; None if it is not such a name."""
    stem = name.removesuffix(SUFFIX)
    if len(stem) != 16 or stem == name or stem.strip("0123456789abcdef"):
        return None
    return int(stem, 16)
