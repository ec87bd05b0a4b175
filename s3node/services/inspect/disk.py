"""One disk: identity, epoch, and what lies in its directories."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from s3node.base.errors import ConfigError, FormatError
from s3node.base.filesystem import FileSystem, file_bytes, read_file
from s3node.meta import logscan, promise
from s3node.meta.homes import is_log
from s3node.meta.logscan import FoundFrame
from s3node.meta.manifest import is_manifest
from s3node.meta.manifest import unpack as unpack_manifest
from s3node.services.inspect.values import Plain, fields, tuple_fields
from s3node.store import epoch as epochs
from s3node.store.disks import (
    CHECKPOINTS,
    JOURNAL,
    LOCK,
    QUARANTINE,
    SEGMENTS,
    lock_disk,
    read_identity,
)
from s3node.store.limits import SECTOR
from s3node.store.scan import read_segment_header


def inspect_disk(fs: FileSystem, path: str) -> Plain:
    """Everything about a disk but the content of its segments. ConfigError while it is used."""
    with _locked(fs, path):
        standing, identity, reason = read_identity(fs, path)
        state = f"{standing.value}: {reason}" if reason else standing.value
        deployment = identity.deployment_id if identity else b""
        return {
            "path": path,
            "identity": {"state": state, **(tuple_fields(identity) if identity else {})},
            "epoch": _epoch(fs, path),
            "segments": [_segment(fs, one) for one in _files(fs, path, SEGMENTS)],
            "journal": [_journal(fs, one, deployment) for one in _files(fs, path, JOURNAL)],
            "checkpoints": [_checkpoint(fs, one) for one in _files(fs, path, CHECKPOINTS)],
            "quarantine": [{"file": one} for one in _files(fs, path, QUARANTINE)],
        }


@contextlib.contextmanager
def _locked(fs: FileSystem, path: str) -> Iterator[None]:
    """Alone with the disk; a place without a lock file is nobody's."""
    if not fs.exists(path):
        raise ConfigError(f"{path}: there is nothing")
    if not fs.exists(f"{path}/{LOCK}"):
        yield
        return
    fd = lock_disk(fs, path)
    try:
        yield
    finally:
        fs.close(fd)


def _files(fs: FileSystem, path: str, directory: str) -> list[str]:
    try:
        return [f"{path}/{directory}/{name}" for name in fs.listdir(f"{path}/{directory}")]
    except OSError:
        return []


def _epoch(fs: FileSystem, path: str) -> Plain:
    try:
        content = read_file(fs, f"{path}/{epochs.NAME}")
    except OSError as fault:
        return {"state": f"cannot be read: {fault.strerror}"}
    told: Plain = {}
    for slot, start in enumerate((0, SECTOR)):
        piece = content[start : start + SECTOR]
        try:
            told[f"slot {slot}"] = {"state": "ok", **tuple_fields(epochs.unpack(piece))}
        except FormatError as fault:
            empty = len(piece) == SECTOR and not any(piece)
            told[f"slot {slot}"] = {"state": "empty" if empty else f"damaged: {fault}"}
    return told


def _segment(fs: FileSystem, path: str) -> Plain:
    try:
        told: Plain = {"file": path, "bytes": file_bytes(fs, path)}
        return told | {"state": "ok", **tuple_fields(read_segment_header(fs, path))}
    except OSError as fault:
        return {"file": path, "state": f"cannot be read: {fault.strerror}"}
    except FormatError as fault:
        return {"file": path, "state": f"damaged: {fault}"}


def _journal(fs: FileSystem, path: str, deployment_id: bytes) -> Plain:
    try:
        data = read_file(fs, path)
        if is_log(path):
            return {"file": path, "bytes": len(data), **_log(data, deployment_id)}
        if path.endswith(f"/{promise.NAME}"):
            return {"file": path, "state": "ok", **tuple_fields(promise.unpack(data))}
    except OSError as fault:
        return {"file": path, "state": f"cannot be read: {fault.strerror}"}
    except FormatError as fault:
        return {"file": path, "state": f"damaged: {fault}"}
    return {"file": path, "bytes": len(data), "state": "not ours"}


def _log(data: bytes, deployment_id: bytes) -> Plain:
    items = list(logscan.scan(data, deployment_id))
    found = [item for item in items if isinstance(item, FoundFrame)]
    damages = len(items) - len(found)
    told: Plain = {"frames": len(found)}
    if found:
        first, last = found[0].header, found[-1].header
        told |= {"first_sequence": first.sequence, "last_sequence": last.sequence}
        told |= {"epoch": last.epoch}
    return {"state": f"{damages} damaged places" if damages else "ok", **told}


def _checkpoint(fs: FileSystem, path: str) -> Plain:
    try:
        if not is_manifest(path):
            return {"file": path, "bytes": file_bytes(fs, path)}
        manifest = unpack_manifest(read_file(fs, path))
    except OSError as fault:
        return {"file": path, "state": f"cannot be read: {fault.strerror}"}
    except FormatError as fault:
        return {"file": path, "state": f"damaged: {fault}"}
    ranges = [{"name": one.name, **fields(one._asdict())} for one in manifest.ranges]
    return {"file": path, "state": "ok", **tuple_fields(manifest), "ranges": ranges}
