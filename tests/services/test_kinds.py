"""Every kind of finding, made to happen on a real stopped node: each is told, and where."""

from __future__ import annotations

import asyncio
import shutil
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from s3node.base.errors import DiskFailed
from s3node.base.filesystem import RealFileSystem
from s3node.meta import lmdb_index, schema, tables
from s3node.meta.frame import Position
from s3node.meta.kv import WriteTx
from s3node.meta.lmdb_index import LmdbIndex
from s3node.model.rows import (
    BucketRow,
    ConfigurationRow,
    DeathRow,
    LocationRow,
    OwedRow,
    PartRow,
    UploadRow,
    VersionRow,
)
from s3node.node import RunningNode
from s3node.services import findings as kinds
from s3node.services.check import check
from s3node.services.findings import PER_KIND_MAX, Finding, Findings, Kind
from s3node.store import checked, record
from s3node.store import epoch as epochs
from s3node.store import identity as identities
from s3node.store.identity import Identity
from tests.node.content import BUCKET
from tests.services.stopped import DISKS, PARITY, Small

pytestmark = pytest.mark.xdist_group("kinds")

CODED = f"{BUCKET}/coded (version null)"
SLOT = 1
STRANGE = bytes(range(16))


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Small:
    return Small(tmp_path_factory.mktemp("kinds"))


@pytest.fixture
def it(small: Small) -> Iterator[Small]:
    yield small
    small.node.kill()
    small.restore()


def told(found: list[Finding], kind: Kind) -> list[Finding]:
    return [one for one in found if (one.advice, one.severe) == (kind.advice, kind.severe)]


def test_the_control(it: Small) -> None:
    assert it.check() == []


# --- rows ------------------------------------------------------------------------------------


class Rows:
    """What is there, inside a transaction."""

    def __init__(self, tx: WriteTx) -> None:
        self.tx = tx
        bucket = tables.get_bucket(tx, BUCKET)
        assert bucket is not None
        self.bucket: BucketRow = bucket
        current = tables.current_version(tx, bucket.bucket_id, b"coded")
        assert current is not None
        self.version_id, self.version = current
        (self.data,) = self.version.data
        locations = tables.get_locations(tx, self.data.data_id, 0)
        assert locations is not None
        self.locations: LocationRow = locations

    def put(self, **changes: object) -> None:
        row = msgspec.structs.replace(self.version, **changes)
        tables.put_version(self.tx, self.bucket.bucket_id, b"coded", self.version_id, row)

    def locate(self, **changes: object) -> None:
        (stripe,) = self.locations.stripes
        row = LocationRow((msgspec.structs.replace(stripe, **changes),))
        tables.put_locations(self.tx, self.data.data_id, 0, row)

    def place(self, shard: int, **changes: object) -> None:
        shards = list(self.locations.stripes[0].shards)
        place = shards[shard]
        assert place is not None
        shards[shard] = msgspec.structs.replace(place, **changes) if changes else None
        self.locate(shards=tuple(shards))


def second_name(rows: Rows) -> None:
    tables.put_version(rows.tx, rows.bucket.bucket_id, b"second", b"2" * 16, rows.version)
    tables.add_usage(rows.tx, rows.bucket.bucket_id, 1, rows.version.size)


def orphan(rows: Rows) -> None:
    tables.put_locations(rows.tx, STRANGE, 0, rows.locations)


def surplus_run(rows: Rows) -> None:
    tables.put_locations(rows.tx, rows.data.data_id, 1, rows.locations)


def dead_and_named(rows: Rows) -> None:
    death = DeathRow((rows.data.data_id,), 1, "deleted", "me", 0, BUCKET, "coded")
    tables.put_death(rows.tx, STRANGE, death)


def bucketless_version(rows: Rows) -> None:
    tables.put_version(rows.tx, b"nobucket", b"key", b"1" * 16, VersionRow(0, 0, 0, "", b""))


def bucketless_deep_upload(rows: Rows) -> None:
    tables.put_upload(rows.tx, b"nobucket", b"k" * 1000, STRANGE, UploadRow(0, "me"))


def partless(rows: Rows) -> None:
    tables.put_part(rows.tx, STRANGE, 3, PartRow(0, "", b"", 0))


def bucketless_usage(rows: Rows) -> None:
    tables.add_usage(rows.tx, b"nobucket", 1, 0)


def bucketless_null(rows: Rows) -> None:
    tables.put_null(rows.tx, b"nobucket", b"key", STRANGE)


