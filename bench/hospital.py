"""A day of a hospital: modalities write studies at once, viewers read them back in order.

`python -m bench hospital`. Every station (a scanner, its gateway) stores its studies instance by
instance over one connection, all stations at the same time, each instance as its own object.
Afterwards one viewer opens study by study in the order they were made: the first image by itself,
then all others in their order over a few connections. Ours and the peer take turns.

Sizes and counts: of a published archive, 1 M studies, 476 M files, 48 TB: 476 instances a study,
about 100 KB each. The mix by studies (plain films, CT, ultrasound, MR, mammograms, others) is a
common one; sizes are those of the usual matrices after lossless compression, and the instances
of CT and MR are chosen so that both means come out.
"""

from __future__ import annotations

import asyncio
import os
import random
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

from bench import scene
from bench.client import Connection, Failure, apart, ask
from bench.figures import percentile
from bench.presign import Presigner
from bench.processes import Memory, Watch
from bench.scene import Scene
from bench.server import Server

KB = 1000
SEED = 476
HEADER_BYTES = 128  # of every instance, unlike that of any other
VIEWER_CONNECTIONS = 4


@dataclass(frozen=True)
class Modality:
    """`share`: studies of a hundred. Sizes in bytes, drawn evenly between the two."""

    name: str
    share: float
    instances: int
    smallest: int
    largest: int
    stations: int = 1


DAY = (
    Modality("CT", 20, 1400, 80 * KB, 160 * KB, stations=2),
    Modality("MR", 12, 1500, 30 * KB, 60 * KB, stations=2),
    Modality("US", 15, 40, 30 * KB, 90 * KB),
    Modality("CR", 45, 2, 2000 * KB, 3200 * KB),
    Modality("MG", 5, 4, 8000 * KB, 10_000 * KB),
    Modality("OT", 3, 300, 5 * KB, 35 * KB),
)


@dataclass(frozen=True)
class Study:
    """Its instances in order: (key, bytes)."""

    station: str
    instances: tuple[tuple[str, int], ...]


def studies_of_a_day(count: int, day: Sequence[Modality] = DAY) -> list[Study]:
    """About `count` studies, at least one of each modality; the same ones every time."""
    draw = random.Random(SEED)
    made = []
    for modality in day:
        for number in range(max(1, round(count * modality.share / 100))):
            uid = f"1.2.826.{draw.getrandbits(48)}"
            station = f"{modality.name}{number % modality.stations + 1}"
            instances = tuple(
                (f"dicom/{uid}/{uid}.1/{uid}.1.{index + 1}.dcm", size)
                for index, size in enumerate(
                    draw.randint(modality.smallest, modality.largest)
                    for _ in range(modality.instances)
                )
            )
            made.append(Study(station, instances))
    draw.shuffle(made)
    return made


class Images:
    """The bytes of every instance: a header of its own, then what all of them share."""

    def __init__(self, largest: int) -> None:
        self._noise = memoryview(os.urandom(largest))

    def of(self, key: str, size: int) -> tuple[bytes, memoryview]:
        header = key.encode()[-HEADER_BYTES:].rjust(HEADER_BYTES, b".")[:size]
        return header, self._noise[: size - len(header)]

    def check(self, key: str, size: int, found: bytearray) -> None:
        header, rest = self.of(key, size)
        if found[: len(header)] != header or memoryview(found)[len(header) :] != rest:
            raise Failure(f"{key} came back with other bytes")


@dataclass
class Day:
    """What one round measured; times in milliseconds."""

    write_seconds: float = 0.0
    read_seconds: float = 0.0
    instances: int = 0
    bytes: int = 0
    put_ms: list[float] = field(default_factory=list)
    first_ms: list[float] = field(default_factory=list)
    study_ms: list[float] = field(default_factory=list)
    write_cpu_ms: float | None = None  # of the server, per instance
    read_cpu_ms: float | None = None
    peak: Memory | None = None

    def figures(self) -> dict[str, float]:
        """By name; more is better when the name ends in "/s", else less."""
        return {
            "images written/s": self.instances / self.write_seconds,
            "MB written/s": self.bytes / self.write_seconds / 1e6,
            "write one, p50 ms": percentile(self.put_ms, 50),
            "write one, p99 ms": percentile(self.put_ms, 99),
            "images read/s": self.instances / self.read_seconds,
            "MB read/s": self.bytes / self.read_seconds / 1e6,
            "first image, p50 ms": percentile(self.first_ms, 50),
            "first image, p99 ms": percentile(self.first_ms, 99),
            "whole study, p50 ms": percentile(self.study_ms, 50),
            "whole study, p99 ms": percentile(self.study_ms, 99),
        }


