"""A tiny run of everything, beside the real peer."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bench import faults, hospital, profile, report, table
from bench.scene import Scene

pytestmark = pytest.mark.deep
RUN_S_MAX = 900
ROWS = ["put-4k", "get-512k"]


def start(tmp_path: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "bench", *arguments, "--folder", str(tmp_path)],
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def using(folder: Path) -> list[int]:
    """Processes with the folder in their command line."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if os.fsencode(folder) in path.read_bytes():
                found.append(int(path.parent.name))
        except OSError:  # it ended meanwhile
            continue
    return found


@pytest.mark.timeout(RUN_S_MAX)
def test_a_tiny_run_end_to_end(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    file = tmp_path / "found.json"
    arguments = ["--rounds", "1", "--seconds", "2", "--json", str(file), "table"]
    arguments += [f"--row={name}" for name in ROWS]
    process = start(data, *arguments)
    out, _ = process.communicate(timeout=RUN_S_MAX)
    assert process.returncode == 0, out
    assert "Requests a second" in out
    found = json.loads(file.read_text())
    assert found["failures"] == []
    assert [row["work"]["name"] for row in found["table"]] == ROWS
    for row in found["table"]:
        assert set(row["rounds"]) == {"s3node", "SeaweedFS"}
        for (one,) in row["rounds"].values():
            assert one["rate"] > 0
            assert one["cpu_ms"] > 0
            assert one["peak"]["anonymous"] > 0
    assert not list(data.iterdir())
    assert not using(data)


@pytest.mark.timeout(RUN_S_MAX)
def test_a_listing_of_several_pages(tmp_path: Path) -> None:
    work = table.Work("list-1500", "LIST", 100, 1, 1.0, keys=1500)
    (row,) = table.run(Scene(tmp_path), (work,), 1, 1, print)
    assert [one.operations for (one,) in row.rounds.values()] == [2, 2]
    assert "p99 ms" in str([column.header for column in report.requests_table([row]).columns])


@pytest.mark.timeout(RUN_S_MAX)
def test_a_tiny_hospital(tmp_path: Path) -> None:
    day = (
        hospital.Modality("CT", 50, 20, 80_000, 160_000, stations=2),
        hospital.Modality("MG", 50, 2, 8_000_000, 9_000_000),
    )
    found = hospital.run(Scene(tmp_path), 4, 1, print, day)
    assert list(found) == ["s3node", "SeaweedFS"]
    for (one,) in found.values():
        assert one.instances == 2 * 20 + 2 * 2
        assert len(one.first_ms) == len(one.study_ms) == 4
        assert all(figure > 0 for figure in one.figures().values())
    assert not list(tmp_path.iterdir())
    assert not using(tmp_path)


@pytest.mark.timeout(RUN_S_MAX)
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_it_leaves_nothing(tmp_path: Path, how: signal.Signals) -> None:
    process = start(tmp_path, "--row", "get-4k", "--seconds", "60", "table")
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob("bench-*/seaweedfs/data/*.dat")):
        assert time.monotonic() < deadline, "the peer never stored anything"
        time.sleep(0.1)
    process.send_signal(how)
    process.communicate(timeout=120)
    assert process.returncode != 0
    assert not list(tmp_path.iterdir())
    assert not using(tmp_path)


@pytest.mark.timeout(RUN_S_MAX)
def test_failing_disks_cost_something_and_nothing_fails(tmp_path: Path) -> None:
    lines = faults.run(tmp_path, 1, 1, print)
    assert len(lines) == 3
    for line in lines:
        assert not line.failures()
        assert line.ratio() > 0
    assert not list(tmp_path.iterdir())
    assert not using(tmp_path)


@pytest.mark.timeout(RUN_S_MAX)
def test_a_profile_names_threads_and_functions(tmp_path: Path) -> None:
    works = tuple(work for work in profile.WORKS if work.name == "get-4k")
    (found,) = profile.run(tmp_path, works, 2, print)
    assert found.requests > 0
    assert any(name.endswith("main thread") and ms > 0 for name, ms in found.threads.items())
    assert any(name.startswith("s3node/edge/") for name in found.cumulative)
    assert not list(tmp_path.iterdir())
