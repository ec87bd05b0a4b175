"""Requests a second of a node and of its peer, in one run: `python -m bench table`.

Ours is 8+4 over twelve directories that lie beside each other on one disk, every write fsynced,
everything else at its default. The peer is SeaweedFS at its defaults: one copy, no erasure
coding, no fsync. For each size both are started anew, filled alike, and then take turns, so that
a disturbance hits both; a figure is the median of the rounds, the ratio median over median.

Every PUT is to a new key; what was answered is listed afterwards and must be there. Before each
round the file systems are synced, so that nobody pays for what the other left in memory.
"""

from __future__ import annotations

import os
import random
import re
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import quote

import boto3
from botocore.config import Config

from bench import scene, wrk
from bench.client import Failure, ask, load
from bench.figures import percentile
from bench.presign import Presigner
from bench.processes import Memory, Watch
from bench.scene import Scene
from bench.server import Server
from bench.standstill import DiskWatch

KIB, MIB = 1 << 10, 1 << 20
WARM_UP_S = 1
WARM_UPS_MAX = 10
WARM_UP_COUNT_MAX = 20_000
SIGNED_MIN = 1000
ROUND_BYTES_MAX = 1 << 30  # a round of PUTs ends when it has stored that much
FILL_BYTES_MAX = 128 * MIB  # what GETs go round in
FILL_COUNT_MAX = 4000
FILL_CONNECTIONS = 8
LISTED_BYTES = 100
PAGE_KEYS = 1000


@dataclass(frozen=True)
class Work:
    """One row: what is asked, and how many times the peer's rate must be reached."""

    name: str
    method: str
    size: int
    connections: int
    must: float
    p99_counts: bool = False  # p99 must be no worse than the peer's
    keys: int = 0  # of a listing


WORKS = (
    Work("put-4k", "PUT", 4 * KIB, 16, 1.5),
    Work("get-4k", "GET", 4 * KIB, 16, 1.5),
    Work("put-512k", "PUT", 512 * KIB, 8, 2.5, p99_counts=True),
    Work("get-512k", "GET", 512 * KIB, 8, 2.0, p99_counts=True),
    Work("put-16m", "PUT", 16 * MIB, 2, 2.0),
    Work("get-16m", "GET", 16 * MIB, 4, 1.3),
    Work("list-19000", "LIST", LISTED_BYTES, 1, 1.0, keys=19_000),
)


@dataclass(frozen=True)
class Measured:
    """One round of one contender. `rate`: requests a second, of a listing keys a second."""

    rate: float
    p50_ms: float
    p99_ms: float
    operations: int
    failures: dict[str, int]
    cpu_ms: float | None = None  # of the server's processes, per request
    peak: Memory | None = None
    syncs: float | None = None  # per request
    still_ms: float | None = None  # a second in which the disk answered nothing it was asked


@dataclass
class Row:
    """All rounds of one piece of work, by contender; ours is the first."""

    work: Work
    rounds: dict[str, list[Measured]] = field(default_factory=dict)


def run(
    stage: Scene, works: tuple[Work, ...], rounds: int, seconds: int, tick: Callable[[str], None]
) -> Iterator[Row]:
    """The rows one after the other; `tick` is told before each round what is about to be done."""
    if any(work.method != "LIST" for work in works):
        wrk.installed()
    for size in sorted({work.size for work in works}, key=[work.size for work in works].index):
        with ExitStack() as stack:
            contenders = [
                Contender(server, f"bench-{secrets.token_hex(4)}")
                for server in scene.servers(stage, stack)
            ]
            for each in contenders:
                each.make_bucket()
                stack.callback(each.clear)
            for work in (work for work in works if work.size == size):
                yield _row(work, contenders, rounds, seconds, tick)


def _row(
    work: Work,
    contenders: list[Contender],
    rounds: int,
    seconds: int,
    tick: Callable[[str], None],
) -> Row:
    row = Row(work, {each.server.name: [] for each in contenders})
    for each in contenders:
        tick(f"{work.name}: filling and warming up {each.server.name}")
        each.prepare(work)
    for number in range(rounds):
        # Who comes first changes: neither always runs after the other.
        for each in contenders if number % 2 == 0 else reversed(contenders):
            os.sync()
            tick(f"{work.name}: round {number + 1} of {rounds}, {each.server.name}")
            row.rounds[each.server.name].append(each.measure(work, number, seconds))
    return row


