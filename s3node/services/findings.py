"""What `check` can find: every kind in one table, with what to do about it.

Of each kind the first findings of a step are kept and the others counted, so that a dead disk
under a million objects is a page to read and not a million lines.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

PER_KIND_MAX = 50

Told = Callable[[str, int, int], None]
"""(step, done, of how many): progress, for people; 0 is not known."""


class Finding(NamedTuple):
    """Something that `check` has to say. Severe: data is lost, damaged or at risk."""

    severe: bool
    where: str
    what: str
    advice: str


class Kind(NamedTuple):
    """`name` stands for the findings of this kind that are only counted."""

    name: str
    severe: bool
    advice: str


_START = "start the node: it makes good what it can from the other disks"
_HARMLESS = "nothing needs to be done"
_REWRITE = "it can be read around the damage; put the disk back, or write the object again"
_REPORT = "this is a fault of the program or of memory: keep the disks as they are and report it"

DISK_MISSING = Kind("missing disks", True, "mount it and check again; m of them may be lost")
DISK_REFUSED = Kind("disks that cannot be used", True, "put the right disk there and check again")
DISK_SWAPPED = Kind("swapped disks", False, _HARMLESS + ": a disk is what its identity says")
EPOCH_DAMAGED = Kind("damaged epoch files", True, "start the node: it writes the file anew")
STRAY = Kind("stray files", False, "not used; it may be removed if nobody misses it")
UNREADABLE = Kind("unreadable places", True, "look at the kernel's log for errors of that disk")
LATER_FORMAT = Kind("formats of a later release", True, "use the release that wrote it")

JOURNAL_LOST = Kind("a journal that cannot be followed", True, "bring back every disk there is")
JOURNAL_CORRUPT = Kind("damaged journals", True, _START)
JOURNAL_TORN = Kind("torn journal tails", False, _HARMLESS + ": the next start cuts it")
JOURNAL_LACKS = Kind("journals that lack frames", False, "start the node: it copies them there")
JOURNAL_STALE = Kind("disks that were away", False, "start the node: it brings the disk up to date")
JOURNAL_THIN = Kind("frames that lost copies", True, _START)
JOURNAL_SHORT = Kind("frames on too few disks", False, "start the node: it copies them to more")
JOURNAL_BEHIND = Kind("records that know more than the journal", True, "bring back every disk")

CHECKPOINT_DAMAGED = Kind("damaged checkpoint files", True, _START)
CHECKPOINT_COPIES = Kind("checkpoint files with too few copies", True, _START)
CHECKPOINT_LACKS = Kind("disks without the newest manifest", False, _START)

NO_ROOM = Kind("no index to check with", True, "make room below the meta folder and check again")
INDEX_ANEW = Kind("an index that is not used", False, "the next start makes it anew")
INDEX_LATE = Kind("an index that is late", False, "the next start catches up")
INDEX_BEHIND = Kind("an index that knows more than the journal", True, "bring back every disk")
INDEX_DIFFERS = Kind("an index that differs", True, "run `s3node meta rebuild`; report it")

SEGMENT_DAMAGED = Kind("damaged places in segments", True, "see which objects it concerns, below")
SEGMENT_TORN = Kind("torn segment tails", False, _HARMLESS + ": no row names what was there")

ROW_DAMAGED = Kind("damaged rows", True, _REPORT)
ROW_WRONG = Kind("rows that contradict themselves", True, _REPORT)
UNNAMED = Kind("locations that nothing names", True, _REPORT)
NAMED_TWICE = Kind("bytes that are named twice", True, _REPORT)
BUCKETLESS = Kind("rows of buckets that are not there", True, _REPORT)
USAGE_WRONG = Kind("usage counters that do not add up", True, _REPORT)
NULL_WRONG = Kind("null versions that are not named right", True, _REPORT)
OWED_WRONG = Kind("owed shards that are not counted right", True, _REPORT)

LOST = Kind(
    "objects that cannot be read", True, "bring back the disks named here; else restore a copy"
)
DEGRADED = Kind("objects that lack shards", True, _REWRITE)
OWED = Kind("owed shards", False, "start the node with all disks: it places them")


class Findings:
    """What one step found, in order."""

    def __init__(self) -> None:
        self._kept: list[Finding] = []
        self._counts: dict[Kind, int] = {}

    def add(self, kind: Kind, where: str, what: str) -> None:
        """One more of a kind."""
        count = self._counts[kind] = self._counts.get(kind, 0) + 1
        if count <= PER_KIND_MAX:
            self._kept.append(Finding(kind.severe, where, what, kind.advice))

    def told(self) -> Iterator[Finding]:
        """What was kept, then how many more there were."""
        yield from self._kept
        for kind, count in self._counts.items():
            if count > PER_KIND_MAX:
                what = f"{count - PER_KIND_MAX} more than those shown"
                yield Finding(kind.severe, kind.name, what, kind.advice)


def readable(text: bytes | str) -> str:
    """A key as one line, whatever it is made of."""
    if isinstance(text, bytes):
        text = text.decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
