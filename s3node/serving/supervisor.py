"""The parent of a node's processes. It does nearly nothing, so that it lives for ever.

It binds the listening sockets once and keeps them, forks one engine and N edges, forks again
what died (at once the first time, later with growing pauses), hands out changed settings, serves
the admin listener out of what the children tell, and stops everything in order: edges finish
their requests, then the engine closes and seals. It opens no disk and reads no request of S3.

An engine that refuses to begin (a ConfigError) ends the node before it was ever ready, and is
tried again later on. An engine that ran into a broken invariant ends the node, as it does where
one process does all; an edge with one is replaced: it writes nothing by itself.

Children are forked between two turns of the event loop, which is why `supervise` is no coroutine.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from s3node.base import limits
from s3node.base.errors import ConfigError
from s3node.config import Config
from s3node.edge.front import Endpoints, Sockets
from s3node.serving.admin import Admin
from s3node.serving.board import Board
from s3node.serving.change import Again, load_again, settings_of
from s3node.serving.control import Absent, Answer, Change, Line, Ready, Refused, Waiting
from s3node.serving.control import Stop as StopOrder
from s3node.serving.forking import fork
from s3node.serving.life import BROKEN, ENDED_AT_ONCE, STOPPED, Announce, Stop
from s3node.serving.seats import ENGINE, Child, Seat

LOG = logging.getLogger("s3node")

STOP_MORE_S = 5.0
"""What an edge gets beyond the grace of its requests, before it is killed."""


class Inherited(NamedTuple):
    """What a child is given."""

    config: Config
    seat: Seat
    line: socket.socket
    sockets: Sockets
    knocks: socket.socket  # the engine's end, or the edges'
    board: Board


Become = Callable[[Inherited], int]
"""A child's whole life; its exit status."""


def supervise(config: Config, announce: Announce, again: Again, become: Become) -> int:
    """Serve with a tree of processes until told to stop; the exit status. ConfigError."""
    sockets = Sockets.bind(config.listen, config.admin_listen)
    loop = asyncio.new_event_loop()
    tree = Tree(config, announce, again, sockets)
    try:
        loop.run_until_complete(tree.begin())
        while (seat := loop.run_until_complete(tree.next_birth())) is not None:
            own, end = socket.socketpair()
            given = tree.given(seat, end)
            keep = {one.fileno() for one in (end, given.knocks)}
            if seat.name != ENGINE:
                keep.add(sockets.s3.fileno())
            pid = fork(f"s3node-{seat}", partial(become, given), keep)
            end.close()
            loop.run_until_complete(tree.born(seat, pid, own))
        return tree.status()
    finally:
        tree.kill()
        loop.run_until_complete(tree.end())
        loop.close()


