"""The process that `bench.scale` measures: a node without HTTP, told what to do line by line.

    python -m bench.scale_node FOLDER            # serve: JSON commands on stdin
    python -m bench.scale_node FOLDER --rebuild  # the index from the disks alone, offline

Everything is that of a served node (disks, journals, index, operations on them) but the edge and
the bytes of objects: a put is the check before the body and the transaction after it, with the
location rows of shards that were never written. Answers are JSON lines; those with "puts" alone
are progress. Without its parent it ends.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote, urlencode

import uvloop

from bench import scale_rows
from bench.figures import median
from s3node.base.clock import SystemClock
from s3node.base.filesystem import Buffer, RealFileSystem
from s3node.base.ids import EpochIds
from s3node.config import Config, Keys
from s3node.meta import tables
from s3node.meta.kv import Kv, ReadTx, WriteTx
from s3node.model.conditions import WriteConditions
from s3node.node import Machine, RunningNode, open_node, site_of
from s3node.ops.buckets import create_bucket
from s3node.ops.context import Call
from s3node.ops.lists import list_objects_v2
from s3node.ops.put import check_put, commit
from s3node.s3.body import Payload
from s3node.s3.request import parse
from s3node.s3.sigv4 import Identity, PayloadKind, PayloadSpec
from s3node.services import start

DISKS, PARITY = 6, 2
WRITERS = 64
BATCH_MAX = 1000
BATCHES_OF_A_MEDIAN = 20
PAGES = 20
PAGE_KEYS = 1000
STUDIES_SHOWN = 16
BUCKET = "archive"
KEYS = Keys("SCALEACCESSKEY000001", "scale-secret-key-of-forty-characters-001")

T = TypeVar("T")
Figures = dict[str, Any]
Query = dict[str, object]


def config(folder: Path) -> Config:
    disks = tuple(folder / f"disk{number:02}" for number in range(DISKS))
    return Config(disks, folder / "meta", PARITY, KEYS, allow_non_mount=True)


def prepare(folder: Path) -> None:
    """The disks of a new node."""
    made = config(folder)
    for path in (*made.disks, made.meta):
        path.mkdir(mode=0o700)
    start.initialise(site_of(made), RealFileSystem(), SystemClock(), os.urandom)


# --- counting ---------------------------------------------------------------------------------


class CountingFiles(RealFileSystem):
    """Bytes that were written past the disk engine: those of checkpoints, and little else."""

    def __init__(self) -> None:
        self.written = 0

    def pwritev(self, fd: int, buffers: Sequence[Buffer], offset: int) -> int:
        count = super().pwritev(fd, buffers, offset)
        self.written += count
        return count


@dataclass
class CountingKv:
    """Reads through to another; counts what a listing touches."""

    inner: Kv
    rows: int = 0
    scans: int = 0

    def read(self, fn: Callable[[ReadTx], T]) -> T:
        return self.inner.read(lambda tx: fn(_CountingTx(tx, self)))

    async def write(self, fn: Callable[[WriteTx], T]) -> T:
        return await self.inner.write(fn)


@dataclass
class _CountingTx:
    inner: ReadTx
    count: CountingKv

    def get(self, key: bytes) -> bytes | None:
        self.count.rows += 1
        return self.inner.get(key)

    def scan(
        self, start: bytes, stop: bytes, *, reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        self.count.scans += 1
        for row in self.inner.scan(start, stop, reverse=reverse):
            self.count.rows += 1
            yield row

    def first(self, start: bytes, stop: bytes) -> tuple[bytes, bytes] | None:
        self.count.scans += 1
        self.count.rows += 1
        return self.inner.first(start, stop)


@dataclass
class Spent:
    """`with Spent() as spent:` seconds by the clock, and of CPU by all threads together."""

    wall: float = 0.0
    cpu: float = 0.0

    def __enter__(self) -> Spent:
        self._wall, self._cpu = time.perf_counter(), time.process_time()
        return self

    def __exit__(self, *_: object) -> None:
        self.wall = time.perf_counter() - self._wall
        self.cpu = time.process_time() - self._cpu


# --- what is measured -------------------------------------------------------------------------


async def nothing() -> AsyncIterator[bytes]:
    return
    yield


class Served:
    """A running node, and what is done to it."""

    def __init__(self, running: RunningNode, files: CountingFiles) -> None:
        self.running = running
        self.files = files
        self.node = running.node
        self.epoch = running.metadata.recovered.epoch
        # Nobody else stores bytes here, so that these ids are nobody else's.
        self.ids = EpochIds(self.epoch, os.urandom)
        self.identity = Identity(KEYS.access, self.node.owner_id, self.node.display_name)

    def call(self, method: str, key: str = "", query: Query | None = None) -> Call:
        target = f"/{BUCKET}/{quote(key)}?{urlencode(query or {})}"
        request = parse(
            method, target, [(b"Host", b"127.0.0.1"), (b"Content-Length", b"0")],
            domains=(), secure=False, remote="127.0.0.1",
        )  # fmt: skip
        payload = Payload(PayloadSpec(PayloadKind.UNSIGNED), request)
        return Call(request, self.identity, payload, nothing())

    def objects(self) -> int:
        """As the bucket's own counter says."""

        def count(tx: ReadTx) -> int:
            bucket = tables.get_bucket(tx, BUCKET)
            return tables.get_usage(tx, bucket.bucket_id)[0] if bucket else 0

        return self.node.kv.read(count)

    async def put(self, number: int, call: Call) -> None:
        """What PutObject does before and after the bytes."""
        node, geometry = self.node, self.running.geometry
        conditions = WriteConditions()
        node.kv.read(lambda tx: check_put(tx, node, call, conditions))
        made: Any = scale_rows.stored(
            number, self.ids.data_id(), self.epoch, geometry.k, geometry.m
        )
        row = scale_rows.version(made, node.owner_id)
        await node.kv.write(lambda tx: commit(tx, node, call, row, conditions, made))

    async def grow(self, first: int, count: int) -> Figures:
        """Put images first .. first + count - 1; what a put cost."""
        if not self.objects():
            await create_bucket(self.node, self.call("PUT"))
        batch = max(1, min(BATCH_MAX, count // 10))
        batches: list[Spent] = []
        preparing = 0.0
        sequence = self.running.metadata.sequence
        engine, files = self.running.disks.counters().bytes_written, self.files.written
        with Spent() as whole:
            for begin in range(first, first + count, batch):
                before = time.thread_time()
                numbers = range(begin, min(begin + batch, first + count))
                work = iter([(n, self.call("PUT", scale_rows.key(n))) for n in numbers])
                preparing += time.thread_time() - before
                with Spent() as spent:
                    await asyncio.gather(*(self._writer(work) for _ in range(WRITERS)))
                batches.append(replace(spent, wall=spent.wall / len(numbers),
                                       cpu=spent.cpu / len(numbers)))  # fmt: skip
                say({"puts": numbers.stop - first})
        last = batches[-BATCHES_OF_A_MEDIAN:]
        engine = self.running.disks.counters().bytes_written - engine
        return {
            "put_wall_s": median([one.wall for one in last]),
            "put_cpu_s": median([one.cpu for one in last]),
            "put_cpu_mean_s": (whole.cpu - preparing) / count,
            "frame_puts": count / (self.running.metadata.sequence - sequence),
            "journal_put_bytes": engine / DISKS / count,
            "checkpoint_put_bytes": (self.files.written - files) / (PARITY + 1) / count,
            "journal_bytes": self._journal_bytes(),
        }

    async def _writer(self, work: Iterator[tuple[int, Call]]) -> None:
        for number, call in work:
            await self.put(number, call)

    def _journal_bytes(self) -> int:
        """One copy of what a recovery would replay."""
        assert self.running.metadata.journal is not None
        return self.running.metadata.journal.retained_bytes()

    async def _listed(
        self, times: int, query: Callable[[], Query], keys: int | None = None
    ) -> Spent:
        """Medians of listings; those that do not show so many `keys` are done again.

        The first does not count.
        """
        each: list[Spent] = []
        while len(each) <= times:
            call = self.call("GET", query={"list-type": 2, **query()})
            with Spent() as spent:
                answer = await list_objects_v2(self.node, call)
            if keys is None or bytes(answer.body).count(b"<Contents>") == keys:
                each.append(spent)
        walls, cpus = [one.wall for one in each[1:]], [one.cpu for one in each[1:]]
        return Spent(median(walls), median(cpus))

    async def _touched(self, query: Query) -> tuple[int, int]:
        """(rows that a listing read, common prefixes that it showed)."""
        kv = CountingKv(self.node.kv)
        call = self.call("GET", query={"list-type": 2, **query})
        answer = await list_objects_v2(replace(self.node, kv=kv), call)
        return kv.rows, bytes(answer.body).count(b"<CommonPrefixes>")

    async def pages(self, issued: int) -> Figures:
        """What listings cost, of a bucket in which images up to `issued` are."""
        chance = random.Random(issued)
        keys = min(PAGE_KEYS, self.objects() // 2)  # so that a random start has a page behind it

        def somewhere() -> Query:
            number = chance.randrange(issued)
            return {"max-keys": keys, "start-after": scale_rows.key(number)}

        page = await self._listed(PAGES, somewhere, keys)
        everything: Query = {"delimiter": "/"}
        studies = {**everything, "prefix": scale_rows.PREFIX, "max-keys": STUDIES_SHOWN}
        all_rows, all_shown = await self._touched(everything)
        rows, shown = await self._touched(studies)
        if all_shown != 1 or not shown:
            raise AssertionError(f"listings show {all_shown} and {shown} common prefixes")
        whole = await self._listed(PAGES, lambda: everything)
        few = await self._listed(PAGES, lambda: studies)
        return {
            "page_wall_s": page.wall * PAGE_KEYS / keys,
            "page_cpu_s": page.cpu * PAGE_KEYS / keys,
            "whole_wall_s": whole.wall,
            "whole_rows": all_rows,
            "study_wall_s": few.wall / shown,
            "study_rows": rows / shown,
        }

    async def checkpoint(self) -> Figures:
        """Everything into checkpoints, which leaves the journal empty."""
        checkpointer = self.running.metadata.checkpointer
        assert checkpointer is not None
        with Spent() as spent:
            await checkpointer.round(everything=True)
        held = sum(one.file_bytes for one in checkpointer.manifest.ranges)
        return {"checkpoint_bytes": held, "checkpoint_s": spent.wall}


def say(answer: Figures) -> None:
    print(json.dumps(answer), flush=True)


async def serve(folder: Path) -> None:
    files = CountingFiles()
    with Spent() as spent:
        running = await open_node(
            config(folder), lambda why: say({"waiting": why}), Machine(fs=files)
        )
    served = Served(running, files)
    rebuilt = running.metadata.recovered.rebuilt
    say({"open_s": spent.wall, "rebuilt": rebuilt, "objects": served.objects()})
    while line := await asyncio.to_thread(sys.stdin.readline):
        command = json.loads(line)
        failure = running.failed()
        if failure is not None:
            raise failure
        match command.pop("do"):
            case "grow":
                say(await served.grow(**command))
            case "pages":
                say(await served.pages(**command))
            case "checkpoint":
                say(await served.checkpoint())
            case "close":
                with Spent() as spent:
                    await running.close()
                return say({"close_s": spent.wall, "index_bytes": index_bytes(folder)})
            case unknown:
                raise AssertionError(f"no such command: {unknown}")
    os._exit(1)  # nobody is left to tell


def index_bytes(folder: Path) -> int:
    """Blocks that the index takes."""
    return (folder / "meta" / start.INDEX / "data.mdb").stat().st_blocks * 512


def rebuild(folder: Path) -> None:
    with Spent() as spent:
        found = start.rebuild(site_of(config(folder)), RealFileSystem())
    say({**asdict(spent), **found})


if __name__ == "__main__":
    _folder = Path(sys.argv[1])
    if sys.argv[2:] == ["--rebuild"]:
        rebuild(_folder)
    else:
        uvloop.run(serve(_folder))
