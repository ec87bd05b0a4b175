"""Samples the main thread of every Python process that finds this folder on its path.

Found by Python itself at start, before anything of a node. Every `STEP_S` of the process's CPU
time the stack of the main thread is noted, weighted by the CPU time that this very thread used
since: waiting counts nothing, nor do other threads. A call into C counts for the function that
made it. That is done while there is a file "on" in the folder SAMPLES; when it is gone, at the
next step, the sums go to another file there. A forked process begins anew.
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
        _write()
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
    if _own:
        found = {"command": sys.argv, "own": dict(_own), "all": dict(_all)}
        ON.with_name(f"{os.getpid()}.json").write_text(json.dumps(found))
        _forget()


def _forget() -> None:
    _own.clear()
    _all.clear()


def _begin() -> None:
    _forget()
    signal.setitimer(signal.ITIMER_PROF, STEP_S, STEP_S)


if FOLDER:
    atexit.register(_write)
    os.register_at_fork(after_in_child=_begin)
    signal.signal(signal.SIGPROF, _sample)
    _begin()
