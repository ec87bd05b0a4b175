"""Recovery: what the disks say is made the one history, and a new epoch begins on it.

In order, each step durable before the next, so that a crash anywhere is only another start:

1. `survey` and `choose` (elsewhere): read everything, decide, write nothing;
2. promise the new epoch on m + 1 disks;
3. copy to every disk the frames that it lacks or may not have on the platter, and the manifest;
   m + 1 must have them all;
4. write the epoch frame on m + 1 disks.

A frame that can be read need not be on the platter: the life before may have been killed between
write and sync, or its sync have failed, and a power cut after this start would take from below
what is built on it. So frames that no later one states to be synced are written anew everywhere.

A disk whose newest epoch is older than the chain's was away, a blank one is new: it gets a copy of
the whole chain, then its own logs, void beyond the chain, are discarded. (Its checkpoint files are
judged by the manifest alone, and cleaned with the next one.) A disk that fails a step is out, to
be readmitted. Copies are made under another name and renamed when whole, so a disk is never half
up to date.

Works on `FileSystem` alone: synchronous, usable on a stopped node.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from s3node.base.errors import QuorumLost
from s3node.base.filesystem import write_all, write_file
from s3node.meta import frame as frames
from s3node.meta import manifest, promise
from s3node.meta.frame import Life, Position
from s3node.meta.homes import BEGUN, COPIED, Home, log_name, make_directories
from s3node.meta.slots import LogFile
from s3node.meta.survey import (
    Chain,
    Disk,
    JournalDamaged,
    Known,
    LogDamage,
    Place,
    Survey,
    read_frame,
    survey_journal,
)
from s3node.meta.tails import was_durable


@dataclass(slots=True)
class DiskReport:
    """What recovery found on one disk, for people and for `check`."""

    slot: int
    present: bool
    stale: bool = False
    frames: int = 0
    lacked: int = 0  # frames of the chain that it did not have
    torn: list[str] = field(default_factory=list)  # tails cut, harmless
    corrupt: list[str] = field(default_factory=list)  # bytes that were durable once
    reason: str = ""


@dataclass(slots=True)
class Report:
    """What was found and chosen."""

    epoch: int  # of the chain
    base: int
    tip: int
    adopted: int  # frames at the end that lay on fewer than m + 1 disks
    disks: dict[int, DiskReport]

    def corrupt(self) -> list[str]:
        """Everything that should be told to somebody."""
        return [f"slot {d.slot}: {what}" for d in self.disks.values() for what in d.corrupt]


@dataclass(slots=True)
class Begun:
    """A new epoch, durable on m + 1 disks."""

    epoch: int
    life_id: bytes
    position: Position
    files: dict[int, list[LogFile]]
    out: dict[int, str]  # slots to readmit, and why


def initialise(home: Home, deployment_id: bytes) -> None:
    """Make a new node's disk: directories and the manifest of nothing. Once, at init."""
    make_directories(home)
    first = manifest.first(deployment_id)
    write_file(home.fs, home.checkpoints, first.name, manifest.pack(first))


def report(homes: Mapping[int, Home], found: Survey, chain: Chain, parity: int) -> Report:
    """What `found` means in the light of the chosen chain."""
    wanted = {known.position.chain for known in chain.frames}
    copies = [
        sum(known.position.chain in d.chains for d in found.disks.values())
        for known in chain.frames
    ]
    adopted = 0
    while adopted < len(copies) and copies[-1 - adopted] <= parity:
        adopted += 1
    disks = {
        slot: DiskReport(
            slot,
            disk.present,
            is_stale(disk, chain),
            len(disk.chains),
            len(wanted - disk.chains),
            reason=disk.error,
        )
        for slot, disk in found.disks.items()
    }
    for slot, disk in found.disks.items():
        disks[slot].corrupt += disk.damaged
        for log in disk.logs:
            for damage in log.damages:
                durable = was_durable(homes, disk, log, damage, chain)
                kind = disks[slot].corrupt if durable else disks[slot].torn
                kind.append(_describe(damage))
    return Report(chain.epoch, chain.manifest.base.sequence, chain.tip.sequence, adopted, disks)


