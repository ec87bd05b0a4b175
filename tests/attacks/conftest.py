"""One store for all attacks; when they are over it must be whole."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.attacks.store import Store


@pytest.fixture(scope="session")
def _session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    one = Store(tmp_path_factory.mktemp("attacked"))
    with one:
        yield one
    assert not one.broken
    assert not [found for found in one.findings() if found.severe]


@pytest.fixture
def store(_session: Store) -> Iterator[Store]:
    """The store; after each test nothing is held for anybody."""
    yield _session
    _session.wait(_session.at_rest)
    assert not _session.broken
