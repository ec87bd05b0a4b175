"""The engine's side of the border: edges come in here.

    accept      a connected socket: first the memory, then the Hello; the Welcome says who it is
    Offer       checked, given to the engine; the verdict when it is in the index
    Appends     checked, appended out of the edge's memory; each record answered by itself
    Unpin       only what this edge has pinned
    gone        what is under way ends, then the pins of that edge are given back (I5)

Invariants: bad input ends that edge's connection and nothing else; an edge's memory stays mapped
until nothing is under way from it; no two edges of an epoch have the same life number. All of it
belongs to the engine's event loop; nothing here blocks.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from asyncio import Future
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple, Protocol

from s3node.base.arena import map_shared
from s3node.base.errors import JournalStalled, StorageFault
from s3node.base.ids import LIVES_MAX
from s3node.meta.transaction import WriteSet
from s3node.processes import messages
from s3node.processes.channel import MARK, Channel
from s3node.processes.messages import (
    Appends,
    BadMessage,
    DiskTold,
    Failed,
    Farewell,
    FromEdge,
    Hello,
    Offer,
    Placed,
    Refused,
    Told,
    Unpin,
    Verdict,
    Welcome,
)
from s3node.store.seams import DiskSet, Place

LOG = logging.getLogger("s3node.door")

HELLO_S = 10.0
"""From a connection to its Hello: both ends are ours, and on this machine."""

HOLD_S = 0.001
"""How long answers to the first records of a batch wait for the others: an edge goes on when it
has enough of them, and each message wakes it."""

LOOK_S = 0.1
"""How often it is looked whether edges are to be told something."""

NO_MEMORY = memoryview(b"")

LOOKS_PER_TELL = 10
"""They are told every so many looks whatever it is: room on disks changes all the time."""


class Deciding(Protocol):
    """What the door needs of the metadata's engine."""

    @property
    def stall(self) -> str: ...

    @property
    def sequence(self) -> int: ...

    @property
    def pending(self) -> int: ...

    def offer(self, write_set: WriteSet) -> Future[bool]: ...

    async def in_index(self, sequence: int) -> None: ...


class ReadOnly:
    """`Deciding` for a node that decides nothing, and says why."""

    def __init__(self, reason: str, sequence: int) -> None:
        self.stall = reason
        self.sequence = self.pending = sequence

    def offer(self, write_set: WriteSet) -> Future[bool]:
        raise JournalStalled(f"read-only: {self.stall}")

    async def in_index(self, sequence: int) -> None:
        raise JournalStalled(f"read-only: {self.stall}")


class Terms(NamedTuple):
    """What every edge is told at its Welcome."""

    epoch: int
    deployment_id: bytes
    index_path: str


