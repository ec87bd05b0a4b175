"""Is every stripe that a row names there, and does it decode to what the row says?

Every shard is read and verified, missing ones are rebuilt from the others, parity is computed
again and compared, and the digest of the whole data (XXH3-128) closes the circle: what would be
answered to a client is what the client once sent.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import xxhash

from ec import Codec, Geometry
from s3node.base.errors import StorageFault
from s3node.meta import tables
from s3node.meta.homes import Home
from s3node.meta.kv import ReadTx
from s3node.model.rows import STRIPES_PER_RUN, Data, Location, Stripe
from s3node.objects import layout
from s3node.services.findings import Ledger
from s3node.services.shelf import read_shard, segment_path
from s3node.store import record
from s3node.store.seams import Shard

LOST = "restore the object from another copy; these bytes are gone"
AGAIN = "start the node: reads go around it; replace the disk if there are more"


@dataclass(slots=True)
class Stripes:
    """Checks stripes against the disks; remembers how far each segment is known to be synced."""

    homes: Mapping[int, Home]
    codec: Codec
    ledger: Ledger
    synced: dict[tuple[int, int], int] = field(default_factory=dict)
    bad: set[tuple[int, int, int]] = field(default_factory=set)
    absent: dict[int, int] = field(default_factory=dict)  # slot -> shards on a disk not there
    owed: int = 0
    read_bytes: int = 0

    def check(self, tx: ReadTx, data: Data, name: str) -> None:
        """One data id, which belongs to `name`."""
        runs = dict(tables.scan_locations(tx, data.data_id, 0, layout.run_count(data) - 1))
        hasher: xxhash.xxh3_128 | None = xxhash.xxh3_128()
        for index in range(layout.stripe_count(data)):
            row = runs.get(index // STRIPES_PER_RUN)
            place = index % STRIPES_PER_RUN
            if row is None or place >= len(row.stripes):
                self.ledger.problem(name, f"stripe {index} has no locations", LOST)
                hasher = None
                continue
            content = self._stripe(data, index, row.stripes[place], name)
            if content is None:
                hasher = None
            elif hasher is not None:
                hasher.update(content)
        if hasher is not None and data.digest and hasher.digest() != data.digest:
            self.ledger.problem(name, "its bytes do not have the digest of its row", LOST)

    def _stripe(self, data: Data, index: int, stripe: Stripe, name: str) -> bytes | None:
        """The bytes of one stripe; None if they are lost."""
        offset = index * data.stripe_bytes
        if stripe.stripe_bytes != min(data.stripe_bytes, data.size - offset):
            self.ledger.problem(name, f"stripe {index} has another size than its row says", LOST)
            return None
        good: dict[int, bytes] = {}
        for shard, location in enumerate(stripe.shards):
            expected = Shard(
                data.data_id, index, shard, stripe.k, stripe.m, stripe.code,
                stripe.stripe_bytes, offset, (),
            )  # fmt: skip
            payload = self._shard(expected, location, name)
            if payload is not None:
                good[shard] = payload
        if len(good) < stripe.k:
            what = f"stripe {index}: {len(good)} shards are left, {stripe.k} are needed"
            self.ledger.problem(name, what, LOST)
            return None
        return self._decode(good, stripe, index, name)

    def _shard(self, expected: Shard, location: Location | None, name: str) -> bytes | None:
        if location is None:
            self.owed += 1
            return None
        home = self.homes.get(location.slot)
        if home is None:
            self.absent[location.slot] = self.absent.get(location.slot, 0) + 1
            return None
        at = (location.slot, location.segment)
        size = layout.shard_bytes(expected.stripe_bytes, expected.k)
        stop = location.offset + record.record_bytes(size)
        self.synced[at] = max(self.synced.get(at, 0), stop)
        try:
            found = read_shard(home, location.segment, location.offset, expected)
            if len(found.payload) != size:
                raise StorageFault(f"it has {len(found.payload)} bytes instead of {size}")
        except StorageFault as fault:
            self.bad.add((*at, location.offset))
            path = segment_path(home.path, location.segment)
            what = f"shard {expected.shard_index} of stripe {expected.stripe_index} of {name}"
            place = f"offset {location.offset}"
            self.ledger.problem(path, f"{what}: {fault}", AGAIN, place=place)
            return None
        self.read_bytes += len(found.payload)
        return found.payload

    def _decode(self, good: Mapping[int, bytes], stripe: Stripe, index: int, name: str) -> bytes:
        """The stripe from its data shards, rebuilt where need be; parity is compared."""
        geometry = Geometry(stripe.k, stripe.m)
        size = layout.shard_bytes(stripe.stripe_bytes, stripe.k)
        buffer = bytearray(geometry.n * size)
        views = [memoryview(buffer)[i * size : (i + 1) * size] for i in range(geometry.n)]
        wanted = [shard for shard in range(geometry.k) if shard not in good]
        for shard in range(geometry.k):
            if shard in good:
                views[shard][:] = good[shard]
        if wanted:
            self.codec.rebuild(geometry, good, wanted, [views[shard] for shard in wanted])
        self.codec.encode(geometry, buffer, size)
        for shard in range(geometry.k, geometry.n):
            if shard in good and views[shard] != good[shard]:
                what = f"stripe {index}: parity shard {shard} is not the parity of its data"
                self.ledger.problem(name, what, AGAIN)
        return bytes(memoryview(buffer)[: stripe.stripe_bytes])
