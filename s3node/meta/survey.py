"""What lies on the disks: a look at every log, manifest and promise, changing nothing.

`survey` reads each disk once, tolerating whatever is damaged; `choose` then decides, purely, which
history is the true one: of the chains of frames linked by hashes to a manifest's base, the one of
the highest epoch, then the longest. It refuses loudly where that cannot be known: too few disks,
or frames that state that more was durable than can be found.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from s3node.base.errors import FormatError, FormatUnknown, QuorumLost, StorageFault
from s3node.base.filesystem import read_file
from s3node.base.medium import Medium
from s3node.meta import logscan, promise
from s3node.meta.frame import LAYOUT, Header, Position, check_payload, unpack_header
from s3node.meta.homes import Home, first_sequence, is_log
from s3node.meta.logscan import Damage, FoundFrame
from s3node.meta.manifest import Manifest, is_manifest
from s3node.meta.manifest import unpack as unpack_manifest

PLACES_MAX = 4  # of one frame, remembered for reading it again


class JournalDamaged(StorageFault):
    """Frames that were durable cannot be found: beyond what the redundancy covers."""


class Place(NamedTuple):
    slot: int
    name: str
    offset: int


@dataclass(slots=True, eq=False)
class Known:
    """A valid frame that lies somewhere."""

    header: Header
    position: Position
    places: list[Place] = field(default_factory=list)

    @property
    def size(self) -> int:
        return LAYOUT.size + self.header.payload_bytes


class LogDamage(NamedTuple):
    """Bytes of a log file that are no frame."""

    name: str
    damage: Damage
    sequence: int  # whose bytes they were, or must have been


@dataclass(slots=True, eq=False)
class Log:
    """A log file: the last sequence in it, where that frame ends, and what is damaged."""

    name: str
    last: int = 0
    end: int = 0
    damages: list[LogDamage] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class Disk:
    """What was found on one disk."""

    slot: int
    error: str = ""  # why it could not be read at all
    chains: set[bytes] = field(default_factory=set)  # hashes of its frames
    sequences: set[int] = field(default_factory=set)  # and their sequences
    logs: list[Log] = field(default_factory=list)
    manifests: list[Manifest] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)  # manifests and promises, what is wrong
    epoch: int = -1  # the highest of its frames and manifests
    promised: int = 0

    @property
    def present(self) -> bool:
        """It was readable and is a member: something of ours lies on it."""
        return not self.error and self.epoch >= 0


@dataclass(slots=True, eq=False)
class Survey:
    disks: dict[int, Disk]
    frames: dict[bytes, Known]

    def epoch_max(self) -> int:
        """The highest epoch that anything speaks of."""
        return max((max(d.epoch, d.promised) for d in self.disks.values()), default=0)


@dataclass(slots=True, eq=False)
class Chain:
    """The history that was chosen: a checkpoint, and the frames after its base."""

    manifest: Manifest
    frames: list[Known]

    @property
    def tip(self) -> Position:
        return self.frames[-1].position if self.frames else self.manifest.base

    @property
    def epoch(self) -> int:
        return self.frames[-1].header.epoch if self.frames else self.manifest.epoch

    @property
    def synced_through(self) -> int:
        """Frames up to here were synced on m + 1 disks, as frames and manifest say."""
        stated = [known.header.synced_through for known in self.frames]
        return max([*stated, self.manifest.position.sequence])

    def has(self, position: Position) -> bool:
        """Whether a state lies on this chain, where it can still be told."""
        offset = position.sequence - self.manifest.base.sequence
        if offset == 0:
            return position == self.manifest.base
        return 0 < offset <= len(self.frames) and self.frames[offset - 1].position == position

    def after(self, position: Position) -> Sequence[Known]:
        """The frames after a position on the chain."""
        return self.frames[position.sequence - self.manifest.base.sequence :]


def survey(homes: Mapping[int, Home], deployment_id: bytes) -> Survey:
    """Look at every disk. FormatUnknown if anything is of a later release."""
    result = Survey({}, {})
    for slot, home in homes.items():
        disk = result.disks[slot] = Disk(slot)
        if home.empty:
            disk.error = f"{home.path}: no disk of ours there"
            continue
        try:
            survey_journal(result, disk, home, deployment_id)
            _survey_checkpoints(disk, home, deployment_id)
        except OSError as error:
            disk.error = f"{home.path}: {os.strerror(error.errno or 0)}"
    return result


def survey_journal(found: Survey, disk: Disk, home: Home, deployment_id: bytes) -> None:
    """Look at one disk's journal. OSError where the disk cannot be read at all."""
    if not home.fs.exists(home.journal):
        home.fs.listdir(home.path)  # the disk itself must be there
        return
    for name in home.fs.listdir(home.journal):
        path = f"{home.journal}/{name}"
        if is_log(name):
            data = read_file(home.fs, path)
            disk.logs.append(_survey_log(found, disk, name, data, deployment_id))
        elif name == promise.NAME:
            _survey_promise(disk, read_file(home.fs, path), deployment_id)


