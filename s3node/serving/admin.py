"""The admin listener of a node with several processes: it asks them, and adds up."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from typing import Any

from s3node.base import metrics
from s3node.config import Config
from s3node.edge.admin_listener import AdminListener
from s3node.edge.front import Front, Sockets
from s3node.serving import sums
from s3node.serving.board import Board
from s3node.serving.change import use
from s3node.serving.control import Settings
from s3node.serving.seats import Seat
from s3node.serving.sums import Key

HEAR_S = 1.0
"""How often it is asked what a process has counted, so that little is lost with it."""


class Admin:
    """Health, metrics and views, on the loop of the supervisor."""

    def __init__(
        self,
        config: Config,
        engine: Seat,
        edges: Sequence[Seat],
        board: Board,
        why_not: Callable[[], str],
    ) -> None:
        assert config.keys is not None, "refused at start"
        self._config = config
        self._engine = engine
        self._edges = edges
        self._seats = (engine, *edges)
        self._board = board
        self._why_not = why_not
        self._secrets = {config.keys.access: config.keys.secret}
        self._front: Front | None = None
        self._heard = {seat: Heard() for seat in self._seats}
        self._hearing: asyncio.Task[None] | None = None

    def serve(self, sockets: Sockets) -> None:
        """On the running loop."""
        names = (self._config.admin_listen.host, *self._config.domains)
        views = {"status": self._status, "disks": self._disks}
        listener = AdminListener(
            self._secrets, views, unready=self._unready, names=names, text=self._metrics
        )
        self._front = Front(None, listener)
        self._front.serve(sockets, self._config.tls)
        self._hearing = asyncio.create_task(self._hear_for_ever())

    async def change(self, settings: Settings) -> None:
        await use(settings, self._secrets, self._front)

    async def close(self) -> None:
        if self._hearing is not None:
            self._hearing.cancel()
            await asyncio.gather(self._hearing, return_exceptions=True)
        if self._front is not None:
            await self._front.stop(0)

    # --- views --------------------------------------------------------------------------------

    async def _ask(self, seat: Seat, question: str) -> Any:
        return await seat.child.ask(question) if seat.child is not None else None

    async def _unready(self) -> str:
        reason = self._why_not()
        if reason:
            return reason
        trouble = await self._ask(self._engine, "trouble")
        return "the engine does not answer" if trouble is None else str(trouble)

    async def _disks(self) -> object:
        return await self._ask(self._engine, "disks") or []

    async def _status(self) -> object:
        """What the engine tells, what edges add to it, and the processes."""
        told, *parts = await asyncio.gather(
            self._ask(self._engine, "status"),
            *(self._ask(seat, "part") for seat in self._edges),
        )
        reason = self._why_not()
        status: dict[str, Any] = told or {"ready": False, "reason": reason or "no engine"}
        if reason:
            status["ready"], status["reason"] = False, reason
        for part in parts:
            if part is not None and told is not None:
                _add(status["counters"], part)
        status["processes"] = [self._process(seat) for seat in self._seats]
        return status

    def _process(self, seat: Seat) -> dict[str, object]:
        told: dict[str, object] = {
            "name": str(seat),
            "pid": seat.child.pid if seat.child is not None else None,
            "ready": seat.ready,
            "reason": seat.reason,
            "deaths": seat.deaths,
        }
        if seat is not self._engine:
            told["connections"] = self._board.connections(seat.number)
        return told

    # --- metrics ------------------------------------------------------------------------------

    async def _metrics(self) -> bytes:
        await asyncio.gather(*(self._hear(seat) for seat in self._seats))
        metrics.READY.set(not self._why_not())
        total: dict[Key, float] = {}
        sums.add(total, sums.samples(), without=sums.ENGINE)
        for seat in self._seats:
            heard = self._heard[seat]
            without = sums.OWN if seat is self._engine else sums.OWN | sums.ENGINE
            sums.add(total, heard.ended, without=without)
            sums.add(total, heard.now, without=without)
        return sums.page(total)

    async def _hear_for_ever(self) -> None:
        while True:
            await asyncio.sleep(HEAR_S)
            await asyncio.gather(*(self._hear(seat) for seat in self._seats))

    async def _hear(self, seat: Seat) -> None:
        child = seat.child
        pid = child.pid if child is not None else 0
        heard = self._heard[seat]
        heard.of(pid)
        if child is not None:
            told = await child.ask("samples")
            if told is not None and heard.pid == pid:
                heard.now = sums.received(told)


class Heard:
    """What the processes in one seat have counted: the one that lives, and those before it."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.now: dict[Key, float] = {}
        self.ended: dict[Key, float] = {}

    def of(self, pid: int) -> None:
        """This process lives there now."""
        if pid != self.pid:
            sums.add(self.ended, sums.lasting(self.now), without=frozenset())
            self.pid, self.now = pid, {}


def _add(total: dict[str, Any], part: dict[str, Any]) -> None:
    """Add numbers to numbers, and tables to tables."""
    for name, value in part.items():
        if isinstance(value, dict):
            _add(total.setdefault(name, {}), value)
        else:
            total[name] = total.get(name, 0) + value