def _describe(damage: LogDamage) -> str:
    start, stop, reason, _ = damage.damage
    return f"{damage.name}, bytes {start} to {stop}, about frame {damage.sequence}: {reason}"


def is_stale(disk: Disk, chain: Chain) -> bool:
    """It was away while an epoch that the chain has began."""
    return disk.present and disk.epoch < chain.epoch


def begin_epoch(
    homes: Mapping[int, Home],
    found: Survey,
    chain: Chain,
    *,
    deployment_id: bytes,
    parity: int,
    epoch_floor: int,
    life_id: bytes,
    time_ms: int,
) -> Begun:
    """Steps 2 to 4. QuorumLost when m + 1 disks cannot be written."""
    epoch = max(found.epoch_max(), epoch_floor) + 1
    out = {slot: disk.error for slot, disk in found.disks.items() if disk.error}
    members = {slot: home for slot, home in homes.items() if slot not in out}
    lacking = {slot: _lacking(found.disks[slot], chain) for slot in members}
    step = _Steps(members, out, parity + 1)
    pledge = promise.pack(promise.Promise(deployment_id, epoch, life_id))
    step.on_each(
        "promise", lambda slot, home: write_file(home.fs, home.journal, promise.NAME, pledge)
    )
    step.on_each("tail", lambda slot, home: _copy(homes, home, lacking[slot], epoch))
    step.on_each("manifest", lambda slot, home: _give(home, found.disks[slot], chain.manifest))
    beginning = frames.pack(
        frames.EPOCH,
        frames.life(Life(life_id, {slot: home.disk_id for slot, home in members.items()})),
        len(members),
        after=chain.tip,
        deployment_id=deployment_id,
        epoch=epoch,
        time_ms=time_ms,
        synced_through=chain.tip.sequence,
    )
    begun = beginning.position.sequence
    name = log_name(begun, epoch, BEGUN)
    step.on_each(
        "epoch frame",
        lambda slot, home: write_file(home.fs, home.journal, name, beginning.data),
    )
    files = {}
    for slot, home in members.items():
        disk = found.disks[slot]
        _sweep(home)
        if _starts_over(disk, chain):
            files[slot] = _discard(home, disk)
            _moved(slot, lacking[slot], epoch)
        else:
            files[slot] = _kept(disk)
        files[slot] += _written(lacking[slot], epoch, begun)
    return Begun(epoch, life_id, beginning.position, files, out)


def _starts_over(disk: Disk, chain: Chain) -> bool:
    return not disk.present or is_stale(disk, chain)


def _lacking(disk: Disk, chain: Chain) -> list[Known]:
    """The frames to copy to a disk."""
    if _starts_over(disk, chain):
        return chain.frames
    synced = chain.synced_through
    return [
        known
        for known in chain.frames
        if known.position.sequence > synced or known.position.chain not in disk.chains
    ]


def _moved(slot: int, copied: Sequence[Known], epoch: int) -> None:
    """A disk that started over has its frames in one new log: who reads them later looks there."""
    offset = 0
    for known in copied:
        name = log_name(copied[0].position.sequence, epoch, COPIED)
        others = [place for place in known.places if place.slot != slot]
        known.places[:] = [*others, Place(slot, name, offset)]
        offset += known.size


def _kept(disk: Disk) -> list[LogFile]:
    return [LogFile(log.name, log.last) for log in disk.logs]


def _discard(home: Home, disk: Disk) -> list[LogFile]:
    """Remove a disk's old logs; what cannot be removed now goes when the journal is cut."""
    left = []
    for log in disk.logs:
        try:
            home.fs.unlink(f"{home.journal}/{log.name}")
        except OSError:
            left.append(LogFile(log.name, 0))
    return left


