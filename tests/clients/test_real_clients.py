"""Real imaging files through unmodified clients: what one stored, another reads, byte for byte."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients.tools import CLIENTS, Client, install, make_corpus
from tests.node.process import NodeProcess

pytestmark = pytest.mark.xdist_group("clients")


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeProcess]:
    with NodeProcess(tmp_path_factory.mktemp("node") / "data", disks=12, parity=4) as node:
        yield node
        assert node.stop() == 0


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    make_corpus(folder)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.mark.parametrize("turn", range(len(CLIENTS)), ids=[kind.name for kind in CLIENTS])
def test_one_stores_another_reads(
    turn: int, node: NodeProcess, corpus: Path, tmp_path: Path
) -> None:
    def client(kind: type[Client]) -> Client:
        home = tmp_path / f"home-{kind.name}"
        home.mkdir(exist_ok=True)
        return kind(node.endpoint, install(), home)

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
