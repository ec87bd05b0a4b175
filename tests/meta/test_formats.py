"""Every format of the metadata: golden bytes, docstring tables, and no flipped byte accepted."""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s3node.base.errors import FormatError, FormatUnknown
from s3node.meta import frame, index_seal, logscan, manifest, promise, rangefile, schema
from s3node.meta.frame import ORIGIN, Frame, Life, Position
from s3node.meta.logscan import Damage, FoundFrame
from s3node.meta.manifest import Manifest, Range
from s3node.meta.rangefile import RangeHeader

DEPLOYMENT = b"D" * 16
AT = Position(7, b"c" * 16)
ROWS: dict[bytes, bytes | None] = {b"put": b"value", b"delete": None, b"empty": b""}


def batch(after: Position = AT, rows: dict[bytes, bytes | None] = ROWS, epoch: int = 3) -> Frame:
    return frame.pack(
        frame.BATCH,
        frame.entries(rows),
        len(rows),
        after=after,
        deployment_id=DEPLOYMENT,
        epoch=epoch,
        time_ms=1_700_000_000_000,
        synced_through=after.sequence,
    )


def begin() -> Frame:
    life = Life(b"L" * 16, {0: b"0" * 16, 5: b"5" * 16})
    return frame.pack(
        frame.EPOCH,
        frame.life(life),
        len(life.members),
        after=AT,
        deployment_id=DEPLOYMENT,
        epoch=4,
        time_ms=1_700_000_000_000,
        synced_through=7,
    )


SEAL = index_seal.Seal(DEPLOYMENT, AT, 4096, b"d" * 16)
PROMISE = promise.Promise(DEPLOYMENT, 9, b"L" * 16)
RANGES = (
    Range(schema.JOURNALED_START, b"m", 3, 1, 400, b"d" * 16, AT),
    Range(b"m", b"", 3, 2, 0, bytes(16), AT),
)
MANIFEST = Manifest(DEPLOYMENT, 3, 12, Position(9, b"e" * 16), AT, RANGES)
RANGE = RangeHeader(DEPLOYMENT, 3, 7, 1, b"\x01", b"m")
RANGE_ROWS = [(b"a", b"1"), (b"b", b""), (b"c", b"3" * 40)]


def read_frame(data: bytes) -> Any:
    found = logscan.frame_at(data, 0, DEPLOYMENT)
    if isinstance(found, Damage):
        raise FormatError(found.reason)
    payload = data[frame.LAYOUT.size : found.end]
    if found.end != len(data):
        raise FormatError("bytes after the frame")
    if found.header.kind == frame.EPOCH:
        return frame.unpack_life(found.header, payload)
    return dict(frame.unpack_entries(found.header, payload))


def packed_range() -> bytes:
    return b"".join(rangefile.pack(RANGE, rangefile.pack_body(RANGE_ROWS)))


def read_range(data: bytes) -> Any:
    header, rows = rangefile.unpack(data)
    return header, list(rows)


# name -> bytes, how they are read, what they say
FORMATS: dict[str, tuple[bytes, Callable[[bytes], Any], Any]] = {
    "batch": (batch().data, read_frame, ROWS),
    "epoch": (begin().data, read_frame, Life(b"L" * 16, {0: b"0" * 16, 5: b"5" * 16})),
    "seal": (index_seal.pack(SEAL), index_seal.unpack, SEAL),
    "promise": (promise.pack(PROMISE), promise.unpack, PROMISE),
    "manifest": (manifest.pack(MANIFEST), manifest.unpack, MANIFEST),
    "range": (packed_range(), read_range, (RANGE, RANGE_ROWS)),
}
each = pytest.mark.parametrize("name", FORMATS)

GOLDEN = {
    "batch": (
        "73336e4652414d0a0100000001000000444444444444444444444444444444440300000000000000"
        "08000000000000000068e5cf8b01000007000000000000002b000000030000006363636363636363"
        "6363636363636363864928f3fb863881e0ae939b1db150ed00000000270defee0100030005000000"
        "70757476616c7565020006000000000064656c6574650100050000000000656d707479"
    ),
    "epoch": (
        "73336e4652414d0a0100000002000000444444444444444444444444444444440400000000000000"
        "08000000000000000068e5cf8b010000070000000000000040000000020000006363636363636363"
        "6363636363636363b06a5e1be85598d8aa69ef43e2b20b63000000000480347e4c4c4c4c4c4c4c4c"
        "4c4c4c4c4c4c4c4c0000000000000000303030303030303030303030303030300500000000000000"
        "35353535353535353535353535353535"
    ),
    "seal": (
        "73336e4958534c0a0100000000000000444444444444444444444444444444440700000000000000"
        "63636363636363636363636363636363001000000000000064646464646464646464646464646464"
        "0000000000000000000000003a89c004"
    ),
    "promise": (
        "73336e50524f4d0a0100000000000000444444444444444444444444444444440900000000000000"
        "4c4c4c4c4c4c4c4c4c4c4c4c4c4c4c4c00000000761c08f2"
    ),
    "manifest": (
        "73336e4d414e490a0100000002000000444444444444444444444444444444440300000000000000"
        "0c000000000000000900000000000000656565656565656565656565656565650700000000000000"
        "63636363636363636363636363636363830000000000000012b7a5bc1883c8e8a7cf597f3abddb75"
        "00000000bfcc740b0300000000000000010000000100010090010000000000006464646464646464"
        "6464646464646464070000000000000063636363636363636363636363636363016d030000000000"
        "00000200000001000000000000000000000000000000000000000000000000000000070000000000"
        "0000636363636363636363636363636363636d"
    ),
    "range": (
        "73336e52414e470a0100000001000100444444444444444444444444444444440300000000000000"
        "07000000000000000100000000000000000000009f842399016d73336e423e000000030000000000"
        "000073b864d09a66069496f683189dc941056e5deeb0010001000000613101000000000062010028"
        "00000063333333333333333333333333333333333333333333333333333333333333333333333333"
        "3333333373336e52454e440a03000000000000000100000099914ae0540fd52cf867db717bc5fd37"
        "09917f3b"
    ),
}


