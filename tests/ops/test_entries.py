"""Entries of listings: what C writes of a row is what Python writes, and it refuses the rest."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from s3node.ops._entry import entry

from s3node.base.errors import FormatError, FormatUnknown
from s3node.meta import schema, tables, values
from s3node.model.rows import Checksum, Data, VersionRow
from s3node.ops import answers
from s3node.ops.entries import HIDDEN, Entries
from s3node.s3 import documents
from s3node.s3.documents import Contents, Owner

ROOT = Path(__file__).resolve().parents[2]
OWNER = Owner("id&", "<name>")
STORED = schema.leaf(schema.VERSIONS, b"B" * 8, b"key", b"V" * 16)
LAST_MS = int(datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC).timestamp() * 1000)

KEY = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=60)
ASCII = st.text(st.characters(max_codepoint=0x7F), max_size=40)
NUMBER = st.integers(0, 2**64 - 1) | st.integers(0, 300) | st.integers(65_530, 65_540)
DATA = st.builds(Data, st.binary(max_size=16), NUMBER, NUMBER)
PAIRS = st.lists(st.tuples(ASCII, st.text(max_size=300)), max_size=3).map(tuple)
ROWS = st.builds(
    VersionRow,
    hlc=NUMBER,
    modified_ms=st.integers(0, LAST_MS),
    size=NUMBER,
    etag=ASCII,
    digest=st.binary(max_size=16),
    delete_marker=st.integers(0, 9).map(lambda number: number == 0),
    inline=st.none() | st.binary(max_size=300) | st.just(bytes(70_000)),
    data=st.lists(DATA, max_size=20).map(tuple),
    headers=PAIRS,
    checksum=st.none() | st.builds(Checksum, ASCII.filter(bool), st.binary(), st.booleans()),
    storage_class=ASCII,
)


def plainly(key: str, row: VersionRow, owner: Owner | None, encoding: str) -> bytes:
    if row.delete_marker:
        return HIDDEN
    checksum = row.checksum
    item = Contents(key, row.modified_ms, row.etag, row.size, row.storage_class)
    if checksum:
        item = item._replace(
            checksum_algorithm=checksum.algorithm, checksum_type=answers.checksum_kind(checksum)
        )
    return documents.contents(item, documents.owner_element(owner), encoding).encode()


def in_c(key: str, value: bytes, owner: Owner | None = None, encoding: str = "") -> bytes | None:
    shown = documents.owner_element(owner).encode()
    written: bytes | None = entry(STORED, key.encode(), value, shown, encoding == "url")
    return written


@given(KEY, ROWS, st.sampled_from([None, OWNER]), st.sampled_from(["", "url"]))
def test_what_c_writes_is_what_python_writes(
    key: str, row: VersionRow, owner: Owner | None, encoding: str
) -> None:
    value = tables.encode(STORED, row)
    assert in_c(key, value, owner, encoding) == plainly(key, row, owner, encoding)
    assert Entries(owner, encoding).write(key.encode(), STORED, value) == plainly(
        key, row, owner, encoding
    )


@pytest.mark.parametrize("year", [1970, 1972, 1999, 2000, 2100, 2400, 9999])
def test_every_day_of_a_year(year: int) -> None:
    first = int(datetime(year, 1, 1, tzinfo=UTC).timestamp())
    for day in range(365 + (year < 9999)):
        row = VersionRow(1, (first + day * 86_400 + 43_261 + day) * 1000 + 999, 0, "", b"")
        assert in_c("k", tables.encode(STORED, row)) == plainly("k", row, None, "")


@given(ROWS)
def test_older_rows_have_fewer_fields(row: VersionRow) -> None:
    fields = msgspec.msgpack.decode(msgspec.msgpack.encode(row))
    for count in range(len(fields) + 1):
        value = values.seal(STORED, msgspec.msgpack.encode(fields[:count]))
        try:
            older = tables.decode_version(b"k", STORED, value)
        except FormatError:
            assert in_c("k", value) is None
        else:
            assert in_c("k", value) == plainly("k", older, None, "")


ROW = VersionRow(1, 2, 3, "etag", b"d" * 16, checksum=Checksum("CRC32", b"1234"))


def test_a_flipped_bit_or_a_shorter_value_is_a_format_error() -> None:
    value = tables.encode(STORED, ROW)
    write = Entries(None, "").write
    damaged = [value[:end] for end in range(len(value))]
    for at in range(len(value) * 8):
        flipped = bytearray(value)
        flipped[at // 8] ^= 1 << at % 8
        damaged.append(bytes(flipped))
    for each in damaged:
        with pytest.raises(FormatError):
            write(b"k", STORED, each)
    with pytest.raises(FormatError):
        write(b"k", STORED[:-1] + b"W", value)


@given(st.integers(0, 16), st.sampled_from([None, True, -1, 2**40, "é", "x", b"x", [], [1], {}]))
def test_a_field_of_another_kind_is_never_an_entry_that_python_does_not_write(
    at: int, wrong: object
) -> None:
    fields = msgspec.msgpack.decode(msgspec.msgpack.encode(ROW))
    fields[at] = wrong
    value = values.seal(STORED, msgspec.msgpack.encode(fields))
    shown = {1, 2, 3, 7, 12, 16}
    try:
        row = tables.decode_version(b"k", STORED, value)
    except FormatError:
        assert at not in shown or in_c("k", value) is None
    else:
        assert in_c("k", value) in {None, plainly("k", row, None, "")}


def test_a_row_of_a_later_release_is_refused() -> None:
    value = tables.encode(STORED, ROW)
    later = values.seal(STORED, value[1:-4]).replace(b"\x01", b"\x02", 1)
    later = later[:-4] + values._CRC.pack(values.zlib.crc32(later[:-4], values.zlib.crc32(STORED)))
    with pytest.raises(FormatUnknown):
        Entries(None, "").write(b"k", STORED, later)


@pytest.mark.parametrize("row", [ROW, msgspec.structs.replace(ROW, delete_marker=True)])
def test_what_c_cannot_hold_is_written_in_python(row: VersionRow) -> None:
    long = msgspec.structs.replace(row, etag="é" * 20_000)
    value = tables.encode(STORED, long)
    assert in_c("k", value) is None
    assert Entries(OWNER, "url").write(b"k", STORED, value) == plainly("k", long, OWNER, "url")


def test_it_takes_bytes_alone() -> None:
    value = tables.encode(STORED, ROW)
    good = [STORED, b"k", value, b"", False]
    assert entry(*good)
    for at in range(4):
        with pytest.raises(TypeError):
            entry(*good[:at], "text", *good[at + 1 :])
    with pytest.raises(TypeError):
        entry(*good[:4])


def test_the_c_program_under_sanitizers(tmp_path: Path) -> None:
    parts = ("csrc/crc32.c", "csrc/entry.c", "csrc/version_row.c", "tests/c/entry_test.c")
    sources = [ROOT / part for part in parts]
    options = ["-std=c11", "-O1", "-g", "-Wall", "-Wextra", "-Werror", f"-I{ROOT / 'csrc'}"]
    options += ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    program = tmp_path / "entry_test"
    subprocess.run(["gcc", *options, *sources, "-o", program], check=True, timeout=120)
    done = subprocess.run([program], check=True, capture_output=True, text=True, timeout=60)
    assert int(done.stdout.split()[0]) > 20
    assert int(done.stdout.split()[2]) > 200
