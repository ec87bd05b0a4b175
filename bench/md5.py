"""How fast MD5 is for several streams at once, beside hashlib: `python -m bench.md5`.

Each kernel advances 1 to 32 streams of the same length in one call, as requests do that come
together; hashlib does them one after the other. In each round every contender runs for a few
milliseconds, one after the other, so that a disturbance hits them all; a figure is the best round
in GB a second of one core, for other work on this machine can only make it worse.
"""

from __future__ import annotations

import hashlib
import os
import ssl
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import click
from rich.console import Console
from rich.table import Table

from bench.machine import processor
from s3node.base.md5 import Job, Md5, advance, kernels_available

LANES = (1, 2, 4, 8, 16, 32)
KIB = 1 << 10
ROUNDS = 30
STREAM_BYTES = 64 * KIB

Run = Callable[[], list[bytes]]


def of_kernel(name: str, pieces: list[memoryview]) -> Run:
    def run() -> list[bytes]:
        streams = [Md5(name) for _ in pieces]
        jobs = [Job(stream, [piece]) for stream, piece in zip(streams, pieces, strict=True)]
        advance(jobs, len(pieces[0]), name)
        for job in jobs:
            job.end()
        return [stream.digest() for stream in streams]

    return run


def of_hashlib(pieces: list[memoryview]) -> Run:
    return lambda: [hashlib.md5(piece, usedforsecurity=False).digest() for piece in pieces]


def best_seconds(runs: dict[str, Run], rounds: int) -> dict[str, float]:
    expected = runs["hashlib"]()
    for name, run in runs.items():
        assert run() == expected, f"{name} is wrong"
    best = dict.fromkeys(runs, float("inf"))
    for _ in range(rounds):
        for name, run in runs.items():
            begin = time.perf_counter()
            run()
            best[name] = min(best[name], time.perf_counter() - begin)
    return best


@dataclass(frozen=True)
class Line:
    """GB a second of each contender with so many streams."""

    streams: int
    stream_bytes: int
    speeds: dict[str, float]


def run(rounds: int, stream_bytes: int) -> list[Line]:
    names = kernels_available()
    memory = memoryview(os.urandom(max(LANES) * stream_bytes))
    lines = []
    for lanes in LANES:
        pieces = [memory[i * stream_bytes :][:stream_bytes] for i in range(lanes)]
        runs = {"hashlib": of_hashlib(pieces)}
        runs |= {name: of_kernel(name, pieces) for name in names}
        best = best_seconds(runs, rounds)
        speeds = {name: lanes * stream_bytes / seconds / 1e9 for name, seconds in best.items()}
        lines.append(Line(lanes, stream_bytes, speeds))
    return lines


def table_of(lines: Sequence[Line]) -> Table:
    kib = lines[0].stream_bytes // KIB
    table = Table(title=f"MD5, streams of {kib} KiB: GB a second (ratio to hashlib)")
    table.caption = f"hashlib is that of {ssl.OPENSSL_VERSION}"
    for column in ("streams", *lines[0].speeds):
        table.add_column(column, justify="right")
    for line in lines:
        bare = line.speeds["hashlib"]
        ratios = (f"{v:.2f} ({v / bare:.1f})" for k, v in line.speeds.items() if k != "hashlib")
        table.add_row(str(line.streams), f"{bare:.2f}", *ratios)
    return table


@click.command(help=__doc__)
@click.option("--rounds", default=ROUNDS, show_default=True, help="Rounds the best is taken of.")
@click.option("--kib", default=STREAM_BYTES // KIB, show_default=True, help="Of each stream.")
def main(rounds: int, kib: int) -> None:
    console = Console(width=None if os.isatty(1) else 100)
    console.print(f"{processor()}, load {', '.join(f'{one:.1f}' for one in os.getloadavg())}")
    console.print(table_of(run(rounds, kib * KIB)))


if __name__ == "__main__":
    main()
