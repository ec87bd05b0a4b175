"""Watches the disks of a running node: notices that one is gone, takes back one that returned.

Each round looks at every disk in service (is it still there, how much room has it) and probes
every other one. A disk that is back and in order is readmitted to the disk set, its epoch file
is brought up to date, and the journal copies to it what it lacks; then owed shards are placed.
What a failed segment had answered is read back at once, and owed where it is not on the medium.

Whether a disk that comes back may be believed: its segments hold only what rows name by segment
id and offset, and every record is verified against that row when it is read, so a disk that was
away, or is an older copy of itself, can return stale records but never a wrong byte. Its journal
and checkpoints are not believed: the journal's readmission replaces them.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from s3node.base.errors import StorageFault
from s3node.objects.doubt import Doubts
from s3node.objects.repair import Repairer
from s3node.store.seams import DiskSet, DiskState, DiskStatus

LOG = logging.getLogger("s3node.disks")

ROUND_S = 1.0
PATIENCE_S = 1.0
"""How long one look waits for disks that are being taken back."""

REPAIR_ROUNDS = 10
"""Owed shards are tried again every so many rounds, and at once when a disk comes back."""

Stamp = Callable[[int], None]
"""Write the running epoch into the slot's epoch file; blocking; OSError or StorageFault."""

Distrust = Callable[[int, str], None]
"""Tell the journal that what a slot had may not be there any more, and why."""


class DiskMonitor:
    """One per node; `run` until cancelled."""

    def __init__(
        self,
        disks: DiskSet,
        doubts: Doubts,
        repairer: Repairer,
        stamp: Stamp,
        distrust: Distrust,
        round_s: float = ROUND_S,
    ) -> None:
        self._disks = disks
        self._doubts = doubts
        self._repairer = repairer
        self._stamp = stamp
        self._distrust = distrust
        self._round_s = round_s
        self._returning: dict[int, asyncio.Task[bool]] = {}
        self._told: dict[int, str] = {}
        self._refused: dict[int, str] = {}  # why a disk was not readmitted: logged once

    async def run(self) -> None:
        """Rounds for ever."""
        rounds = 0
        repairing: asyncio.Task[None] | None = None
        try:
            while True:
                await asyncio.sleep(self._round_s)
                returned = await self.look()
                rounds += 1
                if repairing is not None and repairing.done():
                    repairing = repairing.result()
                due = returned or rounds % REPAIR_ROUNDS == 0 or self._doubts.fresh()
                if repairing is None and due:
                    repairing = asyncio.create_task(self._repair(), name="repair")
        finally:
            tasks = [*self._returning.values(), *([repairing] if repairing else [])]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def look(self) -> bool:
        """One look at every disk; whether one came back. A disk that hangs holds up no other."""
        await self._disks.refresh()
        for disk in self._disks.status():
            self._tell(disk, disk.state, disk.reason)
            if disk.state is not DiskState.ONLINE and disk.slot not in self._returning:
                self._returning[disk.slot] = asyncio.create_task(self._take_back(disk))
        if not self._returning:
            return False
        done, _ = await asyncio.wait(self._returning.values(), timeout=PATIENCE_S)
        self._returning = {slot: t for slot, t in self._returning.items() if t not in done}
        returned = [task.result() for task in done]
        return any(returned)

    async def _take_back(self, disk: DiskStatus) -> bool:
        slot = disk.slot
        probe = await self._disks.probe(slot)
        if not probe.writable:
            return False
        away = self._disks.status()[slot].state in (DiskState.OFFLINE, DiskState.FENCED)
        try:
            await asyncio.to_thread(self._stamp, slot)
            if away:
                self._distrust(slot, "the disk was away: it may be an older copy of itself")
            await self._disks.readmit(slot)
        except (OSError, StorageFault) as fault:
            if self._refused.get(slot) != str(fault):
                fields = {"slot": slot, "why": str(fault)}
                LOG.warning("disk not readmitted", extra={"fields": fields})
            self._refused[slot] = str(fault)
            return False
        self._refused.pop(slot, None)
        self._tell(disk, DiskState.ONLINE, "")
        return True

    async def _repair(self) -> None:
        try:
            await self._doubts.settle()
            done = await self._repairer.round()
        except StorageFault as fault:
            LOG.warning("owed shards wait", extra={"fields": {"why": str(fault)}})
            return
        if done.placed or done.waiting:
            fields = {"placed": done.placed, "waiting": done.waiting, "why": done.reason}
            LOG.info("owed shards", extra={"fields": fields})

    def _tell(self, disk: DiskStatus, state: DiskState, reason: str) -> None:
        """Log a change once."""
        now = f"{state.value}: {reason}" if reason else state.value
        if self._told.get(disk.slot, DiskState.ONLINE.value) != now:
            level = logging.INFO if state is DiskState.ONLINE else logging.WARNING
            fields = {"slot": disk.slot, "path": disk.path, "state": now}
            LOG.log(level, "disk state", extra={"fields": fields})
        self._told[disk.slot] = now
