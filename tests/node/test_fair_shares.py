"""One client that holds all the requests it can get shuts out nobody; with edges too."""

from __future__ import annotations

import http.client
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import pytest

from s3node.base.limits import OVERDUE_S, REQUESTS_MAX
from s3node.base.shares import REQUESTS
from tests.node.process import WAIT_S_MAX, NodeProcess

BUCKET = "shares"
GREEDY, SAME = "127.0.0.2", "127.0.0.1"
ASKED = REQUESTS_MAX + 44
HEALTHY = 8  # at once


@pytest.fixture(scope="module", params=[0, 2], ids="edges={}".format)
def node(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[NodeProcess]:
    data = tmp_path_factory.mktemp("shares") / "data"
    with NodeProcess(data, edges=request.param) as one:
        one.s3().create_bucket(Bucket=BUCKET)
        yield one


def slow_upload(s3: Any, number: int, address: str) -> http.client.HTTPConnection:
    """A presigned PUT from an address that owes its body."""
    key = {"Bucket": BUCKET, "Key": f"slow{number}"}
    url = urlsplit(s3.generate_presigned_url("put_object", key, 3600))
    connection = http.client.HTTPConnection(
        url.netloc, timeout=WAIT_S_MAX, source_address=(address, 0)
    )
    connection.putrequest("PUT", f"{url.path}?{url.query}")
    connection.putheader("Content-Length", "3")
    connection.endheaders(b"ab")
    return connection


def busy(node: NodeProcess, bound: str) -> float:
    return node.metrics().get(f's3node_requests_refused_busy_total{{bound="{bound}"}}', 0.0)


def healthy(node: NodeProcess, number: int) -> None:
    s3 = node.s3()
    for each in range(10):
        key = f"healthy{number}-{each}"
        s3.put_object(Bucket=BUCKET, Key=key, Body=key.encode())
        assert s3.get_object(Bucket=BUCKET, Key=key)["Body"].read() == key.encode()


def test_slow_requests_of_one_client_leave_room_for_others(node: NodeProcess) -> None:
    with ExitStack() as stack:
        slow = []
        s3 = node.s3(signature_version="s3v4")
        for number in range(ASKED):
            slow.append(slow_upload(s3, number, GREEDY))
            stack.callback(slow[-1].close)
        in_progress = "s3node_requests_in_progress"
        node.wait(lambda: node.metrics()[in_progress] == REQUESTS.client)
        node.wait(lambda: busy(node, "client") == ASKED - REQUESTS.client)
        assert busy(node, "node") == 0

        with ThreadPoolExecutor(HEALTHY) as pool:
            list(pool.map(partial(healthy, node), range(HEALTHY)))
        statuses = []
        for one in slow:
            try:
                one.send(b"c")
                answer = one.getresponse()
            except ConnectionError:  # refused, and its linger is over
                statuses.append(503)
                continue
            if answer.status == 503:
                assert int(answer.headers["Retry-After"]) > 0
            statuses.append(answer.status)
        assert statuses.count(200) == REQUESTS.client
        assert statuses.count(503) == ASKED - REQUESTS.client
    node.wait(lambda: node.metrics()[in_progress] == 0)


def test_slow_requests_make_room_for_others_of_the_same_client(node: NodeProcess) -> None:
    """Same address, same keys: those that were waited for longest go, one for each that comes."""
    with ExitStack() as stack:
        s3 = node.s3(signature_version="s3v4")
        for number in range(ASKED):
            stack.callback(slow_upload(s3, number, SAME).close)
        node.wait(lambda: node.metrics()["s3node_requests_in_progress"] == REQUESTS.client)
        time.sleep(1.2 * OVERDUE_S)
        healthy(node, 0)
        assert 1 <= node.metrics()["s3node_requests_given_up_total"] <= 20
    node.wait(lambda: node.metrics()["s3node_requests_in_progress"] == 0)
