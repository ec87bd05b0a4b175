"""The engines that the conformance suite runs against, opened and closed."""

from __future__ import annotations

import atexit
import contextlib
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import Any

from s3node.base.clock import SystemClock
from s3node.meta.engine import Engine
from s3node.meta.frame import ORIGIN
from s3node.meta.journal import Journal, Limits
from s3node.meta.lmdb_index import LmdbIndex
from s3node.meta.memory import MemoryKv
from s3node.meta.survey import lacks
from tests.meta.logs import FileLogs, make_homes
from tests.processes.border import knock, make_door
from tests.processes.far import FarEngine

DEPLOYMENT = b"D" * 16


def no_readmission(*_: Any) -> None:
    raise OSError("not in this test")


@contextlib.asynccontextmanager
async def memory_kv(_: Path) -> AsyncIterator[MemoryKv]:
    yield MemoryKv()


@contextlib.asynccontextmanager
async def lmdb_kv(
    root: Path,
    *,
    disks: int = 3,
    need: int = 2,
    map_bytes: int = 1 << 20,
    limits: Limits = Limits(),  # noqa: B008
) -> AsyncIterator[Any]:
    """An engine on LMDB with a fresh journal; `.logs`, `.journal`, `.index` are its parts."""
    homes = make_homes(root, disks)
    index = LmdbIndex(root / "meta", DEPLOYMENT, map_bytes=map_bytes)
    logs = FileLogs(homes)
    journal = Journal(
        logs,
        homes,
        need=need,
        epoch=1,
        last=ORIGIN,
        base=0,
        files={},
        out={},
        readmission=no_readmission,
        read_back=partial(lacks, DEPLOYMENT),
        limits=limits,
    )
    engine: Any = Engine(
        index,
        journal,
        SystemClock(),
        position=ORIGIN,
        deployment_id=DEPLOYMENT,
        epoch=1,
        retry_seconds=0.01,
    )
    engine.logs, engine.journal, engine.index, engine.homes = logs, journal, index, homes
    journal.start()
    engine.start()
    try:
        yield engine
    finally:
        assert engine.failed() is None
        await engine.close()
        await journal.close(0.2)
        index.close()
        logs.close()


@contextlib.asynccontextmanager
async def near_kv(root: Path) -> AsyncIterator[Any]:
    """An edge's, the engine beyond a socket in this process."""
    async with lmdb_kv(root) as engine:
        door = make_door(engine)
        link = await knock(door, index=engine.index)
        yield link.kv
        await link.close()
        await door.close()


FAR = FarEngine("metadata")
atexit.register(FAR.stop)


@contextlib.asynccontextmanager
async def far_kv(root: Path) -> AsyncIterator[Any]:
    """An edge's, the engine in another process and the index read beside it."""
    async with FAR.edge(root) as link:
        yield link.kv


KVS: list[Callable[[Path], Any]] = [memory_kv, lmdb_kv, near_kv, far_kv]
