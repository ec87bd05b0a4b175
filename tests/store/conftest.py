"""A world for each engine, for the conformance suite of the disk set."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.store.world import ENGINES, World


@pytest.fixture(params=ENGINES)
def world(request: pytest.FixtureRequest, tmp_path: Path) -> World:
    return World(request.param, tmp_path)


@pytest.fixture(params=[engine for engine in ENGINES if engine != "inline"])
def threaded(request: pytest.FixtureRequest, tmp_path: Path) -> World:
    """Engines where something can happen while a disk is busy."""
    return World(request.param, tmp_path)