class Contender:
    """A server, the bucket that is measured in, and what it was filled with."""

    def __init__(self, server: Server, bucket: str) -> None:
        self.server = server
        self.bucket = bucket
        self.presigner = Presigner(server.endpoint, server.keys)
        self._rate = 0.0  # of the last round of PUTs
        self._gets: list[str] = []

    def make_bucket(self) -> None:
        (target,) = self.presigner.targets("PUT", self.bucket, [""])
        ask(self.server.endpoint, "PUT", target)

    def clear(self) -> None:
        """Take back what was stored at somebody else's; our own servers' folders vanish."""
        if self.server.pid is None:
            s3 = self._boto3()
            for page in s3.get_paginator("list_objects_v2").paginate(Bucket=self.bucket):
                keys = [{"Key": item["Key"]} for item in page.get("Contents", [])]
                if keys:
                    s3.delete_objects(Bucket=self.bucket, Delete={"Objects": keys})
            s3.delete_bucket(Bucket=self.bucket)

    # --- before the rounds --------------------------------------------------------------------

    def prepare(self, work: Work) -> None:
        if work.method == "PUT":
            # Tells how many requests have to be signed for a round.
            self._rate = WARM_UP_COUNT_MAX / WARM_UP_S
            _awake(lambda: self._put(work, "warm", WARM_UP_S))
            return
        count = work.keys or min(FILL_COUNT_MAX, max(1, FILL_BYTES_MAX // work.size))
        names = [f"fill-{work.name}/{number:06}" for number in range(count)]
        puts = self.presigner.targets("PUT", self.bucket, names)
        load(self.server.endpoint, "PUT", puts, os.urandom(work.size), FILL_CONNECTIONS)
        if work.method == "GET":
            self._gets = self.presigner.targets("GET", self.bucket, names)
            random.Random(work.size).shuffle(self._gets)
            _awake(lambda: self._get(work, WARM_UP_S))
        else:
            self._list(work)

    # --- a round ------------------------------------------------------------------------------

    def measure(self, work: Work, number: int, seconds: int) -> Measured:
        if work.method == "PUT":
            return self._put(work, f"{number:03}", seconds)
        return self._get(work, seconds) if work.method == "GET" else self._list(work)

    def _put(self, work: Work, name: str, seconds: int) -> Measured:
        # Enough in any case: wrk drops what is under way when it runs out.
        count = max(SIGNED_MIN, int(1.5 * self._rate * seconds))
        count = min(count, ROUND_BYTES_MAX // work.size)
        prefix = f"{work.name}/{name}/"
        names = [f"{prefix}{index:07}" for index in range(count)]
        body = os.urandom(work.size)
        measured = self._wrk("PUT", names, body, work.connections, seconds)
        self._rate = measured.rate
        self._check_stored(prefix, measured.operations, body)
        return measured

    def _get(self, work: Work, seconds: int) -> Measured:
        found, measured = self._loaded("GET", self._gets, b"", work.connections, seconds)
        if not found.failures and found.bytes < found.requests * work.size:
            raise Failure(f"{self.server.name}: answers to GET were too short")
        return measured

    def _wrk(
        self, method: str, names: list[str], body: bytes, connections: int, seconds: int
    ) -> Measured:
        targets = self.presigner.targets(method, self.bucket, names)
        return self._loaded(method, targets, body, connections, seconds)[1]

    def _loaded(
        self, method: str, targets: list[str], body: bytes, connections: int, seconds: int
    ) -> tuple[wrk.Round, Measured]:
        before = self.server.syncs()
        with Watch(self.server.pid) as watch, DiskWatch(self.server.folder) as disk:
            found = wrk.load(self.server.endpoint, method, targets, body, connections, seconds)
        syncs = _difference(before, self.server.syncs())
        figures = (found.rate, found.p50_ms, found.p99_ms, found.requests, found.failures)
        measured = _measured(figures, watch, syncs)
        still = None if disk.seconds is None else disk.seconds / seconds * 1e3
        return found, replace(measured, still_ms=still)

    def _list(self, work: Work) -> Measured:
        s3 = self._boto3()
        pages = s3.get_paginator("list_objects_v2").paginate(
            Bucket=self.bucket, Prefix=f"fill-{work.name}/"
        )
        taken, keys = [], 0
        before = self.server.syncs()
        with Watch(self.server.pid) as watch:
            began = last = time.perf_counter()
            for page in pages:
                keys += len(page["Contents"])
                now = time.perf_counter()
                taken.append((now - last) * 1e3)
                last = now
        if keys != work.keys:
            raise Failure(f"{self.server.name} listed {keys} keys of {work.keys}")
        syncs = _difference(before, self.server.syncs())
        rates = (keys / (last - began), percentile(taken, 50), percentile(taken, 99))
        return _measured((*rates, len(taken), {}), watch, syncs)

    def _boto3(self) -> Any:
        keys = self.server.keys
        return boto3.client(
            "s3",
            endpoint_url=self.server.endpoint,
            aws_access_key_id=keys.access_key,
            aws_secret_access_key=keys.secret_key,
            region_name=keys.region,
            config=Config(signature_version="s3v4", s3={"addressing_style": "path"}),
        )

    # --- was it done? -------------------------------------------------------------------------

    def _check_stored(self, prefix: str, answered: int, body: bytes) -> None:
        """Whatever was answered is there: counted by listing, and one of them compared."""
        names: list[str] = []
        token = ""
        while True:
            query = f"list-type=2&max-keys={PAGE_KEYS}&prefix={quote(prefix, safe='')}"
            if token:
                query = f"continuation-token={quote(token, safe='')}&{query}"
            (target,) = self.presigner.targets("GET", self.bucket, [""], query)
            page = ask(self.server.endpoint, "GET", target).decode()
            names += re.findall("<Key>([^<]*)</Key>", page)
            more = re.search("<NextContinuationToken>([^<]*)</NextContinuationToken>", page)
            if more is None:
                break
            token = more[1]
        if len(names) < answered:
            raise Failure(f"{self.server.name} stored {len(names)} of {answered} objects")
        (target,) = self.presigner.targets("GET", self.bucket, [random.choice(names)])
        if ask(self.server.endpoint, "GET", target) != body:
            raise Failure(f"{self.server.name} gave other bytes than were stored")


def _awake(warm_up: Callable[[], object]) -> None:
    """Warm up, longer when nothing was answered yet: the peer first makes its volumes."""
    for _ in range(WARM_UPS_MAX - 1):
        with suppress(wrk.NothingDone):
            warm_up()
            return
    warm_up()


def _difference(before: int | None, after: int | None) -> int | None:
    return None if before is None or after is None else after - before


def _measured(
    figures: tuple[float, float, float, int, dict[str, int]], watch: Watch, syncs: int | None
) -> Measured:
    operations = figures[3]
    return Measured(
        *figures,
        cpu_ms=None if watch.cpu is None else watch.cpu / operations * 1e3,
        peak=watch.peak,
        syncs=None if syncs is None else syncs / operations,
    )
