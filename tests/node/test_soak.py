"""Clients that mix all operations: no wrong answer, no error, and nothing grows or stays.

32 for ten minutes of each form with --deep; by default 32 for two minutes over edges, which is
how most nodes run, and eight for ten seconds of one process; anything else by hand, with
`python -m tests.node.soak`.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.node.process import NodeProcess
from tests.node.soak import CLIENTS, run

pytestmark = pytest.mark.xdist_group("soak")


DEEP_S = 600


@pytest.mark.parametrize(
    ("edges", "seconds", "clients"),
    [(0, 10, 8), (2, 120, CLIENTS)],
    ids=["one process", "2 edges"],
)
def test_many_clients_leave_nothing_behind(
    edges: int, seconds: int, clients: int, tmp_path: Path, deep: bool
) -> None:
    with NodeProcess(tmp_path / "data", disks=12, parity=4, edges=edges) as node:
        run(node, DEEP_S if deep else seconds, CLIENTS if deep else clients)
        assert node.stop() == 0
        checked = node.command("check", "--data", str(node.data))
        assert checked.returncode == 0, checked.stdout
