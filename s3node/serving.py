"""The life of a serving process: listen, open the node, serve, stop.

The listeners come up first, so that health can be asked for and clients are told to come back
while the node recovers. SIGTERM and SIGINT stop it gracefully: nothing more is accepted,
requests in progress get `limits.STOP_GRACE_S` seconds, then the node is closed (its segments
sealed). A second signal ends the process at once, which costs a recovery and nothing else.
SIGHUP loads the certificate again. A broken invariant ends the process too: what it would write
next cannot be trusted.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any, Protocol

from s3node.base import limits
from s3node.base.clock import Clock
from s3node.base.errors import StorageFault
from s3node.base.ids import RandomBytes
from s3node.config import Config
from s3node.edge.admin_listener import AdminListener, View
from s3node.edge.exchange import Patience
from s3node.edge.front import Endpoints, Front
from s3node.edge.s3_listener import S3Listener
from s3node.ops.context import Node, Operation

LOG = logging.getLogger("s3node")

STOPPED, ENDED_AT_ONCE, BROKEN = 0, 1, 70
OUR_PACKAGES = ("s3node", "ec")
LOOK_S = 1.0


class Opened(Protocol):
    """A node that is open, as the composition root made it."""

    @property
    def node(self) -> Node:
        """What operations work with."""

    @property
    def views(self) -> Mapping[str, View]:
        """The admin API: JSON values by path below /v1/."""

    def failed(self) -> BaseException | None:
        """The broken invariant that ended a background task, if one did."""

    def trouble(self) -> str:
        """Why requests cannot be served just now (too few disks); "" if they can."""

    async def close(self) -> None:
        """Seal and close everything; nothing is written afterwards."""


Tell = Callable[[str], None]
OpenNode = Callable[[Config, Tell], Awaitable[Opened]]
"""Opens the node; while it has to wait (too few disks) it tells why."""

Announce = Callable[[Endpoints, str], None]
"""Told once when the node is ready, with "", and before that each time it waits, and for what."""

Broken = Callable[[BaseException], None]


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
    """Waits for SIGTERM or SIGINT; the second one does not wait."""

    def __init__(self) -> None:
        self._asked = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._ask, number)

    def _ask(self, number: int) -> None:
        if self._asked.is_set():
            LOG.warning("second signal: ending at once")
            logging.shutdown()
            os._exit(ENDED_AT_ONCE)
        LOG.info("stopping on %s", signal.Signals(number).name)
        self._asked.set()

    async def asked(self) -> None:
        await self._asked.wait()


async def serve(
    config: Config,
    announce: Announce,
    open_node: OpenNode,
    operations: Mapping[str, Operation],
    *,
    clock: Clock,
    random: RandomBytes,
    broken: Broken = end_broken,
    patience: Patience | None = None,
    grace: float = limits.STOP_GRACE_S,
) -> int:
    """Serve until told to stop; the process's exit status."""
    assert config.keys is not None, "refused at start"
    watch_callbacks(broken)
    stop = Stop()
    secrets = {config.keys.access: config.keys.secret}
    s3 = S3Listener(
        secrets,
        operations,
        domains=config.domains,
        clock=clock,
        random=random,
        broken=broken,
        requests_max=config.requests_max,
    )
    opened: list[Opened] = []
    views: dict[str, View] = {"status": lambda: {"ready": False, "reason": s3.reason}}
    names = (config.admin_listen.host, *config.domains)
    admin = AdminListener(secrets, views, unready=lambda: _why_not(s3, opened), names=names)
    front = Front(s3, admin, patience=patience, connections_max=config.connections_max)
    endpoints = await front.start(config.listen, config.admin_listen, config.tls)
    _reload_on_hangup(front)

    def tell(reason: str) -> None:
        if s3.reason != reason:
            LOG.warning("waiting", extra={"fields": {"for": reason}})
            s3.unready(reason)
            announce(endpoints, reason)

    try:
        if not await _open(partial(open_node, config, tell), stop, opened):
            return STOPPED
        views.update(opened[0].views)
        s3.ready(opened[0].node)
        LOG.info("ready", extra={"fields": endpoints._asdict()})
        announce(endpoints, "")
        await _until_asked(stop, opened[0], broken)
    finally:
        await front.stop(grace)
        for one in opened:
            await one.close()
    LOG.info("stopped")
    return STOPPED


async def _open(
    open_node: Callable[[], Awaitable[Opened]], stop: Stop, opened: list[Opened]
) -> bool:
    """Open the node unless told to stop before it is done."""
    opening = asyncio.ensure_future(open_node())
    asked = asyncio.ensure_future(stop.asked())
    await asyncio.wait({opening, asked}, return_when=asyncio.FIRST_COMPLETED)
    asked.cancel()
    if not opening.done():
        opening.cancel()
        await asyncio.wait({opening})
    if opening.cancelled():
        return False
    opened.append(opening.result())
    return True


async def _until_asked(stop: Stop, opened: Opened, broken: Broken) -> None:
    """Wait for the signal; a background task that ended broken ends the process before."""
    asked = asyncio.ensure_future(stop.asked())
    while not asked.done():
        await asyncio.wait({asked}, timeout=LOOK_S)
        fault = opened.failed()
        if fault is not None:
            broken(fault)
            asked.cancel()
            return


def _why_not(s3: S3Listener, opened: list[Opened]) -> str:
    if s3.reason or not opened:
        return s3.reason
    try:
        return opened[0].trouble()
    except StorageFault as fault:
        return str(fault)


def _reload_on_hangup(front: Front) -> None:
    loop = asyncio.get_running_loop()
    running: set[asyncio.Task[None]] = set()

    def reload() -> None:
        task = loop.create_task(front.reload_certificate())
        running.add(task)
        task.add_done_callback(running.discard)

    loop.add_signal_handler(signal.SIGHUP, reload)
