"""quickstart, init, serve, config check."""

from __future__ import annotations

import os
import shlex
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from s3node import refusals
from s3node.base import log
from s3node.base.errors import ConfigError
from s3node.cli.commands import Again, Commands
from s3node.cli.output import as_json, fail, print_json
from s3node.config import (
    CHANGEABLE,
    DEFAULT_ADMIN_PORT,
    DEFAULT_PORT,
    LOCAL,
    LOCAL_ADMIN,
    Address,
    Config,
    check_geometry,
    checked_edges,
    keys_from_environment,
    load,
    make_keys,
    parse_address,
    read_keys,
    sync_names,
    write_quickstart,
)

if TYPE_CHECKING:  # loads the whole of HTTP
    from s3node.edge.front import Endpoints

NODE_FILE = "node.toml"
KEY_FILE = "credentials"
DEFAULT_DATA = Path("s3node-data")
DEFAULT_DISKS = 12
DISKS_PER_PARITY = 3
DEFAULT_PARITY_MAX = 4

config_file = click.option(
    "--config",
    "file",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help="The node's configuration (TOML).",
)


edges_option = click.option(
    "--edges",
    type=int,
    help="Processes that speak HTTP; 0: one does all [default: as configured, or by cores].",
)


class AddressType(click.ParamType[Address]):
    """HOST:PORT."""

    name = "host:port"

    def __init__(self, default_port: int) -> None:
        self._port = default_port

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> Address:
        if isinstance(value, Address):
            return value
        try:
            return parse_address(str(value), self._port)
        except ValueError as fault:
            self.fail(str(fault), param, ctx)


@click.command()
@click.option(
    "--data",
    type=click.Path(path_type=Path, file_okay=False),
    default=DEFAULT_DATA,
    show_default=True,
    help="Folder for disks, index and keys; made when absent.",
)
@click.option("--disks", type=int, help=f"Directories that play disks [default: {DEFAULT_DISKS}].")
@click.option("--parity", type=int, help="How many may be lost [default: a third, at most 4].")
@click.option(
    "--listen", type=AddressType(DEFAULT_PORT), default=str(LOCAL), show_default=True, help="S3."
)
@click.option(
    "--admin-listen",
    type=AddressType(DEFAULT_ADMIN_PORT),
    default=str(LOCAL_ADMIN),
    show_default=True,
    help="Health, metrics, and what status asks.",
)
@edges_option
@click.pass_obj
def quickstart(
    commands: Commands,
    data: Path,
    disks: int | None,
    parity: int | None,
    listen: Address,
    admin_listen: Address,
    edges: int | None,
) -> None:
    """Set up a node over plain directories, and serve in the foreground."""
    _prepare(data, disks, parity)
    keys = keys_from_environment(os.environ)
    if keys is None:
        keys = make_keys(data / KEY_FILE, os.urandom)
    found = load(data / NODE_FILE, os.environ, offline=True)
    _refuse_other_geometry(found, data, disks, parity)
    config = replace(
        found,
        keys=keys,
        listen=listen,
        admin_listen=admin_listen,
        edges=found.edges if edges is None else checked_edges(edges, _edges_fault),
    )
    refusals.refuse(config, os.path.ismount, os.path.exists)
    if not commands.initialised(config):
        commands.initialise(config)

    def again() -> Config:
        found = load(data / NODE_FILE, os.environ, offline=True)
        new = replace(
            found,
            keys=read_keys(data / KEY_FILE) if keys.generated else keys,
            listen=listen,
            admin_listen=admin_listen,
            edges=config.edges,
        )
        refusals.refuse_exposed_keys(new)
        return new

    _run(commands, config, data / KEY_FILE if keys.generated else None, again)


