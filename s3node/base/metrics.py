"""Every counter, gauge and histogram of the node, in one place.

Names follow Prometheus: unit in the name, `_total` on counters. Labels have few values, all of
them from tables in the code: never a bucket, a key or an address.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator
from itertools import accumulate

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.metrics_core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

# The time each series began would be a second series for each, of no use to an alarm.
disable_created_metrics()  # type: ignore[no-untyped-call]
REGISTRY = CollectorRegistry()
ProcessCollector(registry=REGISTRY)
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0)


class _Tally:
    """Of requests with the same operation and status."""

    __slots__ = ("buckets", "count", "received", "seconds", "sent")

    def __init__(self) -> None:
        self.count = 0
        self.buckets = [0] * (len(_SECONDS) + 1)
        self.seconds = 0.0
        self.received = 0
        self.sent = 0


class Requests(Collector):
    """Counts requests. Plain numbers of one thread, made into series when somebody looks: to
    count each request in five series of their own takes a good part of its time."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._tallies: dict[tuple[str, str], _Tally] = {}
        self._statuses = {status: str(status) for status in range(600)}
        registry.register(self)

    def count(
        self, operation: str, status: int, seconds: float, received: int = 0, sent: int = 0
    ) -> None:
        """One more, that took so long and so many body bytes."""
        name = operation, self._statuses[status]
        tally = self._tallies.get(name)
        if tally is None:
            tally = self._tallies[name] = _Tally()
        tally.count += 1
        tally.buckets[bisect_left(_SECONDS, seconds)] += 1
        tally.seconds += seconds
        tally.received += received
        tally.sent += sent

    def collect(self) -> Iterator[Metric]:
        tallies = list(self._tallies.items())
        answered = CounterMetricFamily(
            "s3node_requests", "S3 requests answered", labels=("operation", "status")
        )
        for name, tally in tallies:
            answered.add_metric(name, tally.count)
        yield answered
        yield self._durations()
        received = sum(tally.received for _, tally in tallies)
        yield CounterMetricFamily(
            "s3node_received_bytes", "Body bytes received from S3 clients", value=received
        )
        sent = sum(tally.sent for _, tally in tallies)
        yield CounterMetricFamily("s3node_sent_bytes", "Body bytes sent to S3 clients", value=sent)

    def _durations(self) -> Metric:
        family = HistogramMetricFamily(
            "s3node_request_seconds",
            "From the end of the request's headers to the end of its answer",
            labels=("operation",),
        )
        bounds = [*map(floatToGoString, _SECONDS), "+Inf"]
        for operation in sorted({operation for operation, _ in self._tallies}):
            same = [tally for name, tally in self._tallies.items() if name[0] == operation]
            counts = accumulate(map(sum, zip(*(tally.buckets for tally in same), strict=True)))
            buckets = list(zip(bounds, map(float, counts), strict=True))
            family.add_metric((operation,), buckets, sum(tally.seconds for tally in same))
        return family


REQUESTS = Requests(REGISTRY)
REQUESTS_IN_PROGRESS = Gauge(
    "s3node_requests_in_progress", "S3 requests being worked on", registry=REGISTRY
)
REQUESTS_REFUSED_BUSY = Counter(
    "s3node_requests_refused_busy",
    "S3 requests answered SlowDown, by the bound that was reached",
    ("bound",),
    registry=REGISTRY,
)
REQUESTS_GIVEN_UP = Counter(
    "s3node_requests_given_up",
    "Requests that waited for their slow clients and were ended to make room for others",
    registry=REGISTRY,
)
CONNECTIONS = Gauge("s3node_connections", "Open connections", ("listener",), registry=REGISTRY)
CONNECTIONS_REFUSED = Counter(
    "s3node_connections_refused",
    "Connections turned away because too many were open",
    ("listener",),
    registry=REGISTRY,
)
HANDSHAKES_FAILED = Counter(
    "s3node_tls_handshakes_failed",
    "Connections that ended in the TLS handshake: no certificate, say, where one is demanded",
    ("listener",),
    registry=REGISTRY,
)
RESPONSES_CUT = Counter(
    "s3node_responses_cut",
    "Responses whose connection was cut after the first byte, by what went wrong",
    ("cause",),
    registry=REGISTRY,
)
CERTIFICATE_RELOADS = Counter(
    "s3node_certificate_reloads",
    "Certificate files read again, by outcome",
    ("outcome",),
    registry=REGISTRY,
)
READY = Gauge("s3node_ready", "1 while S3 requests are served", registry=REGISTRY)
DISK_BYTES = Gauge(
    "s3node_disk_bytes", "Bytes of each disk, by kind", ("slot", "kind"), registry=REGISTRY
)
DISK_STATE = Gauge(
    "s3node_disk_state",
    "1 for the state each disk is in",
    ("slot", "state"),
    registry=REGISTRY,
)
OWED_SHARDS = Gauge(
    "s3node_owed_shards", "Shards that are not yet where they should be", registry=REGISTRY
)
ALARMS = Gauge(
    "s3node_alarms", "Lines that status shows as alarms; status says which", registry=REGISTRY
)
BUILD = Gauge("s3node_build", "Always 1", ("version", "geometry"), registry=REGISTRY)
JOURNAL_LAG = Gauge(
    "s3node_journal_lag_bytes", "What a disk's journal still lacks", ("slot",), registry=REGISTRY
)
JOURNAL_SEQUENCE = Gauge(
    "s3node_journal_sequence", "The last committed frame that the index has", registry=REGISTRY
)
BUFFER_BYTES = Gauge(
    "s3node_buffer_bytes", "Memory of stripes being written or read", registry=REGISTRY
)
ENGINE = Gauge(
    "s3node_engine", "What the disk engine did since the start", ("what",), registry=REGISTRY
)
OBJECTS = Gauge(
    "s3node_objects",
    "What reads and writes of objects did since the start",
    ("what",),
    registry=REGISTRY,
)

_watchers: list[Callable[[], None]] = []


def watch(watcher: Callable[[], None] | None) -> None:
    """Have `watcher` bring gauges up to date before they are told; None: nobody any more."""
    _watchers[:] = [watcher] if watcher else []


def refresh() -> None:
    """Bring gauges up to date."""
    for each in _watchers:
        each()


def text() -> bytes:
    """All of them in the text exposition format."""
    refresh()
    return generate_latest(REGISTRY)
