"""What the layers above see of the disks: shards in records, and logs.

`DiskSet` is one of the project's seams: one conformance suite runs against every engine below it
(C, plain Python, Python on a simulated file system). It knows records, segments, disks and
slots; it does not know S3, rows, or what a journal frame means.

Slots are small integers, 0 to 15, one disk each. Awaitables complete on the event loop that
created the disk set. A fault of one disk is that disk's: it never raises for another.
"""

from __future__ import annotations

from asyncio import Future
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from enum import Enum
from typing import NamedTuple, Protocol, TypeAlias

from s3node.base.errors import StorageFault
from s3node.base.filesystem import Buffer
from s3node.base.limits import DISK_RESERVE_BYTES, DISK_RESERVE_SHARE
from s3node.store.epoch import Epoch
from s3node.store.identity import Identity, Standing

Fault: TypeAlias = StorageFault | None


class Shard(NamedTuple):
    """What a record says about its payload; the record header is made from it."""

    data_id: bytes
    stripe_index: int
    shard_index: int
    k: int
    m: int
    code: int
    stripe_bytes: int  # object bytes in this stripe
    stripe_offset: int  # where the stripe begins within the data
    digests: bytes  # XXH3-64 of each block of the payload, as they are recorded


class Records(NamedTuple):
    """What records of one stripe say: shards that follow each other, `payload_bytes` each.

    The payloads lie one right behind the other, and so do their digests. They must stay unchanged
    and alive until every append of one is answered.
    """

    stripe: Shard  # of them all; its index is that of the first
    payloads: memoryview
    payload_bytes: int
    hint: bytes = b""  # for salvage: bucket, key, version; never proof

    def span(self, shard: int) -> tuple[int, int]:
        """Where in `payloads` the one of that shard begins and ends."""
        start = (shard - self.stripe.shard_index) * self.payload_bytes
        return start, start + self.payload_bytes


class Place(NamedTuple):
    """Where a record was put."""

    slot: int
    segment: int
    offset: int


Answered: TypeAlias = Callable[[Sequence[tuple[int, Place | StorageFault]]], None]
"""Told of shards, by their index, where each was put, or why it was not."""


class At(Protocol):
    """What has the fields of a `Place`: a row's location has them too."""

    @property
    def slot(self) -> int: ...

    @property
    def segment(self) -> int: ...

    @property
    def offset(self) -> int: ...


class Part(NamedTuple):
    """Bytes start..stop of the payload of the stripe's shard number `shard`, recorded there.

    Without a place it is missing: its bytes have room among the others, but cannot be read.
    """

    shard: int
    place: At | None
    start: int
    stop: int


class Fetched(Protocol):
    """Parts of a stripe that are being read; those that were in memory are there at once."""

    @property
    def parts(self) -> Sequence[Part]:
        """What was asked for, then the spare parts that were."""

    @property
    def left(self) -> int:
        """How many are yet to come."""

    @property
    def faults(self) -> Mapping[int, StorageFault]:
        """What is wrong with those that will not come, by their position.

        ShardMissing, ShardCorrupt, DiskOffline; DiskSlow, when the fetch was in a hurry.
        """

    def got(self, position: int) -> memoryview | None:
        """The bytes of one part, verified (I7); None if they are not there, or not yet."""

    def room(self, position: int) -> memoryview | None:
        """Where the bytes of a part belong that will not come; None while a disk may write there.

        To be filled, and `mended` then.
        """

    def mended(self, position: int) -> None:
        """The part is there after all."""

    def whole(self) -> Sequence[memoryview] | None:
        """The bytes of all but spare parts, in order, as few pieces; None unless all are there."""

    async def wait(self, seconds: float | None) -> None:
        """Until nothing is left to come, or for so many seconds."""


class DiskState(Enum):
    ONLINE = "online"  # reads and writes
    READONLY = "readonly"  # reads; full, read-only, or its last write failed
    FENCED = "fenced"  # identity or epoch says: not to be believed yet
    OFFLINE = "offline"  # not there, or failed


