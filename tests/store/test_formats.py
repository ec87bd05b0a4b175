"""Every format on disk: its table, its golden bytes, and what it refuses."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from types import ModuleType
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s3node.base.errors import FormatError, FormatUnknown
from s3node.store import checked, epoch, identity, record, seal, segment
from s3node.store.seams import Shard
from tests.store.world import pack_record


class Format(NamedTuple):
    module: ModuleType
    value: Any
    pack: Callable[[Any], bytes]
    unpack: Callable[[bytes], Any]


DEPLOYMENT, DISK, LIFE, DATA = (bytes([n]) * 16 for n in (0xA1, 0xB2, 0xC3, 0xD4))
SHARD = Shard(DATA, 7, 3, 4, 2, 1, 1000, 28000, bytes.fromhex("8877665544332211"))


def packed_record() -> bytes:
    return pack_record(SHARD, 250, DISK, (0x5000001, 4096), 99, b"hint")


FORMATS = {
    "identity": Format(
        identity,
        identity.Identity(DEPLOYMENT, DISK, 5, 12, 1_700_000_000_000),
        identity.pack,
        identity.unpack,
    ),
    "epoch": Format(
        epoch,
        epoch.Epoch(9, LIFE, DISK, 4),
        epoch.pack,
        epoch.unpack,
    ),
    "segment": Format(
        segment,
        segment.SegmentHeader(DEPLOYMENT, DISK, 0x5000001, 5, 1_700_000_000_000),
        segment.pack,
        segment.unpack,
    ),
    "seal": Format(seal, seal.Seal(DISK, 0x5000001, 4096, 11, 0xDEADBEEF), seal.pack, seal.unpack),
}


@pytest.mark.parametrize("module", [identity, epoch, segment, seal, record])
def test_the_table_is_the_struct(module: ModuleType) -> None:
    rows = re.findall(r"^(\d+) +(\d+) +(\w+(?: \w+)?)  *", module.__doc__ or "", re.MULTILINE)
    tokens = re.findall(r"\d*[a-zA-Z]", module.LAYOUT.format.lstrip("<"))
    sizes = []
    for token in tokens:
        count, kind = token[:-1], token[-1]
        sizes += [int(count)] if kind == "s" else [struct.calcsize("<" + kind)] * int(count or 1)
    assert [int(size) for _, size, _ in rows] == sizes
    offsets = [sum(sizes[:index]) for index in range(len(sizes))]
    assert [int(offset) for offset, _, _ in rows] == offsets
    assert module.LAYOUT.size == sum(sizes)


@pytest.mark.parametrize("name", FORMATS)
def test_round_trip_and_golden_bytes(name: str) -> None:
    one = FORMATS[name]
    packed = one.pack(one.value)
    assert one.unpack(packed) == one.value
    assert len(packed) == one.module.LAYOUT.size
    assert squeeze(packed) == GOLDEN[name]


def test_golden_record() -> None:
    packed = packed_record()
    assert squeeze(packed) == GOLDEN["record"]
    header = record.unpack(packed)
    assert record.says(header, SHARD)
    assert (header.disk_id, header.segment, header.offset) == (DISK, 0x5000001, 4096)
    assert (header.sequence, header.payload_bytes, header.hint_bytes) == (99, 250, 4)
    assert packed[record.HEADER_BYTES :] == SHARD.digests


def squeeze(packed: bytes) -> str:
    """Hex, with runs of at least 16 zero bytes as their count in brackets."""
    return re.sub(r"(?:00){16,}", lambda run: f"[{len(run[0]) // 2}]", packed.hex())


GOLDEN = {
    "identity": (
        "73336e4449534b0a0100000005000c00a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1"
        "b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b20068e5cf8b01000000000000f61be5cc"
    ),
    "epoch": (
        "73336e45504f430a010000000000000009000000000000000400000000000000"
        "c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2"
        "[444]07a031eb"
    ),
    "segment": (
        "73336e5345474d0a0100000000000000a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1"
        "b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b201000005000000000500000000000000"
        "0068e5cf8b01[438]c17f89c1"
    ),
    "seal": (
        "73336e5345414c0a010000000b000000b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2"
        "010000050000000000100000000000000000000000000000efbeadde087f4047"
    ),
    "record": (
        "73336e524543440a0100000004020103d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4"
        "b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b201000005000000000010000000000000"
        "606d000000000000630000000000000007000000e8030000fa00000001001000"
        "04[19]5303c6342ef1341d850761da8877665544332211"
    ),
}

PACKED = {name: (one.pack(one.value), one.unpack) for name, one in FORMATS.items()} | {
    "record": (packed_record()[: record.HEADER_BYTES], record.unpack)
}


@pytest.mark.parametrize("name", PACKED)
def test_every_flipped_bit_is_noticed(name: str) -> None:
    packed, unpack = PACKED[name]
    for bit in range(len(packed) * 8):
        damaged = bytearray(packed)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(FormatError) as raised:
            unpack(bytes(damaged))
        assert not isinstance(raised.value, FormatUnknown), "damage is not a later release"


@pytest.mark.parametrize("name", PACKED)
@pytest.mark.parametrize("field", ["version", "flags"])
def test_a_later_release_is_refused(name: str, field: str) -> None:
    packed, unpack = PACKED[name]
    later = bytearray(packed)
    later[8 if field == "version" else 10] += 1
    with pytest.raises(FormatUnknown):
        unpack(checked.finish(bytes(later)))


@pytest.mark.parametrize("name", PACKED)
def test_short_or_strange_bytes_are_refused(name: str) -> None:
    packed, unpack = PACKED[name]
    for length in range(len(packed)):
        with pytest.raises(FormatError):
            unpack(packed[:length])
    with pytest.raises(FormatError):
        unpack(bytes(len(packed)))


@given(st.binary(min_size=1, max_size=600))
def test_no_bytes_are_taken_for_a_format(data: bytes) -> None:
    for _, unpack in PACKED.values():
        with pytest.raises(FormatError):
            unpack(data)


U8, U32, U64 = (st.integers(0, (1 << bits) - 1) for bits in (8, 32, 64))
ID = st.binary(min_size=16, max_size=16)


@given(
    data_id=ID,
    disk=ID,
    stripe_index=U32,
    geometry=st.integers(1, 16).flatmap(lambda k: st.tuples(st.just(k), st.integers(0, 16 - k))),
    index=st.integers(0, 15),
    code=U8,
    payload_bytes=st.integers(1, 300_000),
    stripe_offset=U64,
    place=st.tuples(U64, st.integers(0, (1 << 61) - 1)),
    sequence=U64,
    hint=st.binary(max_size=100),
)
def test_records_round_trip(
    data_id: bytes,
    disk: bytes,
    stripe_index: int,
    geometry: tuple[int, int],
    index: int,
    code: int,
    payload_bytes: int,
    stripe_offset: int,
    place: tuple[int, int],
    sequence: int,
    hint: bytes,
) -> None:
    k, m = geometry
    digests = tuple(range(record.block_count(payload_bytes)))
    shard = Shard(
        data_id,
        stripe_index,
        index % (k + m),
        k,
        m,
        code,
        k * payload_bytes,
        stripe_offset,
        record.pack_digests(digests),
    )
    at = place[0], place[1] * 8
    packed = pack_record(shard, payload_bytes, disk, at, sequence, hint)
    header = record.unpack(packed)
    assert record.says(header, shard)
    assert (header.disk_id, header.segment, header.offset) == (disk, *at)
    assert (header.payload_bytes, header.sequence) == (payload_bytes, sequence)
    assert header.hint_bytes == len(hint)
    assert record.unpack_digests(packed[record.HEADER_BYTES :]) == digests
    assert len(packed) == record.payload_start(payload_bytes)


def test_impossible_headers_are_refused() -> None:
    packed = packed_record()[: record.HEADER_BYTES]
    for offset, size, value in [
        (12, 1, 0),  # k
        (13, 1, 15),  # m
        (15, 1, 6),  # shard index
        (56, 8, 4097),  # offset
        (84, 4, 1001),  # stripe bytes
        (88, 4, 0),  # payload bytes
        (88, 4, record.PAYLOAD_BYTES_MAX + 1),
        (92, 2, 2),  # digest count
        (96, 2, record.HINT_BYTES_MAX + 1),
    ]:
        changed = bytearray(packed)
        changed[offset : offset + size] = value.to_bytes(size, "little")
        with pytest.raises(FormatError) as raised:
            record.unpack(checked.finish(bytes(changed)))
        assert not isinstance(raised.value, FormatUnknown)
    for offset in (94, 100):  # block bits, key id
        changed = bytearray(packed)
        changed[offset] += 1
        with pytest.raises(FormatUnknown):
            record.unpack(checked.finish(bytes(changed)))


def test_block_digests_are_xxh3_of_each_block() -> None:
    # XXH3-64 with seed 0 of nothing and of "a", from the algorithm's own test vectors
    assert record.block_digests(b"") == ()
    assert record.block_digests(b"a") == (0xE6C632B61E964E1F,)
    payload = bytes(range(256)) * 300
    first, second = record.block_digests(memoryview(payload))
    assert record.block_digests(payload[: record.BLOCK_BYTES]) == (first,)
    assert record.block_digests(payload[record.BLOCK_BYTES :]) == (second,)


def test_segment_names() -> None:
    assert segment.file_name(0x5000001) == "0000000005000001.seg"
    assert segment.segment_of("0000000005000001.seg") == 0x5000001
    for name in ("5000001.seg", "0000000005000001", "000000000500000G.seg", "x.tmp", ""):
        assert segment.segment_of(name) is None
