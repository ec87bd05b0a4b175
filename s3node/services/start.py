"""Opening the disks of a node and recovering its metadata. Synchronous.

    initialise   paths become the disks of a new node
    look         open the disks, lock them, tell whose they are; writes nothing
    settle       see what the newest records know of the journal; recover the metadata, which
                 begins a new epoch; write that epoch into every disk's epoch file

Everything here blocks: a running node calls it in a thread, offline commands call it as it is.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from s3node.base.clock import Clock
from s3node.base.errors import ConfigError, DiskOffline, FormatError, StorageFault
from s3node.base.filesystem import FileSystem
from s3node.base.ids import UUID_BYTES, RandomBytes
from s3node.meta import metadata, recovery
from s3node.meta.homes import Home
from s3node.meta.index import IndexPlace
from s3node.meta.lmdb_index import LmdbPlace
from s3node.meta.metadata import Deployment, Recovered
from s3node.store import epoch as epochs
from s3node.store.disks import (
    SEGMENTS,
    Opened,
    close_disks,
    common_deployment,
    create_disk,
    open_disks,
    read_identity,
)
from s3node.store.epoch import Epoch
from s3node.store.identity import USABLE, Identity
from s3node.store.scan import End, Found, Sealed, cut, scan
from s3node.store.segment import file_name, segment_of

LOG = logging.getLogger("s3node.start")

INDEX = "index"
NOBODY = bytes(UUID_BYTES)

Told = Callable[[str, int, int], None]
"""(step, done, of how many): progress, for people."""


@dataclass(frozen=True, slots=True)
class Site:
    """Where a node lives: its disks by slot, the folder of its index, and m."""

    disks: tuple[str, ...]
    meta: Path
    parity: int

    @property
    def index(self) -> Path:
        return self.meta / INDEX


# --- init ------------------------------------------------------------------------------------


def initialised(site: Site, fs: FileSystem) -> bool:
    """Whether these disks are a node's already; an init that was cut off does not count."""
    found = [read_identity(fs, path)[1] for path in site.disks]
    return None not in found or _in_use(site, fs)


def _in_use(site: Site, fs: FileSystem) -> bool:
    """An engine has lived on one of the disks."""
    for path in site.disks:
        try:
            if epochs.read(fs, path).epoch > 0:
                return True
        except (OSError, FormatError):
            continue  # no disk yet, or one that cannot be read: says nothing
    return False


def initialise(site: Site, fs: FileSystem, clock: Clock, random: RandomBytes) -> None:
    """Make the paths the disks of a new node; finish an init that was cut off.

    ConfigError when a path holds anything else, or when a node lives there already.
    """
    if _in_use(site, fs):
        raise ConfigError("these disks are a node's already: serve it, or choose empty paths")
    found = [read_identity(fs, path)[1] for path in site.disks]
    deployment_id = common_deployment(found) or random(UUID_BYTES)
    for slot, path in enumerate(site.disks):
        identity = found[slot] or Identity(
            deployment_id, random(UUID_BYTES), slot, len(site.disks), clock.wall_ms()
        )
        if identity.deployment_id != deployment_id or identity.slot != slot:
            raise ConfigError(f"{path}: belongs to another node or slot: choose an empty path")
        try:
            if found[slot] is None:
                create_disk(fs, path, identity, random(UUID_BYTES))
            recovery.initialise(Home(fs, path, identity.disk_id), deployment_id)
            if not fs.is_mount(path):  # else a power cut could take the directory with all in it
                fs.fsync_dir(str(PurePosixPath(path).parent))
        except OSError as fault:
            raise ConfigError(f"{path}: {fault.strerror}") from fault


# --- look ------------------------------------------------------------------------------------


@dataclass(slots=True)
class Looked:
    """The disks as they were found, locked. `homes` are the usable ones, and the places of the
    others: a disk that is missing, or not to be believed, may be put right while the node runs.
    """

    site: Site
    fs: FileSystem
    opened: Sequence[Opened]
    deployment: Deployment
    homes: dict[int, Home]

    def usable(self) -> dict[int, Home]:
        return {slot: home for slot, home in self.homes.items() if home.disk_id != NOBODY}

    def close(self) -> None:
        close_disks(self.fs, self.opened)


