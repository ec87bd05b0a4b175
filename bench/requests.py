"""What PUT and GET cost inside a real node, full durability: `python -m bench requests`.

A node of 8+4 over twelve directories is started with the command that users type; a client in
another process sends presigned requests over raw sockets. Beside the rate of PUTs stands the
floor of this machine in the same round: twelve threads that each write a shard's worth of bytes
and fdatasync it, once per object, with no HTTP, no hashing, no coding, and no batching.

All twelve directories lie on one device here: fdatasync costs and parallelism differ from those
of twelve disks.
"""

from __future__ import annotations

import os
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from bench.client import ask, load
from bench.figures import median, percentile
from bench.node import DISKS, PARITY, BenchNode, counted
from bench.presign import Presigner
from bench.processes import Watch

KIB, MIB = 1 << 10, 1 << 20
BUCKET = "bench"
# Of what the node counts, in its metrics: (column, series, value of its label "what").
COUNTED = (
    ("syncs", "s3node_engine", "syncs"),
    ("crossings", "s3node_engine", "crossings"),
    ("copied", "s3node_objects", "bytes_copied"),
)


@dataclass(frozen=True)
class Work:
    size: int
    connections: int
    count: int

    @property
    def name(self) -> str:
        return f"{self.size // MIB} MiB" if self.size >= MIB else f"{self.size // KIB} KiB"


WORKS = (Work(4 * KIB, 16, 3000), Work(512 * KIB, 8, 600), Work(16 * MIB, 2, 30))


@dataclass(frozen=True)
class Line:
    """Medians of the rounds. `costs`: per request, None for what the node does not count."""

    method: str
    work: Work
    rate: float
    p50_ms: float
    p99_ms: float
    floor: float | None
    cpu_ms: float
    costs: dict[str, float | None]


def floor(folder: Path, work: Work) -> float:
    """Objects a second that twelve threads of bare pwrite and fdatasync make durable."""
    shard = os.urandom(max(1, work.size // (DISKS - PARITY)))
    rounds = max(10, work.count // 10)

    def disk(slot: int) -> None:
        fd = os.open(folder / f"floor{slot}", os.O_RDWR | os.O_CREAT)
        try:
            for number in range(rounds):
                os.pwrite(fd, shard, number * len(shard))
                os.fdatasync(fd)
        finally:
            os.close(fd)
            (folder / f"floor{slot}").unlink()

    began = time.perf_counter()
    with ThreadPoolExecutor(DISKS) as threads:
        list(threads.map(disk, range(DISKS)))
    return rounds / (time.perf_counter() - began)


def run(folder: Path, rounds: int, works: tuple[Work, ...] = WORKS) -> list[Line]:
    """The node's data are made in a folder below `folder`, and removed."""
    lines = []
    with (
        tempfile.TemporaryDirectory(dir=folder, prefix="bench-") as made,
        BenchNode(Path(made) / "node") as node,
    ):
        presigner = Presigner(node.endpoint, node.keys)
        ask(node.endpoint, "PUT", presigner.targets("PUT", BUCKET, [""])[0])
        for work in works:
            body = os.urandom(work.size)
            for method in ("PUT", "GET"):
                each = [
                    _measure(node, Path(made), work, method, body, number)
                    for number in range(rounds)
                ]
                lines.append(_medians(each))
    return lines


def _measure(
    node: BenchNode, folder: Path, work: Work, method: str, body: bytes, number: int
) -> Line:
    bare = floor(folder, work) if method == "PUT" else None
    names = [f"{work.size}/{number}/{index:06}" for index in range(work.count)]
    targets = Presigner(node.endpoint, node.keys).targets(method, BUCKET, names)
    before = node.metrics()
    with Watch(node.pid) as watch:
        sent = body if method == "PUT" else b""
        seconds, taken = load(node.endpoint, method, targets, sent, work.connections)
    after = node.metrics()
    assert watch.cpu is not None
    costs: dict[str, float | None] = {}
    for column, series, what in COUNTED:
        first, last = counted(before, series, what), counted(after, series, what)
        known = first is not None and last is not None
        costs[column] = (last - first) / work.count if known else None  # type: ignore[operator]
    return Line(
        method,
        work,
        work.count / seconds,
        percentile(taken, 50) * 1e3,
        percentile(taken, 99) * 1e3,
        bare,
        watch.cpu / work.count * 1e3,
        costs,
    )


def _medians(each: list[Line]) -> Line:
    costs = {}
    for column in each[0].costs:
        known = [cost for line in each if (cost := line.costs[column]) is not None]
        costs[column] = median(known) if known else None
    floors = [line.floor for line in each if line.floor is not None]
    return Line(
        each[0].method,
        each[0].work,
        median([line.rate for line in each]),
        median([line.p50_ms for line in each]),
        median([line.p99_ms for line in each]),
        median(floors) if floors else None,
        median([line.cpu_ms for line in each]),
        costs,
    )


def table_of(lines: list[Line]) -> Table:
    table = Table(title="8+4 over 12 directories on one device, every write fsynced")
    table.caption = "per request: fdatasyncs, crossings into the engine, copies of its bytes, CPU"
    for column in ("work", "conn.", "req/s", "MB/s", "p50 ms", "p99 ms", "floor/s", "ratio",
                   "syncs", "crossings", "copies", "CPU ms"):  # fmt: skip
        table.add_column(column, justify="left" if column == "work" else "right")
    for line in lines:
        copied = line.costs["copied"]
        copies = None if copied is None else copied / line.work.size
        table.add_row(
            f"{line.method} {line.work.name}",
            str(line.work.connections),
            f"{line.rate:.0f}",
            f"{line.rate * line.work.size / 1e6:.0f}",
            f"{line.p50_ms:.1f}",
            f"{line.p99_ms:.1f}",
            f"{line.floor:.0f}" if line.floor else "",
            f"{line.rate / line.floor:.2f}" if line.floor else "",
            _cell(line.costs["syncs"], 1),
            _cell(line.costs["crossings"], 1),
            _cell(copies, 2),
            f"{line.cpu_ms:.2f}",
        )
    return table


def _cell(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


@click.command(help=__doc__)
@click.option(
    "--folder",
    default=tempfile.gettempdir(),
    type=click.Path(path_type=Path),
    help="Where the disks are made.",
)
@click.option("--rounds", default=3, show_default=True, help="Medians over this many.")
def main(folder: Path, rounds: int) -> None:
    Console(width=120).print(table_of(run(folder, rounds)))


if __name__ == "__main__":
    main()
