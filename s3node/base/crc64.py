"""CRC-64/NVME on the C of csrc/crc64*.c, which C can also continue together with other hashes.

Used as hashlib's hashers. Releases the GIL.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from s3node.base._crc64 import ffi, lib

if TYPE_CHECKING:
    from typing_extensions import Buffer

DIGEST_BYTES = 8
QUICK = bool(lib.crc64_quick())
"""Whether this CPU has what makes it quicker than what else there is."""

_BUFFER = ffi.typeof("uint8_t[]")
_VALUE = ffi.typeof("uint64_t *")


class Crc64:
    """A running CRC; `value` points to it, in C."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = ffi.new(_VALUE)

    def update(self, data: Buffer, /) -> None:
        """Take all of `data`, now."""
        view = ffi.from_buffer(_BUFFER, data)
        self.value[0] = lib.crc64(self.value[0], view, len(view))

    def digest(self) -> bytes:
        """Of what was taken so far, big-endian."""
        return int(self.value[0]).to_bytes(DIGEST_BYTES, "big")