class Door:
    """All edges of an engine."""

    def __init__(
        self,
        deciding: Deciding,
        disks: DiskSet,
        terms: Terms,
        reader_check: Callable[[], int],
    ) -> None:
        """`reader_check` frees what killed edges hold of the index."""
        self.deciding = deciding
        self.disks = disks
        self.terms = terms
        self.slots = len(disks.status())
        self.tasks: set[asyncio.Task[None]] = set()
        self._reader_check = reader_check
        self._edges: set[Edge] = set()
        self._lives = 0
        self._told: Told | None = None
        self._looks = 0
        self._left = False
        self._empty = asyncio.Event()
        self._empty.set()
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False

    @property
    def edges(self) -> int:
        """How many are connected, or have something under way."""
        return len(self._edges)

    def start(self) -> None:
        """Begin to look what edges are to be told."""
        self._timer = asyncio.get_running_loop().call_later(LOOK_S, self._look)

    def accept(self, sock: socket.socket) -> None:
        """A new edge, on a connected stream socket, which is the door's from here on."""
        assert not self._closed, "the door is closed"
        sock.setblocking(False)
        self._empty.clear()
        self._edges.add(Edge(self, sock))

    async def close(self) -> None:
        """Part with every edge; nothing is under way from any, and no pin is left, afterwards."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        for edge in list(self._edges):
            edge.part("the engine stops")
        await self._empty.wait()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    # ---- for the edges

    def new_life(self) -> int:
        """BadMessage when there are none left, which takes an engine that begins anew."""
        if self._lives + 1 >= LIVES_MAX:
            raise BadMessage("too many edges in one life of the engine: start the node again")
        self._lives += 1
        return self._lives

    def left(self, edge: Edge) -> None:
        """Nothing of it is under way any more."""
        self._edges.discard(edge)
        self._left = True
        if not self._edges:
            self._empty.set()

    def now(self) -> Told:
        """What edges are to know."""
        disks = self.disks
        writable = {one.slot for one in disks.writable()}
        told = [
            DiskTold(*one, one.slot in writable, disks.returns(one.slot)) for one in disks.status()
        ]
        return Told(self.deciding.sequence, self.deciding.stall, told)

    def _look(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(LOOK_S, self._look)
        self._looks += 1
        due = self._looks % LOOKS_PER_TELL == 0
        if self._left and due:  # a killed process may hold its slot a little longer than its socket
            self._left = False
            self._reader_check()
        if not self._edges:
            return
        told = self.now()
        if due or self._told is None or _matters(told) != _matters(self._told):
            self._told = told
            for edge in self._edges:
                edge.tell(told)


def _matters(told: Told) -> object:
    """What edges are told of at once."""
    disks = [(one.state, one.reason, one.writable, one.returns, one.disk_id) for one in told.disks]
    return told.stall, disks


class Edge:
    """One edge, as the engine sees it."""

    def __init__(self, door: Door, sock: socket.socket) -> None:
        self._door = door
        self._sock = sock
        self._loop = asyncio.get_running_loop()
        self._memory = NO_MEMORY
        self._channel: Channel | None = None
        self._parted = ""
        self._welcome = False
        self._under_way = 0
        self._placed: list[tuple[int, int, int]] = []  # not told yet
        self._holding: asyncio.TimerHandle | None = None
        self._pins: Counter[tuple[int, int]] = Counter()
        self._patience = self._loop.call_later(HELLO_S, self.part, "no Hello in time")
        self._loop.add_reader(sock.fileno(), self._meet)

    def tell(self, told: Told) -> None:
        if self._welcome and self._channel is not None and not self._channel.congested:
            self._channel.send(told)

    def part(self, reason: str) -> None:
        """End the connection, and say why."""
        if self._parted:
            return
        if self._channel is None:
            self._loop.remove_reader(self._sock.fileno())
            self._sock.close()
            self._ended(reason)
        else:
            self._channel.close(reason)

    # ---- how it begins

    def _meet(self) -> None:
        """The first byte, and with it the memory."""
        try:
            mark, fds, _, _ = socket.recv_fds(self._sock, len(MARK), 2)
        except BlockingIOError:
            return
        except OSError as error:
            self.part(str(error))
            return
        try:
            if mark != MARK or len(fds) > 1:
                raise BadMessage("another mark at the beginning")
            if fds:
                self._memory = map_shared(fds[0])
        except (BadMessage, OSError, ValueError) as bad:
            self.part(f"bad beginning: {bad}")
            return
        finally:
            for fd in fds:
                os.close(fd)
        self._loop.remove_reader(self._sock.fileno())
        self._channel = Channel(
            self._sock, messages.unpack_from_edge, self._take, self._ended, Farewell
        )
        task = self._loop.create_task(self._channel.open())
        self._door.tasks.add(task)
        task.add_done_callback(self._door.tasks.discard)

    def _hello(self, hello: Hello) -> None:
        if self._welcome:
            raise BadMessage("a second Hello")
        if hello.version != messages.VERSION:
            raise BadMessage(f"version {hello.version}, not {messages.VERSION}")
        if hello.arena_bytes != len(self._memory):
            raise BadMessage("memory that is not what it says")
        life = self._door.new_life()
        self._patience.cancel()
        self._welcome = True
        self._send(Welcome(messages.VERSION, life, *self._door.terms))
        self._send(self._door.now())

    # ---- what it asks

    def _take(self, message: FromEdge) -> None:
        if isinstance(message, Hello):
            self._hello(message)
        elif not self._welcome:
            raise BadMessage("no Hello at the beginning")
        elif isinstance(message, Offer):
            self._offer(message)
        elif isinstance(message, Appends):
            self._append(message)
        else:
            self._unpin(message)

    def _offer(self, message: Offer) -> None:
        messages.check_write_set(message.write_set)
        try:
            answer = self._door.deciding.offer(message.write_set)
        except StorageFault as fault:
            self._send(Refused(message.number, type(fault).__name__, str(fault)))
            return
        self._under_way += 1
        answer.add_done_callback(partial(self._decided, message.number))

    def _decided(self, number: int, answer: Future[bool]) -> None:
        fault = answer.exception()
        if fault is None and not answer.result():
            task = self._loop.create_task(self._conflict(number))
            self._door.tasks.add(task)
            task.add_done_callback(self._door.tasks.discard)
            return
        if fault is None:
            self._send(Verdict(number, True))
        elif isinstance(fault, StorageFault):
            self._send(Refused(number, type(fault).__name__, str(fault)))
        self._ends()
        if fault is not None and not isinstance(fault, StorageFault):
            raise fault  # a bug below: the engine is to hear of it

    async def _conflict(self, number: int) -> None:
        """What it ran into goes into the index first, else it would run into it again."""
        deciding = self._door.deciding
        try:
            await deciding.in_index(deciding.pending)
            self._send(Verdict(number, False))
        except StorageFault as fault:
            self._send(Refused(number, type(fault).__name__, str(fault)))
        finally:
            self._ends()

    def _append(self, message: Appends) -> None:
        door = self._door
        records = messages.records_of(message, door.slots, self._memory)
        door.disks.set_sequence(door.deciding.sequence)
        self._under_way += len(message.targets)
        shards = [shard for _, shard in message.targets]
        numbers = dict(zip(shards, range(message.first, message.first + len(shards)), strict=True))
        door.disks.append(records, message.targets, partial(self._appended, numbers))

    def _appended(
        self, numbers: dict[int, int], outcomes: Sequence[tuple[int, Place | StorageFault]]
    ) -> None:
        """Some shards of a stripe are; `numbers`: those that are not, and what to call them."""
        for shard, outcome in outcomes:
            number = numbers.pop(shard)
            if isinstance(outcome, Place):
                slot, segment, offset = outcome
                self._pins[slot, segment] += 1
                self._placed.append((number, segment, offset))
            else:
                self._failed(number, outcome)
        if not numbers:
            self._tell_placed()
        elif self._placed and self._holding is None:
            self._holding = self._loop.call_later(HOLD_S, self._hold_no_longer)
        self._ends(len(outcomes))

    def _failed(self, number: int, fault: StorageFault) -> None:
        self._tell_placed()
        self.tell(self._door.now())  # before the answer: the next choice is to be a better one
        self._send(Failed(number, type(fault).__name__, str(fault)))

    def _hold_no_longer(self) -> None:
        self._holding = None
        self._tell_placed()

    def _tell_placed(self) -> None:
        if self._placed:
            placed, self._placed = self._placed, []
            self._send(Placed(placed))

    def _unpin(self, message: Unpin) -> None:
        pins, places = self._pins, []
        try:
            for pin in message.places:
                if not pins[pin]:
                    raise BadMessage(f"segment {pin[1]:016x} of slot {pin[0]} is not pinned")
                pins[pin] -= 1
                if not pins[pin]:
                    del pins[pin]
                places.append(Place(*pin, 0))
        finally:
            self._door.disks.unpin(places)

    # ---- how it ends

    def _send(self, message: messages.FromEngine) -> None:
        if self._channel is not None and not self._parted:
            self._channel.send(message)

    def _ends(self, count: int = 1) -> None:
        """So many things less are under way."""
        self._under_way -= count
        if self._parted and not self._under_way:
            self._leave()

    def _ended(self, reason: str) -> None:
        """The connection has; what is under way goes on."""
        self._parted = reason
        self._patience.cancel()
        LOG.info("an edge is gone", extra={"fields": {"why": reason}})
        if not self._under_way:
            self._leave()

    def _leave(self) -> None:
        pins: Sequence[tuple[int, int]] = list(self._pins.elements())
        self._pins.clear()
        self._door.disks.unpin([Place(*pin, 0) for pin in pins])
        self._memory = NO_MEMORY
        self._door.left(self)
