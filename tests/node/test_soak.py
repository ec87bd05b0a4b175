"""32 clients that mix all operations: no wrong answer, no error, and nothing grows or stays.

Ten minutes of each form with --deep; by default half a minute over edges, which is how most nodes
run, and ten seconds of one process; any other time by hand, with `python -m tests.node.soak`.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.node.process import NodeProcess
from tests.node.soak import run

pytestmark = pytest.mark.xdist_group("soak")


DEEP_S = 600


@pytest.mark.parametrize(("edges", "seconds"), [(0, 10), (2, 30)], ids=["one process", "2 edges"])
def test_many_clients_leave_nothing_behind(
    edges: int, seconds: int, tmp_path: Path, deep: bool
) -> None:
    with NodeProcess(tmp_path / "data", disks=12, parity=4, edges=edges) as node:
        run(node, seconds=DEEP_S if deep else seconds)
        assert node.stop() == 0
        checked = node.command("check", "--data", str(node.data))
        assert checked.returncode == 0, checked.stdout
