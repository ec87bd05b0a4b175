"""A program that runs the node under ptrace, and kills it at the n-th call that changes files.

Counted are the calls of all threads, as they enter the kernel, that change something below the
node's folder; at the n-th the whole process is killed, before the call does anything. What was
not synced by then can be taken away too, as a power cut would (`tests.node.unsynced`).

One JSON object per line on stdin is a command, and each is answered with one on stdout:

    {"do": "start", "arguments": [...], "kill_at": n, "changed": [...]}
                                    fork, run `s3node` with them and some of CHANGES; 0: no kill
    {"do": "arm", "kill_at": n}     count from here
    {"do": "look"}                  is it alive, what was counted
    {"do": "kill"}                  kill -9 now
    {"do": "cut", "seed": any, "mode": one of MODES or "mixed"}
                                    of the dead: lose what was not synced

usage: python -m tests.node.tracer ROOT OUT     (the node's stdout goes to the file OUT)
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import platform
import random
import select
import signal
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from s3node.base.filesystem import RealFileSystem
from s3node.main import run
from s3node.meta.checkpointer import Sizes
from s3node.meta.journal import Limits
from s3node.meta.metadata import Metadata, Settings
from tests.node.unsynced import MODES, Change, Unsynced

CALLS = {  # asm/unistd_64.h and asm-generic/unistd.h
    "x86_64": {
        1: "write",
        2: "open",
        18: "pwrite64",
        20: "writev",
        74: "fsync",
        75: "fdatasync",
        76: "truncate",
        77: "ftruncate",
        82: "rename",
        83: "mkdir",
        85: "creat",
        87: "unlink",
        257: "openat",
        258: "mkdirat",
        263: "unlinkat",
        264: "renameat",
        285: "fallocate",
        296: "pwritev",
        316: "renameat2",
        328: "pwritev2",
    },
    "aarch64": {
        34: "mkdirat",
        35: "unlinkat",
        38: "renameat",
        45: "truncate",
        46: "ftruncate",
        47: "fallocate",
        56: "openat",
        64: "write",
        66: "writev",
        68: "pwrite64",
        70: "pwritev",
        82: "fsync",
        83: "fdatasync",
        276: "renameat2",
        287: "pwritev2",
    },
}
NAMES = CALLS[platform.machine()]

PTRACE_CONT, PTRACE_SYSCALL, PTRACE_SEIZE, PTRACE_INTERRUPT = 7, 24, 0x4206, 0x4207
PTRACE_LISTEN, PTRACE_GET_SYSCALL_INFO = 0x4208, 0x420E
SYSGOOD, CLONE, EXITKILL = 0x1, 0x8, 0x100000
EVENT_STOP = 128
WALL = 0x40000000
ENTRY, EXIT = 1, 2
INFO = struct.Struct("<BxxxIQQQ6Q")  # op, arch, instruction, stack, entry: number, arguments
RESULT = struct.Struct("<BxxxIQQqB")

libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
libc.ptrace.restype = ctypes.c_long


def ptrace(request: int, pid: int, address: int = 0, data: Any = 0) -> bool:
    """False if the thread is gone, or on its way."""
    if libc.ptrace(request, pid, address, data) < 0:
        number = ctypes.get_errno()
        if number != errno.ESRCH:
            raise OSError(number, f"ptrace {request:#x}: {os.strerror(number)}")
        return False
    return True


def _busy(thread: int) -> bool:
    """Whether it does anything but sleep until something happens."""
    try:
        status = Path(f"/proc/{thread}/stat").read_text()
    except OSError:  # it has ended
        return False
    return status.rpartition(")")[2].split()[0] != "S"


class Tracer:
    def __init__(self, root: Path, out: Path) -> None:
        self.root, self.out = root, out
        self.unsynced = Unsynced(root, root.parent / f"{root.name}.stash")
        self.unsynced.forget()
        self.pid = 0
        self.threads: set[int] = set()
        self.count = self.kill_at = 0
        self.hit = ""
        self._information = ctypes.create_string_buffer(88)
        self._returning: dict[int, Callable[[bool], None]] = {}

    # --- commands -------------------------------------------------------------------------------

    def answer(self, command: dict[str, Any]) -> dict[str, Any]:
        match command["do"]:
            case "start":
                self.start(command["arguments"], command["kill_at"], command["changed"])
            case "arm":
                self.count, self.kill_at, self.hit = 0, command["kill_at"], ""
            case "kill":
                self.kill()
            case "cut":
                return {"lost": self.cut(command["seed"], command["mode"])}
        return {
            "alive": bool(self.threads),
            "count": self.count,
            "hit": self.hit,
            "busy": any(map(_busy, self.threads)),
        }

    def start(self, arguments: list[str], kill_at: int, changed: list[str]) -> None:
        assert not self.threads, "it runs already"
        self.count, self.kill_at, self.hit = 0, kill_at, ""
        self.out.unlink(missing_ok=True)
        waits, goes = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(goes)
            self._be_the_node(waits, arguments, changed)
        os.close(waits)
        self.threads = {self.pid}
        assert ptrace(PTRACE_SEIZE, self.pid, 0, SYSGOOD | CLONE | EXITKILL)
        assert ptrace(PTRACE_INTERRUPT, self.pid)
        _, status = os.waitpid(self.pid, WALL)
        self.stopped(self.pid, status)
        os.write(goes, b"g")
        os.close(goes)

    def _be_the_node(self, waits: int, arguments: list[str], changed: list[str]) -> None:
        status = 70
        try:
            os.setsid()
            out = os.open(self.out, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            os.dup2(out, 1)
            os.read(waits, 1)
            sys.argv = ["s3node", *arguments]
            for name in changed:
                CHANGES[name]()
            run()
            status = 0
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else 1
        finally:
            os._exit(status)

    def kill(self) -> None:
        if self.threads:
            os.kill(self.pid, signal.SIGKILL)
        while self.threads:
            self.wait(block=True)

    def cut(self, seed: str, mode: str) -> list[str]:
        assert not self.threads, "it runs"
        chance = random.Random(seed)
        modes: dict[str, str] = {}

        def mode_of(path: str) -> str:
            if mode != "mixed":
                return mode
            disk = Path(path).relative_to(self.root).parts[:2]
            return modes.setdefault(str(disk), chance.choice(MODES))

        return self.unsynced.cut(chance, mode_of)

    # --- the loop -------------------------------------------------------------------------------

    def serve(self) -> None:
        """Until stdin ends."""
        wake_read, wake_write = os.pipe()
        for end in (wake_read, wake_write):
            os.set_blocking(end, False)
        signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        while True:
            while self.wait(block=False):
                pass
            ready, _, _ = select.select([0, wake_read], [], [])
            if wake_read in ready:
                os.read(wake_read, 4096)
            if 0 in ready:
                line = sys.stdin.readline()
                if not line:
                    return self.kill()
                print(json.dumps(self.answer(json.loads(line))), flush=True)

    def wait(self, *, block: bool) -> bool:
        """Look after one thread that stopped or ended; False if there is none."""
        try:
            pid, status = os.waitpid(-1, WALL | (0 if block else os.WNOHANG))
        except ChildProcessError:
            self.threads.clear()
            return False
        if pid == 0:
            return False
        if os.WIFSTOPPED(status):
            self.stopped(pid, status)
        else:
            self.threads.discard(pid)
            self._returning.pop(pid, None)
        return True

    def stopped(self, pid: int, status: int) -> None:
        number, event = os.WSTOPSIG(status), status >> 16
        self.threads.add(pid)
        deliver = 0
        if number == signal.SIGTRAP | 0x80:
            self.at_call(pid)
        elif event == EVENT_STOP and number != signal.SIGTRAP:
            ptrace(PTRACE_LISTEN, pid)
            return
        elif event == 0:
            deliver = number
        ptrace(PTRACE_SYSCALL, pid, 0, deliver)

    def at_call(self, pid: int) -> None:
        if not ptrace(PTRACE_GET_SYSCALL_INFO, pid, 88, self._information):
            return
        if self._information.raw[0] == EXIT:
            returning = self._returning.pop(pid, None)
            if returning is not None:
                returning(RESULT.unpack_from(self._information)[4] >= 0)
            return
        name = NAMES.get(INFO.unpack_from(self._information)[4])
        if name is None or self.hit:
            return
        call = Call(pid, name, INFO.unpack_from(self._information)[5:])
        if not call.changes(self.root):
            return
        self.count += 1
        if self.count == self.kill_at:
            self.hit = f"{name} {call.path}"
            os.kill(self.pid, signal.SIGKILL)
            return
        self._returning[pid] = call.enter(self.unsynced)


class Call:
    """One system call at its entry."""

    def __init__(self, pid: int, name: str, arguments: tuple[int, ...]) -> None:
        self.pid, self.name, self.arguments = pid, name, arguments
        self.path = self.target = ""
        self.fd_path = f"/proc/{pid}/fd/{arguments[0] & 0xFFFFFFFF}"
        match name:
            case "open" | "creat" | "mkdir" | "unlink" | "truncate":
                self.path = self._string(arguments[0])
            case "openat" | "mkdirat" | "unlinkat":
                self.path = self._string(arguments[1])
            case "rename":
                self.path, self.target = self._string(arguments[0]), self._string(arguments[1])
            case "renameat" | "renameat2":
                self.path, self.target = self._string(arguments[1]), self._string(arguments[3])
            case _:
                self.path = os.readlink(self.fd_path)

    def _memory(self, address: int, length: int) -> bytes:
        fd = os.open(f"/proc/{self.pid}/mem", os.O_RDONLY)
        try:
            return os.pread(fd, length, address)
        finally:
            os.close(fd)

    def _string(self, address: int) -> str:
        page = 4096 - address % 4096
        data = self._memory(address, page)
        if b"\0" not in data:
            data += self._memory(address + page, 4096)
        return os.fsdecode(data.partition(b"\0")[0])

    def _flags(self) -> int:
        return self.arguments[1 if self.name == "open" else 2]

    def changes(self, root: Path) -> bool:
        """Does it change something below `root`?"""
        if not f"{self.path}/".startswith(f"{root}/"):
            return False
        if self.name in ("open", "openat"):
            create = self._flags() & os.O_CREAT and not os.path.lexists(self.path)
            return bool(create or self._flags() & os.O_TRUNC)
        return True

    def enter(self, unsynced: Unsynced) -> Callable[[bool], None]:
        """What to do with the call's result."""
        if self.name in ("fsync", "fdatasync"):
            synced = unsynced.sync(self.fd_path)
            return lambda well: synced() if well else None
        changes = self._changes_of(unsynced)

        def finished(well: bool) -> None:
            for change in changes:
                unsynced.finish(change)

        return finished

    def _changes_of(self, unsynced: Unsynced) -> list[Change]:
        match self.name:
            case "open" | "openat" | "creat":
                if not os.path.lexists(self.path):
                    return [unsynced.created(self.path)]
                return [unsynced.resized(self.path, 0)]
            case "mkdir" | "mkdirat":
                return [] if os.path.lexists(self.path) else [unsynced.made_directory(self.path)]
            case "unlink" | "unlinkat":
                return [unsynced.unlinked(self.path)] if os.path.lexists(self.path) else []
            case "rename" | "renameat" | "renameat2":
                return [unsynced.renamed(self.path, self.target)]
            case "truncate":
                return [unsynced.resized(self.path, self.arguments[1])]
            case "ftruncate":
                return [unsynced.resized(self.fd_path, self.arguments[1])]
            case "fallocate":
                return [unsynced.written(self.fd_path, self.arguments[2], 0)]
        return [unsynced.written(self.fd_path, self._offset(), self._length())]

    def _length(self) -> int:
        if self.name in ("write", "pwrite64"):
            return self.arguments[2]
        vector = self._memory(self.arguments[1], 16 * self.arguments[2])
        return sum(length for _, length in struct.iter_unpack("<QQ", vector))

    def _offset(self) -> int:
        if self.name.startswith("pwrite"):
            return self.arguments[3]
        lines = Path(f"/proc/{self.pid}/fdinfo/{Path(self.fd_path).name}").read_text().split()
        if int(lines[lines.index("flags:") + 1], 8) & os.O_APPEND:
            return os.stat(self.fd_path).st_size
        return int(lines[lines.index("pos:") + 1])


def small_checkpoints() -> None:
    """Let a checkpoint and a cut of the journal come with every few requests."""
    sizes = Sizes(range_bytes=2048, journal_bytes=4096, journal_share=1 << 30)
    settings = Settings(limits=Limits(log_bytes=8192), sizes=sizes, look_seconds=0.05)
    Metadata.__init__.__defaults__ = (settings,)


def no_sync() -> None:
    """The planted bug: files that Python writes are not synced."""
    RealFileSystem.fdatasync = lambda self, fd: None  # type: ignore[method-assign]


CHANGES = {"small checkpoints": small_checkpoints, "no sync": no_sync}


if __name__ == "__main__":
    Tracer(Path(sys.argv[1]), Path(sys.argv[2])).serve()