def look(site: Site, fs: FileSystem) -> Looked:
    """Open the disks. ConfigError when another process has them."""
    opened = open_disks(fs, site.disks)
    homes = {}
    for one in opened:
        if one.standing in USABLE and one.identity is not None:
            homes[one.slot] = Home(fs, one.path, one.identity.disk_id)
        else:
            homes[one.slot] = Home(fs, one.path, NOBODY)
    identities = [one.identity for one in opened if one.standing in USABLE]
    deployment = Deployment(common_deployment(identities), len(site.disks), site.parity)
    return Looked(site, fs, opened, deployment, homes)


@contextlib.contextmanager
def looked_at(site: Site, fs: FileSystem) -> Iterator[Looked]:
    """For offline work: the disks stay locked meanwhile."""
    looked = look(site, fs)
    try:
        yield looked
    finally:
        looked.close()


# --- settle ----------------------------------------------------------------------------------


def settle(
    looked: Looked,
    place: IndexPlace,
    clock: Clock,
    random: RandomBytes,
    threads: Executor,
    told: Told = lambda step, done, total: None,
) -> Recovered:
    """The metadata at the journal's end, in a new epoch. QuorumLost, JournalDamaged."""
    recovered = metadata.recover(
        place,
        looked.homes,
        looked.deployment,
        clock=clock,
        random=random,
        epoch_floor=max((one.epoch.epoch for one in looked.opened if one.epoch), default=0),
        seen_sequence=_newest_sequence(looked, threads),
        told=told,
    )
    for line in recovered.report.corrupt():
        LOG.warning("damage, made good from other disks", extra={"fields": {"what": line}})
    if recovered.begun is not None and recovered.begun.position.sequence == 1:
        LOG.info("new node: nothing is stored yet")
    elif recovered.rebuilt:
        LOG.info("index rebuilt from the disks", extra={"fields": {"why": recovered.rebuilt}})
    for home in looked.usable().values():
        try:
            stamp(home, recovered)
        except (OSError, StorageFault) as fault:
            fields = {"disk": home.path, "why": str(fault)}
            LOG.warning("epoch file not written", extra={"fields": fields})
    return recovered


def stamp(home: Home, recovered: Recovered) -> None:
    """Write the running epoch into a disk's epoch file. OSError, StorageFault."""
    if recovered.begun is not None:
        identity = read_identity(home.fs, home.path)[1]
        if identity is None:
            raise DiskOffline(f"{home.path}: its identity cannot be read any more")
        running = Epoch(recovered.begun.epoch, recovered.begun.life_id, identity.disk_id)
        epochs.write(home.fs, home.path, running)


def _newest_sequence(looked: Looked, threads: Executor) -> int:
    """The highest journal sequence that the newest segments speak of."""
    return max(threads.map(_newest_of_disk, looked.usable().values()), default=0)


def _newest_of_disk(home: Home) -> int:
    """The same for one disk. A segment that was open when the node ended is cut to what is used;
    it stays unsealed, and is never appended to (I3).
    """
    directory = f"{home.path}/{SEGMENTS}"
    try:
        found = [one for one in map(segment_of, home.fs.listdir(directory)) if one is not None]
        return max((_walk(home, directory, one) for one in sorted(found)[-1:]), default=0)
    except (OSError, FormatError) as fault:
        fields = {"disk": home.path, "why": str(fault)}
        LOG.warning("newest segment not looked at", extra={"fields": fields})
        return 0


def _walk(home: Home, directory: str, segment: int) -> int:
    path = f"{directory}/{file_name(segment)}"
    newest, sealed = 0, False
    for item in scan(home.fs, path, segment, home.disk_id, payloads=False):
        if isinstance(item, Found) and not item.fault:
            newest = max(newest, item.header.sequence)
        elif isinstance(item, Sealed):
            sealed = True
        elif isinstance(item, End) and not sealed and item.used < item.size:
            cut(home.fs, path, item.used)
    return newest


def rebuild(
    site: Site, fs: FileSystem, told: Told = lambda step, done, total: None
) -> dict[str, object]:
    """Offline: the index anew from the disks alone; what it then holds."""
    site.meta.mkdir(mode=0o700, parents=True, exist_ok=True)
    with looked_at(site, fs) as looked:
        report, seal = metadata.rebuild_index(
            LmdbPlace(site.index), looked.usable(), looked.deployment, told=told
        )
    return {"sequence": seal.position.sequence, "epoch": report.epoch, "bytes": seal.data_bytes}
