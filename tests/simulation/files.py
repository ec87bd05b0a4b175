"""Files and directories of the simulated machine: what processes see, and what the platter has."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

SECTOR = 512


@dataclass(eq=False)
class File:
    seen: bytearray = field(default_factory=bytearray)
    platter: bytearray = field(default_factory=bytearray)
    dirty: set[int] = field(default_factory=set)  # sectors a sync would write
    lost: set[int] = field(default_factory=set)  # sectors that a failed sync gave up
    evicts: bool = False  # whoever opens it next reads what the platter has
    late_error: int = 0  # the next sync tells of this errno
    locked_by: int = -1


class FailedSync(Enum):
    """What a failed sync leaves."""

    NEW_IN_CACHE = "clean, and read as new until the power goes"
    LOST = "clean, and read as new until the file is next opened"
    OLD_CONTENT = "at once what was there before"
    LATE = "answered as done; the error comes with the next sync"


@dataclass(eq=False)
class Directory:
    seen: dict[str, Node] = field(default_factory=dict)
    platter: dict[str, Node] = field(default_factory=dict)
    pending: list[Change] = field(default_factory=list)


Node = File | Directory


@dataclass(frozen=True)
class Change:
    """Names of a directory that change together; None removes."""

    names: tuple[tuple[str, Node | None], ...]
