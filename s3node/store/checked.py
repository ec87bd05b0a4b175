"""What the fixed-size formats of the store have in common: magic, version, flags, CRC.

Each begins with magic (8 bytes), version (2) and flags (2) and ends with the CRC-32 (IEEE, as
zlib's) of all bytes before it. CRC-32 rather than CRC-32C because every language's standard
library has it: whoever reads these bytes in thirty years needs no package for it.

`check` decides in an order that matters: the CRC before version and flags, so that damage is
never taken for a later release's format, and these before any other field is believed.
"""

from __future__ import annotations

import struct
import zlib

from s3node.base.errors import FormatError, FormatUnknown

_START = struct.Struct("<8sHH")
CRC_BYTES = 4


def finish(packed: bytes) -> bytes:
    """`packed` with its last four bytes replaced by the CRC of those before."""
    body = packed[:-CRC_BYTES]
    return body + zlib.crc32(body).to_bytes(CRC_BYTES, "little")


def stored_crc(packed: bytes) -> int:
    """The CRC that ends a packed format."""
    return int.from_bytes(packed[-CRC_BYTES:], "little")


def check(packed: bytes, size: int, magic: bytes, version: int, what: str) -> None:
    """FormatError unless whole, of this magic and undamaged; FormatUnknown if of a later kind."""
    if len(packed) < size:
        raise FormatError(f"{what}: {len(packed)} bytes where {size} belong")
    if packed[: len(magic)] != magic:
        raise FormatError(f"{what}: magic is {packed[: len(magic)]!r}")
    if zlib.crc32(packed[: size - CRC_BYTES]) != stored_crc(packed[:size]):
        raise FormatError(f"{what}: CRC does not match")
    _, found, flags = _START.unpack_from(packed)
    if found != version:
        raise FormatUnknown(f"{what}: format version {found}, this release knows {version}")
    if flags:
        raise FormatUnknown(f"{what}: unknown flags {flags:#06x}")
