"""Digests of whole rows of shards beside those of the record format, one by one."""

from __future__ import annotations

from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from s3node.store.digests import shard_digests
from s3node.store.record import BLOCK_BYTES, block_digests, pack_digests

NOISE = Random(3).randbytes(16 * (2 * BLOCK_BYTES + 1))


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 16),
    st.sampled_from((1, 7, 240, 241, BLOCK_BYTES - 1, BLOCK_BYTES, BLOCK_BYTES + 1))
    | st.integers(1, 2 * BLOCK_BYTES + 1),
)
def test_of_a_row_as_of_each_payload(count: int, size: int) -> None:
    row = memoryview(NOISE)[: count * size]
    payloads = [row[at : at + size] for at in range(0, len(row), size)]
    wanted = b"".join(pack_digests(block_digests(one)) for one in payloads)
    assert shard_digests(row, size) == wanted
