"""Where the metadata lives on a disk: directories and file names, nothing else."""

from __future__ import annotations

from typing import NamedTuple

from s3node.base.filesystem import FileSystem

JOURNAL = "journal"
CHECKPOINTS = "checkpoints"
_LOG = ".log"


class Home(NamedTuple):
    """One disk, as the metadata sees it."""

    fs: FileSystem
    path: str
    disk_id: bytes

    @property
    def journal(self) -> str:
        return f"{self.path}/{JOURNAL}"

    @property
    def checkpoints(self) -> str:
        return f"{self.path}/{CHECKPOINTS}"


def log_name(sequence: int, epoch: int, number: int) -> str:
    """A log file: first sequence, epoch, how many the disk began in that life. Never reused."""
    return f"{sequence:016x}-{epoch:08x}-{number:04x}{_LOG}"


def is_log(name: str) -> bool:
    return name.endswith(_LOG)


def make_directories(home: Home) -> None:
    """The two directories, durably."""
    for path in (home.journal, home.checkpoints):
        if not home.fs.exists(path):
            home.fs.mkdir(path)
    home.fs.fsync_dir(home.path)
