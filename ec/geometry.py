"""How many shards a stripe has.

Invariants: k >= 1, m >= 1, k + m <= SHARDS_MAX. A geometry is a value: it never changes, and equal
numbers are equal geometries. Shard indexes are 0..k-1 for data and k..n-1 for parity.
"""

from __future__ import annotations

from dataclasses import dataclass

SHARDS_MAX = 16


@dataclass(frozen=True, slots=True)
class Geometry:
    """k data shards and m parity shards. Raises ValueError when they make no code."""

    k: int
    m: int

    def __post_init__(self) -> None:
        if self.k < 1 or self.m < 1 or self.k + self.m > SHARDS_MAX:
            raise ValueError(
                f"no code of {self.k}+{self.m} shards: it takes at least 1 data and 1 parity shard"
                f" and at most {SHARDS_MAX} in all"
            )

    @property
    def n(self) -> int:
        """Data and parity shards together."""
        return self.k + self.m

    def shard_bytes(self, stripe_bytes: int) -> int:
        """Bytes of each shard of a stripe of that many bytes; the last data shards are padded."""
        if stripe_bytes < 0:
            raise ValueError(f"a stripe of {stripe_bytes} bytes")
        return -(-stripe_bytes // self.k)

    def __str__(self) -> str:
        return f"{self.k}+{self.m}"
