"""The command line as a process: what is printed, what is kept, signals, exit statuses."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import boto3
import pytest
from botocore.config import Config
from click.testing import CliRunner

from s3node.cli import group
from tests.cli.program import COMMANDS
from tests.edge.certificates import Authority, make_certificate

ROOT = Path(__file__).resolve().parents[2]
KEYS = {
    "S3NODE_ROOT_ACCESS_KEY": "TESTACCESSKEY0000001",
    "S3NODE_ROOT_SECRET_KEY": "test-secret-key-of-forty-characters-0001",
}
RUN_S_MAX = 240
"""Ends a test that would never end; far from what a busy machine needs."""


def _environment(**extra: str) -> dict[str, str]:
    clean = {name: text for name, text in os.environ.items() if not name.startswith("S3NODE_")}
    return clean | {"PYTHONPATH": str(ROOT)} | extra


class Done(NamedTuple):
    returncode: int
    stdout: str
    stderr: str


def run(*arguments: str, **environment: str) -> Done:
    """The command within this process: for all that does not come to serving."""
    clean = {name: None for name in os.environ if name.startswith("S3NODE_")}
    result = CliRunner().invoke(group, arguments, obj=COMMANDS, env={**clean, **environment})
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Done(result.exit_code, result.stdout, result.stderr)


def start(
    *arguments: str, options: tuple[str, ...] = (), **environment: str
) -> subprocess.CompletedProcess[str]:
    """The command as a process, to its end."""
    return subprocess.run(
        [sys.executable, *options, "-m", "tests.cli.program", *arguments],
        env=_environment(**environment),
        capture_output=True,
        text=True,
        timeout=RUN_S_MAX,
        check=False,
    )


class Served:
    """A serving process and what it printed until it was ready."""

    def __init__(self, *arguments: str, wait: bool = True, **environment: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.cli.program", *arguments],
            env=_environment(**environment),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.printed: list[str] = []
        if wait:
            self.s3 = self.wait("ready ")
            self.admin = next(line.split()[1] for line in self.printed if line.startswith("admin "))

    def wait(self, prefix: str) -> str:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.printed.append(line.rstrip("\n"))
            if line.startswith(prefix):
                return line.split()[1]
        assert self.process.stderr is not None
        raise AssertionError(self.process.stderr.read())

    def logged(self, what: str) -> None:
        """Wait for a line of the log."""
        assert self.process.stderr is not None
        assert any(what in line for line in self.process.stderr), "it ended"

    def end(self, number: int = signal.SIGTERM) -> tuple[int, str]:
        """Exit status and log."""
        self.process.send_signal(number)
        _, log = self.process.communicate(timeout=RUN_S_MAX)
        return self.process.returncode, log


def quickstart(data: Path, *more: str, **environment: str) -> Served:
    return Served(
        "quickstart", "--data", str(data), "--disks", "6", "--parity", "2",
        "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", *more, **environment,
    )  # fmt: skip


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Served, Path]]:
    data = tmp_path_factory.mktemp("served") / "data"
    node = quickstart(data, **KEYS)
    yield node, data
    node.process.kill()
    node.process.communicate()


def test_quickstart_sets_up_prints_and_keeps_keys(tmp_path: Path) -> None:
    data = tmp_path / "data"
    node = quickstart(data)
    text = "\n".join(node.printed)
    keys = data / "credentials"
    assert keys.stat().st_mode & 0o777 == 0o600
    access, secret = (line.split('"')[1] for line in keys.read_text().splitlines() if '"' in line)
    assert access in text and secret in text and node.s3 in text
    for tool in ("aws --endpoint-url", "boto3.client", "rclone copy"):
        assert tool in text
    assert sorted(path.name for path in data.iterdir()) == [
        "credentials", *(f"disk{slot:02}" for slot in range(1, 7)), "meta", "node.toml",
    ]  # fmt: skip
    client = boto3.client(
        "s3", endpoint_url=node.s3, aws_access_key_id=access, aws_secret_access_key=secret,
        region_name="us-east-1", config=Config(retries={"total_max_attempts": 1}),
    )  # fmt: skip
    client.create_bucket(Bucket="first")
    status, log = node.end()
    assert status == 0
    assert (data / "meta/closed").exists()
    assert secret not in log
    assert any(json.loads(line)["message"] == "stopped" for line in log.splitlines())
    (data / "disk03").rename(tmp_path / "pulled")
    again = Served(
        "quickstart",
        "--data",
        str(data),
        "--listen",
        "127.0.0.1:0",
        "--admin-listen",
        "127.0.0.1:0",
    )
    assert secret in "\n".join(again.printed)
    assert not (data / "disk03").exists(), "an absent disk is not made anew"
    assert again.end(signal.SIGINT)[0] == 0


def test_what_quickstart_prints_can_be_pasted(tmp_path: Path) -> None:
    """A shell takes the quotes of the rclone line away, and rclone needs one pair of them."""
    data = tmp_path / "data"
    node = quickstart(data)
    lines = {line.split()[0]: shlex.split(line)[1:] for line in node.printed if "first" in line}
    assert lines["rclone"][-1] == f':s3,provider=Other,env_auth,endpoint="{node.s3}":first'
    how = next(line for line in node.printed if line.startswith("How it is:"))
    done = run(*shlex.split(how.partition(":")[2])[1:])
    assert (done.returncode, "everything is in order" in done.stdout) == (0, True), done.stderr
    assert node.end()[0] == 0


def test_readme_quotes_the_rclone_remote() -> None:
    line = next(
        one for one in (ROOT / "README.md").read_text().splitlines() if "rclone copy" in one
    )
    assert shlex.split(line)[-1].count('"') == 2, "rclone wants a value with colons in quotes"


@pytest.mark.parametrize(("disks", "parity"), [(3, 1), (6, 2), (8, 2), (12, 4), (16, 4)])
def test_parity_goes_with_the_number_of_disks(tmp_path: Path, disks: int, parity: int) -> None:
    data = tmp_path / "data"
    done = run("quickstart", "--data", str(data), "--disks", str(disks), "--listen", "0.0.0.0:0")
    assert "root keys were generated" in done.stderr
    assert f"parity = {parity}\n" in (data / "node.toml").read_text()


def test_nothing_is_cut_to_the_width_of_a_terminal(tmp_path: Path) -> None:
    data = tmp_path / ("long" * 40)
    node = quickstart(data, **KEYS)
    assert str(data / "disk03") in run("disk", "list", "--admin", node.admin, **KEYS).stdout
    assert node.end()[0] == 0


def test_keys_from_the_environment_are_not_written_anywhere(tmp_path: Path) -> None:
    node = quickstart(tmp_path / "data", **KEYS)
    status, log = node.end()
    assert status == 0
    secret = KEYS["S3NODE_ROOT_SECRET_KEY"]
    assert secret not in log + "\n".join(node.printed)
    for path in (tmp_path / "data").rglob("*"):
        assert not path.is_file() or secret not in path.read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--disks", "6", "--parity", "3"), "--parity: must be from 1 to 2 with 6 disks"),
        (("--disks", "17"), "--disks: from 3 to 16 are needed, not 17"),
        (("--disks", "0"), "--disks: from 3 to 16 are needed, not 0"),
        (("--parity", "0"), "--parity: must be from 1 to 5 with 12 disks, not 0"),
        (("--disks", "many"), "Invalid value for '--disks'"),
        (("--listen", "nowhere:x"), "not HOST:PORT"),
        (("--listen", "0.0.0.0:0"), "root keys were generated"),
        (("--admin-listen", "0.0.0.0:0"), "would carry the root keys"),
        (("--listen", "192.0.2.1:0"), "plain HTTP"),
    ],
)
def test_quickstart_refuses(tmp_path: Path, arguments: tuple[str, ...], message: str) -> None:
    done = run("quickstart", "--data", str(tmp_path / "data"), *arguments)
    assert (done.returncode, message in done.stderr) == (2, True), done.stderr
    assert "Traceback" not in done.stderr


def test_quickstart_refuses_another_geometry(served: tuple[Served, Path]) -> None:
    done = run("quickstart", "--data", str(served[1]), "--disks", "8")
    assert (done.returncode, "was set up with 6, not 8" in done.stderr) == (2, True)


def test_address_in_use_is_one_line(served: tuple[Served, Path], tmp_path: Path) -> None:
    address = urlsplit(served[0].s3).netloc
    done = start("quickstart", "--data", str(tmp_path / "data"), "--listen", address)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert f"cannot listen on {address}: Address already in use" in done.stderr


def test_optimised_python_is_refused(tmp_path: Path) -> None:
    done = start("quickstart", "--data", str(tmp_path / "data"), options=("-O",))
    assert (done.returncode, "run without -O" in done.stderr) == (2, True)


def _get(url: str) -> tuple[int, Any]:
    try:
        with urllib.request.urlopen(url, timeout=RUN_S_MAX) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as fault:
        return fault.code, fault.read()


def _ports(pid: int) -> set[int]:
    """Where the process listens (proc(5): the state 0A)."""
    links = []
    for one in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            links.append(os.readlink(one))
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return {
        int(row[1].partition(":")[2], 16)
        for row in rows
        if row[3] == "0A" and f"socket:[{row[9]}]" in links
    }


def test_while_opening_health_answers_and_s3_is_told_to_wait(tmp_path: Path) -> None:
    """And a signal ends it, however long it would take to open."""
    node = Served(
        "quickstart", "--data", str(tmp_path / "data"),
        "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0",
        wait=False, TEST_OPEN_S=str(100 * RUN_S_MAX),
    )  # fmt: skip
    s3 = node.wait("waiting ")
    (admin,) = {
        url for port in _ports(node.process.pid) if (url := f"http://127.0.0.1:{port}") != s3
    }
    assert _get(f"{admin}/healthz")[0] == 200
    status, body = _get(f"{admin}/readyz")
    assert (status, b"only 3 of 6 disks" in body) == (503, True)
    status, body = _get(f"{s3}/")
    assert (status, b"Not ready: only 3 of 6 disks are there." in body) == (503, True)
    assert node.end()[0] == 0


def test_fault_while_opening_is_one_line_and_status_1(tmp_path: Path) -> None:
    node = quickstart_failing(tmp_path / "data")
    assert node.returncode == 1
    assert node.stderr.splitlines()[-1] == "s3node: only 1 of 6 disks is there"


def quickstart_failing(data: Path) -> subprocess.CompletedProcess[str]:
    return start(
        "quickstart", "--data", str(data), "--listen", "127.0.0.1:0",
        "--admin-listen", "127.0.0.1:0", TEST_OPEN_FAULT="1",
    )  # fmt: skip


def _stalled_upload(url: str) -> socket.socket:
    """A connection in the middle of a request that keeps the node busy."""
    address = urlsplit(url)
    assert address.hostname is not None and address.port is not None
    connection = socket.create_connection((address.hostname, address.port))
    connection.sendall(b"PUT /b/k HTTP/1.1\r\nHost: x\r\nContent-Length: 200000\r\n\r\nabc")
    assert connection.recv(1), "it is refused, and the rest of it waited for"
    return connection


def test_second_signal_ends_at_once(tmp_path: Path) -> None:
    node = quickstart(tmp_path / "data", **KEYS)
    connection = _stalled_upload(node.s3)
    node.process.send_signal(signal.SIGTERM)
    node.logged("stopping on SIGTERM")  # two at once would be one
    time.sleep(0.5)
    assert node.process.poll() is None, "it waits for the request"
    status, log = node.end()
    assert status == 1
    assert "ending at once" in log
    connection.close()


def test_broken_invariant_in_the_background_ends_the_process(tmp_path: Path) -> None:
    node = quickstart(tmp_path / "data", **KEYS)
    (tmp_path / "data/meta/broken").write_text("I3: two writers")
    _, log = node.process.communicate(timeout=RUN_S_MAX)
    assert node.process.returncode == 70
    assert "I3: two writers" in log
    assert not (tmp_path / "data/meta/closed").exists(), "it does not write another byte"


def test_status_and_disk_list(served: tuple[Served, Path]) -> None:
    node, data = served
    done = run("status", "--admin", node.admin, **KEYS)
    assert done.returncode == 0, done.stderr
    assert "4+2" in done.stdout and "everything is in order" in done.stdout
    assert "600.0 GiB of 5.9 TiB used" in done.stdout
    done = run("disk", "list", "--admin", node.admin, "--json", **KEYS)
    assert [disk["state"] for disk in json.loads(done.stdout)] == ["online"] * 6
    (data / "disk02").rename(data / "away")
    done = run("status", "--admin", node.admin, **KEYS)
    assert done.returncode == 1
    assert "is offline: it is not there" in done.stdout
    assert run("disk", "list", "--admin", node.admin, **KEYS).returncode == 1
    assert json.loads(run("status", "--admin", node.admin, "--json", **KEYS).stdout)["disks"]
    (data / "away").rename(data / "disk02")


@pytest.mark.parametrize(
    ("admin", "keys", "status", "message"),
    [
        (None, {}, 2, "set S3NODE_ROOT_ACCESS_KEY"),
        (None, KEYS | {"S3NODE_ROOT_SECRET_KEY": "x" * 20}, 1, "answered 401: the root access key"),
        ("http://127.0.0.1:1", KEYS, 1, "does the node run there?"),
        ("ftp://x", KEYS, 2, "is not a URL"),
    ],
)
def test_online_commands_say_why_not(
    served: tuple[Served, Path], admin: str | None, keys: dict[str, str], status: int, message: str
) -> None:
    done = run("status", "--admin", admin or served[0].admin, **keys)
    assert (done.returncode, message in done.stderr) == (status, True), done.stderr
    assert done.stderr.count("\n") == 1


def _configure(folder: Path, change: str = "") -> Path:
    for slot in range(6):
        (folder / f"d{slot}").mkdir()
    (folder / "meta").mkdir()
    file = folder / "node.toml"
    disks = [f"d{slot}" for slot in range(6)]
    file.write_text(
        f'disks = {disks}\nmeta = "meta"\nparity = 2\nallow_non_mount = true\n'
        f'listen = "127.0.0.1:0"\nadmin_listen = "127.0.0.1:0"\n{change}\n'
    )
    return file


def test_config_check_init_serve(tmp_path: Path) -> None:
    file = str(_configure(tmp_path))
    done = run("config", "check", file, **KEYS)
    assert done.returncode == 0
    fine, sighup = done.stdout.splitlines()
    assert fine == f"{file}: fine; 4+2 over 6 disks"
    assert sighup.startswith("on SIGHUP a running node takes keys, domains, ")
    done = run("serve", "--config", file, **KEYS)
    assert (done.returncode, "run s3node init" in done.stderr) == (2, True)
    assert run("init", "--config", file).returncode == 0
    assert run("init", "--config", file).returncode == 2
    node = Served("serve", "--config", file, **KEYS)
    assert _get(f"{node.admin}/readyz")[0] == 200
    assert node.end()[0] == 0


def test_config_check_tells_in_one_line_and_in_json(tmp_path: Path) -> None:
    file = str(_configure(tmp_path, "typo = 1"))
    done = run("config", "check", file, **KEYS)
    assert done.returncode == 2
    assert done.stderr == f"s3node: {file}: typo: no such setting\n"
    done = run("config", "check", file, "--json", **KEYS)
    assert json.loads(done.stdout) == {"ok": False, "error": f"{file}: typo: no such setting"}


def test_configured_directory_that_is_no_mount_point_is_refused(tmp_path: Path) -> None:
    file = _configure(tmp_path)
    file.write_text(file.read_text().replace("allow_non_mount = true", ""))
    for arguments in (("config", "check", str(file)), ("init", "--config", str(file))):
        done = run(*arguments, **KEYS)
        assert (done.returncode, "is not a mount point" in done.stderr) == (2, True)


def test_an_empty_mount_point_does_not_keep_a_node_down(tmp_path: Path) -> None:
    """Its disk is away, perhaps dead; one that holds something would be written to by mistake."""
    file = _configure(tmp_path)
    assert run("init", "--config", str(file)).returncode == 0
    file.write_text(file.read_text().replace("allow_non_mount = true", ""))
    node = Served("serve", "--config", str(file), **KEYS)
    assert node.end()[0] == 0
    (tmp_path / "d3/something").touch()
    done = run("serve", "--config", str(file), **KEYS)
    assert (done.returncode, "d3 is not a mount point" in done.stderr) == (2, True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ('listen = "127.0.0.1:9001"\nadmin_listen = "127.0.0.1:9001"', "is listen already"),
        ('[tls]\ncertificate = "node.toml"\nkey = "node.toml"', "not a certificate and its key"),
    ],
)
def test_config_check_tries_what_serve_would(tmp_path: Path, change: str, message: str) -> None:
    file = _configure(tmp_path)
    kept = [one for one in file.read_text().splitlines() if "listen" not in one]
    file.write_text("\n".join([*kept, change]))
    done = run("config", "check", str(file), **KEYS)
    assert (done.returncode, message in done.stderr) == (2, True), done.stderr


def test_config_check_tries_authorities_of_clients_too(tmp_path: Path) -> None:
    file = _configure(tmp_path)
    certificate, key, _ = make_certificate(tmp_path, serial=1)
    tls = f'[tls]\ncertificate = "{certificate}"\nkey = "{key}"\nclient_authorities = '
    for authorities, status in ((key, 2), (certificate, 2), (Authority(tmp_path, "a").file, 0)):
        file.write_text(f'{file.read_text().partition("[tls]")[0]}\n{tls}"{authorities}"\n')
        done = run("config", "check", str(file), **KEYS)
        assert done.returncode == status, done.stderr
        assert status == 0 or done.stderr.startswith(f"s3node: {authorities}: no"), done.stderr


def test_a_listen_name_that_nobody_knows_is_one_line(tmp_path: Path) -> None:
    done = start(
        "quickstart", "--data", str(tmp_path / "data"), "--listen", "nobody.invalid:0",
        S3NODE_ROOT_ACCESS_KEY="root", S3NODE_ROOT_SECRET_KEY="0123456789-long-enough-abcdef",
    )  # fmt: skip
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert "cannot listen on nobody.invalid:0" in done.stderr


def test_offline_commands(tmp_path: Path) -> None:
    file = str(_configure(tmp_path))
    done = run("check", "--config", file)
    assert (done.returncode, done.stdout) == (0, "everything is there and right\n")
    (tmp_path / "d4").rmdir()
    done = run("check", "--config", file)
    assert done.returncode == 1
    assert "the disk is not there; mount it and check again" in done.stdout
    done = run("check", "--config", file, "--json")
    assert json.loads(done.stdout)["findings"][0]["where"] == str(tmp_path / "d4")
    done = run("meta", "rebuild", "--config", file, "--json")
    assert json.loads(done.stdout) == {"rows": 3}
    assert run("inspect", "disk", "/d", "--json").returncode == 0
    assert "deep: 2" in run("inspect", "disk", "/d").stdout
    for arguments in (
        ("check",),
        ("check", "--config", file, "--data", str(tmp_path)),
        ("check", "--data", str(tmp_path / "none")),
        ("inspect", "shelf", "/d"),
        ("inspect", "disk"),
        ("frobnicate",),
        ("status", "extra"),
    ):
        done = run(*arguments)
        assert done.returncode == 2, arguments
        assert "Traceback" not in done.stderr
