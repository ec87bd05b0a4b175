"""Versions as they become many: their rows, and a small run on a real node."""

from __future__ import annotations

import io
from itertools import pairwise
from pathlib import Path

from rich.console import Console

from bench import version_rows, versions


def test_rows_are_in_the_order_of_a_listing() -> None:
    for rows in (version_rows.of_one_key(300), version_rows.of_many_keys(1200, 3)):
        places = [(key, identity) for key, identity, _ in rows]
        assert all(a < b for a, b in pairwise(places))
    newest_first = [row.hlc for _, _, row in version_rows.of_one_key(5)]
    assert newest_first == sorted(newest_first, reverse=True)


def test_a_small_run_reads_as_many_rows_of_any_size(tmp_path: Path) -> None:
    told: list[str] = []
    lines = versions.run(tmp_path, told.append, sizes=(1200, 2400), times=3)
    assert {line.bucket for line in lines} == {shape.name for shape in versions.SHAPES}
    for small, large in zip(lines, lines[5:], strict=False):
        if small.bucket == large.bucket:
            assert small.name == large.name
            assert abs(small.rows - large.rows) <= 10 + small.rows // 100
    assert all(line.wall > 0 and line.cpu > 0 for line in lines)
    console = Console(file=io.StringIO(), width=120)
    console.print(versions.table_of(lines))
    assert "100" in console.file.getvalue()  # type: ignore[attr-defined]
    assert not list(tmp_path.iterdir())
