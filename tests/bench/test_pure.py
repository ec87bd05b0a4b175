"""The harness itself: what it signs, computes and prints."""

from __future__ import annotations

import io
import os
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from rich.table import Table

from bench import hospital, node, report, table, wrk
from bench.client import Failure
from bench.figures import median, percentile, ratio
from bench.presign import Keys, Presigner
from bench.processes import Memory
from bench.standstill import DiskWatch, Standstill
from s3node.base.errors import S3Error
from s3node.s3.request import parse
from s3node.s3.sigv4 import KeyCache, PayloadKind, authenticate

KEYS = Keys("ACCESSKEYOFABENCH001", "a-secret-of-forty-characters-00000000001")
ENDPOINT = "http://127.0.0.1:9000"
NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=40)


def verified(method: str, target: str, now: float) -> PayloadKind:
    """What the node makes of a presigned request."""
    headers = [(b"Host", b"127.0.0.1:9000")]
    request = parse(method, target, headers, domains=(), secure=False, remote="127.0.0.1")
    identity, payload = authenticate(
        request,
        now_ms=int(now * 1000),
        secret_for={KEYS.access_key: KEYS.secret_key}.get,
        region=KEYS.region,
        key_cache=KeyCache(),
    )
    assert identity.access_key == KEYS.access_key
    return payload.kind


@given(st.sampled_from(["GET", "PUT", "DELETE"]), st.lists(NAMES, min_size=1, max_size=5))
def test_our_own_verifier_believes_what_is_presigned(method: str, names: list[str]) -> None:
    now = 1_800_000_000.0
    for target in Presigner(ENDPOINT, KEYS).targets(method, "bucket", names, now=now):
        assert verified(method, target, now) is PayloadKind.UNSIGNED
        with pytest.raises(S3Error, match="SignatureDoesNotMatch"):
            verified("HEAD", target, now)


def test_a_bucket_and_a_query_are_signed_too() -> None:
    presigner, now = Presigner(ENDPOINT, KEYS), time.time()
    (bucket,) = presigner.targets("PUT", "bucket", [""])
    assert bucket.startswith("/bucket?X-Amz-")
    verified("PUT", bucket, now)
    (listing,) = presigner.targets("GET", "bucket", [""], "list-type=2&prefix=a%2F")
    verified("GET", listing, now)
    with pytest.raises(S3Error):
        verified("GET", listing.replace("prefix=a", "prefix=b"), now)


def test_signing_is_fast_enough_for_a_round() -> None:
    began = time.process_time()
    Presigner(ENDPOINT, KEYS).targets("PUT", "bucket", map(str, range(20_000)))
    assert time.process_time() - began < 4, "far slower than a server answers"


@given(st.lists(st.floats(0, 1e6), min_size=1), st.floats(0.5, 100))
def test_a_percentile_is_the_smallest_that_so_many_do_not_exceed(
    values: list[float], percent: float
) -> None:
    found = percentile(values, percent)
    within = sum(value <= found for value in values)
    assert found in values
    assert within >= len(values) * percent / 100 - 1e-9
    below = sum(value < found for value in values)
    assert below < len(values) * percent / 100 + 1e-9


def test_percentiles_of_a_known_list() -> None:
    values = [float(value) for value in range(1, 101)]
    assert [percentile(values, p) for p in (1, 50, 99, 100)] == [1, 50, 99, 100]


def test_ratio_is_median_over_median() -> None:
    assert ratio([30, 10, 20], [5, 1000, 10]) == 2
    assert ratio([1], [0]) == float("inf")
    assert median([3, 1, 2]) == 2


def test_wrk_output_is_read_and_its_errors_are_failures() -> None:
    line = (
        '{"requests": 50, "microseconds": 2000000, "bytes": 99, "p50": 1500, "p99": 9000,'
        ' "max": 10000, "connect": 0, "read": 1, "write": 0, "status": 7, "timeout": 0}'
    )
    found = wrk.parsed(f"Running 2s test\n{line}\n")
    assert (found.rate, found.p50_ms, found.p99_ms) == (25, 1.5, 9)
    assert found.failures == {"read": 1, "status": 7}
    with pytest.raises(Failure, match="no result"):
        wrk.parsed("unable to connect")
    with pytest.raises(Failure, match="no request"):
        wrk.parsed(line.replace("50", "0", 1))


def test_metrics_of_several_processes_add_up() -> None:
    text = (
        '# HELP s3node_engine x\ns3node_engine{what="syncs"} 3.0\n'
        's3node_engine{process="2",what="syncs"} 4.0\ns3node_engine{what="crossings"} 9.0\n'
    )
    assert node.counted(text, "s3node_engine", "syncs") == 7
    assert node.counted(text, "s3node_engine", "unknown") is None


def one(rate: float, p99_ms: float = 5.0, **failures: int) -> table.Measured:
    memory = Memory(anonymous=40 << 20, file=10 << 20)
    return table.Measured(rate, 2.0, p99_ms, 100, failures, 1.5, memory, 4.25, 130.5)