def run(
    stage: Scene,
    count: int,
    rounds: int,
    tick: Callable[[str], None],
    day: Sequence[Modality] = DAY,
) -> dict[str, list[Day]]:
    """Rounds by contender; ours is the first. Every round is in a new bucket."""
    studies = studies_of_a_day(count, day)
    images = Images(max(size for study in studies for _, size in study.instances))
    found: dict[str, list[Day]] = {}
    for number in range(rounds):
        # New servers for each round: the peer has volumes for a few buckets only.
        with ExitStack() as stack:
            contenders = scene.servers(stage, stack)
            for server in contenders if number % 2 == 0 else reversed(contenders):
                tick(f"hospital: round {number + 1} of {rounds}, {server.name}")
                found.setdefault(server.name, []).append(_day(server, studies, images))
    return {name: found[name] for name in (server.name for server in contenders)}


def _day(server: Server, studies: list[Study], images: Images) -> Day:
    bucket = f"hospital-{secrets.token_hex(4)}"
    presigner = Presigner(server.endpoint, server.keys)
    ask(server.endpoint, "PUT", presigner.targets("PUT", bucket, [""])[0])
    signed = {
        method: presigner.targets(method, bucket, [key for s in studies for key, _ in s.instances])
        for method in ("PUT", "GET", "DELETE")
    }
    os.sync()
    try:
        with Watch(server.pid) as writing:
            day = apart(lambda: _write(server.endpoint, studies, signed["PUT"], images))
        os.sync()
        with Watch(server.pid) as reading:
            read = apart(lambda: _read(server.endpoint, studies, signed["GET"], images))
    finally:
        if server.pid is None:  # somebody else's: leave nothing behind
            for target in [*signed["DELETE"], *presigner.targets("DELETE", bucket, [""])]:
                ask(server.endpoint, "DELETE", target)
    day.read_seconds, day.first_ms, day.study_ms = read.read_seconds, read.first_ms, read.study_ms
    if writing.cpu is not None and reading.cpu is not None:
        day.write_cpu_ms = writing.cpu / day.instances * 1e3
        day.read_cpu_ms = reading.cpu / day.instances * 1e3
    peaks = [watch.peak for watch in (writing, reading) if watch.peak is not None]
    day.peak = max(peaks, key=lambda peak: peak.total, default=None)
    return day


def _with_targets(
    studies: list[Study], targets: list[str]
) -> list[tuple[Study, list[tuple[str, int, str]]]]:
    """Each study with (key, bytes, presigned target) of its instances."""
    waiting = iter(targets)
    return [
        (study, [(key, size, next(waiting)) for key, size in study.instances]) for study in studies
    ]


async def _write(endpoint: str, studies: list[Study], targets: list[str], images: Images) -> Day:
    day = Day()
    stations: dict[str, list[tuple[str, int, str]]] = {}
    for study, instances in _with_targets(studies, targets):
        stations.setdefault(study.station, []).extend(instances)

    async def station(instances: list[tuple[str, int, str]]) -> None:
        connection = await Connection.open(endpoint)
        for key, size, target in instances:
            began = time.perf_counter()
            await connection.exchange("PUT", target, images.of(key, size))
            day.put_ms.append((time.perf_counter() - began) * 1e3)
            day.bytes += size
        connection.close()

    began = time.perf_counter()
    await asyncio.gather(*map(station, stations.values()))
    day.write_seconds = time.perf_counter() - began
    day.instances = len(day.put_ms)
    return day


async def _read(endpoint: str, studies: list[Study], targets: list[str], images: Images) -> Day:
    day = Day()
    connections = [await Connection.open(endpoint) for _ in range(VIEWER_CONNECTIONS)]

    async def fetch(connection: Connection, instance: tuple[str, int, str]) -> None:
        key, size, target = instance
        images.check(key, size, await connection.exchange("GET", target))

    began = time.perf_counter()
    for _, instances in _with_targets(studies, targets):
        opened = time.perf_counter()
        await fetch(connections[0], instances[0])
        day.first_ms.append((time.perf_counter() - opened) * 1e3)
        rest = iter(instances[1:])

        async def others(
            connection: Connection, waiting: Iterator[tuple[str, int, str]] = rest
        ) -> None:
            for instance in waiting:
                await fetch(connection, instance)

        await asyncio.gather(*map(others, connections))
        day.study_ms.append((time.perf_counter() - opened) * 1e3)
    day.read_seconds = time.perf_counter() - began
    for connection in connections:
        connection.close()
    return day
