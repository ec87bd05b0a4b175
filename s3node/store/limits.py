"""What a running disk set is told, so that tests can make segments small and queues short.

Bounds that are part of a format stand in that format's file.
"""

from __future__ import annotations

from dataclasses import dataclass

from s3node.base.limits import DISK_RESERVE_BYTES, DISK_RESERVE_SHARE, GIB, MIB

SECTOR = 512  # the piece a disk writes whole or not at all
IOV_MAX = 1024  # buffers of one pwritev; the kernel's UIO_MAXIOV


@dataclass(frozen=True, slots=True)
class Limits:
    """What a disk set is told.

    `segment_bytes`: size at which a segment is sealed. `queue_bytes`: what may wait for one disk's
    log before further frames fail at once; twice that may be read from it at once. What shards may
    wait is for whoever writes them to bound. `reserve_bytes`: room on a disk that shards leave to
    journal and checkpoints, at most one part in `reserve_share` of it. `allocate_min_bytes` and
    `allocate_max_bytes`: a segment's room is reserved in steps that double between these two.
    `log_step_bytes`: a log's is filled with zeros in such steps.
    `read_files`: descriptors kept open for reading, per disk. `hung_looks`: a disk that was looked
    at so often without answering what it was asked before is taken out of service. `hung_max`: as
    long as no more than so many are in that state: else it is the machine and not the disks.
    """

    segment_bytes: int = GIB
    queue_bytes: int = 64 * MIB
    reserve_bytes: int = DISK_RESERVE_BYTES
    reserve_share: int = DISK_RESERVE_SHARE
    allocate_min_bytes: int = MIB
    allocate_max_bytes: int = 16 * MIB
    log_step_bytes: int = MIB
    read_files: int = 32
    hung_looks: int = 10
    hung_max: int = 1

    def reserve(self, total_bytes: int) -> int:
        """Bytes that shards leave free on a disk of this size."""
        return min(self.reserve_bytes, total_bytes // self.reserve_share)
