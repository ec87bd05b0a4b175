"""Where a comparison takes place: the folder, and the servers that are compared."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from bench.node import BenchNode
from bench.presign import Keys
from bench.seaweedfs import SeaweedFS
from bench.server import Server

OURS, PEER = "s3node", "SeaweedFS"


@dataclass(frozen=True)
class Scene:
    """`folder`: on the disk to be measured. `other`: endpoint and keys of a third contender."""

    folder: Path
    other: tuple[str, Keys] | None = None


def servers(scene: Scene, stack: ExitStack) -> list[Server]:
    """Ours, SeaweedFS, and whoever else was given; stopped and their folders removed by `stack`."""
    made = tempfile.TemporaryDirectory(
        dir=scene.folder, prefix="bench-", ignore_cleanup_errors=True
    )
    folder = Path(stack.enter_context(made))
    found: list[Server] = [
        stack.enter_context(BenchNode(folder / "node")),
        stack.enter_context(SeaweedFS(folder / "seaweedfs")),
    ]
    if scene.other is not None:
        endpoint, keys = scene.other
        found.append(Server("other", endpoint, endpoint, keys))
    return found
