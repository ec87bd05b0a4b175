"""The configuration: a TOML file, checked completely, as one frozen value.

    disks = ["/srv/disk01", "/srv/disk02", ...]     # 6 to 16 mount points, in the order of slots
    meta = "/srv/s3node/meta"                       # the index; can be rebuilt from the disks
    parity = 4                                      # m: how many disks may be lost
    listen = "0.0.0.0:9000"                         # S3
    admin_listen = "127.0.0.1:9001"                 # metrics, health, API
    region = "us-east-1"
    domains = ["s3.example.org"]                    # bucket.s3.example.org reaches the bucket
    allow_non_mount = false                         # accept disks that are plain directories
    edges = 2                                       # processes that speak HTTP; 0: one does all
    log_level = "info"                              # debug, info, warning, error
    [tls]
    certificate = "/etc/s3node/cert.pem"
    key = "/etc/s3node/key.pem"
    client_authorities = "/etc/s3node/clients.pem"  # S3 clients need a certificate of one of these
    [keys]
    file = "/etc/s3node/credentials"                # mode 0600: access_key and secret_key
    [limits]
    requests = 256                                  # being worked on at once
    requests_per_identity = 240                     # of these with one access key
    requests_per_client = 192                       # of these with one access key from one address
    connections = 4096                              # open at once
    connections_per_address = 3072                  # of these from one address

The environment variables S3NODE_ROOT_ACCESS_KEY and S3NODE_ROOT_SECRET_KEY come before the key
file. Every mistake is a ConfigError: one line that says file, place, and what is wrong. Unknown
keys are mistakes: a misspelt setting must not be a setting that is silently not there.

Nothing is written here, but for `make_keys`.
"""

from __future__ import annotations

import ipaddress
import os
import re
import stat
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from s3node.base import limits
from s3node.base.errors import ConfigError
from s3node.base.ids import RandomBytes
from s3node.base.shares import CONNECTIONS, REQUESTS, Bound, RequestBounds

ACCESS_KEY_VARIABLE = "S3NODE_ROOT_ACCESS_KEY"
SECRET_KEY_VARIABLE = "S3NODE_ROOT_SECRET_KEY"  # noqa: S105  # the variable's name
DEFAULT_REGION = "us-east-1"
DEFAULT_PORT = 9000
DEFAULT_ADMIN_PORT = 9001
LOG_LEVELS = ("debug", "info", "warning", "error")

_ACCESS_KEY = re.compile(r"[A-Za-z0-9._-]{3,128}\Z")
_SECRET_KEY = re.compile(r"[\x21-\x7e]{8,128}\Z")
_REGION = re.compile(r"[a-z0-9][a-z0-9-]{0,62}\Z")
_DOMAIN = re.compile(
    r"(?=.{1,253}\Z)[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*\Z"
)
_STRONG_SECRET_CHARACTERS = 20
_STRONG_SECRET_DISTINCT = 8
_PRIVATE_BITS = 0o077


class Address(NamedTuple):
    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def loopback(self) -> bool:
        """Only this machine can reach it."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


class Tls(NamedTuple):
    certificate: Path
    key: Path
    client_authorities: Path | None = None


@dataclass(frozen=True, slots=True)
class Keys:
    """The root identity's key pair; `generated` when nobody chose it."""

    access: str
    secret: str = field(repr=False)
    generated: bool = False

    @property
    def weak(self) -> bool:
        """Guessable: short, made of few characters, or the access key again."""
        return (
            len(self.secret) < _STRONG_SECRET_CHARACTERS
            or len(set(self.secret)) < _STRONG_SECRET_DISTINCT
            or self.access.lower() in self.secret.lower()
        )


LOCAL = Address("127.0.0.1", DEFAULT_PORT)
LOCAL_ADMIN = Address("127.0.0.1", DEFAULT_ADMIN_PORT)


@dataclass(frozen=True, slots=True)
class Config:
    """Everything a node is told. Paths are absolute."""

    disks: tuple[Path, ...]
    meta: Path
    parity: int
    keys: Keys | None = None  # offline work needs none
    listen: Address = LOCAL
    admin_listen: Address = LOCAL_ADMIN
    region: str = DEFAULT_REGION
    domains: tuple[str, ...] = ()
    tls: Tls | None = None
    allow_non_mount: bool = False
    requests: RequestBounds = REQUESTS
    connections: Bound = CONNECTIONS
    edges: int = 0
    log_level: str = LOG_LEVELS[1]


