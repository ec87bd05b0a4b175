"""Samples the main thread of every Python process that finds this folder on its path.

Found by Python itself at start, before anything of a node. Every `STEP_S` of the process's CPU
time the stack of the main thread is noted, weighted by the CPU time that this very thread used
since: waiting counts nothing, nor do other threads. A call into C counts for the function that
made it. That is done as long as there is a file "on" in the folder SAMPLES; at the end of the
process the sums go to another file there.
"""

from __future__ import annotations

import atexit
import json
import os
import signal
import sys
import time
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import Any

STEP_S = 0.002
FOLDER = os.environ.get("SAMPLES", "")
ON = Path(FOLDER) / "on"

_own: Counter[str] = Counter()
_all: Counter[str] = Counter()
_last = 0.0


def _name(frame: FrameType) -> str:
    code: Any = frame.f_code
    path = code.co_filename
    for root in ("/s3node/", "/ec/", "/site-packages/", "/lib/python"):
        if root in path:
            path = path.rpartition(root)[2]
            path = root.strip("/") + "/" + path if root in ("/s3node/", "/ec/") else path
            break
    return f"{path}:{code.co_qualname}"


def _sample(_number: int, frame: FrameType | None) -> None:
    global _last
    now = time.thread_time()
    spent, _last = now - _last, now
    if not ON.exists():
        return
    seen = set()
    if frame is not None:
        _own[_name(frame)] += spent  # type: ignore[assignment]
    while frame is not None:
        name = _name(frame)
        if name not in seen:
            seen.add(name)
            _all[name] += spent  # type: ignore[assignment]
        frame = frame.f_back


def _write() -> None:
    signal.setitimer(signal.ITIMER_PROF, 0)
    if not _own:
        return
    found = {"command": sys.argv, "own": dict(_own), "all": dict(_all)}
    ON.with_name(f"{os.getpid()}.json").write_text(json.dumps(found))


if FOLDER:
    atexit.register(_write)
    signal.signal(signal.SIGPROF, _sample)
    signal.setitimer(signal.ITIMER_PROF, STEP_S, STEP_S)