def bucketless_configuration(rows: Rows) -> None:
    tables.put_configuration(
        rows.tx, b"nobucket", schema.CORS, ConfigurationRow(b"<CORSConfiguration/>", 0, "me")
    )


def named_and_not_null(rows: Rows) -> None:
    rows.put(null=False)
    tables.put_null(rows.tx, rows.bucket.bucket_id, b"coded", rows.version_id)


def named_and_not_there(rows: Rows) -> None:
    tables.put_null(rows.tx, rows.bucket.bucket_id, b"coded", STRANGE)


def two_nulls(rows: Rows) -> None:
    """Both could be found: one is the first of its key, the other is named."""
    older = b"\xff" * 16
    row = VersionRow(0, 0, 0, "", b"", delete_marker=True)
    tables.put_version(rows.tx, rows.bucket.bucket_id, b"coded", older, row)
    tables.put_null(rows.tx, rows.bucket.bucket_id, b"coded", older)
    tables.add_usage(rows.tx, rows.bucket.bucket_id, 1, 0)


def own_and_never_versioned(rows: Rows) -> None:
    rows.put(null=False)


def null_and_not_named(rows: Rows) -> None:
    """Another version is put above, and nothing says so."""
    marker = VersionRow(0, 0, 0, "", b"", null=False, delete_marker=True)
    tables.put_version(rows.tx, rows.bucket.bucket_id, b"coded", bytes(16), marker)
    tables.add_usage(rows.tx, rows.bucket.bucket_id, 1, 0)


def usage(rows: Rows) -> None:
    tables.add_usage(rows.tx, rows.bucket.bucket_id, 0, 1)


def owed(rows: Rows) -> None:
    rows.place(2)
    tables.put_owed(rows.tx, rows.data.data_id, 0, OwedRow(0, (0,), 1))


def owed_uncounted(rows: Rows) -> None:
    rows.place(2)


def owed_nothing(rows: Rows) -> None:
    tables.put_owed(rows.tx, rows.data.data_id, 0, OwedRow(0, (0,), 1))


def owed_nowhere(rows: Rows) -> None:
    tables.put_owed(rows.tx, STRANGE, 0, OwedRow(0, (0,), 1))


def wrong_size(rows: Rows) -> None:
    rows.put(size=rows.version.size + 1)
    tables.add_usage(rows.tx, rows.bucket.bucket_id, 0, 1)


def wrong_digest(rows: Rows) -> None:
    rows.put(digest=STRANGE)


def wrong_bytes(rows: Rows) -> None:
    """Row and data agree on a digest that the bytes do not have."""
    rows.put(digest=STRANGE, data=(msgspec.structs.replace(rows.data, digest=STRANGE),))


def two_shards_on_a_disk(rows: Rows) -> None:
    first = rows.locations.stripes[0].shards[0]
    assert first is not None
    rows.place(1, slot=first.slot)


def unknown_code(rows: Rows) -> None:
    rows.locate(code=2)


def no_location(rows: Rows) -> None:
    tables.delete_locations(rows.tx, rows.data.data_id, 0)


def no_segment(rows: Rows) -> None:
    rows.place(0, segment=77)


def no_record(rows: Rows) -> None:
    rows.place(0, offset=520)


def another_shard(rows: Rows) -> None:
    """Two shards change places."""
    shards = list(rows.locations.stripes[0].shards)
    shards[0], shards[1] = shards[1], shards[0]
    rows.locate(shards=tuple(shards))


def no_slot(rows: Rows) -> None:
    rows.place(0, slot=15)


def too_few(rows: Rows) -> None:
    """m + 1 shards are elsewhere than the row says."""
    shards = [
        msgspec.structs.replace(place, segment=99) if place and number <= PARITY else place
        for number, place in enumerate(rows.locations.stripes[0].shards)
    ]
    rows.locate(shards=tuple(shards))


def garbage_row(rows: Rows) -> None:
    rows.tx.put(schema.location(STRANGE, 0), b"\x01no such row\x00\x00\x00\x00")


