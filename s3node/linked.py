"""An edge's storage, composed: what operations work with in a process that owns no disk.

Writes go to the engine at the other end of the link, reads are from here. Everything is made anew
for every life of the engine, and ends with it. With `main` and `node`, the only place that knows
concrete classes.
"""

from __future__ import annotations

import asyncio
import mmap
import os
import socket
from collections.abc import Callable
from dataclasses import asdict

from ec import Geometry, NativeCodec
from s3node.base import metrics
from s3node.base.arena import Arena
from s3node.base.limits import READ_BUFFER_BYTES, WRITE_ARENA_BYTES, WRITE_BUFFER_BYTES
from s3node.config import Config
from s3node.meta.lmdb_reader import LmdbReader
from s3node.node import Machine, objects_gauges, objects_told, ops_node
from s3node.objects.hashing import SharedHashing
from s3node.objects.store import ObjectStore
from s3node.ops.context import Node
from s3node.processes.link import Link, Machinery, connect


class Linker:
    """Links to one engine after the other. What requests compute with stays: those that began
    with an engine that is gone come to their end by themselves.
    """

    def __init__(self, config: Config, machine: Machine | None = None) -> None:
        self._config = config
        self._machine = machine = machine or Machine()
        self._threads = machine.threads(os.cpu_count() or 1)
        self._hashing = SharedHashing(machine.threads(1), machine.clock)
        self._machinery = Machinery(
            fs=machine.fs,
            clock=machine.clock,
            random=machine.random,
            engine=machine.engine,
            index=LmdbReader,
            limits=machine.limits,
        )

    def close(self) -> None:
        """No more stripes are hashed."""
        self._hashing.close()

    async def open(self, end: socket.socket, still: Callable[[], bool]) -> LinkedNode:
        """Link to the engine at the other end, which answers when it has recovered. EngineGone."""
        pages = WRITE_ARENA_BYTES // self._config.edges // mmap.PAGESIZE
        arena = Arena(pages * mmap.PAGESIZE, shared=True)
        link = await connect(end, arena, self._machinery, still=still)
        objects = ObjectStore(
            link.kv,
            link.disks,
            NativeCodec(),
            Geometry(len(self._config.disks) - self._config.parity, self._config.parity),
            link.ids,
            self._machine.clock,
            self._threads,
            self._hashing,
            lambda: link.sequence,
            arena,
            write_bytes=WRITE_BUFFER_BYTES // self._config.edges,
            read_bytes=READ_BUFFER_BYTES // self._config.edges,
        )
        return LinkedNode(self._config, self._machine, link, objects)


class LinkedNode:
    """Everything that an edge serves with. Made on the loop that it runs on."""

    def __init__(self, config: Config, machine: Machine, link: Link, objects: ObjectStore) -> None:
        self.objects = objects
        self._config = config
        self._machine = machine
        self._link = link
        metrics.watch(self._gauges)

    @property
    def gone(self) -> asyncio.Future[str]:
        """Why there is no engine any more, once that is so."""
        return self._link.gone

    def node(self, secret: str) -> Node:
        """What operations work with, given the root secret."""
        link, machine = self._link, self._machine
        return ops_node(self._config, machine, link.kv, self.objects, link.deployment_id, secret)

    def part(self) -> dict[str, object]:
        """What the node's status adds up."""
        counters = asdict(self._link.disks.counters())
        return {"engine": counters, **objects_told(self.objects)}

    def failed(self) -> BaseException | None:
        """The broken invariant that ended a background task, if one did."""
        return self.objects.failed()

    async def close(self) -> None:
        """Late shards are entered, if the engine is there; everything is let go of."""
        metrics.watch(None)
        await self.objects.close()
        await self._link.close()

    def _gauges(self) -> None:
        objects_gauges(self.objects, self._link.disks.counters())
