"""Every record of every segment, verified to the last byte; disks in parallel.

What was found whole is remembered in 16 bytes per record: where it begins, and a hash of what it
says about itself. So the rows can then be held against all disks at once without reading twice.
"""

from __future__ import annotations

import struct
import threading
from array import array
from bisect import bisect_left
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from sys import intern
from typing import NamedTuple

import xxhash

from s3node.base.errors import FormatError, FormatUnknown
from s3node.base.filesystem import file_bytes
from s3node.meta.homes import Home
from s3node.model.rows import Data, Location, Stripe
from s3node.objects.layout import shard_bytes
from s3node.services import findings as kinds
from s3node.services.findings import PER_KIND_MAX, Findings, Told
from s3node.store.disks import SEGMENTS
from s3node.store.record import RecordHeader
from s3node.store.scan import Damage, Found, Item, Sealed, scan
from s3node.store.segment import file_name, segment_of

# Data id, stripe index, shard index, k, m, code, stripe bytes, where it begins, payload bytes.
_SAYS = struct.Struct("<16sQHHHHQQQ")
_ROUND_S = 0.2


def says(header: RecordHeader) -> int:
    """A hash of which shard a record holds."""
    return xxhash.xxh3_64_intdigest(
        _SAYS.pack(
            header.data_id,
            header.stripe_index,
            header.shard_index,
            header.k,
            header.m,
            header.code,
            header.stripe_bytes,
            header.stripe_offset,
            header.payload_bytes,
        )
    )


def expected(item: Data, index: int, stripe: Stripe, shard: int) -> int:
    """The same hash, of the shard that a location row means."""
    return xxhash.xxh3_64_intdigest(
        _SAYS.pack(
            item.data_id,
            index,
            shard,
            stripe.k,
            stripe.m,
            stripe.code,
            stripe.stripe_bytes,
            index * item.stripe_bytes,
            shard_bytes(stripe.stripe_bytes, stripe.k),
        )
    )


class Torn(NamedTuple):
    """Damage that is harmless unless a row names something at or behind it (I10)."""

    segment: int
    start: int
    path: str
    what: str


@dataclass(slots=True)
class Segment:
    """The records of one segment: offsets and hashes of the whole ones, what the others lack."""

    offsets: array[int] = field(default_factory=lambda: array("Q"))
    says: array[int] = field(default_factory=lambda: array("Q"))
    faults: dict[int, str] = field(default_factory=dict)

    def why_not(self, offset: int, wanted: int) -> str:
        """Why the record at `offset` is not the one wanted; "" if it is."""
        if offset in self.faults:
            return self.faults[offset]
        at = bisect_left(self.offsets, offset)
        if at == len(self.offsets) or self.offsets[at] != offset:
            return "no record there"
        return "" if self.says[at] == wanted else "another shard's record there"


