"""Where which byte lies: data into stripes, stripes into shards. Pure arithmetic.

A stripe of S bytes over k data shards has shards of s = ceil(S / k) bytes; data shard i holds
the stripe's bytes i*s .. (i+1)*s, the last ones padded with zeros. So the object's bytes lie in
order, k runs per stripe, and a small range touches one disk.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from s3node.base.limits import STRIPE_BYTES_TARGET
from s3node.model.rows import STRIPES_PER_RUN, Data
from s3node.store.record import BLOCK_BYTES

ShardRange = tuple[int, int, int]
"""(shard, start, stop): bytes start..stop of the payload of a data shard."""


class StripeRange(NamedTuple):
    """Bytes start..stop of the stripe `stripe` of `data`."""

    data: Data
    stripe: int
    start: int
    stop: int

    @property
    def run(self) -> int:
        return self.stripe // STRIPES_PER_RUN


def stripe_bytes(k: int) -> int:
    """Bytes of every stripe but the last, for data begun with k data shards: whole blocks."""
    return max(1, STRIPE_BYTES_TARGET // (k * BLOCK_BYTES)) * k * BLOCK_BYTES


def shard_bytes(stripe: int, k: int) -> int:
    """Payload bytes of each shard of a stripe of `stripe` bytes."""
    return -(-stripe // k)


def shard_ranges(stripe: int, k: int, start: int, stop: int) -> Iterator[ShardRange]:
    """The parts of data shards that hold the stripe's bytes start..stop, in order."""
    assert 0 <= start <= stop <= stripe
    size = shard_bytes(stripe, k)
    while start < stop:
        index = start // size
        end = min(stop, (index + 1) * size)
        yield index, start - index * size, end - index * size
        start = end


def stripe_count(data: Data) -> int:
    """Stripes of one data id."""
    return -(-data.size // data.stripe_bytes)


def run_count(data: Data) -> int:
    """Location rows of one data id."""
    return -(-stripe_count(data) // STRIPES_PER_RUN)


def stripe_ranges(data: Sequence[Data], start: int, stop: int) -> Iterator[StripeRange]:
    """The stripes that hold bytes start..stop of an object made of `data`, in order."""
    base = 0
    for item in data:
        first, last = max(start - base, 0), min(stop - base, item.size)
        base += item.size
        while first < last:
            index = first // item.stripe_bytes
            offset = index * item.stripe_bytes
            end = min(last, offset + item.stripe_bytes)
            yield StripeRange(item, index, first - offset, end - offset)
            first = end
        if base >= stop:
            return
