"""Typed access to the metadata: one small function per table and verb.

Every function takes a transaction and plain arguments; rows are those of `s3node.model.rows`.
Object keys are bytes (UTF-8) here. A row that does not pass its CRC, or does not decode, raises
FormatError; a row of a later release FormatUnknown: never a wrong row, never "absent" (I12).
Scans are lazy, in exact byte order, and see the writes made before they began.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import TypeVar

import msgspec

from s3node.base.errors import FormatError
from s3node.meta import schema, subtree
from s3node.meta.kv import ReadTx, WriteTx
from s3node.meta.values import seal, unseal, unseal_counter
from s3node.model.outline import VersionOutline
from s3node.model.rows import (
    BucketRow,
    ConfigurationRow,
    DeathRow,
    LocationRow,
    OwedRow,
    PartRow,
    Row,
    UploadRow,
    VersionRow,
)

R = TypeVar("R", bound=Row)
T = TypeVar("T")

_encode = msgspec.msgpack.Encoder().encode
_DECODERS: dict[type[Row], msgspec.msgpack.Decoder[Row]] = {
    kind: msgspec.msgpack.Decoder(kind)
    for kind in (
        BucketRow,
        ConfigurationRow,
        DeathRow,
        LocationRow,
        OwedRow,
        PartRow,
        UploadRow,
        VersionOutline,
        VersionRow,
    )
}


def encode(key: bytes, row: Row) -> bytes:
    """The value of `row` under `key`."""
    return seal(key, _encode(row))


def decode(kind: type[R], key: bytes, value: bytes) -> R:
    """The row in the value found under `key`."""
    content = unseal(key, value)
    try:
        row = _DECODERS[kind].decode(content)
    except msgspec.MsgspecError as error:
        raise FormatError(f"row {key!r}: {error}") from error
    assert isinstance(row, kind)
    return row


def _get(tx: ReadTx, kind: type[R], key: bytes) -> R | None:
    value = tx.get(key)
    return None if value is None else decode(kind, key, value)


def _put(tx: WriteTx, key: bytes, row: Row) -> None:
    tx.put(key, encode(key, row))


# Buckets.


def get_bucket(tx: ReadTx, name: str) -> BucketRow | None:
    key = schema.bucket(name)
    value = tx.get(key)
    return None if value is None else _bucket(key, value)


@lru_cache(256)
def _bucket(key: bytes, value: bytes) -> BucketRow:
    """Nearly every request asks for its bucket, which nearly never changes."""
    return decode(BucketRow, key, value)


def put_bucket(tx: WriteTx, name: str, row: BucketRow) -> None:
    _put(tx, schema.bucket(name), row)


def delete_bucket(tx: WriteTx, name: str) -> None:
    tx.delete(schema.bucket(name))


def scan_buckets(tx: ReadTx, after: str = "") -> Iterator[tuple[str, BucketRow]]:
    """(name, row) of the buckets whose name comes after `after`."""
    start = schema.bucket(after) + b"\x00" if after else schema.BUCKETS
    for key, value in tx.scan(start, schema.successor(schema.BUCKETS)):
        yield key[1:].decode(), decode(BucketRow, key, value)


# A bucket's configurations.


def get_configuration(tx: ReadTx, bucket_id: bytes, kind: bytes) -> ConfigurationRow | None:
    return _get(tx, ConfigurationRow, schema.configuration(bucket_id, kind))


def put_configuration(tx: WriteTx, bucket_id: bytes, kind: bytes, row: ConfigurationRow) -> None:
    _put(tx, schema.configuration(bucket_id, kind), row)


def delete_configuration(tx: WriteTx, bucket_id: bytes, kind: bytes) -> None:
    tx.delete(schema.configuration(bucket_id, kind))


def delete_configurations(tx: WriteTx, bucket_id: bytes) -> None:
    """All of them, with the bucket."""
    prefix = schema.configuration(bucket_id, b"")
    for key, _ in list(tx.scan(prefix, schema.successor(prefix))):
        tx.delete(key)


# Versions. The first one of a key is its current version.


def current_version(tx: ReadTx, bucket_id: bytes, key: bytes) -> tuple[bytes, VersionRow] | None:
    """(version id, row) of the newest version, which may be a delete marker."""
    found = subtree.first(tx, schema.VERSIONS, bucket_id, key)
    if found is None:
        return None
    version_id = found[0][-schema.LEAF_ID_BYTES :]
    return version_id, decode(VersionRow, *found)


def get_version(tx: ReadTx, bucket_id: bytes, key: bytes, version_id: bytes) -> VersionRow | None:
    found = subtree.get(tx, schema.VERSIONS, bucket_id, key, version_id)
    return None if found is None else decode(VersionRow, *found)


def put_version(
    tx: WriteTx, bucket_id: bytes, key: bytes, version_id: bytes, row: VersionRow
) -> None:
    _put(tx, subtree.make(tx, schema.VERSIONS, bucket_id, key, version_id), row)


def delete_version(tx: WriteTx, bucket_id: bytes, key: bytes, version_id: bytes) -> None:
    subtree.remove(tx, schema.VERSIONS, bucket_id, key, version_id)


def scan_versions(
    tx: ReadTx, bucket_id: bytes, start: bytes = b"", version_id: bytes = b""
) -> Iterator[tuple[bytes, bytes, VersionRow]]:
    """(key, version id, row) from (start, version_id) on, that one included; newest first."""
    return scan_versions_as(tx, bucket_id, decode_version, start, version_id)


def scan_versions_as(
    tx: ReadTx,
    bucket_id: bytes,
    of: Callable[[bytes, bytes, bytes], T],
    start: bytes = b"",
    version_id: bytes = b"",
) -> Iterator[tuple[bytes, bytes, T]]:
    """As `scan_versions`, with of(key, row key, value as it is stored) in place of each row.

    For who checks the value and looks at a part of it; `decode_version` does both in full,
    `outline_version` leaves out what may be long.
    """
    return subtree.scan_as(tx, schema.VERSIONS, bucket_id, of, start, version_id)


def decode_version(_key: bytes, row_key: bytes, value: bytes) -> VersionRow:
    return decode(VersionRow, row_key, value)


def outline_version(_key: bytes, row_key: bytes, value: bytes) -> VersionOutline:
    return decode(VersionOutline, row_key, value)


# Which version is the null version, where it is not the first one or has not always been.


def get_null(tx: ReadTx, bucket_id: bytes, key: bytes) -> bytes | None:
    """The id of the null version that has had another one above it."""
    found = subtree.first(tx, schema.NULLS, bucket_id, key)
    if found is None:
        return None
    unseal(*found)
    return found[0][-schema.LEAF_ID_BYTES :]


def put_null(tx: WriteTx, bucket_id: bytes, key: bytes, version_id: bytes) -> None:
    row_key = subtree.make(tx, schema.NULLS, bucket_id, key, version_id)
    tx.put(row_key, seal(row_key, b""))


def delete_null(tx: WriteTx, bucket_id: bytes, key: bytes, version_id: bytes) -> None:
    subtree.remove(tx, schema.NULLS, bucket_id, key, version_id)


# Uploads and their parts.


def get_upload(tx: ReadTx, bucket_id: bytes, key: bytes, upload_id: bytes) -> UploadRow | None:
    found = subtree.get(tx, schema.UPLOADS, bucket_id, key, upload_id)
    return None if found is None else decode(UploadRow, *found)


def put_upload(tx: WriteTx, bucket_id: bytes, key: bytes, upload_id: bytes, row: UploadRow) -> None:
    _put(tx, subtree.make(tx, schema.UPLOADS, bucket_id, key, upload_id), row)


def delete_upload(tx: WriteTx, bucket_id: bytes, key: bytes, upload_id: bytes) -> None:
    subtree.remove(tx, schema.UPLOADS, bucket_id, key, upload_id)


def scan_uploads(
    tx: ReadTx, bucket_id: bytes, key: bytes = b"", upload_id: bytes = b""
) -> Iterator[tuple[bytes, bytes, UploadRow]]:
    """(key, upload id, row) strictly after (key, upload_id).

    With a key and no upload id that includes all uploads of the key itself.
    """
    for found in subtree.scan_as(tx, schema.UPLOADS, bucket_id, _upload, key, upload_id):
        if found[:2] != (key, upload_id):
            yield found


def _upload(_key: bytes, row_key: bytes, value: bytes) -> UploadRow:
    return decode(UploadRow, row_key, value)


def get_part(tx: ReadTx, upload_id: bytes, number: int) -> PartRow | None:
    return _get(tx, PartRow, schema.part(upload_id, number))


def put_part(tx: WriteTx, upload_id: bytes, number: int, row: PartRow) -> None:
    _put(tx, schema.part(upload_id, number), row)


def delete_part(tx: WriteTx, upload_id: bytes, number: int) -> None:
    tx.delete(schema.part(upload_id, number))


def scan_parts(tx: ReadTx, upload_id: bytes, after: int = 0) -> Iterator[tuple[int, PartRow]]:
    """(part number, row) of the parts with a number above `after`."""
    stop = schema.successor(schema.PARTS + upload_id)
    for key, value in tx.scan(schema.part(upload_id, after + 1), stop):
        yield schema.numbered(key)[1], decode(PartRow, key, value)


# Locations and owed shards, by data id and stripe run.


def get_locations(tx: ReadTx, data_id: bytes, run: int) -> LocationRow | None:
    return _get(tx, LocationRow, schema.location(data_id, run))


def put_locations(tx: WriteTx, data_id: bytes, run: int, row: LocationRow) -> None:
    _put(tx, schema.location(data_id, run), row)


def delete_locations(tx: WriteTx, data_id: bytes, run: int) -> None:
    tx.delete(schema.location(data_id, run))


def scan_locations(
    tx: ReadTx, data_id: bytes, first_run: int, last_run: int
) -> Iterator[tuple[int, LocationRow]]:
    """(run, row) of the runs first_run to last_run, both included."""
    stop = schema.successor(schema.location(data_id, last_run))
    for key, value in tx.scan(schema.location(data_id, first_run), stop):
        yield schema.numbered(key)[1], decode(LocationRow, key, value)


def scan_all_locations(
    tx: ReadTx, after: bytes = b""
) -> Iterator[tuple[bytes, bytes, int, LocationRow]]:
    """(cursor, data id, run, row) after the row with the cursor `after`, of all data."""
    start = schema.LOCATIONS + after + b"\x00" if after else schema.LOCATIONS
    for key, value in tx.scan(start, schema.successor(schema.LOCATIONS)):
        yield key[1:], *schema.numbered(key), decode(LocationRow, key, value)


def get_owed(tx: ReadTx, data_id: bytes, run: int) -> OwedRow | None:
    return _get(tx, OwedRow, schema.owed(data_id, run))


def put_owed(tx: WriteTx, data_id: bytes, run: int, row: OwedRow) -> None:
    _put(tx, schema.owed(data_id, run), row)


def delete_owed(tx: WriteTx, data_id: bytes, run: int) -> None:
    tx.delete(schema.owed(data_id, run))


def scan_owed(tx: ReadTx, after: bytes = b"") -> Iterator[tuple[bytes, bytes, int, OwedRow]]:
    """(cursor, data id, run, row) after the row with the cursor `after`."""
    start = schema.OWED + after + b"\x00" if after else schema.OWED
    for key, value in tx.scan(start, schema.successor(schema.OWED)):
        yield key[1:], *schema.numbered(key), decode(OwedRow, key, value)


# Deaths.


def put_death(tx: WriteTx, death_id: bytes, row: DeathRow) -> None:
    _put(tx, schema.death(death_id), row)


def scan_deaths(tx: ReadTx, after: bytes = b"") -> Iterator[tuple[bytes, DeathRow]]:
    """(death id, row) of the deaths after `after`."""
    start = schema.DEATHS + after + b"\x00" if after else schema.DEATHS
    for key, value in tx.scan(start, schema.successor(schema.DEATHS)):
        yield key[1:], decode(DeathRow, key, value)


# Usage counters.


def add_usage(tx: WriteTx, bucket_id: bytes, objects: int, byte_count: int) -> None:
    """Count versions and their bytes up or down; never conflicts with other additions."""
    if objects:
        tx.add(schema.usage_objects(bucket_id), objects)
    if byte_count:
        tx.add(schema.usage_bytes(bucket_id), byte_count)


def get_usage(tx: ReadTx, bucket_id: bytes) -> tuple[int, int]:
    """(objects, bytes) of a bucket."""
    objects, count = schema.usage_objects(bucket_id), schema.usage_bytes(bucket_id)
    return unseal_counter(objects, tx.get(objects)), unseal_counter(count, tx.get(count))


def delete_usage(tx: WriteTx, bucket_id: bytes) -> None:
    """With the bucket."""
    tx.delete(schema.usage_objects(bucket_id))
    tx.delete(schema.usage_bytes(bucket_id))
