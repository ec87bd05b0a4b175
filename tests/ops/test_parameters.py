"""Requests whose headers say nothing are read by a shorter way, to the same end."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from s3node.base.errors import S3Error
from s3node.ops import parameters
from s3node.s3.body import Payload
from s3node.s3.request import Request
from s3node.s3.sigv4 import PayloadKind, PayloadSpec
from tests.s3.build import request

NAMES = st.sampled_from(
    [
        *("accept", "Accept-Encoding", "connection", "content-length", "range", "user-agent"),
        *("authorization", "date", "x-amz-date", "x-amz-content-sha256", "content-type"),
        *("content-encoding", "content-md5", "expires", "if-match", "if-none-match"),
        *("transfer-encoding", "x-amz-acl", "x-amz-meta-a", "x-amz-storage-class"),
        *("x-amz-checksum-crc32", "x-amz-trailer", "x-amz-decoded-content-length"),
    ]
)
SPECS = [
    PayloadSpec(PayloadKind.UNSIGNED),
    PayloadSpec(PayloadKind.LITERAL, sha256=bytes(32)),
    PayloadSpec(PayloadKind.CHUNKS_UNSIGNED_TRAILER),
]


def told(asked: Request, spec: PayloadSpec) -> list[Any]:
    """What is made of it: values, or codes of refusals."""
    found: list[Any] = []
    for read in (
        parameters.stored_headers,
        parameters.read_conditions,
        parameters.write_conditions,
        lambda asked: _payload(Payload(spec, asked)),
    ):
        try:
            found.append(read(asked))
        except S3Error as refused:
            found.append(refused.code)
    return found


def _payload(payload: Payload) -> tuple[Any, ...]:
    return payload.length, payload.declared, payload.algorithm, payload.verbatim


@given(
    st.sampled_from(["GET", "PUT"]),
    st.dictionaries(NAMES, st.sampled_from(["", "7", "bytes=1-2", "aws-chunked", '"a"', "*"])),
    st.sampled_from(SPECS),
)
def test_one_more_header_that_says_nothing_changes_nothing(
    method: str, headers: dict[str, str], spec: PayloadSpec
) -> None:
    plain = request(method, headers=headers)
    other = request(method, headers={**headers, "x-other": "1"})
    assert not other.headers.plain
    assert told(plain, spec) == told(other, spec)
