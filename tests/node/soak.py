"""Clients that mix all operations for a while, and what the node keeps when they have gone.

What each of them does is in `soak_client`.

    python -m tests.node.soak --seconds 120 --edges 2
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from s3node.base.limits import KIB, MIB, READ_ARENA_BYTES, WRITE_ARENA_BYTES
from s3node.s3.routes import BUILT
from tests.node.process import NodeProcess
from tests.node.soak_client import PLAIN, SHARED, VERSIONED, Worker

CLIENTS = 32
LONG_S = 60.0
"""From here on the first round, too, goes through all actions, so that little may come later."""

HEAP_GROWTH_BYTES_MAX = {True: 24 * MIB, False: 64 * MIB}
"""In the second round of a long soak, however long it is, and of a short one: caches that fill,
and what an allocator keeps of the busiest moment."""

LATECOMERS_MAX = 24
"""Threads and descriptors that the busier round was the first to need: pools fill on demand."""


def prepare(node: NodeProcess) -> None:
    """The buckets that all use."""
    s3 = node.s3()
    for bucket in (PLAIN, VERSIONED, SHARED):
        s3.create_bucket(Bucket=bucket)
    s3.put_bucket_versioning(Bucket=VERSIONED, VersioningConfiguration={"Status": "Enabled"})


def soak(workers: Iterable[Worker], seconds: float, *, whole: bool) -> None:
    """Until time is over and, if `whole`, each has done everything; the first fault ends it."""
    threads = list(workers)
    until = time.monotonic() + seconds
    for one in threads:
        one.until, one.whole = until, whole
        one.start()
    while any(one.is_alive() for one in threads):
        time.sleep(0.1)
        for one in threads:
            if one.failed is not None:
                for other in threads:
                    other.stop.set()
                raise one.failed


def read_back(workers: Iterable[Worker]) -> int:
    """Everything that was stored and not removed is there, and whole; how many objects."""
    count = 0
    for one in workers:
        one.listing()
        one.list_versions()
        for key, stored in one.plain.items():
            assert one.s3.get_object(Bucket=PLAIN, Key=key)["Body"].read() == stored.data
            count += 1
    return count


# --- what is left ------------------------------------------------------------------------------


class Left(NamedTuple):
    """What the node has when nobody asks it for anything."""

    heap_bytes: int  # anonymous memory of all processes without the arenas, which are bounded
    descriptors: int
    threads: int


def settled(node: NodeProcess) -> Left:
    """Wait until nothing is held any more for any client, and look at what there is."""
    held: dict[str, float] = {}

    def quiet() -> bool:
        status, metrics = node.status(), node.metrics()
        held.update(
            requests=metrics["s3node_requests_in_progress"],
            connections=metrics.get('s3node_connections{listener="s3"}', 0),
            buffer_bytes=status["counters"]["buffer_bytes"],
            undecided_records=status["counters"]["undecided_records"],
            owed_shards=status["redundancy"]["owed_shards"],
        )
        return not any(held.values())

    try:
        node.wait(quiet)
    except AssertionError as never:
        raise AssertionError(f"still held: {held}") from never
    alarms = node.status()["alarms"]
    assert alarms == [], alarms
    pids = node.pids()
    return Left(
        sum(_heap_bytes(pid) for pid in pids),
        sum(len(list(Path(f"/proc/{pid}/fd").iterdir())) for pid in pids),
        sum(len(list(Path(f"/proc/{pid}/task").iterdir())) for pid in pids),
    )


def _heap_bytes(pid: int) -> int:
    """Anonymous memory of a process, as much of it as lies in no arena."""
    total = 0
    arena = False
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        first, _, rest = line.partition(" ")
        if "-" in first and not first.endswith(":"):
            begin, end = (int(text, 16) for text in first.split("-"))
            arena = end - begin in (WRITE_ARENA_BYTES, READ_ARENA_BYTES)
        elif first == "Anonymous:" and not arena:
            total += int(rest.split()[0]) * KIB
    return total


def run(node: NodeProcess, seconds: float, clients: int = CLIENTS) -> None:
    """Two rounds: what was there after the first is what may be there after the second.

    The first warms everything up: threads, caches, segments that are kept open. It takes a fifth
    of the time.
    """
    prepare(node)
    before: Left | None = None
    workers: list[Worker] = []
    for share in (0.2, 0.8):
        workers = [worker.again(node) for worker in workers] or [
            Worker(node, number) for number in range(clients)
        ]
        asked = sum(node.metrics()[name] for name in node.metrics() if _is_count(name))
        soak(workers, seconds * share, whole=before is not None or seconds >= LONG_S)
        objects = read_back(workers)
        for worker in workers:
            worker.s3.close()
        left = settled(node)
        total = sum(node.metrics()[name] for name in node.metrics() if _is_count(name))
        print(f"{total - asked:.0f} requests, {objects} objects read back, {left}")
        if before is not None:
            _compare(before, left, HEAP_GROWTH_BYTES_MAX[seconds >= LONG_S])
        before = left
    _assert_all_was_asked(node)


def _is_count(series: str) -> bool:
    return series.startswith("s3node_requests_total")


def _compare(before: Left, after: Left, heap_bytes_max: int) -> None:
    grown = after.heap_bytes - before.heap_bytes
    assert grown < heap_bytes_max, f"{grown / MIB:.1f} MiB more: {before}, {after}"
    more = max(after.descriptors - before.descriptors, after.threads - before.threads)
    assert more <= LATECOMERS_MAX, f"{before}, {after}"


def _assert_all_was_asked(node: NodeProcess) -> None:
    """Every operation was asked for, no answer was an error of the node's, none was cut."""
    found = node.metrics()
    asked = [name for name in found if _is_count(name)]
    missing = [name for name in BUILT if not any(f'"{name}"' in one for one in asked)]
    assert not missing, f"never asked for: {sorted(missing)}"
    bad = [name for name in asked if 'status="5' in name]
    assert not bad, bad


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--edges", type=int, default=0)
    parser.add_argument("--clients", type=int, default=CLIENTS)
    told = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        NodeProcess(Path(folder) / "data", disks=12, parity=4, edges=told.edges) as node,
    ):
        run(node, told.seconds, told.clients)


if __name__ == "__main__":
    main()
