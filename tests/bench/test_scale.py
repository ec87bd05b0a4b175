"""The archive that grows: its keys and rows, the table, and a tiny one end to end."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time
from itertools import groupby, pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from bench import scale, scale_rows
from bench.scale import AFTER, BEFORE, FIGURES, Figure, Size
from s3node.base.limits import OBJECT_KEY_BYTES_MAX
from s3node.meta import schema, tables
from s3node.objects.write import owed_row

RUN_S_MAX = 900


def test_keys_are_those_of_studies() -> None:
    numbers = range(scale_rows.SCANNERS * scale_rows.STUDY_IMAGES * 3)
    keys = [scale_rows.key(number) for number in numbers]
    assert len(set(keys)) == len(keys)
    assert all(len(key.encode()) <= OBJECT_KEY_BYTES_MAX for key in keys)
    parts = sorted(key.split("/") for key in keys)
    assert {len(part) for part in parts} == {5}
    studies = [len(list(group)) for _, group in groupby(parts, lambda part: part[1])]
    series = [len(list(group)) for _, group in groupby(parts, lambda part: part[:3])]
    assert set(studies) == {scale_rows.STUDY_IMAGES}
    assert set(series) == {scale_rows.SERIES_IMAGES}
    uids = {uid for part in parts for uid in part[1:4]}
    assert all(len(uid) <= 64 and set(uid) <= set("0123456789.") for uid in uids)


def test_most_scanners_write_at_their_end_and_some_anywhere() -> None:
    def in_order(scanner: int) -> bool:
        step = scale_rows.SCANNERS * scale_rows.STUDY_IMAGES
        firsts = [scale_rows.key(scanner + study * step) for study in range(20)]
        return firsts == sorted(firsts)

    found = [in_order(scanner) for scanner in range(scale_rows.SCANNERS)]
    assert found.count(False) * scale_rows.SCANNERS_AT_RANDOM == scale_rows.SCANNERS


@given(st.integers(0, 10**8), st.integers(4, 12), st.integers(1, 4))
def test_rows_are_those_of_a_put_that_owes_nothing(number: int, k: int, m: int) -> None:
    made = scale_rows.stored(number, bytes(16), 3, k, m)
    ((run, row),) = made.location_rows().items()
    (stripe,) = row.stripes
    assert run == 0
    assert {place.slot for place in stripe.shards if place} == set(range(k + m))
    assert owed_row(run, row, 0) is None
    version = scale_rows.version(made, "somebody")
    assert version.inline is None
    assert version.data == (made.data,)
    key = schema.location(bytes(16), 0)
    assert tables.decode(type(row), key, tables.encode(key, row)) == row


@given(st.integers(10, 10**8), st.integers(10, 10**5))
def test_sizes_are_decades_from_the_first_up_to_the_target(target: int, first: int) -> None:
    found = scale_rows.sizes(target, first)
    assert len(found) > 1
    assert found[-1] == target
    assert found[0] == (first if target > first else target // 10)
    assert all(a < b <= 10 * a + 9 for a, b in pairwise(found))
    assert all(b == 10 * a for a, b in pairwise(found[:-1]))


def size(objects: int, value: float) -> Size:
    return Size({figure.name: value for figure in FIGURES} | {BEFORE: objects, AFTER: objects})


def flat(objects: int) -> Size:
    """Nothing knows how large it is; what is of all objects grows as they do."""
    grown = objects / 10**4
    found = {one.name: 30 / one.scale * (grown if one.each else 1) for one in FIGURES}
    return Size(found | {BEFORE: objects, AFTER: objects})


def test_flat_is_one() -> None:
    first, same, ten = size(10, 5.0), size(100, 5.0), size(100, 50.0)
    cost, whole = Figure("", "put_wall_s"), Figure("", "index_bytes", each=BEFORE)
    assert scale.flatness(cost, same, first) == 1
    assert scale.flatness(cost, ten, first) == 10
    assert scale.flatness(whole, ten, first) == 1
    assert scale.flatness(whole, same, first) == 0.1
    assert scale.flatness(cost, ten, size(10, 0.0)) is None


def test_the_table_has_every_figure_and_never_without_its_ratio() -> None:
    sizes = [flat(10**n) for n in (4, 5, 6, 7)]
    console = Console(file=io.StringIO(), width=120)
    console.print(scale.table_of(sizes))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "…" not in text
    lines = [line.split("│")[1:-1] for line in text.splitlines() if line.startswith("│")]
    assert [line[0].strip(" *") for line in lines] == [figure.title for figure in FIGURES]
    assert all(cell.strip().endswith("(1.00)") for cells in lines for cell in cells[1:])


def test_no_room_is_said_before_anything_is_done(tmp_path: Path) -> None:
    with pytest.raises(scale.Failure, match="free"):
        scale.run(tmp_path, 10**15, print)
    assert not list(tmp_path.iterdir())


@pytest.mark.deep
@pytest.mark.timeout(RUN_S_MAX)
def test_a_tiny_archive_end_to_end(tmp_path: Path) -> None:
    told: list[str] = []
    first, last = scale.run(tmp_path, 2000, told.append, first=1000)
    assert (first.objects, last.objects) == (1000, 2000)
    for found in (first.found, last.found):
        assert {figure.name for figure in FIGURES} <= set(found)
        assert found["whole_rows"] < 10, "a prefix is skipped, not scanned"
        assert found["study_rows"] < 10
        assert found[AFTER] > found[BEFORE]
        for name in ("put_wall_s", "page_wall_s", "index_bytes", "checkpoint_bytes", "start_s"):
            assert found[name] > 0
    assert last.found["whole_rows"] == first.found["whole_rows"]
    assert last.found["checkpoint_bytes"] > first.found["checkpoint_bytes"]
    assert any("2,000 of 2,000" in line for line in told)
    assert not list(tmp_path.iterdir())


@pytest.mark.deep
@pytest.mark.timeout(RUN_S_MAX)
def test_interrupted_it_leaves_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "bench", "scale", "--folder", str(tmp_path)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob("bench-*/node/meta/index/data.mdb")):
        assert time.monotonic() < deadline, "the node never began"
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=120) != 0
    assert not list(tmp_path.iterdir())
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            assert os.fsencode(tmp_path) not in path.read_bytes()
        except OSError:  # it ended meanwhile
            continue