@each
def test_golden_bytes(name: str) -> None:
    data, read, says = FORMATS[name]
    assert data.hex() == GOLDEN[name]
    assert read(data) == says


@each
def test_no_flipped_or_missing_byte_is_accepted(name: str) -> None:
    data, read, _ = FORMATS[name]
    for index in range(len(data)):
        for mask in (1, 0x80, 0xFF):
            flipped = bytearray(data)
            flipped[index] ^= mask
            with pytest.raises(FormatError):
                read(bytes(flipped))
    for length in range(len(data)):
        with pytest.raises(FormatError):
            read(data[:length])
    with pytest.raises(FormatError):
        read(data + b"\x00")


@pytest.mark.parametrize(
    ("data", "read", "crc_at"),
    [
        (batch().data, read_frame, 108),
        (index_seal.pack(SEAL), index_seal.unpack, 92),
        (promise.pack(PROMISE), promise.unpack, 60),
        (manifest.pack(MANIFEST), manifest.unpack, 124),
    ],
    ids=["frame", "seal", "promise", "manifest"],
)
@pytest.mark.parametrize("offset", [8, 10])
def test_a_later_version_or_flag_is_refused_as_such(
    data: bytes, read: Callable[[bytes], Any], crc_at: int, offset: int
) -> None:
    later = bytearray(data)
    later[offset] += 1
    later[crc_at : crc_at + 4] = struct.pack("<I", zlib.crc32(later[:crc_at]))
    with pytest.raises(FormatUnknown):
        read(bytes(later))


SIZES = {"B": 1, "H": 2, "I": 4, "Q": 8}


def fields(layout: struct.Struct) -> Iterator[tuple[int, int]]:
    """(offset, size) of every field."""
    offset = 0
    for count, kind in re.findall(r"(\d*)([a-zA-Z])", layout.format):
        sizes = [int(count)] if kind == "s" else [SIZES[kind]] * int(count or 1)
        for size in sizes:
            yield offset, size
            offset += size


def table(module: ModuleType, heading: str) -> list[tuple[int, int]]:
    """(offset, size) as the docstring's table says."""
    text = (module.__doc__ or "").split(heading, 1)[1].split("\n\n", 1)[0]
    return [(int(a), int(b)) for a, b in re.findall(r"^(\d+) +(\d+) ", text, re.MULTILINE)]


@pytest.mark.parametrize(
    ("module", "heading", "layout"),
    [
        (frame, "header field", frame.LAYOUT),
        (index_seal, "field", index_seal.LAYOUT),
        (promise, "field", promise.LAYOUT),
        (manifest, "header field", manifest.LAYOUT),
        (rangefile, "header field", rangefile.LAYOUT),
        (rangefile, "block field", rangefile.BLOCK),
        (rangefile, "footer field", rangefile.FOOTER),
    ],
)
def test_docstring_tables_are_the_layouts(
    module: ModuleType, heading: str, layout: struct.Struct
) -> None:
    assert table(module, heading) == list(fields(layout))


chains = st.lists(
    st.dictionaries(st.binary(min_size=1, max_size=9), st.binary(max_size=99)),
    min_size=1,
    max_size=8,
)


def chained(contents: list[dict[bytes, bytes]]) -> list[Frame]:
    frames: list[Frame] = []
    for rows in contents:
        frames.append(batch(frames[-1].position if frames else ORIGIN, dict(rows)))
    return frames


@given(contents=chains, start=st.integers(0, 3000), bad=st.binary(max_size=300), room=st.booleans())
def test_a_scan_finds_every_undamaged_frame(
    contents: list[dict[bytes, bytes]], start: int, bad: bytes, room: bool
) -> None:
    frames = chained(contents)
    data = bytearray(b"".join(one.data for one in frames))
    start = min(start, len(data))
    stop = min(start + len(bad), len(data))
    before = bytes(data)
    data[start:stop] = bad[: stop - start]
    touched = [i for i in range(start, stop) if before[i] != data[i]]
    found = list(logscan.scan(bytes(data) + bytes(512 * room), DEPLOYMENT))
    whole, offset = [], 0
    for one in frames:
        if not any(offset <= i < offset + len(one.data) for i in touched):
            whole.append(one.position)
        offset += len(one.data)
    assert [item.position for item in found if isinstance(item, FoundFrame)] == whole
    damaged = sum(isinstance(item, Damage) for item in found)
    assert (damaged > 0) == bool(touched) or all(data[i] == 0 for i in touched)


def test_frames_inside_a_payload_are_not_found() -> None:
    inner = batch(AT, {b"x": b"y"}, epoch=99)
    outer = batch(AT, {b"inline": inner.data})
    after = batch(outer.position, {b"z": b""})
    data = bytearray(outer.data + after.data)
    scanned = [
        item.position
        for item in logscan.scan(bytes(data), DEPLOYMENT)
        if isinstance(item, FoundFrame)
    ]
    assert scanned == [outer.position, after.position]
    data[frame.LAYOUT.size + 4] ^= 1
    items = list(logscan.scan(bytes(data), DEPLOYMENT))
    assert isinstance(items[0], Damage)
    assert items[0].sequence == outer.position.sequence
    assert [i.position for i in items if isinstance(i, FoundFrame)] == [after.position]
