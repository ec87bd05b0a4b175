"""A small file-backed `Logs`: real files, synced; single slots can be made to fail or to wait."""

from __future__ import annotations

import asyncio
import os
from asyncio import Future
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from s3node.base.errors import DiskFailed
from s3node.base.filesystem import Buffer, RealFileSystem
from s3node.meta.homes import Home, make_directories


class Unsynced(RealFileSystem):
    """Real files without the waiting: power cuts are the simulation's business."""

    def fdatasync(self, fd: int) -> None:
        pass

    def fsync_dir(self, path: str) -> None:
        pass


def tell(slot: int, append: Future[None], answered: Callable[[int, Any], None]) -> None:
    """Whoever asked for an append, as soon as it is done."""
    append.add_done_callback(lambda done: done.cancelled() or answered(slot, done.exception()))


class FileLogs:
    def __init__(self, homes: dict[int, Home]) -> None:
        self.homes = homes
        self.down: set[int] = set()  # not writable, appends fail
        self.tearing: dict[int, int] = {}  # slot -> bytes of the next append that get through
        self.gates: dict[int, asyncio.Event] = {}  # slot -> appends wait for it
        self.appends: dict[int, int] = dict.fromkeys(homes, 0)
        self._open: dict[int, int] = {}

    def writable_logs(self) -> Sequence[int]:
        return [slot for slot in self.homes if slot not in self.down]

    def log_append(
        self, slots: Sequence[int], data: Buffer, answered: Callable[[int, Any], None]
    ) -> None:
        for slot in slots:
            tell(slot, asyncio.ensure_future(self._append(slot, bytes(data))), answered)

    def log_rotate(self, slot: int, name: str) -> Future[None]:
        return asyncio.ensure_future(self._rotate(slot, name))

    async def _append(self, slot: int, data: bytes) -> None:
        self.appends[slot] += 1
        await asyncio.sleep(0)
        if slot in self.gates:
            await self.gates[slot].wait()
        if slot in self.down:
            raise DiskFailed(f"slot {slot}: EIO")
        torn = self.tearing.pop(slot, None)
        os.write(self._open[slot], data if torn is None else data[:torn])
        if torn is not None:
            raise DiskFailed(f"slot {slot}: EIO in the middle")

    async def _rotate(self, slot: int, name: str) -> None:
        await asyncio.sleep(0)
        if slot in self.down:
            raise DiskFailed(f"slot {slot}: EIO")
        if slot in self._open:
            os.close(self._open.pop(slot))
        path = f"{self.homes[slot].journal}/{name}"
        self._open[slot] = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)

    def close(self) -> None:
        for fd in self._open.values():
            os.close(fd)
        self._open.clear()


def make_homes(root: Path, disks: int) -> dict[int, Home]:
    homes = {}
    for slot in range(disks):
        path = root / f"disk{slot:02}"
        path.mkdir(parents=True)
        homes[slot] = Home(Unsynced(), str(path), bytes([slot + 1]) * 16)
        make_directories(homes[slot])
    return homes
