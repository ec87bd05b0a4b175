"""Do a stripe's shards decode to the bytes that were stored?

Every shard that a row names is read once more where it lies, missing data shards are rebuilt,
parity is computed again and compared; the digest of the whole data (XXH3-128) closes the circle:
what a client would be answered is what a client once sent.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Executor
from dataclasses import dataclass

from ec import Codec, Geometry
from s3node.base.errors import StorageFault
from s3node.meta.homes import Home
from s3node.model.rows import Data, Location, Stripe
from s3node.objects.layout import shard_bytes
from s3node.objects.read import shard_identity
from s3node.services.shelf import read_shard


@dataclass(slots=True)
class Decoder:
    """Reads the shards of a stripe from all disks at once."""

    homes: Mapping[int, Home]
    codec: Codec
    threads: Executor

    def stripe(
        self, item: Data, index: int, stripe: Stripe, places: Mapping[int, Location]
    ) -> tuple[memoryview | None, dict[int, str]]:
        """The bytes of a stripe (None: too few shards), and what is wrong, by shard.

        `places` are the shards that were found whole.
        """
        read = {
            shard: self.threads.submit(self._read, item, index, stripe, shard, place)
            for shard, place in places.items()
        }
        good: dict[int, bytes] = {}
        wrong: dict[int, str] = {}
        for shard, future in read.items():
            try:
                good[shard] = future.result()
            except StorageFault as fault:
                wrong[shard] = f"read again: {fault}"
        if len(good) < stripe.k:
            return None, wrong
        content, odd = self._decode(good, stripe)
        wrong |= dict.fromkeys(odd, "it is not the parity of the stripe's data")
        return content, wrong

    def _read(self, item: Data, index: int, stripe: Stripe, shard: int, place: Location) -> bytes:
        home = self.homes[place.slot]
        identity = shard_identity(item, index, stripe, shard)
        return read_shard(home, place.segment, place.offset, identity).payload

    def _decode(self, good: Mapping[int, bytes], stripe: Stripe) -> tuple[memoryview, list[int]]:
        """The stripe, and the parity shards that are not its own."""
        geometry = Geometry(stripe.k, stripe.m)
        size = shard_bytes(stripe.stripe_bytes, stripe.k)
        buffer = bytearray(geometry.n * size)
        whole = memoryview(buffer)
        views = [whole[shard * size : (shard + 1) * size] for shard in range(geometry.n)]
        wanted = [shard for shard in range(geometry.k) if shard not in good]
        for shard in range(geometry.k):
            if shard in good:
                views[shard][:] = good[shard]
        if wanted:
            self.codec.rebuild(geometry, good, wanted, [views[shard] for shard in wanted])
        self.codec.encode(geometry, buffer, size)
        parity = range(geometry.k, geometry.n)
        odd = [shard for shard in parity if shard in good and views[shard] != good[shard]]
        return whole[: stripe.stripe_bytes], odd
