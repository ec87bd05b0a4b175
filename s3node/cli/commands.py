"""What the command line is given to work with. It knows no concrete disk, index or store."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from s3node.config import Config

if TYPE_CHECKING:  # loads the whole of HTTP
    from s3node.edge.front import Endpoints


class Finding(Protocol):
    """Something that `check` has to say."""

    @property
    def severe(self) -> bool:
        """Data is lost or at risk; else it is worth knowing only."""

    @property
    def where(self) -> str: ...

    @property
    def what(self) -> str: ...

    @property
    def advice(self) -> str:
        """What to do next."""


Progress = Callable[[str, int, int], None]
"""(step, done, total), called from time to time by long work; a total of 0 is not known."""

Announce = Callable[["Endpoints", str], None]
"""Told when the node is ready, with "", and before that what it waits for."""

Again = Callable[[], Config]
"""The configuration as its file says now. ConfigError."""

Inspect = Callable[[str, Config | None, Sequence[str]], object]


@dataclass(frozen=True, slots=True)
class Commands:
    """The functions behind the commands.

    Each takes a configuration. Those that work offline raise ConfigError while a node is using
    the disks. `inspect` takes the kind of structure and the words after it, gives a JSON value,
    and raises ConfigError for a kind that is not there.
    """

    serve: Callable[[Config, Announce, Again], int]
    initialise: Callable[[Config], None]
    initialised: Callable[[Config], bool]
    check: Callable[[Config, Progress], Iterable[Finding]]
    rebuild: Callable[[Config, Progress], Mapping[str, object]]
    inspect: Inspect
