"""A journal's log file, and one frame of it with the rows that it puts and deletes."""

from __future__ import annotations

from typing import Any

from s3node.base.errors import ConfigError, FormatError
from s3node.base.filesystem import FileSystem, read_file
from s3node.meta import frame, logscan
from s3node.meta.frame import BATCH, LAYOUT, MAGIC, Header
from s3node.meta.logscan import FoundFrame
from s3node.services.inspect.values import Plain, describe_key, describe_row, fields, tuple_fields

_KINDS = {BATCH: "batch", frame.EPOCH: "epoch"}


def inspect_log(fs: FileSystem, path: str) -> Plain:
    """Every frame and every damaged place of a log file."""
    data = _read(fs, path)
    items: list[Plain] = []
    try:
        for item in logscan.scan(data, _deployment(data)):
            items.append(_frame(item) if isinstance(item, FoundFrame) else _damage(item))
    except FormatError as fault:
        items.append({"state": f"of a later release: {fault}"})
    return {"file": path, "bytes": len(data), "frames": items}


def inspect_frame(fs: FileSystem, path: str, offset: int) -> Plain:
    """One frame, with its entries."""
    data = _read(fs, path)[offset:]
    packed = data[: LAYOUT.size]
    try:
        header = frame.unpack_header(packed)
    except FormatError as fault:
        return {"file": path, "offset": offset, "state": f"damaged: {fault}", **_raw(packed)}
    payload = data[LAYOUT.size : LAYOUT.size + header.payload_bytes]
    told: Plain = {"file": path, "offset": offset, "chain": frame.chain(packed).hex()}
    told |= _header(header)
    try:
        frame.check_payload(header, payload)
        told["state"] = "ok"
        told["content"] = _content(header, payload)
    except FormatError as fault:
        told["state"] = f"damaged: {fault}"
    return told


def _read(fs: FileSystem, path: str) -> bytes:
    try:
        return read_file(fs, path)
    except OSError as fault:
        raise ConfigError(f"{path}: {fault.strerror}") from fault


def _deployment(data: bytes) -> bytes:
    """Of the first header that can be read."""
    at = data.find(MAGIC)
    while at >= 0:
        try:
            return frame.unpack_header(data[at : at + LAYOUT.size]).deployment_id
        except FormatError:
            at = data.find(MAGIC, at + 1)
    return b""


def _header(header: Header) -> Plain:
    return {**tuple_fields(header), "kind": _KINDS[header.kind]}


def _frame(found: FoundFrame) -> Plain:
    place = {"offset": found.offset, "end": found.end, "state": "ok"}
    return {**place, **_header(found.header), "chain": found.position.chain.hex()}


def _damage(damage: logscan.Damage) -> Plain:
    return {"offset": damage.start, "end": damage.stop, "state": f"damaged: {damage.reason}"}


def _raw(packed: bytes) -> Plain:
    """The fields of a header that is not to be believed."""
    if len(packed) < LAYOUT.size:
        return {"bytes": packed.hex()}
    names = ("magic", "version", "flags", "kind", "zero", *Header._fields[1:], "rest", "crc")
    return {"unverified": fields(dict(zip(names, LAYOUT.unpack(packed), strict=True)))}


def _content(header: Header, payload: bytes) -> Any:
    if header.kind != BATCH:
        return tuple_fields(frame.unpack_life(header, payload))
    return [
        {
            "op": "delete" if value is None else "put",
            **describe_key(key),
            **({} if value is None else {"row": describe_row(key, value)}),
        }
        for key, value in frame.unpack_entries(header, payload)
    ]
