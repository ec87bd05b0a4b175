"""The line from an operation in an edge to the disks of an engine in another process."""

from __future__ import annotations

import contextlib
import os
import random
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import uvloop

from ec import Geometry, NativeCodec
from s3node.base.arena import Arena
from s3node.base.clock import SystemClock
from s3node.base.limits import KIB, MIB, WRITE_ARENA_BYTES
from s3node.objects.hashing import SharedHashing
from s3node.objects.store import ObjectStore
from s3node.ops.context import Node
from s3node.processes.link import Link
from tests.ops.world import ROOT, World
from tests.processes.far import DISKS, PARITY, FarEngine


@contextlib.asynccontextmanager
async def edge_node(link: Link, arena: Arena) -> AsyncIterator[Node]:
    """What operations work with in an edge."""
    with ThreadPoolExecutor(2) as threads, ThreadPoolExecutor(1) as md5_thread:
        hashing = SharedHashing(md5_thread, SystemClock())
        objects = ObjectStore(
            link.kv,
            link.disks,
            NativeCodec(),
            Geometry(DISKS - PARITY, PARITY),
            link.ids,
            SystemClock(),
            threads,
            hashing,
            lambda: link.sequence,
            arena,
        )
        yield Node(
            kv=link.kv,
            objects=objects,
            clock=SystemClock(),
            random=os.urandom,
            region="eu-west-1",
            owner_id=ROOT.owner_id,
            display_name=ROOT.display_name,
            token_key=b"k" * 32,
        )
        await objects.close()
        hashing.close()


@pytest.fixture(scope="module")
def far() -> AsyncIterator[FarEngine]:
    engine = FarEngine("node")
    yield engine
    engine.stop()


def test_put_and_get_of_every_size(far: FarEngine, tmp_path: Path) -> None:
    sizes = (0, 1, 4 * KIB, 4 * KIB + 1, 512 * KIB, 5 * MIB + 3)

    async def scenario() -> None:
        arena = Arena(WRITE_ARENA_BYTES, shared=True)
        async with far.edge(tmp_path, arena) as link, edge_node(link, arena) as node:
            world = World(node, None, None, None)  # type: ignore[arg-type]
            assert (await world.send("PUT", "/bucket")).status == 200
            for size in sizes:
                body = random.Random(size).randbytes(size)
                put = await world.send("PUT", f"/bucket/{size}", body=body)
                assert put.status == 200, put.body
                got = await world.send("GET", f"/bucket/{size}")
                assert (got.status, got.body) == (200, body)
            listed = await world.send("GET", "/bucket", "list-type=2")
            assert len(listed.texts("Contents/Key")) == len(sizes)

    uvloop.run(scenario())
