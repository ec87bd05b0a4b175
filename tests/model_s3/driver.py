"""Nodes that the machine talks to: requests in, answers out, one after the other.

Every answer goes through what the edge does with a request: parsed, routed, done, rendered. Only
sockets and signatures are left out.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Protocol
from unittest.mock import patch

from tests.ops.world import Answer, World, make_world

PART_BYTES_MIN = 64
"""Of every part but the last, here: what large parts cost would be hashing."""


class Driver(Protocol):
    """`now_ms` is the node's wall clock; `move` sets it forward or back."""

    @property
    def now_ms(self) -> int: ...

    def move(self, ms: int) -> None: ...

    def ask(
        self, method: str, path: str, query: str, body: bytes, headers: Mapping[str, str]
    ) -> Answer: ...

    def restart(self) -> bool:
        """Whether it had a life to lose."""
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

    def __init__(self) -> None:
        self.world: World = make_world()
        self._loop = asyncio.new_event_loop()
        self._patch = patch("s3node.model.multipart.PART_BYTES_MIN", PART_BYTES_MIN)
        self._patch.start()

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

    def restart(self) -> bool:
        return False

    def check(self) -> None:
        self.world.check_ledger()

    def close(self) -> None:
        self._patch.stop()
        self._loop.close()
