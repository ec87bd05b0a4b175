"""The whole command line over an in-memory node, for tests of what is around the storage.

Run as ``python -m tests.cli.program``. A file ``formatted`` beside the disks stands for their
identities. TEST_OPEN_S delays opening, as a recovery would.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import uvloop

from s3node.base.clock import SystemClock
from s3node.base.errors import ConfigError, QuorumLost
from s3node.cli import Commands, Progress, group
from s3node.cli.commands import Again, Announce
from s3node.config import Config
from s3node.edge.admin_listener import View
from s3node.ops import OPERATIONS
from s3node.ops.context import Node
from s3node.serving.alone import serve
from tests.ops.world import make_world


class MemoryNode:
    def __init__(self, config: Config) -> None:
        self.node: Node = make_world(config.region).node
        self._config = config
        self.views: Mapping[str, View] = {"status": self._status, "disks": self._disks}

    def rekey(self, secret: str) -> Node:
        return self.node

    def failed(self) -> BaseException | None:
        fault = self._config.meta / "broken"
        return AssertionError(fault.read_text()) if fault.exists() else None

    def trouble(self) -> str:
        return ""

    async def close(self) -> None:
        (self._config.meta / "closed").write_text("cleanly")

    def _disks(self) -> list[dict[str, object]]:
        return [
            {
                "slot": slot,
                "path": str(path),
                "state": "online" if path.exists() else "offline",
                "reason": "" if path.exists() else "it is not there",
                "total_bytes": 1000 << 30,
                "free_bytes": 900 << 30,
            }
            for slot, path in enumerate(self._config.disks)
        ]

    def _status(self) -> dict[str, object]:
        k = len(self._config.disks) - self._config.parity
        return {
            "version": "0",
            "ready": True,
            "reason": "",
            "geometry": {"k": k, "m": self._config.parity},
            "redundancy": {"owed_shards": 0},
            "alarms": [],
            "disks": self._disks(),
        }


class Finding(NamedTuple):
    severe: bool
    where: str
    what: str
    advice: str


async def open_node(config: Config, tell: Callable[[str], None]) -> MemoryNode:
    tell("only 3 of 6 disks are there")
    await asyncio.sleep(float(os.environ.get("TEST_OPEN_S", "0")))
    if os.environ.get("TEST_OPEN_FAULT"):
        raise QuorumLost("only 1 of 6 disks is there")
    return MemoryNode(config)


def run_serve(config: Config, announce: Announce, again: Again) -> int:
    clock, random = SystemClock(), os.urandom
    return uvloop.run(
        serve(config, announce, open_node, OPERATIONS, again=again, clock=clock, random=random)
    )


def initialise(config: Config) -> None:
    if initialised(config):
        raise ConfigError(f"{config.meta}: there is a node already")
    (config.meta / "formatted").write_text("yes")


def initialised(config: Config) -> bool:
    return (config.meta / "formatted").exists()


def check(config: Config, progress: Progress) -> Iterator[Finding]:
    for slot, path in enumerate(config.disks):
        progress("disks", slot, len(config.disks))
        if not path.exists():
            yield Finding(True, str(path), "the disk is not there", "mount it and check again")


def rebuild(config: Config, progress: Progress) -> dict[str, object]:
    progress("rows", 3, 0)
    return {"rows": 3}


def inspect(kind: str, config: Config | None, words: Sequence[str]) -> object:
    if kind != "disk":
        raise ConfigError(f"inspect: no such kind {kind!r}")
    if len(words) != 1:
        raise ConfigError("inspect disk: PATH is needed")
    return {"path": words[0], "slots": [1, {"deep": 2}], "empty": []}


COMMANDS = Commands(
    serve=run_serve,
    initialise=initialise,
    initialised=initialised,
    check=check,
    rebuild=rebuild,
    inspect=inspect,
)

if __name__ == "__main__":
    group(obj=COMMANDS, prog_name="s3node")
