"""The index is not the truth: deleted, cut, old, or another node's, it is rebuilt or caught up."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from botocore.exceptions import BotoCoreError, ClientError

from tests.node.content import BUCKET, describe, put_in_parts, read_world, store_world
from tests.node.process import NodeProcess

pytestmark = pytest.mark.xdist_group("index")


class Prepared:
    """A stopped node with a world in it, an old copy of its index, and another node's."""

    def __init__(self, folder: Path) -> None:
        self.node = NodeProcess(folder / "data", disks=6, parity=2)
        self.meta = folder / "data" / "meta"
        self.old = folder / "old"
        self.foreign = folder / "other" / "meta"
        with NodeProcess(folder / "other", disks=6, parity=2) as other:
            store_world(other.s3(), "elsewhere")
            other.stop()
        self.node.start()
        s3 = self.node.s3()
        self.world = store_world(s3)
        self.node.stop()
        shutil.copytree(self.meta, self.old)
        self.node.start()
        s3 = self.node.s3()
        s3.delete_object(Bucket=BUCKET, Key="one byte")
        del self.world["one byte"]
        s3.create_bucket(Bucket="second")
        upload = s3.create_multipart_upload(Bucket=BUCKET, Key="unfinished")["UploadId"]
        for number in (1, 3):
            s3.upload_part(
                Bucket=BUCKET,
                Key="unfinished",
                UploadId=upload,
                PartNumber=number,
                Body=b"x" * 9999,
            )
        put_in_parts(s3, "second", "k" * 1000, b"y" * 6_000_000)
        self.told = describe(s3), describe(s3, "second")
        assert self.node.stop() == 0


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prepared]:
    made = Prepared(tmp_path_factory.mktemp("index"))
    yield made
    made.node.kill()


def nothing(_: Prepared) -> None:
    """The control: it was stopped cleanly."""


def deleted(it: Prepared) -> None:
    shutil.rmtree(it.meta)


def truncated(it: Prepared) -> None:
    for path in it.meta.rglob("data.mdb"):
        with path.open("r+b") as stream:
            stream.truncate(path.stat().st_size // 2)


def old(it: Prepared) -> None:
    shutil.rmtree(it.meta)
    shutil.copytree(it.old, it.meta)


def foreign(it: Prepared) -> None:
    shutil.rmtree(it.meta)
    shutil.copytree(it.foreign, it.meta)


def garbage(it: Prepared) -> None:
    for path in it.meta.rglob("data.mdb"):
        path.write_bytes(random.Random(1).randbytes(path.stat().st_size))


def killed(it: Prepared) -> None:
    it.node.start()
    it.node.kill()


def with_two_journals_gone(it: Prepared) -> None:
    """On top of the index, m disks lose their journals and checkpoints."""
    shutil.rmtree(it.meta)
    for slot in (1, 3):
        for name in ("journal", "checkpoints"):
            for path in (it.node.disk_path(slot) / name).iterdir():
                path.write_bytes(random.Random(2).randbytes(path.stat().st_size))


DAMAGES: list[Callable[[Prepared], None]] = [
    nothing,
    deleted,
    truncated,
    old,
    foreign,
    garbage,
    killed,
    with_two_journals_gone,
]


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_everything_is_told_as_before(
    prepared: Prepared, damage: Callable[[Prepared], None]
) -> None:
    damage(prepared)
    prepared.node.start()
    s3 = prepared.node.s3()
    assert (describe(s3), describe(s3, "second")) == prepared.told
    assert read_world(s3) == prepared.world
    assert prepared.node.stop() == 0


def test_offline_rebuild_gives_the_same_index(prepared: Prepared) -> None:
    shutil.rmtree(prepared.meta)
    done = prepared.node.command("meta", "rebuild", "--data", str(prepared.node.data), "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    prepared.node.start()
    s3 = prepared.node.s3()
    assert (describe(s3), describe(s3, "second")) == prepared.told
    assert prepared.node.stop() == 0


def test_index_cut_under_the_running_node(prepared: Prepared) -> None:
    """The map of a file that was cut is no memory any more: the process dies of it, and whoever
    runs it starts it again. Nothing is lost, and no answer is wrong before.
    """
    prepared.node.start()
    for path in prepared.meta.rglob("data.mdb"):
        with path.open("r+b") as stream:
            stream.truncate(4096)
    s3 = prepared.node.s3()
    with pytest.raises((BotoCoreError, ClientError)):
        for _ in range(50):
            assert describe(s3) == prepared.told[0]
    prepared.node.kill()
    prepared.node.start()
    s3 = prepared.node.s3()
    assert (describe(s3), describe(s3, "second")) == prepared.told
    assert prepared.node.stop() == 0
