"""A deterministic event loop: virtual time, no sockets, no signals, no threads.

When nothing is ready it jumps to the next timer; when there is none either, nothing will ever
happen again: `Deadlock`. What is given to an executor is run in a callback of its own, some
virtual microseconds later: how many is drawn from the seed, so another seed is another order.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from random import Random
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

T = TypeVar("T")

HOP_S = 1e-4  # the longest that work waits for its "thread"
STEPS_MAX = 2_000_000  # of one run: more means that something spins


class Deadlock(AssertionError):
    """Everybody waits and nobody will ever wake them."""


class SimulatedLoop(asyncio.BaseEventLoop):
    def __init__(self, source: Random) -> None:
        super().__init__()
        self._source = source
        self._now = 0.0
        self._steps = 0
        self._selector = self
        self.slow_callback_duration = 1e9
        self.set_exception_handler(self._failed)
        self.failures: list[BaseException] = []
        self._numbers = itertools.count()
        self._born: WeakKeyDictionary[asyncio.Task[Any], int] = WeakKeyDictionary()

    def time(self) -> float:
        return self._now

    def create_task(self, coro: Any, **more: Any) -> asyncio.Task[Any]:
        """Numbered: a set of tasks has the order of their addresses, another one each time."""
        task: asyncio.Task[Any] = super().create_task(coro, **more)
        self._born[task] = next(self._numbers)
        return task

    # What BaseEventLoop asks of a selector, and of whoever implements it.

    def select(self, timeout: float | None) -> list[Any]:
        self._steps += 1
        assert self._steps < STEPS_MAX, "it spins"
        if timeout is None:
            raise Deadlock("nothing is ready and no timer is set")
        self._now += max(0.0, timeout)
        return []

    def _process_events(self, events: list[Any]) -> None:
        assert not events

    def _write_to_self(self) -> None:
        """Another thread would wake the loop with this; there is none."""

    def run_in_executor(  # type: ignore[override]
        self, executor: Executor | None, func: Callable[..., T], *args: Any
    ) -> asyncio.Future[T]:
        future: asyncio.Future[T] = self.create_future()

        def work() -> None:
            if future.cancelled():
                return  # it had not begun
            try:
                result = func(*args)
            except Exception as error:
                if not future.cancelled():
                    future.set_exception(error)
            else:
                if not future.cancelled():
                    future.set_result(result)

        self.call_later(self._source.random() * HOP_S, work)
        return future

    def _failed(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """A callback raised, or an error was never looked at: a bug, told by `run`."""
        error = context.get("exception")
        self.failures.append(error or AssertionError(context["message"]))

    def run(self, main: Coroutine[Any, Any, T], *, cut: bool = False) -> T:
        """Run to the end of `main`; what it leaves behind is cancelled. With `cut` that is as if
        it had never been, else every failure in a callback is raised.
        """
        asyncio.set_event_loop(self)
        try:
            return self.run_until_complete(main)
        finally:
            self.end()
            asyncio.set_event_loop(None)
            self.close()
            for failure in [] if cut else self.failures:
                raise AssertionError("a callback failed") from failure

    def end(self) -> None:
        """What is left is cancelled."""
        left = sorted(asyncio.all_tasks(self), key=self._born.__getitem__)
        for task in left:
            task.cancel()
        if left:
            self.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        self.run_until_complete(self.shutdown_asyncgens())
