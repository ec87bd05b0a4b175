"""A node for all clients, what they store, and a look at what they were refused."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients.tools import make_corpus, make_tree
from tests.node.process import NodeProcess


@pytest.fixture(scope="session")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeProcess]:
    with NodeProcess(tmp_path_factory.mktemp("node") / "data", disks=12, parity=4) as node:
        yield node
        assert node.stop() == 0


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    make_corpus(folder)
    return folder


@pytest.fixture(scope="session")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tree")
    make_tree(folder)
    return folder


class Refusals:
    """What the node refused since the test began, by operation and error code.

    A client that is refused something often tries in another way, or again, and succeeds: what
    its user sees says nothing of that.
    """

    def __init__(self, log: Path) -> None:
        self._log = log
        self._start = log.stat().st_size
        self.expected: set[tuple[str, str]] = set()

    def expect(self, operation: str, code: str) -> None:
        """The client asks for what is not there, and is told so."""
        self.expected.add((operation, code))

    def found(self) -> Counter[tuple[str, str]]:
        with self._log.open("rb") as log:
            log.seek(self._start)
            lines = [json.loads(line) for line in log if line.startswith(b"{")]
        return Counter(
            (line.get("operation", ""), line.get("error", str(line["status"])))
            for line in lines
            if line.get("message") == "request" and line["status"] >= 400
        )


@pytest.fixture
def refusals(node: NodeProcess) -> Iterator[Refusals]:
    """To say which refusals a workflow meets; every other one is a fault."""
    refusals = Refusals(node.log_path)
    yield refusals
    found = refusals.found()
    assert found.keys() <= refusals.expected, f"refused: {found}"