def _prepare(data: Path, disks: int | None, parity: int | None) -> None:
    """The folders and the configuration of a new node; nothing where there is one already."""
    if (data / NODE_FILE).exists():
        return
    count = DEFAULT_DISKS if disks is None else disks
    third = min(DEFAULT_PARITY_MAX, max(1, count // DISKS_PER_PARITY))
    lost = third if parity is None else parity
    paths = tuple(data / f"disk{slot + 1:02}" for slot in range(count))
    check_geometry(paths, data / "meta", lost, _option_fault)
    new = [folder for folder in data.absolute().parents if not folder.exists()]
    try:
        for path in (*paths, data / "meta"):
            path.mkdir(parents=True, exist_ok=True, mode=0o700)
        for folder in (data, *new):
            sync_names(folder.absolute().parent)
    except OSError as fault:
        raise ConfigError(f"--data: {fault.filename}: {fault.strerror}") from None
    write_quickstart(data / NODE_FILE, count, lost)


def _option_fault(key: str, what: str) -> ConfigError:
    return ConfigError(f"--{key}: {what}")


def _edges_fault(what: str) -> ConfigError:
    return _option_fault("edges", what)


def _refuse_other_geometry(
    found: Config, data: Path, disks: int | None, parity: int | None
) -> None:
    for name, wanted, has in (
        ("disks", disks, len(found.disks)),
        ("parity", parity, found.parity),
    ):
        if wanted is not None and wanted != has:
            raise ConfigError(f"--{name}: {data} was set up with {has}, not {wanted}")


@click.command()
@config_file
@as_json
@click.pass_obj
def init(commands: Commands, file: Path, as_json: bool) -> None:
    """Make the configured disks into a new node's. Nothing is overwritten."""
    config = load(file, os.environ, offline=True)
    refusals.refuse_optimised()
    refusals.refuse_plain_directories(config, os.path.ismount, os.path.exists)
    commands.initialise(config)
    if as_json:
        print_json({"initialised": [str(path) for path in config.disks]})
    else:
        click.echo(f"{len(config.disks)} disks initialised; next: s3node serve --config {file}")


@click.command()
@config_file
@edges_option
@click.pass_obj
def serve(commands: Commands, file: Path, edges: int | None) -> None:
    """Serve in the foreground until SIGTERM or Ctrl-C."""

    def found() -> Config:
        config = load(file, os.environ)
        chosen = config.edges if edges is None else checked_edges(edges, _edges_fault)
        return replace(config, edges=chosen)

    config = found()
    refusals.refuse(config, os.path.ismount, _holds_something)
    if not commands.initialised(config):
        raise ConfigError(f"{file}: the disks are new: run s3node init --config {file} first")

    def again() -> Config:
        new = found()
        refusals.refuse_exposed_keys(new)
        return new

    _run(commands, config, None, again)


def _holds_something(path: str) -> bool:
    """An empty directory is the mount point of a disk that is away: the node starts without it,
    and writes nothing to a path without an identity. A dead disk must not keep a node down.
    """
    try:
        return next(Path(path).iterdir(), None) is not None
    except FileNotFoundError:
        return False
    except OSError:
        return True


def _run(commands: Commands, config: Config, key_file: Path | None, again: Again) -> None:
    keys = config.keys
    assert keys is not None, "refused at start"
    log.setup(sys.stderr, level=config.log_level)
    log.hide(keys.secret)

    def announce(endpoints: Endpoints, waiting: str) -> None:
        if waiting:
            click.echo(f"waiting {endpoints.s3} {waiting}")
            sys.stdout.flush()
            return
        click.echo(f"admin {endpoints.admin}")
        if key_file is not None or sys.stdout.isatty():
            _welcome(config, endpoints, key_file)
        click.echo(f"ready {endpoints.s3}")
        sys.stdout.flush()

    sys.exit(commands.serve(config, announce, again))


def _welcome(config: Config, endpoints: Endpoints, key_file: Path | None) -> None:
    """What it is, endpoint, keys, and three things to try: lines that can be pasted."""
    keys = config.keys
    assert keys is not None
    url = endpoints.s3
    secret = keys.secret if key_file else "..."
    kept = f"   (kept in {key_file})" if key_file else "   (the one that you gave)"
    k = len(config.disks) - config.parity
    remote = shlex.quote(f':s3,provider=Other,env_auth,endpoint="{url}":first')
    program = f"import boto3; print(boto3.client('s3', endpoint_url='{url}').list_buckets())"
    where = f" --data {shlex.quote(str(config.meta.parent))}" if key_file else ""
    strong = partial(click.style, bold=True)
    click.echo(
        f"""
{strong("Node")}        {k}+{config.parity} over {len(config.disks)} disks: any {config.parity} may be lost
{strong("Endpoint")}    {url}
{strong("Access key")}  {keys.access}
{strong("Secret key")}  {secret}{kept}

Three things to try, in another terminal, after
  export AWS_ACCESS_KEY_ID={keys.access} AWS_SECRET_ACCESS_KEY={secret} AWS_DEFAULT_REGION={config.region}

{strong("aws")}     aws --endpoint-url {url} s3 mb s3://first && aws --endpoint-url {url} s3 ls
{strong("boto3")}   python3 -c "{program}"
{strong("rclone")}  rclone copy . {remote}

How it is:   {shlex.quote(_called())} status{where} --admin {endpoints.admin}
Stop it with Ctrl-C.
"""  # noqa: E501
    )


def _called() -> str:
    """This program as it was called, where that can be pasted."""
    return sys.argv[0] if Path(sys.argv[0]).name == "s3node" else "s3node"


@click.group()
def config() -> None:
    """Work with configuration files."""


@config.command("check")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@as_json
def config_check(file: Path, as_json: bool) -> None:
    """Say what is wrong with FILE, if anything, without starting."""
    try:
        found = load(file, os.environ)
        refusals.refuse(found, os.path.ismount, os.path.exists)
        if found.tls is not None:
            from s3node.edge.tls import make_context  # noqa: PLC0415  # slow to load

            make_context(*found.tls)
    except ConfigError as fault:
        if as_json:
            print_json({"ok": False, "error": str(fault)})
            sys.exit(2)
        fail(str(fault), 2)
    geometry = {"k": len(found.disks) - found.parity, "m": found.parity, "disks": len(found.disks)}
    absent = [str(path) for path in found.disks if not path.exists()]
    if as_json:
        print_json({"ok": True, **geometry, "absent": absent, "on_sighup": CHANGEABLE})
        return
    click.echo(f"{file}: fine; {geometry['k']}+{geometry['m']} over {geometry['disks']} disks")
    click.echo(f"on SIGHUP a running node takes {', '.join(CHANGEABLE)}; the rest at its start")
    for path in absent:
        click.echo(f"note: {path} is not there; a node starts without up to {found.parity} disks")
