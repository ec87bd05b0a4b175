"""Parts of a stripe, read at one crossing: what the layers above read records with.

The parts' payloads lie in one piece of memory, in the order asked for, so that whole shards that
follow each other are one run of bytes: nothing is joined. That memory may still be written to
for as long as a part is neither read nor given up by the engine; who holds none of the views
needs not care, since the engine holds the memory too.

`Reads` is the whole reading side of a disk set and needs nothing of the writing side: an engine
of its own will do.
"""

from __future__ import annotations

import asyncio
import itertools
import mmap
from asyncio import AbstractEventLoop, Future
from collections.abc import Callable, Iterable, Sequence

from s3node.base.arena import Arena
from s3node.base.errors import MemoryShort, ShardMissing, StorageFault
from s3node.base.limits import KIB, READ_ARENA_BYTES
from s3node.store import record
from s3node.store.engine import File, Read, Stage
from s3node.store.reading import SegmentReader, Wanted
from s3node.store.record import BLOCK_BYTES
from s3node.store.seams import Part, Place, Shard
from s3node.store.state import Context, Disk

Memory = Callable[[int], memoryview]
"""So many writable bytes, whatever is in them; they are free when nobody refers to them."""

LENT_BYTES_MIN = 128 * KIB
"""Less than this is quicker had from the heap, which keeps its pages, too."""

_SKIPPED = 256
"""Requests for which a full arena is left alone: looking for room in one takes time."""


