"""What the journal knows of each slot, and of the frames that it still needs. No I/O.

Invariants: `synced` is the newest frame that the slot's disk answered, with all before it; what
a slot waits for is all that follows it, and of that nothing is missing in `Waiting`.
"""

from __future__ import annotations

from asyncio import Future
from bisect import bisect_right
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
    synced: int = 0
    copied: int = 0  # while it joins: up to where the others' frames are copied to it
    name: str = ""  # the open log file, "" when there is none
    size: int = 0
    first: int = 0  # the sequence that the open log begins with
    doubt: tuple[str, int, int] | None = None  # a dead log, first and last frame it had answered
    begun: int = 0  # log files begun in this life
    files: list[LogFile] = field(default_factory=list)
    asked: int = 0  # the last frame of the append in flight; 0: there is none
    asked_bytes: int = 0
    served: Future[None] | None = None  # ends when something else than appending is to be done

    @property
    def ready(self) -> bool:
        """It would take an append now."""
        return self.served is not None and not self.asked and self.state is SlotState.LIVE

    @property
    def reached(self) -> int:
        """The frame that those it waits for come after."""
        return self.copied if self.state is SlotState.JOINING else self.synced

    def leave(self, fault: BaseException | None = None) -> None:
        """Whoever looks after the slot goes on."""
        served, self.served = self.served, None
        if served is None or served.done():
            return
        if fault is None:
            served.set_result(None)
        else:
            served.set_exception(fault)


class Waiting:
    """The newest frames, back to the first that a slot waits for: once, for all slots."""

    def __init__(self, newest: int) -> None:
        """`newest` is the sequence before the first frame to come."""
        self.newest = newest
        self._first = newest + 1
        self._frames: list[Frame] = []
        self._begins = [0]  # of each frame, and of the next one to come, in bytes
        self._piece: tuple[tuple[int, int], bytes, int] = (0, 0), b"", 0

    @property
    def held_bytes(self) -> int:
        return self._begins[-1] - self._begins[0]

    def add(self, frame: Frame) -> None:
        assert frame.position.sequence == self.newest + 1
        self.newest += 1
        self._frames.append(frame)
        self._begins.append(self._begins[-1] + len(frame.data))

    def bytes_after(self, sequence: int) -> int:
        """Of the frames after this one."""
        return self._begins[-1] - self._begins[self._place_after(sequence)]

    def after(self, sequence: int, bytes_max: int) -> tuple[bytes, int]:
        """The frames after this one in one piece, as many as fit but one at least, and the
        sequence of the last. Slots that lag alike share it.
        """
        run = sequence, self.newest
        if self._piece[0] != run:
            at = self._place_after(sequence)
            fitting = bisect_right(self._begins, self._begins[at] + bytes_max) - 1
            frames = self._frames[at : max(fitting, at + 1)]
            data = frames[0].data if len(frames) == 1 else b"".join(one.data for one in frames)
            self._piece = run, data, frames[-1].position.sequence
        return self._piece[1:]

    def forget(self, sequence: int) -> None:
        """The frames up to this one."""
        count = self._place_after(sequence)
        del self._frames[:count], self._begins[:count]
        self._first += count

    def _place_after(self, sequence: int) -> int:
        assert self._first <= sequence + 1 <= self.newest + 1, "what somebody waits for is here"
        return sequence + 1 - self._first


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
