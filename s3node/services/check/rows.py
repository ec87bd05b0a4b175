"""Every row, and whether the bytes that the rows promise are on the disks.

One walk over an index made anew: each bucket's versions, uploads and parts down to every shard;
then what nothing led to. Bounded memory: what is kept is one entry per data id and per subtree.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TypeVar

import xxhash

from s3node.base.errors import FormatError
from s3node.base.ids import BUCKET_ID_BYTES, SUBTREE_ID_BYTES
from s3node.base.limits import DISKS_MAX
from s3node.meta import schema, subtree, tables
from s3node.meta.index import Index
from s3node.meta.kv import ReadTx
from s3node.meta.values import unseal, unseal_counter
from s3node.model.rows import (
    STRIPES_PER_RUN,
    BucketRow,
    ConfigurationRow,
    Data,
    DeathRow,
    Location,
    LocationRow,
    OwedRow,
    PartRow,
    Row,
    Stripe,
    UploadRow,
    VersionRow,
)
from s3node.model.versions import UNVERSIONED, version_name
from s3node.objects.layout import run_count, stripe_count
from s3node.objects.write import CODE_CAUCHY, owed_row
from s3node.services import findings as kinds
from s3node.services.check.content import Decoder
from s3node.services.check.segments import Shards, expected
from s3node.services.findings import Findings, Told, readable

R = TypeVar("R", bound=Row)
_DEAD = -1
_TELL_EVERY = 1000


def check_rows(index: Index, shards: Shards, decoder: Decoder, told: Told) -> Findings:
    """Walk the whole index in one snapshot."""
    return index.read(lambda tx, _: _Walk(tx, shards, decoder, told).run())


@dataclass(slots=True)
class _Health:
    """What the stripes of one version or part lack."""

    lost: int = 0  # stripes with fewer than k shards
    first_lost: str = ""
    slots: dict[int, tuple[int, str]] = field(default_factory=dict)  # slot -> count, the first

    def lacks(self, index: int, shard: int, location: Location, reason: str) -> None:
        """A shard is not where its row says, or not right."""
        place = f"segment {location.segment:016x} at {location.offset}"
        told = f"the first is shard {shard} of stripe {index}, {place}: {reason}"
        count, first = self.slots.get(location.slot, (0, told))
        self.slots[location.slot] = count + 1, first

    def loses(self, stripes: int, what: str) -> None:
        self.lost += stripes
        self.first_lost = self.first_lost or what

    def told(self) -> str:
        """All slots with the first fault of each."""
        return "; ".join(
            f"slot {slot}: {count} shards, {first}"
            for slot, (count, first) in sorted(self.slots.items())
        )


@dataclass(slots=True)
class _Walk:
    tx: ReadTx
    shards: Shards
    decoder: Decoder
    told: Told
    found: Findings = field(default_factory=Findings)
    runs: dict[bytes, int] = field(default_factory=dict)  # data id -> its location rows
    uploads: set[bytes] = field(default_factory=set)
    roots: set[bytes] = field(default_factory=set)  # bucket ids
    owed: int = 0
    walked: int = 0
    expected: int = 0  # versions, by the counters

    def run(self) -> Findings:
        buckets = list(self._rows(BucketRow, schema.BUCKETS))
        self.roots = {row.bucket_id for _, row in buckets}
        self.expected = sum(self._counter(schema.usage_objects(root)) for root in self.roots)
        for key, bucket in buckets:
            self._bucket(readable(key[1:]), bucket)
        self.told("rows", self.walked, self.walked)
        self._deaths()
        self._locations()
        self._owed_rows()
        self._unreached()
        if self.owed:
            self.found.add(kinds.OWED, "the disks", f"{self.owed} shards are owed")
        return self.found

    # ---- what is in a table, around rows that cannot be read

    def _rows(self, kind: type[R], prefix: bytes) -> Iterator[tuple[bytes, R]]:
        for key, value in self.tx.scan(prefix, schema.successor(prefix)):
            row = self._decoded(kind, key, value)
            if row is not None:
                yield key, row

    def _decoded(self, kind: type[R], key: bytes, value: bytes) -> R | None:
        try:
            return tables.decode(kind, key, value)
        except FormatError as fault:
            self.found.add(kinds.ROW_DAMAGED, f"{kind.__name__} {key.hex()}", str(fault))
            return None

    def _leaves(
        self, kind: type[R], table: bytes, bucket: str, root: bytes
    ) -> Iterator[tuple[bytes, bytes, R]]:
        """(object key, leaf id, row) of a bucket."""
        try:
            for key, leaf_id, row_key, value in subtree.scan(self.tx, table, root):
                row = self._decoded(kind, row_key, value)
                if row is not None:
                    yield key, leaf_id, row
        except FormatError as fault:
            self.found.add(kinds.ROW_DAMAGED, bucket, f"a prefix-id row: {fault}")

    def _counter(self, key: bytes) -> int:
        try:
            return unseal_counter(key, self.tx.get(key))
        except FormatError as fault:
            self.found.add(kinds.ROW_DAMAGED, f"counter {key.hex()}", str(fault))
            return 0

    # ---- buckets

    def _bucket(self, name: str, bucket: BucketRow) -> None:
        root = bucket.bucket_id
        objects = size = 0
        before = null = b""  # the key that was before; the last that had a null version
        for key, identity, row in self._leaves(VersionRow, schema.VERSIONS, name, root):
            objects, size = objects + 1, size + row.size
            where = f"{name}/{readable(key)} (version {version_name(identity, row)})"
            self._version(where, row)
            if not row.null and bucket.versioning == UNVERSIONED:
                what = "it is no null version, and the bucket never had versioning"
                self.found.add(kinds.NULL_WRONG, where, what)
            if row.null and key == null:
                self.found.add(kinds.NULL_WRONG, where, f"one of several: {identity.hex()}")
            elif row.null and key == before:
                self._covered(where, bucket, key, identity)
            before, null = key, key if row.null else null
            self._tell()
        self._nulls(name, bucket)
        counted = self._counter(schema.usage_objects(root)), self._counter(schema.usage_bytes(root))
        if counted != (objects, size):
            what = f"{counted[0]} versions, {counted[1]} bytes counted; {objects}, {size} there"
            self.found.add(kinds.USAGE_WRONG, name, what)
        for key, identity, _ in self._leaves(UploadRow, schema.UPLOADS, name, root):
            self.uploads.add(identity)
            for row_key, part in self._rows(PartRow, schema.PARTS + identity):
                number = schema.numbered(row_key)[1]
                self._part(f"{name}/{readable(key)} (upload {identity.hex()}, part {number})", part)

    # ---- which version is the null version

    def _covered(self, where: str, bucket: BucketRow, key: bytes, identity: bytes) -> None:
        """A null version below another one is named."""
        try:
            named = tables.get_null(self.tx, bucket.bucket_id, key)
        except FormatError:
            return  # told by `_nulls`
        if named != identity:
            self.found.add(kinds.NULL_WRONG, where, "no row says that it is the null version")

    def _nulls(self, name: str, bucket: BucketRow) -> None:
        """Whatever is named is a null version that is there."""
        root = bucket.bucket_id
        try:
            for key, identity, row_key, value in subtree.scan(self.tx, schema.NULLS, root):
                where = f"{name}/{readable(key)} (version {identity.hex()})"
                self._unsealed(row_key, value)
                row = tables.get_version(self.tx, root, key, identity)
                if row is None or not row.null:
                    self.found.add(kinds.NULL_WRONG, where, "is named, and is no null version")
        except FormatError as fault:
            self.found.add(kinds.ROW_DAMAGED, name, f"a row of the null versions: {fault}")

    def _tell(self) -> None:
        self.walked += 1
        if self.walked % _TELL_EVERY == 0:
            self.told("rows", self.walked, max(self.walked, self.expected))

    def _version(self, where: str, row: VersionRow) -> None:
        if row.delete_marker:
            return
        size = len(row.inline) if row.inline is not None else sum(item.size for item in row.data)
        if size != row.size:
            self.found.add(kinds.ROW_WRONG, where, f"{row.size} bytes, made of {size}")
        if row.digest != _digest_of(row):
            self.found.add(kinds.ROW_WRONG, where, "its digest is not that of what it is made of")
        self._data(where, row.data)

    def _part(self, where: str, row: PartRow) -> None:
        size = len(row.inline or b"") if row.data is None else row.data.size
        if size != row.size:
            self.found.add(kinds.ROW_WRONG, where, f"{row.size} bytes, made of {size}")
        self._data(where, () if row.data is None else (row.data,))

    # ---- bytes

    def _data(self, where: str, data: tuple[Data, ...]) -> None:
        health = _Health()
        for item in data:
            if item.data_id in self.runs:
                what = f"data {item.data_id.hex()} is named elsewhere too"
                self.found.add(kinds.NAMED_TWICE, where, what)
            if item.stripe_bytes <= 0 or item.size < 0:
                self.found.add(kinds.ROW_WRONG, where, "impossible sizes")
                continue
            self.runs[item.data_id] = run_count(item)
            self._item(where, health, item)
        if health.lost:
            what = f"{health.lost} stripes cannot be read: {health.first_lost}"
            self.found.add(kinds.LOST, where, "; ".join(filter(None, (what, health.told()))))
        elif health.slots:
            self.found.add(kinds.DEGRADED, where, health.told())

    def _item(self, where: str, health: _Health, item: Data) -> None:
        """All stripes of one data id, and their digest if all can be read."""
        hasher = xxhash.xxh3_128()
        lost = health.lost
        for run in range(run_count(item)):
            for index, stripe in self._run(where, health, item, run):
                content = self._stripe(health, item, index, stripe)
                if content is not None:
                    hasher.update(content)
        if health.lost == lost and item.digest and hasher.digest() != item.digest:
            what = f"the bytes of data {item.data_id.hex()} do not have the digest of their row"
            self.found.add(kinds.LOST, where, what)

    def _run(
        self, where: str, health: _Health, item: Data, run: int
    ) -> Iterator[tuple[int, Stripe]]:
        """(index, stripe) of one location row, as far as it makes sense."""
        first = run * STRIPES_PER_RUN
        count = min(STRIPES_PER_RUN, stripe_count(item) - first)
        key = schema.location(item.data_id, run)
        value = self.tx.get(key)
        row = None if value is None else self._decoded(LocationRow, key, value)
        if row is None or len(row.stripes) != count:
            health.loses(count, f"there is no location row for stripe {first}")
            return
        for position, stripe in enumerate(row.stripes):
            index = first + position
            size = min(item.stripe_bytes, item.size - index * item.stripe_bytes)
            if stripe.stripe_bytes == size and _plausible(stripe):
                yield index, stripe
            else:
                self.found.add(kinds.ROW_WRONG, where, f"the location of stripe {index}")
                health.loses(1, f"stripe {index} has no usable location")

    def _stripe(self, health: _Health, item: Data, index: int, stripe: Stripe) -> memoryview | None:
        """The bytes of a stripe; None if they are lost. What is wrong goes to `health`."""
        places: dict[int, Location] = {}
        for shard, location in enumerate(stripe.shards):
            if location is None:
                self.owed += 1
                continue
            reason = self.shards.why_not(location, expected(item, index, stripe, shard))
            if reason:
                health.lacks(index, shard, location, reason)
            else:
                places[shard] = location
        content = None
        if len(places) >= stripe.k:
            content, wrong = self.decoder.stripe(item, index, stripe, places)
            for shard, reason in wrong.items():
                health.lacks(index, shard, places.pop(shard), reason)
        if content is None:
            what = f"stripe {index} has {len(places)} whole shards, {stripe.k} are needed"
            health.loses(1, what)
        return content

    # ---- what nothing leads to

    def _deaths(self) -> None:
        for key, row in self._rows(DeathRow, schema.DEATHS):
            for data_id in row.data_ids:
                if self.runs.get(data_id, _DEAD) != _DEAD:
                    where = f"death {key[1:].hex()} ({readable(row.bucket)}/{readable(row.key)})"
                    what = f"data {data_id.hex()} is dead here and named by a version or part"
                    self.found.add(kinds.NAMED_TWICE, where, what)
                else:
                    self.runs[data_id] = _DEAD

    def _locations(self) -> None:
        """Location rows: each named, and with an owed row exactly when it owes."""
        for key, row in self._rows(LocationRow, schema.LOCATIONS):
            data_id, run = schema.numbered(key)
            where = f"data {data_id.hex()}, run {run}"
            runs = self.runs.get(data_id)
            if runs is None:
                self.found.add(kinds.UNNAMED, where, "no version, part or death row names it")
            elif runs != _DEAD and run >= runs:
                self.found.add(kinds.UNNAMED, where, f"its data has {runs} runs only")
            owed_key = schema.owed(data_id, run)
            value = self.tx.get(owed_key)
            owed = None if value is None else self._decoded(OwedRow, owed_key, value)
            wanted = owed_row(run, row, owed.since_ms if owed else 0)
            if owed != wanted:
                what = f"it owes {_told(wanted)}, its owed row says {_told(owed)}"
                self.found.add(kinds.OWED_WRONG, where, what)

    def _owed_rows(self) -> None:
        for key, _ in self._rows(OwedRow, schema.OWED):
            data_id, run = schema.numbered(key)
            if self.tx.get(schema.location(data_id, run)) is None:
                where = f"data {data_id.hex()}, run {run}"
                self.found.add(kinds.OWED_WRONG, where, "owed, but it has no location row")

    def _unreached(self) -> None:
        """Rows of buckets and uploads that are not there."""
        paths = {schema.VERSIONS: "versions", schema.NULLS: "null versions"}
        for table, what in {**paths, schema.UPLOADS: "uploads"}.items():
            for root, count in sorted(self._detached(table).items()):
                self.found.add(kinds.BUCKETLESS, f"subtree {root.hex()}", f"{count} {what}")
        for key, _ in self.tx.scan(schema.PARTS, schema.successor(schema.PARTS)):
            identity, number = schema.numbered(key)
            if identity not in self.uploads:
                where = f"upload {identity.hex()}"
                self.found.add(kinds.BUCKETLESS, where, f"part {number} of no upload")
        for key, _ in self.tx.scan(schema.USAGE, schema.successor(schema.USAGE)):
            self._of_a_bucket(key, "a usage counter")
        for key, _ in self._rows(ConfigurationRow, schema.CONFIGURATIONS):
            self._of_a_bucket(key, "a configuration")

    def _of_a_bucket(self, key: bytes, what: str) -> None:
        root = key[1 : 1 + BUCKET_ID_BYTES]
        if root not in self.roots:
            self.found.add(kinds.BUCKETLESS, f"bucket id {root.hex()}", what)

    def _detached(self, table: bytes) -> dict[bytes, int]:
        """Rows by subtree, of those subtrees that no bucket leads to."""
        counts: dict[bytes, int] = {}
        below: dict[bytes, list[bytes]] = {}
        for key, value in self.tx.scan(table, schema.successor(table)):
            root = key[1 : 1 + SUBTREE_ID_BYTES]
            if schema.split(key)[1] is None:
                branch = self._unsealed(key, value)
                below.setdefault(root, []).append(branch)
            else:
                counts[root] = counts.get(root, 0) + 1
        reached = list(self.roots)
        while reached:
            root = reached.pop()
            counts.pop(root, None)
            reached += below.pop(root, [])
        return counts

    def _unsealed(self, key: bytes, value: bytes) -> bytes:
        try:
            return unseal(key, value)
        except FormatError as fault:
            self.found.add(kinds.ROW_DAMAGED, f"prefix-id row {key.hex()}", str(fault))
            return b""


def _plausible(stripe: Stripe) -> bool:
    """A geometry that can be, its shards on different disks."""
    slots = [place.slot for place in stripe.shards if place is not None]
    n = stripe.k + stripe.m
    return (
        1 <= stripe.k <= n <= DISKS_MAX
        and len(stripe.shards) == n
        and len(set(slots)) == len(slots)
        and stripe.code == CODE_CAUCHY
    )


def _digest_of(row: VersionRow) -> bytes:
    """What the digest of a version must be, by what it is made of."""
    digests = [item.digest for item in row.data]
    if not row.parts and row.inline is None and len(digests) == 1:
        return digests[0]
    content = b"".join(digests) if row.parts else row.inline or b""
    digest: bytes = xxhash.xxh3_128_digest(content)
    return digest


def _told(owed: OwedRow | None) -> str:
    return f"{owed.shards} shards of stripes {owed.stripes}" if owed else "nothing"
