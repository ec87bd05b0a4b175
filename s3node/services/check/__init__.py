"""`s3node check`: offline, is everything there, and right? Reads every byte, changes nothing.

    places      the disks: who they are, their epoch files, strangers on them
    history     journals, promises, checkpoints, the index
    segments    every record of every segment, by its digests
    rows        every version and part, down to each shard; what nothing leads to
    content     that the shards decode to what was stored

What is found is told in this order, and the same every time. The rows come from an index made
anew from the disks, in a folder that goes away again; the node's own index is compared with it.
Where the journal cannot be followed, the node's own index is used if its seal is right.

Bytes that rows name are read twice: in the order in which they lie, with all else that a disk
holds, and in the order of the keys, to be decoded. Nothing here repairs.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from ec import NativeCodec
from s3node.base.errors import DiskFailed, StorageFault
from s3node.base.filesystem import FileSystem
from s3node.base.limits import DISKS_MAX
from s3node.meta.index import Index
from s3node.services import findings as kinds
from s3node.services.check.content import Decoder
from s3node.services.check.history import (
    History,
    check_index,
    check_journals,
    index_made_anew,
    seal_of,
    sealed_index,
)
from s3node.services.check.places import check_places
from s3node.services.check.rows import check_rows
from s3node.services.check.segments import Shards, scan_disks
from s3node.services.findings import Finding, Findings, Told
from s3node.services.start import Looked, Site, looked_at

__all__ = ["Finding", "check"]


def check(site: Site, fs: FileSystem, progress: Told) -> Iterator[Finding]:
    """Everything that is to be said about a stopped node. ConfigError while it runs."""
    with looked_at(site, fs) as looked:
        yield from check_places(looked).told()
        found, history = check_journals(looked, progress)
        yield from found.told()
        disks = scan_disks(looked.usable(), progress)
        for one in disks.values():
            yield from one.found.told()
        absent = {one.slot: f"the disk is {one.standing.value}" for one in looked.opened}
        shards = Shards(disks, absent)
        for found in _metadata(looked, history, shards, progress):
            yield from found.told()
        yield from shards.torn_tails().told()


def _metadata(looked: Looked, history: History, shards: Shards, told: Told) -> Iterator[Findings]:
    """Index and rows, from wherever they can be had."""
    if history.chains:
        yield _ahead(history, shards)
    found = Findings()
    with contextlib.ExitStack() as stack:
        index = _made_anew(looked, history, found, told, stack)
        if index is not None:
            yield check_index(looked, history, index, told)
        else:
            index = _own(looked, found, stack)
        yield found
        if index is not None:
            with ThreadPoolExecutor(DISKS_MAX) as threads:
                decoder = Decoder(looked.usable(), NativeCodec(), threads)
                yield check_rows(index, shards, decoder, told)


def _made_anew(
    looked: Looked, history: History, found: Findings, told: Told, stack: contextlib.ExitStack
) -> Index | None:
    """An index from the disks alone, if their history can be told."""
    if not history.chains:
        return None
    try:
        return stack.enter_context(index_made_anew(looked, history, told))
    except (DiskFailed, OSError) as fault:
        found.add(kinds.NO_ROOM, str(looked.site.meta), str(fault))
    except StorageFault as fault:
        found.add(kinds.JOURNAL_LOST, "the metadata", str(fault))
    return None


def _own(looked: Looked, found: Findings, stack: contextlib.ExitStack) -> Index | None:
    """The index as the node left it, if its seal is right."""
    seal = seal_of(looked)
    if isinstance(seal, str):
        found.add(kinds.JOURNAL_LOST, str(looked.site.index), f"no index to look at: {seal}")
        return None
    return stack.enter_context(sealed_index(looked.site, looked.deployment))


def _ahead(history: History, shards: Shards) -> Findings:
    """No record may know more than the journal."""
    found = Findings()
    tip = history.chains[0].tip.sequence
    for disk in shards.disks.values():
        if disk.newest > tip:
            what = f"a record names frame {disk.newest}, the journal ends at {tip}"
            found.add(kinds.JOURNAL_BEHIND, disk.home.path, what)
    return found
