"""The record: one shard, described from its own bytes (I4).

header (128) · digests (8 each) · payload · hint · zeros up to a multiple of 8.

====== ==== ============= ===============================================================
offset size field         the fault it defends against
====== ==== ============= ===============================================================
0      8    magic         anything else; where to resume after damage
8      2    version       a later release's format
10     2    flags         a later release's options (encryption); none are defined
12     1    k             decoding with another geometry than it was coded with
13     1    m             the same
14     1    code          the same; 1 is Cauchy over 0x11d
15     1    shard index   a shard taken for another one of its stripe
16     16   data id       a record of other bytes at this place
32     16   disk id       a record copied to, or written by way of, another disk
48     8    segment id    a misdirected write, a record within a payload, a reused file
56     8    offset        the same: the offset of this record in its segment
64     8    stripe offset a lost index: where the stripe begins within the data
72     8    sequence      an index that is behind: the last journal sequence committed then
80     4    stripe index  a stripe taken for another one of its data
84     4    stripe bytes  returning padding as data
88     4    payload bytes a length changed by damage (also bounded before it is believed)
92     2    digest count  the same; as many as the payload has blocks
94     1    block bits    a release with other blocks: 2 to this power is a block's size
95     1    reserved a    zero
96     2    hint bytes    a length changed by damage
98     2    reserved b    zero
100    16   key id        reserved: which key the payload is encrypted with; zero
116    4    hint crc      a damaged hint; CRC-32 of the hint
120    4    digest crc    a damaged digest taken for a damaged payload; CRC-32 of the digests
124    4    crc           bit rot and torn writes; CRC-32 of all bytes before
====== ==== ============= ===============================================================

Little-endian. The payload has ceil(stripe bytes / k) bytes; the last data shards are padded with
zeros. Digests are XXH3-64, seed 0, little-endian, one for each block of the payload (2 to the
power of the block bits; the last may be short). The stripe offset is the stripe index times the
data's stripe bytes. The hint is reserved for salvage (bucket, key, version), and never proof;
this release writes none, its length is 0.
The payload begins at a place that follows from its length alone, so a range is read at once.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from typing import NamedTuple

import xxhash

from s3node.base.errors import FormatError, FormatUnknown
from s3node.base.filesystem import Buffer
from s3node.base.ids import DATA_ID_BYTES
from s3node.base.limits import DISKS_MAX, KIB, MIB
from s3node.store import checked
from s3node.store.seams import Records, Shard

MAGIC = b"s3nRECD\n"
VERSION = 1
LAYOUT = struct.Struct("<8sHH4B16s16sQQQQIIIHBBHH16sIII")
HEADER_BYTES = 128
CRC_AT = HEADER_BYTES - checked.CRC_BYTES
assert LAYOUT.size == HEADER_BYTES
# What records of one stripe do not have in common: the fields from the shard index to the offset,
# and the last two.
_OWN_AT = struct.calcsize("<8sHH3B")
_OWN = struct.Struct("<B16s16sQQ")
_CRCS = struct.Struct("<II")
# What a read compares a record with in C, which knows the format too (csrc/record.c).
CLAIM = struct.Struct("<4B3I16s16s4Q")
DIGEST_BYTES = 8
BLOCK_BITS = 16
BLOCK_BYTES = 1 << BLOCK_BITS
PAYLOAD_BYTES_MAX = 64 * MIB
HINT_BYTES_MAX = 4 * KIB
ALIGN = 8  # records begin at multiples of this

assert PAYLOAD_BYTES_MAX >> BLOCK_BITS < 1 << 16, "the digest count has 16 bits"
assert HINT_BYTES_MAX < 1 << 16, "the hint length has 16 bits"

_NO_KEY = bytes(16)


class RecordHeader(NamedTuple):
    """A header as unpacked; `crc` is its own, already checked."""

    k: int
    m: int
    code: int
    shard_index: int
    data_id: bytes
    disk_id: bytes
    segment: int
    offset: int
    stripe_offset: int
    sequence: int
    stripe_index: int
    stripe_bytes: int
    payload_bytes: int
    digest_count: int
    hint_bytes: int
    hint_crc: int
    digest_crc: int
    crc: int


def block_count(payload_bytes: int) -> int:
    """Blocks of a payload, and so its digests."""
    return (payload_bytes + BLOCK_BYTES - 1) >> BLOCK_BITS


def block_digests(payload: Buffer) -> tuple[int, ...]:
    """XXH3-64 of each block of a payload; packed, the `digests` of its `Shard`."""
    view = memoryview(payload)
    digest = xxhash.xxh3_64_intdigest
    return tuple(digest(view[at : at + BLOCK_BYTES]) for at in range(0, len(view), BLOCK_BYTES))


def payload_start(payload_bytes: int) -> int:
    """Where the payload begins within its record."""
    return HEADER_BYTES + DIGEST_BYTES * block_count(payload_bytes)


def record_bytes(payload_bytes: int, hint_bytes: int = 0) -> int:
    """Size of a whole record, padding included."""
    return padded(payload_start(payload_bytes) + payload_bytes + hint_bytes)


def padded(size: int) -> int:
    """`size` rounded up to where the next record may begin."""
    return (size + ALIGN - 1) & -ALIGN


def pack_digests(digests: Sequence[int]) -> bytes:
    return struct.pack(f"<{len(digests)}Q", *digests)


def unpack_digests(data: Buffer) -> tuple[int, ...]:
    return struct.unpack(f"<{len(data) // DIGEST_BYTES}Q", data)


def assert_packable(records: Records) -> None:
    """AssertionError unless a record can say all this: asked before one is queued."""
    shard, payloads, payload_bytes, hint = records
    n = shard.k + shard.m
    assert 0 < payload_bytes <= PAYLOAD_BYTES_MAX, "payload size out of bounds"
    count, rest = divmod(len(payloads), payload_bytes)
    assert count and not rest, "payloads are equally long"
    digests = count * block_count(payload_bytes)
    assert len(shard.digests) == digests * DIGEST_BYTES, "one digest per block"
    assert len(hint) <= HINT_BYTES_MAX, "hint too long"
    assert 1 <= shard.k <= n <= DISKS_MAX, "geometry out of bounds"
    assert 0 <= shard.shard_index <= n - count, "no such shard"
    assert 0 <= shard.code < 1 << 8, "code out of bounds"
    assert 0 <= shard.stripe_index < 1 << 32, "stripe index out of bounds"
    assert 0 <= shard.stripe_offset < 1 << 64, "stripe offset out of bounds"
    assert 0 <= shard.stripe_bytes <= shard.k * payload_bytes, (
        "the stripe is larger than its shards"
    )
    assert shard.stripe_bytes < 1 << 32, "stripe too large"
    assert len(shard.data_id) == DATA_ID_BYTES, "not a data id"


class Heads:
    """Headers with digests of a stripe's records: what they have in common is packed once.

    `common` is a header with just that, and the first payload's shard index: what csrc/record.c
    makes the others of. Of records that `assert_packable` let through.
    """

    __slots__ = ("_before", "_behind", "_data_id", "_digest_bytes", "_first", "common", "digests")

    def __init__(self, records: Records, sequence: int) -> None:
        stripe, _, payload_bytes, hint = records
        blocks = block_count(payload_bytes)
        common = LAYOUT.pack(
            MAGIC,
            VERSION,
            0,
            stripe.k,
            stripe.m,
            stripe.code,
            stripe.shard_index,
            stripe.data_id,
            b"",
            0,
            0,
            stripe.stripe_offset,
            sequence,
            stripe.stripe_index,
            stripe.stripe_bytes,
            payload_bytes,
            blocks,
            BLOCK_BITS,
            0,
            len(hint),
            0,
            _NO_KEY,
            zlib.crc32(hint),
            0,
            0,
        )
        self.common = common
        self._before, self._behind = common[:_OWN_AT], common[_OWN_AT + _OWN.size : -_CRCS.size]
        self._data_id = stripe.data_id
        self._first = stripe.shard_index
        self.digests = stripe.digests
        self._digest_bytes = DIGEST_BYTES * blocks

    @property
    def size(self) -> int:
        """Of one record's."""
        return HEADER_BYTES + self._digest_bytes

    def pack(self, shard_index: int, disk_id: bytes, segment: int, offset: int) -> bytes:
        """Of one record: to be followed by payload, hint and padding."""
        assert offset % ALIGN == 0, "records are aligned"
        at = (shard_index - self._first) * self._digest_bytes
        digests = self.digests[at : at + self._digest_bytes]
        own = _OWN.pack(shard_index, self._data_id, disk_id, segment, offset)
        crc = zlib.crc32(digests).to_bytes(checked.CRC_BYTES, "little")
        head = self._before + own + self._behind + crc
        return head + zlib.crc32(head).to_bytes(checked.CRC_BYTES, "little") + digests


