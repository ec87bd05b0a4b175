"""The seam: what it means to encode a stripe and to rebuild shards of it.

All implementations give the same bytes, those of ISA-L's Cauchy code (see ec.matrix), and pass one
conformance suite. Shards are buffers of equal length, of any length, zero too. The code works byte
by byte at each position, so equal ranges of shards are encoded and rebuilt like whole shards.

A codec keeps no state between calls that a caller could notice; any thread may call it. Misuse
(numbers that make no sense, unequal lengths, outputs that overlap) is a ValueError before anything
is written; a buffer that is read-only or not contiguous is what Python makes of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from ec.geometry import Geometry

if TYPE_CHECKING:
    from typing_extensions import Buffer


class Codec(Protocol):
    """Encodes stripes and rebuilds shards."""

    @property
    def name(self) -> str:
        """For people: logs, status, benchmarks."""

    def encode(self, geometry: Geometry, shards: Buffer, shard_bytes: int) -> None:
        """Write the m parity shards behind the k data shards, all in one buffer.

        `shards` is writable and n * shard_bytes long; the caller has padded the data with zeros.
        """

    def encode_into(
        self, geometry: Geometry, data: Sequence[Buffer], parity: Sequence[Buffer]
    ) -> None:
        """The same with a buffer for each of the k data and m parity shards."""

    def rebuild(
        self,
        geometry: Geometry,
        sources: Mapping[int, Buffer],
        wanted: Sequence[int],
        out: Sequence[Buffer],
    ) -> None:
        """Write the wanted shards, data or parity, into `out`, given at least k others by index."""


def check_encode(geometry: Geometry, buffer_bytes: int, shard_bytes: int) -> None:
    if shard_bytes < 0 or buffer_bytes != geometry.n * shard_bytes:
        raise ValueError(
            f"{geometry} with shards of {shard_bytes} bytes needs a buffer of"
            f" {geometry.n * shard_bytes} bytes, not {buffer_bytes}"
        )


def check_shards(geometry: Geometry, data: Sequence[Buffer], parity: Sequence[Buffer]) -> None:
    if len(data) != geometry.k or len(parity) != geometry.m:
        raise ValueError(f"{geometry} is not {len(data)} data and {len(parity)} parity shards")


def choose_sources(geometry: Geometry, sources: Iterable[int]) -> tuple[int, ...]:
    """The k shard indexes to rebuild from: the lowest, so that data come before parity."""
    present = sorted(sources)
    if len(present) < geometry.k:
        raise ValueError(f"{geometry} cannot rebuild from {len(present)} shards")
    if present[0] < 0 or present[-1] >= geometry.n:
        raise ValueError(f"{geometry} has no such shards: {present}")
    return tuple(present[: geometry.k])


def check_wanted(geometry: Geometry, wanted: Sequence[int]) -> None:
    if any(not 0 <= shard < geometry.n for shard in wanted):
        raise ValueError(f"{geometry} has no such shards: {list(wanted)}")
    if len(set(wanted)) != len(wanted):
        raise ValueError(f"a shard is wanted twice: {list(wanted)}")


def check_out(wanted: Sequence[int], out: Sequence[Buffer]) -> None:
    if len(out) != len(wanted):
        raise ValueError(f"{len(out)} buffers for {len(wanted)} wanted shards")
