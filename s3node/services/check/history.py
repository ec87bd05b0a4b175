"""Journals, checkpoints and index: can the metadata be told, and from how many copies?"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from s3node.base.errors import FormatError, FormatUnknown, StorageFault
from s3node.meta import rebuild, recovery
from s3node.meta.digest import digest_rows
from s3node.meta.homes import Home
from s3node.meta.index import Index
from s3node.meta.index_seal import Seal
from s3node.meta.lmdb_index import LmdbPlace
from s3node.meta.manifest import Manifest, Range, is_manifest
from s3node.meta.metadata import Deployment
from s3node.meta.recovery import DiskReport
from s3node.meta.survey import Chain, Survey, choose, survey
from s3node.services import findings as kinds
from s3node.services.findings import Findings, Told
from s3node.services.start import Looked, Site

_SCRATCH = "check-"


@dataclass(slots=True)
class History:
    """What the disks say about the past; no chains when it cannot be told."""

    chains: Sequence[Chain] = field(default_factory=list)


def check_journals(looked: Looked, told: Told) -> tuple[Findings, History]:
    """Every log, promise and checkpoint file of every disk."""
    found = Findings()
    homes, deployment = looked.usable(), looked.deployment
    told("journals", 0, len(homes))
    try:
        seen = survey(homes, deployment.deployment_id)
    except FormatUnknown as fault:
        found.add(kinds.LATER_FORMAT, "journals and checkpoints", str(fault))
        return found, History()
    try:
        chains = choose(seen, deployment.disk_count, deployment.parity)
    except StorageFault as fault:
        _tell_disks(found, homes, seen)
        found.add(kinds.JOURNAL_LOST, "the journal", str(fault))
        return found, History()
    report = recovery.report(homes, seen, chains[0], deployment.parity)
    for slot in sorted(report.disks):
        _tell_disk(found, homes[slot], report.disks[slot])
    _check_copies(found, seen, chains[0], deployment)
    told("journals", len(homes), len(homes))
    _check_manifests(found, homes, seen, chains, deployment)
    _check_ranges(found, homes, chains[0], deployment, told)
    return found, History(chains)


def _tell_disks(found: Findings, homes: Mapping[int, Home], seen: Survey) -> None:
    """Without a history: what is damaged for whatever reason."""
    for slot, disk in seen.disks.items():
        if disk.error:
            found.add(kinds.UNREADABLE, homes[slot].path, disk.error)
        for what in disk.damaged:
            found.add(kinds.JOURNAL_CORRUPT, homes[slot].path, what)
        for log in disk.logs:
            for one in log.damages:
                where = f"{homes[slot].journal}/{one.name}"
                found.add(kinds.JOURNAL_CORRUPT, where, f"at {one.damage.start}: damaged")


def _check_copies(found: Findings, seen: Survey, chain: Chain, deployment: Deployment) -> None:
    """Every frame of the history must lie on m + 1 disks; only the last may still be on its way."""
    few = [
        known.position.sequence
        for known in chain.frames
        if sum(known.position.chain in disk.chains for disk in seen.disks.values())
        <= deployment.parity
    ]
    durable = [sequence for sequence in few if sequence <= chain.synced_through]
    for kind, some in ((kinds.JOURNAL_THIN, durable), (kinds.JOURNAL_SHORT, few[len(durable) :])):
        if some:
            what = (
                f"{len(some)} frames, the first is {some[0]}, on {deployment.parity} disks or less"
            )
            found.add(kind, "the journal", what)


def _tell_disk(found: Findings, home: Home, disk: DiskReport) -> None:
    if disk.reason:
        found.add(kinds.UNREADABLE, home.path, disk.reason)
    for what in disk.corrupt:
        found.add(kinds.JOURNAL_CORRUPT, home.path, what)
    for what in disk.torn:
        found.add(kinds.JOURNAL_TORN, home.path, what)
    if disk.stale:
        found.add(kinds.JOURNAL_STALE, home.path, "of an earlier life: it was away, or lost files")
    elif disk.lacked:
        found.add(kinds.JOURNAL_LACKS, home.path, f"{disk.lacked} frames are not in its journal")


# --- checkpoints -----------------------------------------------------------------------------


def _check_manifests(
    found: Findings,
    homes: Mapping[int, Home],
    seen: Survey,
    chains: Sequence[Chain],
    deployment: Deployment,
) -> None:
    newest, *older = (chain.manifest for chain in chains)
    holders = _holders(seen, newest)
    for slot in sorted(set(homes) - set(holders)):
        where = f"{homes[slot].checkpoints}/{newest.name}"
        found.add(kinds.CHECKPOINT_LACKS, where, "the newest manifest is not there, or damaged")
    # A checkpoint that was cut off while it was being stated: the one before holds meanwhile.
    stated = any(len(_holders(seen, one)) > deployment.parity for one in older)
    if len(holders) <= deployment.parity and not stated:
        what = f"on {len(holders)} disks, {deployment.parity + 1} are needed"
        found.add(kinds.CHECKPOINT_COPIES, newest.name, what)
    names = {one.name for one in newest.ranges if one.file_bytes} | {newest.name}
    for home in homes.values():
        with contextlib.suppress(OSError):  # told of by the other steps
            for name in home.fs.listdir(home.checkpoints):
                if name not in names:
                    what = "an old manifest" if is_manifest(name) else "of no checkpoint in use"
                    found.add(kinds.STRAY, f"{home.checkpoints}/{name}", what)


def _holders(seen: Survey, manifest: Manifest) -> list[int]:
    return [slot for slot, disk in seen.disks.items() if manifest in disk.manifests]


def _check_ranges(
    found: Findings, homes: Mapping[int, Home], chain: Chain, deployment: Deployment, told: Told
) -> None:
    ranges = [one for one in chain.manifest.ranges if one.file_bytes]
    for number, one in enumerate(ranges):
        told("checkpoints", number, len(ranges))
        copies = sum(_whole(found, home, one, deployment) for home in homes.values())
        if copies <= deployment.parity:
            what = f"{copies} whole copies, {deployment.parity + 1} are needed"
            found.add(kinds.CHECKPOINT_COPIES, one.name, what)
    told("checkpoints", len(ranges), len(ranges))


def _whole(found: Findings, home: Home, one: Range, deployment: Deployment) -> bool:
    try:
        rebuild.read_range(home, one, deployment.deployment_id)
    except FileNotFoundError:
        return False  # it needs to be on m + 1 disks, not on all
    except (OSError, FormatError) as fault:
        found.add(kinds.CHECKPOINT_DAMAGED, f"{home.checkpoints}/{one.name}", str(fault))
        return False
    return True


# --- the index -------------------------------------------------------------------------------


@contextlib.contextmanager
def index_made_anew(looked: Looked, history: History, told: Told) -> Iterator[Index]:
    """An index from the disks alone, in a folder of its own. StorageFault if it cannot be made."""
    with _scratch(looked.site.meta) as folder:
        index, _ = rebuild.rebuild(
            history.chains,
            looked.usable(),
            LmdbPlace(folder / "index"),
            looked.deployment.deployment_id,
            told=lambda what, done, total: told(f"index: {what}", done, total),
        )
        try:
            yield index
        finally:
            index.close()


@contextlib.contextmanager
def _scratch(meta: Path) -> Iterator[Path]:
    """A folder below `meta`, gone afterwards; those of checks that were killed go too."""
    made = not meta.exists()
    meta.mkdir(mode=0o700, parents=True, exist_ok=True)
    for left in meta.glob(f"{_SCRATCH}*"):
        shutil.rmtree(left)
    try:
        with tempfile.TemporaryDirectory(prefix=_SCRATCH, dir=meta) as folder:
            yield Path(folder)
    finally:
        if made:
            meta.rmdir()


@contextlib.contextmanager
def sealed_index(site: Site, deployment: Deployment) -> Iterator[Index]:
    """The index as the node left it, for reading; the caller has verified its seal."""
    index = LmdbPlace(site.index).open_readonly(deployment.deployment_id)
    try:
        yield index
    finally:
        index.close()


def seal_of(looked: Looked) -> Seal | str:
    """The seal of the node's index if it is whole, else why it is not used."""
    return LmdbPlace(looked.site.index).sealed(looked.deployment.deployment_id)


def check_index(looked: Looked, history: History, fresh: Index, told: Told) -> Findings:
    """Whether the node's own index says what the disks say."""
    found = Findings()
    where = str(looked.site.index)
    seal = seal_of(looked)
    chain = history.chains[0]
    if isinstance(seal, str):
        found.add(kinds.INDEX_ANEW, where, seal)
    elif seal.position.sequence > chain.tip.sequence:
        what = f"it knows frame {seal.position.sequence}, the journal ends at {chain.tip.sequence}"
        found.add(kinds.INDEX_BEHIND, where, what)
    elif not chain.has(seal.position):
        found.add(kinds.INDEX_ANEW, where, "not on the journal's chain, or too old")
    elif seal.position != chain.tip:
        what = f"it stands at frame {seal.position.sequence} of {chain.tip.sequence}"
        found.add(kinds.INDEX_LATE, where, what)
    else:
        told("index: comparison", 0, 1)
        with sealed_index(looked.site, looked.deployment) as index:
            wanted, got = (one.read(lambda tx, _: digest_rows(tx)) for one in (fresh, index))
        if got != wanted:
            found.add(kinds.INDEX_DIFFERS, where, "its rows are not those on the disks")
        told("index: comparison", 1, 1)
    return found
