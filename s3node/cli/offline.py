"""check, meta rebuild, inspect: work on a stopped node's disks."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from s3node import refusals
from s3node.base.errors import ConfigError
from s3node.cli.commands import Commands
from s3node.cli.output import PROBLEM, as_json, print_json, progress, say, size
from s3node.cli.serving import NODE_FILE
from s3node.config import Config, load

Decorated = Callable[..., Any]


def place(function: Decorated) -> Decorated:
    """--data DIR (of quickstart) or --config FILE."""
    for option in (
        click.option("--config", "file", type=click.Path(path_type=Path, dir_okay=False)),
        click.option("--data", type=click.Path(path_type=Path, file_okay=False)),
    ):
        function = option(function)
    return function


def find(data: Path | None, file: Path | None) -> Config:
    """The configuration that one of the two options names."""
    if (data is None) == (file is None):
        raise ConfigError("give one of --data DIR and --config FILE")
    refusals.refuse_optimised()
    chosen = data / NODE_FILE if data is not None else file
    assert chosen is not None
    return load(chosen, {}, offline=True)


@click.command()
@place
@as_json
@click.pass_obj
def check(commands: Commands, data: Path | None, file: Path | None, as_json: bool) -> None:
    """Offline: is everything there, and right? Reads every byte; changes nothing."""
    config = find(data, file)
    seen: dict[str, int] = {}
    with progress(as_json) as show:

        def note(step: str, done: int, total: int) -> None:
            seen[step] = done
            show(step, done, total)

        findings = list(commands.check(config, note))
    severe = [one for one in findings if one.severe]
    if as_json:
        plain = [_plain(one) for one in findings]
        print_json({"ok": not severe, "looked_at": seen, "findings": plain})
    else:
        for one in findings:
            mark = "problem" if one.severe else "note"
            colour = "red" if one.severe else None
            say(f"{mark}: {one.where}: {one.what}; {one.advice}", colour=colour)
        _say_looked_at(seen)
        say(f"{len(severe)} problems" if severe else "everything is there and right")
    sys.exit(PROBLEM if severe else 0)


def _say_looked_at(seen: dict[str, int]) -> None:
    """How much lies behind the verdict: nothing found may also mean nothing looked at."""
    parts = [
        form(seen[step])
        for step, form in (
            ("journals", "{} journals".format),
            ("segments", lambda count: f"{size(count)} of segments"),
            ("rows", "{} rows".format),
        )
        if step in seen
    ]
    if parts:
        say(f"looked at {', '.join(parts)}")


def _plain(finding: Any) -> dict[str, object]:
    return {name: getattr(finding, name) for name in ("severe", "where", "what", "advice")}


@click.group()
def meta() -> None:
    """The metadata index."""


@meta.command()
@place
@as_json
@click.pass_obj
def rebuild(commands: Commands, data: Path | None, file: Path | None, as_json: bool) -> None:
    """Offline: make the index anew from the disks alone."""
    config = find(data, file)
    with progress(as_json) as show:
        counts = commands.rebuild(config, show)
    if as_json:
        print_json(dict(counts))
    else:
        told = ", ".join(f"{name} {value}" for name, value in counts.items())
        click.echo(f"the index was made anew from the disks: {told}")


@click.command()
@click.argument("kind")
@click.argument("words", nargs=-1)
@place
@as_json
@click.pass_obj
def inspect(
    commands: Commands,
    kind: str,
    words: tuple[str, ...],
    data: Path | None,
    file: Path | None,
    as_json: bool,
) -> None:
    """Dump a structure: disk PATH, segment FILE, record FILE OFFSET, frame FILE [OFFSET],
    key BUCKET KEY, version BUCKET KEY [VERSION]. The last two need --data or --config.
    """
    config = find(data, file) if data is not None or file is not None else None
    found = commands.inspect(kind, config, words)
    if as_json:
        print_json(found)
    else:
        _show(found, 0)


def _show(value: object, depth: int) -> None:
    """Nested values as indented lines; what holds nothing else on one."""
    indent = "  " * depth
    if isinstance(value, dict):
        for name, inner in value.items():
            if _line(inner) is None:
                click.echo(f"{indent}{name}:")
                _show(inner, depth + 1)
            else:
                click.echo(f"{indent}{name}: {_line(inner)}".rstrip())
    elif isinstance(value, list) and _line(value) is None:
        for inner in value:
            if _line(inner) is None:
                click.echo(f"{indent}-")
                _show(inner, depth + 1)
            else:
                click.echo(f"{indent}- {_line(inner)}")
    else:
        click.echo(f"{indent}{_line(value)}")


def _line(value: object) -> str | None:
    """A value on one line; None if it takes several."""
    if isinstance(value, dict):
        return None if value else ""
    if isinstance(value, list):
        if any(isinstance(one, dict | list) for one in value):
            return None
        return ", ".join(str(_line(one)) for one in value)
    if value is None:
        return "-"
    return ("no", "yes")[value] if isinstance(value, bool) else str(value)