def lacks(deployment_id: bytes, home: Home, name: str, first: int, last: int) -> str:
    """Why the frames first..last are not known to lie on the medium in the log `name`; "" if they
    do. A name is used once, so a valid frame in the file is the one that was appended.
    """
    wanted = set(range(first, last + 1))
    try:
        data = read_file(Medium(home.fs), f"{home.journal}/{name}")
        for item in logscan.scan(data, deployment_id):
            if isinstance(item, FoundFrame):
                wanted.discard(item.header.sequence)
    except FormatUnknown as error:
        return str(error)
    except OSError as error:
        return f"{name} cannot be read: {error.strerror or error}"
    return f"{name} lacks frame {min(wanted)}" if wanted else ""


def _survey_log(found: Survey, disk: Disk, name: str, data: bytes, deployment_id: bytes) -> Log:
    log = Log(name, first_sequence(name) - 1)
    for item in logscan.scan(data, deployment_id):
        if isinstance(item, FoundFrame):
            log.last, log.end = item.header.sequence, item.end
            _remember(found, disk, item, Place(disk.slot, name, item.offset))
        else:
            log.last = item.sequence or log.last + 1
            log.damages.append(LogDamage(name, item, log.last))
    return log


def _remember(found: Survey, disk: Disk, frame: FoundFrame, place: Place) -> None:
    known = found.frames.setdefault(frame.position.chain, Known(frame.header, frame.position))
    if len(known.places) < PLACES_MAX:
        known.places.append(place)
    disk.chains.add(known.position.chain)
    disk.sequences.add(known.position.sequence)
    disk.epoch = max(disk.epoch, frame.header.epoch)


def _survey_promise(disk: Disk, data: bytes, deployment_id: bytes) -> None:
    try:
        made = promise.unpack(data)
    except FormatUnknown:
        raise
    except FormatError as error:
        disk.damaged.append(str(error))
        return
    if made.deployment_id == deployment_id:
        disk.promised = made.epoch
    else:
        disk.damaged.append("promise: of another deployment")


def _survey_checkpoints(disk: Disk, home: Home, deployment_id: bytes) -> None:
    if not home.fs.exists(home.checkpoints):
        return
    for name in home.fs.listdir(home.checkpoints):
        if not is_manifest(name):
            continue
        try:
            manifest = unpack_manifest(read_file(home.fs, f"{home.checkpoints}/{name}"))
        except FormatUnknown:
            raise
        except (FormatError, OSError) as error:
            disk.damaged.append(f"{name}: {error}")
            continue
        if manifest.deployment_id == deployment_id:
            disk.manifests.append(manifest)
            disk.epoch = max(disk.epoch, manifest.epoch)
        else:
            disk.damaged.append(f"{name}: of another deployment")


