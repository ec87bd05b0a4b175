"""A node that was stopped: what check says of it, what it holds, and the way back."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import TypeVar

from s3node.base.filesystem import RealFileSystem
from s3node.cli.serving import NODE_FILE
from s3node.config import Config, load
from s3node.meta import tables
from s3node.meta.kv import ReadTx
from s3node.model.rows import Row, VersionRow
from s3node.node import RunningNode, open_node, site_of
from s3node.services.check import check
from s3node.services.findings import Finding
from s3node.services.start import Site
from tests.node.content import BUCKET, content
from tests.node.process import ACCESS_KEY, SECRET_KEY, NodeProcess

T = TypeVar("T")

DISKS, PARITY = 6, 2
KEYS = {"S3NODE_ROOT_ACCESS_KEY": ACCESS_KEY, "S3NODE_ROOT_SECRET_KEY": SECRET_KEY}
OPEN_S_MAX = 60

ON_DISK = {
    "epoch": "epoch",
    "segment": "segments/*.seg",
    "log": "journal/*.log",
    "promise": "journal/promise",
    "manifest": "checkpoints/*.manifest",
    "range": "checkpoints/*.range",
}


class Stopped:
    """A node that was stopped cleanly, what it told and held, and a copy to go back to."""

    def __init__(self, folder: Path) -> None:
        self.node = NodeProcess(folder / "data", disks=DISKS, parity=PARITY)
        self._copy = folder / "copy"

    @property
    def config(self) -> Config:
        return load(self.node.data / NODE_FILE, KEYS)

    @property
    def site(self) -> Site:
        return site_of(self.config)

    @property
    def index(self) -> Path:
        return self.site.index

    def keep(self) -> None:
        """This is what `restore` goes back to."""
        shutil.copytree(self.node.data, self._copy)

    def restore(self) -> None:
        shutil.rmtree(self.node.data)
        shutil.copytree(self._copy, self.node.data)

    def checkpoint(self) -> None:
        """So that there are range files."""

        async def write(node: RunningNode) -> None:
            assert node.metadata.checkpointer is not None
            await node.metadata.checkpointer.round(everything=True)

        self.opened(write)

    def opened(self, work: Callable[[RunningNode], Awaitable[T]]) -> T:
        """Run `work` on the node, opened in this process."""

        async def run() -> T:
            async with asyncio.timeout(OPEN_S_MAX):
                node = await open_node(self.config, lambda reason: None)
                try:
                    return await work(node)
                finally:
                    await node.close()

        return asyncio.run(run())

    def files(self, slot: int) -> Iterator[tuple[str, Path]]:
        """(kind, path) of a disk's files but its identity."""
        for kind, pattern in ON_DISK.items():
            for path in sorted(self.node.disk_path(slot).glob(pattern)):
                yield kind, path

    def check(self) -> list[Finding]:
        told = check(self.site, RealFileSystem(), lambda step, done, total: None)
        return list(told)

    def assert_named(self, *paths: Path) -> None:
        """check says something about each of these files."""
        found = self.check()
        for path in paths:
            assert any(self._names(one, path) for one in found), (path, found)

    def _names(self, found: Finding, path: Path) -> bool:
        if path.parent == self.index:
            return found.where == str(self.index)
        disk = path.parent if path.parent.parent == self.node.data else path.parent.parent
        return found.where.startswith(str(disk)) and path.name in f"{found.where} {found.what}"


class Small(Stopped):
    """As little as has every kind of file in it."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        with self.node:
            s3 = self.node.s3()
            s3.create_bucket(Bucket=BUCKET)
            s3.put_object(Bucket=BUCKET, Key="inline", Body=content("inline", 99))
            s3.put_object(Bucket=BUCKET, Key="coded", Body=content("coded", 4097))
            assert self.node.stop() == 0
        self.checkpoint()
        with self.node:
            self.node.s3().put_object(Bucket=BUCKET, Key="later", Body=content("later", 77))
            assert self.node.stop() == 0
        self.keep()
        self.held = self.opened(everything)
        self.restore()


async def everything(node: RunningNode) -> list[tuple[bytes, Row, bytes]]:
    """Every key with its row and its bytes."""

    def rows(tx: ReadTx) -> list[tuple[bytes, VersionRow]]:
        bucket = tables.get_bucket(tx, BUCKET)
        assert bucket is not None
        return [(key, row) for key, _, row in tables.scan_versions(tx, bucket.bucket_id)]

    held = []
    for key, row in node.metadata.kv.read(rows):
        pieces = await node.objects.read(row, 0, row.size)
        body = b"".join([bytes(one) async for some in pieces for one in some])
        held.append((key, row, body))
    return held
