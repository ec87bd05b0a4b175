"""Forking, each time from a process that has one thread, as those of a node have when they fork."""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from s3node.serving.forking import fork

DONE_S_MAX = 60


def inherits_what_it_is_given_and_nothing_else() -> None:
    mine, childs = socket.socketpair()
    secret, _other = socket.socketpair()

    def main() -> int:
        for descriptor in (secret.fileno(), mine.fileno()):
            assert os.readlink(f"/proc/self/fd/{descriptor}") == os.devnull
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            os.kill(os.getpid(), number)
        childs.send(Path("/proc/self/comm").read_bytes().strip())
        return 42

    pid = fork("s3node-test-of-a-long-name", main, [childs.fileno()])
    childs.close()
    assert mine.recv(100) == b"s3node-test-of-"
    assert mine.recv(100) == b""
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 42


def ends_with_a_status_when_it_fails() -> None:
    def main() -> int:
        raise ValueError("no")

    pid = fork("s3node-test", main, [])
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 1


@pytest.mark.parametrize(
    "child",
    [inherits_what_it_is_given_and_nothing_else, ends_with_a_status_when_it_fails],
    ids=lambda child: child.__name__,
)
def test_a_child(child: Callable[[], None]) -> None:
    parent = multiprocessing.get_context("spawn").Process(target=child)
    parent.start()
    parent.join(DONE_S_MAX)
    assert parent.exitcode == 0
