"""CRC-64/NVME beside awscrt's."""

from __future__ import annotations

from random import Random

from awscrt import checksums as crt
from hypothesis import given, settings
from hypothesis import strategies as st

from s3node.base.crc64 import Crc64

NOISE = Random(6).randbytes(1 << 18)
lengths = st.one_of(st.integers(0, 300), st.integers(0, 1 << 16))


def test_the_check_value() -> None:
    running = Crc64()
    assert running.digest() == bytes(8)
    running.update(b"123456789")
    assert running.digest().hex() == "ae8b14860a799888"


@settings(max_examples=200, deadline=None)
@given(st.lists(lengths, max_size=4), st.integers(0, 63))
def test_in_any_pieces(sizes: list[int], start: int) -> None:
    running, value = Crc64(), 0
    for size in sizes:
        piece = memoryview(NOISE)[start : start + size]
        running.update(piece)
        value = crt.crc64nvme(piece, value)
        assert running.digest() == value.to_bytes(8, "big")
        start += size
