"""PUT and GET against a real node, full durability: `python -m bench.requests`.

A node of 8+4 over twelve directories is started with the command that users type; a client in
another process sends presigned requests over raw sockets (so that signing and parsing in the
client cost next to nothing). Beside each figure stands the floor of this machine in the same
run: twelve threads that each write a shard's worth of bytes and fdatasync it, once per object,
with no HTTP, no hashing, no coding, and no batching. The ratio is node / floor.

All twelve directories lie on one device here: fdatasync costs and parallelism differ from those
of twelve disks.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import platform
import tempfile
import time
import urllib.request
from base64 import b64encode
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles
from typing import Any
from urllib.parse import urlsplit

import boto3
import click
from botocore.config import Config
from rich.console import Console
from rich.table import Table

from bench.node import ACCESS_KEY, REGION, SECRET_KEY, BenchNode

KIB, MIB = 1 << 10, 1 << 20
DISKS, PARITY = 12, 4
BUCKET = "bench"


@dataclass(frozen=True)
class Work:
    size: int
    connections: int
    count: int

    @property
    def name(self) -> str:
        return f"{self.size // MIB} MiB" if self.size >= MIB else f"{self.size // KIB} KiB"


WORKS = (Work(4 * KIB, 16, 3000), Work(512 * KIB, 8, 600), Work(16 * MIB, 2, 30))


@dataclass
class Result:
    seconds: float
    latencies: list[float]

    def rate(self) -> float:
        return len(self.latencies) / self.seconds

    def percentiles(self) -> tuple[float, float]:
        return median(self.latencies) * 1e3, quantiles(self.latencies, n=100)[98] * 1e3


async def _exchange(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: bytes, body: bytes
) -> int:
    """One request, its whole answer; the length of the answer's body."""
    writer.write(head)
    if body:
        writer.write(body)
    await writer.drain()
    answer = await reader.readuntil(b"\r\n\r\n")
    status = int(answer[9:12])
    length = 0
    for line in answer.split(b"\r\n"):
        if line.lower().startswith(b"content-length:"):
            length = int(line[15:])
    left = length
    while left:
        left -= len(await reader.read(min(left, MIB)))
    if status != 200:
        raise RuntimeError(answer.decode())
    return length


async def _load(url: str, heads: list[bytes], body: bytes, connections: int) -> Result:
    parts = urlsplit(url)
    waiting = iter(heads)
    latencies: list[float] = []

    async def client() -> None:
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port, limit=MIB)
        for head in waiting:
            began = time.perf_counter()
            await _exchange(reader, writer, head, body)
            latencies.append(time.perf_counter() - began)
        writer.close()

    began = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(connections)))
    return Result(time.perf_counter() - began, latencies)


def _client(pipe: Any, url: str, heads: list[bytes], body: bytes, connections: int) -> None:
    pipe.send(asyncio.run(_load(url, heads, body, connections)))


def load(url: str, heads: list[bytes], body: bytes, connections: int) -> Result:
    """Send the requests from a process of their own."""
    mine, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("fork").Process(
        target=_client, args=(theirs, url, heads, body, connections)
    )
    process.start()
    theirs.close()
    try:
        result: Result = mine.recv()
    finally:
        process.join()
    return result


def heads(s3: Any, method: str, operation: str, work: Work, prefix: str) -> list[bytes]:
    """The heads of presigned requests, one per object."""
    made = []
    for number in range(work.count):
        params = {"Bucket": BUCKET, "Key": f"{prefix}/{number:06}"}
        parts = urlsplit(s3.generate_presigned_url(operation, params, 86400))
        length = f"Content-Length: {work.size}\r\n" if method == "PUT" else ""
        target = f"{parts.path}?{parts.query}"
        head = f"{method} {target} HTTP/1.1\r\nHost: {parts.netloc}\r\n{length}\r\n"
        made.append(head.encode())
    return made


