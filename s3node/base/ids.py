"""Identifiers: what they are made of and how they are written.

========== ===== ==========================================================================
id         bytes made of
========== ===== ==========================================================================
uuid       16    random; deployments, disks
bucket id  8     random, also the root of the bucket's key subtree
subtree id 8     random; a longer key's continuation (see the key schema in `meta`)
data id    16    epoch (4), counter within the epoch (6; its upper 2 bytes are the life number of
                 the process that hands it out), random (6), big-endian: later data ids of a
                 process sort later, and those of an ended epoch are told apart at sight
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
LIFE_SHIFT = 32
"""The counter of data ids begins with the life number of the process that hands them out."""

LIVES_MAX = 1 << 48 - LIFE_SHIFT
"""Lives of edges in one epoch; life 0 is the engine's own."""

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
    """Hands out the ids that are unique by epoch and counter.

    One per life of a process: an engine's has the life number 0, the edges' are the engine's to
    give, and no two of an epoch are the same.
    """

    epoch: int
    random: RandomBytes
    life: int = 0
    _data: int = 0
    _segment: int = 0

    def data_id(self) -> bytes:
        self._data += 1
        assert self._data < 1 << LIFE_SHIFT, "data ids of this life used up"
        counter = self.life << LIFE_SHIFT | self._data
        return self.epoch.to_bytes(4, "big") + counter.to_bytes(6, "big") + self.random(6)

    def segment_id(self) -> int:
        assert not self.life, "segments are the engine's"
        self._segment += 1
        assert self._segment < 1 << SEGMENT_COUNTER_BITS, "segment ids of this epoch used up"
        return self.epoch << SEGMENT_COUNTER_BITS | self._segment
