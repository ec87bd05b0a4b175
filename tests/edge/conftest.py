"""Coroutine tests run to their end on the event loop that the node uses."""

from __future__ import annotations

import inspect

import pytest
import uvloop

TEST_S_MAX = 240.0


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    names = inspect.signature(pyfuncitem.obj).parameters
    arguments = {name: pyfuncitem.funcargs[name] for name in names}

    async def bounded() -> None:
        import asyncio

        async with asyncio.timeout(TEST_S_MAX):
            await pyfuncitem.obj(**arguments)

    uvloop.run(bounded())
    return True
