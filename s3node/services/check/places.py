"""The disks as such: who they are, their epoch files, and what else lies on them."""

from __future__ import annotations

from collections.abc import Iterator

from s3node.base.errors import FormatError, FormatUnknown
from s3node.base.filesystem import FileSystem, read_file
from s3node.meta.homes import Home, is_log
from s3node.meta.manifest import is_manifest
from s3node.meta.promise import NAME as PROMISE
from s3node.services import findings as kinds
from s3node.services.findings import Findings, Kind
from s3node.services.start import Looked
from s3node.store import epoch as epochs
from s3node.store.disks import (
    CHECKPOINTS,
    DIRECTORIES,
    IDENTITY,
    JOURNAL,
    LOCK,
    QUARANTINE,
    SEGMENTS,
    Opened,
)
from s3node.store.identity import Standing
from s3node.store.limits import SECTOR
from s3node.store.segment import segment_of

_OURS = {IDENTITY, epochs.NAME, LOCK, *DIRECTORIES, "lost+found"}
_RANGE = ".range"
_KINDS: dict[Standing, Kind] = {
    Standing.MISSING: kinds.DISK_MISSING,
    Standing.UNKNOWN: kinds.LATER_FORMAT,
    Standing.SWAPPED: kinds.DISK_SWAPPED,
}


def check_places(looked: Looked) -> Findings:
    """Every configured path, in slot order."""
    found = Findings()
    usable = looked.usable()
    for one in looked.opened:
        if one.standing is not Standing.OK:
            kind = _KINDS.get(one.standing, kinds.DISK_REFUSED)
            where = f"{one.path}/{IDENTITY}" if one.standing is Standing.DAMAGED else one.path
            found.add(kind, where, f"slot {one.slot}: {one.standing.value}: {one.reason}")
        if one.slot in usable:
            _check_epoch(found, looked.fs, one)
            _check_strays(found, looked.fs, usable[one.slot])
    return found


def _check_epoch(found: Findings, fs: FileSystem, disk: Opened) -> None:
    assert disk.identity is not None, "a usable disk has an identity"
    path = f"{disk.path}/{epochs.NAME}"
    try:
        content = read_file(fs, path)
    except OSError as fault:
        found.add(kinds.EPOCH_DAMAGED, path, f"cannot be read: {fault.strerror}")
        return
    for kind, what in _epoch_faults(content, disk.identity.disk_id):
        found.add(kind, path, what)


def _epoch_faults(content: bytes, disk_id: bytes) -> Iterator[tuple[Kind, str]]:
    """A file of two slots; the second one of a disk that was never used is empty."""
    if len(content) != 2 * SECTOR:
        yield kinds.EPOCH_DAMAGED, f"{len(content)} bytes where {2 * SECTOR} belong"
    valid = []
    for slot, start in enumerate((0, SECTOR)):
        try:
            valid.append(epochs.unpack(content[start : start + SECTOR]))
        except FormatUnknown as fault:
            yield kinds.LATER_FORMAT, str(fault)
        except FormatError as fault:
            if slot == 0 or any(content[start : start + SECTOR]):
                yield kinds.EPOCH_DAMAGED, f"slot {slot} of the file: {fault}"
    if not valid:
        yield kinds.EPOCH_DAMAGED, "neither slot of the file is valid"
    if any(one.disk_id != disk_id for one in valid):
        yield kinds.EPOCH_DAMAGED, "it is another disk's"
    if len(valid) == 1 and valid[0].generation > 0 and not any(content[SECTOR:]):
        yield kinds.EPOCH_DAMAGED, "slot 1 of the file is empty where a value was"


def _check_strays(found: Findings, fs: FileSystem, home: Home) -> None:
    """Files that this release would not have put there. (Checkpoints have their own step.)"""
    for directory in ("", SEGMENTS, JOURNAL, CHECKPOINTS, QUARANTINE):
        path = f"{home.path}/{directory}".rstrip("/")
        try:
            names = fs.listdir(path)
        except OSError as fault:
            found.add(kinds.UNREADABLE, path, f"{fault.strerror}")
            continue
        for name in names:
            if not _belongs(directory, name):
                found.add(kinds.STRAY, f"{path}/{name}", "a file that the node does not use")


def _belongs(directory: str, name: str) -> bool:
    if directory == SEGMENTS:
        return segment_of(name) is not None
    if directory == JOURNAL:
        return is_log(name) or name == PROMISE
    if directory == CHECKPOINTS:
        return is_manifest(name) or name.endswith(_RANGE)
    return directory == "" and name in _OURS
