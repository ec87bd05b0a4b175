"""The journal writer: frames to every disk's log, committed when m + 1 have them.

Every slot has one append in flight at most; the frames that came meanwhile join the next one. A
frame goes at once to one slot more than it needs: to those that are not busy, and of them to
those that have been without one for longest. The others follow when a later frame goes to them,
and at the latest `follow_seconds` on: so under load a disk syncs a few frames together, and no
answer waits for that. A frame that takes longer than usual goes to all. A slot that lags by more
than a bound is given up (OUT) until it has been readmitted: all frames that checkpoints still
need are copied to it from the other disks, then it takes part again. A log whose append failed is
dead (I3): what it did not answer goes into a new log file, tried again after a while. What it had
answered is read back from the medium first; a slot that lacks a frame of it is given up, and
readmitted.

When fewer than m + 1 slots can take a frame the journal is stalled, with a reason. The frame
stays where it is, the same bytes for the same sequence, until it is durable.

Invariants: frames of one slot reach its logs in order; a frame counts only when the disk set
answered it as synced; a log file name is never used twice. Runs on one event loop; copies and
removals of files run in a thread. Knows the disk set only as `Logs`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from asyncio import Future
from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter
from typing import NamedTuple, Protocol

from s3node.base.errors import JournalStalled, StorageFault
from s3node.base.filesystem import Buffer
from s3node.meta.frame import Frame, Position
from s3node.meta.homes import APPENDED, Home, log_name
from s3node.meta.slots import LogFile, Retained, Slot, SlotState, SlotStatus, Waiting

LOG = logging.getLogger("s3node.journal")

_WEIGHT = 1 / 16  # of the newest frame in what is usual


class Logs(Protocol):
    """What the journal needs of the disk set."""

    def writable_logs(self) -> Sequence[int]: ...

    def log_append(
        self,
        slots: Sequence[int],
        data: Buffer,
        answered: Callable[[int, StorageFault | None], None],
    ) -> None: ...

    def log_rotate(self, slot: int, name: str) -> Future[None]: ...


class Limits(NamedTuple):
    """Bounds in bytes, times in seconds."""

    log_bytes: int = 16 << 20  # a log file is not appended to beyond this
    lag_bytes: int = 32 << 20  # a slot that owes more than this is given up
    join_bytes: int = 4 << 20  # frames joined into one append
    retry_seconds: float = 1.0
    follow_seconds: float = 0.1  # a slot that takes appends is not without a frame for longer
    patience_seconds: float = 0.005  # at least so long a frame is left to those it went to first


class Readmission(Protocol):
    """Copies the frames after sequence `base`, up to `last`, into the log file `name` of a slot,
    then removes what else its journal held. Runs in a thread; OSError, StorageFault.
    """

    def __call__(
        self, homes: Mapping[int, Home], slot: int, base: int, last: Position, name: str
    ) -> None: ...


class ReadBack(Protocol):
    """Why the frames `first` to `last` are not known to lie on the medium in the log `name`; ""
    if they do. Runs in a thread.
    """

    def __call__(self, home: Home, name: str, first: int, last: int) -> str: ...


class Journal:
    """Writes frames. `start` it on the loop, `commit` frames one at a time, `close` it."""

    def __init__(
        self,
        logs: Logs,
        homes: Mapping[int, Home],
        *,
        need: int,
        epoch: int,
        last: Position,
        base: int,
        retained_bytes: int = 0,
        files: Mapping[int, Sequence[LogFile]],
        out: Mapping[int, str],
        readmission: Readmission,
        read_back: ReadBack,
        limits: Limits = Limits(),  # noqa: B008
    ) -> None:
        """`need` is m + 1; `last` the newest durable frame; checkpoints hold all up to `base`, the
        frames after it have `retained_bytes`; `files` are the log files found, `out` the slots
        that lack frames, and why.
        """
        self._logs = logs
        self._homes = homes
        self._need = need
        self._epoch = epoch
        self._base = base
        self._retained = Retained()
        self._retained.add(last.sequence, retained_bytes)
        self._waiting = Waiting(last.sequence)
        self._limits = limits
        self._readmission = readmission
        self._read_back = read_back
        self.durable = last  # every frame up to here is synced on m + 1 disks
        self._slots = {
            number: Slot(
                number,
                SlotState.OUT if number in out else SlotState.LIVE,
                out.get(number, ""),
                files=list(files.get(number, ())),
                synced=0 if number in out else last.sequence,
            )
            for number in homes
        }
        self._current: Frame | None = None
        self._settled: Future[None] | None = None
        self._fed = asyncio.Event()
        self._asked = 0  # slots that were given the current frame
        self._answered = 0  # how often one said that it has it
        self._begun = 0.0  # when that was
        self._usual_s = 0.0  # what a frame takes, about
        self._follow_at = 0.0
        self._tick: asyncio.TimerHandle | None = None
        self._feeders: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin on the running loop."""
        self._feeders = [
            asyncio.create_task(self._feed(slot), name=f"journal slot {slot.number}")
            for slot in self._slots.values()
        ]

    async def close(self, patience: float = 5.0) -> None:
        """Let the slots catch up for a while, then stop."""
        self._feed_all()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience):
                await self._caught_up()
        if self._tick is not None:
            self._tick.cancel()
        for feeder in self._feeders:
            feeder.cancel()
        await asyncio.gather(*self._feeders, return_exceptions=True)

    def failed(self) -> BaseException | None:
        """The broken invariant that ended a feeder, if one did."""
        for feeder in self._feeders:
            if feeder.done() and not feeder.cancelled() and feeder.exception() is not None:
                return feeder.exception()
        return None

    @property
    def stall(self) -> str:
        """Why no frame can be made durable now; "" when one can."""
        able = [s for s in self._slots.values() if s.state is SlotState.LIVE]
        if len(able) >= self._need:
            return ""
        down = ", ".join(
            f"slot {s.number} {s.state.value} ({s.reason})"
            for s in self._slots.values()
            if s.state is not SlotState.LIVE
        )
        return f"{len(able)} of the {self._need} disks that a journal frame needs: {down}"

    def status(self) -> dict[int, SlotStatus]:
        return {
            number: SlotStatus(s.state, s.reason, s.synced, self._lag_bytes(s))
            for number, s in self._slots.items()
        }

    def retained_bytes(self) -> int:
        """Bytes of the frames that no checkpoint holds."""
        return self._retained.total

    def sequence_leaving(self, retained: int) -> int:
        """The sequence to cut at so that at most so many bytes remain."""
        return self._retained.leaving(retained)

    def live(self) -> Sequence[int]:
        """Slots that take part now and whose disks are there."""
        there = set(self._logs.writable_logs())
        return [
            s.number
            for s in self._slots.values()
            if s.state is SlotState.LIVE and s.number in there
        ]

    async def commit(self, frame: Frame) -> None:
        """Make the next frame durable. JournalStalled: not now; `settle` waits on.

        The frame before must be durable.
        """
        assert self._current is None, "one frame at a time"
        assert frame.position.sequence == self.durable.sequence + 1
        self._current = frame
        self._retained.add(frame.position.sequence, len(frame.data))
        self._waiting.add(frame)
        if self._waiting.held_bytes > self._limits.lag_bytes:
            for slot in self._slots.values():
                self._give_up_laggard(slot)
        self._spread()
        await self.settle()

    async def settle(self) -> None:
        """Wait for the frame in doubt; JournalStalled while it cannot be made durable."""
        if self._current is None:
            return
        if self.stall:
            raise JournalStalled(self.stall)
        self._settled = asyncio.get_running_loop().create_future()
        await self._settled

    def distrust(self, slot: int, reason: str) -> None:
        """What this slot had synced may be gone: it takes part again once it has a whole copy."""
        self._slots[slot].synced = 0
        self._give_up(self._slots[slot], reason)
        self._tell_stall()

    async def cut(self, base: int) -> None:
        """Remove whole log files that hold nothing after `base`."""
        self._base = max(self._base, base)
        self._retained.cut(base)
        await asyncio.gather(*(self._cut(slot) for slot in self._slots.values()))

    # Which slots a frame goes to first.

    def _spread(self) -> None:
        """The newest frame to as many as it needs and one, those first that wait for longest."""
        loop = asyncio.get_running_loop()
        self._asked, self._answered, self._begun = 0, 0, loop.time()
        alike: list[Slot] = []
        for slot in sorted(self._slots.values(), key=attrgetter("synced")):
            if self._asked + len(alike) > self._need:
                break
            if alike and alike[0].synced != slot.synced:
                self._append(alike)
                alike = []
            if self._takes(slot):
                alike.append(slot)
        self._append(alike)
        self._look_later()

    @property
    def _patience(self) -> float:
        limits = self._limits  # a stall that is over must not make the next one longer
        return min(max(limits.patience_seconds, 2 * self._usual_s), limits.follow_seconds)

    def _look_later(self) -> None:
        if self._tick is None:
            self._tick = asyncio.get_running_loop().call_later(self._patience, self._look)

    def _look(self) -> None:
        """Now and then while anybody waits: is it time for the others?"""
        loop = asyncio.get_running_loop()
        now, self._tick = loop.time(), None
        late = self._current is not None and now - self._begun >= self._patience
        if late or now >= self._follow_at:
            self._feed_all()
            self._follow_at = now + self._limits.follow_seconds
        if self._waiting.held_bytes > self._limits.join_bytes:
            self._forget()
        newest = self._waiting.newest
        waiting = any(slot.ready and slot.synced < newest for slot in self._slots.values())
        if waiting or (self._current is not None and not late):
            self._look_later()

    def _feed_all(self) -> None:
        for slot in self._slots.values():
            if self._takes(slot):
                self._append([slot])

    # Feeding one slot.

    async def _feed(self, slot: Slot) -> None:
        while True:
            try:
                if slot.state is SlotState.OUT:
                    await self._readmit(slot)
                elif slot.number not in self._logs.writable_logs():
                    raise StorageFault("its log takes no appends")
                else:
                    await self._serve(slot)
            except StorageFault as fault:
                self._fail(slot, str(fault))
                await self._look_back(slot)
                await asyncio.sleep(self._limits.retry_seconds)

    async def _serve(self, slot: Slot) -> None:
        """Have it take appends until something else is to be done."""
        if not slot.name or slot.size >= self._limits.log_bytes:
            await self._rotate(slot)
        if slot.state is SlotState.FAILED:
            slot.state, slot.reason = SlotState.LIVE, ""
        served = slot.served = asyncio.get_running_loop().create_future()
        if self._takes(slot):
            self._append([slot])
        try:
            await served
        finally:
            slot.served = None

    def _takes(self, slot: Slot) -> bool:
        """Whether the next append to it may begin, and there is something to append."""
        if not slot.ready or slot.synced == self._waiting.newest:
            if slot.state is not SlotState.LIVE and not slot.asked:
                slot.leave()  # given up meanwhile
            return False
        if slot.size >= self._limits.log_bytes:
            slot.leave()  # to be rotated first
            return False
        return True

    def _append(self, slots: Sequence[Slot]) -> None:
        """Begin the next append to slots that take one and have the same frames."""
        if not slots:
            return
        data, last = self._waiting.after(slots[0].synced, self._limits.join_bytes)
        for slot in slots:
            slot.asked, slot.asked_bytes = last, len(data)
        if self._current is not None and last == self._waiting.newest:
            self._asked += len(slots)
        self._logs.log_append([slot.number for slot in slots], data, self._appended)

    def _appended(self, number: int, fault: StorageFault | None) -> None:
        slot = self._slots[number]
        last, slot.asked = slot.asked, 0
        if fault is None and slot.state is SlotState.LIVE:
            slot.size += slot.asked_bytes
            slot.synced = last
            if self._current is not None and last == self._waiting.newest:
                self._answered += 1
                self._count()
            self._fed.set()
            if last == self._waiting.newest:
                return
            if self._asked > self._need:
                self._look_later()
            elif self._takes(slot):  # it was busy when the frame came
                self._append([slot])
        else:
            slot.leave(fault)

    async def _rotate(self, slot: Slot) -> None:
        first = slot.synced + 1
        self._close_log(slot, slot.synced)
        name = self._new_name(slot, first)
        await self._logs.log_rotate(slot.number, name)
        slot.name, slot.size, slot.first = name, 0, first
        if slot.state is SlotState.OUT:  # given up meanwhile: that log is removed with the others
            self._close_log(slot, slot.synced)

    def _new_name(self, slot: Slot, first: int) -> str:
        slot.begun += 1
        return log_name(first, self._epoch, APPENDED + slot.begun - 1)

    def _close_log(self, slot: Slot, last: int) -> None:
        if slot.name:
            slot.files.append(LogFile(slot.name, last))
        slot.name = ""

    def _fail(self, slot: Slot, reason: str) -> None:
        slot.reason = reason
        if slot.state is SlotState.LIVE:
            slot.state = SlotState.FAILED
            if slot.name and slot.first <= slot.synced:
                slot.doubt = slot.name, slot.first, slot.synced
            # What was not answered may lie in the dead log all the same.
            self._close_log(slot, self._waiting.newest)
        elif slot.state is SlotState.JOINING:
            self._give_up(slot, reason)
        self._give_up_laggard(slot)
        self._tell_stall()
        self._fed.set()
        self._feed_all()  # others instead

    async def _look_back(self, slot: Slot) -> None:
        """See whether a log that just failed has what it had answered; else the slot is out."""
        doubt, slot.doubt = slot.doubt, None
        if doubt is None or slot.state is not SlotState.FAILED:
            return
        home = self._homes[slot.number]
        why = await asyncio.to_thread(self._read_back, home, *doubt)
        fields = {"slot": slot.number, "log": doubt[0], "why": why}
        if why and slot.state is SlotState.FAILED:
            LOG.warning("a failed log lacks what it had answered", extra={"fields": fields})
            self.distrust(slot.number, f"its log failed and is not believed: {why}")

    def _lag_bytes(self, slot: Slot) -> int:
        """Of the frames that it waits for."""
        return 0 if slot.state is SlotState.OUT else self._waiting.bytes_after(slot.reached)

    def _give_up_laggard(self, slot: Slot) -> None:
        lag_bytes = self._lag_bytes(slot)
        if lag_bytes > self._limits.lag_bytes:
            self._give_up(slot, f"lagged behind by {lag_bytes} bytes")
            self._tell_stall()

    def _forget(self) -> None:
        """Frames that are durable and that no slot waits for."""
        reached = (s.reached for s in self._slots.values() if s.state is not SlotState.OUT)
        self._waiting.forget(min((self.durable.sequence, *reached)))

    def _give_up(self, slot: Slot, reason: str) -> None:
        slot.state, slot.reason = SlotState.OUT, reason
        self._close_log(slot, self._waiting.newest)
        if not slot.asked:
            slot.leave()

    # What is durable.

    def _count(self) -> None:
        """Whether the current frame is durable. A slot that had it may be given up since."""
        if self._current is None or self._answered < self._need:
            return
        sequence = self._current.position.sequence
        holders = sum(slot.synced >= sequence for slot in self._slots.values())
        if holders >= self._need:
            self.durable, self._current = self._current.position, None
            taken = asyncio.get_running_loop().time() - self._begun
            self._usual_s += (taken - self._usual_s) * _WEIGHT
            if self._settled is not None and not self._settled.done():
                self._settled.set_result(None)

    def _tell_stall(self) -> None:
        if self._settled is not None and not self._settled.done() and self.stall:
            self._settled.set_exception(JournalStalled(self.stall))

    async def _caught_up(self) -> None:
        """Wait until every live slot has every frame."""
        while self._is_behind():
            self._fed.clear()
            await self._fed.wait()

    def _is_behind(self) -> bool:
        newest = self._waiting.newest
        return any(s.synced < newest for s in self._slots.values() if s.state is SlotState.LIVE)

    # Bringing slots back, and letting go of old files.

    async def _readmit(self, slot: Slot) -> None:
        if slot.number not in self._logs.writable_logs():
            await asyncio.sleep(self._limits.retry_seconds)
            return
        assert not slot.name, "who was given up appends to no log that is about to be removed"
        slot.state = SlotState.JOINING
        last = self.durable
        slot.copied = last.sequence
        name = self._new_name(slot, self._base + 1)
        try:
            await _in_thread(
                lambda: self._readmission(self._homes, slot.number, self._base, last, name)
            )
        except OSError as error:
            raise StorageFault(f"readmission: {error}") from error
        if slot.state is SlotState.JOINING:
            slot.files = [LogFile(name, last.sequence)]
            slot.synced = last.sequence
            slot.state, slot.reason = SlotState.LIVE, ""

    async def _cut(self, slot: Slot) -> None:
        if slot.state is SlotState.OUT:
            return
        gone = [file for file in slot.files if file.last <= self._base]
        if not gone:
            return
        home = self._homes[slot.number]
        try:
            await _in_thread(lambda: _remove(home, gone))
        except OSError:
            return  # tried again with the next cut; the files only take room
        slot.files = [file for file in slot.files if file not in gone]


def _remove(home: Home, files: Sequence[LogFile]) -> None:
    for file in files:
        if home.fs.exists(f"{home.journal}/{file.name}"):
            home.fs.unlink(f"{home.journal}/{file.name}")
    home.fs.fsync_dir(home.journal)


async def _in_thread(work: Callable[[], None]) -> None:
    await asyncio.to_thread(work)
