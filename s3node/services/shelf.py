"""Reading records from the disks of a stopped node, one at a time, verified (I7)."""

from __future__ import annotations

import os
import zlib
from typing import NamedTuple

import xxhash

from s3node.base.errors import FormatError, ShardCorrupt, ShardMissing, StorageFault
from s3node.base.filesystem import FileSystem
from s3node.meta.homes import Home
from s3node.store import record
from s3node.store.disks import SEGMENTS
from s3node.store.record import BLOCK_BYTES, DIGEST_BYTES, HEADER_BYTES, RecordHeader
from s3node.store.seams import Shard
from s3node.store.segment import file_name


class Record(NamedTuple):
    """One record, every byte of it verified."""

    header: RecordHeader
    digests: tuple[int, ...]
    payload: bytes
    hint: bytes


def segment_path(disk: str, segment: int) -> str:
    """Where a segment lies on a disk."""
    return f"{disk}/{SEGMENTS}/{file_name(segment)}"


def read_at(fs: FileSystem, path: str, offset: int) -> Record:
    """The record at `offset` of a segment file, every byte verified. OSError, FormatError."""
    fd = fs.open(path, os.O_RDONLY)
    try:
        header = record.unpack(fs.pread(fd, HEADER_BYTES, offset))
        size = record.record_bytes(header.payload_bytes, header.hint_bytes)
        rest = fs.pread(fd, size - HEADER_BYTES, offset + HEADER_BYTES)
    finally:
        fs.close(fd)
    if len(rest) != size - HEADER_BYTES:
        raise FormatError("the file ends within the record")
    return _verified(header, rest)


def _verified(header: RecordHeader, rest: bytes) -> Record:
    start = DIGEST_BYTES * header.digest_count
    stop = start + header.payload_bytes
    if zlib.crc32(rest[:start]) != header.digest_crc:
        raise FormatError("its digests are damaged")
    digests = record.unpack_digests(rest[:start])
    payload, hint = rest[start:stop], rest[stop : stop + header.hint_bytes]
    for index, digest in enumerate(digests):
        block = payload[index * BLOCK_BYTES : (index + 1) * BLOCK_BYTES]
        if xxhash.xxh3_64_intdigest(block) != digest:
            raise FormatError(f"block {index} does not match its digest")
    if zlib.crc32(hint) != header.hint_crc:
        raise FormatError("its hint is damaged")
    return Record(header, digests, payload, hint)


def read_shard(home: Home, segment: int, offset: int, expected: Shard) -> Record:
    """The record that a location row names; StorageFault if it is not there or not right."""
    path = segment_path(home.path, segment)
    try:
        found = read_at(home.fs, path, offset)
    except FileNotFoundError:
        raise ShardMissing("the segment is not there") from None
    except OSError as fault:
        raise StorageFault(f"cannot be read: {fault.strerror}") from fault
    except FormatError as fault:
        raise ShardCorrupt(str(fault)) from fault
    header = found.header
    here = (home.disk_id, segment, offset)
    if (header.disk_id, header.segment, header.offset) != here or not record.says(header, expected):
        raise ShardCorrupt("it is another record than the index names")
    return found
