"""I1 to I12 on the disks of a stopped node, as far as its bytes can tell.

What `s3node check` verifies is verified here by the same code, with the index in memory: every
byte of every record, frame, checkpoint and row, that what rows name is there and decodes (I1, I4,
I7, I10, I12), that nothing is named twice or by nobody (I2, I5: a removal left its death row),
that index and disks agree. `unchanged` adds what needs two looks: segments never change but for
a cut tail, and none vanishes (I3, I5).
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from unittest.mock import patch

from ec import NativeCodec
from s3node.meta import rebuild, schema, tables
from s3node.meta.kv import ReadTx
from s3node.services import findings as kinds
from s3node.services.check.content import Decoder
from s3node.services.check.history import check_journals
from s3node.services.check.places import check_places
from s3node.services.check.rows import check_rows
from s3node.services.check.segments import DiskScan, Shards
from s3node.services.findings import Finding
from s3node.services.start import Looked, Site, looked_at
from s3node.store.plain import InlineExecutor
from s3node.store.segment import segment_of
from tests.simulation.filesystem import SimulatedFileSystem
from tests.simulation.index import MemoryIndex, MemoryPlace

_COPIES = re.compile(r"(?:on )?(\d+) (?:whole copies|disks), (\d+) are needed")
_SLOT = re.compile(r"slot (\d+):")


def concerns_only(finding: Finding, slot: int) -> bool:
    """Whether it is about this disk, or about copies that lie nowhere else while it is away."""
    disk = f"/d{slot}"
    if copies := _COPIES.fullmatch(finding.what):
        return int(copies[2]) - int(copies[1]) == 1  # the one that it held
    if f"{finding.where}/".startswith(f"{disk}/") or finding.where == "the journal":
        return True
    named = set(_SLOT.findall(finding.what))
    return finding.advice == kinds.DEGRADED.advice and named == {str(slot)}


_CODEC = NativeCodec()
ALL = 1 << 30  # findings of a kind: what is only counted would concern nobody knows whom


def check(
    site: Site, fs: SimulatedFileSystem, place: MemoryPlace, *, bad: int | None = None
) -> None:
    """Everything at once; AssertionError with all that is severe. The `bad` disk may have lost
    anything: only what concerns others counts.
    """
    with looked_at(site, fs) as looked, patch.object(kinds, "PER_KIND_MAX", ALL):
        severe = [one for one in _findings(looked, place) if one.severe]
    if bad is not None:
        severe = [one for one in severe if not concerns_only(one, bad)]
    assert not severe, severe


def _findings(looked: Looked, place: MemoryPlace) -> Iterator[Finding]:
    yield from check_places(looked).told()
    found, history = check_journals(looked, _quiet)
    yield from found.told()
    if not history.chains:
        return
    homes = looked.usable()
    scans = {slot: DiskScan(home) for slot, home in homes.items()}
    for one in scans.values():
        one.run(threading.Event())
        yield from one.found.told()
        assert one.newest <= history.chains[0].tip.sequence, "a record is ahead of the journal"
    shards = Shards(scans, {one.slot: one.standing.value for one in looked.opened})
    deployment_id = looked.deployment.deployment_id
    anew, _ = rebuild.rebuild(history.chains, homes, MemoryPlace(), deployment_id)
    assert isinstance(anew, MemoryIndex)
    if place.kept is not None:
        kept = place.kept[0]
        assert kept.rows == anew.rows, "the index is not what the disks say"
    decoder = Decoder(homes, _CODEC, InlineExecutor())
    yield from check_rows(anew, shards, decoder, _quiet).told()
    yield from shards.torn_tails().told()
    anew.read(lambda tx, _: versions_are_ordered(tx))
    anew.read(lambda tx, _: parts_have_uploads(tx))


def versions_are_ordered(tx: ReadTx) -> None:
    """I9: the versions of a key are in the order of their clock values, newest first."""
    for _, bucket in tables.scan_buckets(tx):
        last: tuple[bytes, int] | None = None
        for key, _, row in tables.scan_versions(tx, bucket.bucket_id):
            if last is not None and last[0] == key:
                assert row.hlc < last[1], f"versions of {key!r} are not in order"
            last = key, row.hlc


def parts_have_uploads(tx: ReadTx) -> None:
    """I2: a Complete or an abort takes all parts with it, those that it does not list too."""
    uploads = {
        identity
        for _, bucket in tables.scan_buckets(tx)
        for _, identity, _ in tables.scan_uploads(tx, bucket.bucket_id)
    }
    for key, _ in tx.scan(schema.PARTS, schema.successor(schema.PARTS)):
        assert schema.numbered(key)[0] in uploads, "a part is left of an upload that is gone"


def segments(fs: SimulatedFileSystem, site: Site) -> dict[str, bytes]:
    """The content of every segment that can be had."""
    found = {}
    for path in site.disks:
        if fs.exists(path):
            for file in fs.files(path):
                if segment_of(file.rpartition("/")[2]) is not None:
                    found[file] = fs.content(file)
    return found


def unchanged(before: dict[str, bytes], fs: SimulatedFileSystem, site: Site) -> None:
    """I3, I5: after another life, segments of before are there, at most cut, and never longer."""
    after = segments(fs, site)
    for path, content in before.items():
        assert path in after, f"{path} vanished"
        assert content.startswith(after[path]), f"{path} changed"


def _quiet(step: str, done: int, total: int) -> None:
    """Nobody watches."""
