"""What the journal knows of each slot, and of the frames that it still needs. No I/O.

Invariants: `synced` is the newest frame that the slot's disk answered, with all before it; what
waits follows it without a gap.
"""

from __future__ import annotations

from asyncio import Future
from collections import deque
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple

from s3node.meta.frame import Frame


class SlotState(Enum):
    LIVE = "live"
    FAILED = "failed"  # its log is dead; a new one is tried after a while
    OUT = "out"  # it lacks frames: to be readmitted
    JOINING = "joining"  # being readmitted


class LogFile(NamedTuple):
    """A closed log file and the last sequence in it."""

    name: str
    last: int


class SlotStatus(NamedTuple):
    state: SlotState
    reason: str
    synced: int  # last sequence on the platter
    lag_bytes: int


@dataclass(eq=False, slots=True)
class Slot:
    number: int
    state: SlotState
    reason: str = ""
    waiting: deque[Frame] = field(default_factory=deque)
    waiting_bytes: int = 0
    synced: int = 0
    name: str = ""  # the open log file, "" when there is none
    size: int = 0
    first: int = 0  # the sequence that the open log begins with
    doubt: tuple[str, int, int] | None = None  # a dead log, first and last frame it had answered
    begun: int = 0  # log files begun in this life
    files: list[LogFile] = field(default_factory=list)
    busy: bool = False  # an append is in flight
    served: Future[None] | None = None  # ends when something else than appending is to be done

    @property
    def ready(self) -> bool:
        """It would take an append now."""
        return self.served is not None and not self.busy and self.state is SlotState.LIVE

    def push(self, frame: Frame) -> None:
        self.waiting.append(frame)
        self.waiting_bytes += len(frame.data)

    def leave(self, fault: BaseException | None = None) -> None:
        """Whoever looks after the slot goes on."""
        served, self.served = self.served, None
        if served is None or served.done():
            return
        if fault is None:
            served.set_result(None)
        else:
            served.set_exception(fault)

    def drop(self, count: int) -> None:
        for _ in range(count):
            self.waiting_bytes -= len(self.waiting.popleft().data)


class Retained:
    """Bytes of the frames that are still needed, by runs of at least `RUN_BYTES`."""

    RUN_BYTES = 1 << 20

    def __init__(self) -> None:
        self.total = 0
        self._runs: deque[list[int]] = deque()  # [last sequence, bytes]

    def add(self, sequence: int, size: int) -> None:
        self.total += size
        if self._runs and self._runs[-1][1] < self.RUN_BYTES:
            self._runs[-1][0] = sequence
            self._runs[-1][1] += size
        else:
            self._runs.append([sequence, size])

    def leaving(self, size: int) -> int:
        """The last sequence to let go of so that at most `size` bytes remain; 0: none."""
        left, last = self.total, 0
        for sequence, run_bytes in self._runs:
            if left <= size:
                break
            left, last = left - run_bytes, sequence
        return last

    def cut(self, base: int) -> None:
        while self._runs and self._runs[0][0] <= base:
            self.total -= self._runs.popleft()[1]