CHANGEABLE = ("keys", "domains", "requests", "connections", "log_level", "tls")
"""What a node that runs takes on SIGHUP; of TLS the files, not whether there is any."""


def changed(old: Config, new: Config) -> list[str]:
    """The settings that are not the same. ConfigError when one cannot change now."""
    names = [one.name for one in fields(Config) if getattr(old, one.name) != getattr(new, one.name)]
    fixed = [name for name in names if name not in CHANGEABLE]
    if "tls" in names and (old.tls is None) != (new.tls is None):
        fixed.append("tls (on or off)")
    if fixed:
        raise ConfigError(f"{', '.join(fixed)}: cannot change while the node runs: restart it")
    return names


class Table:
    """One table of a file while it is being read; remembers which keys were asked for."""

    def __init__(self, file: str, name: str, values: Mapping[str, Any]) -> None:
        self._file = file
        self._name = name
        self._values = dict(values)

    def take(self, key: str, kind: type, default: Any = None, *, needed: bool = False) -> Any:
        """The value of `key`, of exactly this type."""
        value = self._values.pop(key, None)
        if value is None:
            if needed:
                raise self.fault(key, "is missing")
            return default
        if type(value) is not kind:
            raise self.fault(key, f"must be {_KINDS[kind]}, not {value!r}")
        return value

    def take_texts(self, key: str, *, needed: bool = False) -> list[str]:
        """A list of strings."""
        values = self.take(key, list, [], needed=needed)
        for index, value in enumerate(values):
            if not isinstance(value, str) or not value:
                raise self.fault(f"{key}[{index}]", f"must be a string, not {value!r}")
        return list(values)

    def table(self, key: str) -> Table:
        """A table inside; an empty one when absent."""
        name = f"{self._name}.{key}" if self._name else key
        return Table(self._file, name, self.take(key, dict, {}))

    def fault(self, key: str, what: str) -> ConfigError:
        place = f"[{self._name}] {key}" if self._name else key
        return ConfigError(f"{self._file}: {place}: {what}")

    def end(self) -> None:
        """Nothing may be left."""
        for key in self._values:
            raise self.fault(key, "no such setting")


_KINDS = {str: "a string", int: "a whole number", bool: "true or false", list: "a list",
          dict: "a table"}  # fmt: skip


def load(path: Path, environment: Mapping[str, str], *, offline: bool = False) -> Config:
    """The configuration in the file, with keys from the environment or the key file.

    For `offline` work keys are not looked for.
    """
    top = Table(str(path), "", _parse(path))
    base = path.resolve().parent
    disks = tuple(_path(base, one) for one in top.take_texts("disks", needed=True))
    meta = _path(base, top.take("meta", str, needed=True))
    parity = top.take("parity", int, needed=True)
    config = Config(
        disks=disks,
        meta=meta,
        parity=parity,
        keys=_keys(top.table("keys"), base, environment, offline),
        listen=_address(top, "listen", DEFAULT_PORT),
        admin_listen=_address(top, "admin_listen", DEFAULT_ADMIN_PORT),
        region=_text(top, "region", _REGION, DEFAULT_REGION),
        domains=_domains(top),
        tls=_tls(top.table("tls"), base),
        allow_non_mount=top.take("allow_non_mount", bool, False),
        edges=checked_edges(top.take("edges", int, default_edges()), partial(top.fault, "edges")),
        log_level=_log_level(top),
        **_limits(top.table("limits")),
    )
    top.end()
    if config.listen == config.admin_listen and config.listen.port:
        raise top.fault("admin_listen", f"{config.listen} is listen already")
    check_geometry(config.disks, config.meta, config.parity, top.fault)
    return config


