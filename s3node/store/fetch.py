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
import struct
import sys
from asyncio import AbstractEventLoop, Future
from collections.abc import Callable, Container, Iterable, Sequence

from s3node.base.arena import Arena
from s3node.base.errors import MemoryShort, ShardMissing, StorageFault
from s3node.base.ids import UUID_BYTES
from s3node.base.limits import DISKS_MAX, KIB, READ_ARENA_BYTES, READ_STRIDE_BYTES_MAX
from s3node.store import record
from s3node.store.engine import SPOT, Engine, File, Read, Stage
from s3node.store.reading import Opened, SegmentReader, Wanted
from s3node.store.record import BLOCK_BYTES
from s3node.store.seams import At, Part, Place, Shard
from s3node.store.state import Context, Disk

Memory = Callable[[int], memoryview]
"""So many writable bytes, whatever is in them; they are free when nobody refers to them."""

LENT_BYTES_MIN = 128 * KIB
"""Less than this is quicker had from the heap, which keeps its pages, too."""

_ANY_DISK = bytes(UUID_BYTES)
_NOTHING = memoryview(b"")

_SPOT_FIELDS = 8
_SPOTS = [struct.Struct("=" + count * SPOT) for count in range(DISKS_MAX + 1)]

_ROOM_BYTES = READ_STRIDE_BYTES_MAX + 2 * BLOCK_BYTES  # a stride's, with whole blocks at its ends
_ROOMS = 16
"""As many strides as are sent to slow clients at one time have a place that is warm already."""

_SKIPPED = 256
"""Requests for which a full arena is left alone: looking for room in one takes time."""


def _references() -> int:
    """To something in a list that nobody else sees, counted as `Lender` does.

    Of the list, of the loop, of the call: how many that is, is the interpreter's matter.
    """
    for one in [bytearray()]:
        return sys.getrefcount(one)
    raise AssertionError("there was one")


_UNSEEN = _references()


