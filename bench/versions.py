"""What versions cost as they become many: `python -m bench versions`.

On a real node of 4+2 (its index, its journals on six directories, every commit fsynced) one
bucket each with so many versions of one key, and with so many keys of three versions: pages of
1,000 from the newest, from anywhere and of the last, one old version by its id, the current
objects. Rows are written as PutObject writes them, without bytes. Each figure stands with how
many rows it read, and with its ratio to the smallest bucket's: 1.00 is flat.
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import uvloop
from rich.table import Table

from bench import scale_node, version_rows
from bench.figures import median
from bench.scale_node import CountingKv, Spent
from s3node.base.limits import LIST_ENTRIES_MAX
from s3node.meta import tables
from s3node.meta.kv import WriteTx
from s3node.model.rows import BucketRow
from s3node.model.versions import ENABLED
from s3node.node import open_node
from s3node.ops import OPERATIONS
from s3node.ops.context import Call, Node
from s3node.s3.body import Payload
from s3node.s3.request import Response, parse
from s3node.s3.routes import route
from s3node.s3.sigv4 import Identity, PayloadKind, PayloadSpec

SIZES = (1_000, 10_000, 100_000)
KEY_VERSIONS = 3
TIMES = 20
BATCH = 2_000  # rows of a transaction

Tick = Callable[[str], None]
Query = dict[str, Any]


@dataclass(frozen=True)
class Line:
    """One figure of one bucket: medians of seconds, and the most rows of any try."""

    bucket: str
    versions: int
    name: str
    wall: float
    cpu: float
    rows: int


@dataclass(frozen=True)
class Shape:
    """A bucket that grows: `rows` of a size, and the markers of its entries."""

    name: str
    rows: Callable[[int], Iterator[version_rows.Row]]


SHAPES = (
    Shape("one key", version_rows.of_one_key),
    Shape(
        f"keys of {KEY_VERSIONS}",
        lambda size: version_rows.of_many_keys(size, KEY_VERSIONS),
    ),
)


class Asker:
    """Asks a node as the edge does, and counts what it reads."""

    def __init__(self, node: Node) -> None:
        self.kv = CountingKv(node.kv)
        self.node = replace(node, kv=self.kv)
        self.identity = Identity(scale_node.KEYS.access, node.owner_id, node.display_name)

    async def ask(self, method: str, path: str, query: Query) -> Response:
        target = f"{quote(path)}?{urlencode(query)}"
        headers = [(b"Host", b"127.0.0.1"), (b"Content-Length", b"0")]
        request = parse(method, target, headers, domains=(), secure=False, remote="127.0.0.1")
        payload = Payload(PayloadSpec(PayloadKind.UNSIGNED), request)
        call = Call(request, self.identity, payload, scale_node.nothing())
        return await OPERATIONS[route(request)](self.node, call)

    async def measure(
        self, each: Callable[[], Awaitable[object]], times: int
    ) -> tuple[float, float, int]:
        """(seconds, of CPU, rows); the first try does not count."""
        spent: list[Spent] = []
        most = 0
        for _ in range(times + 1):
            before = self.kv.rows
            with Spent() as one:
                await each()
            spent.append(one)
            most = max(most, self.kv.rows - before)
        walls, cpus = [one.wall for one in spent[1:]], [one.cpu for one in spent[1:]]
        return median(walls), median(cpus), most


async def fill(node: Node, name: str, rows: Iterator[version_rows.Row]) -> int:
    """A bucket with these versions; how many there are."""
    bucket = BucketRow(node.random(8), 0, node.owner_id, node.region, versioning=ENABLED)
    await node.kv.write(lambda tx: tables.put_bucket(tx, name, bucket))
    count = 0
    while batch := list(islice(rows, BATCH)):

        def put(tx: WriteTx, batch: Sequence[version_rows.Row] = batch) -> None:
            for key, identity, row in batch:
                tables.put_version(tx, bucket.bucket_id, key, identity, row)
            tables.add_usage(tx, bucket.bucket_id, len(batch), 0)

        await node.kv.write(put)
        count += len(batch)
    return count


async def _bucket(node: Node, shape: Shape, size: int, times: int) -> list[Line]:
    name = f"{shape.name.replace(' ', '-')}-{size}"
    count = await fill(node, name, shape.rows(size))
    chance = random.Random(size)
    # Markers with at least a page behind them, wherever they are.
    behind = max(1, count - LIST_ENTRIES_MAX - 1)
    picked = sorted({chance.randrange(behind) for _ in range(times)} | {count - 101})
    places = {at: row for at, row in enumerate(shape.rows(size)) if at in set(picked)}
    asker = Asker(node)

    def at(place: int) -> Query:
        key, identity, _ = places[place]
        return {"key-marker": key.decode(), "version-id-marker": identity.hex()}

    def page(marker: Query) -> Awaitable[Response]:
        return asker.ask("GET", f"/{name}", {"versions": "", **marker})

    def old() -> Awaitable[Response]:
        key, identity, _ = places[chance.choice(picked)]
        return asker.ask("HEAD", f"/{name}/{key.decode()}", {"versionId": identity.hex()})

    works: dict[str, Callable[[], Awaitable[Response]]] = {
        "page, the newest": lambda: page({}),
        "page, anywhere": lambda: page(at(chance.choice(picked[:-1]))),
        "page, the last 100": lambda: page(at(picked[-1])),
        "page of objects": lambda: asker.ask("GET", f"/{name}", {"list-type": 2}),
        "an old version": old,
    }
    return [
        Line(shape.name, count, title, *await asker.measure(work, times))
        for title, work in works.items()
    ]


async def _measure(folder: Path, sizes: Sequence[int], times: int, tick: Tick) -> list[Line]:
    running = await open_node(scale_node.config(folder), tick)
    lines = []
    try:
        for shape in SHAPES:
            for size in sizes:
                tick(f"{shape.name}: {size:,}")
                lines += await _bucket(running.node, shape, size, times)
    finally:
        await running.close()
    return lines


def run(folder: Path, tick: Tick, sizes: Sequence[int] = SIZES, times: int = TIMES) -> list[Line]:
    """The node lives below `folder`, and is removed."""
    with tempfile.TemporaryDirectory(
        dir=folder, prefix="bench-", ignore_cleanup_errors=True
    ) as made:
        node = Path(made) / "node"
        node.mkdir()
        scale_node.prepare(node)
        return uvloop.run(_measure(node, sizes, times, tick))


def table_of(lines: Sequence[Line]) -> Table:
    table = Table(title="Versions as they become many (ratio to the smallest bucket's)")
    table.add_column("")
    for title in ("versions", "ms", "CPU, ms", "ratio of CPU", "rows read"):
        table.add_column(title, justify="right")
    for bucket, name in dict.fromkeys((line.bucket, line.name) for line in lines):
        mine = [line for line in lines if (line.bucket, line.name) == (bucket, name)]
        for line in mine:
            table.add_row(
                f"{bucket}: {name}" if line is mine[0] else "",
                f"{line.versions:,}",
                f"{1e3 * line.wall:.3g}",
                f"{1e3 * line.cpu:.3g}",
                f"{line.cpu / mine[0].cpu:.2f}",
                f"{line.rows:,}",
            )
    return table


def data_of(lines: Sequence[Line]) -> list[dict[str, Any]]:
    return [asdict(line) for line in lines]