def _parse(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except OSError as fault:
        raise ConfigError(f"{path}: {fault.strerror}") from fault
    except UnicodeDecodeError as fault:
        raise ConfigError(f"{path}: not UTF-8 at byte {fault.start}") from fault
    except tomllib.TOMLDecodeError as fault:
        raise ConfigError(f"{path}: not TOML: {fault}") from fault


def _path(base: Path, text: str) -> Path:
    return base / Path(text).expanduser()


def _text(table: Table, key: str, shape: re.Pattern[str], default: str) -> str:
    value: str = table.take(key, str, default)
    if not shape.match(value):
        raise table.fault(key, f"{value!r} is not a valid name here")
    return value


def default_edges() -> int:
    """Processes that speak HTTP, by the cores that this process may use; 0: one does all.

    Measured with two cores (the README has the figures): one process writes objects of 512 KiB half
    as fast again as two edges do, for less CPU, and reads them as fast; of small reads alone two
    edges do a fifth more.
    """
    cores = len(os.sched_getaffinity(0))
    return 0 if cores <= limits.ONE_PROCESS_CORES_MAX else min(cores, limits.EDGES_DEFAULT_MAX)


def checked_edges(edges: int, fault: Callable[[str], ConfigError]) -> int:
    if not 0 <= edges <= limits.EDGES_MAX:
        raise fault(f"must be from 0 to {limits.EDGES_MAX}, not {edges}")
    return edges


def _log_level(table: Table) -> str:
    level: str = table.take("log_level", str, LOG_LEVELS[1])
    if level not in LOG_LEVELS:
        raise table.fault("log_level", f"must be one of {', '.join(LOG_LEVELS)}, not {level!r}")
    return level


def _domains(table: Table) -> tuple[str, ...]:
    domains = tuple(table.take_texts("domains"))
    for index, domain in enumerate(domains):
        if not _DOMAIN.match(domain):
            raise table.fault(f"domains[{index}]", f"{domain!r} is not a host name in lower case")
    return domains


def parse_address(text: str, default_port: int) -> Address:
    """HOST, HOST:PORT or [IPV6]:PORT; ValueError otherwise."""
    match = re.match(r"(?:\[([0-9A-Fa-f:.]+)\]|([^:\[\]\s]+))(?::([0-9]{1,5}))?\Z", text)
    if match is None:
        raise ValueError(f"{text!r} is not HOST:PORT (an IPv6 address stands in brackets)")
    port = int(match[3]) if match[3] else default_port
    if port > 0xFFFF:
        raise ValueError(f"{text!r}: there is no port {port}")
    return Address(match[1] or match[2], port)


def _address(table: Table, key: str, port: int) -> Address:
    text = table.take(key, str, f"127.0.0.1:{port}")
    try:
        return parse_address(text, port)
    except ValueError as fault:
        raise table.fault(key, str(fault)) from None


def _tls(table: Table, base: Path) -> Tls | None:
    certificate = table.take("certificate", str)
    key = table.take("key", str)
    authorities = table.take("client_authorities", str)
    table.end()
    if (certificate is None) != (key is None):
        raise table.fault("key" if key is None else "certificate", "is missing beside the other")
    if certificate is None or key is None:
        if authorities is not None:
            raise table.fault("certificate", "is missing beside client_authorities")
        return None
    tls = Tls(
        _path(base, certificate),
        _path(base, key),
        None if authorities is None else _path(base, authorities),
    )
    for name, path in tls._asdict().items():
        if path is not None and not path.is_file():
            raise table.fault(name, f"no such file: {path}")
    return tls


def _limits(table: Table) -> dict[str, Any]:
    requests = _limit(table, "requests", limits.REQUESTS_MAX, limits.SETTING_MAX)
    shares = RequestBounds.of(requests)
    identity = _limit(table, "requests_per_identity", shares.identity, requests)
    client = _limit(table, "requests_per_client", min(shares.client, identity), requests)
    connections = _limit(table, "connections", limits.CONNECTIONS_MAX, limits.SETTING_MAX)
    most = _limit(table, "connections_per_address", Bound.of(connections).most, connections)
    table.end()
    if requests > connections:
        raise table.fault("requests", "must not be more than connections")
    if client > identity:
        raise table.fault("requests_per_client", "must not be more than requests_per_identity")
    return {
        "requests": RequestBounds(requests, identity, client),
        "connections": Bound(connections, most),
    }


def _limit(table: Table, key: str, default: int, most: int) -> int:
    value: int = table.take(key, int, default)
    if not 1 <= value <= most:
        raise table.fault(key, f"must be from 1 to {most}, not {value}")
    return value


Fault = Callable[[str, str], ConfigError]


def check_geometry(disks: tuple[Path, ...], meta: Path, parity: int, fault: Fault) -> None:
    """k + m = D with k >= m + 1, within the bounds; no path twice or inside another."""
    count = len(disks)
    if not limits.DISKS_MIN <= count <= limits.DISKS_MAX:
        raise fault(
            "disks", f"from {limits.DISKS_MIN} to {limits.DISKS_MAX} are needed, not {count}"
        )
    most = (count - 1) // 2
    if not 1 <= parity <= most:
        raise fault("parity", f"must be from 1 to {most} with {count} disks, not {parity}")
    named = [(f"disks[{index}]", path) for index, path in enumerate(disks)] + [("meta", meta)]
    for index, (name, path) in enumerate(named):
        for other_name, other in named[:index]:
            if path == other:
                raise fault(name, f"{path} is {other_name} already")
            if path.is_relative_to(other) or other.is_relative_to(path):
                raise fault(name, f"{path} and {other_name} lie inside one another")


# --- keys ------------------------------------------------------------------------------------


def _keys(table: Table, base: Path, environment: Mapping[str, str], offline: bool) -> Keys | None:
    file = table.take("file", str)
    table.end()
    if offline:
        return None
    keys = keys_from_environment(environment)
    if keys is not None:
        return keys
    if file is None:
        raise table.fault(
            "file", f"is missing, and {ACCESS_KEY_VARIABLE} is not set: no keys to serve with"
        )
    return read_keys(_path(base, file))


def keys_from_environment(environment: Mapping[str, str]) -> Keys | None:
    """The pair in the two variables; None when neither is set."""
    access = environment.get(ACCESS_KEY_VARIABLE, "")
    secret = environment.get(SECRET_KEY_VARIABLE, "")
    if not access and not secret:
        return None
    if not access or not secret:
        missing = SECRET_KEY_VARIABLE if access else ACCESS_KEY_VARIABLE
        raise ConfigError(f"environment: {missing}: is missing beside the other")
    return _checked(Keys(access, secret), "environment")


def read_keys(path: Path) -> Keys:
    """The pair in a key file, which nobody but its owner may read."""
    table = Table(str(path), "", _parse(path))
    if stat.S_IMODE(path.stat().st_mode) & _PRIVATE_BITS:
        raise ConfigError(f"{path}: others may read it: chmod 600 {path}")
    access = table.take("access_key", str, needed=True)
    secret = table.take("secret_key", str, needed=True)
    generated = table.take("generated", bool, False)
    table.end()
    return _checked(Keys(access, secret, generated), str(path))


def _checked(keys: Keys, where: str) -> Keys:
    if not _ACCESS_KEY.match(keys.access):
        raise ConfigError(f"{where}: access key: 3 to 128 of A-Z a-z 0-9 . _ - are allowed")
    if not _SECRET_KEY.match(keys.secret):
        raise ConfigError(f"{where}: secret key: 8 to 128 printable characters are needed")
    return keys


def write_quickstart(path: Path, disks: int, parity: int) -> None:
    """The configuration file of a node whose disks are directories beside it."""
    names = ", ".join(f'"disk{slot + 1:02}"' for slot in range(disks))
    text = (
        f"# Made by quickstart. Paths are relative to this file.\n"
        f'disks = [{names}]\nmeta = "meta"\nparity = {parity}\nallow_non_mount = true\n\n'
        f'[keys]\nfile = "credentials"\n'
    )
    _write_private(path, text)


def make_keys(path: Path, random: RandomBytes) -> Keys:
    """A new pair of random keys, kept in `path` (mode 0600); an existing file is read instead."""
    if path.exists():
        return read_keys(path)
    keys = Keys("S3N" + random(8).hex().upper(), random(20).hex(), generated=True)
    text = f'access_key = "{keys.access}"\nsecret_key = "{keys.secret}"\ngenerated = true\n'
    _write_private(path, text)
    return keys


def _write_private(path: Path, text: str) -> None:
    """Mode 0600, and there whole or not at all; it stays when it is there."""
    temporary = path.with_name(path.name + ".tmp")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    sync_names(path.parent)


def sync_names(folder: Path) -> None:
    """What was made in the folder survives a power cut."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