class _Steps:
    """Runs a step on every disk that is still in; one that fails is out."""

    def __init__(self, members: dict[int, Home], out: dict[int, str], need: int) -> None:
        self._members, self._out, self._need = members, out, need

    def on_each(self, what: str, work: Callable[[int, Home], None]) -> None:
        for slot, home in list(self._members.items()):
            try:
                make_directories(home)
                work(slot, home)
            except OSError as error:
                self._out[slot] = f"{what}: {error}"
                del self._members[slot]
        if len(self._members) < self._need:
            raise QuorumLost(
                f"{what}: {len(self._members)} disks can be written, {self._need} are needed; "
                + "; ".join(f"slot {slot}: {why}" for slot, why in sorted(self._out.items()))
            )


def _copy(homes: Mapping[int, Home], home: Home, lacking: Sequence[Known], epoch: int) -> None:
    if lacking:
        name = log_name(lacking[0].position.sequence, epoch, COPIED)
        write_log(home, name, (read_frame(homes, known) for known in lacking))


def _give(home: Home, disk: Disk, newest: manifest.Manifest) -> None:
    if newest not in disk.manifests:
        write_file(home.fs, home.checkpoints, newest.name, manifest.pack(newest))


def _sweep(home: Home) -> None:
    """Remove what a crash left half written; what cannot be removed only takes room."""
    with contextlib.suppress(OSError):
        for name in home.fs.listdir(home.journal):
            if name.endswith(".tmp"):
                home.fs.unlink(f"{home.journal}/{name}")


def _written(lacking: Sequence[Known], epoch: int, begun: int) -> list[LogFile]:
    """The log files that recovery made on a disk."""
    beginning = LogFile(log_name(begun, epoch, BEGUN), begun)
    if not lacking:
        return [beginning]
    first, last = lacking[0].position.sequence, lacking[-1].position.sequence
    return [LogFile(log_name(first, epoch, COPIED), last), beginning]


def write_log(home: Home, name: str, pieces: Iterable[bytes]) -> None:
    """A whole log file, or none: written under another name, synced, renamed."""
    temporary = f"{home.journal}/{name}.tmp"
    fd = home.fs.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    try:
        offset = 0
        for piece in pieces:
            write_all(home.fs, fd, piece, offset)
            offset += len(piece)
        home.fs.fdatasync(fd)
    finally:
        home.fs.close(fd)
    home.fs.rename(temporary, f"{home.journal}/{name}")
    home.fs.fsync_dir(home.journal)


def readmission(deployment_id: bytes) -> Callable[..., None]:
    """The `Readmission` of the journal."""

    def bring(homes: Mapping[int, Home], slot: int, base: int, last: Position, name: str) -> None:
        others = {number: home for number, home in homes.items() if number != slot}
        wanted = _collect(others, base, last, deployment_id)
        home = homes[slot]
        make_directories(home)
        write_log(home, name, (read_frame(others, known) for known in wanted))
        for other in home.fs.listdir(home.journal):
            if other not in {name, promise.NAME}:
                home.fs.unlink(f"{home.journal}/{other}")
        home.fs.fsync_dir(home.journal)

    return bring


def _collect(
    homes: Mapping[int, Home], base: int, last: Position, deployment_id: bytes
) -> list[Known]:
    """The frames base + 1 .. last, followed backwards from `last` by their hashes."""
    found = Survey({}, {})
    for slot, home in homes.items():
        if home.empty:
            continue
        with contextlib.suppress(OSError):  # another disk has them
            survey_journal(found, Disk(slot), home, deployment_id)
        wanted = _followed(found, base, last)
        if wanted is not None:
            return wanted
    raise JournalDamaged(f"frames {base + 1}..{last.sequence} are not all to be found")


def _followed(found: Survey, base: int, last: Position) -> list[Known] | None:
    wanted: list[Known] = []
    chain = last.chain
    for _ in range(last.sequence, base, -1):
        if chain not in found.frames:
            return None
        wanted.append(found.frames[chain])
        chain = wanted[-1].header.previous
    return wanted[::-1]
