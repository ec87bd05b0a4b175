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
from s3node.cli.output import PROBLEM, as_json, console, print_json, progress
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
    with progress(as_json) as show:
        findings = list(commands.check(config, show))
    severe = [one for one in findings if one.severe]
    if as_json:
        print_json({"ok": not severe, "findings": [_plain(one) for one in findings]})
    else:
        out = console()
        for one in findings:
            mark = "problem" if one.severe else "note"
            out.print(f"{mark}: {one.where}: {one.what}; {one.advice}", markup=False)
        out.print(f"{len(severe)} problems" if severe else "everything is there and right")
    sys.exit(PROBLEM if severe else 0)


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
        click.echo("rebuilt: " + ", ".join(f"{value} {name}" for name, value in counts.items()))


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
    inspector = commands.inspectors.get(kind)
    if inspector is None:
        raise ConfigError(f"inspect: no such kind {kind!r}: {', '.join(commands.inspectors)}")
    config = find(data, file) if data is not None or file is not None else None
    found = inspector(config, words)
    if as_json:
        print_json(found)
    else:
        _show(found, 0)


def _show(value: object, depth: int) -> None:
    """Nested values as indented lines."""
    indent = "  " * depth
    if isinstance(value, dict):
        for name, inner in value.items():
            if isinstance(inner, dict | list) and inner:
                click.echo(f"{indent}{name}:")
                _show(inner, depth + 1)
            else:
                click.echo(f"{indent}{name}: {inner}")
    elif isinstance(value, list):
        for inner in value:
            click.echo(f"{indent}-")
            _show(inner, depth + 1)
    else:
        click.echo(f"{indent}{value}")
