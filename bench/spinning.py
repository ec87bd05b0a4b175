"""Seeks of a study on spinning disks, beside one file per shard: `python -m bench spinning`.

A study is stored by four senders at once and then, long after, read by one viewer in order, on
twelve disks with 8+4 whose seeks and transfers are charged by a model (`bench.platters`) in
virtual time (`bench.virtual`); processors and network cost nothing.

s3node          the real composition, its operations called as the edge calls them (parsed, routed,
                payload received), signatures left out. Its index is not on these disks.
  rewritten     the same, were the segments' blocks already written once: their extents are not
                converted by a write, and fdatasync flushes data alone.
file per shard  what other stores do, at its least: a shard is a file in one of 256 directories per
                disk, created, written, synced, its directory synced; read by opening it. Twelve
                shards on disks in turn, answered at the same write quorum. No metadata, no
                rename, no hashing: no such store can do less.
  together      the same, were all that waits on a disk written before any of it is synced, so
                that one commit of the file system serves it all.

"images/s" is by the time that passes. "disks alone" by that of the busiest disk, as if somebody
always waited for it. Seeks count until all is quiet, late shards and upkeep included.
"""

from __future__ import annotations

import asyncio
import os
import random
import tempfile
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

from rich.table import Table

from bench.client import Failure
from bench.platters import Physics, SpinningFileSystem
from bench.virtual import Lines, SpinningEngine, VirtualClock, VirtualLoop
from ec import Geometry
from s3node.config import Config, Keys
from s3node.node import Machine, RunningNode, open_node, site_of
from s3node.objects.placement import write_quorum
from s3node.ops import OPERATIONS
from s3node.ops.context import Call
from s3node.s3.body import Payload
from s3node.s3.request import parse
from s3node.s3.routes import route
from s3node.s3.sigv4 import Identity, PayloadKind, PayloadSpec
from s3node.services import start
from s3node.store.plain import InlineExecutor

DISKS, PARITY = 12, 4
DATA = DISKS - PARITY
SENDERS = 4
SLICES, SLICE_KIB = 500, 512
DIRECTORIES = 256
KEYS = Keys("AKBENCH", "s" * 40)
OURS, REWRITTEN = "s3node", "  rewritten"
FILES, TOGETHER = "file per shard", "  together"
STORED, RETRIEVED = "stored", "retrieved"