class Lender:
    """Memory from an arena; fresh where that is quicker, or the arena full.

    For a stride or less it has some rooms of its own, and gives the first that is free: mostly the
    one that was used last, and which is in the processor's cache yet.
    """

    def __init__(self, arena: Arena, rooms: int = _ROOMS) -> None:
        self._arena = arena
        # What a view is of, and not a view: it has one more reference for each view that is made
        # of it, and none for those that are made of these, which hold theirs.
        self._rooms = [arena.take(_ROOM_BYTES).obj for _ in range(rooms)]
        self._skip = 0

    def take(self, size: int) -> memoryview:
        if size <= _ROOM_BYTES:
            for one in self._rooms:
                if sys.getrefcount(one) == _UNSEEN:
                    return memoryview(one).cast("B")[:size]
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
        "_bodies",
        "_fields",
        "_flying",
        "_head",
        "_heads_at",
        "_hurry",
        "_loop",
        "_memory",
        "_payload_bytes",
        "_settled",
        "_stripe",
        "_tried",
        "_waiters",
        "faults",
        "left",
        "parts",
    )

    def __init__(
        self, loop: AbstractEventLoop, stripe: Shard, payload_bytes: int, asked: int
    ) -> None:
        """`add` the parts then; the first `asked` are asked for, the others are spare."""
        self.parts: list[Part] = []
        self.left = 0  # neither read nor failed yet
        self.faults: dict[int, StorageFault] = {}  # by position in `parts`
        self._loop = loop
        self._stripe = stripe
        self._payload_bytes = payload_bytes
        self._head = record.payload_start(payload_bytes)
        self._hurry: Container[int] = ()
        self._settled = 0  # a bit for each part that was read or failed
        self._asked = asked
        self._flying: set[int] = set()  # a disk may write there
        self._waiters: list[Future[None]] = []
        # Where each part's blocks begin in memory and in the payload, and how many bytes they are.
        self._bodies: list[tuple[int, int, int]] = []
        self._heads_at = 0  # behind them
        self._memory = _NOTHING
        self._tried: list[int] = []  # positions of those that may be in memory,
        self._fields: list[int | bytes] = []  # and what the engine has to know of them

    def add(self, part: Part, file: Opened | None) -> None:
        """One more part; its `file` if it may be looked for in memory."""
        shard, place, start, stop = part
        size = self._payload_bytes
        assert 0 <= start < stop <= size, "not within the payload"
        at, first = self._heads_at, start & -BLOCK_BYTES
        end = -(-stop // BLOCK_BYTES) * BLOCK_BYTES
        size = (end if end < size else size) - first
        if file is not None and place is not None:
            self._tried.append(len(self.parts))
            address, disk_id = file
            self._fields += (address, place.segment, place.offset, at, first, size, shard, disk_id)
        self.parts.append(part)
        self._bodies.append((at, first, size))
        self._heads_at = at + size

    def take_at_hand(self, engine: Engine, memory: Memory) -> Container[int]:
        """All parts are known: take what is in memory, at one crossing; the positions of that."""
        count = self.left = len(self.parts)
        self._memory = memory(self._heads_at + count * self._head)
        tried = self._tried
        if not tried:
            return ()
        claim = record.claim(self._stripe, 0, self._payload_bytes, _ANY_DISK, 0, 0, 0)
        there = engine.at_hand(self._memory, claim, _SPOTS[len(tried)].pack(*self._fields))
        if there == (1 << count) - 1:
            done: Container[int] = range(count)
        else:
            found = {index for number, index in enumerate(tried) if there >> number & 1}
            done, there = found, sum(1 << index for index in found)
        self._settle_all(there)
        return done

    def got(self, position: int) -> memoryview | None:
        """The bytes of one part; None if they are not there, or not yet."""
        if not self._settled >> position & 1 or position in self.faults:
            return None
        return self._view(position).toreadonly()

    def room(self, position: int) -> memoryview | None:
        """See `Fetched.room`."""
        if position not in self.faults or position in self._flying:
            return None
        return self._view(position)

    def mended(self, position: int) -> None:
        """See `Fetched.mended`."""
        del self.faults[position]

    def whole(self) -> list[memoryview] | None:
        """See `Fetched.whole`."""
        count = self._asked
        all_ = (1 << count) - 1
        if self._settled & all_ != all_ or (self.faults and min(self.faults) < count):
            return None
        memory = self._memory.toreadonly()
        pieces: list[memoryview] = []
        begin = end = -1
        for (_, _, start, stop), (at, first, _) in zip(
            self.parts[:count], self._bodies[:count], strict=True
        ):
            if at + start - first != end:
                if end >= 0:
                    pieces.append(memory[begin:end])
                begin = at + start - first
            end = at + stop - first
        pieces.append(memory[begin:end])
        return pieces

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
        (_, _, start, stop), (at, first, _) = self.parts[position], self._bodies[position]
        return self._memory[at + start - first : at + stop - first]

    # ---- for the readers

    def hurry(self, positions: Container[int]) -> None:
        """These parts are not worth asking the disk."""
        self._hurry = positions

    def hurried(self, index: int) -> bool:
        return index in self._hurry

    def flying(self, index: int, *, now: bool) -> None:
        """Whether a disk may yet write where this part belongs."""
        if now:
            self._flying.add(index)
        else:
            self._flying.discard(index)

    def read_of(self, index: int, token: int, file: File, disk_id: bytes) -> Read:
        part = self.parts[index]
        assert part.place is not None, "what has no place is not read"
        slot, segment, offset = part.place.slot, part.place.segment, part.place.offset
        begin, first, size = self._bodies[index]
        head, payload_bytes = self._head, self._payload_bytes
        return Read(
            token,
            slot,
            file,
            self._memory,
            self._heads_at + index * head,
            head,
            begin,
            size,
            offset,
            offset + head + first,
            record.claim(self._stripe, part.shard, payload_bytes, disk_id, segment, offset, first),
            index in self._hurry,
        )

    def wanted(self, index: int) -> Wanted:
        part = self.parts[index]
        assert part.place is not None, "what has no place is not read"
        shard = self._stripe._replace(shard_index=part.shard)
        return Wanted(part.place, shard, self._payload_bytes, part.start, part.stop)

    def settle(self, index: int, fault: StorageFault | None) -> None:
        if self._settled >> index & 1:
            return
        if fault is not None:
            self.faults[index] = fault
        self._settle_all(1 << index)

    def _settle_all(self, bits: int) -> None:
        """Parts that were not settled are: those whose bits are set."""
        self._settled |= bits
        self.left -= bits.bit_count()
        if not self.left and self._waiters:
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

    def at_hand(
        self, stripe: Shard, payload_bytes: int, places: Sequence[At | None], start: int, stop: int
    ) -> memoryview | None:
        """See `ShardDisks.at_hand`."""
        spots: list[int | bytes] = []
        shard = start // payload_bytes
        begin = start % payload_bytes  # in the first of the shards, and of the blocks of it then
        first, at = begin & -BLOCK_BYTES, 0
        left = stop - shard * payload_bytes  # to the end of what is wanted, from this shard's start
        while left > 0:
            place = places[shard]
            opened = self._readers[place.slot].at_rest(place.segment) if place else None
            if place is None or opened is None:
                return None
            end = min(-(-left // BLOCK_BYTES) * BLOCK_BYTES, payload_bytes)
            address, disk_id = opened
            size = end - first
            spots += (address, place.segment, place.offset, at, first, size, shard, disk_id)
            shard, left, first, at = shard + 1, left - payload_bytes, 0, at + size
        memory = self._filled(at, stripe, payload_bytes, spots)
        if memory is None:
            return None
        begin %= BLOCK_BYTES
        return memory[begin : begin + stop - start].toreadonly()

    def at_hand_around(
        self,
        stripe: Shard,
        payload_bytes: int,
        places: Sequence[At | None],
        count: int,
        hurry_s: float,
    ) -> tuple[memoryview, dict[int, memoryview]] | None:
        """See `ShardDisks.at_hand_around`."""
        spots: list[int | bytes] = []
        found: dict[int, int] = {}  # shard: where it goes
        end = count * payload_bytes
        for shard, place in enumerate(places):
            if place is None:
                continue
            reader = self._readers[place.slot]
            if reader.refusal() or reader.silent_s() > hurry_s:
                continue
            opened = reader.at_rest(place.segment)
            if opened is None:  # it is to be asked: that it takes a moment is no loss
                return None
            address, disk_id = opened
            at = shard * payload_bytes
            if shard >= count:
                at, end = end, end + payload_bytes
            spots += (address, place.segment, place.offset, at, 0, payload_bytes, shard, disk_id)
            found[shard] = at
            if len(found) == count:
                break
        if len(found) < count or end == count * payload_bytes:
            return None
        memory = self._filled(end, stripe, payload_bytes, spots)
        if memory is None:
            return None
        return memory, {shard: memory[at : at + payload_bytes] for shard, at in found.items()}

    def _filled(
        self, size: int, stripe: Shard, payload_bytes: int, spots: Sequence[int | bytes]
    ) -> memoryview | None:
        """Memory with what the spots say, verified, if all of that is in memory already."""
        count = len(spots) // _SPOT_FIELDS
        memory = self._memory(size)
        claim = record.claim(stripe, 0, payload_bytes, _ANY_DISK, 0, 0, 0)
        there = self._context.engine.at_hand(memory, claim, _SPOTS[count].pack(*spots))
        return memory if there == (1 << count) - 1 else None

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
        readers = self._readers
        fetch = Fetch(self._context.loop, stripe, payload_bytes, len(parts))
        for index, part in enumerate(parts):
            place = part.place
            file = None if place is None else readers[place.slot].at_rest(place.segment)
            if file is None:
                self._sort(index, part, hurry_s, refusals, slow)
            fetch.add(part, file)
        if refusals or slow:
            serving = ((part, at) for part in spares if (at := self._serves(part)))
            for part, at in itertools.islice(serving, len(refusals) + len(slow)):
                fetch.add(part, readers[at.slot].at_rest(at.segment))
            fetch.hurry(slow)
        done = fetch.take_at_hand(self._context.engine, self._memory)
        for index, fault in refusals.items():
            fetch.settle(index, fault)
        if fetch.left:
            count = len(fetch.parts)
            left = [index for index in range(count) if index not in done and index not in refusals]
            self._begin(fetch, left)
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

    def _serves(self, part: Part) -> At | None:
        """Where it can be read."""
        at = part.place
        return None if at is None or self._readers[at.slot].refusal() else at

    def _begin(self, fetch: Fetch, indexes: Sequence[int]) -> None:
        """Give these parts to the engine, at once."""
        token = self._context.tokens(len(fetch.parts))
        begun: list[tuple[int, At]] = []
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
