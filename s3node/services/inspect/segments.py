"""A segment file item by item, and one record with its digests."""

from __future__ import annotations

import os
import zlib
from pathlib import PurePosixPath

import xxhash

from s3node.base.errors import ConfigError, FormatError
from s3node.base.filesystem import FileSystem
from s3node.services.inspect.values import Plain, fields, text, tuple_fields
from s3node.store import record
from s3node.store.disks import read_identity
from s3node.store.record import BLOCK_BYTES, DIGEST_BYTES, HEADER_BYTES, RecordHeader
from s3node.store.scan import Damage, End, Found, Sealed, read_segment_header, scan
from s3node.store.segment import segment_of

_RAW = (
    "magic",
    "version",
    "flags",
    "k",
    "m",
    "code",
    "shard_index",
    "data_id",
    "disk_id",
    "segment",
    "offset",
    "stripe_offset",
    "sequence",
    "stripe_index",
    "stripe_bytes",
    "payload_bytes",
    "digest_count",
    "block_bits",
    "reserved_a",
    "hint_bytes",
    "reserved_b",
    "key_id",
    "hint_crc",
    "digest_crc",
    "crc",
)


def inspect_segment(fs: FileSystem, path: str) -> Plain:
    """Header, every record (verified), damaged places, seal."""
    segment_id, disk_id, header = _who(fs, path)
    told: Plain = {"file": path, "header": header, "state": "not sealed", "items": []}
    try:
        for item in scan(fs, path, segment_id, disk_id):
            if isinstance(item, End):
                told |= {"used_bytes": item.used, "file_bytes": item.size}
                continue
            if isinstance(item, Sealed):
                told["state"] = "sealed"
            told["items"].append(_item(item))
    except OSError as fault:
        raise ConfigError(f"{path}: {fault.strerror}") from fault
    except FormatError as fault:
        told["state"] = str(fault)
    return told


def _who(fs: FileSystem, path: str) -> tuple[int, bytes, Plain]:
    """(segment id, disk id, the header told): from the header, else from name and disk."""
    place = PurePosixPath(path)
    try:
        header = read_segment_header(fs, path)
    except OSError as fault:
        raise ConfigError(f"{path}: {fault.strerror}") from fault
    except FormatError as fault:
        identity = read_identity(fs, str(place.parent.parent))[1]
        disk_id = identity.disk_id if identity else b""
        return segment_of(place.name) or 0, disk_id, {"state": f"damaged: {fault}"}
    return header.segment, header.disk_id, {"state": "ok", **tuple_fields(header)}


def _item(item: Found | Damage | Sealed) -> Plain:
    if isinstance(item, Damage):
        state = "torn or damaged" if item.torn else "damaged"
        return {"offset": item.start, "end": item.stop, "state": f"{state}: {item.reason}"}
    if isinstance(item, Sealed):
        state = f"damaged: {item.fault}" if item.fault else "ok"
        return {"offset": item.offset, "state": state, "seal": tuple_fields(item.seal)}
    state = f"damaged: {item.fault}" if item.fault else "ok"
    told: Plain = {"offset": item.offset, "end": item.stop, "state": state}
    return told | {"record": _short(item.header)}


def _short(header: RecordHeader) -> Plain:
    """What tells one record from the next; `inspect record` tells the rest."""
    names = ("data_id", "stripe_index", "shard_index", "k", "m", "stripe_bytes", "payload_bytes")
    return fields({name: getattr(header, name) for name in names})


def inspect_record(fs: FileSystem, path: str, offset: int) -> Plain:
    """One record: every field of its header, each block against its digest, its hint."""
    packed = _read(fs, path, offset, HEADER_BYTES)
    told: Plain = {"file": path, "offset": offset}
    try:
        header = record.unpack(packed)
    except FormatError as fault:
        told["header_state"] = f"damaged: {fault}"
        if len(packed) == HEADER_BYTES:
            values = record.LAYOUT.unpack(packed)
            told["unverified"] = fields(dict(zip(_RAW, values, strict=True)))
        return told
    here = "ok" if header.offset == offset else f"it says that it belongs at {header.offset}"
    told |= {"header_state": here, **tuple_fields(header)}
    return told | _rest(fs, path, offset, header)


def _rest(fs: FileSystem, path: str, offset: int, header: RecordHeader) -> Plain:
    packed = _read(fs, path, offset + HEADER_BYTES, DIGEST_BYTES * header.digest_count)
    right = zlib.crc32(packed) == header.digest_crc
    begin = offset + record.payload_start(header.payload_bytes)
    blocks = []
    for index, digest in enumerate(record.unpack_digests(packed[: len(packed) & -DIGEST_BYTES])):
        start = index * BLOCK_BYTES
        data = _read(fs, path, begin + start, min(BLOCK_BYTES, header.payload_bytes - start))
        same = xxhash.xxh3_64_intdigest(data) == digest
        state = "ok" if same else "damaged"
        blocks.append({"offset": begin + start, "digest": f"{digest:016x}", "state": state})
    hint = _read(fs, path, begin + header.payload_bytes, header.hint_bytes)
    return {
        "end": offset + record.record_bytes(header.payload_bytes, header.hint_bytes),
        "digests_state": "ok" if right else "damaged",
        "blocks": blocks,
        "hint": text(hint),
        "hint_state": "ok" if zlib.crc32(hint) == header.hint_crc else "damaged",
    }


def _read(fs: FileSystem, path: str, offset: int, length: int) -> bytes:
    if offset < 0:
        raise ConfigError(f"{offset} is not a place in a file")
    try:
        fd = fs.open(path, os.O_RDONLY)
        try:
            return fs.pread(fd, length, offset)
        finally:
            fs.close(fd)
    except OSError as fault:
        raise ConfigError(f"{path}: {fault.strerror}") from fault
