"""What every test shares: the two depths of the one test command.

`pytest` runs everything but the tests marked `deep`; `pytest --deep` runs those too.
A test that scales rather than switches asks the fixture `deep`.
"""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--deep", action="store_true", help="also run the long tests")


def pytest_configure(config: pytest.Config) -> None:
    """Same examples in every run; the deep one looks for new ones. Neither looks at a clock."""
    patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.register_profile("default", patient, derandomize=True, database=None)
    settings.register_profile("deep", patient, max_examples=1000, print_blob=True)
    settings.load_profile("deep" if config.getoption("--deep") else "default")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--deep"):
        return
    for item in items:
        if "deep" in item.keywords:
            item.add_marker(pytest.mark.skip(reason="long; runs with --deep"))


@pytest.fixture(scope="session")
def deep(request: pytest.FixtureRequest) -> bool:
    return bool(request.config.getoption("--deep"))
