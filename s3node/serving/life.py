"""What the lives of all processes have in common.

A stop is asked for once and then waited for; the second time it does not wait. A broken
invariant ends the process before it writes another byte: what it would write cannot be trusted.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol, TypeVar

from s3node.edge.admin_listener import View
from s3node.edge.front import Endpoints

LOG = logging.getLogger("s3node")

STOPPED, ENDED_AT_ONCE, REFUSED, BROKEN = 0, 1, 2, 70
"""Exit statuses."""

OUR_PACKAGES = ("s3node", "ec")
LOOK_S = 1.0

R = TypeVar("R", bound="Running")

Tell = Callable[[str], None]
"""Told why it has to wait (too few disks)."""

Announce = Callable[[Endpoints, str], None]
"""Told once when the node is ready, with "", and before that each time it waits, and for what."""

Broken = Callable[[BaseException], None]


class Running(Protocol):
    """The storage of a node, open."""

    @property
    def views(self) -> Mapping[str, View]:
        """The admin API: JSON values by path below /v1/."""

    def failed(self) -> BaseException | None:
        """The broken invariant that ended a background task, if one did."""

    def trouble(self) -> str:
        """Why requests cannot be served just now (too few disks); "" if they can."""

    async def close(self) -> None:
        """Seal and close everything; nothing is written afterwards."""


def end_broken(fault: BaseException) -> None:
    """An invariant does not hold: log it and stop, without writing another byte."""
    LOG.critical("broken invariant: the process stops", exc_info=fault)
    logging.shutdown()
    os._exit(BROKEN)


def watch_callbacks(broken: Broken) -> None:
    """A callback or forgotten task that runs into an assertion of ours ends the process too.

    Others (of the event loop itself, say, when a client does something odd) are logged.
    """

    def handle(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        fault = context.get("exception")
        if isinstance(fault, AssertionError) and _is_ours(fault):
            broken(fault)
        else:
            loop.default_exception_handler(context)

    asyncio.get_running_loop().set_exception_handler(handle)


def _is_ours(fault: BaseException) -> bool:
    """Whether it was raised by this project's code."""
    trace = fault.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    name = trace.tb_frame.f_globals.get("__name__", "") if trace is not None else ""
    return name.partition(".")[0] in OUR_PACKAGES


class Stop:
    """Waits until somebody asks to stop."""

    def __init__(self) -> None:
        self._asked = asyncio.Event()

    @property
    def is_asked(self) -> bool:
        return self._asked.is_set()

    def ask(self) -> None:
        self._asked.set()

    async def asked(self) -> None:
        await self._asked.wait()

    def on_signals(self, again: Callable[[], None]) -> None:
        """SIGTERM and SIGINT ask; the second one calls `again`, which ends the process."""

        def ask(number: int) -> None:
            if self.is_asked:
                LOG.warning("second signal: ending at once")
                again()
            LOG.info("stopping on %s", signal.Signals(number).name)
            self.ask()

        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, ask, number)


async def open_unless(open_it: Callable[[], Awaitable[R]], stop: Stop) -> R | None:
    """Open unless told to stop before it is done."""
    opening = asyncio.ensure_future(open_it())
    asked = asyncio.ensure_future(stop.asked())
    await asyncio.wait({opening, asked}, return_when=asyncio.FIRST_COMPLETED)
    asked.cancel()
    if not opening.done():
        opening.cancel()
        await asyncio.wait({opening})
    return None if opening.cancelled() else opening.result()


async def until_asked(stop: Stop, running: Running, broken: Broken) -> None:
    """Wait for the stop; a background task that ended broken ends the process before."""
    asked = asyncio.ensure_future(stop.asked())
    while not asked.done():
        await asyncio.wait({asked}, timeout=LOOK_S)
        fault = running.failed()
        if fault is not None:
            broken(fault)
            asked.cancel()
            return
