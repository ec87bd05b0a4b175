"""What is printed: tables of ours beside the peer's. Pure.

`data_of_*` give the same as plain values, every round of it, for the file of `--json`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from rich.table import Table

from bench.figures import median, ratio
from bench.hospital import Day
from bench.processes import Memory
from bench.table import Measured, Row

MIB = 1 << 20
NONE = "-"


# --- the table --------------------------------------------------------------------------------


def requests_table(rows: Sequence[Row]) -> Table:
    """Rates with their ratios, and latencies."""
    names = list(rows[0].rounds)
    table = Table(title="Requests a second (of the listing: keys), medians of the rounds")
    table.add_column("work")
    table.add_column("conn.", justify="right")
    for name in names:
        table.add_column(name, justify="right")
    table.add_column("ratio", justify="right", style="bold")
    table.add_column("must", justify="right")
    table.add_column("reached")
    for _ in names[2:]:
        table.add_column("ratio to it", justify="right")
    for what in ("p50 ms", "p99 ms"):
        table.add_column(f"{what}\n{' / '.join(_short(names))}", justify="right")
    for row in rows:
        rates = [_each(rounds, lambda one: one.rate) for rounds in row.rounds.values()]
        table.add_row(
            row.work.name,
            str(row.work.connections),
            *(number(median(each)) for each in rates),
            f"{ratio(rates[0], rates[1]):.2f}",
            f"{row.work.must:.1f}",
            verdict(row),
            *(f"{ratio(rates[0], other):.2f}" for other in rates[2:]),
            _side_by_side(row, lambda one: one.p50_ms),
            _side_by_side(row, lambda one: one.p99_ms),
        )
    return table


def cost_table(rows: Sequence[Row]) -> Table:
    """What the rates cost, and how long the disk stood still meanwhile (`standstill`)."""
    table = Table(title="What it cost the servers")
    names = " / ".join(_short(list(rows[0].rounds)))
    table.add_column("work")
    for what in (
        "CPU ms\na request",
        "\npeak MiB",
        "of them\nanonymous",
        "disk still\nms a second",
    ):
        table.add_column(f"{what}\n{names}", justify="right")
    table.add_column("our fsyncs\na request", justify="right")
    table.add_column("ratios of\nthe rounds", justify="right")
    for row in rows:
        ours, peer, *_ = row.rounds.values()
        ratios = [one.rate / other.rate for one, other in zip(ours, peer, strict=True)]
        syncs = [one.syncs for one in ours if one.syncs is not None]
        table.add_row(
            row.work.name,
            _side_by_side(row, lambda one: one.cpu_ms),
            _side_by_side(row, lambda one: _mebibytes(one.peak and one.peak.total), max),
            _side_by_side(row, lambda one: _mebibytes(one.peak and one.peak.anonymous), max),
            _side_by_side(row, lambda one: one.still_ms),
            f"{median(syncs):.1f}" if syncs else NONE,
            f"{min(ratios):.2f} - {max(ratios):.2f}",
        )
    return table


def verdict(row: Row) -> str:
    """Is the rate reached that must be, and the p99 where it counts, with nothing failed?"""
    ours, peer, *_ = row.rounds.values()
    if failures(row):
        return "[red]failed[/]"
    if ratio(_each(ours, lambda one: one.rate), _each(peer, lambda one: one.rate)) < row.work.must:
        return "[red]no[/]"
    p99 = ratio(_each(ours, lambda one: one.p99_ms), _each(peer, lambda one: one.p99_ms))
    if row.work.p99_counts and p99 > 1:
        return "[red]no: p99[/]"
    return "[green]yes[/]"


def failures(row: Row) -> list[str]:
    """What went wrong, a line for each contender that had requests fail."""
    lines = []
    for name, rounds in row.rounds.items():
        sums: dict[str, int] = {}
        for one in rounds:
            for kind, count in one.failures.items():
                sums[kind] = sums.get(kind, 0) + count
        if sums:
            told = ", ".join(f"{count} by {kind}" for kind, count in sums.items())
            lines.append(f"{row.work.name}: requests of {name} failed: {told}")
    return lines


def data_of_rows(rows: Sequence[Row]) -> list[dict[str, Any]]:
    return [
        {
            "work": asdict(row.work),
            "ratio": ratio(*[_each(r, lambda one: one.rate) for r in row.rounds.values()][:2]),
            "reached": "yes" in verdict(row),
            "rounds": {name: [asdict(one) for one in r] for name, r in row.rounds.items()},
        }
        for row in rows
    ]


# --- the hospital day -------------------------------------------------------------------------


def hospital_table(days: dict[str, list[Day]]) -> Table:
    """Each figure of ours and the peer; ratio: how many times as fast we are."""
    one = next(iter(days.values()))[0]
    studies = len(one.study_ms)
    title = f"Hospital day: {studies} studies, {one.instances} images, {one.bytes / 1e6:.0f} MB"
    table = Table(title=f"{title}, mean {one.bytes / one.instances / 1e3:.0f} KB")
    table.add_column("")
    for name in days:
        table.add_column(name, justify="right")
    table.add_column("times as fast", justify="right", style="bold")
    for name in one.figures():
        columns = [[day.figures()[name] for day in rounds] for rounds in days.values()]
        times = ratio(columns[0], columns[1])
        times = times if name.endswith("/s") else 1 / times
        table.add_row(name, *(number(median(column)) for column in columns), f"{times:.2f}")
    for name, get in (
        ("CPU ms to write one", lambda day: day.write_cpu_ms),
        ("CPU ms to read one", lambda day: day.read_cpu_ms),
        ("peak MiB", lambda day: _mebibytes(day.peak and day.peak.total)),
        ("of them anonymous", lambda day: _mebibytes(day.peak and day.peak.anonymous)),
    ):  # type: tuple[str, Callable[[Day], float | None]]
        table.add_row(name, *(_middle(map(get, rounds)) for rounds in days.values()), "")
    return table


def data_of_days(days: dict[str, list[Day]]) -> dict[str, Any]:
    return {
        name: [
            {
                **day.figures(),
                "instances": day.instances,
                "bytes": day.bytes,
                "write_cpu_ms": day.write_cpu_ms,
                "read_cpu_ms": day.read_cpu_ms,
                "peak": asdict(day.peak) if day.peak else None,
            }
            for day in rounds
        ]
        for name, rounds in days.items()
    }


# --- cells ------------------------------------------------------------------------------------


def number(value: float) -> str:
    """Three digits that mean something, thousands apart."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _short(names: list[str]) -> list[str]:
    return ["ours", "peer", *names[2:]]


def _each(rounds: Sequence[Measured], get: Callable[[Measured], float]) -> list[float]:
    return [get(one) for one in rounds]


def _middle(values: Any, of: Callable[[list[float]], float] = median) -> str:
    known = [value for value in values if value is not None]
    return number(of(known)) if known else NONE


def _side_by_side(
    row: Row,
    get: Callable[[Measured], float | None],
    of: Callable[[list[float]], float] = median,
) -> str:
    return " / ".join(_middle(map(get, rounds), of) for rounds in row.rounds.values())


def _mebibytes(value: int | Memory | None) -> float | None:
    return value / MIB if isinstance(value, int) else None