def choose(found: Survey, disk_count: int, parity: int) -> list[Chain]:
    """The true history, once per manifest that it can be told from, the newest manifest first.

    QuorumLost, JournalDamaged.
    """
    _require_quorum(found, disk_count, parity)
    manifests = {m.name: m for disk in found.disks.values() for m in disk.manifests}
    if not manifests:
        raise JournalDamaged("no valid manifest on any disk")
    links: dict[bytes, list[Known]] = {}
    for known in found.frames.values():
        links.setdefault(known.header.previous, []).append(known)
    chains = [_longest(manifest, links) for manifest in manifests.values()]
    epoch, tip = max((chain.epoch, chain.tip.sequence) for chain in chains)
    newest = [c for c in chains if (c.epoch, c.tip.sequence) == (epoch, tip)]
    newest.sort(key=lambda c: (c.manifest.epoch, c.manifest.generation), reverse=True)
    _require_nothing_beyond(found, epoch, tip)
    usable = [c for c in newest if c.has(c.manifest.position)]
    if not usable:
        raise JournalDamaged(f"no manifest lies on the chain of epoch {epoch} that ends at {tip}")
    return usable


def _require_quorum(found: Survey, disk_count: int, parity: int) -> None:
    present = [disk for disk in found.disks.values() if disk.present]
    if len(present) >= disk_count - parity:
        return
    missing = [
        f"slot {disk.slot}: {disk.error or 'no journal and no checkpoints'}"
        for disk in found.disks.values()
        if not disk.present
    ]
    missing += [f"slot {slot}: missing" for slot in range(disk_count) if slot not in found.disks]
    raise QuorumLost(
        f"{len(present)} of {disk_count} disks have their journal, {disk_count - parity} are "
        f"needed to know that nothing is lost; {'; '.join(missing)}"
    )


def _longest(manifest: Manifest, links: Mapping[bytes, Sequence[Known]]) -> Chain:
    """From the manifest's base to the tip of the highest epoch, then the highest sequence."""
    reached: dict[bytes, Known] = {}
    edge = [manifest.base]
    while edge:
        position = edge.pop()
        for known in links.get(position.chain, ()):
            if known.position.sequence == position.sequence + 1:
                reached[known.position.chain] = known
                edge.append(known.position)
    if not reached:
        return Chain(manifest, [])
    tip = max(reached.values(), key=lambda known: (known.header.epoch, known.header.sequence))
    frames = [tip]
    while frames[-1].header.previous in reached:
        frames.append(reached[frames[-1].header.previous])
    return Chain(manifest, frames[::-1])


def _require_nothing_beyond(found: Survey, epoch: int, tip: int) -> None:
    """Nothing may speak of a durable history that goes on where the chosen one ends."""
    for known in found.frames.values():
        header = known.header
        if header.epoch >= epoch and header.synced_through > tip:
            raise JournalDamaged(
                f"frame {header.sequence} of epoch {header.epoch} says that the journal was "
                f"durable through {header.synced_through}, it can be followed to {tip} only"
            )
    for disk in found.disks.values():
        for manifest in disk.manifests:
            if manifest.epoch >= epoch and manifest.position.sequence > tip:
                raise JournalDamaged(
                    f"{manifest.name} knows the journal through {manifest.position.sequence}, "
                    f"it can be followed to {tip} only"
                )


def read_payload(homes: Mapping[int, Home], known: Known) -> bytes:
    """The payload of a frame, verified again. JournalDamaged when no place has it any more."""
    return read_frame(homes, known)[LAYOUT.size :]


def read_frame(homes: Mapping[int, Home], known: Known) -> bytes:
    """All bytes of a frame, verified again."""
    reasons = []
    for place in known.places:
        home = homes[place.slot]
        try:
            fd = home.fs.open(f"{home.journal}/{place.name}", os.O_RDONLY)
            try:
                data = home.fs.pread(fd, known.size, place.offset)
            finally:
                home.fs.close(fd)
            header = unpack_header(data)
            check_payload(header, data[LAYOUT.size :])
            if header == known.header:
                return data
            reasons.append(f"slot {place.slot}: changed")
        except (OSError, FormatError) as error:
            reasons.append(f"slot {place.slot}: {error}")
    raise JournalDamaged(f"frame {known.position.sequence} cannot be read: {'; '.join(reasons)}")
