"""The index read by one process while another writes it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from s3node.base.errors import DiskFailed, FormatError
from s3node.meta.frame import Position
from s3node.meta.lmdb_index import LmdbIndex
from s3node.meta.lmdb_reader import LmdbReader

ROOT = Path(__file__).resolve().parents[2]
DEPLOYMENT = b"D" * 16
MAP_BYTES = 1 << 20
BATCH = 800

WRITER = """
import sys
from pathlib import Path
from s3node.meta.frame import Position
from s3node.meta.lmdb_index import LmdbIndex

index = LmdbIndex(Path(sys.argv[1]), b"D" * 16, map_bytes=1 << 20)
index.apply([(Position(0, bytes(16)), {})])
print("open", flush=True)
for line in sys.stdin:
    what, first, count = line.split()
    if what == "check":
        print(index.reader_check(), flush=True)
        continue
    rows = {b"k%08d" % n: b"v" * 2000 for n in range(int(first), int(first) + int(count))}
    index.apply([(Position(int(first), bytes(16)), rows)])
    print("done", flush=True)
index.close()
"""

READER = """
import sys, time
from pathlib import Path
from s3node.meta.lmdb_reader import LmdbReader

def hold(tx):
    print(len(list(tx.scan(b"k", b"l"))), flush=True)
    time.sleep(600)

LmdbReader(Path(sys.argv[1]), b"D" * 16).look(hold)
"""


class Other:
    """A process that is told lines, and answers with lines."""

    def __init__(self, program: str, path: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", program, str(path)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.first = self.answer()

    def answer(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def ask(self, what: str, first: int = 0, count: int = 0) -> str:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{what} {first} {count}\n")
        self.process.stdin.flush()
        return self.answer()

    def end(self) -> None:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.close()
        assert self.process.wait(60) == 0
        self.process.stdout.close()

    def kill(self) -> None:
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait(60)
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.close()
        self.process.stdout.close()


def rows_and_position(reader: LmdbReader) -> tuple[int, int]:
    return reader.read(lambda tx, at: (sum(1 for _ in tx.scan(b"k", b"l")), at.sequence))


def test_every_commit_is_seen_at_once_and_the_map_is_followed(tmp_path: Path) -> None:
    """The writer's map outgrows the reader's meanwhile, and threads read all the time."""
    writer = Other(WRITER, tmp_path)
    reader = LmdbReader(tmp_path, DEPLOYMENT)
    begun = reader._env.info()["map_size"]
    assert rows_and_position(reader) == (0, 0)
    stop = threading.Event()
    torn: list[Any] = []

    def look() -> None:
        while not stop.is_set():
            rows, at = rows_and_position(reader)
            if rows not in (at, at + BATCH):  # whole batches, from `at` on
                torn.append((rows, at))

    threads = [threading.Thread(target=look) for _ in range(2)]
    for thread in threads:
        thread.start()
    for first in range(0, 10 * BATCH, BATCH):
        assert writer.ask("put", first, BATCH) == "done"
        assert rows_and_position(reader) == (first + BATCH, first)
        assert reader.look(lambda tx, n=first: tx.get(b"k%08d" % n)) == b"v" * 2000
    stop.set()
    for thread in threads:
        thread.join()
    assert not torn
    assert (tmp_path / "data.mdb").stat().st_size > begun, "or the map had not to be followed"
    reader.close()
    writer.end()


def test_what_a_killed_reader_held_is_freed(tmp_path: Path) -> None:
    writer = Other(WRITER, tmp_path)
    assert writer.ask("put", 0, 100) == "done"
    held = Other(READER, tmp_path)
    assert held.first == "100"
    assert writer.ask("check") == "0", "it lives"
    held.kill()
    assert writer.ask("check") == "1"
    assert writer.ask("put", 100, 100) == "done"
    writer.end()


def test_what_is_not_there_or_another_s_is_told(tmp_path: Path) -> None:
    with pytest.raises(DiskFailed):
        LmdbReader(tmp_path / "none", DEPLOYMENT)
    index = LmdbIndex(tmp_path / "meta", DEPLOYMENT, map_bytes=MAP_BYTES)
    index.apply([(Position(7, bytes(16)), {b"a": b"1"})])
    index.close()
    reader = LmdbReader(tmp_path / "meta", b"E" * 16)
    with pytest.raises(FormatError):
        reader.read(lambda tx, at: at)
    reader.close()
    with pytest.raises(DiskFailed):
        reader.look(lambda tx: tx.get(b"a"))


def test_a_read_within_a_read_is_a_mistake(tmp_path: Path) -> None:
    LmdbIndex(tmp_path, DEPLOYMENT, map_bytes=MAP_BYTES).close()
    reader = LmdbReader(tmp_path, DEPLOYMENT)
    with pytest.raises(AssertionError):
        reader.look(lambda tx: reader.look(lambda other: None))
    assert reader.look(lambda tx: tx.get(b"a")) is None
    reader.close()
