"""`python -m bench`: ours beside its peers, always both in one run.

\b
table      requests a second, latencies, CPU and memory, beside SeaweedFS
hospital   modalities write studies at once, a viewer reads them in order, beside SeaweedFS
kernels    the coding kernels beside ISA-L and pyeclib
md5        several streams at once, beside hashlib
faults     what failed and slow disks cost, beside the same with all of them well
profile    where the CPU time of the table's rows goes
requests   what requests cost inside, beside bare fdatasync of this machine
spinning   seeks of a study on modelled spinning disks, beside one file per shard
scale      what metadata cost as an archive grows, beside its first size
versions   what listings of versions cost as they become many

All parts but profile, scale and versions, when none is named. Exit status 1 when a request failed.
Servers run on 127.0.0.1, are stopped and their folders removed in the end, also on Ctrl-C.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from bench import (
    faults,
    hospital,
    kernels,
    machine,
    md5,
    profile,
    report,
    requests,
    scale,
    seaweedfs,
    spinning,
    table,
    versions,
    wrk,
)
from bench.client import Failure
from bench.node import EDGES_VARIABLE
from bench.presign import Keys
from bench.scene import Scene

WIDTH_OF_A_FILE = 120
STOPPED_BY = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass
class Run:
    """The options, and what is found."""

    scene: Scene
    rounds: int
    seconds: int
    rows: tuple[str, ...]
    studies: int
    study: spinning.Study
    objects: int
    out: Console
    progress: Console
    data: dict[str, Any] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    @contextmanager
    def ticking(self) -> Any:
        """Says on stderr what is going on."""
        if not self.progress.is_terminal:
            yield lambda text: None
            return
        with self.progress.status("...") as status:
            yield status.update


def _table(run: Run) -> None:
    works = tuple(work for work in table.WORKS if not run.rows or work.name in run.rows)
    rows: list[table.Row] = []
    try:
        with run.ticking() as tick:
            rows.extend(table.run(run.scene, works, run.rounds, run.seconds, tick))
    finally:
        if rows:  # also those before a failure, or before Ctrl-C
            run.out.print(report.requests_table(rows), report.cost_table(rows))
        run.failures += [line for row in rows for line in report.failures(row)]
        run.data["table"] = report.data_of_rows(rows)


def _hospital(run: Run) -> None:
    with run.ticking() as tick:
        days = hospital.run(run.scene, run.studies, run.rounds, tick)
    run.out.print(report.hospital_table(days))
    run.data["hospital"] = report.data_of_days(days)


def _faults(run: Run) -> None:
    with run.ticking() as tick:
        lines = faults.run(run.scene.folder, run.rounds, run.seconds, tick)
    run.out.print(faults.table_of(lines))
    run.failures += [failure for line in lines for failure in line.failures()]
    run.data["faults"] = faults.data_of(lines)


def _profile(run: Run) -> None:
    works = tuple(work for work in profile.WORKS if not run.rows or work.name in run.rows)
    with run.ticking() as tick:
        profiles = profile.run(run.scene.folder, works, run.seconds, tick)
    run.out.print(profile.tables_of(profiles))
    run.data["profile"] = profile.data_of(profiles)


def _kernels(run: Run) -> None:
    with run.ticking() as tick:
        tick("kernels")
        found = kernels.run(kernels.ROUNDS)
    run.out.print(*(kernels.table_of(geometry, lines) for geometry, lines in found.items()))
    run.data["kernels"] = {
        str(geometry): [asdict(line) for line in lines] for geometry, lines in found.items()
    }


def _md5(run: Run) -> None:
    with run.ticking() as tick:
        tick("md5")
        lines = md5.run(md5.ROUNDS, md5.STREAM_BYTES)
    run.out.print(md5.table_of(lines))
    run.data["md5"] = [asdict(line) for line in lines]


def _requests(run: Run) -> None:
    with run.ticking() as tick:
        tick("requests")
        lines = requests.run(run.scene.folder, run.rounds)
    run.out.print(requests.table_of(lines))
    run.data["requests"] = [asdict(line) for line in lines]


def _spinning(run: Run) -> None:
    with run.ticking() as tick:
        lines = spinning.run(run.scene.folder, run.study, tick)
    run.out.print(spinning.table_of(lines, run.study))
    run.data["spinning"] = spinning.data_of(lines)


def _scale(run: Run) -> None:
    with run.ticking() as tick:
        sizes = scale.run(run.scene.folder, run.objects, tick)
    run.out.print(scale.table_of(sizes))
    run.data["scale"] = scale.data_of(sizes)


def _versions(run: Run) -> None:
    with run.ticking() as tick:
        lines = versions.run(run.scene.folder, tick)
    run.out.print(versions.table_of(lines))
    run.data["versions"] = versions.data_of(lines)


PARTS: dict[str, Callable[[Run], None]] = {
    "table": _table,
    "hospital": _hospital,
    "faults": _faults,
    "profile": _profile,
    "kernels": _kernels,
    "md5": _md5,
    "requests": _requests,
    "spinning": _spinning,
    "scale": _scale,
    "versions": _versions,
}
LONG = {"scale", "versions", "profile"}
"""Parts that run only when they are named."""


def _other(endpoint: str | None, key: str | None, secret: str | None) -> tuple[str, Keys] | None:
    if endpoint is None:
        return None
    if not key or not secret:
        raise click.UsageError("--endpoint needs --key and --secret")
    return endpoint, Keys(key, secret)


def _stop(number: int, _frame: object) -> None:
    """Leave through every `with`, so that servers stop and folders vanish."""
    for each in STOPPED_BY:  # once is enough: a second one would interrupt the cleaning up
        signal.signal(each, signal.SIG_IGN)
    raise SystemExit(128 + number)


def _heading(run: Run, parts: tuple[str, ...]) -> None:
    facts = machine.facts(run.scene.folder)
    if {"table", "hospital"} & set(parts):
        facts["peer"] = f"SeaweedFS {seaweedfs.version()} at its defaults: one copy, no fsync"
    if {"table", "faults", "profile"} & set(parts):
        wrk.installed()
        facts["load by"] = wrk.version()
    run.data["machine"] = facts
    for name, fact in facts.items():
        run.out.print(f"[bold]{name:8}[/] {fact}", highlight=False)


@click.command(help=__doc__)
@click.argument("parts", nargs=-1, type=click.Choice(list(PARTS)))
@click.option("--rounds", default=5, show_default=True, help="Rounds that medians are taken of.")
@click.option("--seconds", default=4, show_default=True, help="Length of a round of the table.")
@click.option("--row", "rows", multiple=True, type=click.Choice([w.name for w in table.WORKS]),
              help="Only these rows of the table.")  # fmt: skip
@click.option("--studies", default=20, show_default=True, help="Studies of the hospital day.")
@click.option("--slices", default=spinning.SLICES, show_default=True, type=click.IntRange(1),
              help="Slices of the study on spinning disks.")  # fmt: skip
@click.option("--slice-kib", default=spinning.SLICE_KIB, show_default=True,
              type=click.IntRange(1), help="Size of each.")  # fmt: skip
@click.option("--objects", default=scale.OBJECTS, show_default=True,
              type=click.IntRange(min=scale.FIRST), help="Of the archive that grows.")  # fmt: skip
@click.option("--folder", default=tempfile.gettempdir(), show_default=True,
              type=click.Path(exists=True, file_okay=False, path_type=Path),
              help="On the disk that is to be measured.")  # fmt: skip
@click.option("--edges", type=int, help="Of the node [default: as it chooses].")
@click.option("--endpoint", help="One more S3 endpoint to compare with.")
@click.option("--key", help="Its access key.")
@click.option("--secret", help="Its secret key.")
@click.option("--json", "file", type=click.Path(dir_okay=False, path_type=Path),
              help="Write everything that was measured here too.")  # fmt: skip
def main(
    parts: tuple[str, ...],
    rounds: int,
    seconds: int,
    rows: tuple[str, ...],
    studies: int,
    slices: int,
    slice_kib: int,
    objects: int,
    folder: Path,
    edges: int | None,
    endpoint: str | None,
    key: str | None,
    secret: str | None,
    file: Path | None,
) -> None:
    for each in STOPPED_BY:
        signal.signal(each, _stop)
    if edges is not None:
        os.environ[EDGES_VARIABLE] = str(edges)
    out = Console()
    out = out if out.is_terminal else Console(width=WIDTH_OF_A_FILE)
    stage = Scene(folder.resolve(), _other(endpoint, key, secret))
    study = spinning.Study(slices, slice_kib << 10)
    run = Run(stage, rounds, seconds, rows, studies, study, objects, out, Console(stderr=True))
    wanted = parts or tuple(name for name in PARTS if name not in LONG)
    _heading(run, wanted)
    for part, work in PARTS.items():
        if part in wanted:
            try:
                work(run)
            except Failure as failure:
                run.failures.append(f"{part}: {failure}")
    for line in run.failures:
        out.print(f"[red]{line}[/]", highlight=False)
    if file is not None:
        file.write_text(json.dumps({**run.data, "failures": run.failures}, indent=1) + "\n")
    sys.exit(1 if run.failures else 0)


if __name__ == "__main__":
    main()
