"""Where the metadata lives on a disk: directories and file names, nothing else."""

from __future__ import annotations

from typing import NamedTuple

from s3node.base.filesystem import FileSystem

JOURNAL = "journal"
CHECKPOINTS = "checkpoints"
_LOG = ".log"
_SEQUENCE_DIGITS = 16
_HEX = frozenset("0123456789abcdef")

# Log files of one disk and life are numbered: what recovery copied, the epoch frame, the rest.
COPIED, BEGUN, APPENDED = 0, 1, 2


class Home(NamedTuple):
    """One disk, as the metadata sees it.

    A disk id of zeros is the place of a disk that is not there now: nothing is written to the
    path (it may be the directory below a mount point) until the disk set says that it is back.
    """

    fs: FileSystem
    path: str
    disk_id: bytes

    @property
    def empty(self) -> bool:
        return not any(self.disk_id)

    @property
    def journal(self) -> str:
        return f"{self.path}/{JOURNAL}"

    @property
    def checkpoints(self) -> str:
        return f"{self.path}/{CHECKPOINTS}"


def log_name(sequence: int, epoch: int, number: int) -> str:
    """A log file: first sequence, epoch, how many the disk began in that life. Never reused."""
    return f"{sequence:016x}-{epoch:08x}-{number:04x}{_LOG}"


def first_sequence(name: str) -> int:
    """The first sequence of a log file, as its name says; 0 for a name that is none of ours."""
    head = name.partition("-")[0]
    return int(head, 16) if len(head) == _SEQUENCE_DIGITS and _HEX.issuperset(head) else 0


def same_life(name: str, other: str) -> bool:
    """Whether two log files were begun in one epoch."""
    return name.split("-")[1:2] == other.split("-")[1:2]


def is_log(name: str) -> bool:
    return name.endswith(_LOG)


def make_directories(home: Home) -> None:
    """The two directories, durably."""
    _make(home, home.journal, home.checkpoints)


def make_checkpoints(home: Home) -> None:
    """The one for checkpoints alone. A journal that vanished from a running node must be missed:
    an empty directory in its place would hide that its open log has no name any more.
    """
    _make(home, home.checkpoints)


def _make(home: Home, *paths: str) -> None:
    for path in paths:
        if not home.fs.exists(path):
            home.fs.mkdir(path)
    home.fs.fsync_dir(home.path)
