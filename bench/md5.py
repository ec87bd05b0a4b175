"""How fast MD5 is for several streams at once, beside hashlib: `python -m bench.md5`.

Each kernel advances 1 to 32 streams of the same length in one call, as requests do that come
together; hashlib does them one after the other. In each round every contender runs for a few
milliseconds, one after the other, so that a disturbance hits them all; a figure is the best round
in GB a second of one core, for other work on this machine can only make it worse.
"""

from __future__ import annotations

import hashlib
import os
import platform
import ssl
import time
from collections.abc import Callable

import click
from rich.console import Console
from rich.table import Table

from bench.kernels import machine
from s3node.base.md5 import Job, Md5, advance, kernels_available

LANES = (1, 2, 4, 8, 16, 32)
KIB = 1 << 10

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


@click.command(help=__doc__)
@click.option("--rounds", default=30, show_default=True, help="Rounds the best is taken of.")
@click.option("--kib", default=64, show_default=True, help="Bytes of each stream.")
def main(rounds: int, kib: int) -> None:
    names = kernels_available()
    table = Table(title=f"streams of {kib} KiB: GB a second (ratio to hashlib)")
    for column in ("streams", "hashlib", *names):
        table.add_column(column, justify="right")
    memory = memoryview(os.urandom(max(LANES) * kib * KIB))
    for lanes in LANES:
        pieces = [memory[i * kib * KIB :][: kib * KIB] for i in range(lanes)]
        runs = {"hashlib": of_hashlib(pieces)}
        runs |= {name: of_kernel(name, pieces) for name in names}
        best = best_seconds(runs, rounds)
        speeds = {name: lanes * kib * KIB / seconds / 1e9 for name, seconds in best.items()}
        ratios = (f"{speeds[n]:.2f} ({speeds[n] / speeds['hashlib']:.1f})" for n in names)
        table.add_row(str(lanes), f"{speeds['hashlib']:.2f}", *ratios)
    console = Console(width=None if os.isatty(1) else 100)
    console.print(f"{machine()}, Python {platform.python_version()}, {ssl.OPENSSL_VERSION}")
    console.print(f"load {', '.join(f'{one:.1f}' for one in os.getloadavg())}")
    console.print(table)


if __name__ == "__main__":
    main()
