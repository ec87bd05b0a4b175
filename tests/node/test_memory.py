"""Large objects in bounded memory: sixteen uploads and sixteen downloads at once."""

from __future__ import annotations

import hashlib
import http.client
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from s3node.base.limits import GIB, MIB, READ_ARENA_BYTES, WRITE_ARENA_BYTES
from tests.node.process import NodeProcess

BUCKET = "large"
STREAMS = 16
ANONYMOUS_BYTES_MAX = WRITE_ARENA_BYTES + READ_ARENA_BYTES + 100 * MIB
"""Pages of an arena that were used once stay. Slow disks hold shards, and so gaps between stripes:
a busy machine uses more of the arenas than one whose disks answer at once (282 MiB)."""

DESCRIPTORS_MAX = 600
PIECE = bytes(range(256)) * 4096

pytestmark = pytest.mark.xdist_group("memory")


def anonymous_bytes(node: NodeProcess) -> int:
    """Anonymous memory of all processes of the node."""
    total = 0
    for pid in node.pids():
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("RssAnon:"):
                total += int(line.split()[1]) * 1024
    return total


def descriptors(node: NodeProcess) -> int:
    return sum(len(list(Path(f"/proc/{pid}/fd").iterdir())) for pid in node.pids())


class Watch(threading.Thread):
    def __init__(self, node: NodeProcess) -> None:
        super().__init__(daemon=True)
        self.node = node
        self.memory = self.files = 0
        self.over = threading.Event()

    def run(self) -> None:
        while not self.over.wait(0.1):
            self.memory = max(self.memory, anonymous_bytes(self.node))
            self.files = max(self.files, descriptors(self.node))


def upload(url: str, size: int, results: list[str]) -> None:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=600)
    pieces = (PIECE for _ in range(size // len(PIECE)))
    connection.request("PUT", f"{parts.path}?{parts.query}", pieces, {"Content-Length": str(size)})
    answer = connection.getresponse()
    results.append(f"{answer.status} {answer.read()[:500]!r}" if answer.status != 200 else "ok")


def download(url: str, expected: str, results: list[str]) -> None:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=600)
    connection.request("GET", f"{parts.path}?{parts.query}")
    answer = connection.getresponse()
    digest = hashlib.blake2b()
    while data := answer.read(MIB):
        digest.update(data)
    results.append("ok" if digest.hexdigest() == expected else "other bytes")


def test_sixteen_uploads_and_downloads_at_once(tmp_path: Path, deep: bool) -> None:
    size = GIB if deep else 256 * MIB
    expected = hashlib.blake2b()
    for _ in range(size // len(PIECE)):
        expected.update(PIECE)
    results: list[str] = []
    with NodeProcess(tmp_path / "data", disks=12, parity=4) as node:
        s3 = node.s3(signature_version="s3v4")
        s3.create_bucket(Bucket=BUCKET)

        def url(method: str, key: str) -> str:
            return str(s3.generate_presigned_url(method, {"Bucket": BUCKET, "Key": key}, 3600))

        upload(url("put_object", "source"), size, results)
        watch = Watch(node)
        watch.start()
        started = time.monotonic()
        threads = [
            threading.Thread(target=upload, args=(url("put_object", f"up{i}"), size, results))
            for i in range(STREAMS)
        ]
        threads += [
            threading.Thread(
                target=download, args=(url("get_object", "source"), expected.hexdigest(), results)
            )
            for _ in range(STREAMS)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        took = time.monotonic() - started
        watch.over.set()
        watch.join()
        assert results == ["ok"] * (2 * STREAMS + 1)
        print(
            f"{STREAMS} uploads and {STREAMS} downloads of {size // MIB} MiB in {took:.1f} s: "
            f"anonymous memory {watch.memory / MIB:.0f} MiB, {watch.files} descriptors"
        )
        assert watch.memory < ANONYMOUS_BYTES_MAX
        assert watch.files < DESCRIPTORS_MAX
