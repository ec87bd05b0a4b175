"""A node to measure: started with the command that users type, on free ports of 127.0.0.1."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

ACCESS_KEY = "BENCHACCESSKEY000001"
SECRET_KEY = "bench-secret-key-of-forty-characters-001"
REGION = "us-east-1"
_TICKS = os.sysconf("SC_CLK_TCK")


class BenchNode:
    """`with BenchNode(folder, disks, parity) as node:`"""

    def __init__(self, data: Path, disks: int, parity: int) -> None:
        command = [sys.executable, "-m", "s3node", "quickstart", "--data", str(data)]
        command += ["--disks", str(disks), "--parity", str(parity)]
        command += ["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"]
        keys = {"S3NODE_ROOT_ACCESS_KEY": ACCESS_KEY, "S3NODE_ROOT_SECRET_KEY": SECRET_KEY}
        self._process = subprocess.Popen(
            command,
            env={**os.environ, **keys},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
        )
        self.endpoint = self.admin = ""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith("admin "):
                self.admin = line.split()[1]
            if line.startswith("ready "):
                self.endpoint = line.split()[1]
                break
        else:
            raise RuntimeError("the node did not start")

    def __enter__(self) -> BenchNode:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(60)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def cpu_seconds(self) -> float:
        """User and system time of the node so far."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS
