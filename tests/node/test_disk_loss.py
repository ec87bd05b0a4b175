"""Disks are taken away from a running node, by twos and by threes.

4+2 on six disks: with any two gone everything is identical and new objects can be stored; with
any three gone every answer is the right bytes or a 503 that names the reason.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.node.content import BUCKET, content, read_world, store_world
from tests.node.process import NodeProcess

pytestmark = pytest.mark.xdist_group("disk-loss")

Set = tuple[NodeProcess, dict[str, str]]


@pytest.fixture(scope="module")
def six(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Set]:
    with NodeProcess(tmp_path_factory.mktemp("six") / "data", disks=6, parity=2) as node:
        world = store_world(node.s3())
        node.wait_placed()
        yield node, world
        assert node.stop() == 0


def offline(node: NodeProcess) -> set[int]:
    return {disk["slot"] for disk in node.status()["disks"] if disk["state"] != "online"}


def read_or_reason(s3: Any, key: str) -> str | None:
    """SHA-256 of what is read; None when the node says that it cannot, and why."""
    try:
        body = s3.get_object(Bucket=BUCKET, Key=key)["Body"].read()
    except ClientError as error:
        assert error.response["ResponseMetadata"]["HTTPStatusCode"] == 503, error
        assert "disks" in error.response["Error"]["Message"]
        return None
    return hashlib.sha256(body).hexdigest()


@pytest.mark.parametrize("gone", list(itertools.combinations(range(6), 2)), ids=str)
def test_two_disks_gone_is_nothing(six: Set, gone: Sequence[int]) -> None:
    node, world = six
    s3 = node.s3()
    for slot in gone:
        node.pull(slot)
    try:
        node.wait(lambda: offline(node) == set(gone))
        assert read_world(s3) == world
        key = f"written without {gone}"
        data = content(key, 700_001)
        s3.put_object(Bucket=BUCKET, Key=key, Body=data)
        world[key] = hashlib.sha256(data).hexdigest()
        assert read_or_reason(s3, key) == world[key]
    finally:
        for slot in gone:
            node.push(slot)
    node.wait(lambda: not offline(node))
    node.wait_placed()


@pytest.mark.parametrize("gone", list(itertools.combinations(range(6), 3)), ids=str)
def test_three_disks_gone_is_right_bytes_or_a_reason(six: Set, gone: Sequence[int]) -> None:
    node, world = six
    s3 = node.s3()
    for slot in gone:
        node.pull(slot)
    try:
        node.wait(lambda: offline(node) == set(gone))
        for key, digest in world.items():
            assert read_or_reason(s3, key) in (digest, None)
    finally:
        for slot in gone:
            node.push(slot)
    node.wait(lambda: not offline(node))
    assert read_world(s3) == world


@pytest.mark.parametrize(("disks", "parity"), [(12, 4), (16, 4)])
def test_wider_geometries_sampled(disks: int, parity: int, tmp_path: Path, deep: bool) -> None:
    with NodeProcess(tmp_path / "data", disks=disks, parity=parity) as node:
        s3 = node.s3()
        world = store_world(s3)
        node.wait_placed()
        patterns = list(itertools.combinations(range(disks), parity))
        step = len(patterns) // (20 if deep else 3)
        for gone in patterns[step // 2 :: step]:
            for slot in gone:
                node.pull(slot)
            node.wait(lambda gone=gone: offline(node) == set(gone))
            assert read_world(s3) == world
            key = f"written without {gone}"
            data = content(key, 3_000_003)
            s3.put_object(Bucket=BUCKET, Key=key, Body=data)
            world[key] = hashlib.sha256(data).hexdigest()
            for slot in gone:
                node.push(slot)
            node.wait(lambda: not offline(node))
            node.wait_placed()
        assert read_world(s3) == world


def test_restart_without_two_disks_and_then_without_three(tmp_path: Path) -> None:
    with NodeProcess(tmp_path / "data", disks=6, parity=2) as node:
        world = store_world(node.s3())
        assert node.stop() == 0
        node.pull(0)
        node.pull(4)
        node.start()
        assert read_world(node.s3()) == world
        assert node.stop() == 0
        node.pull(2)
        node.start(wait_ready=False)
        node.wait_line("waiting ")
        with pytest.raises(ClientError) as refused:
            node.s3().list_objects_v2(Bucket=BUCKET)
        assert refused.value.response["Error"]["Code"] == "ServiceUnavailable"
        assert "disk" in refused.value.response["Error"]["Message"]
        node.push(2)
        node.wait_line("ready ")
        node.push(0)
        node.push(4)
        node.wait(lambda: not offline(node))
        assert read_world(node.s3()) == world