ROWS: list[tuple[Callable[[Rows], None], Kind, str, str]] = [
    (second_name, kinds.NAMED_TWICE, f"{BUCKET}/second", "named elsewhere"),
    (orphan, kinds.UNNAMED, STRANGE.hex(), "no version, part or death row"),
    (surplus_run, kinds.UNNAMED, "run 1", "runs only"),
    (dead_and_named, kinds.NAMED_TWICE, f"{BUCKET}/coded", "dead here"),
    (bucketless_version, kinds.BUCKETLESS, b"nobucket".hex(), "1 versions"),
    (bucketless_deep_upload, kinds.BUCKETLESS, "subtree", "1 uploads"),
    (partless, kinds.BUCKETLESS, STRANGE.hex(), "part 3"),
    (bucketless_usage, kinds.BUCKETLESS, b"nobucket".hex(), "counter"),
    (bucketless_null, kinds.BUCKETLESS, b"nobucket".hex(), "1 null versions"),
    (bucketless_configuration, kinds.BUCKETLESS, b"nobucket".hex(), "a configuration"),
    (named_and_not_null, kinds.NULL_WRONG, f"{BUCKET}/coded", "is no null version"),
    (named_and_not_there, kinds.NULL_WRONG, f"{BUCKET}/coded", "is no null version"),
    (own_and_never_versioned, kinds.NULL_WRONG, f"{BUCKET}/coded", "never had versioning"),
    (null_and_not_named, kinds.NULL_WRONG, CODED, "no row says"),
    (two_nulls, kinds.NULL_WRONG, f"{BUCKET}/coded", "one of several"),
    (usage, kinds.USAGE_WRONG, BUCKET, "bytes counted"),
    (owed, kinds.OWED, "the disks", "1 shards are owed"),
    (owed_uncounted, kinds.OWED_WRONG, "run 0", "its owed row says nothing"),
    (owed_nothing, kinds.OWED_WRONG, "run 0", "it owes nothing"),
    (owed_nowhere, kinds.OWED_WRONG, STRANGE.hex(), "no location row"),
    (wrong_size, kinds.ROW_WRONG, CODED, "bytes, made of"),
    (wrong_digest, kinds.ROW_WRONG, CODED, "digest"),
    (wrong_bytes, kinds.LOST, CODED, "do not have the digest"),
    (two_shards_on_a_disk, kinds.ROW_WRONG, CODED, "stripe 0"),
    (unknown_code, kinds.ROW_WRONG, CODED, "stripe 0"),
    (no_location, kinds.LOST, CODED, "no location row"),
    (no_segment, kinds.DEGRADED, CODED, "there is no 000000000000004d.seg"),
    (no_record, kinds.DEGRADED, CODED, "no record there"),
    (another_shard, kinds.DEGRADED, CODED, "another shard's record"),
    (no_slot, kinds.DEGRADED, CODED, "there is no such slot"),
    (too_few, kinds.LOST, CODED, "3 whole shards, 4 are needed"),
    (garbage_row, kinds.ROW_DAMAGED, "LocationRow", "CRC"),
]


@pytest.mark.parametrize(
    ("injury", "kind", "where", "what"), ROWS, ids=[row[0].__name__ for row in ROWS]
)
def test_rows(it: Small, injury: Callable[[Rows], None], kind: Kind, where: str, what: str) -> None:
    async def write(node: RunningNode) -> None:
        await node.metadata.kv.write(lambda tx: injury(Rows(tx)))

    it.opened(write)
    found = told(it.check(), kind)
    assert any(where in one.where and what in one.what for one in found), it.check()


# --- disks -----------------------------------------------------------------------------------


def identity_of(path: Path) -> Identity:
    return identities.unpack((path / "identity").read_bytes())


def foreign(it: Small, path: Path) -> None:
    other = identity_of(path)._replace(deployment_id=STRANGE)
    (path / "identity").write_bytes(identities.pack(other))


def clone(it: Small, path: Path) -> None:
    shutil.rmtree(path)
    shutil.copytree(it.node.disk_path(SLOT + 1), path)


def later(it: Small, path: Path) -> None:
    packed = bytearray((path / "identity").read_bytes())
    packed[8] = 2
    (path / "identity").write_bytes(checked.finish(bytes(packed)))


def missing(it: Small, path: Path) -> None:
    shutil.rmtree(path)


def foreign_epoch(it: Small, path: Path) -> None:
    shutil.copy(it.node.disk_path(SLOT + 1) / "epoch", path / "epoch")


def no_epoch(it: Small, path: Path) -> None:
    (path / "epoch").unlink()


def long_epoch(it: Small, path: Path) -> None:
    with (path / "epoch").open("ab") as stream:
        stream.write(b"x")


def later_epoch(it: Small, path: Path) -> None:
    packed = bytearray((path / "epoch").read_bytes())
    packed[8] = 2
    size = epochs.LAYOUT.size
    (path / "epoch").write_bytes(checked.finish(bytes(packed[:size])) + bytes(packed[size:]))