class Lender:
    """Memory from an arena; fresh where that is quicker, or the arena full."""

    def __init__(self, arena: Arena) -> None:
        self._arena = arena
        self._skip = 0

    def take(self, size: int) -> memoryview:
        if size < LENT_BYTES_MIN or self._skip:
            self._skip = max(0, self._skip - 1)
            return memoryview(bytearray(size))
        try:  # whole pages: places of few different sizes
            return self._arena.take(-(-size // mmap.PAGESIZE) * mmap.PAGESIZE)[:size]
        except MemoryShort:
            self._skip = _SKIPPED
            return memoryview(bytearray(size))


class Fetch:
    """What was asked for of one stripe, and what has come of it."""

    __slots__ = (
        "_asked",
        "_at",
        "_bodies",
        "_flying",
        "_head",
        "_hurry",
        "_loop",
        "_memory",
        "_payload_bytes",
        "_settled",
        "_stripe",
        "_waiters",
        "faults",
        "left",
        "parts",
    )

    def __init__(
        self,
        loop: AbstractEventLoop,
        memory: Memory,
        stripe: Shard,
        payload_bytes: int,
        parts: Sequence[Part],
        asked: int,
    ) -> None:
        """The first `asked` of `parts` are asked for, the others are spare."""
        self.parts = parts
        self.left = len(parts)  # neither read nor failed yet
        self.faults: dict[int, StorageFault] = {}  # by position in `parts`
        self._loop = loop
        self._stripe = stripe
        self._payload_bytes = payload_bytes
        self._head = record.payload_start(payload_bytes)
        self._hurry = [False] * len(parts)
        self._settled = [False] * len(parts)
        self._asked = asked
        self._flying: set[int] = set()  # a disk may write there
        self._waiters: list[Future[None]] = []
        at = len(parts) * self._head
        self._bodies = []  # where each part's blocks begin, and how many bytes they are
        self._at = []  # where the bytes asked for begin
        for part in parts:
            assert 0 <= part.start < part.stop <= payload_bytes, "not within the payload"
            first = part.start & -BLOCK_BYTES
            size = min((part.stop + BLOCK_BYTES - 1) & -BLOCK_BYTES, payload_bytes) - first
            self._bodies.append((at, size))
            self._at.append(at + part.start - first)
            at += size
        self._memory = memory(at)

    def got(self, position: int) -> memoryview | None:
        """The bytes of one part; None if they are not there, or not yet."""
        if not self._settled[position] or position in self.faults:
            return None
        return self._view(position)

    def room(self, position: int) -> memoryview | None:
        """See `Fetched.room`."""
        if position not in self.faults or position in self._flying:
            return None
        part, begin = self.parts[position], self._at[position]
        return self._memory[begin : begin + part.stop - part.start]

    def mended(self, position: int) -> None:
        """See `Fetched.mended`."""
        del self.faults[position]

    def whole(self) -> list[memoryview] | None:
        """See `Fetched.whole`."""
        count = self._asked
        if self.left and not all(self._settled[:count]):
            return None
        if self.faults and min(self.faults) < count:
            return None
        pieces: list[memoryview] = []
        begin = end = self._at[0]
        for position in range(count):
            if self._at[position] != end:
                pieces.append(self._memory[begin:end])
                begin = self._at[position]
            end = self._at[position] + self.parts[position].stop - self.parts[position].start
        pieces.append(self._memory[begin:end])
        return [piece.toreadonly() for piece in pieces]

    async def wait(self, seconds: float | None) -> None:
        """Until nothing is left to come, or for so many seconds."""
        if self.left:
            await asyncio.wait((self.done(),), timeout=seconds)

    def done(self) -> Future[None]:
        """Ends when nothing is left to come."""
        waiter: Future[None] = self._loop.create_future()
        if self.left:
            self._waiters.append(waiter)
        else:
            waiter.set_result(None)
        return waiter

    def _view(self, position: int) -> memoryview:
        part, begin = self.parts[position], self._at[position]
        return self._memory[begin : begin + part.stop - part.start].toreadonly()

    # ---- for the readers

    def hurry(self, position: int) -> None:
        """This part is not worth asking the disk."""
        self._hurry[position] = True

    def hurried(self, index: int) -> bool:
        return self._hurry[index]

    def flying(self, index: int, *, now: bool) -> None:
        """Whether a disk may yet write where this part belongs."""
        if now:
            self._flying.add(index)
        else:
            self._flying.discard(index)

    def read_of(self, index: int, token: int, file: File, disk_id: bytes) -> Read:
        part = self.parts[index]
        assert part.place is not None, "what has no place is not read"
        slot, segment, offset = part.place
        begin, size = self._bodies[index]
        first = part.start & -BLOCK_BYTES
        head, payload_bytes = self._head, self._payload_bytes
        return Read(
            token,
            slot,
            file,
            self._memory,
            index * head,
            head,
            begin,
            size,
            offset,
            offset + head + first,
            record.claim(self._stripe, part.shard, payload_bytes, disk_id, segment, offset, first),
            self._hurry[index],
        )

    def wanted(self, index: int) -> Wanted:
        part = self.parts[index]
        assert part.place is not None, "what has no place is not read"
        shard = self._stripe._replace(shard_index=part.shard)
        return Wanted(part.place, shard, self._payload_bytes, part.start, part.stop)

    def settle(self, index: int, fault: StorageFault | None) -> None:
        if self._settled[index]:
            return
        self._settled[index] = True
        if fault is not None:
            self.faults[index] = fault
        self.left -= 1
        if not self.left:
            waiters, self._waiters = self._waiters, []
            for waiter in waiters:
                if not waiter.done():
                    waiter.set_result(None)


class Reads:
    """All reads from the disks of a set. `memory` is where payloads are read to."""

    def __init__(
        self, disks: Sequence[Disk], context: Context, memory: Memory | None = None
    ) -> None:
        self._readers = [SegmentReader(disk, context) for disk in disks]
        self._context = context
        self._memory = memory or Lender(Arena(READ_ARENA_BYTES)).take

    def fetch(
        self,
        stripe: Shard,
        payload_bytes: int,
        parts: Sequence[Part],
        hurry_s: float | None,
        spares: Iterable[Part] = (),
    ) -> Fetch:
        """See `ShardDisks.fetch`."""
        refusals: dict[int, StorageFault] = {}
        slow: set[int] = set()
        asked = [*parts]
        for index, part in enumerate(parts):
            self._sort(index, part, hurry_s, refusals, slow)
        wanted = len(refusals) + len(slow)
        if wanted:
            asked += itertools.islice((part for part in spares if self._serves(part)), wanted)
        fetch = Fetch(self._context.loop, self._memory, stripe, payload_bytes, asked, len(parts))
        for index in slow:
            fetch.hurry(index)
        for index, fault in refusals.items():
            fetch.settle(index, fault)
        self._begin(fetch, [index for index in range(len(asked)) if index not in refusals])
        return fetch

    def _sort(
        self,
        index: int,
        part: Part,
        hurry_s: float | None,
        refusals: dict[int, StorageFault],
        slow: set[int],
    ) -> None:
        """Note a part that cannot be read, or that is on a disk that has been silent for long."""
        place = part.place
        if place is None:
            refusals[index] = ShardMissing(f"shard {part.shard} is owed")
            return
        reader = self._readers[place.slot]
        fault = reader.refusal()
        if fault is not None:
            refusals[index] = fault
        elif hurry_s is not None and reader.silent_s() > hurry_s:
            slow.add(index)

    def _serves(self, part: Part) -> bool:
        return part.place is not None and self._readers[part.place.slot].refusal() is None

    def _begin(self, fetch: Fetch, indexes: Sequence[int]) -> None:
        """Give these parts to the engine, at once."""
        token = self._context.tokens(len(fetch.parts))
        begun: list[tuple[int, Place]] = []
        reads: list[Read] = []
        for index in indexes:
            place = fetch.parts[index].place
            assert place is not None, "what has no place is refused"
            read = self._readers[place.slot].begin(fetch, index, place.segment, token + index)
            if read is not None:
                begun.append((index, place))
                reads.append(read)
        answers = self._context.engine.read(reads) if reads else ()
        for (index, place), read, answer in zip(begun, reads, answers, strict=True):
            if answer is None:
                self._readers[place.slot].queued(fetch, index, place.segment, read)
            elif answer.stage == Stage.VERIFIED:
                fetch.settle(index, None)
            else:
                self._readers[place.slot].finish(fetch, index, read, answer)

    def read(
        self, place: Place, shard: Shard, payload_bytes: int, start: int, stop: int
    ) -> Future[memoryview]:
        """See `DiskSet.read`."""
        part = Part(shard.shard_index, place, start, stop)
        fetch = self.fetch(shard, payload_bytes, (part,), None)
        answer: Future[memoryview] = self._context.loop.create_future()
        if fetch.left:
            fetch.done().add_done_callback(lambda _: _answer(answer, fetch))
        else:
            _answer(answer, fetch)
        return answer

    def forget(self, slot: int, segment_id: int) -> None:
        """The segment will not be read any more."""
        self._readers[slot].forget(segment_id)

    def give_up(self, slot: int, fault: StorageFault) -> None:
        """Tell whoever waits for the disk."""
        self._readers[slot].give_up(fault)

    def close_slot(self, slot: int) -> None:
        """Close the slot's files, each when its last read is done."""
        self._readers[slot].close()

    def close(self) -> None:
        for reader in self._readers:
            reader.close()


def _answer(future: Future[memoryview], fetch: Fetch) -> None:
    if future.done():  # nobody waits any more
        return
    got = fetch.got(0)
    if got is None:
        future.set_exception(fetch.faults[0])
    else:
        future.set_result(got)
