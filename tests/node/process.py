"""A real node in a process of its own, on free ports of 127.0.0.1, and clients for it.

    with NodeProcess(tmp_path, disks=6, parity=2) as node:
        node.s3().put_object(...)

The node is started with the same command that users type; its disks are directories under
`data`, all on one device.
"""

from __future__ import annotations

import base64
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

ACCESS_KEY = "TESTACCESSKEY0000001"
SECRET_KEY = "test-secret-key-of-forty-characters-0001"
REGION = "us-east-1"
EDGES = int(os.environ.get("S3NODE_TEST_EDGES", "0"))
"""Of a node whose test does not say; 0 is one process for all."""

WAIT_S_MAX = 240
"""For whatever a test waits for: it ends one that would never end, and decides nothing."""


class NodeProcess:
    """`s3node quickstart` on a folder; restartable; killed at the latest when the test ends."""

    def __init__(
        self,
        data: Path,
        *,
        disks: int = 6,
        parity: int = 2,
        env: dict[str, str] | None = None,
        arguments: tuple[str, ...] = (),
        edges: int = EDGES,
        program: tuple[str, ...] = ("-m", "s3node"),
    ) -> None:
        """`program` is what Python runs; a test may put something in front of the real one."""
        self.data = data
        self.disks = disks
        self.parity = parity
        self.endpoint = self.admin = ""
        self.log_path = data.parent / f"{data.name}.log"
        self.edges = edges
        self._arguments = ("--edges", str(edges), *arguments)
        self._program = program
        self._env = {
            **os.environ,
            "S3NODE_ROOT_ACCESS_KEY": ACCESS_KEY,
            "S3NODE_ROOT_SECRET_KEY": SECRET_KEY,
            **(env or {}),
        }
        self._process: subprocess.Popen[str] | None = None
        self._lines: queue.Queue[str | None] = queue.Queue()

    def __enter__(self) -> NodeProcess:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.kill()

    # --- life ---------------------------------------------------------------------------------

    def start(self, *, wait_ready: bool = True) -> NodeProcess:
        """Start the node and wait for its line `ready http://...`."""
        assert self._process is None, "it runs already"
        command = [sys.executable, *self._program, "quickstart", "--data", str(self.data)]
        command += ["--disks", str(self.disks), "--parity", str(self.parity)]
        command += ["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", *self._arguments]
        self._lines = queue.Queue()
        self._log = self.log_path.open("a")
        self._process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            env=self._env,
            start_new_session=True,
        )
        threading.Thread(target=self._pump, args=(self._process, self._lines), daemon=True).start()
        if wait_ready:
            self.wait_line("ready ")
        return self

    @staticmethod
    def _pump(process: subprocess.Popen[str], lines: queue.Queue[str | None]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            lines.put(line.rstrip("\n"))
        lines.put(None)

    def wait_line(self, prefix: str) -> str:
        """Wait for a line on stdout that begins with `prefix`; remembers the addresses."""
        deadline = time.monotonic() + WAIT_S_MAX
        while True:
            try:
                line = self._lines.get(timeout=max(0.01, deadline - time.monotonic()))
            except queue.Empty:
                raise AssertionError(f"no line {prefix!r}\n{self.log_tail()}") from None
            if line is None:
                raise AssertionError(f"the node ended before {prefix!r}\n{self.log_tail()}")
            if line.startswith(("ready ", "waiting ")):
                self.endpoint = line.split()[1]
            if line.startswith("admin "):
                self.admin = line.split()[1]
            if line.startswith(prefix):
                return line

    def log_tail(self, lines: int = 40) -> str:
        return "\n".join(self.log_path.read_text(errors="replace").splitlines()[-lines:])

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def stop(self) -> int:
        """SIGTERM, and wait: the clean way. Returns the exit status."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        return self.ended()

    def ended(self) -> int:
        """Wait until it has ended; the exit status."""
        assert self._process is not None
        status = self._process.wait(WAIT_S_MAX)
        self._forget()
        return status

    def kill(self) -> None:
        """kill -9 of everything the node started, if it runs."""
        if self._process is not None:
            try:
                os.killpg(self._process.pid, signal.SIGKILL)
            except ProcessLookupError:
                self._process.poll()
            self._process.wait(WAIT_S_MAX)
            self._forget()

    def _forget(self) -> None:
        self._process = None
        self._log.close()

    def pids(self) -> list[int]:
        """All processes of the node: the one that was started and its children."""
        found = [self.pid]
        for pid in found:
            for task in Path(f"/proc/{pid}/task").glob("*/children"):
                found += [int(child) for child in task.read_text().split()]
        return found

    def view(self, name: str) -> Any:
        """A JSON value of the admin API."""
        request = urllib.request.Request(f"{self.admin}/v1/{name}")
        request.add_header("Authorization", f"Basic {self._token()}")
        with urllib.request.urlopen(request, timeout=WAIT_S_MAX) as answer:
            return json.load(answer)

    def status(self) -> Any:
        """What `s3node status --json` tells."""
        return self.view("status")

    def processes(self) -> dict[str, dict[str, Any]]:
        """What status tells of the engine and of each edge, by name."""
        return {one["name"]: one for one in self.status()["processes"]}

    def kill_one(self, name: str) -> None:
        """kill -9 of one process, and wait until another one is in its place and all serve."""
        pid = self.processes()[name]["pid"]
        os.kill(pid, signal.SIGKILL)

        def replaced() -> bool:
            now = self.processes()
            return now[name]["pid"] not in (None, pid) and all(one["ready"] for one in now.values())

        self.wait(replaced)

    def metrics(self) -> dict[str, float]:
        """Every series and its value."""
        request = urllib.request.Request(f"{self.admin}/metrics")
        request.add_header("Authorization", f"Basic {self._token()}")
        with urllib.request.urlopen(request, timeout=WAIT_S_MAX) as answer:
            lines = answer.read().decode().splitlines()
        pairs = [line.rpartition(" ") for line in lines if not line.startswith("#")]
        found = {series: float(value) for series, _, value in pairs}
        assert len(found) == len(pairs), "a series is told twice"
        return found

    @staticmethod
    def _token() -> str:
        return base64.b64encode(f"{ACCESS_KEY}:{SECRET_KEY}".encode()).decode()

    def wait(self, condition: Callable[[], bool]) -> None:
        """Until `condition` holds; it is asked for again and again."""
        deadline = time.monotonic() + WAIT_S_MAX
        while not condition():
            assert time.monotonic() < deadline, f"waited {WAIT_S_MAX} s\n{self.log_tail()}"
            time.sleep(0.2)

    def wait_placed(self) -> None:
        """Until no shard is owed: a busy machine answers for its disks too late at times, and a
        test that takes m of them away means m, not those and one that was late.
        """
        self.wait(lambda: self.status()["redundancy"]["owed_shards"] == 0)

    # --- what it is made of -------------------------------------------------------------------

    def disk_path(self, slot: int) -> Path:
        return self.data / f"disk{slot + 1:02}"

    def pull(self, slot: int) -> None:
        """Take the disk away."""
        self.disk_path(slot).rename(self.data / f"pulled{slot + 1:02}")

    def push(self, slot: int) -> None:
        """Put it back."""
        (self.data / f"pulled{slot + 1:02}").rename(self.disk_path(slot))

    # --- clients ------------------------------------------------------------------------------

    def s3(self, **options: Any) -> Any:
        """A boto3 client with default settings but for retries (a fault must be seen)."""
        import boto3
        from botocore.config import Config

        config = Config(retries={"total_max_attempts": 1}, read_timeout=WAIT_S_MAX, **options)
        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            aws_access_key_id=ACCESS_KEY,
            aws_secret_access_key=SECRET_KEY,
            region_name=REGION,
            config=config,
        )

    def command(
        self, *arguments: str, timeout: float = WAIT_S_MAX
    ) -> subprocess.CompletedProcess[str]:
        """Run `s3node ...` to its end."""
        return subprocess.run(
            [sys.executable, "-m", "s3node", *arguments],
            check=False,
            env=self._env,
            text=True,
            capture_output=True,
            timeout=timeout,
        )
