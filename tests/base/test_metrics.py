"""Requests are counted by plain numbers; the page tells them as series."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from s3node.base.metrics import Requests


def test_requests_become_series() -> None:
    registry = CollectorRegistry()
    requests = Requests(registry)
    requests.count("GetObject", 200, 0.003, 0, 10)
    requests.count("GetObject", 200, 0.001, 0, 20)
    requests.count("GetObject", 404, 100.0)
    requests.count("PutObject", 200, 0.004, 7)
    told = {
        (one.name, *sorted(one.labels.values())): one.value
        for family in text_string_to_metric_families(generate_latest(registry).decode())
        for one in family.samples
    }
    assert told["s3node_requests_total", "200", "GetObject"] == 2
    assert told["s3node_requests_total", "404", "GetObject"] == 1
    assert told["s3node_requests_total", "200", "PutObject"] == 1
    buckets = {
        name[1]: value
        for name, value in told.items()
        if name[0] == "s3node_request_seconds_bucket" and name[2] == "GetObject"
    }
    assert buckets["0.001"] == 1  # a bound counts what is just as long
    assert buckets["0.0025"] == 1
    assert buckets["0.005"] == 2
    assert buckets["60.0"] == 2
    assert buckets["+Inf"] == 3
    assert told["s3node_request_seconds_count", "GetObject"] == 3
    assert told["s3node_request_seconds_sum", "GetObject"] == 100.004
    assert told["s3node_received_bytes_total",] == 7
    assert told["s3node_sent_bytes_total",] == 30


def test_nothing_counted_is_nothing_told() -> None:
    registry = CollectorRegistry()
    Requests(registry)
    families = text_string_to_metric_families(generate_latest(registry).decode())
    assert {family.name: len(family.samples) for family in families} == {
        "s3node_requests": 0,
        "s3node_request_seconds": 0,
        "s3node_received_bytes": 1,
        "s3node_sent_bytes": 1,
    }
