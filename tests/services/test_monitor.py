"""Disks that come back to a running node, and those that must not."""

from __future__ import annotations

import asyncio
import fcntl
from pathlib import Path

import pytest

from s3node.objects.doubt import Doubts
from s3node.services.monitor import DiskMonitor
from s3node.store import identity as identities
from s3node.store.seams import DiskState
from tests.node.process import NodeProcess
from tests.objects.node import ObjectNode


@pytest.mark.parametrize("slot", [0, 5])
def test_a_disk_that_somebody_else_holds_waits(tmp_path: Path, slot: int) -> None:
    """Also one that comes back held: that is the disk's trouble, not the node's."""

    async def scenario() -> None:
        async with ObjectNode(tmp_path):
            pass  # makes the disks
        path, away = tmp_path / f"disk{slot}", tmp_path / "away"
        path.rename(away)
        path.mkdir()
        async with ObjectNode(tmp_path, create=False) as node:
            monitor = DiskMonitor(
                node.disks,
                Doubts(node.kv, node.disks, node.clock),
                node.store.repairer,
                lambda slot: None,
                lambda slot, reason: None,
            )
            assert not await monitor.look()
            path.rmdir()
            away.rename(path)
            with (path / "lock").open("rb") as held:
                fcntl.flock(held, fcntl.LOCK_EX)
                assert not await monitor.look()
                assert node.disks.status()[slot].state is not DiskState.ONLINE
            assert await monitor.look()
            assert node.disks.status()[slot].state is DiskState.ONLINE

    asyncio.run(asyncio.wait_for(scenario(), 60))


def test_the_right_disk_in_the_place_of_a_foreign_one_is_taken_back(tmp_path: Path) -> None:
    with NodeProcess(tmp_path / "data", disks=3, parity=1) as node:
        node.stop()
        path = node.disk_path(2) / "identity"
        ours = path.read_bytes()
        foreign = identities.unpack(ours)._replace(deployment_id=b"somebody else's!")
        path.write_bytes(identities.pack(foreign))
        node.start()
        assert node.status()["disks"][2]["state"] == "fenced"
        path.write_bytes(ours)
        node.wait(lambda: node.status()["disks"][2]["state"] == "online")
        node.wait(lambda: node.status()["disks"][2]["journal"] == "live")
        assert node.stop() == 0
