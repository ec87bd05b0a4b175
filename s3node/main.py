"""The program: gives the command line its functions.

With `s3node.node`, the only place that knows concrete classes.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence

import uvloop

from s3node import serving
from s3node.base.clock import SystemClock
from s3node.base.filesystem import RealFileSystem
from s3node.cli import Commands, Progress, group
from s3node.cli.commands import Announce, Inspector
from s3node.config import Config
from s3node.edge.http import refuse_slow_parser
from s3node.node import open_node, site_of
from s3node.ops import OPERATIONS
from s3node.services import inspect, start
from s3node.services.check import check
from s3node.services.findings import Finding


def _serve(config: Config, announce: Announce) -> int:
    refuse_slow_parser()
    return uvloop.run(
        serving.serve(
            config, announce, open_node, OPERATIONS, clock=SystemClock(), random=os.urandom
        )
    )


def _initialise(config: Config) -> None:
    start.initialise(site_of(config), RealFileSystem(), SystemClock(), os.urandom)


def _initialised(config: Config) -> bool:
    return start.initialised(site_of(config), RealFileSystem())


def _check(config: Config, progress: Progress) -> Iterable[Finding]:
    return check(site_of(config), RealFileSystem(), progress)


def _rebuild(config: Config, progress: Progress) -> Mapping[str, object]:
    return start.rebuild(site_of(config), RealFileSystem(), progress)


def _inspector(inspect_one: inspect.Inspector) -> Inspector:
    def run_it(config: Config | None, words: Sequence[str]) -> object:
        return inspect_one(site_of(config) if config else None, RealFileSystem(), words)

    return run_it


def run() -> None:
    """The console script `s3node`."""
    group(
        obj=Commands(
            serve=_serve,
            initialise=_initialise,
            initialised=_initialised,
            check=_check,
            rebuild=_rebuild,
            inspectors={kind: _inspector(one) for kind, one in inspect.INSPECTORS.items()},
        )
    )
