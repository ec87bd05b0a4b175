"""A child that speaks HTTP: it answers out of what its link to the engine gives it.

    inherits  a line to the supervisor; the listening socket; the socket to knock at; the board
    tells     Ready, and Waiting when the engine is gone
    answers   part (what `status` adds up), samples

While there is no engine every request is answered 503 with Retry-After. A link ends with the life
of its engine; what began on it fails, and another link brings another node to work with.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import socket
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Protocol

from s3node.base.clock import Clock
from s3node.base.errors import StorageFault
from s3node.base.ids import RandomBytes
from s3node.config import Config
from s3node.edge.front import Front, Sockets
from s3node.edge.s3_listener import S3Listener
from s3node.ops.context import Node, Operation
from s3node.serving.board import Board
from s3node.serving.change import settings_of, use
from s3node.serving.child import Orders, Question
from s3node.serving.control import Ready, Settings, Waiting
from s3node.serving.engine_life import knock
from s3node.serving.life import LOOK_S, STOPPED, Broken, Stop, end_broken, watch_callbacks
from s3node.serving.sums import Samples

LOG = logging.getLogger("s3node")

KNOCK_AGAIN_S = 0.1


class Linked(Protocol):
    """An edge's storage: linked to one life of the engine."""

    @property
    def gone(self) -> asyncio.Future[str]:
        """Why there is no engine any more, once that is so."""

    def node(self, secret: str) -> Node:
        """What operations work with, given the root secret."""

    def part(self) -> object:
        """What the status of the node adds up."""

    def failed(self) -> BaseException | None:
        """The broken invariant that ended a background task, if one did."""

    async def close(self) -> None:
        """Enter what is late, if the engine is there; let go of everything."""


OpenLink = Callable[[socket.socket, Callable[[], bool]], Awaitable[Linked]]
"""Links to the engine at the other end, as long as the second one tells that it is the newest.
StorageFault when the engine is gone before."""


class EdgeLife:
    """One edge, from its first loop to its end."""

    def __init__(
        self,
        config: Config,
        number: int,
        board: Board,
        knocks: socket.socket,
        open_link: OpenLink,
        operations: Mapping[str, Operation],
        *,
        clock: Clock,
        random: RandomBytes,
        broken: Broken = end_broken,
    ) -> None:
        assert config.keys is not None, "refused at start"
        self._config = config
        self._board = board
        self._knocks = knocks
        self._open_link = open_link
        self._broken = broken
        self._settings = settings_of(config)
        self._secrets = {config.keys.access: config.keys.secret}
        self._linked: Linked | None = None
        self._stop = Stop()
        self._s3 = S3Listener(
            self._secrets,
            operations,
            domains=config.domains,
            clock=clock,
            random=random,
            broken=broken,
            requests=config.requests.part(config.edges),
        )
        self._front = Front(
            self._s3,
            None,
            bound=config.connections,
            share=board.share(number),
            processes=config.edges + 1,  # and the engine
        )

    async def run(self, end: socket.socket, sockets: Sockets) -> int:
        """Until the supervisor says stop; the process's exit status."""
        watch_callbacks(self._broken)
        questions: dict[str, Question] = {"samples": Samples().take, "part": self._part}
        orders = await Orders.open(end, self._stop, self._change, questions, self._absent)
        orders.listen(self._broken)
        self._front.serve(sockets, self._config.tls)
        serving = asyncio.ensure_future(self._serve(orders))
        asked = asyncio.ensure_future(self._stop.asked())
        await asyncio.wait({serving, asked}, return_when=asyncio.FIRST_COMPLETED)
        if serving.done():
            serving.result()  # it never ends but by a fault
        await self._front.stop(orders.grace)
        serving.cancel()
        await asyncio.wait({serving})
        if self._linked is not None:
            await self._linked.close()
        return STOPPED

    async def _serve(self, orders: Orders) -> None:
        """Link after link, for as long as this runs."""
        while True:
            linked = await self._link()
            self._linked = linked
            self._s3.ready(linked.node(self._settings.secret))
            orders.line.send(Ready())
            reason = await self._until_gone(linked)
            LOG.warning("the engine is gone", extra={"fields": {"why": reason}})
            self._s3.unready("the engine is starting again")
            orders.line.send(Waiting(reason))
            self._linked = None
            await linked.close()
            del linked
            gc.collect()  # its memory and files hang in cycles, and the next link has as many

    async def _link(self) -> Linked:
        while True:
            try:
                end, life = await knock(self._knocks)
                return await self._open_link(end, partial(self._is_newest, life))
            except (StorageFault, OSError) as fault:
                LOG.info("no link to the engine yet: %s", fault)
                await asyncio.sleep(KNOCK_AGAIN_S)

    def _is_newest(self, life: int) -> bool:
        return self._board.life == life

    async def _until_gone(self, linked: Linked) -> str:
        while True:
            done, _ = await asyncio.wait({linked.gone}, timeout=LOOK_S)
            fault = linked.failed()
            if fault is not None:
                self._broken(fault)
            if done:
                return linked.gone.result()

    async def _change(self, settings: Settings) -> None:
        self._settings = settings
        await use(settings, self._secrets, self._front, self._s3, self._config.edges)
        if self._linked is not None and not self._s3.reason:
            self._s3.ready(self._linked.node(settings.secret))

    def _absent(self, reason: str) -> None:
        if self._linked is None:
            self._s3.unready(reason)

    def _part(self) -> object:
        return self._linked.part() if self._linked is not None else None
