"""Every mistake in a configuration is one line that says file, place and what is wrong."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from s3node.base.errors import ConfigError
from s3node.base.shares import Bound, RequestBounds
from s3node.config import Address, Config, Keys, Tls, default_edges, load, make_keys, parse_address

DISKS = [f"/srv/disk{slot:02}" for slot in range(6)]
BASE = f"""
disks = {DISKS}
meta = "/srv/meta"
parity = 2
listen = "[::]:9000"
admin_listen = "127.0.0.1:9001"
region = "eu-west-1"
domains = ["s3.example.org"]
[keys]
file = "credentials"
"""
CREDENTIALS = 'access_key = "ROOTKEY"\nsecret_key = "a-long-secret-key-of-forty-characters-01"\n'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    keys = tmp_path / "credentials"
    keys.write_text(CREDENTIALS)
    keys.chmod(0o600)
    return tmp_path


def read(folder: Path, text: str, **environment: str) -> Config:
    file = folder / "node.toml"
    file.write_text(text)
    return load(file, environment)


def test_everything_is_read(folder: Path) -> None:
    top = 'edges = 3\nlog_level = "debug"\n'
    config = read(folder, top + BASE + "[limits]\nrequests = 7\nconnections = 8\n")
    assert config == Config(
        disks=tuple(Path(disk) for disk in DISKS),
        meta=Path("/srv/meta"),
        parity=2,
        keys=Keys("ROOTKEY", "a-long-secret-key-of-forty-characters-01"),
        listen=Address("::", 9000),
        admin_listen=Address("127.0.0.1", 9001),
        region="eu-west-1",
        domains=("s3.example.org",),
        requests=RequestBounds(7, 7, 6),
        connections=Bound(8, 6),
        edges=3,
        log_level="debug",
    )
    assert "forty-characters" not in repr(config)


def test_shares_follow_from_their_totals_unless_they_are_set(folder: Path) -> None:
    config = read(folder, BASE)
    assert config.requests == RequestBounds(256, 240, 192)
    assert config.connections == Bound(4096, 3072)
    shares = "requests = 100\nrequests_per_identity = 60\nrequests_per_client = 60\n"
    config = read(folder, f"{BASE}[limits]\n{shares}connections_per_address = 4096\n")
    assert config.requests == RequestBounds(100, 60, 60)
    assert config.connections == Bound(4096, 4096)
    config = read(folder, f"{BASE}[limits]\nrequests_per_identity = 10\n")
    assert config.requests == RequestBounds(256, 10, 10)


def test_authorities_of_clients_are_a_file_beside_the_others(folder: Path) -> None:
    for name in ("cert.pem", "key.pem", "clients.pem"):
        (folder / name).write_text("x")
    tls = '[tls]\ncertificate = "cert.pem"\nkey = "key.pem"\n'
    assert read(folder, BASE + tls).tls == Tls(folder / "cert.pem", folder / "key.pem")
    tls += 'client_authorities = "clients.pem"\n'
    config = read(folder, BASE + tls)
    assert config.tls == Tls(folder / "cert.pem", folder / "key.pem", folder / "clients.pem")


def test_environment_comes_before_the_key_file(folder: Path) -> None:
    config = read(
        folder, BASE, S3NODE_ROOT_ACCESS_KEY="OTHER", S3NODE_ROOT_SECRET_KEY="another-secret"
    )
    assert config.keys == Keys("OTHER", "another-secret")


def test_relative_paths_are_beside_the_file(folder: Path) -> None:
    config = read(folder, BASE.replace("/srv/", ""))
    assert config.disks[0] == folder / "disk00"
    assert config.meta == folder / "meta"


Change = Callable[[str], str]


def swap(old: str, new: str) -> Change:
    def change(text: str) -> str:
        assert old in text
        return text.replace(old, new, 1)

    return change


def top(line: str) -> Change:
    return lambda text: f"{line}\n{text}"


def end(line: str) -> Change:
    return lambda text: f"{text}\n{line}\n"


MISTAKES: list[tuple[Change, str]] = [
    (swap("disks = ", "disks = ["), "not TOML"),
    (swap("parity = 2", "parity = 2\nparity = 2"), "not TOML"),
    (swap("disks =", "disk ="), "disks: is missing"),
    (swap("meta =", "metadata ="), "meta: is missing"),
    (swap("parity = 2", ""), "parity: is missing"),
    (swap("parity = 2", 'parity = "2"'), "parity: must be a whole number, not '2'"),
    (swap("parity = 2", "parity = true"), "parity: must be a whole number"),
    (swap("parity = 2", "parity = 2\nedges = -1"), "edges: must be from 0 to 64, not -1"),
    (swap("parity = 2", "parity = 2\nedges = 65"), "edges: must be from 0 to 64, not 65"),
    (swap("parity = 2", 'parity = 2\nlog_level = "loud"'), "log_level: must be one of debug, info"),
    (swap("parity = 2", "parity = 3"), "parity: must be from 1 to 2 with 6 disks, not 3"),
    (swap("parity = 2", "parity = 0"), "parity: must be from 1"),
    (swap(str(DISKS), "[]"), "disks: is missing|disks: from 3 to 16 are needed, not 0"),
    (swap(str(DISKS), str([f"/d{i}" for i in range(17)])), "disks: from 3 to 16"),
    (swap(str(DISKS), str([*DISKS[:5], 7])), r"disks\[5\]: must be a string, not 7"),
    (swap(str(DISKS), str([*DISKS[:5], ""])), r"disks\[5\]: must be a string"),
    (swap(str(DISKS), str([*DISKS[:5], DISKS[0]])), r"disks\[5\]: /srv/disk00 is disks\[0\]"),
    (swap(str(DISKS), str([*DISKS[:5], "/srv/disk00/x"])), r"disks\[5\]: .* inside one another"),
    (swap(str(DISKS), '"/srv"'), "disks: must be a list"),
    (swap('"/srv/meta"', '"/srv/disk01/meta"'), "meta: .* inside one another"),
    (swap('"[::]:9000"', '"::1:9000"'), "listen: '::1:9000' is not HOST:PORT"),
    (swap('"[::]:9000"', '"127.0.0.1:70000"'), "listen: .*no port 70000"),
    (swap('"[::]:9000"', '"127.0.0.1:http"'), "listen: .*not HOST:PORT"),
    (swap('"[::]:9000"', "9000"), "listen: must be a string"),
    (swap('"eu-west-1"', '"EU West"'), "region: 'EU West' is not a valid name"),
    (swap('"s3.example.org"', '"S3.Example.org"'), r"domains\[0\]: .*lower case"),
    (swap('"s3.example.org"', '"-x"'), r"domains\[0\]"),
    (swap("[keys]", "[keys]\nsecret = 1"), r"\[keys\] secret: no such setting"),
    (swap('file = "credentials"', ""), r"\[keys\] file: is missing, and S3NODE_ROOT_ACCESS_KEY"),
    (swap('file = "credentials"', 'file = "none"'), "none: No such file"),
    (top("durability = false"), "durability: no such setting"),
    (top('allow_non_mount = "no"'), "allow_non_mount: must be true or false"),
    (end("[tls]\nkey = 'k'"), r"\[tls\] certificate: is missing beside the other"),
    (end("[tls]\ncertificate = 'k'"), r"\[tls\] key: is missing beside the other"),
    (end("[tls]\nkey = 'k'\ncertificate = 'c'"), r"\[tls\] certificate: no such file"),
    (end("[tls]\nversion = 1"), r"\[tls\] version: no such setting"),
    (end("[tls]\nclient_authorities = 'a'"), r"\[tls\] certificate: is missing beside client_auth"),
    (
        end("[limits]\nrequests_per_client = 0"),
        r"\[limits\] requests_per_client: must be from 1 to",
    ),
    (end("[limits]\nrequests_per_client = 257"), r"\] requests_per_client: must be from 1 to 256,"),
    (
        end("[limits]\nrequests_per_identity = 257"),
        r"\] requests_per_identity: must be from 1 to 2",
    ),
    (
        end("[limits]\nrequests_per_identity = 9\nrequests_per_client = 10"),
        r"\[limits\] requests_per_client: must not be more than requests_per_identity",
    ),
    (
        end("[limits]\nconnections_per_address = 4097"),
        r"\] connections_per_address: must be from 1",
    ),
    (end("[limits]\nrequests_per_client = '9'"), r"\] requests_per_client: must be a whole number"),
    (end("[limits]\nrequests = 0"), r"\[limits\] requests: must be from 1"),
    (end("[limits]\nrequests = 9\nconnections = 8"), r"\[limits\] requests: must not be more"),
    (end("[limits]\nmemory = 9"), r"\[limits\] memory: no such setting"),
    (end("[sites]\nother = 9"), "sites: no such setting"),
]


@pytest.mark.parametrize(("change", "message"), MISTAKES, ids=[what for _, what in MISTAKES])
def test_mistakes_are_told_in_one_line(folder: Path, change: Change, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        read(folder, change(BASE))
    text = str(caught.value)
    assert "\n" not in text
    assert text.startswith(str(folder))


@pytest.mark.parametrize(
    ("content", "mode", "message"),
    [
        (CREDENTIALS, 0o640, "others may read it: chmod 600"),
        (CREDENTIALS, 0o604, "others may read it"),
        (CREDENTIALS.replace("secret_key", "secret"), 0o600, "secret_key: is missing"),
        (CREDENTIALS + "x = 1", 0o600, "x: no such setting"),
        ('access_key = "R K"\nsecret_key = "12345678"', 0o600, "access key: 3 to 128"),
        ('access_key = "ROOT"\nsecret_key = "1234567"', 0o600, "secret key: 8 to 128"),
        (b"\xff", 0o600, "not UTF-8 at byte 0"),
    ],
)
def test_key_file_mistakes(folder: Path, content: str | bytes, mode: int, message: str) -> None:
    file = folder / "credentials"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    file.chmod(mode)
    with pytest.raises(ConfigError, match=message) as caught:
        read(folder, BASE)
    assert "12345" not in str(caught.value)


def test_half_a_key_pair_in_the_environment(folder: Path) -> None:
    with pytest.raises(ConfigError, match="S3NODE_ROOT_SECRET_KEY: is missing"):
        read(folder, BASE, S3NODE_ROOT_ACCESS_KEY="ROOT")


def test_keys_are_made_once_and_private(tmp_path: Path) -> None:
    path = tmp_path / "credentials"
    values = iter([b"\x01" * 8, b"\x02" * 20])
    made = make_keys(path, lambda count: next(values))
    assert made.generated
    assert path.stat().st_mode & 0o777 == 0o600
    assert make_keys(path, lambda count: b"") == made


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1", Address("127.0.0.1", 9000)),
        ("host:1", Address("host", 1)),
        ("[::1]:0", Address("::1", 0)),
        ("[::1]", Address("::1", 9000)),
    ],
)
def test_addresses(text: str, address: Address) -> None:
    assert parse_address(text, 9000) == address
    assert parse_address(str(address), 1) == address


@pytest.mark.parametrize(
    ("host", "loopback"),
    [("127.0.0.1", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("::", False),
     ("10.0.0.1", False), ("host.example", False)],
)  # fmt: skip
def test_loopback(host: str, loopback: bool) -> None:
    assert Address(host, 1).loopback is loopback


@pytest.mark.parametrize(
    ("secret", "weak"),
    [
        ("12345678", True),
        ("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", True),
        ("xxROOTKEYxxabcdefghijklmnop", True),
        ("kuc9AiDoh8ohquahw4Ac", False),
    ],
)
def test_weak_secrets(secret: str, weak: bool) -> None:
    assert Keys("ROOTKEY", secret).weak is weak


@pytest.mark.parametrize(("cores", "edges"), [(1, 0), (2, 0), (3, 3), (8, 8), (64, 8)])
def test_edges_by_cores(monkeypatch: pytest.MonkeyPatch, cores: int, edges: int) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)))
    assert default_edges() == edges
