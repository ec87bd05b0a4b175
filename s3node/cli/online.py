"""status, disk list: what a running node tells over its admin listener."""

from __future__ import annotations

import base64
import json
import os
import urllib.error
import urllib.request
from typing import Any

import click

from s3node.cli.output import PROBLEM, as_json, console, fail, print_json, size, table
from s3node.config import (
    ACCESS_KEY_VARIABLE,
    LOCAL_ADMIN,
    SECRET_KEY_VARIABLE,
    keys_from_environment,
)

TIMEOUT_S = 30

admin_url = click.option(
    "--admin",
    default=f"http://{LOCAL_ADMIN}",
    show_default=True,
    metavar="URL",
    help=f"The admin listener; keys from {ACCESS_KEY_VARIABLE} and {SECRET_KEY_VARIABLE}.",
)


def fetch(admin: str, view: str) -> Any:
    """The JSON value at a path of the API; ends with one line if there is none."""
    keys = keys_from_environment(os.environ)
    if keys is None:
        fail(f"set {ACCESS_KEY_VARIABLE} and {SECRET_KEY_VARIABLE} to the node's root keys", 2)
    if not admin.startswith(("http://", "https://")):
        fail(f"--admin: {admin!r} is not a URL like http://{LOCAL_ADMIN}", 2)
    request = urllib.request.Request(f"{admin.rstrip('/')}/v1/{view}")  # noqa: S310  # checked
    token = base64.b64encode(f"{keys.access}:{keys.secret}".encode()).decode()
    request.add_header("Authorization", f"Basic {token}")
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=TIMEOUT_S) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as fault:
        fail(f"{admin} answered {fault.code}: {_reason(fault)}")
    except (urllib.error.URLError, OSError, ValueError) as fault:
        fail(f"cannot ask {admin}: {getattr(fault, 'reason', fault)}; does the node run there?")


def _reason(fault: urllib.error.HTTPError) -> str:
    try:
        return str(json.load(fault)["error"])
    except (ValueError, KeyError, TypeError):
        return fault.reason


@click.command()
@admin_url
@as_json
def status(admin: str, as_json: bool) -> None:
    """Disks, capacity, redundancy. Exit status 1 when something needs attention."""
    found = fetch(admin, "status")
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
    out = console()
    if "geometry" not in found:  # it is starting
        out.print(f"! not serving: {found['reason']}", markup=False, style="bold red")
        return
    geometry = found["geometry"]
    used = sum(disk["total_bytes"] - disk["free_bytes"] for disk in found["disks"])
    total = sum(disk["total_bytes"] for disk in found["disks"])
    out.print(f"s3node {found['version']}, {geometry['k']}+{geometry['m']}", markup=False)
    out.print(f"{size(used)} of {size(total)} used on {len(found['disks'])} disks", markup=False)
    _show_disks(found["disks"])
    for line in attention:
        out.print(f"! {line}", markup=False, style="bold red")
    if not attention:
        out.print("everything is in order", style="green")


def _show_disks(disks: list[dict[str, Any]]) -> None:
    rows = table(">slot", "state", ">used", ">size", "path", "reason")
    for disk in disks:
        used = disk["total_bytes"] - disk["free_bytes"]
        cells = [size(used), size(disk["total_bytes"]), disk["path"], disk["reason"]]
        rows.add_row(str(disk["slot"]), disk["state"], *cells)
    console().print(rows)


@click.group()
def disk() -> None:
    """Disks of a running node."""


@disk.command("list")
@admin_url
@as_json
def disk_list(admin: str, as_json: bool) -> None:
    """One line per disk. Exit status 1 when one of them is not online."""
    found = fetch(admin, "disks")
    if as_json:
        print_json(found)
    else:
        _show_disks(found)
    raise SystemExit(PROBLEM if any(one["state"] != "online" for one in found) else 0)