class DiskStatus(NamedTuple):
    slot: int
    path: str
    disk_id: bytes | None
    state: DiskState
    reason: str  # for people: what happened and what to do; "" when all is well
    total_bytes: int
    free_bytes: int

    @property
    def room(self) -> int:
        """Bytes that shards may still take: journal and checkpoints keep a reserve."""
        return self.free_bytes - min(DISK_RESERVE_BYTES, self.total_bytes // DISK_RESERVE_SHARE)


class Probe(NamedTuple):
    """What is found at a disk's path now. `writable` only if everything else is in order."""

    slot: int
    standing: Standing
    identity: Identity | None
    epoch: Epoch | None
    writable: bool
    reason: str


class ReadBack(NamedTuple):
    """What a dead segment lacks of what it had answered: ranges start..stop of its file."""

    slot: int
    segment: int
    missing: Sequence[tuple[int, int]]
    reason: str  # why it, or the rest of it, could not be read back; "" when it could

    def lacks(self, offset: int) -> bool:
        """Whether the record at this offset is missing, or not known to be there."""
        return any(start <= offset < stop for start, stop in self.missing)


class ShardDisks(Protocol):
    """Of the disks of a node, what writing and reading objects takes: all that an edge has."""

    def status(self) -> Sequence[DiskStatus]: ...

    def writable(self) -> Sequence[DiskStatus]:
        """Disks that take appends now."""

    def have_room(self, count: int, size: int) -> bool:
        """Whether at least so many disks take so many bytes now: what `writable` tells, with less
        work, and perhaps less for one that is rounded there.
        """

    def append(
        self, records: Records, targets: Sequence[tuple[int, int]], answered: Answered
    ) -> None:
        """Append shards of a stripe, each to the open segment of a disk: (slot, shard index).

        All that is appended in one turn of the loop crosses into the engine at once. Each record
        is answered once, with others or not, never before this returns: with its place when it is
        on the platter (group commit: all appends waiting on a disk share one write and one
        fdatasync), with a StorageFault when it is not. A disk that is slow refuses nothing: who
        appends bounds what waits. A place that was answered pins its segment until `unpin`.
        """

    def unpin(self, places: Sequence[Place]) -> None:
        """The writes that made these places are decided: committed, or given up."""

    def set_sequence(self, sequence: int) -> None:
        """The last committed journal sequence, stamped into every record from now on."""

    def read(
        self, place: Place, shard: Shard, payload_bytes: int, start: int, stop: int
    ) -> Future[memoryview]:
        """Bytes start..stop of the payload of the record at `place`, verified (I7).

        Only the blocks that overlap are read, and each is checked against its digest; the header
        must say what `shard` says (its digests are ignored). ShardMissing, ShardCorrupt,
        DiskOffline otherwise.
        """

    def fetch(
        self,
        stripe: Shard,
        payload_bytes: int,
        parts: Sequence[Part],
        hurry_s: float | None,
        spares: Iterable[Part] = (),
    ) -> Fetched:
        """`read` for several shards of one stripe, at one crossing.

        `stripe` says what is the same of all of them (its shard index is ignored). With `hurry_s`,
        a disk that has been silent for longer is not asked: DiskSlow, unless it is in memory. For
        each of `parts` whose disk is not or may not be asked, one of `spares` is read as well.
        """

    def at_hand(
        self, stripe: Shard, payload_bytes: int, places: Sequence[At | None], start: int, stop: int
    ) -> memoryview | None:
        """Bytes start..stop of the stripe, verified (I7), if no disk has to be asked for them.

        They lie in data shards that begin at `places`, in order. None when any of it is not in
        memory, or not right, or nothing is read from its disk now: then nothing is known.
        """

    def at_hand_around(
        self,
        stripe: Shard,
        payload_bytes: int,
        places: Sequence[At | None],
        count: int,
        hurry_s: float,
    ) -> tuple[memoryview, dict[int, memoryview]] | None:
        """Where `at_hand` has to do without a disk, which nothing is read from now or which has
        been silent for `hurry_s`: the first `count` other shards, verified, if no disk has to be
        asked for them.

        The memory of `count` payloads side by side, and more behind it, in which the data shards
        that were found lie where they belong; and by index all that were found, the data first.
        None when they are not in memory, or not right, or when no disk has to be done without.
        """


class DiskSet(ShardDisks, Protocol):
    """The D disks of a node."""

    def returns(self, slot: int) -> int:
        """How often the disk was taken back to service: what was open before means nothing."""

    def pinned(self, slot: int, segment_id: int) -> bool:
        """Whether the segment is still written, or holds records that are not decided (I5)."""

    def pins(self) -> int:
        """Records that were appended for writes which are not decided yet."""

    def writable_logs(self) -> Sequence[int]:
        """Slots whose disk takes a log now: by an append, or after a rotation to a new one.

        A disk that is full counts: shards leave it room for its log.
        """

    def log_append(
        self, slots: Sequence[int], data: Buffer, answered: Callable[[int, Fault], None]
    ) -> None:
        """Append to the open log file of each slot: answered(slot, None) when it is on its
        platter, the fault if it may not be, which may be told before this returns.
        """

    def log_rotate(self, slot: int, name: str) -> Future[None]:
        """Create the log file `name` (durably) and make it the slot's open log."""

    def segments(self, slot: int) -> Iterator[int]:
        """Ids of the segments that lie on the disk."""

    async def drop(self, slot: int, segment_id: int) -> None:
        """Move a segment to the disk's quarantine. OSError if that fails."""

    def suspects(self) -> Sequence[tuple[int, int]]:
        """(slot, segment) of those that ended otherwise than by a synced seal, had answered
        something before, lie on a readable disk, and have not been read back.
        """

    async def read_back(self, slot: int, segment_id: int) -> ReadBack:
        """Verify past the page cache all that a suspect had answered; it is none afterwards.

        DiskOffline, and it stays one, if the disk goes away meanwhile.
        """

    async def trim(self, slot: int) -> int:
        """Give back the room that unsealed segments of ended epochs had reserved; how many had.

        Reads the headers of those segments: work for the background. OSError if that fails.
        """

    async def refresh(self) -> None:
        """Look whether every readable disk is still there, and how much room it has."""

    async def probe(self, slot: int) -> Probe:
        """Look whether the disk is there and takes writes; changes nothing."""

    async def readmit(self, slot: int) -> None:
        """Put a disk back to service after a probe that found everything in order.

        Whether its content is to be believed is decided above, before. DiskOffline if not.
        """

    def fence(self, slot: int, reason: str) -> None:
        """Take a disk out of service until it is readmitted."""

    async def seal(self) -> None:
        """Seal every open segment (clean shutdown): preallocated room is cut off."""

    async def close(self) -> None: ...
