"""What figures depend on: the machine, its load, the commit, the versions of what is measured."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def processor() -> str:
    """Its name, and how many cores of it are ours."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    models = [line.partition(": ")[2] for line in lines if line.startswith("model name")]
    return f"{models[0] if models else platform.machine()}, {len(os.sched_getaffinity(0))} cores"


def facts(folder: Path) -> dict[str, str]:
    """What the figures depend on."""
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    packages = (f"{name} {metadata.version(name)}" for name in ("httptools", "uvloop", "lmdb"))
    return {
        "machine": f"{processor()}, {pages >> 30} GiB",
        "kernel": f"{platform.system()} {platform.release()}, {file_system(folder)}",
        "load": f"{os.getloadavg()[0]:.1f} at the start (figures of a busy machine mean little)",
        "commit": commit(),
        "python": f"{platform.python_version()}, {', '.join(packages)}",
    }


def file_system(folder: Path) -> str:
    """`ext4 on /dev/vda at /`: what `folder` lies on."""
    device = folder.stat().st_dev
    place = f"{os.major(device)}:{os.minor(device)}"
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        if before.split()[2] == place:
            kind, source = after.split()[:2]
            return f"{kind} on {source}"
    return "an unknown file system"


def commit() -> str:
    """The commit of the checkout, and whether it was changed since."""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(ROOT), *arguments]
        found = subprocess.run(command, check=False, capture_output=True, text=True, timeout=30)
        return found.stdout.strip()

    changed = ", with changes" if git("status", "--porcelain", "--untracked-files=no") else ""
    return (git("rev-parse", "--short=12", "HEAD") or "no git") + changed
