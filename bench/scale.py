"""What metadata cost as an archive grows: `python -m bench scale --objects 10000000`.

One bucket of a real node of 4+2 (its index, and its journals on six directories, every commit
fsynced) grows from ten thousand images in decades; the bytes of images are not written, their
rows are. At each size: what a put and listings cost, the bytes of index, journal and checkpoints,
and how long it takes to start after a clean stop, after `kill -9` in the middle of puts, and to
rebuild the index from the checkpoints alone. After each of these every answered put must be
counted. What should stay flat stands with its ratio to the first size: 1.00 is flat.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Self

from rich.table import Table

from bench import scale_node, scale_rows
from bench.client import Failure
from bench.processes import Watch

FIRST = 10_000
OBJECTS = 100_000
KILLED_PUTS = 5000  # that were asked for when the node is killed; most will never come
KILL_AFTER_S = 0.02  # the first of them were answered: within the next ones
DISK_BYTES = 4096  # that an image may take in all copies, while checkpoints are written anew
MIB = 1 << 20

Tick = Callable[[str], None]


@dataclass(frozen=True)
class Size:
    """Everything that was found at one size, by name; seconds, bytes, counts."""

    found: dict[str, float]

    @property
    def objects(self) -> int:
        return int(self.found[BEFORE])


class Figure(NamedTuple):
    """A line of the table: `scale` makes what is found printable, in `unit`.

    `each`: what is found is of the whole archive, and should grow with the objects so named.
    """

    title: str
    name: str
    scale: float = 1.0
    unit: str = ""
    each: str = ""


MS, US = 1e3, 1e6
BEFORE, AFTER = "objects", "objects_after"  # the puts that kill -9 ended
FIGURES = (
    Figure("put, median", "put_wall_s", US, "µs"),
    Figure("put, median, CPU", "put_cpu_s", US, "µs"),
    Figure("put, mean with checkpoints, CPU", "put_cpu_mean_s", US, "µs"),
    Figure("puts a frame", "frame_puts"),
    Figure("journal written a put, one copy", "journal_put_bytes", 1, "B"),
    Figure("checkpoints written a put, one copy", "checkpoint_put_bytes", 1, "B"),
    Figure("page of 1,000 keys", "page_wall_s", MS, "ms"),
    Figure("page of 1,000 keys, CPU", "page_cpu_s", MS, "ms"),
    Figure("all rolled up into one prefix", "whole_wall_s", MS, "ms"),
    Figure("all rolled up, rows read", "whole_rows"),
    Figure("a study rolled up", "study_wall_s", MS, "ms"),
    Figure("a study rolled up, rows read", "study_rows"),
    Figure("index", "index_bytes", 1 / MIB, "MiB", each=BEFORE),
    Figure("checkpoints, one copy", "checkpoint_bytes", 1 / MIB, "MiB", each=AFTER),
    Figure("journal that a start replays", "journal_bytes", 1 / MIB, "MiB", each=BEFORE),
    Figure("all checkpointed anew", "checkpoint_s", 1, "s", each=AFTER),
    Figure("clean stop", "close_s", 1, "s", each=BEFORE),
    Figure("start after it", "start_s", 1, "s", each=BEFORE),
    Figure("start after kill -9", "killed_start_s", 1, "s", each=AFTER),
    Figure("rebuild from checkpoints", "rebuild_s", 1, "s", each=AFTER),
    Figure("peak memory, puts and pages", "serving_bytes", 1 / MIB, "MiB"),
    Figure("peak memory, start after kill -9", "killed_start_bytes", 1 / MIB, "MiB"),
    Figure("peak memory, rebuild", "rebuild_bytes", 1 / MIB, "MiB"),
)


class Process:
    """`with Process(folder) as node:` a node to command; killed in the end if it still runs."""

    def __init__(self, folder: Path, *options: str) -> None:
        command = [sys.executable, "-m", scale_node.__name__, str(folder), *options]
        self._log = folder.parent / "node.log"
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,  # Ctrl-C is for who started it, who ends it then
            )
        self._watch = Watch(self._process.pid)

    def __enter__(self) -> Self:
        self._watch.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    @property
    def peak_bytes(self) -> int:
        """Anonymous memory so far: what it maps of the index is the page cache's."""
        return self._watch.peak_anonymous

    def answer(self) -> dict[str, Any]:
        """The next line. Failure when it ended without one."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            code = self._process.wait()
            raise Failure(f"the node ended with {code}:\n{self._log.read_text()[-2000:]}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def tell(self, command: str, **arguments: int) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": command, **arguments}) + "\n")
        self._process.stdin.flush()

    def ask(self, command: str, **arguments: int) -> dict[str, Any]:
        self.tell(command, **arguments)
        return self.answer()

    def kill(self) -> None:
        """SIGKILL, and gone when this returns."""
        if self._process.returncode is None:
            self._process.kill()
            self._process.wait()
            self._watch.__exit__()
            for stream in (self._process.stdin, self._process.stdout):
                assert stream is not None
                stream.close()


class Archive:
    """The growing one: its folder, how many images were asked for, and how many answered."""

    def __init__(self, folder: Path, tick: Tick) -> None:
        self.folder = folder
        self._tick = tick
        self._issued = 0
        self._answered = 0

    def measure(self, objects: int) -> Size:
        """Grow to `objects` and find everything out, in the order in which it happens."""
        found = self._grow(objects)
        found |= self._start_and_kill()
        found |= self._start_again()
        found |= self._rebuild()
        return Size({BEFORE: objects, **found})

    def _opened(self, node: Process, *, killed: bool) -> float:
        """Seconds until it served."""
        self._tick(f"{self._answered:,} objects: starting")
        opened = node.answer()
        if bool(opened["rebuilt"]) != (killed or not self._issued):
            raise Failure(f"started with an index that was rebuilt: {opened['rebuilt'] or 'not'}")
        if not self._answered <= opened["objects"] <= self._issued:
            raise Failure(f"{opened['objects']} objects of {self._answered} to {self._issued}")
        self._answered = opened["objects"]
        return float(opened["open_s"])

    def _grow(self, objects: int) -> dict[str, float]:
        with Process(self.folder) as node:
            self._opened(node, killed=False)
            more = objects - self._answered
            begin, before = self._issued, self._answered
            self._issued += more
            node.tell("grow", first=begin, count=more)
            while "puts" in (found := node.answer()):
                self._answered = before + found["puts"]
                self._tick(f"{self._answered:,} of {objects:,} objects")
            found |= node.ask("pages", issued=begin + more)
            found["serving_bytes"] = node.peak_bytes
            self._tick(f"{objects:,} objects: stopping")
            return found | node.ask("close")

    def _start_and_kill(self) -> dict[str, float]:
        with Process(self.folder) as node:
            took = self._opened(node, killed=False)
            node.tell("grow", first=self._issued, count=KILLED_PUTS)
            self._issued += KILLED_PUTS
            self._answered += node.answer()["puts"]
            time.sleep(KILL_AFTER_S)
            node.kill()
        return {"start_s": took}

    def _start_again(self) -> dict[str, float]:
        with Process(self.folder) as node:
            took = self._opened(node, killed=True)
            peak = node.peak_bytes
            self._tick(f"{self._answered:,} objects: all into checkpoints")
            found = node.ask("checkpoint")
            node.kill()
        return {AFTER: self._answered, "killed_start_s": took, "killed_start_bytes": peak, **found}

    def _rebuild(self) -> dict[str, float]:
        self._tick(f"{self._answered:,} objects: rebuilding")
        with Process(self.folder, "--rebuild") as node:
            found = node.answer()
            return {"rebuild_s": found["wall"], "rebuild_bytes": node.peak_bytes}


def run(folder: Path, objects: int, tick: Tick, first: int = FIRST) -> list[Size]:
    """The sizes up to `objects`. The node lives below `folder`, and is removed. Failure."""
    free = shutil.disk_usage(folder).free
    if free < objects * DISK_BYTES:
        raise Failure(f"{objects:,} objects may take {objects * DISK_BYTES:,} bytes; {free:,} are "
                      f"free in {folder}")  # fmt: skip
    with tempfile.TemporaryDirectory(
        dir=folder, prefix="bench-", ignore_cleanup_errors=True
    ) as made:
        node = Path(made) / "node"
        node.mkdir()
        scale_node.prepare(node)
        archive = Archive(node, tick)
        return [archive.measure(size) for size in scale_rows.sizes(objects, first)]


def flatness(figure: Figure, size: Size, first: Size) -> float | None:
    """How many times the first size's; of the whole archive, per object. None: nothing to compare.

    1 is what a figure should have that does not know how large the archive is.
    """
    mine, other = size.found[figure.name], first.found[figure.name]
    if figure.each:
        mine, other = mine / size.found[figure.each], other / first.found[figure.each]
    return mine / other if other else None


def table_of(sizes: Sequence[Size]) -> Table:
    table = Table(title="One bucket as it grows (ratio to the first size; * per object)")
    table.add_column("", no_wrap=True)
    for size in sizes:
        table.add_column(f"{size.objects:,}", justify="right")
    for figure in FIGURES:
        cells = [_cell(figure, size, sizes[0]) for size in sizes]
        table.add_row(figure.title + (" *" if figure.each else ""), *cells)
    return table


def _cell(figure: Figure, size: Size, first: Size) -> str:
    value = size.found[figure.name] * figure.scale
    text = f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
    flat = flatness(figure, size, first)
    return f"{text} {figure.unit}".rstrip() + (f" ({flat:.2f})" if flat is not None else " (-)")


def data_of(sizes: Sequence[Size]) -> list[dict[str, float]]:
    return [size.found for size in sizes]
