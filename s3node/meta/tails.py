"""A torn tail, or corruption: what bytes of a log that are no frame mean (I10).

That later frames say that one was durable does not settle it: that was on m + 1 disks, and this
one may have lagged. That a valid frame follows does not either: frames that waited are joined
into one append, and of a write that was cut off any sectors may be there. So bytes are taken for
a torn tail when they can be one: nothing was appended in that life after the append that they
would belong to, and what lies there is what belongs there (other disks know it), but for sectors
whose ends were never written. Anything else was durable once and is told.

Frames that were written again on the same disk, or that checkpoints hold, are good again. Reads
what is damaged and its true bytes; changes nothing.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from s3node.base.errors import FormatError
from s3node.meta.frame import LAYOUT, PAYLOAD_BYTES_MAX
from s3node.meta.homes import Home, same_life
from s3node.meta.journal import Limits
from s3node.meta.survey import Chain, Disk, JournalDamaged, Log, LogDamage, read_frame

SECTOR = 512  # what a device writes whole or not; larger ones are several of these
APPEND_BYTES_MAX = max(Limits().join_bytes, LAYOUT.size + PAYLOAD_BYTES_MAX)


def was_durable(
    homes: Mapping[int, Home], disk: Disk, log: Log, damage: LogDamage, chain: Chain
) -> bool:
    """Corruption; otherwise a torn tail, or bytes that nobody needs any more."""
    wanted = chain.manifest.base.sequence < damage.sequence <= chain.synced_through
    if not wanted or damage.sequence in disk.sequences:
        return False
    return not (
        _in_last_append(disk, log, damage) and _unwritten(homes[disk.slot], homes, damage, chain)
    )


def _in_last_append(disk: Disk, log: Log, damage: LogDamage) -> bool:
    """Whether the disk may have been asked for nothing more in that life."""
    later = any(other.name > log.name and same_life(other.name, log.name) for other in disk.logs)
    return not later and log.end - damage.damage.start <= APPEND_BYTES_MAX


def _unwritten(home: Home, homes: Mapping[int, Home], damage: LogDamage, chain: Chain) -> bool:
    """Whether every sector holds what belongs there up to some byte, and zeros from it on."""
    start, stop = damage.damage.start, damage.damage.stop
    try:
        found = _read(home, damage.name, start, stop)
        truth = _truth(homes, damage.sequence, chain, len(found))
    except (OSError, FormatError, JournalDamaged):
        return False  # it cannot be shown to be harmless
    at = 0
    while at < len(truth):
        end = at + SECTOR - (start + at) % SECTOR
        if not truth[at:end].startswith(found[at:end].rstrip(b"\0")):
            return False
        at = end
    return True


def _read(home: Home, name: str, start: int, stop: int) -> bytes:
    fd = home.fs.open(f"{home.journal}/{name}", os.O_RDONLY)
    try:
        return home.fs.pread(fd, stop - start, start)
    finally:
        home.fs.close(fd)


def _truth(homes: Mapping[int, Home], sequence: int, chain: Chain, size: int) -> bytes:
    """The bytes that belong where frame `sequence` should begin, as far as the chain goes."""
    pieces: list[bytes] = []
    for known in chain.frames[sequence - chain.manifest.base.sequence - 1 :]:
        if size <= 0:
            break
        pieces.append(read_frame(homes, known)[:size])
        size -= len(pieces[-1])
    return b"".join(pieces)
