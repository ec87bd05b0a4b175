"""Progress bars on stderr. Apart from the rest because what draws them is slow to load."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn


@contextlib.contextmanager
def bars() -> Iterator[Callable[[str, int, int], None]]:
    """A function (step, done, total) that keeps one bar per step."""
    drawn = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total}"),
        TimeElapsedColumn(),
        console=Console(stderr=True),
    )
    steps: dict[str, TaskID] = {}

    def show(step: str, done: int, total: int) -> None:
        if step not in steps:
            steps[step] = drawn.add_task(step, total=total or None)
        drawn.update(steps[step], completed=done, total=total or None)

    with drawn:
        yield show
