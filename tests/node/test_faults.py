"""Disks that come back as something else than they were, while the node runs.

The numbers are those of the faults that the node is built against: 21 a disk is replaced by an
older copy of itself, 24 a clone.
"""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.node.content import BUCKET, content
from tests.node.process import NodeProcess

pytestmark = pytest.mark.xdist_group("node-faults")

OBJECT_BYTES = 100_000


def put(s3: Any, world: dict[str, str], key: str, size: int = OBJECT_BYTES) -> None:
    data = content(f"{key}, {world.get(key, 'new')}", size)
    s3.put_object(Bucket=BUCKET, Key=key, Body=data)
    world[key] = hashlib.sha256(data).hexdigest()


def assert_world(s3: Any, world: dict[str, str], gone: tuple[str, ...] = ()) -> None:
    for key, digest in world.items():
        body = s3.get_object(Bucket=BUCKET, Key=key)["Body"].read()
        assert hashlib.sha256(body).hexdigest() == digest, key
    for key in gone:
        with pytest.raises(ClientError, match="NoSuchKey"):
            s3.get_object(Bucket=BUCKET, Key=key)


def disk(node: NodeProcess, slot: int) -> Any:
    return node.status()["disks"][slot]


def in_service(node: NodeProcess) -> bool:
    return all(
        one["state"] == "online" and one["journal"] == "live" and not one["journal_lag_bytes"]
        for one in node.status()["disks"]
    )


def told_of_lost_shards(node: NodeProcess) -> int:
    """Of how many disks it is said that they lack what they had answered."""
    return sum("were not on it" in alarm for alarm in node.status()["alarms"])


def test_21_older_copies_of_m_disks_come_back_while_the_node_runs(tmp_path: Path) -> None:
    """They get the journal anew, and the shards they had answered and lack, so that all survives
    the loss of m others.
    """
    world: dict[str, str] = {}
    with NodeProcess(tmp_path / "data", disks=6, parity=2) as node:
        s3 = node.s3()
        s3.create_bucket(Bucket=BUCKET)
        for key in ("kept", "deleted", "replaced"):
            put(s3, world, key)
        put(s3, world, "small and replaced", 100)
        node.wait_placed()
        for slot in (0, 1):
            shutil.copytree(node.disk_path(slot), tmp_path / f"old{slot}")
        s3.delete_object(Bucket=BUCKET, Key=world.pop("deleted") and "deleted")
        put(s3, world, "replaced")
        put(s3, world, "small and replaced", 200)
        node.wait_placed()
        for slot in (0, 1):
            node.pull(slot)
            (tmp_path / f"old{slot}").rename(node.disk_path(slot))
        node.wait(lambda: "a copy" in node.log_path.read_text())
        node.wait(lambda: in_service(node))
        node.wait(lambda: told_of_lost_shards(node) == 2)
        node.wait_placed()
        assert_world(s3, world, gone=("deleted",))
        put(s3, world, "after", 300)
        node.wait(lambda: in_service(node))
        node.kill()
        shutil.rmtree(node.data / "meta" / "index")
        node.pull(4)
        node.pull(5)
        node.start()
        s3 = node.s3()
        assert_world(s3, world, gone=("deleted",))
        node.push(4)
        node.push(5)
        node.wait(lambda: in_service(node))
        assert_world(s3, world, gone=("deleted",))
        assert node.stop() == 0


def test_24_a_clone_is_fenced_and_taking_it_away_is_enough(tmp_path: Path) -> None:
    world: dict[str, str] = {}
    with NodeProcess(tmp_path / "data", disks=6, parity=2) as node:
        s3 = node.s3()
        s3.create_bucket(Bucket=BUCKET)
        put(s3, world, "before")
        assert node.stop() == 0
        node.pull(3)
        shutil.copytree(node.disk_path(2), node.disk_path(3))
        node.start()
        s3 = node.s3()
        assert_world(s3, world)
        put(s3, world, "beside a clone")
        for slot in (2, 3):
            assert disk(node, slot)["state"] == "fenced", disk(node, slot)
            assert "remove one" in disk(node, slot)["reason"]
        shutil.rmtree(node.disk_path(3))
        node.push(3)
        node.wait(lambda: in_service(node))
        put(s3, world, "afterwards")
        assert_world(s3, world)
        node.wait_placed()
        assert node.stop() == 0
        check = node.command("check", "--data", str(node.data), "--json")
        assert check.returncode == 0, check.stdout + check.stderr


def test_directories_that_are_removed_under_a_running_node_are_missed(tmp_path: Path) -> None:
    """Open files go on working without a name: what is written to them is lost with the process."""
    world: dict[str, str] = {}
    with NodeProcess(tmp_path / "data", disks=6, parity=2) as node:
        s3 = node.s3()
        s3.create_bucket(Bucket=BUCKET)
        put(s3, world, "before")
        shutil.rmtree(node.disk_path(4) / "segments")
        shutil.rmtree(node.disk_path(3) / "journal")
        node.wait(lambda: "was removed" in node.log_path.read_text())
        node.wait(lambda: in_service(node) and any((node.disk_path(3) / "journal").iterdir()))
        put(s3, world, "after")
        put(s3, world, "small and after", 100)
        assert any((node.disk_path(4) / "segments").iterdir())
        node.wait(lambda: in_service(node))
        node.wait_placed()
        node.kill()
        shutil.rmtree(node.data / "meta" / "index")
        node.pull(0)
        node.pull(1)
        node.start()
        s3 = node.s3()
        assert_world(s3, {key: world[key] for key in ("after", "small and after")})
        assert node.stop() == 0
