"""The promise: the epoch that an engine is about to begin, before it writes anything of it.

Recovery writes it on m + 1 disks before it copies a tail or makes an epoch frame. Any later
recovery reads D - m disks, so it finds the promise and takes a higher epoch: two lives can never
write frames of the same epoch, whatever crashed and whichever disks were away.

====== ==== ============= ==============================================================
offset size field         the fault it defends against
====== ==== ============= ==============================================================
0      8    magic         some other file
8      2    version       a later release's format
10     2    flags         a later release's options; none are defined
12     4    reserved      zero
16     16   deployment id a disk of another node
32     8    epoch         an epoch that is begun twice
40     16   life id       (which life promised, for people)
56     4    reserved      zero
60     4    crc           flipped bytes; CRC-32 (zlib) of bytes 0..60
====== ==== ============= ==============================================================

Little-endian; the file is replaced as a whole.
"""

from __future__ import annotations

import struct
import zlib
from typing import NamedTuple

from s3node.base.errors import FormatError, FormatUnknown

NAME = "promise"
MAGIC = b"s3nPROM\n"
VERSION = 1
LAYOUT = struct.Struct("<8sHHI16sQ16sII")
assert LAYOUT.size == 64
CRC = struct.Struct("<I")


class Promise(NamedTuple):
    deployment_id: bytes
    epoch: int
    life_id: bytes


def pack(promise: Promise) -> bytes:
    body = LAYOUT.pack(MAGIC, VERSION, 0, 0, *promise, 0, 0)[: -CRC.size]
    return body + CRC.pack(zlib.crc32(body))


def unpack(data: bytes) -> Promise:
    """FormatError if it is not a promise, FormatUnknown if it is a later one."""
    if len(data) != LAYOUT.size:
        raise FormatError(f"promise: {len(data)} bytes where {LAYOUT.size} belong")
    magic, version, flags, zero, *fields, rest, crc = LAYOUT.unpack(data)
    if magic != MAGIC or crc != zlib.crc32(data[: -CRC.size]):
        raise FormatError("promise: magic or CRC mismatch")
    if version != VERSION or flags or zero or rest:
        raise FormatUnknown(f"promise: version {version}, flags {flags}")
    return Promise(*fields)
