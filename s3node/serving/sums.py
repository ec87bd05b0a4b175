"""The metrics of all processes of a node as one page: every series once.

A process tells its samples: (family, name, labels, value). Counters and histograms are added up,
and so are gauges that count (connections, memory); what only the supervisor or only the engine
knows is told by nobody else. What a process that ended had counted stays counted, as far as it
was heard: it is asked every second or so.

A child is a copy of its parent, counts and all: what was there at its beginning is taken off.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from s3node.base import metrics

Key = tuple[str, str, tuple[tuple[str, str], ...]]
"""Family, series, labels."""

OWN = frozenset((
    "s3node_certificate_reloads",
    "s3node_ready",
    "process_start_time_seconds",
    "process_max_fds",
))  # fmt: skip
"""Families that the supervisor alone tells."""

PASSING = frozenset((
    "s3node_requests_in_progress",
    "s3node_connections",
    "s3node_buffer_bytes",
    "process_resident_memory_bytes",
    "process_virtual_memory_bytes",
    "process_open_fds",
))  # fmt: skip
"""Families that are over with the process that told them."""

ENGINE = frozenset((
    "s3node_disk_bytes",
    "s3node_disk_state",
    "s3node_owed_shards",
    "s3node_alarms",
    "s3node_build",
    "s3node_journal_lag_bytes",
    "s3node_journal_sequence",
))  # fmt: skip
"""Families that the engine alone tells, as it is now."""

PROCESS = "process_"
"""What the kernel counts for each process is not inherited."""


def samples() -> dict[Key, float]:
    """Everything that this process has counted."""
    metrics.refresh()
    return {
        (family.name, one.name, tuple(sorted(one.labels.items()))): one.value
        for family in metrics.REGISTRY.collect()
        for one in family.samples
    }


class Samples:
    """What this process has counted since it began. Made at its beginning."""

    def __init__(self) -> None:
        self._before = {
            key: value for key, value in samples().items() if not key[0].startswith(PROCESS)
        }

    def take(self) -> list[tuple[str, str, list[tuple[str, str]], float]]:
        """To be sent."""
        return [
            (family, name, list(labels), value - self._before.get((family, name, labels), 0.0))
            for (family, name, labels), value in samples().items()
        ]


def received(value: Any) -> dict[Key, float]:
    """What came of `Samples.take`."""
    return {
        (family, name, tuple((key, text) for key, text in labels)): number
        for family, name, labels, number in value
    }


def lasting(told: Mapping[Key, float]) -> dict[Key, float]:
    """What stays when the process has ended."""
    gone = OWN | PASSING | ENGINE
    return {key: value for key, value in told.items() if key[0] not in gone}


def add(total: dict[Key, float], told: Mapping[Key, float], *, without: frozenset[str]) -> None:
    """Add up all but some families."""
    for key, value in told.items():
        if key[0] not in without:
            total[key] = total.get(key, 0.0) + value


class Page(Collector):
    """Samples as the families that they belong to."""

    def __init__(self, total: Mapping[Key, float]) -> None:
        self._total = total

    def collect(self) -> Iterator[Metric]:
        families = {one.name: one for one in metrics.REGISTRY.collect()}
        for one in families.values():
            one.samples = []
        for (family, name, labels), value in self._total.items():
            families[family].add_sample(name, dict(labels), value)
        yield from families.values()


def page(total: Mapping[Key, float]) -> bytes:
    """In the text exposition format."""
    registry = CollectorRegistry()
    registry.register(Page(total))
    return generate_latest(registry)
