"""What a connection asks of the server that it belongs to."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Protocol

from s3node.base.errors import S3Error
from s3node.edge.body import Memory
from s3node.edge.exchange import Exchange
from s3node.edge.patience import Patience
from s3node.edge.sender import Sender

if TYPE_CHECKING:
    from s3node.edge.connection import Connection

Refusal = tuple[int, list[tuple[str, str]], bytes]
"""Status, headers, body."""


class Owner(Protocol):
    """The server that a connection belongs to."""

    patience: Patience
    stopping: bool
    memory: Memory
    scratch: memoryview
    handler: Callable[[Exchange], Awaitable[None]]
    refuse: Callable[[S3Error, str], Refusal]

    @property
    def secure(self) -> bool:
        """Whether connections that are made now speak TLS."""

    def joined(self, connection: Connection) -> None:
        """It is open."""

    def left(self, connection: Connection) -> None:
        """It is lost."""

    def begin(self) -> None:
        """A request is being worked on."""

    def end(self) -> None:
        """It is done with."""

    def sender_of(self, size: int) -> Sender | None:
        """Who is to send so many bytes, if not whoever has them."""
