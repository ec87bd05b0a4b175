"""What failed and slow disks cost clients: `python -m bench faults`.

Two comparisons, each with itself in the same run, 512 KiB objects over 8 connections:

- *gone*: a node that lost as many disks as it has parity, beside one with all of them. Both were
  filled alike; the disks' directories vanish while it runs. Every read has to be computed then.
- *stalled*: one node whose disk stops answering for some seconds, all of a round, beside rounds
  in which it answers. The disk is stalled below the node, in the calls that reach its files
  (`stall.c`): what lies in the page cache stalls too.

Healthy and ill take turns; a figure is the median of the rounds.
"""

from __future__ import annotations

import os
import random
import secrets
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich.table import Table

from bench import wrk
from bench.client import Failure, ask, load
from bench.figures import median
from bench.node import DISKS, PARITY, BenchNode
from bench.presign import Presigner

KIB = 1 << 10
SIZE = 512 * KIB
CONNECTIONS = 8
FILL_COUNT = 256
NOTICE_S_MAX = 30
STALL_S = 5
PUT_RATE_MAX = 2000  # a second: how many requests are signed for a round
PUT_BYTES_MAX = 1 << 30
DISK = "disk03"


@dataclass
class Line:
    """One comparison: rounds with everything well, and rounds without."""

    name: str
    healthy: list[wrk.Round] = field(default_factory=list)
    ill: list[wrk.Round] = field(default_factory=list)

    def ratio(self) -> float:
        """Requests a second, of those without everything well."""
        return _rate(self.ill) / _rate(self.healthy)

    def failures(self) -> list[str]:
        return [
            f"{self.name}: requests failed: {one.failures}"
            for one in (*self.healthy, *self.ill)
            if one.failures
        ]


class Filled:
    """A node, a bucket, and objects in it."""

    def __init__(self, node: BenchNode) -> None:
        self.node = node
        self._bucket = f"faults-{secrets.token_hex(4)}"
        self._presigner = Presigner(node.endpoint, node.keys)
        self._body = os.urandom(SIZE)
        ask(node.endpoint, "PUT", self._presigner.targets("PUT", self._bucket, [""])[0])
        names = [f"fill/{number:06}" for number in range(FILL_COUNT)]
        puts = self._presigner.targets("PUT", self._bucket, names)
        load(node.endpoint, "PUT", puts, self._body, CONNECTIONS)
        self._gets = self._presigner.targets("GET", self._bucket, names)
        random.Random(SIZE).shuffle(self._gets)

    def get(self, seconds: int) -> wrk.Round:
        found = wrk.load(self.node.endpoint, "GET", self._gets, b"", CONNECTIONS, seconds)
        if found.bytes < found.requests * SIZE:
            raise Failure("answers to GET were too short")
        return found

    def put(self, seconds: int) -> wrk.Round:
        count = min(PUT_RATE_MAX * seconds, PUT_BYTES_MAX // SIZE)
        prefix = secrets.token_hex(4)
        targets = self._presigner.targets(
            "PUT", self._bucket, [f"{prefix}/{number:06}" for number in range(count)]
        )
        body = self._body
        return wrk.load(self.node.endpoint, "PUT", targets, body, CONNECTIONS, seconds)


def run(folder: Path, rounds: int, seconds: int, tick: Callable[[str], None]) -> list[Line]:
    """All lines. `folder` is on the disk to be measured."""
    wrk.installed()
    with tempfile.TemporaryDirectory(
        dir=folder, prefix="bench-", ignore_cleanup_errors=True
    ) as made:
        return [
            *_gone(Path(made), rounds, seconds, tick),
            *_stalled(Path(made), rounds, tick),
        ]


def _gone(folder: Path, rounds: int, seconds: int, tick: Callable[[str], None]) -> Iterator[Line]:
    line = Line(f"GET, {PARITY} of {DISKS} disks gone")
    with BenchNode(folder / "whole") as whole, BenchNode(folder / "less") as less:
        tick("filling a node, and one that will lose disks")
        healthy, ill = Filled(whole), Filled(less)
        for number in range(PARITY):
            path = folder / "less" / f"disk{number + 1:02}"
            path.rename(path.with_name(f"gone{number}"))
        _await_gone(less)
        for number in range(rounds):
            tick(f"{line.name}: round {number + 1} of {rounds}")
            line.healthy.append(healthy.get(seconds))
            line.ill.append(ill.get(seconds))
    yield line


def _await_gone(node: BenchNode) -> None:
    """Until the node says of all of them that they are gone."""
    deadline = time.monotonic() + NOTICE_S_MAX
    told = 's3node_disk_state{slot="%d",state="offline"} 1.0'
    while not all(told % slot in node.metrics() for slot in range(PARITY)):
        if time.monotonic() > deadline:
            raise Failure("the node did not notice that its disks are gone")
        time.sleep(0.2)


def _stalled(folder: Path, rounds: int, tick: Callable[[str], None]) -> Iterator[Line]:
    library, flag, data = folder / "stall.so", folder / "stalled", folder / "slow"
    source = Path(__file__).with_name("stall.c")
    command = ["gcc", "-O2", "-shared", "-fPIC", "-o", str(library), str(source), "-ldl"]
    subprocess.run(command, check=True, timeout=60)
    environment = {
        "LD_PRELOAD": str(library),
        "STALL_FLAG": str(flag),
        "STALL_DISK": f"{data / DISK}/",
    }
    with BenchNode(data, environment=environment) as node:
        tick("filling a node, a disk of which will stall")
        filled = Filled(node)
        for name, work in (("GET", filled.get), ("PUT", filled.put)):
            line = Line(f"{name}, a disk stalled for {STALL_S} s")
            for number in range(rounds):
                tick(f"{line.name}: round {number + 1} of {rounds}")
                line.healthy.append(work(STALL_S))
                with _standing(flag):
                    line.ill.append(work(STALL_S))
                _await_writable(node)
            yield line


@contextmanager
def _standing(flag: Path) -> Iterator[None]:
    flag.touch()
    try:
        yield
    finally:
        flag.unlink()


def _await_writable(node: BenchNode) -> None:
    """Until every disk takes part again."""
    deadline = time.monotonic() + NOTICE_S_MAX
    while node.metrics().count('state="online"} 1.0') < DISKS:
        if time.monotonic() > deadline:
            raise Failure("the disk that stalled did not come back")
        time.sleep(0.2)


def _rate(rounds: list[wrk.Round]) -> float:
    return median([one.rate for one in rounds])


def table_of(lines: list[Line]) -> Table:
    """Rates and latencies, healthy and ill side by side."""
    table = Table(title="512 KiB, 8 connections: disks that fail, medians of the rounds")
    for column in ("", "healthy/s", "ill/s", "ratio", "p50 ms", "p99 ms", "longest ms"):
        table.add_column(column, justify="left" if not column else "right")
    for line in lines:
        pairs = [
            f"{median([get(one) for one in line.healthy]):.1f} / "
            f"{median([get(one) for one in line.ill]):.1f}"
            for get in (_p50, _p99, _longest)
        ]
        rates = f"{_rate(line.healthy):.0f}", f"{_rate(line.ill):.0f}"
        table.add_row(line.name, *rates, f"{line.ratio():.2f}", *pairs)
    return table


def _p50(one: wrk.Round) -> float:
    return one.p50_ms


def _p99(one: wrk.Round) -> float:
    return one.p99_ms


def _longest(one: wrk.Round) -> float:
    return one.max_ms


def data_of(lines: list[Line]) -> list[dict[str, Any]]:
    return [{**asdict(line), "ratio": line.ratio()} for line in lines]
