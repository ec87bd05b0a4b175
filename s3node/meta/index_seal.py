"""The seal of a cleanly closed index: the only thing that lets `data.mdb` be opened again.

LMDB's own pages carry no checksums and a damaged file can crash the process that maps it. So the
file is believed only if it is, byte for byte, what a clean close left: the seal says how long it
is and what its digest is, and where on the journal's chain it stands. The seal is removed,
durably, before the first write; without one the index is made anew from the disks.

====== ==== ============= ==============================================================
offset size field         the fault it defends against
====== ==== ============= ==============================================================
0      8    magic         some other file
8      2    version       a later release's format
10     2    flags         a later release's options; none are defined
12     4    reserved      zero
16     16   deployment id another node's index
32     8    sequence      an old copy, or one that knows more than the journal
40     16   chain         an index of a history that is not ours
56     8    data bytes    a cut data.mdb
64     16   data digest   flipped bytes in data.mdb; XXH3-128
80     12   reserved      zero
92     4    crc           flipped bytes here; CRC-32 (zlib) of bytes 0..92
====== ==== ============= ==============================================================

Little-endian, the digest in canonical, big-endian form. The file is `index.seal` beside `data.mdb`.
"""

from __future__ import annotations

import struct
import zlib
from typing import NamedTuple

from s3node.base.errors import FormatError, FormatUnknown
from s3node.meta.frame import Position

NAME = "index.seal"
MAGIC = b"s3nIXSL\n"
VERSION = 1
LAYOUT = struct.Struct("<8sHHI16sQ16sQ16s12sI")
assert LAYOUT.size == 96
CRC = struct.Struct("<I")


class Seal(NamedTuple):
    deployment_id: bytes
    position: Position
    data_bytes: int
    data_digest: bytes


def pack(seal: Seal) -> bytes:
    body = LAYOUT.pack(
        MAGIC,
        VERSION,
        0,
        0,
        seal.deployment_id,
        *seal.position,
        seal.data_bytes,
        seal.data_digest,
        b"",
        0,
    )[: -CRC.size]
    return body + CRC.pack(zlib.crc32(body))


def unpack(data: bytes) -> Seal:
    """FormatError if it is not a seal, FormatUnknown if it is a later one."""
    if len(data) != LAYOUT.size:
        raise FormatError(f"index seal: {len(data)} bytes where {LAYOUT.size} belong")
    magic, version, flags, zero, deployment_id, *fields, rest, crc = LAYOUT.unpack(data)
    sequence, chain, data_bytes, data_digest = fields
    if magic != MAGIC or crc != zlib.crc32(data[: -CRC.size]):
        raise FormatError("index seal: magic or CRC mismatch")
    if version != VERSION or flags or zero or any(rest):
        raise FormatUnknown(f"index seal: version {version}, flags {flags}")
    return Seal(deployment_id, Position(sequence, chain), data_bytes, data_digest)
