"""The seal: what ends a segment that was closed in order.

====== ==== ========== =================================================================
offset size field      the fault it defends against
====== ==== ========== =================================================================
0      8    magic      a record taken for a seal
8      2    version    a later release's format
10     2    flags      a later release's options; none are defined
12     4    records    records that vanished: a scan must find as many
16     16   disk id    a seal copied from another disk
32     8    segment id a seal within a payload, or of another segment
40     8    used end   a misdirected write: the offset at which this seal itself lies
48     8    reserved   zero
56     4    chain      a record replaced by an older one: CRC-32 over all record headers' CRCs
60     4    crc        bit rot and torn writes; CRC-32 of all bytes before
====== ==== ========== =================================================================

Little-endian. The chain starts at 0 and takes each header's four CRC bytes in file order.
"""

from __future__ import annotations

import struct
import zlib
from typing import NamedTuple

from s3node.store import checked

MAGIC = b"s3nSEAL\n"
VERSION = 1
LAYOUT = struct.Struct("<8sHHI16sQQQII")
assert LAYOUT.size == 64


class Seal(NamedTuple):
    disk_id: bytes
    segment: int
    used_end: int
    records: int
    chain: int


def pack(seal: Seal) -> bytes:
    return checked.finish(
        LAYOUT.pack(
            MAGIC,
            VERSION,
            0,
            seal.records,
            seal.disk_id,
            seal.segment,
            seal.used_end,
            0,
            seal.chain,
            0,
        )
    )


def unpack(data: bytes) -> Seal:
    """FormatError if it is not a seal, FormatUnknown if it is a later one."""
    checked.check(data, LAYOUT.size, MAGIC, VERSION, "seal")
    _, _, _, count, disk_id, segment, used_end, _, chain, _ = LAYOUT.unpack(data[: LAYOUT.size])
    return Seal(disk_id, segment, used_end, count, chain)


def extend(chain: int, header_crc: bytes) -> int:
    """The chain with one more record header behind it, of which this is the CRC as recorded."""
    return zlib.crc32(header_crc, chain)
