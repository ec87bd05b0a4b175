"""What a value looks like: a format byte, the content, and a CRC over key and value (I12).

====== ===== ======== ==================================================================
offset size  field    defends against
====== ===== ======== ==================================================================
0      1     format   a later release's rows being read as ours
1      n     content  (a MessagePack row, or a fixed layout: see the key schema)
1 + n  4     crc      flipped bytes; a row that ended up under another key. CRC-32 (zlib)
                      over the key, then format and content; big-endian
====== ===== ======== ==================================================================

A row whose CRC does not match raises `FormatError`: it is never a wrong row, nor "absent".
Nothing here touches a transaction.
"""

from __future__ import annotations

import struct
import zlib

from s3node.base.errors import FormatError, FormatUnknown

FORMAT = 1
_FORMAT_BYTE = bytes([FORMAT])
_CRC = struct.Struct(">I")
_COUNTER = struct.Struct(">q")
OVERHEAD = len(_FORMAT_BYTE) + _CRC.size
assert OVERHEAD == 5


def seal(key: bytes, content: bytes) -> bytes:
    """The value to store under `key`."""
    body = _FORMAT_BYTE + content
    return body + _CRC.pack(zlib.crc32(body, zlib.crc32(key)))


def unseal(key: bytes, value: bytes) -> bytes:
    """The content of the value found under `key`; FormatError, FormatUnknown."""
    if len(value) < OVERHEAD:
        raise FormatError(f"row {key!r}: {len(value)} bytes are too short for a row")
    body = value[: -_CRC.size]
    if zlib.crc32(body, zlib.crc32(key)) != int.from_bytes(value[-_CRC.size :], "big"):
        raise FormatError(f"row {key!r}: CRC mismatch")
    if body[0] != FORMAT:
        raise FormatUnknown(f"row {key!r}: format {body[0]} is of a later release")
    return body[len(_FORMAT_BYTE) :]


def seal_counter(key: bytes, number: int) -> bytes:
    """A signed 64-bit counter as the value of `key`."""
    return seal(key, _COUNTER.pack(number))


def unseal_counter(key: bytes, value: bytes | None) -> int:
    """The counter found under `key`; absent means 0."""
    if value is None:
        return 0
    content = unseal(key, value)
    if len(content) != _COUNTER.size:
        raise FormatError(f"row {key!r}: {len(content)} bytes are not a counter")
    number: int = _COUNTER.unpack(content)[0]
    return number
