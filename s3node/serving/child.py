"""A child's end of its control line: orders come in, questions are answered.

When the supervisor is gone the child ends at once, as a killed process does: another supervisor
may want its socket and its disks, and recovery is made for that.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import os
import socket
from collections.abc import Awaitable, Callable, Mapping

from s3node.serving.control import Absent, Answer, Ask, Change, Line, Settings, Stop
from s3node.serving.life import ENDED_AT_ONCE, Broken
from s3node.serving.life import Stop as Stopping

LOG = logging.getLogger("s3node")

Question = Callable[[], object]
"""A value in JSON's types, or something to await that gives it."""


Absence = Callable[[str], None]
"""Told why there is no engine."""


class Orders:
    """What the supervisor says, until it says nothing more."""

    def __init__(
        self,
        line: Line,
        stop: Stopping,
        change: Callable[[Settings], Awaitable[None]],
        questions: Mapping[str, Question],
        absent: Absence,
    ) -> None:
        """`questions` may grow."""
        self.grace = 0.0  # that a stop came with
        self.line = line
        self._stop = stop
        self._change = change
        self._questions = questions
        self._absent = absent
        self._listening: asyncio.Task[None] | None = None

    @classmethod
    async def open(
        cls,
        end: socket.socket,
        stop: Stopping,
        change: Callable[[Settings], Awaitable[None]],
        questions: Mapping[str, Question],
        absent: Absence = lambda reason: None,
    ) -> Orders:
        """On the running loop."""
        return cls(await Line.open(end), stop, change, questions, absent)

    def listen(self, broken: Broken) -> None:
        """From now on; what goes wrong with it is a bug."""

        def ended(task: asyncio.Task[None]) -> None:
            fault = None if task.cancelled() else task.exception()
            if fault is not None:
                broken(fault)

        self._listening = asyncio.create_task(self._listen(), name="orders")
        self._listening.add_done_callback(ended)

    async def close(self) -> None:
        """What was sent goes out; nothing more is heard."""
        if self._listening is not None:
            self._listening.cancel()
            await asyncio.gather(self._listening, return_exceptions=True)
        await self.line.close()

    async def _listen(self) -> None:
        while (message := await self.line.receive()) is not None:
            if isinstance(message, Stop):
                self.grace = message.grace
                self._stop.ask()
            elif isinstance(message, Change):
                await self._change(message.settings)
            elif isinstance(message, Ask):
                self.line.send(Answer(message.number, await self._answer(message.question)))
            elif isinstance(message, Absent):
                self._absent(message.reason)
            else:
                raise AssertionError(f"a supervisor does not say {type(message).__name__}")
        LOG.error("the supervisor is gone: ending at once")
        logging.shutdown()
        os._exit(ENDED_AT_ONCE)

    async def _answer(self, question: str) -> object:
        ask = self._questions.get(question)
        if ask is None:
            return None
        value = ask()
        return await value if inspect.isawaitable(value) else value
