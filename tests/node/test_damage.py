"""Bytes flipped in every kind of file of a stopped node: check names them, reads are right.

By default at sampled places of a world of ordinary objects, read by a client from a node that
was started like users start it. In the deep run at every byte of every file of a small world,
two disks at a time, read in this process.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest
from botocore.exceptions import BotoCoreError, ClientError

from s3node.base.filesystem import RealFileSystem
from s3node.meta import lmdb_index
from s3node.meta.index_seal import Seal
from s3node.store.disks import read_identity
from tests.node.content import BUCKET, content, describe, read_world, store_world
from tests.services.stopped import DISKS, Small, Stopped, everything

pytestmark = pytest.mark.xdist_group("damage")

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
        served.assert_named(flip.path)
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
        it.assert_named(*(flip.path for flip in flips))
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
            it.assert_named(flip.path)
            assert it.opened(everything) == it.held, flip
            it.restore()
