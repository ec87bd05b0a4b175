"""The life of a node in one process: listen, open the node, serve, stop.

The listeners come up first, so that health can be asked for and clients are told to come back
while the node recovers. SIGTERM and SIGINT stop it gracefully: nothing more is accepted,
requests in progress get `limits.STOP_GRACE_S` seconds, then the node is closed (its segments
sealed). A second signal ends the process at once, which costs a recovery and nothing else.
SIGHUP loads configuration and certificate again.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol

from s3node.base import limits
from s3node.base.clock import Clock
from s3node.base.errors import StorageFault
from s3node.base.ids import RandomBytes
from s3node.config import Config
from s3node.edge.admin_listener import AdminListener, View
from s3node.edge.exchange import Patience
from s3node.edge.front import Front
from s3node.edge.s3_listener import S3Listener
from s3node.ops.context import Node, Operation
from s3node.serving.change import Again, load_again, settings_of, use
from s3node.serving.life import (
    ENDED_AT_ONCE,
    STOPPED,
    Announce,
    Broken,
    Running,
    Stop,
    Tell,
    end_broken,
    open_unless,
    until_asked,
    watch_callbacks,
)

LOG = logging.getLogger("s3node")


class Opened(Running, Protocol):
    """A node that is open, as the composition root made it."""

    @property
    def node(self) -> Node:
        """What operations work with."""

    def rekey(self, secret: str) -> Node:
        """The same, with a root secret that has changed."""


OpenNode = Callable[[Config, Tell], Awaitable[Opened]]
"""Opens the node; while it has to wait (too few disks) it tells why."""


async def serve(
    config: Config,
    announce: Announce,
    open_node: OpenNode,
    operations: Mapping[str, Operation],
    *,
    again: Again,
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
    stop.on_signals(_end_now)
    secrets = {config.keys.access: config.keys.secret}
    s3 = S3Listener(
        secrets,
        operations,
        domains=config.domains,
        clock=clock,
        random=random,
        broken=broken,
        requests=config.requests,
    )
    opened: list[Opened] = []
    views: dict[str, View] = {"status": lambda: {"ready": False, "reason": s3.reason}}
    names = (config.admin_listen.host, *config.domains)
    admin = AdminListener(secrets, views, unready=lambda: _why_not(s3, opened), names=names)
    front = Front(s3, admin, patience=patience, bound=config.connections)
    endpoints = await front.start(config.listen, config.admin_listen, config.tls)

    async def change(new: Config) -> None:
        await use(settings_of(new), secrets, front, s3)
        if opened and not s3.reason and new.keys is not None:
            s3.ready(opened[0].rekey(new.keys.secret))

    _on_hangup(config, again, change)

    def tell(reason: str) -> None:
        if s3.reason != reason:
            LOG.warning("waiting", extra={"fields": {"for": reason}})
            s3.unready(reason)
            announce(endpoints, reason)

    async def open_it() -> Opened:
        opened.append(await open_node(config, tell))
        return opened[0]

    try:
        if await open_unless(open_it, stop) is None:
            return STOPPED
        views.update(opened[0].views)
        s3.ready(opened[0].node)
        LOG.info("ready", extra={"fields": endpoints._asdict()})
        announce(endpoints, "")
        await until_asked(stop, opened[0], broken)
    finally:
        await front.stop(grace)
        for one in opened:
            await one.close()
    LOG.info("stopped")
    return STOPPED


def _end_now() -> None:
    logging.shutdown()
    os._exit(ENDED_AT_ONCE)


def _why_not(s3: S3Listener, opened: list[Opened]) -> str:
    if s3.reason or not opened:
        return s3.reason
    try:
        return opened[0].trouble()
    except StorageFault as fault:
        return str(fault)


def _on_hangup(config: Config, again: Again, change: Callable[[Config], Awaitable[None]]) -> None:
    """SIGHUP: the configuration as it is now, as far as it can change."""
    loop = asyncio.get_running_loop()
    running: set[asyncio.Future[None]] = set()
    current = config

    def reload() -> None:
        nonlocal current
        current = load_again(current, again)
        task = asyncio.ensure_future(change(current))
        running.add(task)
        task.add_done_callback(running.discard)

    loop.add_signal_handler(signal.SIGHUP, reload)