def stray_segment(it: Small, path: Path) -> None:
    (path / "segments" / "notes.txt").write_text("?")


def stray_range(it: Small, path: Path) -> None:
    (path / "checkpoints" / "00000000-00000000.range").write_text("?")


def unlisted(it: Small, path: Path) -> None:
    shutil.rmtree(path / "segments")


def later_segment(it: Small, path: Path) -> None:
    segment = next((path / "segments").iterdir())
    packed = bytearray(segment.read_bytes())
    packed[8] = 2
    segment.write_bytes(checked.finish(bytes(packed[:512])) + bytes(packed[512:]))


def no_manifest(it: Small, path: Path) -> None:
    for one in (path / "checkpoints").glob("*.manifest"):
        one.unlink()


def no_journal(it: Small, path: Path) -> None:
    for one in (path / "journal").glob("*.log"):
        one.unlink()


def no_last_log(it: Small, path: Path) -> None:
    max((path / "journal").glob("*.log")).unlink()


def few_ranges(it: Small, path: Path) -> None:
    for slot in range(DISKS):
        for one in (it.node.disk_path(slot) / "checkpoints").glob("*.range"):
            one.unlink()
            return


DISK_INJURIES: list[tuple[Callable[[Small, Path], None], Kind, str]] = [
    (foreign, kinds.DISK_REFUSED, "foreign"),
    (clone, kinds.DISK_REFUSED, "clone"),
    (later, kinds.LATER_FORMAT, "unknown"),
    (missing, kinds.DISK_MISSING, "missing"),
    (foreign_epoch, kinds.EPOCH_DAMAGED, "another disk's"),
    (no_epoch, kinds.EPOCH_DAMAGED, "cannot be read"),
    (long_epoch, kinds.EPOCH_DAMAGED, "1025 bytes"),
    (later_epoch, kinds.LATER_FORMAT, "format version 2"),
    (stray_segment, kinds.STRAY, "does not use"),
    (stray_range, kinds.STRAY, "no checkpoint"),
    (unlisted, kinds.UNREADABLE, "No such file"),
    (later_segment, kinds.LATER_FORMAT, "format version 2"),
    (no_manifest, kinds.CHECKPOINT_LACKS, "newest manifest"),
    (no_journal, kinds.JOURNAL_STALE, "lost files"),
    (no_last_log, kinds.JOURNAL_LACKS, "frames are not"),
]


@pytest.mark.parametrize(
    ("injury", "kind", "what"), DISK_INJURIES, ids=[row[0].__name__ for row in DISK_INJURIES]
)
def test_disks(it: Small, injury: Callable[[Small, Path], None], kind: Kind, what: str) -> None:
    path = it.node.disk_path(SLOT)
    injury(it, path)
    found = told(it.check(), kind)
    assert any(one.where.startswith(str(path)) and what in one.what for one in found), it.check()


def test_too_few_copies_of_a_range(it: Small) -> None:
    few_ranges(it, it.node.disk_path(SLOT))
    (found,) = it.check()
    assert told([found], kinds.CHECKPOINT_COPIES)
    assert f"{PARITY} whole copies" in found.what


def test_frames_that_lost_copies(it: Small) -> None:
    for slot in range(DISKS - PARITY):
        no_journal(it, it.node.disk_path(slot))
    (found,) = told(it.check(), kinds.JOURNAL_THIN)
    assert f"on {PARITY} disks or less" in found.what


def test_a_disk_that_was_away(it: Small) -> None:
    it.node.pull(SLOT)

    async def put(node: RunningNode) -> None:
        row = BucketRow(b"bucketid", 0, "me", "here")
        await node.metadata.kv.write(lambda tx: tables.put_bucket(tx, "another", row))

    it.opened(put)
    it.node.push(SLOT)
    (found,) = it.check()
    assert told([found], kinds.JOURNAL_STALE)
    assert found.where == str(it.node.disk_path(SLOT))


# --- the bytes themselves ---------------------------------------------------------------------


def forge(it: Small, shard: int) -> None:
    """Other bytes in a shard, with digests and CRCs that are right for them."""
    for slot in range(DISKS):
        for path in (it.node.disk_path(slot) / "segments").iterdir():
            data = bytearray(path.read_bytes())
            header = record.unpack(bytes(data[512 : 512 + record.HEADER_BYTES]))
            if header.shard_index != shard:
                continue
            start = 512 + record.payload_start(header.payload_bytes)
            data[start] ^= 1
            payload = data[start : start + header.payload_bytes]
            packed = record.pack_digests(record.block_digests(payload))
            digests = 512 + record.HEADER_BYTES
            data[digests : digests + len(packed)] = packed
            fixed = bytearray(data[512:digests])
            fixed[120:124] = _crc(packed)
            data[512:digests] = checked.finish(bytes(fixed))
            path.write_bytes(data)
            return
    raise AssertionError(f"no disk holds shard {shard}")


