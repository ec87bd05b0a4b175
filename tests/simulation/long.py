"""The long run: random histories, seed after seed, until so many crash states were survived.

    python -m tests.simulation.long                         100,000 states, from seed 1000 on
    python -m tests.simulation.long --three                 every sequence of three operations
    python -m tests.simulation.long --seed 4711 --states 1   one history again

It shows how far it is, and at the end what it was made of. A history that failed is told with its
seed and with the state that it failed on; the others go on. The exit code is 1 then.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import logging
import multiprocessing
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TextIO

from tests.simulation.enumeration import Counters, Explorer
from tests.simulation.history import History, Shape
from tests.simulation.model import OPERATIONS

STATES = 100_000
FIRST_SEED = 1000
SHAPE = Shape(lives=3, states=21)
TOLD_EVERY_S = 10.0


@dataclass(frozen=True)
class Piece:
    """What one worker did: a history, or the sequences that begin with two operations."""

    name: str
    counters: Counters
    fault: str = ""


@dataclass
class Total:
    """All pieces so far."""

    pieces: int = 0
    counters: Counters = field(default_factory=Counters)
    faults: list[Piece] = field(default_factory=list)

    def add(self, piece: Piece) -> None:
        self.pieces += 1
        self.counters += piece.counters
        if piece.fault:
            self.faults.append(piece)


def history(seed: int) -> Piece:
    """One random history; three of four have a bad disk."""
    counters = Counters()
    work = History(seed, Shape(SHAPE.lives, SHAPE.states, faults=seed % 4 > 0), counters)
    return Piece(f"seed {seed}", counters, _fault_of(work.run))


def of_three(names: tuple[str, str]) -> Piece:
    """Every sequence of three operations that begins with these two."""
    explorer = Explorer()

    def explore() -> None:
        for third in OPERATIONS.values():
            explorer.explore([OPERATIONS[names[0]], OPERATIONS[names[1]], third])

    return Piece(", ".join(names), explorer.counters, _fault_of(explore))


def _fault_of(work: Callable[[], object]) -> str:
    """What it failed with, as text: it comes from another process."""
    try:
        work()
    except Exception:
        return traceback.format_exc()
    return ""


def pieces(asked: argparse.Namespace, pool: Any) -> Iterator[Piece]:
    """Histories in the order of their seeds, so that a total is the same when run again."""
    if asked.three:
        pairs = list(itertools.product(OPERATIONS, OPERATIONS))
        yield from pool.imap_unordered(of_three, pairs)
        return
    seeds: Iterable[int] = itertools.count(asked.seed)
    while True:
        some = list(itertools.islice(seeds, 8 * asked.jobs))
        yield from pool.imap(history, some)  # in order: of one state, it is the first seed's


def quiet() -> None:
    """A worker: what nodes log about simulated disks is nobody's concern, and what was imported
    need not be looked at by the collector again.
    """
    logging.disable(logging.CRITICAL)
    gc.freeze()


def run(asked: argparse.Namespace, out: TextIO) -> Total:
    total = Total()
    told = began = time.monotonic()
    with multiprocessing.Pool(asked.jobs, quiet) as pool:
        for piece in pieces(asked, pool):
            total.add(piece)
            if piece.fault:
                print(f"{piece.name} FAILED\n{piece.fault}", file=out, flush=True)
            now = time.monotonic()
            if now - told >= TOLD_EVERY_S:
                told = now
                print(f"{now - began:6.0f} s  {summary(total)}", file=out, flush=True)
            if not asked.three and total.counters.crashes >= asked.states:
                break
    return total


def summary(total: Total) -> str:
    return f"{total.pieces} seeds: {total.counters}, {len(total.faults)} failed"


def arguments(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.simulation.long",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--states", type=int, default=STATES, help="crash states to survive")
    parser.add_argument("--seed", type=int, default=FIRST_SEED, help="the first seed")
    parser.add_argument("--three", action="store_true", help="all sequences of three instead")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes")
    return parser.parse_args(words)


def main(words: Sequence[str]) -> int:
    total = run(arguments(words), sys.stdout)
    print(f"in all: {summary(total)}")
    for piece in total.faults:
        print(f"failed: {piece.name}")
    return 1 if total.faults else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
