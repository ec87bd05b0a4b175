"""The directory of a disk: making it, opening it, telling whose it is.

```
PATH/identity          who the disk is, written last when it is made, never changed
PATH/epoch             the engine's life that last used it
PATH/lock              locked by the process that uses the disk
PATH/segments/ID.seg   shards
PATH/journal/          logs of committed metadata (their content is not the store's business)
PATH/checkpoints/      the same
PATH/quarantine/       segments on their way out
```

Nothing is written to a path before its identity says that it is ours and of a known format.
Everything here is cold: synchronous calls over the `FileSystem`.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import NamedTuple

from s3node.base.errors import ConfigError, FormatError, FormatUnknown
from s3node.base.filesystem import FileSystem, read_file, write_file
from s3node.store import epoch as epochs
from s3node.store import identity as identities
from s3node.store.epoch import Epoch
from s3node.store.identity import USABLE, Identity, Standing

IDENTITY = "identity"
LOCK = "lock"
SEGMENTS = "segments"
JOURNAL = "journal"
CHECKPOINTS = "checkpoints"
QUARANTINE = "quarantine"
DIRECTORIES = (SEGMENTS, JOURNAL, CHECKPOINTS, QUARANTINE)

# What a disk may hold before it is initialised: a fresh file system, or an init that was cut off.
_HARMLESS = {*DIRECTORIES, LOCK, epochs.NAME, f"{epochs.NAME}.tmp", f"{IDENTITY}.tmp", "lost+found"}


class Opened(NamedTuple):
    """A path as it was found. `slot` is the one it stands for: its identity's if it is usable."""

    slot: int
    path: str
    standing: Standing
    reason: str
    identity: Identity | None = None
    epoch: Epoch | None = None
    lock_fd: int = -1


def create_disk(fs: FileSystem, path: str, identity: Identity, life_id: bytes) -> None:
    """Make an empty directory a disk. ConfigError if it holds anything, OSError as it comes.

    The identity is written last: a disk that has one is complete.
    """
    if not fs.exists(path):
        fs.mkdir(path)
        fs.fsync_dir(str(PurePosixPath(path).parent))
    strangers = sorted(set(fs.listdir(path)) - _HARMLESS)
    if strangers:
        raise ConfigError(f"{path}: not empty ({strangers[0]}): a disk is made of an empty path")
    for name in DIRECTORIES:
        if not fs.exists(f"{path}/{name}"):
            fs.mkdir(f"{path}/{name}")
        elif fs.listdir(f"{path}/{name}"):
            raise ConfigError(f"{path}/{name}: not empty: a disk is made of an empty path")
    fs.close(fs.open(f"{path}/{LOCK}", os.O_RDWR | os.O_CREAT))
    epochs.create(fs, path, Epoch(0, life_id, identity.disk_id))
    write_file(fs, path, IDENTITY, identities.pack(identity))


def read_identity(fs: FileSystem, path: str) -> tuple[Standing, Identity | None, str]:
    """Who a path says it is, as far as its own bytes tell."""
    try:
        return identities.judge(read_file(fs, f"{path}/{IDENTITY}"))
    except (FileNotFoundError, NotADirectoryError):
        return identities.judge(None)
    except OSError as fault:
        return Standing.DAMAGED, None, f"cannot be read: {fault.strerror or fault}"


def open_disks(
    fs: FileSystem, paths: Sequence[str], deployment_id: bytes | None = None
) -> list[Opened]:
    """Open every path, and lock those that are usable; one result per slot, in slot order.

    `paths[i]` is where slot i is expected; a disk found at another slot's path serves the slot
    its identity says. Without `deployment_id`, the one that most paths hold is meant.
    ConfigError if another process has a disk. Nothing is written.
    """
    judged = [read_identity(fs, path) for path in paths]
    found = [identity for _, identity, _ in judged]
    if deployment_id is None:
        deployment_id = common_deployment(found)
    placed = identities.classify(found, deployment_id)
    opened: dict[int, Opened] = {}
    rest: list[Opened] = []
    for slot, path in enumerate(paths):
        standing, identity, reason = judged[slot]
        if identity is not None:
            standing, reason = placed[slot]
        if standing in USABLE and identity is not None and identity.slot < len(paths):
            opened[identity.slot] = _open_usable(fs, path, standing, reason, identity)
        else:
            rest.append(Opened(slot, path, standing, reason, identity))
    return _fill_slots(opened, rest, len(paths))


def _fill_slots(opened: dict[int, Opened], rest: list[Opened], count: int) -> list[Opened]:
    """Give the slots that no usable disk serves to the paths that hold none."""
    for one in rest:
        if one.slot not in opened:
            opened[one.slot] = one
    spare = [one for one in rest if opened[one.slot] is not one]
    for slot in range(count):
        if slot not in opened:
            opened[slot] = spare.pop()._replace(slot=slot)
    return [opened[slot] for slot in range(count)]


def _open_usable(
    fs: FileSystem, path: str, standing: Standing, reason: str, identity: Identity
) -> Opened:
    try:
        lock_fd = lock_disk(fs, path)
    except OSError as fault:
        reason = f"cannot be locked: {fault.strerror}"
        return Opened(identity.slot, path, Standing.DAMAGED, reason, identity)
    try:
        epoch = epochs.read(fs, path)
    except FormatUnknown as fault:
        return Opened(identity.slot, path, Standing.UNKNOWN, str(fault), identity, None, lock_fd)
    except (FormatError, OSError) as fault:
        reason = f"{reason} {fault}".strip()
        return Opened(identity.slot, path, standing, reason, identity, None, lock_fd)
    if epoch.disk_id != identity.disk_id:
        reason = f"{reason} its epoch file is another disk's".strip()
        return Opened(identity.slot, path, standing, reason, identity, None, lock_fd)
    return Opened(identity.slot, path, standing, reason, identity, epoch, lock_fd)


def lock_disk(fs: FileSystem, path: str) -> int:
    """The descriptor that holds the disk's lock. ConfigError if another process holds it."""
    try:
        fd = fs.open(f"{path}/{LOCK}", os.O_RDONLY)
    except FileNotFoundError:
        fd = fs.open(f"{path}/{LOCK}", os.O_RDWR | os.O_CREAT)
    try:
        fs.lock(fd)
    except BlockingIOError:
        fs.close(fd)
        raise ConfigError(f"{path}: in use by another process") from None
    except OSError:
        fs.close(fd)
        raise
    return fd


def common_deployment(found: Sequence[Identity | None]) -> bytes:
    """The deployment that most of the identities name; b"" if there is none."""
    ids = [one.deployment_id for one in found if one is not None]
    return max(sorted(set(ids)), key=ids.count, default=b"")


def close_disks(fs: FileSystem, disks: Sequence[Opened]) -> None:
    """Give the locks back."""
    for disk in disks:
        if disk.lock_fd >= 0:
            fs.close(disk.lock_fd)


def probe_writing(fs: FileSystem, path: str) -> OSError | None:
    """Whether the disk takes a small durable write now: None, or what it answered."""
    name = f"{path}/{QUARANTINE}/.probe"
    try:
        fd = fs.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        try:
            fs.pwritev(fd, [bytes(512)], 0)
            fs.fdatasync(fd)
        finally:
            fs.close(fd)
            with contextlib.suppress(FileNotFoundError):
                fs.unlink(name)
    except OSError as fault:
        return fault
    return None
