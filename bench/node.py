"""A node to measure: started with the command that users type, on free ports of 127.0.0.1."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
import urllib.request
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

from bench.presign import Keys
from bench.server import Server, ended_by

ACCESS_KEY = "BENCHACCESSKEY000001"
SECRET_KEY = "bench-secret-key-of-forty-characters-001"
REGION = "us-east-1"
KEYS = Keys(ACCESS_KEY, SECRET_KEY, REGION)
DISKS, PARITY = 12, 4
STOP_S_MAX = 60
EDGES_VARIABLE = "S3NODE_BENCH_EDGES"
"""How many edges nodes are to have; as they choose themselves when it is not set."""


class BenchNode(Server):
    """`with BenchNode(folder, disks, parity) as node:`; everything else at its default."""

    def __init__(
        self,
        data: Path,
        disks: int = DISKS,
        parity: int = PARITY,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        command = [sys.executable, "-m", "s3node", "quickstart", "--data", str(data)]
        command += ["--disks", str(disks), "--parity", str(parity)]
        command += ["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"]
        if EDGES_VARIABLE in os.environ:
            command += ["--edges", os.environ[EDGES_VARIABLE]]
        keys = {"S3NODE_ROOT_ACCESS_KEY": ACCESS_KEY, "S3NODE_ROOT_SECRET_KEY": SECRET_KEY}
        log = data.parent / f"{data.name}.log"
        with log.open("w") as stream:
            self._process = subprocess.Popen(
                command,
                env={**os.environ, **keys, **(environment or {})},
                stdout=subprocess.PIPE,
                stderr=stream,
                text=True,
                start_new_session=True,
            )
        endpoint = self.admin = ""
        assert self._process.stdout is not None
        try:
            for line in self._process.stdout:
                if line.startswith("admin "):
                    self.admin = line.split()[1]
                if line.startswith("ready "):
                    endpoint = line.split()[1]
                    break
            else:
                raise RuntimeError(f"the node did not start:\n{log.read_text()[-2000:]}")
        except BaseException:
            self.stop()
            raise
        version = f"{metadata.version('s3node')}, {disks - parity}+{parity}"
        super().__init__("s3node", version, endpoint, KEYS, self._process.pid, data)

    def stop(self) -> None:
        ended_by(self._process, STOP_S_MAX)

    def metrics(self) -> str:
        """The text of the metrics page."""
        request = urllib.request.Request(f"{self.admin}/metrics")
        token = base64.b64encode(f"{ACCESS_KEY}:{SECRET_KEY}".encode()).decode()
        request.add_header("Authorization", f"Basic {token}")
        with urllib.request.urlopen(request, timeout=30) as answer:
            text: str = answer.read().decode()
        return text

    def syncs(self) -> int | None:
        """fdatasyncs so far, of all disks, shards and journal alike."""
        found = counted(self.metrics(), "s3node_engine", "syncs")
        return None if found is None else int(found)


def counted(metrics: str, series: str, what: str) -> float | None:
    """The sum of a series' samples with that label `what`; None when there is none."""
    found = [
        float(line.rpartition(" ")[2])
        for line in metrics.splitlines()
        if line.startswith(f"{series}{{") and f'what="{what}"' in line
    ]
    return sum(found) if found else None
