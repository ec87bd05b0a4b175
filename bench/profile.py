"""Where a node's CPU time goes under the table's load: `python -m bench profile`.

For each row: milliseconds a request of every kind of process and thread, from /proc, and the
functions that the main threads are in, by sampling (`sampler/`), which costs some of it itself.
The figures say what the next limit is; rates are the table's matter.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Group
from rich.table import Table

from bench import table, wrk
from bench.node import BenchNode
from bench.processes import cpu_by_thread
from bench.table import Contender, Work

SAMPLER = Path(__file__).with_name("sampler")
FUNCTIONS = 15


@dataclass
class Profile:
    """CPU of one row; times in milliseconds a request, shares of the sampled time."""

    work: str
    requests: int
    threads: dict[str, float]
    own: dict[str, float]
    cumulative: dict[str, float]


def run(
    folder: Path, works: tuple[Work, ...], seconds: int, tick: Callable[[str], None]
) -> list[Profile]:
    """One profile a row, each of a node of its own."""
    wrk.installed()
    return [_profile(folder, work, seconds, tick) for work in works]


def _profile(folder: Path, work: Work, seconds: int, tick: Callable[[str], None]) -> Profile:
    tick(f"{work.name}: profile")
    with tempfile.TemporaryDirectory(
        dir=folder, prefix="bench-", ignore_cleanup_errors=True
    ) as made:
        samples = Path(made) / "samples"
        samples.mkdir()
        environment = {"SAMPLES": str(samples), "PYTHONPATH": str(SAMPLER)}
        with BenchNode(Path(made) / "node", environment=environment) as node:
            contender = Contender(node, "profile")
            contender.make_bucket()
            contender.prepare(work)
            assert node.pid is not None
            (samples / "on").touch()
            before = cpu_by_thread(node.pid)
            measured = contender.measure(work, 0, seconds)
            after = cpu_by_thread(node.pid)
            (samples / "on").unlink()
        own, cumulative = _sampled(samples)
    spent: Counter[str] = Counter()
    for thread, (name, cpu) in after.items():
        spent[name] += cpu - before.get(thread, ("", 0.0))[1]  # type: ignore[assignment]
    count = measured.operations
    threads = {name: cpu / count * 1e3 for name, cpu in spent.most_common() if cpu > 0}
    return Profile(work.name, count, threads, own, cumulative)


def _sampled(folder: Path) -> tuple[dict[str, float], dict[str, float]]:
    """Shares of own and of cumulative time by function, of all processes together."""
    own: Counter[str] = Counter()
    cumulative: Counter[str] = Counter()
    for file in folder.glob("*.json"):
        found = json.loads(file.read_text())
        own.update(found["own"])
        cumulative.update(found["all"])
    total = sum(own.values()) or 1
    ours = Counter({name: spent for name, spent in cumulative.items() if _is_ours(name)})
    return (
        {name: spent / total for name, spent in own.most_common(FUNCTIONS)},
        {name: spent / total for name, spent in ours.most_common(2 * FUNCTIONS)},
    )


def _is_ours(name: str) -> bool:
    """What all of a process hangs on says nothing."""
    return re.match(r"(s3node|ec)/(?!main|cli|serving|__main__|processes/main)", name) is not None


def tables_of(profiles: list[Profile]) -> Group:
    """A table of threads and one of functions for each row."""
    shown = []
    for one in profiles:
        threads = Table(title=f"{one.work}: CPU ms a request, {os.cpu_count()} cores")
        threads.add_column("threads")
        threads.add_column("ms", justify="right")
        threads.add_column("share", justify="right")
        total = sum(one.threads.values()) or 1.0
        for name, spent in one.threads.items():
            threads.add_row(name, f"{spent:.3f}", f"{spent / total:.0%}")
        functions = Table(title=f"{one.work}: of the main threads' time")
        for column in ("own", "function", "with what it calls", "function"):
            functions.add_column(column, justify="left" if column == "function" else "right")
        for own, cumulative in zip(one.own.items(), one.cumulative.items(), strict=False):
            functions.add_row(f"{own[1]:.1%}", own[0], f"{cumulative[1]:.1%}", cumulative[0])
        shown += [threads, functions]
    return Group(*shown)


def data_of(profiles: list[Profile]) -> list[dict[str, Any]]:
    return [asdict(one) for one in profiles]


WORKS = tuple(work for work in table.WORKS if work.method != "LIST")
