"""Bytes flipped in every kind of file of a stopped node: check names them, reads are right.

By default at sampled places of a world of ordinary objects, read by a client from a node that
was started like users start it. In the deep run at every byte of every file of a small world,
two disks at a time, read in this process.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from botocore.exceptions import BotoCoreError, ClientError

from s3node.base.filesystem import RealFileSystem
from s3node.cli.serving import NODE_FILE
from s3node.config import Config, load
from s3node.meta import lmdb_index, tables
from s3node.meta.index_seal import Seal
from s3node.meta.kv import ReadTx
from s3node.model.rows import Row, VersionRow
from s3node.node import RunningNode, open_node, site_of
from s3node.services.check import check
from s3node.services.findings import Finding
from s3node.store.disks import read_identity
from tests.node.content import BUCKET, content, describe, read_world, store_world
from tests.node.process import ACCESS_KEY, SECRET_KEY, NodeProcess

pytestmark = pytest.mark.xdist_group("damage")

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
INDEX_FILES = ("data.mdb", "index.seal")
PLACES = {"segment": 3, "log": 2}  # per file; 1 elsewhere


class Flip(NamedTuple):
    """One bit of one byte of a file."""

    path: Path
    offset: int
    bit: int

    def do(self) -> None:
        """Change it; done twice, everything is as before."""
        with self.path.open("r+b") as stream:
            stream.seek(self.offset)
            (byte,) = stream.read(1)
            stream.seek(self.offset)
            stream.write(bytes([byte ^ 1 << self.bit]))


class Stopped:
    """A node that was stopped cleanly, what it told and held, and a copy to go back to."""

    def __init__(self, folder: Path) -> None:
        self.node = NodeProcess(folder / "data", disks=DISKS, parity=PARITY)
        self._copy = folder / "copy"

    @property
    def config(self) -> Config:
        return load(self.node.data / NODE_FILE, KEYS)

    @property
    def index(self) -> Path:
        return site_of(self.config).index

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

    def opened(self, work: Callable[[RunningNode], Any]) -> Any:
        """Run `work` on the node, opened in this process."""

        async def run() -> Any:
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
        told = check(site_of(self.config), RealFileSystem(), lambda step, done, total: None)
        return list(told)

    def assert_named(self, flips: Iterable[Flip]) -> None:
        """check says something about each flipped file."""
        found = self.check()
        for flip in flips:
            assert any(self._names(one, flip.path) for one in found), (flip, found)

    def _names(self, found: Finding, path: Path) -> bool:
        if path.parent == self.index:
            return found.where == str(self.index)
        disk = path.parent if path.parent.parent == self.node.data else path.parent.parent
        return found.where.startswith(str(disk)) and path.name in f"{found.where} {found.what}"


def sampled(chance: random.Random, path: Path, count: int) -> list[Flip]:
    """Places of a file, none in its trailing zeros."""
    used = len(path.read_bytes().rstrip(b"\0"))
    places = chance.sample(range(used), min(used, count))
    return [Flip(path, place, chance.randrange(8)) for place in places]


# --- sampled, over a client --------------------------------------------------------------------


class Served(Stopped):
    """With the usual world in it, an unfinished upload, and a deletion."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        with self.node:
            s3 = self.node.s3()
            self.world = store_world(s3)
            s3.put_object(Bucket=BUCKET, Key="gone", Body=content("gone", 70_000))
            assert self.node.stop() == 0
            self.checkpoint()
            self.node.start()
            s3 = self.node.s3()
            s3.delete_object(Bucket=BUCKET, Key="gone")
            upload = s3.create_multipart_upload(Bucket=BUCKET, Key="begun")["UploadId"]
            s3.upload_part(
                Bucket=BUCKET, Key="begun", UploadId=upload, PartNumber=2, Body=b"x" * 9999
            )
            self.told = describe(s3)
            assert self.node.stop() == 0
        self.keep()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    made = Served(tmp_path_factory.mktemp("damage"))
    yield made
    made.node.kill()


def on_disks(it: Stopped, slots: Sequence[int]) -> list[Flip]:
    """Some places in every file of these disks, and one or two in the index."""
    chance = random.Random(f"{slots}")
    flips = []
    for slot in slots:
        for kind, path in it.files(slot):
            flips += sampled(chance, path, PLACES.get(kind, 1))
    for name in INDEX_FILES:
        flips += sampled(chance, it.index / name, 1)
    return flips


