"""Nodes that the machine talks to: requests in, answers out, one after the other.

Every answer goes through what the edge does with a request: parsed, routed, done, rendered. Only
sockets and signatures are left out.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol
from unittest.mock import patch

from tests.meta.kvs import lmdb_kv
from tests.ops.world import Answer, World, make_world
from tests.simulation.loop import SimulatedLoop
from tests.simulation.node import Client, Universe

PART_BYTES_MIN = 64
"""Of every part but the last, here: what large parts cost would be hashing."""


class Driver(Protocol):
    """`now_ms` is the node's wall clock; `move` sets it forward or back."""

    lives: bool
    region: str

    @property
    def now_ms(self) -> int: ...

    def move(self, ms: int) -> None: ...

    def ask(
        self, method: str, path: str, query: str, body: bytes, headers: Mapping[str, str]
    ) -> Answer: ...

    def restart(self) -> None:
        """Where it `lives` at all: the life ends, and what was answered is there in the next."""
        ...

    def check(self) -> None:
        """What holds of the node itself after every step."""
        ...

    def close(self) -> None: ...


def framed(answer: Answer) -> Answer:
    """With the header that the edge adds."""
    return answer._replace(headers={**answer.headers, "content-length": str(answer.length)})


class InMemory:
    """The operations over a sorted map and a dictionary of contents."""

    lives = False

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self.world = self._world()
        self.region = self.world.node.region
        self._patch = patch("s3node.model.multipart.PART_BYTES_MIN", PART_BYTES_MIN)
        self._patch.start()

    def _world(self) -> World:
        return make_world()

    @property
    def now_ms(self) -> int:
        return self.world.clock.ms

    def move(self, ms: int) -> None:
        self.world.clock.ms += ms

    def ask(
        self, method: str, path: str, query: str, body: bytes, headers: Mapping[str, str]
    ) -> Answer:
        answer = self.world.send(method, path, query, body, **headers)
        return framed(self._loop.run_until_complete(answer))

    def restart(self) -> None:
        raise AssertionError("it has one life")

    def check(self) -> None:
        self.world.check_ledger()

    def close(self) -> None:
        self._patch.stop()
        self._loop.close()


class OnLmdb(InMemory):
    """The operations over LMDB and a journal on three real directories below `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        super().__init__()

    def _world(self) -> World:
        self._opened = lmdb_kv(self._folder, map_bytes=1 << 24)
        return make_world(kv=self._loop.run_until_complete(self._opened.__aenter__()))

    def close(self) -> None:
        self._loop.run_until_complete(self._opened.__aexit__(None, None, None))
        super().close()


class Simulated:
    """A whole node on a simulated machine: journal, disks, recovery. `seed` is its chance.

    `restart` cuts the power, so that all that was not synced may be gone, and the index is; and
    starts again from the disks.
    """

    lives = True

    def __init__(self, seed: int) -> None:
        self.universe = Universe(seed)
        self.universe.trace.kept = False
        self.region = self.universe.config.region
        self.cuts = 0
        self._patch = patch("s3node.model.multipart.PART_BYTES_MIN", PART_BYTES_MIN)
        self._patch.start()
        self._open()

    def _open(self) -> None:
        self._loop = self.universe.clock.loop = SimulatedLoop(self.universe.source)
        asyncio.set_event_loop(self._loop)
        node = self._loop.run_until_complete(self.universe.open())
        self._client = Client(self.universe, node)

    def _end(self, *, cut: bool) -> None:
        """The loop of this life and all that it still had to do."""
        loop, clock = self._loop, self.universe.clock
        if not cut:
            loop.run_until_complete(self._client.node.close())
        loop.end()
        asyncio.set_event_loop(None)
        clock.base_ms += int(1000 * loop.time())
        clock.loop = None
        loop.close()
        assert cut or not loop.failures, loop.failures

    @property
    def now_ms(self) -> int:
        return self.universe.clock.wall_ms()

    def move(self, ms: int) -> None:
        self.universe.clock.base_ms += ms

    def ask(
        self, method: str, path: str, query: str, body: bytes, headers: Mapping[str, str]
    ) -> Answer:
        answer = self._client.ask(method, path, query, body, **headers)
        return framed(self._loop.run_until_complete(answer))

    def restart(self) -> None:
        self.cuts += 1
        self._end(cut=True)
        self.universe.power_cut()
        self._open()

    def check(self) -> None:
        failure = self._client.node.failed()
        assert failure is None, failure

    def close(self) -> None:
        self._patch.stop()
        self._end(cut=False)
