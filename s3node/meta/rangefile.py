"""A range file: the rows of one key range of a checkpoint, sorted, in blocks. Immutable.

====== ==== ============= ==============================================================
offset size header field  the fault it defends against
====== ==== ============= ==============================================================
0      8    magic         some other file
8      2    version       a later release's format
10     2    flags         a later release's options; none are defined
12     2    start bytes   (length of the first key of the range)
14     2    end bytes     (length of the first key after it; 0: everything after)
16     16   deployment id a disk of another node
32     8    epoch         a file of another life
40     8    sequence      rows of another time than the manifest says
48     4    number        a file under another one's name
52     8    reserved      zero
60     4    crc           flipped bytes; CRC-32 (zlib) of bytes 0..60 and both keys
64     s+e  start, end
====== ==== ============= ==============================================================

====== ==== ============= ==============================================================
offset size block field   the fault it defends against
====== ==== ============= ==============================================================
0      4    magic         lost framing
4      4    payload bytes a cut block
8      4    row count     a payload that ends too early between two rows
12     4    index         lost, repeated and re-ordered blocks
16     16   digest        flipped bytes in the payload; XXH3-128
32     4    crc           flipped bytes here; CRC-32 (zlib) of bytes 0..32
====== ==== ============= ==============================================================

A block's payload is its rows: key bytes (2), value bytes (4), key, value.

====== ==== ============= ==============================================================
offset size footer field  the fault it defends against
====== ==== ============= ==============================================================
0      8    magic         a file whose writing was not finished
8      8    row count     lost rows
16     4    block count   lost blocks
20     16   digest        blocks of another file: XXH3-128 of all block headers
36     4    crc           flipped bytes here; CRC-32 (zlib) of bytes 0..36
====== ==== ============= ==============================================================

Little-endian, digests in canonical, big-endian form. The header's CRC is over its bytes 0..60,
then start, then end; the footer's digest over all block headers (36 bytes each), in order. The
file is EPOCH-NUMBER.range (8 hex digits each). The manifest names its size and digest besides.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import xxhash

from s3node.base.errors import FormatError, FormatUnknown

MAGIC = b"s3nRANG\n"
BLOCK_MAGIC = b"s3nB"
FOOTER_MAGIC = b"s3nREND\n"
VERSION = 1
LAYOUT = struct.Struct("<8sHHHH16sQQI8sI")
assert LAYOUT.size == 64
BLOCK = struct.Struct("<4sIII16sI")
assert BLOCK.size == 36
FOOTER = struct.Struct("<8sQI16sI")
assert FOOTER.size == 40
ROW = struct.Struct("<HI")
assert ROW.size == 6
CRC = struct.Struct("<I")
BLOCK_BYTES = 256 << 10

Row = tuple[bytes, bytes]


class RangeHeader(NamedTuple):
    deployment_id: bytes
    epoch: int
    sequence: int
    number: int
    start: bytes
    end: bytes


class Body(NamedTuple):
    """All of a file but its header, in pieces."""

    pieces: list[bytes]
    row_count: int


def pack(header: RangeHeader, body: Body) -> list[bytes]:
    """The whole file, in pieces."""
    return [_pack_header(header), *body.pieces]


def pack_body(rows: Iterable[Row]) -> Body:
    """Of these rows, which lie in the range, in order. A row is kept until its block is full, and
    must not change until then; no block's rows are kept beyond that.
    """
    pieces: list[bytes] = []
    chain = xxhash.xxh3_128()
    row_count = block_count = 0
    for count, payload in _blocks(rows):
        fixed = BLOCK.pack(
            BLOCK_MAGIC, len(payload), count, block_count, xxhash.xxh3_128_digest(payload), 0
        )[: -CRC.size]
        block = fixed + CRC.pack(zlib.crc32(fixed))
        chain.update(block)
        pieces += [block, payload]
        row_count, block_count = row_count + count, block_count + 1
    footer = FOOTER.pack(FOOTER_MAGIC, row_count, block_count, chain.digest(), 0)[: -CRC.size]
    return Body([*pieces, footer, CRC.pack(zlib.crc32(footer))], row_count)


def _pack_header(header: RangeHeader) -> bytes:
    deployment_id, epoch, sequence, number, start, end = header
    fixed = LAYOUT.pack(
        *(MAGIC, VERSION, 0, len(start), len(end), deployment_id, epoch, sequence, number, b"", 0)
    )[: -CRC.size]
    return fixed + CRC.pack(zlib.crc32(fixed + start + end)) + start + end


def _blocks(rows: Iterable[Row]) -> Iterator[tuple[int, bytes]]:
    pieces: list[bytes] = []
    size = count = 0
    for key, value in rows:
        pieces += [ROW.pack(len(key), len(value)), key, value]
        size += ROW.size + len(key) + len(value)
        count += 1
        if size >= BLOCK_BYTES:
            yield count, b"".join(pieces)
            pieces, size, count = [], 0, 0
    if count:
        yield count, b"".join(pieces)


def unpack_header(data: bytes) -> RangeHeader:
    """FormatError if it is not a range file, FormatUnknown if it is a later one."""
    if len(data) < LAYOUT.size:
        raise FormatError("range file: cut")
    magic, version, flags, start_bytes, end_bytes, *fields = LAYOUT.unpack_from(data)
    deployment_id, epoch, sequence, number, zero, crc = fields
    middle, end = LAYOUT.size + start_bytes, LAYOUT.size + start_bytes + end_bytes
    keys = data[LAYOUT.size : end]
    if magic != MAGIC or crc != zlib.crc32(data[: LAYOUT.size - CRC.size] + keys):
        raise FormatError("range file: magic or CRC mismatch")
    if version != VERSION or flags or any(zero):
        raise FormatUnknown(f"range file: version {version}, flags {flags}")
    start, stop = data[LAYOUT.size : middle], data[middle:end]
    return RangeHeader(deployment_id, epoch, sequence, number, start, stop)


def unpack(data: bytes) -> tuple[RangeHeader, Iterator[Row]]:
    """Header and rows; every byte is verified before the rows that depend on it are given."""
    header = unpack_header(data)
    offset = LAYOUT.size + len(header.start) + len(header.end)
    return header, _in_range(header, _rows(data, offset))


def _in_range(header: RangeHeader, rows: Iterator[Row]) -> Iterator[Row]:
    """A row that is another range's would be true as of another moment than its own range says."""
    last = b""
    for key, value in rows:
        if not (header.start <= key and last < key and (key < header.end or not header.end)):
            raise FormatError(f"range file: the row {key.hex()} is out of its range or its order")
        last = key
        yield key, value


