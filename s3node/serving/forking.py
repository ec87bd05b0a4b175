"""A child process: a fork of the supervisor that keeps of it only what it is given.

The supervisor has one thread, so a fork is a whole process: everything is loaded already, and a
child is there in milliseconds. Of what it inherits

- every descriptor but standard streams and those that are kept becomes /dev/null: nothing of the
  parent's stays open through a child, and objects that go with the parent's state can do no harm;
- signals that ask a node to stop or to load its configuration are ignored: they reach all
  processes of a terminal or a service at once, and the supervisor knows the order;
- the parent's objects are never collected, and no clean-up of the parent runs at a child's end.
"""

from __future__ import annotations

import gc
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Collection
from pathlib import Path

LOG = logging.getLogger("s3node")

FAILED = 1
IGNORED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_STANDARD = frozenset((0, 1, 2))
_NAME_BYTES_MAX = 15  # of a process, as the kernel keeps it


def fork(name: str, main: Callable[[], int], keep: Collection[int]) -> int:
    """A child that runs `main` and ends with its status; its process id.

    `keep` are the descriptors that it needs. No event loop may be running.
    """
    assert threading.active_count() == 1, "a thread would be lost in the child, with its locks"
    sys.stdout.flush()
    sys.stderr.flush()
    gc.collect()
    gc.freeze()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    pid = os.fork()
    if pid == 0:
        _child(name, main, {*keep, *_STANDARD}, before)
    signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return pid


def _child(name: str, main: Callable[[], int], keep: set[int], mask: Collection[int]) -> None:
    status = FAILED
    try:
        signal.set_wakeup_fd(-1)
        for number in (*IGNORED, signal.SIGCHLD):
            signal.signal(number, signal.SIG_IGN if number in IGNORED else signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        _drop_descriptors(keep)
        Path("/proc/self/comm").write_text(name[:_NAME_BYTES_MAX])
        status = main()
    except BaseException as fault:
        LOG.critical("%s failed", name, exc_info=fault)
    finally:
        logging.shutdown()
        os._exit(status)


def _drop_descriptors(keep: set[int]) -> None:
    nothing = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    inherited = {int(one.name) for one in Path("/proc/self/fd").iterdir()}
    for descriptor in inherited - keep - {nothing}:
        os.dup2(nothing, descriptor, inheritable=False)
    os.close(nothing)
