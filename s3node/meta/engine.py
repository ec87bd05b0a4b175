"""The engine: decides write sets, makes frames of them, and puts frames into the index.

    fn, or a write set -> decided on index and overlay -> frame on m + 1 disks -> index -> answer

The state as decided is the index plus the overlay: rows decided but not yet in the index. fn runs
on it at its turn, where it cannot conflict; a write set that was made elsewhere, on a snapshot
of the index, is validated against it, and answered as a conflict when it is no longer true. What
they write joins the open batch. It closes when the journal is free, at once when it already is:
a lone writer waits for nobody, and under load batch i + 1 gathers while i syncs. What was decided
is final: it waits for its frame, however long that takes, and nothing is decided on top of a
frame in doubt. What was read of it is told when it is in the index, refusals too.

Invariants: frames are decided and made durable in sequence order, one in flight; rows reach the
index only from durable frames, whole and in order; overlay = rows of decided frames that the
index may lack; no LMDB transaction lives across an await (I8). All methods but `read` belong to
the event loop. The index is written on it too, for that only copies into memory that the kernel
writes back, and takes less than to hand it over; but what may wait, for room in the map or after
a failure, is done in a thread.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from s3node.base.clock import Clock
from s3node.base.errors import FormatError, JournalStalled, StorageFault
from s3node.meta import frame as frames
from s3node.meta.frame import Frame, Position
from s3node.meta.index import Index, IndexFull
from s3node.meta.kv import ReadTx, WriteTx
from s3node.meta.overlay import Overlay
from s3node.meta.transaction import (
    WRITE_SET_BYTES_MAX,
    OwnTx,
    Rows,
    WriteSet,
    valid,
)

T = TypeVar("T")

BATCH_SETS_MAX = 1024
RETRY_SECONDS = 0.5


class Commits(Protocol):
    """What the engine needs of the journal."""

    @property
    def stall(self) -> str: ...

    async def commit(self, frame: Frame) -> None: ...

    async def settle(self) -> None: ...


@dataclass(slots=True, eq=False)
class _Submission:
    """What waits for its turn: a write set, or `fn`; and then what is to be answered."""

    answer: asyncio.Future[Any]
    write_set: WriteSet | None
    fn: Callable[[WriteTx], Any] | None
    result: Any = None
    error: Exception | None = None

    def tell(self) -> None:
        if self.answer.done():
            return  # the caller went away; what was decided stays decided
        if self.error is not None:
            self.answer.set_exception(self.error)
        else:
            self.answer.set_result(self.result)

    def fail(self, error: Exception) -> None:
        if not self.answer.done():
            self.answer.set_exception(error)


@dataclass(slots=True, eq=False)
class _Batch:
    """Decided write sets on their way to one frame."""

    sequence: int
    rows: Rows = field(default_factory=dict)
    size: int = 0
    full: bool = False
    members: list[_Submission] = field(default_factory=list)
    position: Position | None = None  # of its frame, once there is one

    def fail(self, error: Exception) -> None:
        for member in self.members:
            member.fail(error)
        self.members.clear()


class Engine:
    """The `Kv` over an index and a journal."""

    def __init__(
        self,
        index: Index,
        journal: Commits,
        clock: Clock,
        *,
        position: Position,
        deployment_id: bytes,
        epoch: int,
        applied: Callable[[Rows, Position], None] = lambda rows, position: None,
        retry_seconds: float = RETRY_SECONDS,
    ) -> None:
        """`position` is where index and journal both stand; `applied` is told, on the loop, of
        the rows and position of every frame that reached the index.
        """
        self._index = index
        self._journal = journal
        self._clock = clock
        self._framed = position  # the newest frame made
        self._applied = position.sequence
        self._deployment_id = deployment_id
        self._epoch = epoch
        self._tell = applied
        self._retry_seconds = retry_seconds
        self._overlay = Overlay()
        self._queue: deque[_Submission] = deque()
        self._open: _Batch | None = None
        self._unapplied: deque[_Batch] = deque()  # framed, not in the index
        self._durable: deque[_Batch] = deque()  # of those: may go to the index
        self._gathering = False
        self._work = asyncio.Event()
        self._to_apply = asyncio.Event()
        self._moved = asyncio.Event()
        self._stalls = {"journal": "", "index": ""}
        self._closing = False
        self._broken: Exception | None = None
        self._slow = False  # the index is being written in the thread
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="index")
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        self._tasks = [
            asyncio.create_task(self._commit_batches(), name="journal commits"),
            asyncio.create_task(self._apply_slowly(), name="index writer"),
        ]

    @property
    def stall(self) -> str:
        """Why nothing is being decided; "" in good times."""
        return "; ".join(filter(None, self._stalls.values()))

    @property
    def sequence(self) -> int:
        """The last sequence in the index."""
        return self._applied

    @property
    def pending(self) -> int:
        """The sequence that will be in the index when all that is decided now is."""
        return self._open.sequence if self._open is not None else self._framed.sequence

    def failed(self) -> BaseException | None:
        """The broken invariant that ended the engine's work, if one did."""
        if self._broken is not None:
            return self._broken
        for task in self._tasks:
            if task.done() and not task.cancelled() and task.exception() is not None:
                return task.exception()
        return None

    def read(self, fn: Callable[[ReadTx], T]) -> T:
        """See `Kv.read`; on the caller's thread."""
        return self._index.look(fn)

    async def write(self, fn: Callable[[WriteTx], T]) -> T:
        """See `Kv.write`."""
        self._refuse_when_stalled()
        result: T = await self._enqueue(None, fn).answer
        return result

    def offer(self, write_set: WriteSet) -> asyncio.Future[bool]:
        """For transactions that ran elsewhere, on a snapshot of this index. JournalStalled.

        True: durable, and in the index. False: what it read is no longer so; whoever offered it
        has fn run again on a snapshot that stands at `pending` or beyond, else it may run into
        the same again. JournalStalled in the future: in doubt, as for `write`; FormatError: a
        counter that it adds to is damaged. Cancelling changes nothing of what was decided.
        """
        self._refuse_when_stalled()
        return self._enqueue(write_set, None).answer

    async def close(self) -> None:
        """Refuse new writes, finish what was decided, stop. The journal and index stay open."""
        self._closing = True
        while self._busy() and self.failed() is None and not self.stall:
            moved = asyncio.ensure_future(self._moved.wait())
            await asyncio.wait({moved, *self._tasks}, return_when=asyncio.FIRST_COMPLETED)
            moved.cancel()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._thread.shutdown()

    def _busy(self) -> bool:
        return bool(self._queue or self._open or self._unapplied)

    async def in_index(self, sequence: int) -> None:
        """Until that is in the index. JournalStalled."""
        while self._applied < sequence:
            self._refuse_when_stalled()
            await self._moved.wait()

    def _refuse_when_stalled(self) -> None:
        if self._closing:
            raise JournalStalled("the node is stopping")
        failure = self.failed()
        if failure is not None:
            raise AssertionError("the engine is broken") from failure
        if self.stall:
            raise JournalStalled(self.stall)

    def _pulse(self) -> None:
        self._moved.set()
        self._moved.clear()

    # Deciding.

    def _enqueue(
        self, write_set: WriteSet | None, fn: Callable[[WriteTx], Any] | None
    ) -> _Submission:
        loop = asyncio.get_running_loop()
        submission = _Submission(loop.create_future(), write_set, fn)
        self._queue.append(submission)
        if not self._gathering:
            self._gathering = True
            loop.call_soon(self._gather)
        return submission

    def _gather(self) -> None:
        """Decide what waits, as far as the open batch has room."""
        self._gathering = False
        try:
            if self._queue and not self.stall:
                self._index.look(self._decide_queue)
        except StorageFault as fault:
            self._refuse_queue(fault)
        except Exception as error:  # a broken invariant: nothing more is decided
            self._broken = error
            self._refuse_queue(error)
            self._pulse()
        if self._open is not None:
            self._work.set()

    def _refuse_queue(self, error: Exception) -> None:
        for submission in self._queue:
            submission.fail(error)
        self._queue.clear()

    def _decide_queue(self, below: ReadTx) -> None:
        state = self._overlay.over(below)
        while self._queue and not (self._open is not None and self._open.full):
            submission = self._queue[0]
            if submission.answer.done() or self._decide(submission, state):
                self._queue.popleft()

    def _decide(self, submission: _Submission, state: Overlay) -> bool:
        """Whether it has its verdict or its place in a batch; else the open one is full."""
        done: WriteSet | OwnTx
        if submission.write_set is not None:
            done = submission.write_set
            submission.result = self._holds(done, state)
            if not submission.result:
                submission.tell()
                return True
            size = done.size()
        else:
            done, size = self._run(submission, state)
            if not size:
                self._attach(submission)
                return True
        return self._join(submission, done, size, state)

    def _holds(self, write_set: WriteSet, state: Overlay) -> bool:
        unchanged = write_set.basis == self._applied and not len(self._overlay)
        return unchanged or valid(write_set, state)

    def _run(self, submission: _Submission, state: Overlay) -> tuple[OwnTx, int]:
        """fn on the state as decided, and the size of what it did; what it raises is its
        caller's, and leaves nothing.
        """
        assert submission.fn is not None
        tx = OwnTx(state)
        submission.error = None
        try:
            submission.result = submission.fn(tx)
            size = tx.size()
            assert size <= WRITE_SET_BYTES_MAX, "a transaction's writes are bounded"
        except Exception as error:  # to be raised where it was asked for
            submission.error = error
            return OwnTx(state), 0
        return tx, size

    def _attach(self, submission: _Submission) -> None:
        """It wrote nothing, but may have read what is not durable: told when that is."""
        batch = self._open or (self._unapplied[-1] if self._unapplied else None)
        if batch is None:
            submission.tell()
        else:
            batch.members.append(submission)

    def _join(
        self, submission: _Submission, done: WriteSet | OwnTx, size: int, state: Overlay
    ) -> bool:
        batch = self._open
        if batch is not None and batch.size + size > WRITE_SET_BYTES_MAX:
            batch.full = True
            return False
        try:
            state.add(done.adds)
        except FormatError as error:
            submission.fail(error)  # a damaged row: the caller's answer, nobody else's
            return True
        if batch is None:
            batch = self._open = _Batch(self._framed.sequence + 1)
        batch.rows.update(done.writes)
        batch.size += size
        batch.members.append(submission)
        batch.full = len(batch.members) >= BATCH_SETS_MAX
        self._overlay.put(done.writes, batch.sequence)
        return True

    # Making durable.

    async def _commit_batches(self) -> None:
        while True:
            await self._work.wait()
            self._work.clear()
            while self._open is not None:
                batch, self._open = self._open, None
                await self._make_durable(batch)
                self._durable.append(batch)
                self._apply_durable()
                self._gather()

    async def _make_durable(self, batch: _Batch) -> None:
        batch.rows.update(self._overlay.close(batch.sequence))
        frame = frames.pack(
            frames.BATCH,
            frames.entries(batch.rows),
            len(batch.rows),
            after=self._framed,
            deployment_id=self._deployment_id,
            epoch=self._epoch,
            time_ms=self._clock.wall_ms(),
            synced_through=self._framed.sequence,
        )
        self._framed = batch.position = frame.position
        self._unapplied.append(batch)
        try:
            await self._journal.commit(frame)
        except JournalStalled as stalled:
            await self._wait_out(batch, stalled)

    async def _wait_out(self, batch: _Batch, stalled: JournalStalled) -> None:
        """The frame is in doubt: decide nothing until it is durable."""
        self._stalls["journal"] = str(stalled)
        batch.fail(stalled)
        self._forget_undecided(stalled)
        while self._stalls["journal"]:
            await asyncio.sleep(self._retry_seconds)
            try:
                await self._journal.settle()
            except JournalStalled as again:
                self._stalls["journal"] = str(again)
            else:
                self._stalls["journal"] = ""

    def _forget_undecided(self, error: Exception) -> None:
        """Everybody without a frame is refused; nothing of theirs was ever in one."""
        if self._open is not None:
            self._open.fail(error)
            self._open = None
        self._refuse_queue(error)
        self._overlay.reset()
        for batch in self._unapplied:
            self._overlay.put(batch.rows, batch.sequence)
        self._pulse()

    # Into the index.

    def _apply_durable(self) -> None:
        """All that is durable into the index, now; by way of the thread if that takes waiting."""
        if self._slow:
            return
        batches = list(self._durable)
        try:
            self._index.apply(_content(batches), grow=False)
        except IndexFull:
            self._slow = True
        except StorageFault as fault:
            self._slow = True
            self._index_failed(str(fault))
        else:
            self._durable.clear()
            self._applied_all(batches)
        if self._slow:
            self._to_apply.set()

    async def _apply_slowly(self) -> None:
        """Where the index was full or failed: in the thread, until it works."""
        loop = asyncio.get_running_loop()
        while True:
            await self._to_apply.wait()
            self._to_apply.clear()
            while self._durable:
                batches = list(self._durable)
                try:
                    await loop.run_in_executor(self._thread, self._index.apply, _content(batches))
                except StorageFault as fault:
                    self._index_failed(str(fault))
                    await asyncio.sleep(self._retry_seconds)
                    continue
                for _ in batches:
                    self._durable.popleft()
                self._applied_all(batches)
            self._slow = False

    def _applied_all(self, batches: list[_Batch]) -> None:
        self._stalls["index"] = ""
        for batch in batches:
            assert self._unapplied.popleft() is batch and batch.position is not None
            self._overlay.drop(batch.rows, batch.sequence)
            self._applied = batch.sequence
            self._tell(batch.rows, batch.position)
        for batch in batches:
            for member in batch.members:
                member.tell()
        self._pulse()
        if self._queue:  # it was not decided while the index stalled
            self._gather()

    def _index_failed(self, reason: str) -> None:
        """Whoever waits is told; what has a frame, or a place in the next, stays decided."""
        self._stalls["index"] = f"the index takes no writes: {reason}"
        stalled = JournalStalled(self._stalls["index"])
        for batch in self._unapplied:
            batch.fail(stalled)
        self._refuse_queue(stalled)
        self._pulse()


def _content(batches: list[_Batch]) -> list[tuple[Position, Rows]]:
    content = [(b.position, b.rows) for b in batches if b.position is not None]
    assert len(content) == len(batches), "only what has a frame goes to the index"
    return content
