"""The key schema and the tables: exact order, subtrees that come and go, rows with a CRC (I12)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from s3node.base.errors import FormatError, FormatUnknown
from s3node.base.limits import OBJECT_KEY_BYTES_MAX
from s3node.meta import schema, subtree, tables, values
from s3node.meta.kv import KEY_BYTES_MAX, ReadTx
from s3node.meta.memory import MemoryKv
from s3node.model.rows import (
    BucketRow,
    DeathRow,
    Location,
    LocationRow,
    OwedRow,
    PartRow,
    Stripe,
    UploadRow,
    VersionRow,
)

BUCKET = b"\x07" * 8
OTHER = b"\x08" * 8


def version(etag: str = "e") -> VersionRow:
    return VersionRow(hlc=1, modified_ms=2, size=3, etag=etag, digest=b"d" * 16)


def write(kv: MemoryKv, fn: Callable[[Any], Any]) -> Any:
    return asyncio.run(kv.write(fn))


def rows(tx: ReadTx) -> list[tuple[bytes, bytes]]:
    return list(tx.scan(b"", schema.KEYS_END))


HEAD = schema.HEAD_BYTES
# Long keys that share prefixes around the places where a path descends.
stems = st.sampled_from([0, 1, HEAD - 1, HEAD, HEAD + 1, 2 * HEAD - 1, 2 * HEAD, 2 * HEAD + 1])
letters = st.sampled_from([b"\x01", b"a", b"b", b"\x7f", "ÿ".encode(), "\U0010ffff".encode()])
object_keys = st.builds(
    lambda stem, letter, rest: (letter * stem)[:stem] + b"".join(rest),
    stems,
    st.sampled_from([b"a", b"\x01", b"\x7f"]),
    st.lists(letters, max_size=4),
).filter(lambda key: 0 < len(key) <= OBJECT_KEY_BYTES_MAX)
ids = st.sampled_from([bytes([n]) * 16 for n in (0, 1, 2, 128, 255)])


@settings(max_examples=150, deadline=None)
@given(
    puts=st.lists(st.tuples(object_keys, ids), min_size=1, max_size=25),
    drops=st.sets(st.integers(0, 24)),
    start=object_keys,
    start_id=ids,
)
def test_rows_lie_in_exact_key_order(
    puts: list[tuple[bytes, bytes]], drops: set[int], start: bytes, start_id: bytes
) -> None:
    kv = MemoryKv()
    for key, version_id in puts:
        write(kv, lambda tx, k=key, v=version_id: tables.put_version(tx, BUCKET, k, v, version()))
        write(kv, lambda tx, k=key: tables.put_upload(tx, OTHER, k, b"u" * 16, UploadRow(1, "o")))
    dropped = {put for index, put in enumerate(puts) if index in drops}
    for key, version_id in dropped:
        write(kv, lambda tx, k=key, v=version_id: tables.delete_version(tx, BUCKET, k, v))
    expected = sorted(set(puts) - dropped)

    def check(tx: ReadTx) -> None:
        scanned = [found[:2] for found in tables.scan_versions(tx, BUCKET)]
        assert scanned == expected
        later = [found[:2] for found in tables.scan_versions(tx, BUCKET, start)]
        assert later == [put for put in expected if put[0] >= start]
        there = [found[:2] for found in tables.scan_versions(tx, BUCKET, start, start_id)]
        assert there == [put for put in expected if put >= (start, start_id)]
        for key, version_id in puts:
            row = tables.get_version(tx, BUCKET, key, version_id)
            assert (row is not None) == ((key, version_id) in expected)
            newest = [v for k, v in expected if k == key]
            current = tables.current_version(tx, BUCKET, key)
            assert (current and current[0]) == (newest[0] if newest else None)
        assert all(len(key) <= KEY_BYTES_MAX for key, _ in rows(tx))

    kv.read(check)
    for key, version_id in set(puts):
        write(kv, lambda tx, k=key, v=version_id: tables.delete_version(tx, BUCKET, k, v))
        write(kv, lambda tx, k=key: tables.delete_upload(tx, OTHER, k, b"u" * 16))
    assert kv.read(rows) == [], "empty subtrees go with their last row"


def test_subtrees_of_equal_heads_never_mix() -> None:
    kv = MemoryKv()
    key = b"k" * 1024
    for bucket_id in (BUCKET, OTHER):
        write(kv, lambda tx, b=bucket_id: tables.put_version(tx, b, key, b"v" * 16, version()))
    write(kv, lambda tx: tables.put_upload(tx, BUCKET, key, b"v" * 16, UploadRow(1, "o")))
    found = kv.read(
        lambda tx: [
            subtree.find(tx, t, b, key)
            for t, b in (
                (schema.VERSIONS, BUCKET),
                (schema.VERSIONS, OTHER),
                (schema.UPLOADS, BUCKET),
            )
        ]
    )
    assert len({place[0] for place in found if place}) == 3
    write(kv, lambda tx: tables.delete_version(tx, OTHER, key, b"v" * 16))
    assert kv.read(lambda tx: tables.get_version(tx, BUCKET, key, b"v" * 16)) == version()
    assert kv.read(lambda tx: tables.get_version(tx, OTHER, key, b"v" * 16)) is None


def test_scan_uploads_is_strictly_after() -> None:
    kv = MemoryKv()
    places = [(b"a", b"1" * 16), (b"a", b"2" * 16), (b"b" * 900, b"1" * 16), (b"c", b"0" * 16)]
    for key, upload_id in places:
        write(
            kv,
            lambda tx, k=key, u=upload_id: tables.put_upload(tx, BUCKET, k, u, UploadRow(1, "o")),
        )

    def after(*position: bytes) -> list[tuple[bytes, bytes]]:
        return kv.read(lambda tx: [u[:2] for u in tables.scan_uploads(tx, BUCKET, *position)])

    assert after() == after(b"a") == places
    for index, position in enumerate(places):
        assert after(*position) == places[index + 1 :]
    assert after(b"a", b"\xff" * 16) == places[2:]


def test_every_table_round_trips() -> None:
    kv = MemoryKv()
    bucket = BucketRow(BUCKET, 1, "owner", "region")
    part = PartRow(1, "e", b"d", 2)
    locations = LocationRow((Stripe(2, 1, 10, (Location(0, 1, 2), None, Location(2, 3, 4))),))
    owed = OwedRow(5, (0, 3), 4)
    death = DeathRow((b"x" * 16,), 9, "deleted", "who", 1, "b", "k")
    data_id, upload_id, death_id = b"i" * 16, b"u" * 16, b"t" * 16

    def put(tx: Any) -> None:
        tables.put_bucket(tx, "name", bucket)
        for number in (1, 2, 10_000):
            tables.put_part(tx, upload_id, number, part)
        for run in (0, 1, 2, 300):
            tables.put_locations(tx, data_id, run, locations)
            tables.put_owed(tx, data_id, run, owed)
        tables.put_death(tx, death_id, death)
        tables.add_usage(tx, BUCKET, 2, 100)
        tables.add_usage(tx, BUCKET, -1, -60)

    write(kv, put)

    def check(tx: ReadTx) -> None:
        assert tables.get_bucket(tx, "name") == bucket
        assert list(tables.scan_buckets(tx)) == [("name", bucket)]
        assert list(tables.scan_buckets(tx, "name")) == []
        assert [number for number, _ in tables.scan_parts(tx, upload_id)] == [1, 2, 10_000]
        assert list(tables.scan_parts(tx, upload_id, 2)) == [(10_000, part)]
        assert [run for run, _ in tables.scan_locations(tx, data_id, 1, 2)] == [1, 2]
        assert tables.get_locations(tx, data_id, 300) == locations
        owing = list(tables.scan_owed(tx))
        assert [found[1:] for found in owing] == [(data_id, run, owed) for run in (0, 1, 2, 300)]
        assert list(tables.scan_owed(tx, owing[1][0])) == owing[2:]
        assert list(tables.scan_deaths(tx)) == [(death_id, death)]
        assert list(tables.scan_deaths(tx, death_id)) == []
        assert tables.get_usage(tx, BUCKET) == (1, 40)
        assert tables.get_usage(tx, OTHER) == (0, 0)

    kv.read(check)


def test_no_flipped_bit_is_a_row() -> None:
    key = schema.bucket("name")
    value = tables.encode(key, BucketRow(BUCKET, 1, "owner", "region"))
    for bit in range(8 * len(value)):
        flipped = bytearray(value)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(FormatError):
            tables.decode(BucketRow, key, bytes(flipped))
    with pytest.raises(FormatError):
        tables.decode(BucketRow, schema.bucket("other"), value)
    for length in range(len(value)):
        with pytest.raises(FormatError):
            tables.decode(BucketRow, key, value[:length])


def test_rows_of_a_later_release_and_of_another_table_are_refused() -> None:
    key = schema.bucket("name")
    later = bytes([values.FORMAT + 1]) + b"content"
    crc = values.zlib.crc32(later, values.zlib.crc32(key)).to_bytes(4, "big")
    with pytest.raises(FormatUnknown):
        tables.decode(BucketRow, key, later + crc)
    with pytest.raises(FormatError):
        tables.decode(BucketRow, key, tables.encode(key, version()))


@given(st.binary(max_size=6), st.binary(max_size=3))
def test_successor_is_the_end_of_a_prefix(prefix: bytes, more: bytes) -> None:
    assert prefix + more < schema.successor(prefix)
    stem = prefix.rstrip(b"\xff")
    assert not stem or not schema.successor(prefix).startswith(prefix)
