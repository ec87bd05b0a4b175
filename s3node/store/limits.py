"""Every bound of the store: sizes that formats accept, queues, files, steps.

The first group is part of the format (a reader may refuse what exceeds it); `Limits` is what a
running disk set is told, so that tests can make segments small and queues short.
"""

from __future__ import annotations

from dataclasses import dataclass

BLOCK_BITS = 16
BLOCK_BYTES = 1 << BLOCK_BITS  # one payload digest covers at most this many bytes
PAYLOAD_BYTES_MAX = 64 << 20
DIGESTS_MAX = PAYLOAD_BYTES_MAX // BLOCK_BYTES
HINT_BYTES_MAX = 4096
SHARDS_MAX = 16  # n = k + m
ALIGN = 8  # records begin at multiples of this
SECTOR = 512  # the piece a disk writes whole or not at all

IOV_MAX = 1024  # buffers of one pwritev; the kernel's UIO_MAXIOV

assert DIGESTS_MAX * BLOCK_BYTES == PAYLOAD_BYTES_MAX
assert DIGESTS_MAX < 1 << 16, "the digest count has 16 bits in the record header"
assert HINT_BYTES_MAX < 1 << 16, "the hint length has 16 bits in the record header"


@dataclass(frozen=True, slots=True)
class Limits:
    """What a disk set is told.

    `segment_bytes`: size at which a segment is sealed. `queue_bytes`: what may wait on one disk
    before further appends fail at once. `reserve_bytes`: room on every disk that shards leave to
    journal and checkpoints. `allocate_min_bytes` and `allocate_max_bytes`: a segment's room is
    reserved in steps that double between these two. `read_files`: descriptors kept open for
    reading, per disk.
    """

    segment_bytes: int = 1 << 30
    queue_bytes: int = 64 << 20
    reserve_bytes: int = 32 << 20
    allocate_min_bytes: int = 1 << 20
    allocate_max_bytes: int = 16 << 20
    read_files: int = 32
