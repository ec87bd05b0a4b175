"""An engine in a process of its own, for tests that are its edge.

One process serves many tests, one after the other: over a socket that it was given it is sent a
folder and one end of a connection; it opens an engine on the folder, serves the edge at the other
end until that is gone, closes the engine and says so. `python -m tests.processes.far FD KIND`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import uvloop

from s3node.base.arena import Arena
from s3node.base.clock import SystemClock
from s3node.base.filesystem import RealFileSystem
from s3node.config import Config, Keys
from s3node.meta.lmdb_reader import LmdbReader
from s3node.processes.door import Door, Terms
from s3node.processes.link import Link, Machinery, connect
from s3node.store.native import NativeEngine

ROOT = Path(__file__).resolve().parents[2]
MACHINERY = Machinery(RealFileSystem(), SystemClock(), os.urandom, NativeEngine, LmdbReader)
PATH_BYTES_MAX = 4096
DISKS, PARITY = 12, 4


class FarEngine:
    """Started when it is needed first."""

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None

    @contextlib.asynccontextmanager
    async def edge(self, folder: Path, arena: Arena | None = None) -> AsyncIterator[Link]:
        """A link to an engine on `folder`, which is closed afterwards."""
        control = self._started()
        ours, theirs = socket.socketpair()
        socket.send_fds(control, [str(folder).encode()], [theirs.fileno()])
        theirs.close()
        link = await connect(ours, arena, MACHINERY, still=lambda: True, timeout=60)
        try:
            yield link
        finally:
            await link.close()
            assert await asyncio.to_thread(control.recv, 1) == b".", "the engine ended badly"

    def stop(self) -> None:
        if self._process is not None and self._control is not None:
            self._control.close()
            assert self._process.wait(60) == 0

    def _started(self) -> socket.socket:
        if self._control is None:
            self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            self._control.settimeout(60)
            command = [sys.executable, "-m", __name__, str(theirs.fileno()), self._kind]
            fds = [theirs.fileno()]
            self._process = subprocess.Popen(command, cwd=ROOT, pass_fds=fds)
            theirs.close()
        return self._control


def main() -> None:
    """The engine's process."""
    control = socket.socket(fileno=int(sys.argv[1]))
    kind = sys.argv[2]
    while True:
        folder, fds, _, _ = socket.recv_fds(control, PATH_BYTES_MAX, 1)
        if not folder:
            return
        serve = {"metadata": _metadata, "node": _node}[kind]
        run = uvloop.run if kind == "node" else asyncio.run
        run(serve(Path(folder.decode()), socket.socket(fileno=fds[0])))
        control.send(b".")


async def _metadata(folder: Path, sock: socket.socket) -> None:
    from tests.meta.kvs import lmdb_kv
    from tests.processes.border import make_door

    async with lmdb_kv(folder) as kv:
        await _serve(make_door(kv, path=kv.index.path, reader_check=kv.index.reader_check), sock)


def node_config(folder: Path) -> Config:
    disks = tuple(folder / f"disk{slot:02d}" for slot in range(DISKS))
    keys = Keys("AKROOT", "secret-secret-secret")
    return Config(disks, folder / "meta", PARITY, keys, allow_non_mount=True)


async def _node(folder: Path, sock: socket.socket) -> None:
    from s3node.node import open_node, site_of
    from s3node.services import start

    config = node_config(folder)
    if not config.disks[0].exists():
        for path in (*config.disks, config.meta):
            path.mkdir(parents=True)
        start.initialise(site_of(config), MACHINERY.fs, MACHINERY.clock, os.urandom)
    node = await open_node(config, print)
    recovered = node.metadata.recovered
    assert node.metadata.engine is not None
    path = cast(Any, node.metadata.index).path
    terms = Terms(recovered.epoch, recovered.deployment.deployment_id, str(path))
    door = Door(node.metadata.engine, node.disks, terms, node.metadata.index.reader_check)
    door.start()
    await _serve(door, sock)
    await node.close()


async def _serve(door: Any, sock: socket.socket) -> None:
    door.accept(sock)
    while door.edges:
        await asyncio.sleep(0.002)
    await door.close()


if __name__ == "__main__":
    main()