def floor(folder: Path, work: Work) -> float:
    """Objects a second that twelve threads of bare pwrite and fdatasync make durable."""
    shard = os.urandom(max(1, work.size // (DISKS - PARITY)))
    rounds = max(10, work.count // 10)

    def disk(slot: int) -> None:
        fd = os.open(folder / f"floor{slot}", os.O_RDWR | os.O_CREAT)
        try:
            for number in range(rounds):
                os.pwrite(fd, shard, number * len(shard))
                os.fdatasync(fd)
        finally:
            os.close(fd)
            (folder / f"floor{slot}").unlink()

    began = time.perf_counter()
    with ThreadPoolExecutor(DISKS) as threads:
        list(threads.map(disk, range(DISKS)))
    return rounds / (time.perf_counter() - began)


def counters(node: BenchNode) -> dict[str, float]:
    """What the node counts, and the CPU seconds of all its processes."""
    request = urllib.request.Request(f"{node.admin}/v1/status")
    token = b64encode(f"{ACCESS_KEY}:{SECRET_KEY}".encode()).decode()
    request.add_header("Authorization", f"Basic {token}")
    with urllib.request.urlopen(request) as answer:
        found = json.load(answer)["counters"]
    return {**found["engine"], **found["objects"], "cpu": node.cpu_seconds()}


def run(folder: Path, rounds: int) -> Table:
    table = Table(title="8+4 over 12 directories on one device, every write fsynced")
    for column in ("work", "conn.", "req/s", "MB/s", "p50 ms", "p99 ms", "floor/s", "ratio",
                   "syncs", "crossings", "copies", "CPU ms"):  # fmt: skip
        table.add_column(column, justify="left" if column == "work" else "right")
    with BenchNode(folder / "node", DISKS, PARITY) as node:
        s3 = boto3.client(
            "s3",
            endpoint_url=node.endpoint,
            aws_access_key_id=ACCESS_KEY,
            aws_secret_access_key=SECRET_KEY,
            region_name=REGION,
            config=Config(signature_version="s3v4"),
        )
        s3.create_bucket(Bucket=BUCKET)
        for work in WORKS:
            body = os.urandom(work.size)
            for method, operation in (("PUT", "put_object"), ("GET", "get_object")):
                rows = [
                    _measure(node, s3, folder, work, method, operation, body, number)
                    for number in range(rounds)
                ]
                rows.sort(key=lambda row: row[0])
                _add(table, work, method, rows[len(rows) // 2][1:])
    return table


def _measure(
    node: BenchNode,
    s3: Any,
    folder: Path,
    work: Work,
    method: str,
    operation: str,
    body: bytes,
    number: int,
) -> tuple[Any, ...]:
    bare = floor(folder, work) if method == "PUT" else 0.0
    prefix = f"{work.size}/{number}"
    before = counters(node)
    result = load(
        node.endpoint,
        heads(s3, method, operation, work, prefix),
        body if method == "PUT" else b"",
        work.connections,
    )
    after = counters(node)
    spent = {name: after[name] - before[name] for name in before if name != "fault_reasons"}
    return (result.rate(), result, bare, spent)


def _add(table: Table, work: Work, method: str, row: tuple[Any, ...]) -> None:
    result, bare, spent = row
    p50, p99 = result.percentiles()
    moved = spent["bytes_written"] + spent["bytes_read"]
    table.add_row(
        f"{method} {work.name}",
        str(work.connections),
        f"{result.rate():.0f}",
        f"{result.rate() * work.size / 1e6:.0f}",
        f"{p50:.1f}",
        f"{p99:.1f}",
        f"{bare:.0f}" if bare else "",
        f"{result.rate() / bare:.2f}" if bare else "",
        f"{spent['syncs'] / work.count:.1f}",
        f"{spent['crossings'] / work.count:.1f}",
        f"{spent['bytes_copied'] / moved:.2f}" if moved else "",
        f"{spent['cpu'] / work.count * 1e3:.2f}",
    )


@click.command()
@click.option("--folder", type=click.Path(path_type=Path), help="Where the disks are made.")
@click.option("--rounds", default=3, show_default=True, help="Medians over this many.")
def main(folder: Path | None, rounds: int) -> None:
    """Requests a second and what each costs."""
    with tempfile.TemporaryDirectory(dir=folder) as made:
        table = run(Path(made), rounds)
    console = Console(width=120)
    console.print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores")
    console.print(table)
    console.print(
        "syncs, crossings into the engine, CPU: per object; copies: bytes copied by our own code\n"
        "per byte of objects; the client runs on the same cores."
    )


if __name__ == "__main__":
    main()