def identities(it: Stopped, slots: Sequence[int]) -> list[Flip]:
    """Whole disks that are not known again."""
    chance = random.Random(f"identities {slots}")
    return [
        flip for slot in slots for flip in sampled(chance, it.node.disk_path(slot) / "identity", 1)
    ]


@pytest.mark.parametrize(
    ("where", "slots"),
    [(on_disks, (0, 1)), (on_disks, (5, 3)), (on_disks, (2, 4)), (identities, (1, 4))],
    ids=lambda value: value.__name__ if callable(value) else "".join(map(str, value)),
)
def test_flipped_bytes_are_named_and_read_around(
    served: Served, where: Callable[[Stopped, Sequence[int]], list[Flip]], slots: Sequence[int]
) -> None:
    flips = where(served, slots)
    for flip in flips:
        flip.do()
        served.assert_named([flip])
        flip.do()
    assert served.check() == []
    for flip in flips:
        flip.do()
    done = served.node.command("check", "--data", str(served.node.data))
    assert done.returncode == 1, done.stdout
    served.node.start()
    s3 = served.node.s3()
    assert describe(s3) == served.told
    assert read_world(s3) == served.world
    assert served.node.stop() == 0
    served.restore()


def test_damage_beyond_the_parity_is_an_error_and_never_a_wrong_byte(served: Served) -> None:
    """Every disk's segments: each object is right or not answered, as check foretells."""
    chance = random.Random("beyond")
    for slot in range(DISKS):
        for kind, path in served.files(slot):
            if kind == "segment":
                for flip in sampled(chance, path, 40):
                    flip.do()
    lost = {one.where for one in served.check() if "cannot be read" in one.what}
    served.node.start()
    s3 = served.node.s3()
    assert describe(s3) == served.told
    refused = set()
    for key, digest in served.world.items():
        try:
            body = s3.get_object(Bucket=BUCKET, Key=key)["Body"].read()
        except (ClientError, BotoCoreError):
            refused.add(f"{BUCKET}/{key} (version null)")
            continue
        assert hashlib.sha256(body).hexdigest() == digest
    assert refused and refused <= lost
    assert served.node.stop() == 0
    served.restore()


# --- every byte, in this process ---------------------------------------------------------------


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
        with self.node.start():
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


def every_byte(it: Stopped, slots: Sequence[int]) -> Iterator[list[Flip]]:
    """Rounds: the same byte of each file of these disks; identities, which hide a disk, alone."""
    chance = random.Random(f"every {slots}")
    names = [it.node.disk_path(slot) / "identity" for slot in slots]
    others = [path for slot in slots for _, path in it.files(slot)]
    for paths in (names, others):
        sizes = {path: len(path.read_bytes().rstrip(b"\0")) for path in paths}
        for place in range(max(sizes.values())):
            yield [
                Flip(path, place, chance.randrange(8))
                for path, size in sizes.items()
                if place < size
            ]


@pytest.mark.deep
@pytest.mark.parametrize("slots", [(0, 1), (2, 3), (4, 5)], ids=str)
@pytest.mark.timeout(4 * 3600)
def test_every_byte_of_every_file(tmp_path: Path, slots: Sequence[int]) -> None:
    it = Small(tmp_path)
    for flips in every_byte(it, slots):
        for flip in flips:
            flip.do()
        it.assert_named(flips)
        assert it.opened(everything) == it.held, flips
        it.restore()


@pytest.mark.deep
def test_every_byte_of_the_index(tmp_path: Path) -> None:
    """Its seal decides whether it is used: asked at every byte, started with at some."""
    it = Small(tmp_path)
    identity = read_identity(RealFileSystem(), str(it.node.disk_path(0)))[1]
    assert identity is not None
    assert isinstance(lmdb_index.verified(it.index, identity.deployment_id), Seal)
    for name in INDEX_FILES:
        path = it.index / name
        for place in range(path.stat().st_size):
            flip = Flip(path, place, place % 8)
            flip.do()
            assert isinstance(lmdb_index.verified(it.index, identity.deployment_id), str), flip
            flip.do()
        for flip in sampled(random.Random(name), path, 20):
            flip.do()
            it.assert_named([flip])
            assert it.opened(everything) == it.held, flip
            it.restore()
