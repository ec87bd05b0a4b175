"""Identifiers: what they are made of and how they are written.

========== ===== ==========================================================================
id         bytes made of
========== ===== ==========================================================================
uuid       16    random; deployments, disks
bucket id  8     random, also the root of the bucket's key subtree
subtree id 8     random; a longer key's continuation (see the key schema in `meta`)
data id    16    epoch (4), counter within the epoch (6), random (6), big-endian: later data
                 ids sort later, and those of an ended epoch are told apart at sight
version id 16    inverted hybrid logical clock (8), random (8): newer versions sort first
upload id  16    hybrid logical clock (8), random (8): earlier uploads sort first
death id   16    hybrid logical clock (8), random (8): earlier deaths sort first
segment id 8     epoch (5), counter within the epoch (3): never reused, by any disk; a number,
                 little-endian in headers, 16 hex digits in file names
========== ===== ==========================================================================

Nobody here reads a clock or a random source: both are passed in.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

RandomBytes = Callable[[int], bytes]

UUID_BYTES = 16
BUCKET_ID_BYTES = 8
SUBTREE_ID_BYTES = 8
DATA_ID_BYTES = 16
VERSION_ID_BYTES = 16
UPLOAD_ID_BYTES = 16

SEGMENT_COUNTER_BITS = 24
_HLC_MAX = (1 << 64) - 1


def version_id(hlc: int, random: RandomBytes) -> bytes:
    """The id of a version stamped `hlc`; sorts before the ids of earlier versions."""
    return (_HLC_MAX - hlc).to_bytes(8, "big") + random(VERSION_ID_BYTES - 8)


def upload_id(hlc: int, random: RandomBytes) -> bytes:
    """The id of an upload begun at `hlc`; sorts after the ids of earlier uploads."""
    return hlc.to_bytes(8, "big") + random(UPLOAD_ID_BYTES - 8)


def segment_epoch(segment: int) -> int:
    """The epoch in which a segment was created."""
    return segment >> SEGMENT_COUNTER_BITS


@dataclass(slots=True)
class EpochIds:
    """Hands out the ids that are unique by epoch and counter. One per engine life."""

    epoch: int
    random: RandomBytes
    _data: int = 0
    _segment: int = 0

    def data_id(self) -> bytes:
        self._data += 1
        return self.epoch.to_bytes(4, "big") + self._data.to_bytes(6, "big") + self.random(6)

    def segment_id(self) -> int:
        self._segment += 1
        assert self._segment < 1 << SEGMENT_COUNTER_BITS, "segment ids of this epoch used up"
        return self.epoch << SEGMENT_COUNTER_BITS | self._segment
