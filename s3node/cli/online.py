"""status, disk list: what a running node tells over its admin listener."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from s3node.base.errors import ConfigError
from s3node.cli.offline import Decorated, place
from s3node.cli.output import PROBLEM, as_json, fail, print_json, say, size, table
from s3node.cli.serving import DEFAULT_DATA, NODE_FILE
from s3node.config import (
    ACCESS_KEY_VARIABLE,
    LOCAL_ADMIN,
    SECRET_KEY_VARIABLE,
    Keys,
    keys_from_environment,
    load,
)


def asked(function: Decorated) -> Decorated:
    """Which node: --admin URL, or where its configuration is."""
    admin = click.option(
        "--admin",
        metavar="URL",
        help=f"The admin listener [default: as configured, or http://{LOCAL_ADMIN}].",
    )
    return admin(place(function))


def _find(admin: str | None, data: Path | None, file: Path | None) -> tuple[str, Keys, Path | None]:
    """URL, keys, and the certificate to expect of this very machine: as given, else from the
    configuration, which may be quickstart's here.
    """
    keys = keys_from_environment(os.environ)
    if data is not None and file is not None:
        raise ConfigError("give one of --data DIR and --config FILE")
    if data is None and file is None and keys is None and (DEFAULT_DATA / NODE_FILE).exists():
        data = DEFAULT_DATA
    chosen = data / NODE_FILE if data is not None else file
    certificate = None
    if chosen is not None:
        config = load(chosen, os.environ)
        keys = config.keys
        if config.tls is not None and admin is None and config.admin_listen.loopback:
            certificate = config.tls.certificate
        scheme = "https" if config.tls else "http"
        admin = admin or f"{scheme}://{config.admin_listen}"
    if keys is None:
        fail(
            f"set {ACCESS_KEY_VARIABLE} and {SECRET_KEY_VARIABLE} to the node's root keys, "
            "or say where they are: --data DIR or --config FILE",
            2,
        )
    return admin or f"http://{LOCAL_ADMIN}", keys, certificate


def fetch(admin: str | None, data: Path | None, file: Path | None, view: str) -> Any:
    """The JSON value at a path of the API; ends with one line if there is none."""
    from s3node.cli.asking import NoAnswer, ask  # noqa: PLC0415  # slow to load

    url, keys, certificate = _find(admin, data, file)
    if not url.startswith(("http://", "https://")):
        fail(f"--admin: {url!r} is not a URL like http://{LOCAL_ADMIN}", 2)
    try:
        return ask(url, view, keys, certificate)
    except NoAnswer as fault:
        fail(str(fault))


@click.command()
@asked
@as_json
def status(admin: str | None, data: Path | None, file: Path | None, as_json: bool) -> None:
    """Disks, capacity, redundancy. Exit status 1 when something needs attention."""
    found = fetch(admin, data, file, "status")
    attention = _attention(found)
    if as_json:
        print_json(found)
    else:
        _show_status(found, attention)
    raise SystemExit(PROBLEM if attention else 0)


def _attention(found: dict[str, Any]) -> list[str]:
    """What somebody should look at, one line each."""
    lines = [] if found["ready"] else [f"not serving: {found['reason']}"]
    lines += [
        f"disk {disk['slot']} ({disk['path']}) is {disk['state']}: {disk['reason']}"
        for disk in found.get("disks", ())
        if disk["state"] != "online"
    ]
    lines += found.get("alarms", [])
    owed = found.get("redundancy", {}).get("owed_shards", 0)
    if owed:
        lines.append(f"{owed} shards are owed; they are placed again when disks are back")
    return lines


def _show_status(found: dict[str, Any], attention: list[str]) -> None:
    if "geometry" not in found:  # it is starting
        say(f"! not serving: {found['reason']}", bold=True, colour="red")
        return
    disks, m = found["disks"], found["geometry"]["m"]
    used = sum(disk["total_bytes"] - disk["free_bytes"] for disk in disks)
    total = sum(disk["total_bytes"] for disk in disks)
    away = sum(disk["state"] != "online" for disk in disks)
    more = f"{max(0, m - away)} more" if away else f"any {m} disks"
    say(f"s3node {found['version']}, {found['geometry']['k']}+{m}: may lose {more}")
    say(f"{size(used)} of {size(total)} used on {len(disks)} disks")
    _show_disks(disks)
    for line in attention:
        say(f"! {line}", bold=True, colour="red")
    if not attention:
        say("everything is in order", colour="green")


def _show_disks(disks: list[dict[str, Any]]) -> None:
    columns = (">slot", "state", ">used", ">size", "path", "reason")
    rows = [
        (
            str(disk["slot"]),
            disk["state"],
            size(disk["total_bytes"] - disk["free_bytes"]),
            size(disk["total_bytes"]),
            disk["path"],
            disk["reason"],
        )
        for disk in disks
    ]
    table(columns, rows)


@click.group()
def disk() -> None:
    """Disks of a running node."""


@disk.command("list")
@asked
@as_json
def disk_list(admin: str | None, data: Path | None, file: Path | None, as_json: bool) -> None:
    """One line per disk. Exit status 1 when one of them is not online."""
    found = fetch(admin, data, file, "disks")
    if as_json:
        print_json(found)
    else:
        _show_disks(found)
    raise SystemExit(PROBLEM if any(one["state"] != "online" for one in found) else 0)