@dataclass(frozen=True)
class Study:
    slices: int = SLICES
    slice_bytes: int = SLICE_KIB << 10

    def body(self, number: int) -> bytes:
        return random.Random(number).randbytes(self.slice_bytes)

    @property
    def shard_bytes(self) -> int:
        return -(-self.slice_bytes // DATA)


@dataclass(frozen=True)
class Line:
    """What storing or retrieving one study took."""

    layout: str
    work: str
    images: int
    seeks: int
    bytes: int
    elapsed_s: float
    busiest_s: float

    @property
    def rate(self) -> float:
        return self.images / self.elapsed_s

    @property
    def limit(self) -> float:
        return self.images / self.busiest_s


class Layout(Protocol):
    async def open(self) -> None: ...

    async def store(self, number: int) -> None:
        """Answered when it is durable."""

    async def retrieve(self, number: int) -> None: ...

    async def close(self) -> None: ...


class Segments:
    """A whole node of ours."""

    def __init__(self, study: Study, folder: Path, fs: SpinningFileSystem, lines: Lines) -> None:
        disks = tuple(folder / f"disk{slot}" for slot in range(DISKS))
        self._study = study
        self._config = Config(disks, folder / "meta", PARITY, KEYS)
        source = random.Random(0)
        self._machine = Machine(
            fs=fs,
            clock=VirtualClock(),
            random=source.randbytes,
            engine=lambda slots: SpinningEngine(fs, lines),
            threads=InlineExecutor,
        )
        self._node: RunningNode | None = None

    async def open(self) -> None:
        machine = self._machine
        start.initialise(site_of(self._config), machine.fs, machine.clock, machine.random)
        self._node = await open_node(self._config, _refuse, machine)
        await self._ask("PUT", "/study")

    async def store(self, number: int) -> None:
        await self._ask("PUT", f"/study/{number:06}", self._study.body(number))

    async def retrieve(self, number: int) -> None:
        if await self._ask("GET", f"/study/{number:06}") != self._study.body(number):
            raise Failure(f"slice {number} came back as other bytes")

    async def close(self) -> None:
        assert self._node is not None
        await self._node.close()
        failure = self._node.failed()
        if failure is not None:
            raise failure

    async def _ask(self, method: str, path: str, body: bytes = b"") -> bytes:
        assert self._node is not None
        headers = [(b"host", b"bench"), (b"content-length", b"%d" % len(body))]
        request = parse(method, path, headers, domains=(), secure=False, remote="127.0.0.1")
        identity = Identity(KEYS.access, self._node.node.owner_id, self._node.node.display_name)
        payload = Payload(PayloadSpec(PayloadKind.UNSIGNED), request)
        call = Call(request, identity, payload, _pieces(body))
        answer = await OPERATIONS[route(request)](self._node.node, call)
        if answer.stream is None:
            return answer.body
        return b"".join([bytes(view) async for views in answer.stream for view in views])


def _refuse(reason: str) -> None:
    raise Failure(f"the node does not start: {reason}")


async def _pieces(body: bytes) -> AsyncIterator[bytes]:
    if body:
        yield body


class Files:
    """A file of its own for every shard; `batch_max` of a disk are written before a sync."""

    def __init__(
        self,
        study: Study,
        folder: Path,
        fs: SpinningFileSystem,
        lines: Lines,
        batch_max: int = 1,
    ) -> None:
        self._batch_max = batch_max
        self._disks = [str(folder / f"disk{slot}") for slot in range(DISKS)]
        self._fs = fs
        self._lines = lines
        self._shard = bytes(study.shard_bytes)
        self._waiting: list[list[tuple[str, asyncio.Future[None]]]] = [[] for _ in self._disks]

    async def open(self) -> None:
        for disk in self._disks:
            for number in range(DIRECTORIES):
                self._fs.mkdir(f"{disk}/{number:02x}")
        self._fs.forget()  # and all of it is committed

    async def store(self, number: int) -> None:
        answers = [self._put(*self._place(number, shard)) for shard in range(DISKS)]
        for answer in islice(asyncio.as_completed(answers), write_quorum(Geometry(DATA, PARITY))):
            await answer

    async def retrieve(self, number: int) -> None:
        places = [self._place(number, shard) for shard in range(DATA)]
        got = await asyncio.gather(
            *(self._lines.do(slot, partial(self._read, path)) for slot, path in places)
        )
        if any(shard != self._shard for shard in got):
            raise Failure(f"slice {number} came back as other bytes")

    async def close(self) -> None:
        await self._lines.idle()

    def _place(self, number: int, shard: int) -> tuple[int, str]:
        """Slot and path of a shard; the data shards of slices go round all disks."""
        slot = (number + shard) % DISKS
        name = f"{number:06}.{shard}"
        directory = zlib.crc32(name.encode()) % DIRECTORIES
        return slot, f"{self._disks[slot]}/{directory:02x}/{name}"

    def _put(self, slot: int, path: str) -> asyncio.Future[None]:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[slot].append((path, future))
        if len(self._waiting[slot]) == 1:
            self._lines.ask(slot, partial(self._write, slot), _answer)
        return future

    def _write(self, slot: int) -> list[asyncio.Future[None]]:
        """What waits: every file written, then every one synced, with its directory."""
        fs, waiting = self._fs, self._waiting[slot]
        batch, self._waiting[slot] = waiting[: self._batch_max], waiting[self._batch_max :]
        if self._waiting[slot]:
            self._lines.ask(slot, partial(self._write, slot), _answer)
        opened = []
        for path, _ in batch:
            opened.append(fs.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL))
            fs.pwritev(opened[-1], [self._shard], 0)
        for fd, (path, _) in zip(opened, batch, strict=True):
            fs.fdatasync(fd)
            fs.fsync_dir(path.rpartition("/")[0])
            fs.close(fd)
        return [future for _, future in batch]

    def _read(self, path: str) -> bytes:
        fd = self._fs.open(path, os.O_RDONLY)
        try:
            return self._fs.pread(fd, len(self._shard), 0)
        finally:
            self._fs.close(fd)


def _answer(futures: Sequence[asyncio.Future[None]]) -> None:
    for future in futures:
        future.set_result(None)


# --- a study ------------------------------------------------------------------------------------

CONTENDERS: dict[str, tuple[Callable[..., Layout], Physics]] = {
    OURS: (Segments, Physics()),
    REWRITTEN: (Segments, Physics(converts=False)),
    FILES: (Files, Physics()),
    TOGETHER: (partial(Files, batch_max=SENDERS), Physics()),
}