def _rows(data: bytes, offset: int) -> Iterator[Row]:
    chain = xxhash.xxh3_128()
    row_count = block_count = 0
    while data[offset : offset + len(BLOCK_MAGIC)] == BLOCK_MAGIC:
        payload, count = _block(data, offset, block_count)
        chain.update(data[offset : offset + BLOCK.size])
        yield from _unpack_rows(payload, count)
        offset += BLOCK.size + len(payload)
        row_count, block_count = row_count + count, block_count + 1
    footer = data[offset:]
    if len(footer) != FOOTER.size:
        raise FormatError("range file: no footer where one belongs")
    magic, rows, blocks, digest, crc = FOOTER.unpack(footer)
    if magic != FOOTER_MAGIC or crc != zlib.crc32(footer[: -CRC.size]):
        raise FormatError("range file: footer magic or CRC mismatch")
    if (rows, blocks, digest) != (row_count, block_count, chain.digest()):
        raise FormatError("range file: blocks are not those that the footer names")


def _block(data: bytes, offset: int, expected: int) -> tuple[bytes, int]:
    fixed = data[offset : offset + BLOCK.size]
    if len(fixed) != BLOCK.size:
        raise FormatError("range file: cut")
    _, size, count, index, digest, crc = BLOCK.unpack(fixed)
    if crc != zlib.crc32(fixed[: -CRC.size]) or index != expected:
        raise FormatError(f"range file: header of block {expected} is damaged")
    payload = data[offset + BLOCK.size : offset + BLOCK.size + size]
    if len(payload) != size or xxhash.xxh3_128_digest(payload) != digest:
        raise FormatError(f"range file: block {expected} is damaged")
    return payload, count


def _unpack_rows(payload: bytes, count: int) -> Iterator[Row]:
    offset = 0
    for _ in range(count):
        key_bytes, value_bytes = ROW.unpack_from(payload, offset)
        middle = offset + ROW.size + key_bytes
        offset = middle + value_bytes
        yield payload[middle - key_bytes : middle], payload[middle:offset]
    if offset != len(payload):
        raise FormatError("range file: rows do not fill their block")