def row(name: str, ours: list[table.Measured], peer: list[table.Measured]) -> table.Row:
    (work,) = [work for work in table.WORKS if work.name == name]
    return table.Row(work, {"s3node": ours, "SeaweedFS": peer})


@pytest.mark.parametrize(
    ("ours", "peer", "verdict"),
    [
        ([one(2500)], [one(1000)], "yes"),
        ([one(2499)], [one(1000)], "no"),
        ([one(2500, 6.0)], [one(1000)], "no: p99"),
        ([one(9000, status=1)], [one(1000)], "failed"),
        ([one(9000)], [one(1000, timeout=2)], "failed"),
    ],
)
def test_reached_means_rate_and_p99_and_nothing_failed(
    ours: list[table.Measured], peer: list[table.Measured], verdict: str
) -> None:
    found = row("put-512k", ours, peer)
    assert f"]{verdict}[" in report.verdict(found)
    assert bool(report.failures(found)) == (verdict == "failed")


def printed(made: Table, width: int) -> str:
    console = Console(file=io.StringIO(), width=width)
    console.print(made)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert max(map(len, text.splitlines())) <= width
    return str(text)


def test_tables_fit_a_terminal_and_say_everything() -> None:
    rows = [
        row(work.name, [one(25_000.4), one(26_000)], [one(10_000), one(9_000)])
        for work in table.WORKS
    ]
    text = printed(report.requests_table(rows), 100)
    assert "…" not in text
    for work in table.WORKS:
        assert work.name in text
        assert f"{work.must:.1f}" in text
    assert "25,500" in text
    assert "2.68" in text
    costs = printed(report.cost_table(rows), 100)
    assert "1.50 / 1.50" in costs
    assert "4.2" in costs
    assert "50.0 / 50.0" in costs
    assert "130 / 130" in costs
    assert "2.50 - 2.89" in costs


def test_a_server_that_cannot_be_watched_leaves_dashes() -> None:
    bare = table.Measured(10, 1, 1, 10, {})
    assert "1.50 / -" in printed(report.cost_table([row("get-4k", [one(20)], [bare])]), 100)


def test_a_disk_stands_still_while_it_answers_nothing_it_was_asked() -> None:
    seen = Standstill()
    for now, done, under_way in [
        (0.0, 100, 3),
        (0.005, 100, 3),
        (0.009, 101, 2),  # soon enough
        (0.05, 101, 2),
        (0.06, 102, 1),  # 51 ms
        (0.07, 103, 0),  # 10 ms
        (0.5, 103, 0),  # nothing was asked
        (0.505, 103, 4),
        (0.508, 108, 0),
    ]:
        seen.see(now, done, under_way)
    assert round(seen.seconds, 6) == 0.061


def test_the_disk_under_a_folder_is_watched(tmp_path: Path) -> None:
    with DiskWatch(tmp_path) as watch, (tmp_path / "file").open("wb") as file:
        for _ in range(20):
            os.write(file.fileno(), bytes(4096))
            os.fsync(file.fileno())
            time.sleep(0.001)
    assert watch.seconds is None or 0 <= watch.seconds < 60
    with DiskWatch(None) as watch:
        pass
    assert watch.seconds is None


def test_the_day_has_the_sizes_and_counts_it_says() -> None:
    studies = hospital.studies_of_a_day(100)
    sizes = [size for study in studies for _, size in study.instances]
    assert 90_000 < sum(sizes) / len(sizes) < 110_000
    assert 450 < len(sizes) / len(studies) < 500
    keys = [key for study in studies for key, _ in study.instances]
    assert len(set(keys)) == len(keys)
    assert len({study.station for study in studies}) == sum(m.stations for m in hospital.DAY)
    assert studies == hospital.studies_of_a_day(100)


def test_an_image_with_a_wrong_byte_is_noticed() -> None:
    images = hospital.Images(1000)
    right = bytearray(b"".join(images.of("a/b", 1000)))
    assert len(right) == 1000
    images.check("a/b", 1000, right)
    for wrong in (right[:-1], bytearray(b"".join(images.of("a/c", 1000)))):
        with pytest.raises(Failure):
            images.check("a/b", 1000, wrong)


def test_ratios_of_the_hospital_are_always_times_as_fast() -> None:
    ours = hospital.Day(1, 1, 100, 10**7, [1.0], [2.0], [3.0], 1.0, 1.0, None)
    peer = hospital.Day(2, 2, 100, 10**7, [2.0], [4.0], [6.0], 1.0, 1.0, None)
    lines = printed(report.hospital_table({"s3node": [ours], "SeaweedFS": [peer]}), 100)
    timed = [
        line for line in lines.splitlines() if "/s" in line or " p50" in line or " p99" in line
    ]
    assert len(timed) == 10
    assert all("2.00 │" in line.replace("┃", "│") for line in timed)
