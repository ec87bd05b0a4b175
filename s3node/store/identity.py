"""The identity of a disk: the file `identity`, written once, never changed.

====== ==== ============= ==============================================================
offset size field         the fault it defends against
====== ==== ============= ==============================================================
0      8    magic         some other file
8      2    version       a later release's format
10     2    flags         a later release's options; none are defined
12     2    slot          disks swapped between paths: a disk is what it says, not where
14     2    disk count    a configuration that lost a disk (D when the disk was made)
16     16   deployment id a disk of another node, with locations that mean other bytes
32     16   disk id       a cloned disk; a record copied to another disk
48     8    created       (milliseconds since 1970, for people)
56     4    reserved      zero
60     4    crc           bit rot and torn writes; CRC-32 of all bytes before
====== ==== ============= ==============================================================

Little-endian. Unknown version or flag: FormatUnknown, and nothing on that disk is written.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from enum import Enum
from typing import NamedTuple

from s3node.base.errors import FormatError, FormatUnknown
from s3node.store import checked

MAGIC = b"s3nDISK\n"
VERSION = 1
LAYOUT = struct.Struct("<8sHHHH16s16sQII")
assert LAYOUT.size == 64


class Identity(NamedTuple):
    deployment_id: bytes
    disk_id: bytes
    slot: int
    disk_count: int
    created_ms: int


class Standing(Enum):
    """What a path's identity file says about the disk found there."""

    OK = "ok"
    MISSING = "missing"  # nothing there: an empty or unmounted directory
    DAMAGED = "damaged"  # a file is there, its bytes are not an identity
    UNKNOWN = "unknown"  # of a later release
    FOREIGN = "foreign"  # of another deployment
    SWAPPED = "swapped"  # ours, at another slot's path: used as the slot it says
    CLONE = "clone"  # a second disk with the same disk id or slot: neither is believed


USABLE = frozenset({Standing.OK, Standing.SWAPPED})


def pack(identity: Identity) -> bytes:
    return checked.finish(
        LAYOUT.pack(
            MAGIC,
            VERSION,
            0,
            identity.slot,
            identity.disk_count,
            identity.deployment_id,
            identity.disk_id,
            identity.created_ms,
            0,
            0,
        )
    )


def unpack(data: bytes) -> Identity:
    """FormatError if it is not an identity, FormatUnknown if it is a later one."""
    if len(data) != LAYOUT.size:
        raise FormatError(f"identity: {len(data)} bytes where {LAYOUT.size} belong")
    checked.check(data, LAYOUT.size, MAGIC, VERSION, "identity")
    _, _, _, slot, disk_count, deployment_id, disk_id, created_ms, _, _ = LAYOUT.unpack(data)
    return Identity(deployment_id, disk_id, slot, disk_count, created_ms)


def judge(content: bytes | None) -> tuple[Standing, Identity | None, str]:
    """What one identity file says by itself: OK, MISSING, DAMAGED or UNKNOWN, and why."""
    if content is None:
        return Standing.MISSING, None, "no identity file: is the disk mounted, was it initialised?"
    try:
        return Standing.OK, unpack(content), ""
    except FormatUnknown as fault:
        return Standing.UNKNOWN, None, f"{fault}; use the release that wrote it"
    except FormatError as fault:
        return Standing.DAMAGED, None, f"{fault}; replace the disk, its shards will be healed"


def classify(found: Sequence[Identity | None], deployment_id: bytes) -> list[tuple[Standing, str]]:
    """How each path's identity stands within the disk set; `found[i]` is what path i holds.

    Only for identities that could be read; None is answered with MISSING.
    """
    known = [one for one in found if one and one.deployment_id == deployment_id]
    ids = [one.disk_id for one in known]
    slots = [one.slot for one in known]

    def judged(path_slot: int, one: Identity | None) -> tuple[Standing, str]:
        if one is None:
            return Standing.MISSING, "no identity"
        if one.deployment_id != deployment_id:
            return Standing.FOREIGN, f"belongs to deployment {one.deployment_id.hex()}"
        if ids.count(one.disk_id) > 1:
            return Standing.CLONE, f"another path holds disk {one.disk_id.hex()} too: remove one"
        if slots.count(one.slot) > 1:
            return Standing.CLONE, f"another disk claims slot {one.slot} too: remove one"
        if one.slot != path_slot:
            return Standing.SWAPPED, f"disk of slot {one.slot} at the path of slot {path_slot}"
        return Standing.OK, ""

    return [judged(slot, one) for slot, one in enumerate(found)]
