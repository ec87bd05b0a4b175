"""Walking a segment from its own bytes, around whatever is damaged in it.

What a scan meets, in file order: `Found` records, `Damage` between them, the `Sealed` end, and
always last `End`. After damage it resumes at the next place that holds a header whose CRC is
right and which says that it belongs to this disk, this segment and this very offset: the copy of
a record inside some payload says another place.

Damage before the point up to which everything was synced is corruption, to be repaired; at or
behind it, in a segment that was never sealed, it may be the torn tail of the last batch (I10).
A scan reads through the `FileSystem`, or past its cache, and changes nothing; `cut` removes
reserved room.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import xxhash

from s3node.base.errors import FormatError, FormatUnknown
from s3node.base.filesystem import FileSystem, Reads
from s3node.base.limits import KIB, MIB
from s3node.store import record, seal, segment
from s3node.store.checked import CRC_BYTES
from s3node.store.limits import SECTOR
from s3node.store.record import ALIGN, BLOCK_BYTES, DIGEST_BYTES, HEADER_BYTES, RecordHeader
from s3node.store.seal import Seal
from s3node.store.segment import SegmentHeader

_WINDOW_BYTES = MIB  # read at once where every byte is looked at
_HEADER_WINDOW_BYTES = 4 * KIB  # and where the payloads between headers are not


class Found(NamedTuple):
    """A record. `fault` says what of it is damaged; "" if it is whole, or was not looked at."""

    offset: int
    stop: int
    header: RecordHeader
    hint: bytes
    fault: str
    torn: bool  # the fault may be a torn tail


class Damage(NamedTuple):
    """Bytes that belong to no record that can be told."""

    start: int
    stop: int
    torn: bool
    reason: str


class Sealed(NamedTuple):
    """The seal. `fault` if it counts other records than were found."""

    offset: int
    seal: Seal
    fault: str


class End(NamedTuple):
    """`used` is where the last bytes that mean anything end; `size` is the file's."""

    used: int
    size: int


Item = Found | Damage | Sealed | End


def read_segment_header(fs: FileSystem, path: str) -> SegmentHeader:
    """A segment file's header. FormatError, FormatUnknown or OSError when it cannot be told."""
    fd = fs.open(path, os.O_RDONLY)
    try:
        return segment.unpack(fs.pread(fd, SECTOR, 0))
    finally:
        fs.close(fd)


def scan(
    fs: Reads,
    path: str,
    segment_id: int,
    disk_id: bytes,
    *,
    synced: int = 0,
    payloads: bool = True,
) -> Generator[Item, None, None]:
    """Everything in the segment file at `path`, in order; FormatUnknown if it is a later one.

    `synced` is the offset up to which the caller knows everything to be on the platter (a row
    names it, a frame states it). With `payloads` every byte of every record is verified, without
    only the headers are.
    """
    fd = fs.open(path, os.O_RDONLY)
    try:
        walk = _Walk(fs, fd, fs.size(fd), segment_id, disk_id, synced, payloads)
        yield from walk.items()
    finally:
        fs.close(fd)


def trim(fs: FileSystem, path: str, segment_id: int, disk_id: bytes) -> bool:
    """Cut the room reserved ahead off a segment that nobody writes; whether there was any.

    Only for segments of an ended epoch. One that ends with its seal is left alone at once.
    """
    if _ends_sealed(fs, path, segment_id, disk_id):
        return False
    for item in scan(fs, path, segment_id, disk_id, payloads=False):
        if isinstance(item, End) and item.used < item.size:
            cut(fs, path, item.used)
            return True
    return False


def _ends_sealed(fs: FileSystem, path: str, segment_id: int, disk_id: bytes) -> bool:
    fd = fs.open(path, os.O_RDONLY)
    try:
        at = fs.size(fd) - seal.LAYOUT.size
        found = seal.unpack(fs.pread(fd, seal.LAYOUT.size, max(0, at)))
        return (found.used_end, found.segment, found.disk_id) == (at, segment_id, disk_id)
    except FormatUnknown:
        raise
    except FormatError:
        return False
    finally:
        fs.close(fd)


def cut(fs: FileSystem, path: str, used: int) -> None:
    """Cut a segment that nobody writes any more behind what a scan found to be used."""
    fd = fs.open(path, os.O_RDWR)
    try:
        assert used <= fs.size(fd), "a cut never extends"
        fs.ftruncate(fd, used)
        fs.fdatasync(fd)
    finally:
        fs.close(fd)