def run(folder: Path, study: Study, tick: Callable[[str], None] = lambda _: None) -> list[Line]:
    """Every layout on disks of its own, made below `folder` and removed."""
    lines = []
    for name, (make, physics) in CONTENDERS.items():
        tick(f"spinning: {name.strip()}")
        with (
            tempfile.TemporaryDirectory(dir=folder, prefix="bench-") as made,
            asyncio.Runner(loop_factory=VirtualLoop) as runner,
        ):
            lines += runner.run(_study(name, make, study, Path(made), physics))
    return lines


async def _study(
    name: str, make: Callable[..., Layout], study: Study, folder: Path, physics: Physics
) -> list[Line]:
    disks = [folder / f"disk{slot}" for slot in range(DISKS)]
    for disk in disks:
        disk.mkdir()
    fs = SpinningFileSystem([str(disk) for disk in disks], physics)
    lines = Lines(fs.platters)
    layout = make(study, folder, fs, lines)
    await layout.open()
    try:
        await lines.idle()
        stored = await _measured(name, STORED, study, fs, lines, partial(_store, layout, study))
        fs.forget()
        work = partial(_retrieve, layout, study)
        return [stored, await _measured(name, RETRIEVED, study, fs, lines, work)]
    finally:
        await layout.close()


async def _measured(
    name: str,
    what: str,
    study: Study,
    fs: SpinningFileSystem,
    lines: Lines,
    work: Callable[[], Awaitable[None]],
) -> Line:
    loop = asyncio.get_running_loop()
    before = [platter.sums for platter in fs.platters]
    began = loop.time()
    await work()
    elapsed = loop.time() - began
    await lines.idle()
    done = [platter.sums.since(then) for platter, then in zip(fs.platters, before, strict=True)]
    return Line(
        name,
        what,
        study.slices,
        sum(one.seeks for one in done),
        sum(one.bytes for one in done),
        elapsed,
        max(one.busy_s for one in done),
    )


async def _store(layout: Layout, study: Study) -> None:
    numbers = iter(range(study.slices))

    async def send() -> None:
        for number in numbers:
            await layout.store(number)

    async with asyncio.TaskGroup() as group:
        for _ in range(SENDERS):
            group.create_task(send())


async def _retrieve(layout: Layout, study: Study) -> None:
    for number in range(study.slices):
        await layout.retrieve(number)


# --- what is printed ----------------------------------------------------------------------------


def ratios(lines: Sequence[Line], line: Line) -> tuple[float, float]:
    """A line beside one file per shard: how many times fewer seeks, how many times the rate."""
    (other,) = [one for one in lines if one.layout == FILES and one.work == line.work]
    return other.seeks / max(1, line.seeks), line.rate / other.rate


def table_of(lines: Sequence[Line], study: Study) -> Table:
    physics = Physics()
    title = f"A study of {study.slices} slices of {study.slice_bytes >> 10} KiB"
    table = Table(
        title=f"{title}, {DATA}+{PARITY} on {DISKS} modelled disks: "
        f"{1e3 * physics.seek_s:.0f} ms a seek, {physics.bytes_per_s / 1e6:.0f} MB/s"
    )
    table.caption = "times fewer, times as fast: than one file per shard"
    table.add_column("")
    table.add_column("layout")
    for column in ("seeks", "an image", "times fewer", "images/s", "times as fast", "disks alone",
                   "MB"):  # fmt: skip
        table.add_column(column, justify="right")
    for work in (STORED, RETRIEVED):
        for line in (line for line in lines if line.work == work):
            fewer, faster = ratios(lines, line)
            table.add_row(
                work,
                line.layout,
                f"{line.seeks:,}",
                f"{line.seeks / line.images:.2f}",
                f"{fewer:.1f}",
                f"{line.rate:.1f}",
                f"{faster:.2f}",
                f"{line.limit:.1f}",
                f"{line.bytes / 1e6:.0f}",
            )
        table.add_section()
    return table


def data_of(lines: Sequence[Line]) -> list[dict[str, Any]]:
    """Plain values, for the file of `--json`."""
    return [
        {
            "layout": line.layout.strip(),
            "work": line.work,
            "images": line.images,
            "seeks": line.seeks,
            "bytes": line.bytes,
            "elapsed_s": line.elapsed_s,
            "busiest_s": line.busiest_s,
        }
        for line in lines
    ]
