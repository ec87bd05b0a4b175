"""Clients that send or take slowly, in numbers that would use up all memory: others are served.

What the slow ones did not give up themselves is finished and right in the end.
"""

from __future__ import annotations

import http.client
import random
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any
from urllib.parse import urlsplit

import pytest

from s3node.base.limits import (
    MIB,
    PART_NUMBER_MAX,
    READ_BUFFER_BYTES,
    WRITE_ARENA_BYTES,
    WRITE_BUFFER_BYTES,
)
from tests.node.process import NodeProcess
from tests.node.test_memory import ANONYMOUS_BYTES_MAX, anonymous_bytes

BUCKET = "patience"
STRIPE = 3 * MIB  # 4+2: data and parity
UPLOADS = WRITE_ARENA_BYTES // STRIPE + 5  # none is dropped: shrunk, they fit
DOWNLOADS = READ_BUFFER_BYTES // STRIPE + 20
CONTENT = random.Random(1).randbytes(3 * MIB)
GIVEN_UP_S = 900.0
PATIENT = f"""
from s3node.base import limits

limits.BODY_IDLE_S = limits.BODY_RATE_WINDOW_S = limits.SEND_IDLE_S = {GIVEN_UP_S}
from s3node.main import run
run()
"""
"""A node that gives no slow client up while a test runs, on a machine however busy."""

HEALTHY_S_MAX = GIVEN_UP_S / 5
"""Long before any slow client is given up: memory must not wait for that."""


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeProcess]:
    data = tmp_path_factory.mktemp("slow") / "data"
    with NodeProcess(data, program=("-c", PATIENT)) as one:
        s3 = one.s3()
        s3.create_bucket(Bucket=BUCKET)
        s3.put_object(Bucket=BUCKET, Key="source", Body=CONTENT * 8)
        yield one


def begin(node: NodeProcess, method: str, key: str, **headers: int) -> http.client.HTTPConnection:
    """A presigned request whose head is sent; a small receive buffer, so that little is taken."""
    s3 = node.s3(signature_version="s3v4")
    url = urlsplit(s3.generate_presigned_url(method, {"Bucket": BUCKET, "Key": key}, 3600))
    connection = http.client.HTTPConnection(url.netloc, timeout=GIVEN_UP_S)
    connection.sock = socket.socket()
    connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.sock.connect((url.hostname, url.port))
    connection.putrequest(method.split("_", maxsplit=1)[0].upper(), f"{url.path}?{url.query}")
    for name, value in headers.items():
        connection.putheader(name.replace("_", "-"), str(value))
    connection.endheaders()
    return connection


def healthy(s3: Any) -> None:
    began = time.monotonic()
    s3.put_object(Bucket=BUCKET, Key="healthy", Body=CONTENT * 4)
    assert s3.get_object(Bucket=BUCKET, Key="healthy")["Body"].read() == CONTENT * 4
    took = time.monotonic() - began
    assert took < HEALTHY_S_MAX, f"a healthy client waited {took:.1f} s for slow ones"


def test_slow_uploads_and_downloads_stop_nobody(node: NodeProcess) -> None:
    s3 = node.s3()
    with ExitStack() as stack:
        downloads = [begin(node, "get_object", "source") for _ in range(DOWNLOADS)]
        uploads = [
            begin(node, "put_object", f"slow{number}", Content_Length=len(CONTENT))
            for number in range(UPLOADS)
        ]
        for each in (*downloads, *uploads):
            stack.callback(each.close)
        for each in uploads:
            each.send(CONTENT[: 600 * 1024])
        time.sleep(1)
        healthy(s3)
        assert anonymous_bytes(node) < ANONYMOUS_BYTES_MAX
        for each in uploads:
            each.send(CONTENT[600 * 1024 : 1000 * 1024])
        healthy(s3)
        for each in uploads:
            each.send(CONTENT[1000 * 1024 :])
        answers = [each.getresponse() for each in uploads]
        refused = [each.read() for each in answers if each.status != 200]
        assert not refused
        for each in downloads[::10]:
            assert each.getresponse().read() == CONTENT * 8
    for number in range(0, UPLOADS, 10):
        assert s3.get_object(Bucket=BUCKET, Key=f"slow{number}")["Body"].read() == CONTENT
    node.wait(lambda: node.status()["counters"]["buffer_bytes"] == 0)


def test_many_long_documents_at_once_take_bounded_memory_and_stop_nobody(
    node: NodeProcess,
) -> None:
    """Thirty of the longest documents: refused or answered, and nobody else has to wait."""
    s3 = node.s3()
    upload = s3.create_multipart_upload(Bucket=BUCKET, Key="long")["UploadId"]
    part = b"<Part><PartNumber>%d</PartNumber><ETag>" + b"e" * 600 + b"</ETag></Part>"
    parts = b"".join(part % number for number in range(1, PART_NUMBER_MAX + 1))
    document = b"<CompleteMultipartUpload>" + parts + b"</CompleteMultipartUpload>"
    signed = node.s3(signature_version="s3v4").generate_presigned_url(
        "complete_multipart_upload", {"Bucket": BUCKET, "Key": "long", "UploadId": upload}, 3600
    )
    url = urlsplit(signed)
    statuses: list[int] = []

    def complete() -> None:
        connection = http.client.HTTPConnection(url.netloc, timeout=GIVEN_UP_S)
        connection.request("POST", f"{url.path}?{url.query}", document)
        statuses.append(connection.getresponse().status)
        connection.close()

    before = anonymous_bytes(node)
    threads = [threading.Thread(target=complete) for _ in range(30)]
    started = time.monotonic()
    for thread in threads:
        thread.start()
    slowest = most = 0.0
    while any(thread.is_alive() for thread in threads):
        began = time.monotonic()
        s3.head_bucket(Bucket=BUCKET)
        slowest = max(slowest, time.monotonic() - began)
        most = max(most, anonymous_bytes(node) - before)
    took = time.monotonic() - started
    print(f"{took:.1f} s for {len(threads)} documents, {slowest:.1f} s for a request meanwhile")
    assert len(statuses) == len(threads)
    assert set(statuses) <= {400, 503}, "no such parts, or no room"
    assert 400 in statuses
    assert slowest < HEALTHY_S_MAX / 3
    assert most < ANONYMOUS_BYTES_MAX - READ_BUFFER_BYTES - WRITE_BUFFER_BYTES
