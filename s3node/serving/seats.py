"""Places for children: who is in them, how often one died, when the next one is due.

The first death is answered at once. Deaths in quick succession are answered with pauses that
double up to `PAUSE_S_MAX`; a child that lived for `STEADY_S` begins the count anew.
"""

from __future__ import annotations

import asyncio
from itertools import count
from typing import Any

from s3node.serving.control import Ask, Line

ENGINE = "engine"
PAUSE_S = 0.1
PAUSE_S_MAX = 10.0
STEADY_S = 30.0
ANSWER_S = 5.0


class Child:
    """One life in a seat."""

    def __init__(self, pid: int, line: Line, began: float) -> None:
        self.pid = pid
        self.line = line
        self.began = began
        self._numbers = count()
        self._asked: dict[int, asyncio.Future[Any]] = {}

    async def ask(self, question: str) -> Any:
        """Its answer; None when there is none in time."""
        number = next(self._numbers)
        answer = asyncio.get_running_loop().create_future()
        self._asked[number] = answer
        self.line.send(Ask(number, question))
        try:
            async with asyncio.timeout(ANSWER_S):
                return await answer
        except TimeoutError:
            return None
        finally:
            self._asked.pop(number, None)

    def answered(self, number: int, value: Any) -> None:
        """One that comes too late is nobody's."""
        answer = self._asked.get(number)
        if answer is not None and not answer.done():
            answer.set_result(value)

    def dies(self) -> None:
        """It answers nothing more."""
        for answer in self._asked.values():
            if not answer.done():
                answer.set_result(None)


class Seat:
    """The place of the engine, or of one edge."""

    def __init__(self, name: str, number: int) -> None:
        self.name = name
        self.number = number
        self.child: Child | None = None
        self.empty = asyncio.Event()
        self.empty.set()
        self.ready = False
        self.reason = ""
        self.deaths = 0
        self.due = 0.0  # when the next child is to be born, on the loop's clock
        self._quick = 0  # deaths in quick succession

    def __str__(self) -> str:
        return self.name if self.name == ENGINE else f"{self.name}-{self.number}"

    def take(self, child: Child) -> None:
        self.child = child
        self.empty.clear()

    def is_ready(self) -> None:
        self.ready, self.reason = True, ""

    def waits(self, reason: str) -> None:
        self.ready, self.reason = False, reason

    def leave(self, now: float, *, expected: bool) -> None:
        """The child is dead; unless it was `expected` to end, another one is due."""
        assert self.child is not None
        self.child.dies()
        self.ready = False
        if not expected:
            self.deaths += 1
            self._quick = 1 if now - self.child.began > STEADY_S else self._quick + 1
            pause = PAUSE_S * 2 ** (self._quick - 2) if self._quick > 1 else 0.0
            self.due = now + min(pause, PAUSE_S_MAX)
        self.child = None
        self.empty.set()
