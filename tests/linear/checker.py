"""Is a history of one key linearizable? (Herlihy and Wing, 1990.)

The key is a register whose state is a value or absent; values are unique, so that an etag tells
which write it came from. An operation takes effect at one instant between its call and its
answer. One without an answer took effect at one instant between its call and the moment when the
node had recovered, or never.

The search is that of Wing and Gong (1993) with Lowe's memory (2017): states already reached with
the same set of operations done are not tried again. Histories of some tens of operations per key
that overlap a little take milliseconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

ABSENT = ""


class Kind(Enum):
    PUT = "put"
    PUT_IF_ABSENT = "put if absent"
    PUT_IF_MATCH = "put if match"
    DELETE = "delete"
    GET = "get"


@dataclass(frozen=True, slots=True)
class Operation:
    """One call. `answer`: "ok", "failed" (its condition did not hold), None (never answered);
    of a GET the value that it saw. Times in nanoseconds of one monotonic clock.
    """

    kind: Kind
    called: int
    returned: int
    value: str = ""  # what a put writes
    expected: str = ""  # what a conditional put wants to replace
    answer: str | None = None

    def effect(self, state: str) -> str | None:
        """The state after it, if it may take effect in `state` and be answered so; else None."""
        if self.kind is Kind.GET:
            return state if self.answer == state else None
        if self.kind is Kind.DELETE:
            return ABSENT
        holds = {
            Kind.PUT: True,
            Kind.PUT_IF_ABSENT: state == ABSENT,
            Kind.PUT_IF_MATCH: state == self.expected != ABSENT,
        }[self.kind]
        if self.answer is None:
            return self.value if holds else state
        if holds != (self.answer == "ok"):
            return None
        return self.value if holds else state

    @property
    def optional(self) -> bool:
        """It need not have happened."""
        return self.answer is None


def linearizable(history: Sequence[Operation], initial: str = ABSENT) -> bool:
    """Whether some order of the operations explains every answer."""
    operations = sorted(
        (one for one in history if not (one.kind is Kind.GET and one.optional)),
        key=lambda one: one.called,
    )
    needed = sum(1 << i for i, one in enumerate(operations) if not one.optional)
    seen: set[tuple[int, str]] = set()
    stack = [(0, initial)]
    while stack:
        done, state = stack.pop()
        if done & needed == needed:
            return True
        if (done, state) in seen:
            continue
        seen.add((done, state))
        for index in _candidates(operations, done):
            after = operations[index].effect(state)
            if after is not None:
                stack.append((done | 1 << index, after))
            if operations[index].optional:
                stack.append((done | 1 << index, state))
    return False


def _candidates(operations: Sequence[Operation], done: int) -> list[int]:
    """Those that may be next: called before any other one that is left returned."""
    left = [i for i in range(len(operations)) if not done >> i & 1]
    first_return = min(operations[i].returned for i in left)
    return [i for i in left if operations[i].called <= first_return]
