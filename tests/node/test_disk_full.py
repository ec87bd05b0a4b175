"""Tiny file systems as disks: one is full, all are full; reads, deletes and restarts go on.

Needs root, to mount them.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.node.content import BUCKET, content, read_world
from tests.node.process import NodeProcess

DISK_MIB = 40
DISKS = 6

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="mounting takes root"),
    pytest.mark.xdist_group("disk-full"),
]


@pytest.fixture
def small(tmp_path: Path) -> Iterator[NodeProcess]:
    """A node whose six disks are tiny file systems."""
    node = NodeProcess(tmp_path / "data", disks=DISKS, parity=2)
    paths = [node.disk_path(slot) for slot in range(DISKS)]
    for path in paths:
        path.mkdir(parents=True)
        mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MIB}m", "tmpfs", str(path)]
        subprocess.run(mount, check=True)
    try:
        with node:
            node.s3().create_bucket(Bucket=BUCKET)
            yield node
    finally:
        for path in paths:
            subprocess.run(["umount", "--lazy", str(path)], check=True)


def put(s3: Any, key: str, size: int, world: dict[str, str]) -> bool:
    """Store it; whether there was room. Any other error than "no room" is a failure."""
    data = content(key, size)
    try:
        s3.put_object(Bucket=BUCKET, Key=key, Body=data)
    except ClientError as error:
        assert error.response["ResponseMetadata"]["HTTPStatusCode"] == 507, error
        return False
    world[key] = hashlib.sha256(data).hexdigest()
    return True


def test_row_1_one_full_disk_takes_nothing_and_stops_nothing(small: NodeProcess) -> None:
    s3 = small.s3()
    world: dict[str, str] = {}
    assert put(s3, "before", 1_000_000, world)
    small.wait_placed()  # nobody else writes while the room is measured
    filler = small.disk_path(2) / "filler"
    room = os.statvfs(filler.parent)
    filler.write_bytes(bytes((room.f_bavail - 64) * room.f_frsize))
    for number in range(6):
        assert put(s3, f"while full {number}", 1_500_000, world)
    assert read_world(s3) == world
    filler.unlink()
    small.wait(lambda: all(d["state"] == "online" for d in small.status()["disks"]))
    assert put(s3, "after", 1_500_000, world)
    small.wait_placed()
    assert read_world(s3) == world


def test_row_2_all_full_reads_deletes_and_restarts_go_on(small: NodeProcess) -> None:
    s3 = small.s3()
    world: dict[str, str] = {}
    number = 0
    while put(s3, f"large {number}", 3_000_000, world):
        number += 1
        assert number < DISKS * DISK_MIB, "it never becomes full"
    assert number > 20
    assert read_world(s3) == world
    s3.delete_object(Bucket=BUCKET, Key="large 0")
    del world["large 0"]
    assert small.stop() == 0
    small.start()
    s3 = small.s3()
    assert read_world(s3) == world
    s3.delete_object(Bucket=BUCKET, Key="large 1")
    del world["large 1"]
    assert read_world(s3) == world
