"""A whole node's metadata on real files: started, written to, stopped, killed, damaged."""

from __future__ import annotations

import asyncio
import contextlib
import random
import shutil
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any

from s3node.base.clock import SystemClock
from s3node.meta import digest, recovery
from s3node.meta.homes import Home
from s3node.meta.kv import ReadTx
from s3node.meta.lmdb_index import LmdbPlace
from s3node.meta.metadata import Deployment, Metadata, Recovered, Settings, recover
from s3node.meta.schema import KEYS_END
from tests.meta.logs import FileLogs, make_homes

DEPLOYMENT_ID = b"D" * 16
WAIT_S_MAX = 120.0
"""For whatever a test waits for: it ends one that would never end, and decides nothing."""


def everything(tx: ReadTx) -> list[tuple[bytes, bytes]]:
    return list(tx.scan(b"", KEYS_END))


class World:
    def __init__(
        self, root: Path, *, disks: int = 4, parity: int = 1, settings: Settings | None = None
    ) -> None:
        self.root = root
        self.homes = make_homes(root, disks)
        self.deployment = Deployment(DEPLOYMENT_ID, disks, parity)
        self.settings = settings or Settings(look_seconds=3600.0, retry_seconds=0.01)
        self.gone: set[int] = set()
        self.random = random.Random(5)
        for home in self.homes.values():
            recovery.initialise(home, DEPLOYMENT_ID)

    @property
    def index(self) -> Path:
        return self.root / "meta"

    def present(self) -> dict[int, Home]:
        return {slot: home for slot, home in self.homes.items() if slot not in self.gone}

    def recover(self, **more: Any) -> Recovered:
        return recover(
            LmdbPlace(self.index),
            self.present(),
            self.deployment,
            clock=SystemClock(),
            random=self.random.randbytes,
            **more,
        )

    @contextlib.asynccontextmanager
    async def running(self, *, kill: bool = False, **more: Any) -> AsyncIterator[Any]:
        """A served node: `.kv`, `.logs`. `kill`: leave everything as it happens to be."""
        recovered = self.recover(**more)
        logs = FileLogs(self.present())
        metadata: Any = Metadata(recovered, logs, SystemClock(), self.settings)
        metadata.logs = logs
        await metadata.start()
        try:
            yield metadata
        finally:
            failure = metadata.failed()
            if kill:
                await stop_dead(metadata)
            else:
                await metadata.close()
            logs.close()
            assert failure is None, failure

    def fill(self, *, rows: Iterable[tuple[bytes, bytes]], kill: bool = False) -> None:
        """One transaction per row."""

        async def run() -> None:
            async with self.running(kill=kill) as node:
                await put(node, rows)

        asyncio.run(run())

    def rows(self, **more: Any) -> list[tuple[bytes, bytes]]:
        """Everything, as told by a node that starts and stops."""
        told: list[tuple[bytes, bytes]] = []

        async def run() -> None:
            async with self.running(**more) as node:
                told.extend(node.kv.read(everything))

        asyncio.run(run())
        return told

    def digest(self) -> bytes:
        result = b""

        async def run() -> None:
            nonlocal result
            async with self.running() as node:
                result = digest.digest(node.kv)

        asyncio.run(run())
        return result

    def drop_index(self) -> None:
        shutil.rmtree(self.index)

    def logs(self, slot: int) -> list[Path]:
        return sorted(Path(self.homes[slot].journal).glob("*.log"))

    def checkpoint_files(self, slot: int, suffix: str = "") -> list[Path]:
        return sorted(Path(self.homes[slot].checkpoints).glob(f"*{suffix}"))


async def put(node: Any, rows: Iterable[tuple[bytes, bytes]]) -> None:
    for key, value in rows:
        await node.kv.write(lambda tx, k=key, v=value: tx.put(k, v))


async def stop_dead(metadata: Any) -> None:
    """As kill -9 would: nothing is finished, sealed or synced."""
    tasks = list(metadata.engine._tasks) + list(metadata.journal._feeders)
    if metadata._upkeep:
        tasks.append(metadata._upkeep)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    metadata.engine._thread.shutdown()
    metadata.index.close()