@dataclass(slots=True)
class DiskScan:
    """What one disk's segments hold."""

    home: Home
    found: Findings = field(default_factory=Findings)
    segments: dict[int, Segment] = field(default_factory=dict)
    torn: list[Torn] = field(default_factory=list)
    torn_more: int = 0
    newest: int = 0  # the highest journal sequence that a record names
    bytes_total: int = 0
    bytes_done: int = 0

    def names(self) -> list[str]:
        directory = f"{self.home.path}/{SEGMENTS}"
        return [name for name in self.home.fs.listdir(directory) if segment_of(name) is not None]

    def measure(self) -> None:
        """How much there is to read."""
        for name in self.names():
            self.bytes_total += file_bytes(self.home.fs, f"{self.home.path}/{SEGMENTS}/{name}")

    def run(self, stop: threading.Event) -> None:
        """Read every segment; what cannot be read is a finding."""
        try:
            self.measure()
            for name in self.names():
                if stop.is_set():
                    return
                self._segment(f"{self.home.path}/{SEGMENTS}/{name}", segment_of(name) or 0, stop)
        except OSError as fault:
            self.found.add(kinds.UNREADABLE, self.home.path, str(fault.strerror))

    def _segment(self, path: str, segment: int, stop: threading.Event) -> None:
        records = self.segments[segment] = Segment()
        before = self.bytes_done
        try:
            for item in scan(self.home.fs, path, segment, self.home.disk_id):
                self._take(records, path, segment, item)
                if isinstance(item, Found):
                    self.bytes_done = before + item.stop
                if stop.is_set():
                    return
        except FormatUnknown as fault:
            self.found.add(kinds.LATER_FORMAT, path, str(fault))
        except (OSError, FormatError) as fault:
            self.found.add(kinds.UNREADABLE, path, str(fault))

    def _take(self, records: Segment, path: str, segment: int, item: Item) -> None:
        if isinstance(item, Found):
            self.newest = max(self.newest, item.header.sequence)
            if not item.fault:
                records.offsets.append(item.offset)
                records.says.append(says(item.header))
                return
            records.faults[item.offset] = intern(item.fault)
            what = f"record at {item.offset}: {item.fault}"
            self._damaged(Torn(segment, item.offset, path, what), item.torn)
        elif isinstance(item, Damage):
            what = f"bytes {item.start} to {item.stop}: {item.reason}"
            self._damaged(Torn(segment, item.start, path, what), item.torn)
        elif isinstance(item, Sealed) and item.fault:
            self.found.add(kinds.SEGMENT_DAMAGED, path, item.fault)

    def _damaged(self, one: Torn, torn: bool) -> None:
        if not torn:
            self.found.add(kinds.SEGMENT_DAMAGED, one.path, one.what)
        elif len(self.torn) < PER_KIND_MAX:
            self.torn.append(one)
        else:
            self.torn_more += 1


@dataclass(slots=True)
class Shards:
    """All disks' records. `absent` says why a slot that was not scanned cannot be read."""

    disks: Mapping[int, DiskScan]
    absent: Mapping[int, str]
    _named: dict[tuple[int, int], int] = field(default_factory=dict)

    def why_not(self, location: Location, wanted: int) -> str:
        """Why the shard is not where its row says; "" if it is."""
        disk = self.disks.get(location.slot)
        if disk is None:
            return self.absent.get(location.slot, "there is no such slot")
        place = location.slot, location.segment
        self._named[place] = max(self._named.get(place, 0), location.offset)
        segment = disk.segments.get(location.segment)
        if segment is None:
            return f"there is no {file_name(location.segment)}"
        return segment.why_not(location.offset, wanted)

    def torn_tails(self) -> Findings:
        """What may have been torn, now that it is known what rows name."""
        found = Findings()
        for slot, disk in self.disks.items():
            for one in disk.torn:
                durable = one.start <= self._named.get((slot, one.segment), -1)
                kind = kinds.SEGMENT_DAMAGED if durable else kinds.SEGMENT_TORN
                found.add(kind, one.path, one.what)
            if disk.torn_more:
                found.add(kinds.SEGMENT_TORN, disk.home.path, f"{disk.torn_more} more such places")
        return found


def scan_disks(homes: Mapping[int, Home], told: Told) -> dict[int, DiskScan]:
    """All disks at once, a thread each; `told` is called from this one."""
    scans = {slot: DiskScan(home) for slot, home in sorted(homes.items())}
    stop = threading.Event()
    with ThreadPoolExecutor(max(1, len(scans))) as threads:
        running = {threads.submit(one.run, stop) for one in scans.values()}
        try:
            while running:
                done, running = wait(running, _ROUND_S)
                for future in done:
                    future.result()
                _tell(scans, told)
        finally:
            stop.set()
    return scans


def _tell(scans: Mapping[int, DiskScan], told: Told) -> None:
    total = sum(one.bytes_total for one in scans.values())
    told("segments", min(total, sum(one.bytes_done for one in scans.values())), total)
