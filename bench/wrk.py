"""Load by `wrk -t1` and a Lua script: presigned requests, read from a file.

A round ends when its time is over or when every request was sent once. Latencies are as wrk
gives them, which means corrected for what a stalled answer kept from being asked.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.client import Failure

SCRIPT = Path(__file__).with_name("wrk.lua")
ANSWER_S_MAX = 30  # a request that takes longer is a failure
_ERRORS = ("connect", "read", "write", "status", "timeout")


class NothingDone(Failure):
    """Not one request was answered in the whole time."""


@dataclass(frozen=True)
class Round:
    """What one run of wrk measured. `failures`: requests that got no 2xx, by how they failed."""

    requests: int
    seconds: float
    bytes: int
    p50_ms: float
    p99_ms: float
    max_ms: float
    failures: dict[str, int]

    @property
    def rate(self) -> float:
        return self.requests / self.seconds


def installed() -> None:
    """See that wrk is there: install it when that is ours to do, else say how."""
    if shutil.which("wrk"):
        return
    command = ["apt-get", "install", "-y", "--no-install-recommends", "wrk"]
    if os.geteuid() == 0 and shutil.which("apt-get"):
        env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        quiet = {"stdout": subprocess.DEVNULL, "env": env, "timeout": 300}
        subprocess.run(["apt-get", "update"], check=True, **quiet)  # type: ignore[call-overload]
        subprocess.run(command, check=True, **quiet)  # type: ignore[call-overload]
    if not shutil.which("wrk"):
        raise SystemExit(f"the load generator wrk is missing; as root: {' '.join(command)}")


def version() -> str:
    """`wrk -v` says it in its first line, and fails."""
    out = subprocess.run(["wrk", "-v"], check=False, capture_output=True, text=True, timeout=30)
    return " ".join((out.stdout + out.stderr).split()[:2])


def load(
    endpoint: str,
    method: str,
    targets: Sequence[str],
    body: bytes,
    connections: int,
    seconds: int,
) -> Round:
    """Send `targets` in their order for that many seconds; PUTs each only once."""
    with tempfile.TemporaryDirectory(prefix="bench-wrk-") as made:
        heads, content = Path(made) / "heads", Path(made) / "body"
        heads.write_text("".join(f"{method} {target} HTTP/1.1\n" for target in targets))
        content.write_bytes(body)
        command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "-s", str(SCRIPT)]
        command += ["--timeout", f"{ANSWER_S_MAX}s", endpoint, "--", str(heads)]
        command += [str(content) if body else "-", "once" if method == "PUT" else "again"]
        limit = seconds + 2 * ANSWER_S_MAX
        out = subprocess.run(command, check=False, capture_output=True, text=True, timeout=limit)
    return parsed(out.stdout + out.stderr)


def parsed(output: str) -> Round:
    """The script's JSON line, among what wrk prints."""
    lines = [line for line in output.splitlines() if line.startswith("{")]
    if not lines:
        raise Failure(f"wrk gave no result:\n{output[-2000:]}")
    found = json.loads(lines[-1])
    if not found["requests"]:
        raise NothingDone(f"wrk finished no request:\n{output[-2000:]}")
    return Round(
        found["requests"],
        found["microseconds"] / 1e6,
        found["bytes"],
        found["p50"] / 1e3,
        found["p99"] / 1e3,
        found["max"] / 1e3,
        {name: found[name] for name in _ERRORS if found[name]},
    )