class Tree:
    """All children, and what becomes of them."""

    def __init__(self, config: Config, announce: Announce, again: Again, sockets: Sockets) -> None:
        self._config = config
        self._announce = announce
        self._again = again
        self._sockets = sockets
        self._endpoints = sockets.endpoints(
            config.listen.host, config.admin_listen.host, secure=config.tls is not None
        )
        self._board = Board()
        self._knocks = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        for end in self._knocks:
            end.setblocking(False)
        self.engine = Seat(ENGINE, 0)
        self.edges = [Seat("edge", number) for number in range(config.edges)]
        self.seats = [self.engine, *self.edges]
        self._stop = Stop()
        self._changed = asyncio.Event()
        self._announced = False
        self._fault: ConfigError | None = None
        self._status = STOPPED
        self._admin = Admin(config, self.engine, self.edges, self._board, self.why_not)
        self._listening: set[asyncio.Task[None]] = set()
        self._stopping: asyncio.Task[None] | None = None
        self._stopped = False

    @property
    def endpoints(self) -> Endpoints:
        return self._endpoints

    def why_not(self) -> str:
        """Why S3 is not served; "" when an edge serves it."""
        if self._stop.is_asked:
            return "the node is stopping"
        if any(seat.ready for seat in self.edges):
            return ""
        return self.engine.reason or "the node is starting"

    # --- births, which happen between turns of the loop ---------------------------------------

    async def begin(self) -> None:
        """Listen to signals and to the admin address."""
        loop = asyncio.get_running_loop()
        self._stop.on_signals(self._end_now)
        loop.add_signal_handler(signal.SIGCHLD, self._bury)
        loop.add_signal_handler(signal.SIGHUP, self._reload)
        self._admin.serve(self._sockets)
        self._stopping = loop.create_task(self._stop_in_order())

    async def next_birth(self) -> Seat | None:
        """The next seat that is to be taken, when its time has come; None: nothing more is."""
        clock = asyncio.get_running_loop().time
        while not self._stopped:
            self._changed.clear()
            empty = [seat for seat in self.seats if seat.child is None]
            due = min(empty, key=lambda seat: seat.due, default=None)
            if self._stop.is_asked or due is None:
                timeout = None
            elif due.due <= clock():
                return due
            else:
                timeout = due.due - clock()
            try:
                async with asyncio.timeout(timeout):
                    await self._changed.wait()
            except TimeoutError:
                continue
        return None

    def given(self, seat: Seat, end: socket.socket) -> Inherited:
        """What the next child in that seat gets; the rest is told to the board."""
        if seat is self.engine:
            self._board.next_life()
        else:
            self._board.set_alive(seat.number, True)
        knocks = self._knocks[0 if seat is self.engine else 1]
        return Inherited(self._config, seat, end, self._sockets, knocks, self._board)

    async def born(self, seat: Seat, pid: int, own: socket.socket) -> None:
        """It lives: listen to it."""
        loop = asyncio.get_running_loop()
        seat.take(Child(pid, await Line.open(own), loop.time()))
        assert seat.child is not None
        task = loop.create_task(self._listen(seat, seat.child))
        self._listening.add(task)
        task.add_done_callback(self._listening.discard)
        if seat is not self.engine and self.engine.reason:
            seat.child.line.send(Absent(self.engine.reason))
        if self._stop.is_asked:  # while it was being born
            seat.child.line.send(StopOrder(limits.STOP_GRACE_S))
        self._bury()  # it may be dead by now

    # --- what children say --------------------------------------------------------------------

    async def _listen(self, seat: Seat, child: Child) -> None:
        while (message := await child.line.receive()) is not None:
            if isinstance(message, Ready):
                seat.is_ready()
            elif isinstance(message, Waiting):
                seat.waits(message.reason)
                if seat is self.engine:
                    self._tell_edges(message.reason)
                if seat is self.engine and not self._announced:
                    self._announce(self._endpoints, message.reason)
            elif isinstance(message, Refused):
                self._refused(seat, message.reason)
            elif isinstance(message, Answer):
                child.answered(message.number, message.value)
            else:
                raise AssertionError(f"a child does not say {type(message).__name__}")
            self._announce_when_ready()
        await child.line.close()

    def _tell_edges(self, reason: str) -> None:
        for seat in self.edges:
            if seat.child is not None:
                seat.child.line.send(Absent(reason))

    def _refused(self, seat: Seat, reason: str) -> None:
        if self._announced:
            LOG.error("%s cannot begin: %s", seat, reason)
        else:
            self._fault = ConfigError(reason)
            self._stop.ask()

    def _announce_when_ready(self) -> None:
        if not self._announced and all(seat.ready for seat in self.seats):
            self._announced = True
            LOG.info("ready", extra={"fields": self._endpoints._asdict()})
            self._announce(self._endpoints, "")

    # --- what becomes of them -----------------------------------------------------------------

    def _bury(self) -> None:
        """Somebody died."""
        now = asyncio.get_running_loop().time()
        for seat in self.seats:
            if seat.child is None:
                continue
            pid, status = os.waitpid(seat.child.pid, os.WNOHANG)
            if pid:
                self._mourn(seat, os.waitstatus_to_exitcode(status), now)
        self._changed.set()

    def _mourn(self, seat: Seat, status: int, now: float) -> None:
        expected = self._stop.is_asked and status == STOPPED
        if seat is not self.engine:
            self._board.set_alive(seat.number, False)
        seat.leave(now, expected=expected)
        if expected or self._fault is not None:
            return
        how = signal.Signals(-status).name if status < 0 else f"status {status}"
        LOG.error("%s died", seat, extra={"fields": {"how": how, "deaths": seat.deaths}})
        if seat is self.engine:
            seat.waits(f"the engine died ({how}) and is started again")
            self._tell_edges(seat.reason)
            if status == BROKEN:
                self._status = BROKEN
                self._stop.ask()

    def _reload(self) -> None:
        self._config = load_again(self._config, self._again)
        settings = settings_of(self._config)
        for seat in self.seats:
            if seat.child is not None:
                seat.child.line.send(Change(settings))
        task = asyncio.ensure_future(self._admin.change(settings))
        self._listening.add(task)
        task.add_done_callback(self._listening.discard)

    # --- the end ------------------------------------------------------------------------------

    async def _stop_in_order(self) -> None:
        """Edges first, then the engine."""
        await self._stop.asked()
        self._sockets.s3.close()
        grace = limits.STOP_GRACE_S
        await self._part(self.edges, grace, grace + STOP_MORE_S)
        await self._part([self.engine], 0.0, None)
        self._stopped = True
        self._changed.set()

    async def _part(self, seats: list[Seat], grace: float, patience: float | None) -> None:
        """Tell them to stop, and wait until they have."""
        for seat in seats:
            if seat.child is not None:
                seat.child.line.send(StopOrder(grace))
        try:
            async with asyncio.timeout(patience):
                for seat in seats:
                    await seat.empty.wait()
        except TimeoutError:
            LOG.warning("an edge did not stop in time: it is killed")
            self.kill(seats)
            for seat in seats:
                await seat.empty.wait()

    def kill(self, seats: list[Seat] | None = None) -> None:
        """At once; for all, when none are named."""
        for seat in seats or self.seats:
            if seat.child is not None:
                os.kill(seat.child.pid, signal.SIGKILL)

    def _end_now(self) -> None:
        self.kill()
        logging.shutdown()
        os._exit(ENDED_AT_ONCE)

    def status(self) -> int:
        """The exit status; ConfigError when the engine refused to begin."""
        if self._fault is not None:
            raise self._fault
        LOG.info("stopped")
        return self._status

    async def end(self) -> None:
        """Nothing of it is left."""
        tasks = [*self._listening, *([self._stopping] if self._stopping else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._admin.close()
        for end in (*self._knocks, *self._sockets):
            end.close()
