"""Fair shares of what there is a bounded number of: requests at work, connections, memory, turns.

Whoever asks for one more gets it as long as it holds less than a fixed multiple of what is free:

    own < most / (total - most) * (total - taken)

So one that is alone gets `most`, two get less each, and however many there are, each that comes
anew finds something left: with most = 3/4 of 256, one holds at most 192, two 109 each, ten 24
each. Nobody has to know how many they are, and nothing is kept of those that hold nothing.

Two bounds hold together for requests: of one *client*, which is an access key used from one
address, and of one *identity*, which is an access key wherever it is used. The address is the
connection's: what a header says of other ones is never looked at.

Where one waits for its turn instead, it goes first whose client has the fewest going.
"""

from __future__ import annotations

import asyncio
import functools
import ipaddress
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Generic, NamedTuple, Protocol, TypeVar

from s3node.base import limits

K = TypeVar("K")

IPV6_CLIENT_BITS = 64
"""Of an IPv6 address: what one customer has at least, so that changing the rest gains nothing."""


def part(total: int, share: float) -> int:
    """A share of `total` in whole numbers; never none."""
    return math.ceil(total * share)


class Bound(NamedTuple):
    """So many there are, and so many of them a holder gets that is alone."""

    total: int
    most: int

    @classmethod
    def of(cls, total: int) -> Bound:
        """With the share that is used where none is configured."""
        return cls(total, part(total, limits.CLIENT_SHARE))

    def allows(self, own: int, taken: int, more: int = 1) -> bool:
        """Whether `more` may go to someone who has `own` while `taken` are taken in all."""
        total, most = self
        before = more - 1  # the last of them is allowed as all the others are
        return (own + before) * (total - most) < most * (total - taken - before)


class RequestBounds(NamedTuple):
    """Of requests at work at once."""

    total: int
    identity: int
    client: int

    @classmethod
    def of(cls, total: int) -> RequestBounds:
        """With the shares that are used where none are configured."""
        return cls(total, part(total, limits.IDENTITY_SHARE), part(total, limits.CLIENT_SHARE))

    def part(self, processes: int) -> RequestBounds:
        """What each of so many processes gives out; rounded up."""
        return RequestBounds(*(-(-each // processes) for each in self))


CONNECTIONS = Bound.of(limits.CONNECTIONS_MAX)
REQUESTS = RequestBounds.of(limits.REQUESTS_MAX)
"""Where nothing is configured."""

NODE, IDENTITY, CLIENT = "node", "identity", "client"
"""Which bound one more request would break."""

Client = tuple[str, str]
"""(access key, whose address): "" is the key of who has shown none."""


class Seat(Protocol):
    """A request that is at work."""

    def overdue(self) -> float:
        """Seconds for which its client has kept it waiting, at less than the least rate; else 0."""

    def give_up(self) -> None:
        """Wait for its client no longer."""


class Room:
    """The requests that are at work, by whose they are.

    Who is refused a place may have one made for him: by the request within the same bound whose
    client has kept it waiting longest, if one has. So slow requests shut out nobody, not even
    others of the same client, and nobody is sent away while there is room.
    """

    def __init__(self, bounds: RequestBounds) -> None:
        self.change(bounds)
        self.taken = 0
        self._identities: dict[str, int] = {}
        self._clients: dict[Client, dict[Seat, None]] = {}

    def change(self, bounds: RequestBounds) -> None:
        """From now on; nobody has to go."""
        self._total = bounds.total
        self._identity = Bound(bounds.total, bounds.identity)
        self._client = Bound(bounds.total, bounds.client)
        # One of a client has at most all that are taken: allowed by both bounds while that is
        # less than what they give to one that is alone (see the formula above, with own = taken).
        self._ample = min(bounds)

    @property
    def full(self) -> bool:
        """There is room for nobody."""
        return self.taken >= self._total

    def refused(self, client: Client) -> str:
        """Which bound one more of this client would break; "": none."""
        taken = self.taken
        if taken < self._ample:
            return ""
        seats = self._clients.get(client)
        if not self._client.allows(len(seats) if seats else 0, taken):
            return NODE if self.full else CLIENT
        if not self._identity.allows(self._identities.get(client[0], 0), taken):
            return IDENTITY
        return ""

    def enter(self, client: Client, seat: Seat) -> None:
        """One more is at work, until it leaves."""
        identity, seats = client[0], self._clients.get(client)
        if seats is None:
            seats = self._clients[client] = {}
        seats[seat] = None
        self._identities[identity] = self._identities.get(identity, 0) + 1
        self.taken += 1

    def leave(self, client: Client, seat: Seat) -> None:
        """One that had entered is done."""
        identity, seats = client[0], self._clients[client]
        del seats[seat]
        if not seats:
            del self._clients[client]
        left = self._identities[identity] - 1
        if left:
            self._identities[identity] = left
        else:
            del self._identities[identity]
        self.taken -= 1

    def longest_overdue(self, bound: str = "", client: Client = ("", "")) -> Seat | None:
        """Of those within the bound: the one that is to go first, if one is."""
        worst, longest = None, 0.0
        for holder, seats in self._clients.items():
            if (bound == CLIENT and holder != client) or (
                bound == IDENTITY and holder[0] != client[0]
            ):
                continue
            for seat in seats:
                overdue = seat.overdue()
                if overdue > longest:
                    worst, longest = seat, overdue
        return worst

    def __len__(self) -> int:
        """Clients that have a request at work."""
        return len(self._clients)


class Holders(Generic[K]):
    """How much each of them holds."""

    def __init__(self) -> None:
        self._counts: dict[K, int] = {}

    def of(self, holder: K) -> int:
        return self._counts.get(holder, 0)

    def take(self, holder: K, amount: int = 1) -> None:
        self._counts[holder] = self.of(holder) + amount

    def give(self, holder: K, amount: int = 1) -> None:
        left = self._counts[holder] - amount
        assert left >= 0, "given back more than taken"
        if left:
            self._counts[holder] = left
        else:
            del self._counts[holder]

    def __len__(self) -> int:
        return len(self._counts)


class Turns:
    """So many go at once, and others wait: next is one whose client has the fewest going."""

    def __init__(self, count: int) -> None:
        self._free = count
        self._going: Holders[Client] = Holders()
        self._waiting: list[tuple[Client, asyncio.Future[None]]] = []

    @asynccontextmanager
    async def turn(self, client: Client) -> AsyncIterator[None]:
        """Waits for it, and has it while the context lasts."""
        if self._free:
            self._free -= 1
            self._going.take(client)
        else:
            await self._wait(client)
        try:
            yield
        finally:
            self._leave(client)

    async def _wait(self, client: Client) -> None:
        turn = asyncio.get_running_loop().create_future()
        place = client, turn
        self._waiting.append(place)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # it had come in the same moment
                self._leave(client)
            raise
        finally:
            self._waiting.remove(place)

    def _leave(self, client: Client) -> None:
        self._going.give(client)
        waiting = [place for place in self._waiting if not place[1].done()]
        if not waiting:
            self._free += 1
            return
        following, turn = min(waiting, key=lambda place: self._going.of(place[0]))
        self._going.take(following)
        turn.set_result(None)


@functools.lru_cache(4096)
def whose(remote: str) -> str:
    """Whom an address belongs to: of IPv6 the network that one customer is given."""
    try:
        address = ipaddress.ip_address(remote.partition("%")[0])
    except ValueError:
        return remote
    if isinstance(address, ipaddress.IPv4Address):
        return remote
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.ip_network((address, IPV6_CLIENT_BITS), strict=False))
