"""The digests of all blocks of a stripe's shards, at one crossing into C (csrc/record_digests.c).

What a digest is, the record format says (`s3node.store.record`); this is the same, faster.
"""

from __future__ import annotations

from s3node.store import record
from s3node.store._engine import ffi, lib

_BYTES = ffi.typeof("uint8_t[]")
_DIGESTS = ffi.typeof("uint64_t[]")


def shard_digests(shards: memoryview, shard_bytes: int) -> bytes:
    """Of shards of that many bytes, one right behind the other, as they are recorded.

    Releases the GIL.
    """
    count, rest = divmod(len(shards), shard_bytes)
    assert not rest, "whole shards"
    blocks = record.block_count(shard_bytes)
    out = ffi.new(_DIGESTS, count * blocks)
    lib.record_digests(ffi.from_buffer(_BYTES, shards), shard_bytes, count, out)
    return bytes(ffi.buffer(out))
