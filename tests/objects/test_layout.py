"""Where which byte lies: every range is covered once, in order, by the right shard bytes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from s3node.model.rows import Data
from s3node.objects import layout
from s3node.store.record import BLOCK_BYTES


@given(st.integers(1, 15))
def test_full_stripes_are_whole_blocks(k: int) -> None:
    size = layout.stripe_bytes(k)
    assert size % (k * BLOCK_BYTES) == 0
    assert layout.shard_bytes(size, k) * k == size


@given(st.data(), st.integers(1, 5000), st.integers(1, 16))
def test_shard_ranges_are_the_stripe_bytes(data: st.DataObject, stripe: int, k: int) -> None:
    start = data.draw(st.integers(0, stripe))
    stop = data.draw(st.integers(start, stripe))
    size = layout.shard_bytes(stripe, k)
    content = bytes(i * 7 % 251 for i in range(stripe)).ljust(k * size, b"\0")
    shards = [content[i * size : (i + 1) * size] for i in range(k)]
    parts = list(layout.shard_ranges(stripe, k, start, stop))
    assert b"".join(shards[shard][begin:end] for shard, begin, end in parts) == content[start:stop]
    used = [shard for shard, _, _ in parts]
    assert used == sorted(set(used))


@given(
    st.data(),
    st.lists(st.tuples(st.integers(0, 900), st.integers(1, 200)), min_size=1, max_size=5),
)
def test_stripe_ranges_cover_the_range_once(
    data: st.DataObject, items: list[tuple[int, int]]
) -> None:
    rows = [Data(bytes([i]) * 16, size, stripe) for i, (size, stripe) in enumerate(items)]
    total = sum(size for size, _ in items)
    start = data.draw(st.integers(0, total))
    stop = data.draw(st.integers(start, total))
    covered = []
    for part in layout.stripe_ranges(rows, start, stop):
        base = sum(row.size for row in rows[: rows.index(part.data)])
        first = base + part.stripe * part.data.stripe_bytes
        assert 0 <= part.start < part.stop <= part.data.stripe_bytes
        covered += range(first + part.start, first + part.stop)
    assert covered == list(range(start, stop))
