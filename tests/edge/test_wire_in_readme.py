"""What the README says of bounds and patience is what the node keeps to."""

from __future__ import annotations

from pathlib import Path

import pytest

from s3node.base import limits
from s3node.base.shares import CONNECTIONS, REQUESTS

README = Path(__file__).parents[2].joinpath("README.md").read_text()


@pytest.mark.parametrize(
    "told",
    [
        f"| {limits.TLS_HANDSHAKE_S:.0f} s | the TLS handshake |",
        f"| {limits.HEADER_S:.0f} s | a request's head",
        f"| {limits.KEEPALIVE_S:.0f} s | silence between requests |",
        f"| {limits.BODY_IDLE_S:.0f} s | the next byte of a body, and at least "
        f"{limits.BODY_RATE_BYTES_MIN >> 10} KiB/s once it has been waited for "
        f"{limits.BODY_RATE_WINDOW_S:.0f} s in all",
        f"| {limits.SEND_IDLE_S:.0f} s | taking the next {limits.SEND_BUFFER_BYTES >> 10} KiB",
        f"At most {REQUESTS.total} requests are worked on at once, and {CONNECTIONS.total} conn",
        f"for {limits.OVERDUE_S:.0f} s or more at less than "
        f"{limits.BODY_RATE_BYTES_MIN >> 10} KiB/s",
        f"requests = {REQUESTS.total} ",
        f"requests_per_identity = {REQUESTS.identity}\n",
        f"requests_per_client = {REQUESTS.client}\n",
        f"connections = {CONNECTIONS.total}\n",
        f"connections_per_address = {CONNECTIONS.most}\n",
    ],
)
def test_readme_tells(told: str) -> None:
    assert told in README