def claim(
    shard: Shard, index: int, payload_bytes: int, disk_id: bytes, segment: int, offset: int, at: int
) -> bytes:
    """What the C engine compares a record with (record_claim in csrc/record.h).

    `index` counts, and not the shard's own; `at` is where in the payload the blocks begin.
    """
    return CLAIM.pack(
        shard.k,
        shard.m,
        shard.code,
        index,
        shard.stripe_index,
        shard.stripe_bytes,
        payload_bytes,
        shard.data_id,
        disk_id,
        segment,
        offset,
        shard.stripe_offset,
        at >> BLOCK_BITS,
    )


def unpack(data: bytes) -> RecordHeader:
    """The fixed header. FormatError if it is not one, FormatUnknown if it is a later one.

    What it answers is within bounds and agrees with itself.
    """
    checked.check(data, HEADER_BYTES, MAGIC, VERSION, "record")
    fields = LAYOUT.unpack(data[:HEADER_BYTES])
    block_bits, hint_bytes, key_id = fields[17], fields[19], fields[21]
    if block_bits != BLOCK_BITS or key_id != _NO_KEY:
        raise FormatUnknown(f"record: block bits {block_bits}, key id {key_id.hex()}")
    header = RecordHeader._make((*fields[3:17], hint_bytes, *fields[22:]))
    if not _plausible(header):
        raise FormatError(f"record: impossible header {header}")
    return header


def _plausible(header: RecordHeader) -> bool:
    n = header.k + header.m
    return (
        1 <= header.k <= n <= DISKS_MAX
        and header.shard_index < n
        and 0 < header.payload_bytes <= PAYLOAD_BYTES_MAX
        and header.digest_count == block_count(header.payload_bytes)
        and header.hint_bytes <= HINT_BYTES_MAX
        and header.stripe_bytes <= header.k * header.payload_bytes
        and header.offset % ALIGN == 0
    )


def says(header: RecordHeader, shard: Shard) -> bool:
    """Whether the header describes this very shard (its digests are not looked at)."""
    return (
        header.data_id == shard.data_id
        and header.stripe_index == shard.stripe_index
        and header.shard_index == shard.shard_index
        and header.k == shard.k
        and header.m == shard.m
        and header.code == shard.code
        and header.stripe_bytes == shard.stripe_bytes
        and header.stripe_offset == shard.stripe_offset
    )
