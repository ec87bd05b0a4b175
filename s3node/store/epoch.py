"""The epoch of a disk: the file `epoch`, two slots written in turn.

An engine that starts records its epoch here before it serves; a disk that was away shows an
older one. A write goes to the slot that does not hold the current value, so that a torn write
leaves the value before it.

====== ==== ========== ==================================================================
offset size field      the fault it defends against
====== ==== ========== ==================================================================
0      8    magic      some other file
8      2    version    a later release's format
10     2    flags      a later release's options; none are defined
12     4    reserved   zero
16     8    epoch      an engine, or a disk, of an earlier life
24     8    generation which of the two slots is newer when both say the same epoch
32     16   life id    two engines that both believe they own the same epoch
48     16   disk id    an epoch file copied from another disk
64     444  room       zero; fills the sector, so that the slots cannot tear each other
508    4    crc        bit rot and torn writes; CRC-32 of all bytes before
====== ==== ========== ==================================================================

Little-endian; slot 0 at offset 0, slot 1 right after it.
"""

from __future__ import annotations

import os
import struct
from typing import NamedTuple

from s3node.base.errors import DiskOffline, FormatError, FormatUnknown
from s3node.base.filesystem import FileSystem, read_file, write_all, write_file
from s3node.store import checked
from s3node.store.limits import SECTOR

MAGIC = b"s3nEPOC\n"
VERSION = 1
LAYOUT = struct.Struct("<8sHHIQQ16s16s444sI")
assert LAYOUT.size == SECTOR
NAME = "epoch"


class Epoch(NamedTuple):
    epoch: int
    life_id: bytes
    disk_id: bytes
    generation: int = 0


def pack(value: Epoch) -> bytes:
    return checked.finish(
        LAYOUT.pack(
            MAGIC,
            VERSION,
            0,
            0,
            value.epoch,
            value.generation,
            value.life_id,
            value.disk_id,
            b"",
            0,
        )
    )


def unpack(data: bytes) -> Epoch:
    """One slot. FormatError if it is not one, FormatUnknown if it is a later release's."""
    checked.check(data, LAYOUT.size, MAGIC, VERSION, "epoch")
    _, _, _, _, epoch, generation, life_id, disk_id, _, _ = LAYOUT.unpack(data[: LAYOUT.size])
    return Epoch(epoch, life_id, disk_id, generation)


def choose(content: bytes) -> Epoch:
    """The newer valid slot of the file; FormatError when neither is valid.

    A slot of a later release wins over everything: FormatUnknown, nothing may be written.
    """
    valid = []
    for start in (0, LAYOUT.size):
        try:
            valid.append(unpack(content[start : start + LAYOUT.size]))
        except FormatUnknown:
            raise
        except FormatError:
            continue
    if not valid:
        raise FormatError("epoch: neither slot is valid")
    return max(valid, key=lambda value: (value.epoch, value.generation))


def create(fs: FileSystem, directory: str, value: Epoch) -> None:
    """Put the file there for the first time; its other slot is empty."""
    first = value._replace(generation=0)
    write_file(fs, directory, NAME, pack(first) + bytes(LAYOUT.size))


def read(fs: FileSystem, directory: str) -> Epoch:
    """The disk's epoch. OSError or FormatError when it cannot be told."""
    return choose(read_file(fs, f"{directory}/{NAME}"))


def write(fs: FileSystem, directory: str, value: Epoch) -> Epoch:
    """Record `value`, durably, in the slot that is not current; what was written.

    A file whose slots are both damaged is made anew. DiskOffline when the disk has lived longer
    than we have: an epoch never goes back.
    """
    try:
        current = read(fs, directory)
    except FormatUnknown:
        raise
    except (FormatError, FileNotFoundError):
        create(fs, directory, value)
        return value._replace(generation=0)
    if value.epoch < current.epoch:
        raise DiskOffline(f"{directory}: knows epoch {current.epoch}, later than {value.epoch}")
    new = value._replace(generation=current.generation + 1)
    fd = fs.open(f"{directory}/{NAME}", os.O_WRONLY)
    try:
        write_all(fs, fd, pack(new), (new.generation % 2) * LAYOUT.size)
        fs.fdatasync(fd)
    finally:
        fs.close(fd)
    return new
