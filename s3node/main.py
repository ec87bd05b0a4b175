"""The program: gives the command line its functions.

With `s3node.node`, the only place that knows concrete classes. Each function loads what it
needs when it is called: HTTP, the index and the codecs take most of a second to load, and
``s3node status`` needs none of them.
"""

# ruff: noqa: PLC0415

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping, Sequence

from s3node.base.errors import ConfigError
from s3node.cli import Commands, Progress, group
from s3node.cli.commands import Again, Announce, Finding
from s3node.config import Config


def _serve(config: Config, announce: Announce, again: Again) -> int:
    import uvloop

    from s3node.base.clock import SystemClock
    from s3node.base.limits import SWITCH_S
    from s3node.linked import Linker
    from s3node.node import open_engine, open_node
    from s3node.ops import OPERATIONS
    from s3node.serving.alone import serve
    from s3node.serving.edge_life import EdgeLife
    from s3node.serving.engine_life import engine_life
    from s3node.serving.seats import ENGINE
    from s3node.serving.supervisor import Inherited, supervise

    sys.setswitchinterval(SWITCH_S)
    clock, random = SystemClock(), os.urandom

    def become(given: Inherited) -> int:
        if given.seat.name == ENGINE:
            life = given.board.life
            return uvloop.run(
                engine_life(given.config, given.line, given.knocks, life, open_engine)
            )
        return uvloop.run(edge(given))

    async def edge(given: Inherited) -> int:
        linker = Linker(given.config)
        life = EdgeLife(
            given.config,
            given.seat.number,
            given.board,
            given.knocks,
            linker.open,
            OPERATIONS,
            clock=clock,
            random=random,
        )
        try:
            return await life.run(given.line, given.sockets)
        finally:
            linker.close()

    if config.edges:
        return supervise(config, announce, again, become)
    return uvloop.run(
        serve(config, announce, open_node, OPERATIONS, again=again, clock=clock, random=random)
    )


def _initialise(config: Config) -> None:
    from s3node.base.clock import SystemClock
    from s3node.base.filesystem import RealFileSystem
    from s3node.node import site_of
    from s3node.services import start

    start.initialise(site_of(config), RealFileSystem(), SystemClock(), os.urandom)


def _initialised(config: Config) -> bool:
    from s3node.base.filesystem import RealFileSystem
    from s3node.node import site_of
    from s3node.services import start

    return start.initialised(site_of(config), RealFileSystem())


def _check(config: Config, progress: Progress) -> Iterable[Finding]:
    from s3node.base.filesystem import RealFileSystem
    from s3node.node import site_of
    from s3node.services.check import check

    return check(site_of(config), RealFileSystem(), progress)


def _rebuild(config: Config, progress: Progress) -> Mapping[str, object]:
    from s3node.base.filesystem import RealFileSystem
    from s3node.node import site_of
    from s3node.services import start

    return start.rebuild(site_of(config), RealFileSystem(), progress)


def _inspect(kind: str, config: Config | None, words: Sequence[str]) -> object:
    from s3node.base.filesystem import RealFileSystem
    from s3node.node import site_of
    from s3node.services.inspect import INSPECTORS

    inspector = INSPECTORS.get(kind)
    if inspector is None:
        raise ConfigError(f"inspect: no such kind {kind!r}: {', '.join(INSPECTORS)}")
    return inspector(site_of(config) if config else None, RealFileSystem(), words)


def run() -> None:
    """The console script `s3node`."""
    group(
        obj=Commands(
            serve=_serve,
            initialise=_initialise,
            initialised=_initialised,
            check=_check,
            rebuild=_rebuild,
            inspect=_inspect,
        )
    )
