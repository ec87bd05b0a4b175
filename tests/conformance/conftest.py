"""The node that the suite talks to, up as long as a module needs it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conformance.stage import Stage


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    stage = Stage()
    yield stage
    stage.close()
