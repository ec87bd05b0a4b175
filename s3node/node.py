"""A running node: every part made, joined, started, and closed in the right order.

With `main`, the only place that knows concrete classes. Opening waits as long as too few disks
are there; what it waits for is told.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
import os
import socket
from collections.abc import Callable, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import TypeVar

from ec import Geometry, NativeCodec
from s3node.base import metrics
from s3node.base.arena import Arena
from s3node.base.clock import Clock, SystemClock
from s3node.base.errors import QuorumLost
from s3node.base.filesystem import FileSystem, RealFileSystem
from s3node.base.ids import EpochIds, RandomBytes
from s3node.base.limits import DISK_LOW_SHARE, WRITE_ARENA_BYTES, WRITE_BUFFER_BYTES
from s3node.config import Config
from s3node.edge.admin_listener import View
from s3node.meta import tables
from s3node.meta.index import IndexPlace
from s3node.meta.kv import Kv, ReadTx
from s3node.meta.lmdb_index import LmdbPlace
from s3node.meta.metadata import Metadata, Recovered, Settings
from s3node.objects.doubt import Doubts
from s3node.objects.hashing import SharedHashing
from s3node.objects.store import ObjectStore
from s3node.ops.context import Node
from s3node.processes.door import Door, ReadOnly, Terms
from s3node.services.monitor import DiskMonitor
from s3node.services.start import Looked, Site, look, settle, stamp
from s3node.store.diskset import Disks
from s3node.store.engine import Counters, Engine
from s3node.store.limits import Limits
from s3node.store.native import NativeEngine
from s3node.store.seams import DiskState, DiskStatus

LOG = logging.getLogger("s3node")

VERSION = version("s3node")
RETRY_S = 1.0
OWED_ROWS_COUNTED_MAX = 10_000

Tell = Callable[[str], None]
R = TypeVar("R", bound="RunningNode")


def site_of(config: Config) -> Site:
    return Site(tuple(str(path) for path in config.disks), config.meta, config.parity)


@dataclass(frozen=True, slots=True)
class Machine:
    """What a node runs on. As it stands here, the real one; the tests have one that is simulated
    and can lose its power at any call.
    """

    fs: FileSystem = field(default_factory=RealFileSystem)
    clock: Clock = field(default_factory=SystemClock)
    random: RandomBytes = os.urandom
    engine: Callable[[int], Engine] = NativeEngine  # of so many disks
    index: Callable[[Path], IndexPlace] = LmdbPlace
    threads: Callable[[int], Executor] = ThreadPoolExecutor  # so many
    limits: Limits = field(default_factory=Limits)
    settings: Settings = Settings()  # noqa: RUF009  # immutable


async def open_node(config: Config, tell: Tell, machine: Machine | None = None) -> RunningNode:
    """Open the node; while too few disks are there, `tell` why and try again."""
    return await _open(config, tell, machine or Machine(), RunningNode)


async def open_engine(config: Config, tell: Tell, machine: Machine | None = None) -> EngineNode:
    """The same for a node whose requests are answered by other processes."""
    return await _open(config, tell, machine or Machine(), EngineNode)


async def _open(config: Config, tell: Tell, machine: Machine, kind: type[R]) -> R:
    while True:
        try:
            return await _open_once(config, machine, kind)
        except QuorumLost as fault:
            tell(str(fault))
            await asyncio.sleep(RETRY_S)


async def _open_once(config: Config, machine: Machine, kind: type[R]) -> R:
    site = site_of(config)
    looked = await asyncio.to_thread(look, site, machine.fs)
    place = machine.index(site.index)
    try:
        with machine.threads(len(site.disks)) as threads:
            recovered = await asyncio.to_thread(
                settle, looked, place, machine.clock, machine.random, threads
            )
    except BaseException:
        looked.close()
        raise
    node = kind(config, machine, looked, recovered)
    await node.start()
    return node


class RunningNode:
    """Everything that serves. Made on the loop that it runs on."""

    def __init__(
        self, config: Config, machine: Machine, looked: Looked, recovered: Recovered
    ) -> None:
        self.clock = machine.clock
        self.geometry = Geometry(len(config.disks) - config.parity, config.parity)
        self.codec = NativeCodec()
        self._looked = looked
        self._started_ns = self.clock.monotonic_ns()
        self._threads = machine.threads(os.cpu_count() or 1)
        self._hashing = SharedHashing(machine.threads(1), machine.clock)
        ids = EpochIds(recovered.epoch, machine.random)
        engine = machine.engine(len(config.disks))
        # What waits for a disk's log, and is read from it, is no more than its even part of memory.
        queue_bytes = min(machine.limits.queue_bytes, WRITE_BUFFER_BYTES // len(config.disks))
        bounds = replace(machine.limits, queue_bytes=queue_bytes, hung_max=config.parity)
        self.disks = Disks(looked.fs, engine, looked.opened, ids, self.clock, bounds)
        self.metadata = Metadata(recovered, self.disks, self.clock, machine.settings)
        self.objects = ObjectStore(
            self.metadata.kv,
            self.disks,
            self.codec,
            self.geometry,
            ids,
            self.clock,
            self._threads,
            self._hashing,
            lambda: self.metadata.sequence,
            Arena(WRITE_ARENA_BYTES),
        )
        self.doubts = Doubts(self.metadata.kv, self.disks, self.clock)
        self.monitor = DiskMonitor(
            self.disks,
            self.doubts,
            self.objects.repairer,
            self._stamp,
            self.metadata.distrust,
        )
        self._monitoring: asyncio.Task[None] | None = None
        self._config, self._machine = config, machine
        self.views: Mapping[str, View] = {"status": self.status, "disks": self.disk_list}

    @property
    def node(self) -> Node:
        """What operations work with."""
        assert self._config.keys is not None, "refused at start"
        return self.rekey(self._config.keys.secret)

    def rekey(self, secret: str) -> Node:
        """The same, with a root secret that has changed."""
        deployment_id = self._looked.deployment.deployment_id
        kv = self.metadata.kv
        return ops_node(self._config, self._machine, kv, self.objects, deployment_id, secret)

    async def start(self) -> None:
        await self.metadata.start()
        self._monitoring = asyncio.create_task(self.monitor.run(), name="disk monitor")
        metrics.BUILD.labels(VERSION, f"{self.geometry.k}+{self.geometry.m}").set(1)
        metrics.watch(self.gauges)

    def trouble(self) -> str:
        """Why writes cannot be served just now; "" if they can."""
        return self.metadata.stall

    def failed(self) -> BaseException | None:
        """The broken invariant that ended a background task, if one did."""
        monitoring = self._monitoring
        if monitoring is not None and monitoring.done() and not monitoring.cancelled():
            return monitoring.exception()
        return self.objects.failed() or self.metadata.failed()

    async def close(self) -> None:
        """Late shards are entered, the journal settled, segments and index sealed."""
        metrics.watch(None)
        if self._monitoring is not None:
            self._monitoring.cancel()
            await asyncio.gather(self._monitoring, return_exceptions=True)
        try:
            await self.objects.close()
            await self.metadata.close()
            await self.disks.close()
        finally:
            self._threads.shutdown()
            self._hashing.close()

    def _stamp(self, slot: int) -> None:
        stamp(self._looked.homes[slot], self.metadata.recovered)

    # --- what it tells ------------------------------------------------------------------------

    def disk_list(self) -> list[dict[str, object]]:
        """One JSON object per disk."""
        journal = self.metadata.journal.status() if self.metadata.journal else {}
        told = []
        for disk in self.disks.status():
            log = journal.get(disk.slot)
            told.append(
                {
                    "slot": disk.slot,
                    "path": disk.path,
                    "disk_id": disk.disk_id.hex() if disk.disk_id else None,
                    "state": disk.state.value,
                    "reason": disk.reason,
                    "total_bytes": disk.total_bytes,
                    "free_bytes": disk.free_bytes,
                    "journal": log.state.value if log else "none",
                    "journal_reason": log.reason if log else "",
                    "journal_lag_bytes": log.lag_bytes if log else 0,
                }
            )
        return told

    def status(self) -> dict[str, object]:
        """The whole node as one JSON object."""
        owed = self.metadata.kv.read(_owed_shards)
        trouble = self.trouble()
        recovered = self.metadata.recovered
        return {
            "ready": not trouble,
            "reason": trouble,
            "version": VERSION,
            "uptime_s": (self.clock.monotonic_ns() - self._started_ns) / 1e9,
            "geometry": {"k": self.geometry.k, "m": self.geometry.m},
            "codec": self.codec.name,
            "epoch": recovered.epoch,
            "sequence": self.metadata.sequence,
            "disks": self.disk_list(),
            "redundancy": {"owed_shards": owed},
            "alarms": self.alarms(),
            "counters": {
                "engine": asdict(self.disks.counters()),
                "undecided_records": self.disks.pins(),
                **objects_told(self.objects),
            },
        }

    def alarms(self) -> list[str]:
        """What somebody should look at soon."""
        recovered = self.metadata.recovered
        behind = [f"read-only: {recovered.behind}"] if recovered.behind else []
        low = [_low(disk) for disk in self.disks.status() if _is_low(disk)]
        doubts = self.doubts.alarms()
        return [*behind, *self.metadata.faults, *recovered.report.corrupt(), *doubts, *low]

    def gauges(self) -> None:
        """Bring the gauges up to date; called when metrics are asked for."""
        for disk in self.disks.status():
            metrics.DISK_BYTES.labels(disk.slot, "total").set(disk.total_bytes)
            metrics.DISK_BYTES.labels(disk.slot, "free").set(disk.free_bytes)
            for state in DiskState:
                metrics.DISK_STATE.labels(disk.slot, state.value).set(state is disk.state)
        metrics.ALARMS.set(len(self.alarms()))
        journal = self.metadata.journal.status() if self.metadata.journal else {}
        for slot, log in journal.items():
            metrics.JOURNAL_LAG.labels(slot).set(log.lag_bytes)
        metrics.OWED_SHARDS.set(self.metadata.kv.read(_owed_shards))
        metrics.JOURNAL_SEQUENCE.set(self.metadata.sequence)
        objects_gauges(self.objects, self.disks.counters())


class EngineNode(RunningNode):
    """A node that other processes answer requests with: they come in by its door."""

    async def start(self) -> None:
        await super().start()
        recovered = self.metadata.recovered
        deciding = self.metadata.engine or ReadOnly(recovered.behind, self.metadata.sequence)
        deployment_id = self._looked.deployment.deployment_id
        terms = Terms(recovered.epoch, deployment_id, str(self._looked.site.index))
        self._door = Door(deciding, self.disks, terms, self.metadata.index.reader_check)
        self._door.start()

    def accept(self, sock: socket.socket) -> None:
        """An edge, at the other end of a connected stream socket."""
        self._door.accept(sock)

    async def close(self) -> None:
        """Nobody asks for anything more; then as one that serves by itself."""
        await self._door.close()
        await super().close()


def objects_told(objects: ObjectStore) -> dict[str, object]:
    """What reads and writes did, and the memory that they take."""
    return {
        "objects": asdict(objects.counters),
        "buffer_bytes": objects.writing.used + objects.reading.used,
        "buffer_bytes_peak": objects.writing.peak + objects.reading.peak,
    }


def objects_gauges(objects: ObjectStore, engine: Counters) -> None:
    """The same as metrics."""
    metrics.BUFFER_BYTES.set(objects.writing.used + objects.reading.used)
    for name, value in asdict(engine).items():
        metrics.ENGINE.labels(name).set(value)
    for name, value in asdict(objects.counters).items():
        if isinstance(value, int):
            metrics.OBJECTS.labels(name).set(value)


def _is_low(disk: DiskStatus) -> bool:
    return disk.state is DiskState.ONLINE and disk.free_bytes * DISK_LOW_SHARE < disk.total_bytes


def _low(disk: DiskStatus) -> str:
    free = 100 * disk.free_bytes // disk.total_bytes
    return f"disk {disk.slot} ({disk.path}) is nearly full: {free} % are free"


def ops_node(
    config: Config,
    machine: Machine,
    kv: Kv,
    objects: ObjectStore,
    deployment_id: bytes,
    secret: str,
) -> Node:
    """What operations work with."""
    owner_id = hashlib.sha256(b"s3node owner " + deployment_id).hexdigest()
    purpose = b"s3node continuation tokens " + deployment_id
    token_key = hmac.digest(secret.encode(), purpose, "sha256")
    return Node(
        kv=kv,
        objects=objects,
        clock=machine.clock,
        random=machine.random,
        region=config.region,
        owner_id=owner_id,
        display_name="root",
        token_key=token_key,
    )


def _owed_shards(tx: ReadTx) -> int:
    """Shards that are not yet where they should be (of the first rows, when there are many)."""
    first = islice(tables.scan_owed(tx), OWED_ROWS_COUNTED_MAX)
    return sum(row.shards for *_, row in first)
