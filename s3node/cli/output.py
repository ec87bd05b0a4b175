"""How commands speak: results on stdout (tables, or one JSON value), the rest on stderr.

Nothing is cut to the width of a terminal: a path that is shown is a path that can be copied.
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import NoReturn

import click

DONE, PROBLEM, USAGE = 0, 1, 2
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
_STEP = 1024

as_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON value.")


def print_json(value: object) -> None:
    click.echo(json.dumps(value, indent=2))


def say(text: str, *, bold: bool = False, colour: str | None = None) -> None:
    """A line for people, on stdout; plain where that is no terminal."""
    click.secho(text, bold=bold or None, fg=colour)


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


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A plain table; columns whose name begins with ``>`` are numbers."""
    names = [column.lstrip(">") for column in columns]
    widths = [max(map(len, cells)) for cells in zip(names, *rows, strict=True)]

    def line(cells: Sequence[str]) -> str:
        padded = (
            cell.rjust(width) if column[0] == ">" else cell.ljust(width)
            for column, cell, width in zip(columns, cells, widths, strict=True)
        )
        return "  ".join(padded).rstrip()

    say(line(names), bold=True)
    for row in rows:
        click.echo(line(row))


@contextlib.contextmanager
def progress(quiet: bool) -> Iterator[Callable[[str, int, int], None]]:
    """Bars on stderr while long work goes on; nothing when `quiet` or not a terminal."""
    if quiet or not sys.stderr.isatty():
        yield lambda step, done, total: None
        return
    from s3node.cli.bars import bars  # noqa: PLC0415  # slow to load, seldom needed

    with bars() as show:
        yield show
