"""Real imaging files through unmodified clients: what one stored, another reads, byte for byte."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.clients import kits
from tests.clients.tools import CLIENTS, Client, contents
from tests.node.process import NodeProcess

pytestmark = pytest.mark.xdist_group("clients")


@pytest.mark.parametrize("turn", range(len(CLIENTS)), ids=[kind.name for kind in CLIENTS])
def test_one_stores_another_reads(
    turn: int, node: NodeProcess, corpus: Path, tmp_path: Path
) -> None:
    def client(kind: type[Client]) -> Client:
        return kind(node.endpoint, kits.common(), tmp_path / f"home-{kind.name}")

    writer = client(CLIENTS[turn])
    reader = client(CLIENTS[(turn + 1) % len(CLIENTS)])
    bucket = f"by-{writer.name}"
    writer.up(corpus, bucket)
    back = tmp_path / "back"
    back.mkdir()
    reader.down(bucket, back)
    stored, read = contents(corpus), contents(back)
    assert stored.keys() == read.keys()
    assert [name for name in stored if stored[name] != read[name]] == []
