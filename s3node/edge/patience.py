"""How long a client is waited for, and who keeps an eye on it.

No wait has a timer of its own: a connection says until when it waits, and one `Sweeper` for all
of them looks every so often who has waited too long. A deadline is never early, and late by a
`LOOKS`-th of the shortest patience at the most.
"""

from __future__ import annotations

import asyncio
import math
import socket
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from s3node.base import limits

LOOKS = 10
LOOK_S_MAX = 1.0
NEVER = math.inf

_ACKNOWLEDGED = struct.Struct("=Q")
_ACKNOWLEDGED_AT = 120
"""tcpi_bytes_acked in struct tcp_info (linux/tcp.h), whose beginning never changes."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a client is waited for, in seconds."""

    header: float = limits.HEADER_S
    keepalive: float = limits.KEEPALIVE_S
    body_idle: float = limits.BODY_IDLE_S
    body_window: float = limits.BODY_RATE_WINDOW_S
    body_rate: int = limits.BODY_RATE_BYTES_MIN
    overdue: float = limits.OVERDUE_S
    send_idle: float = limits.SEND_IDLE_S
    linger: float = limits.LINGER_S

    def shortest(self) -> float:
        return min(
            self.header,
            self.keepalive,
            self.body_idle,
            self.body_window,
            self.send_idle,
            self.linger,
        )


def acknowledged(transport: asyncio.BaseTransport) -> int:
    """Bytes that the client's kernel has taken so far, as ours knows (Linux, TCP_INFO).

    Write buffers tell too little: a full socket is not written to until a third of it is free.
    """
    sock = transport.get_extra_info("socket")
    size = _ACKNOWLEDGED.size + _ACKNOWLEDGED_AT
    told: bytes = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, size)
    (count,) = _ACKNOWLEDGED.unpack_from(told, _ACKNOWLEDGED_AT)
    return int(count)


class Waiting(Protocol):
    """Something that waits for a client."""

    deadline: float
    """The loop's time until which it waits, `NEVER` when it does not."""

    def expire(self) -> None:
        """It has waited too long."""


class Sweeper:
    """Looks at deadlines, from `start` to `stop`."""

    def __init__(self, waiting: Iterable[Waiting], patience: Patience) -> None:
        """`waiting` may change at any time, but for while it is looked at."""
        self._waiting = waiting
        self._every = min(patience.shortest() / LOOKS, LOOK_S_MAX)
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        assert self._timer is None, "started twice"
        self._again()

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _again(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(self._every, self._look)

    def _look(self) -> None:
        now = asyncio.get_running_loop().time()
        for each in [each for each in self._waiting if each.deadline <= now]:
            each.expire()
        self._again()
