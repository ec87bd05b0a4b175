"""check: is everything on a stopped node there, and right?

Every byte that means anything is read: identities, epochs, journal, checkpoints, every segment
from end to end, every stripe that a row names, decoded and compared with the digests of the
rows, and the index, byte for byte and row for row against one made from the disks alone.
Nothing is changed. The disks stay locked meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterator

import xxhash

from ec import NativeCodec
from s3node.base.errors import FormatError, FormatUnknown, StorageFault
from s3node.base.filesystem import FileSystem, read_file
from s3node.meta import lmdb_index, metadata, tables
from s3node.meta.homes import Home
from s3node.meta.index_seal import Seal
from s3node.meta.kv import ReadTx
from s3node.meta.lmdb_index import LmdbIndex
from s3node.meta.rebuild import read_range
from s3node.meta.recovery import DiskReport
from s3node.meta.survey import Chain
from s3node.model.rows import Data, PartRow, VersionRow
from s3node.services.findings import Finding, Ledger
from s3node.services.offline_index import rebuilt
from s3node.services.shelf import segment_path
from s3node.services.start import Looked, Site, Told, looked_at
from s3node.services.stripes import LOST, Stripes
from s3node.store import epoch as epochs
from s3node.store.disks import SEGMENTS
from s3node.store.identity import Standing
from s3node.store.scan import Damage, Found, Sealed, scan
from s3node.store.segment import segment_of

HEALS = "start the node: it is made good from the other disks"
REBUILDS = "nothing is lost: it is rebuilt at the next start"
FEWER = "bring the disk back, or replace it"


def check(site: Site, fs: FileSystem, told: Told) -> list[Finding]:
    """Everything that is to be said about the node. ConfigError if it runs."""
    ledger = Ledger()
    with looked_at(site, fs) as looked:
        stripes = Stripes(looked.usable(), NativeCodec(), ledger)
        _check_disks(looked, ledger)
        try:
            _check_journal(looked, ledger)
            with rebuilt(looked, told) as index:
                _check_index(looked, index, ledger)
                index.read(lambda tx, _: _check_objects(tx, stripes, told))
        except StorageFault as fault:
            ledger.problem("metadata", str(fault), "bring back the disks that are missing")
        _tell_absent(looked, stripes, ledger)
        for slot, home in sorted(looked.usable().items()):
            _check_segments(slot, home, stripes, told)
    return ledger.all()


# --- disks -----------------------------------------------------------------------------------


def _check_disks(looked: Looked, ledger: Ledger) -> None:
    for one in looked.opened:
        if one.standing is not Standing.OK:
            what = f"slot {one.slot} is {one.standing.value}: {one.reason}"
            if one.standing is Standing.SWAPPED:
                ledger.note(one.path, what, "it is used as the slot that it says")
            else:
                ledger.problem(one.path, what, FEWER)
        elif one.reason:
            ledger.problem(one.path, one.reason, HEALS)
    for home in looked.usable().values():
        _check_epoch(home, ledger)


def _check_epoch(home: Home, ledger: Ledger) -> None:
    """Both slots of the epoch file: the one that is not current may never have been written."""
    try:
        content = read_file(home.fs, f"{home.path}/{epochs.NAME}")
    except OSError as fault:
        ledger.problem(home.path, f"{epochs.NAME}: {fault.strerror}", HEALS)
        return
    size = epochs.LAYOUT.size
    for start in (0, size):
        packed = content[start : start + size]
        try:
            if any(packed) or start == 0:
                epochs.unpack(packed)
        except FormatError as fault:
            ledger.problem(home.path, f"{epochs.NAME}, bytes from {start}: {fault}", HEALS)


# --- journal, checkpoints, index -------------------------------------------------------------


def _check_journal(looked: Looked, ledger: Ledger) -> None:
    report, chains = metadata.look(looked.usable(), looked.deployment)
    for slot, disk in sorted(report.disks.items()):
        _tell_journal(looked.homes[slot].path, disk, ledger)
    for chain in chains:
        _check_ranges(looked, chain, ledger)


def _tell_journal(path: str, disk: DiskReport, ledger: Ledger) -> None:
    if disk.reason:
        ledger.problem(path, disk.reason, FEWER)
    for what in disk.corrupt:
        ledger.problem(path, f"journal or checkpoint: {what}", HEALS)
    for what in disk.torn:
        ledger.note(path, f"journal: {what}", "a torn tail; it is cut at the next start")
    if disk.stale:
        ledger.note(path, "the disk was away", "it is brought up to date at the next start")
    elif disk.lacked:
        ledger.note(path, f"{disk.lacked} frames are not here", "they are copied at the next start")


def _check_ranges(looked: Looked, chain: Chain, ledger: Ledger) -> None:
    """Every copy of every range file that the checkpoint names; m + 1 are needed."""
    needed = looked.deployment.parity + 1
    for one in chain.manifest.ranges:
        copies = 0
        for home in looked.usable().values() if one.file_bytes else ():
            try:
                read_range(home, one, looked.deployment.deployment_id)
                copies += 1
            except FileNotFoundError:
                continue
            except (OSError, FormatError) as fault:
                ledger.problem(home.checkpoints, str(fault), HEALS)
        if one.file_bytes and copies < needed:
            what = f"{one.name} is on {copies} disks, {needed} are needed"
            ledger.problem("checkpoint", what, HEALS)


def _check_index(looked: Looked, truth: LmdbIndex, ledger: Ledger) -> None:
    path = looked.site.index
    verdict = lmdb_index.verified(path, looked.deployment.deployment_id)
    if not isinstance(verdict, Seal):
        if verdict.startswith("not closed cleanly"):
            ledger.note(str(path), verdict, REBUILDS)
        else:
            ledger.problem(str(path), verdict, REBUILDS)
        return
    index = LmdbIndex(path, looked.deployment.deployment_id, readonly=True)
    try:
        if index.position() != truth.position():
            ledger.note(str(path), "it stands at another frame than the journal", REBUILDS)
            return
        wrong = index.read(lambda tx, _: truth.read(lambda right, _: _differences(tx, right)))
        if wrong:
            ledger.problem(str(path), f"{wrong} rows differ from those of the disks", REBUILDS)
    finally:
        index.close()


def _differences(one: ReadTx, other: ReadTx) -> int:
    """Rows that are in one of two indexes only, or not the same."""
    count = 0
    rows, others = _rows(one), _rows(other)
    left, right = next(rows, None), next(others, None)
    while left is not None or right is not None:
        if left == right:
            left, right = next(rows, None), next(others, None)
            continue
        count += 1
        behind = right is None or (left is not None and left[0] < right[0])
        ahead = left is None or (right is not None and right[0] < left[0])
        if not ahead:
            left = next(rows, None)
        if not behind:
            right = next(others, None)
    return count


def _rows(tx: ReadTx) -> Iterator[tuple[bytes, bytes]]:
    return tx.scan(b"", b"\xff")


# --- objects ---------------------------------------------------------------------------------


def _check_objects(tx: ReadTx, stripes: Stripes, told: Told) -> None:
    done = 0
    for bucket, row in tables.scan_buckets(tx):
        objects = stored = 0
        for key, _, version in tables.scan_versions(tx, row.bucket_id):
            name = f"{bucket}/{key.decode('utf-8', 'replace')}"
            _check_version(tx, version, name, stripes)
            objects += 1
            stored += version.size
            done += 1
            told("versions", done, 0)
        if tables.get_usage(tx, row.bucket_id) != (objects, stored):
            stripes.ledger.problem(bucket, "its usage counters are wrong", "report this as a bug")
        for key, upload_id, _ in tables.scan_uploads(tx, row.bucket_id):
            name = f"{bucket}/{key.decode('utf-8', 'replace')}, upload {upload_id.hex()}"
            for number, part in tables.scan_parts(tx, upload_id):
                _check_part(tx, part, f"{name}, part {number}", stripes)
    if stripes.owed:
        what = f"{stripes.owed} shards are owed"
        stripes.ledger.note("redundancy", what, "they are placed when disks are back")


def _check_version(tx: ReadTx, row: VersionRow, name: str, stripes: Stripes) -> None:
    if row.delete_marker:
        return
    _check_bytes(tx, row.inline, row.data, row.size, name, stripes)
    digests = [one.digest for one in row.data]
    if row.parts:
        digest = xxhash.xxh3_128_digest(b"".join(digests))
    elif digests:
        digest = digests[0]
    else:
        digest = xxhash.xxh3_128_digest(row.inline or b"")
    if all(digests) and digest != row.digest:
        stripes.ledger.problem(name, "its digest is not that of its bytes", LOST)


def _check_part(tx: ReadTx, row: PartRow, name: str, stripes: Stripes) -> None:
    data = (row.data,) if row.data is not None else ()
    _check_bytes(tx, row.inline, data, row.size, name, stripes)


def _check_bytes(
    tx: ReadTx,
    inline: bytes | None,
    data: tuple[Data, ...],
    size: int,
    name: str,
    stripes: Stripes,
) -> None:
    for one in data:
        stripes.check(tx, one, name)
    found = len(inline) if inline is not None else sum(one.size for one in data)
    if found != size:
        stripes.ledger.problem(name, f"its rows make {found} bytes, not {size}", LOST)


def _tell_absent(looked: Looked, stripes: Stripes, ledger: Ledger) -> None:
    for slot, count in sorted(stripes.absent.items()):
        path = looked.site.disks[slot]
        ledger.problem(path, f"{count} shards lie on a disk that is not there", FEWER)


# --- segments --------------------------------------------------------------------------------


def _check_segments(slot: int, home: Home, stripes: Stripes, told: Told) -> None:
    """Every byte of every segment, also of records that no row names."""
    ledger = stripes.ledger
    directory = f"{home.path}/{SEGMENTS}"
    try:
        names = home.fs.listdir(directory)
    except OSError as fault:
        ledger.problem(directory, fault.strerror or str(fault), FEWER)
        return
    for done, name in enumerate(names):
        told(f"segments of slot {slot}", done, len(names))
        segment = segment_of(name)
        if segment is None:
            ledger.note(directory, f"{name} is no segment", "remove it if you put it there")
            continue
        path = segment_path(home.path, segment)
        try:
            _check_segment(slot, segment, path, home, stripes)
        except FormatUnknown as fault:
            ledger.problem(path, str(fault), "use the release that wrote it")
        except OSError as fault:
            ledger.problem(path, fault.strerror or str(fault), FEWER)
    told(f"segments of slot {slot}", len(names), len(names))


def _check_segment(slot: int, segment: int, path: str, home: Home, stripes: Stripes) -> None:
    ledger = stripes.ledger
    synced = stripes.synced.get((slot, segment), 0)
    for item in scan(home.fs, path, segment, home.disk_id, synced=synced):
        if isinstance(item, Found):
            told_already = (slot, segment, item.offset) in stripes.bad
            if not item.fault or told_already:
                continue
            where, what, torn = f"offset {item.offset}", item.fault, item.torn
        elif isinstance(item, Damage):
            where, what, torn = f"bytes {item.start} to {item.stop}", item.reason, item.torn
        elif isinstance(item, Sealed) and item.fault:
            where, what, torn = f"seal at {item.offset}", item.fault, False
        else:
            continue
        if torn:
            ledger.note(path, what, "a torn tail that nobody was answered for", place=where)
        else:
            ledger.problem(path, what, "replace the disk if there are more", place=where)
