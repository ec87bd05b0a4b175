"""Coroutine tests run as those of the edge do."""

from tests.edge.conftest import pytest_pyfunc_call

__all__ = ["pytest_pyfunc_call"]