def _crc(data: bytes) -> bytes:
    return zlib.crc32(data).to_bytes(4, "little")


def test_parity_that_is_not_its_data_s(it: Small) -> None:
    forge(it, 5)
    found = told(it.check(), kinds.DEGRADED)
    assert [one.where for one in found] == [CODED]
    assert "not the parity" in found[0].what


def test_data_that_is_not_what_was_stored(it: Small) -> None:
    forge(it, 0)
    found = told(it.check(), kinds.LOST)
    assert [one.where for one in found] == [CODED]
    assert "do not have the digest" in found[0].what


# --- the index --------------------------------------------------------------------------------


def changed_index(it: Small, at: Callable[[Position], Position]) -> None:
    """A sealed index with a row of its own, at some position."""
    deployment = identity_of(it.node.disk_path(0)).deployment_id
    lmdb_index.unseal(it.index)
    index = LmdbIndex(it.index, deployment)
    key = schema.bucket("invented")
    value = tables.encode(key, BucketRow(b"invented", 0, "", ""))
    index.apply([(at(index.position()), {key: value})])
    index.close_sealed()


@pytest.mark.parametrize(
    ("at", "kind"),
    [
        (lambda here: here, kinds.INDEX_DIFFERS),
        (lambda here: here._replace(sequence=here.sequence + 1), kinds.INDEX_BEHIND),
        (lambda here: here._replace(chain=STRANGE), kinds.INDEX_ANEW),
    ],
)
def test_an_index_that_says_something_else(
    it: Small, at: Callable[[Position], Position], kind: Kind
) -> None:
    changed_index(it, at)
    (found,) = it.check()
    assert told([found], kind), found
    assert found.where == str(it.index)


def test_no_room_for_an_index(it: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise DiskFailed("no room")

    monkeypatch.setattr(LmdbIndex, "apply", full)
    (found,) = it.check()
    assert told([found], kinds.NO_ROOM)
    assert found.where == str(it.site.meta)


def test_an_old_index(it: Small, tmp_path: Path) -> None:
    shutil.copytree(it.index, tmp_path / "old")

    async def nothing(node: RunningNode) -> None:
        await asyncio.sleep(0)

    it.opened(nothing)
    shutil.rmtree(it.index)
    shutil.copytree(tmp_path / "old", it.index)
    (found,) = it.check()
    assert told([found], kinds.INDEX_LATE), found


# --- how it is told ---------------------------------------------------------------------------


def test_it_is_told_the_same_every_time_with_progress_and_nothing_is_left(it: Small) -> None:
    for slot in (0, 3, 4):
        with next((it.node.disk_path(slot) / "segments").iterdir()).open("r+b") as stream:
            stream.seek(700)
            stream.write(b"damaged")
    steps: list[tuple[str, int, int]] = []
    site = it.site

    def look() -> list[Finding]:
        return list(check(site, RealFileSystem(), lambda *step: steps.append(step)))

    (site.meta / "check-killed").mkdir()
    before = sorted(it.node.data.rglob("*"))
    (first, second) = look(), look()
    assert first == second
    assert [one.severe for one in first].count(True) >= 3
    assert {"journals", "checkpoints", "segments", "rows"} <= {step for step, _, _ in steps}
    assert all(done <= total for _, done, total in steps if total)
    (site.meta / "check-killed").mkdir()
    assert sorted(it.node.data.rglob("*")) == before


def test_of_many_the_first_are_told_and_the_rest_counted() -> None:
    found = Findings()
    for number in range(PER_KIND_MAX + 7):
        found.add(kinds.DEGRADED, f"object {number}", "lacks a shard")
    found.add(kinds.STRAY, "a file", "?")
    all_told = list(found.told())
    assert len(all_told) == PER_KIND_MAX + 2
    assert all_told[-1] == Finding(
        True, kinds.DEGRADED.name, "7 more than those shown", kinds.DEGRADED.advice
    )


def test_every_kind_says_what_to_do() -> None:
    every = [one for one in vars(kinds).values() if isinstance(one, Kind)]
    assert len({one.name for one in every}) == len(every) > 30
    assert all(one.advice for one in every)
