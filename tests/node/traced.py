"""A node under the tracer (`tests.node.tracer`): killed at the n-th call, its power cut."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

from s3node.base.filesystem import RealFileSystem
from s3node.services.check import Finding, check
from s3node.services.start import Site
from tests.node.process import ACCESS_KEY, SECRET_KEY, WAIT_S_MAX, NodeProcess

DISKS, PARITY = 6, 2
QUIET_S = 0.15
QUIET_LOOKS_MAX = 20
ROOT = Path(__file__).resolve().parents[2]


class Seen(NamedTuple):
    """What the tracer tells of the node."""

    alive: bool
    count: int  # of calls that change something, since it was armed
    hit: str  # the call at which it was killed
    busy: bool  # a thread of it runs, or waits for a processor or a disk


class TracedNode:
    def __init__(self, folder: Path) -> None:
        self.root = folder / "traced"
        self.data = self.root / "data"
        self._out = folder / "out"
        self._log_path = folder / "log"
        self._client = NodeProcess(self.data, disks=DISKS, parity=PARITY)

    def __enter__(self) -> TracedNode:
        self.root.mkdir(exist_ok=True)
        self._log = self._log_path.open("a")
        self._tracer = subprocess.Popen(
            [sys.executable, "-m", "tests.node.tracer", str(self.root), str(self._out)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            env={
                **os.environ,
                "S3NODE_ROOT_ACCESS_KEY": ACCESS_KEY,
                "S3NODE_ROOT_SECRET_KEY": SECRET_KEY,
            },
        )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._tracer.stdin is not None and self._tracer.stdout is not None
        self._tracer.stdin.close()  # it kills the node
        self._tracer.wait(WAIT_S_MAX)
        self._tracer.stdout.close()
        self._log.close()

    def _ask(self, **command: Any) -> Any:
        assert self._tracer.stdin is not None and self._tracer.stdout is not None
        self._tracer.stdin.write(json.dumps(command) + "\n")
        self._tracer.stdin.flush()
        line = self._tracer.stdout.readline()
        assert line, self.log_tail()
        return json.loads(line)

    def log_tail(self) -> str:
        return "\n".join(self._log_path.read_text(errors="replace").splitlines()[-40:])

    # --- its life -------------------------------------------------------------------------------

    def start(self, kill_at: int = 0, *changed: str) -> bool:
        """Until it is ready; false if it was killed before. `changed`: CHANGES of the tracer."""
        arguments = ["quickstart", "--data", str(self.data), "--listen", "127.0.0.1:0"]
        arguments += ["--disks", str(DISKS), "--parity", str(PARITY)]
        # One process does all: it is that one's calls that are counted.
        arguments += ["--admin-listen", "127.0.0.1:0", "--edges", "0"]
        self._ask(do="start", arguments=arguments, kill_at=kill_at, changed=changed)
        deadline = time.monotonic() + WAIT_S_MAX
        while True:
            seen = self.look()
            for line in self._out.read_text().splitlines() if self._out.exists() else ():
                if line.startswith("ready "):
                    self._client.endpoint = line.split()[1]
                    return True
            if not seen.alive:
                assert seen.hit, f"it ended by itself\n{self.log_tail()}"
                return False
            assert time.monotonic() < deadline, f"not ready\n{self.log_tail()}"
            time.sleep(0.02)

    def arm(self, kill_at: int = 0) -> None:
        self._ask(do="arm", kill_at=kill_at)

    def look(self) -> Seen:
        return Seen(**self._ask(do="look"))

    def settle(self) -> Seen:
        """Until nothing has been changed for a while by a node that could, or it is dead.

        One that looks busy for long and changes nothing waits for a processor, again and again,
        to look whether there is something to do.
        """
        seen, quiet = self.look(), 0
        while seen.alive and quiet < QUIET_LOOKS_MAX:
            time.sleep(QUIET_S)
            last, seen = seen, self.look()
            quiet = quiet + 1 if seen.count == last.count else 0
            if quiet and not seen.busy:
                break
        return seen

    def kill(self) -> None:
        self._ask(do="kill")

    def cut(self, seed: str, mode: str) -> list[str]:
        """The power fails, for the dead node: what was not synced is lost, by `mode`; what."""
        lost: list[str] = self._ask(do="cut", seed=seed, mode=mode)["lost"]
        return lost

    def s3(self) -> Any:
        return self._client.s3()

    # --- what is left ---------------------------------------------------------------------------

    def check(self) -> Iterable[Finding]:
        """What `s3node check` finds, of the dead node."""
        paths = tuple(str(self._client.disk_path(slot)) for slot in range(DISKS))
        site = Site(paths, self.data / "meta", PARITY)
        return list(check(site, RealFileSystem(), lambda step, done, total: None))