@dataclass(slots=True)
class _Walk:
    fs: Reads
    fd: int
    size: int
    segment_id: int
    disk_id: bytes
    synced: int
    payloads: bool
    records: int = 0
    chain: int = 0
    sealed: bool = False
    _window: bytes = b""
    _window_at: int = 0

    def items(self) -> Iterator[Item]:
        last = self._last_used()
        self.sealed = self._seal_before(last)
        at = SECTOR
        fault = self._header_fault()
        if fault:
            yield self._damage(0, min(SECTOR, self.size), fault)
        while at < self.size:
            item = self._item(at)
            if item is None:
                following = self._resume(at + ALIGN, last)
                if following is None:
                    break
                yield self._damage(at, following, "no record here")
                at = following
                continue
            yield item
            at = item.stop if isinstance(item, Found) else item.offset + seal.LAYOUT.size
        used = min(max(at, record.padded(last)), self.size)
        if at < used:
            yield self._damage(at, used, "no record here")
        yield End(used, self.size)

    # ---- what is at a place

    def _header_fault(self) -> str:
        try:
            header = segment.unpack(self._read(0, SECTOR))
        except FormatUnknown:
            raise
        except FormatError as fault:
            return str(fault)
        if header.segment != self.segment_id or header.disk_id != self.disk_id:
            return f"segment {header.segment:016x} of disk {header.disk_id.hex()} lies here"
        return ""

    def _item(self, at: int) -> Found | Sealed | None:
        """The record or seal that begins at `at`; None if none does."""
        packed = self._read(at, HEADER_BYTES)
        if packed.startswith(seal.MAGIC):
            return self._seal_at(at, packed)
        header = self._record_at(at, packed)
        if header is None:
            return None
        stop = at + record.record_bytes(header.payload_bytes, header.hint_bytes)
        self.records += 1
        self.chain = seal.extend(self.chain, packed[-CRC_BYTES:])
        hint, fault = self._verify(header, at, stop) if self.payloads else (b"", "")
        return Found(at, stop, header, hint, fault, bool(fault) and self._may_be_torn(at))

    def _record_at(self, at: int, packed: bytes) -> RecordHeader | None:
        """The header at `at` if it says that it belongs there and its record is all there."""
        try:
            header = record.unpack(packed)
        except FormatUnknown:
            raise
        except FormatError:
            return None
        here = (
            header.offset == at
            and header.segment == self.segment_id
            and header.disk_id == self.disk_id
        )
        stop = at + record.record_bytes(header.payload_bytes, header.hint_bytes)
        return header if here and stop <= self.size else None

    def _seal_at(self, at: int, packed: bytes) -> Sealed | None:
        try:
            found = seal.unpack(packed)
        except FormatUnknown:
            raise
        except FormatError:
            return None
        if (found.used_end, found.segment, found.disk_id) != (at, self.segment_id, self.disk_id):
            return None
        right = (found.records, found.chain) == (self.records, self.chain)
        fault = "" if right else f"sealed with {found.records} records, {self.records} were found"
        return Sealed(at, found, fault)

    def _verify(self, header: RecordHeader, at: int, stop: int) -> tuple[bytes, str]:
        """The record's hint, and what is damaged in it."""
        begin = at + record.payload_start(header.payload_bytes)
        end = begin + header.payload_bytes
        tail = self._read(end, stop - end)
        hint = tail[: header.hint_bytes]
        packed = self._read(at + HEADER_BYTES, DIGEST_BYTES * header.digest_count)
        if zlib.crc32(packed) != header.digest_crc:
            return hint, "its digests are damaged"
        for index, digest in enumerate(record.unpack_digests(packed)):
            start = begin + index * BLOCK_BYTES
            block = self._read(start, min(BLOCK_BYTES, end - start))
            if xxhash.xxh3_64_intdigest(block) != digest:
                return hint, f"block {index} does not match its digest"
        if zlib.crc32(hint) != header.hint_crc or any(tail[header.hint_bytes :]):
            return hint, "its hint or padding is damaged"
        return hint, ""

    # ---- finding the way

    def _resume(self, start: int, last: int) -> int | None:
        """Where the next record or seal of this segment begins, at or behind `start`."""
        magics = (record.MAGIC, seal.MAGIC)
        while start < last:
            window = self._read(start, _WINDOW_BYTES)
            places = {0}
            for magic in magics:
                at = window.find(magic)
                while at >= 0:
                    places.add(at)
                    at = window.find(magic, at + 1)
            for place in sorted(places):
                if (start + place) % ALIGN == 0 and self._belongs(start + place):
                    return start + place
            if len(window) < _WINDOW_BYTES:
                return None
            start += _WINDOW_BYTES  # aligned, as magics are: none lies across two windows
        return None

    def _belongs(self, at: int) -> bool:
        packed = self._read(at, HEADER_BYTES)
        return self._record_at(at, packed) is not None or self._seal_at(at, packed) is not None

    def _last_used(self) -> int:
        """Behind the last byte that is not zero: reserved room is zeros."""
        end = self.size
        while end > 0:
            start = max(0, end - _WINDOW_BYTES)
            used = len(self._read(start, end - start).rstrip(b"\0"))
            if used:
                return start + used
            end = start
        return 0

    def _seal_before(self, last: int) -> bool:
        """Whether what ends at `last` (but for trailing zeros of its own) is the seal."""
        first = record.padded(last) - seal.LAYOUT.size
        places = range(max(0, first), record.padded(last), ALIGN)
        return any(self._seal_at(at, self._read(at, HEADER_BYTES)) for at in places)

    def _may_be_torn(self, start: int) -> bool:
        return not self.sealed and start >= self.synced

    def _damage(self, start: int, stop: int, reason: str) -> Damage:
        return Damage(start, stop, self._may_be_torn(start), reason)

    def _read(self, offset: int, length: int) -> bytes:
        """Bytes of the file, fewer at its end; through one window, for the walk goes forward."""
        begin = offset - self._window_at
        if begin < 0 or begin + length > len(self._window):
            ahead = _WINDOW_BYTES if self.payloads else _HEADER_WINDOW_BYTES
            self._window = self._pread(offset, max(length, ahead))
            self._window_at, begin = offset, 0
        return self._window[begin : begin + length]

    def _pread(self, offset: int, length: int) -> bytes:
        pieces: list[bytes] = []
        while length > 0 and (data := self.fs.pread(self.fd, length, offset)):
            pieces.append(data)
            offset += len(data)
            length -= len(data)
        return b"".join(pieces)
