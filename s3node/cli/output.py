"""How commands speak: results on stdout (tables, or one JSON value), the rest on stderr."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Iterator
from typing import NoReturn

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

DONE, PROBLEM, USAGE = 0, 1, 2
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
_STEP = 1024

as_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON value.")


def console() -> Console:
    """For people, on stdout."""
    return Console(highlight=False, soft_wrap=True)


def print_json(value: object) -> None:
    click.echo(json.dumps(value, indent=2))


def fail(message: str, status: int = PROBLEM) -> NoReturn:
    """Say why on stderr, in one line, and end."""
    click.echo(f"s3node: {message}", err=True)
    sys.exit(status)


def size(count: float) -> str:
    """Bytes for people: 3.2 TiB."""
    for unit in _UNITS[:-1]:
        if count < _STEP:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= _STEP
    return f"{count:.1f} {_UNITS[-1]}"


def table(*columns: str) -> Table:
    """A plain table; columns whose name begins with ``>`` are numbers."""
    made = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        made.add_column(column.lstrip(">"), justify="right" if column[0] == ">" else "left")
    return made


@contextlib.contextmanager
def progress(quiet: bool) -> Iterator[Callable[[str, int, int], None]]:
    """Bars on stderr while long work goes on; nothing when `quiet` or not a terminal."""
    bars = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total}"),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        disable=quiet or not sys.stderr.isatty(),
    )
    steps: dict[str, TaskID] = {}

    def show(step: str, done: int, total: int) -> None:
        if step not in steps:
            steps[step] = bars.add_task(step, total=total or None)
        bars.update(steps[step], completed=done, total=total or None)

    with bars:
        yield show
