"""Plain values for people: hex for ids and digests, times as dates, rows by field name."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, NamedTuple

import msgspec

from s3node.base.errors import FormatError
from s3node.base.ids import BUCKET_ID_BYTES, SUBTREE_ID_BYTES
from s3node.meta import schema, tables
from s3node.meta.values import unseal, unseal_counter
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

Plain = dict[str, Any]

_MS_SUFFIX = "_ms"
_ROWS: dict[bytes, type[Row]] = {
    schema.BUCKETS: BucketRow,
    schema.CONFIGURATIONS: ConfigurationRow,
    schema.DEATHS: DeathRow,
    schema.LOCATIONS: LocationRow,
    schema.OWED: OwedRow,
    schema.PARTS: PartRow,
    schema.UPLOADS: UploadRow,
    schema.VERSIONS: VersionRow,
}

_PATHS = frozenset((schema.NULLS, schema.UPLOADS, schema.VERSIONS))  # walked by meta.subtree


def moment(ms: int) -> str:
    """Milliseconds since 1970 as a date; the number itself where it is none."""
    try:
        return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds")
    except (ValueError, OverflowError, OSError):
        return f"no date: {ms}"


def plain(value: object) -> Any:
    """Any value of a row or header as JSON can hold it."""
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, msgspec.Struct):
        return fields(msgspec.structs.asdict(value))
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return fields(value._asdict())
    if isinstance(value, tuple | list):
        return [plain(one) for one in value]
    if isinstance(value, dict):
        return {str(key): plain(one) for key, one in value.items()}
    return value


def fields(named: Plain) -> Plain:
    """Fields by name; a time in milliseconds is followed by its date."""
    result: Plain = {}
    for name, value in named.items():
        result[name] = plain(value)
        if name.endswith(_MS_SUFFIX) and isinstance(value, int):
            result[name.removesuffix(_MS_SUFFIX)] = moment(value)
    return result


def tuple_fields(value: NamedTuple) -> Plain:
    """The fields of a header."""
    return fields(value._asdict())


def text(data: bytes) -> str:
    """A key for people, bytes that are not UTF-8 escaped."""
    return data.decode("utf-8", "backslashreplace")


def describe_key(key: bytes) -> Plain:
    """A metadata key, taken apart as the key schema says."""
    table = key[:1]
    named: Plain = {"table": text(table), "key": key.hex()}
    if table == schema.BUCKETS:
        named["bucket"] = text(key[1:])
    elif table in {schema.LOCATIONS, schema.OWED, schema.PARTS}:
        identity, number = schema.numbered(key)
        names = ("upload_id", "part") if table == schema.PARTS else ("data_id", "run")
        named |= dict(zip(names, (identity.hex(), number), strict=True))
    elif table in _PATHS:
        rest, leaf_id = schema.split(key)
        named["subtree"] = key[1 : 1 + SUBTREE_ID_BYTES].hex()
        named["rest"] = text(rest)
        named["id"] = leaf_id.hex() if leaf_id is not None else "a prefix-id row"
    elif table == schema.CONFIGURATIONS:
        bucket_id = key[1 : 1 + BUCKET_ID_BYTES]
        named |= {"bucket_id": bucket_id.hex(), "kind": text(key[1 + BUCKET_ID_BYTES :])}
    elif table == schema.DEATHS:
        named["death_id"] = key[1:].hex()
    elif table == schema.USAGE:
        named |= {"bucket_id": key[1:-1].hex(), "counts": text(key[-1:])}
    return named


def describe_row(key: bytes, value: bytes) -> Plain:
    """A metadata value by field; `crc` says whether it may be believed."""
    try:
        return {"crc": "ok", **_row(key, value)}
    except FormatError as fault:
        return {"crc": f"damaged: {fault}", "value": value.hex()}


def _row(key: bytes, value: bytes) -> Plain:
    table = key[:1]
    if table == schema.USAGE:
        return {"counter": unseal_counter(key, value)}
    branch = table in _PATHS and schema.split(key)[1] is None
    if branch or table not in _ROWS:
        return {"content": unseal(key, value).hex()}
    row: Plain = plain(tables.decode(_ROWS[table], key, value))
    return row
