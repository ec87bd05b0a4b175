"""Checkpoints: range files and manifests that let the journal be cut.

The keys are divided into ranges, each with a file as of its own sequence on m + 1 disks. A range
that no frame touched since is true as of now without being written again; touched ones are
written again, the oldest first, when the journal after the oldest has grown beyond a bound. Each
piece is packed in a short transaction and written outside of it. Only when the manifest that names
the new files is on m + 1 disks are old files removed and the journal cut.

Invariants: a manifest names only files that are synced on m + 1 disks; a range is `dirty` from
the moment a frame that touches it is applied until a piece read after that moment is in a
manifest; files are never written twice under one name (epoch and a counter). Belongs to the
event loop; reading, writing and listing run in a thread.
"""

from __future__ import annotations

import asyncio
import bisect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import NamedTuple, Protocol

import xxhash

from s3node.base.errors import FormatError, MemoryShort, QuorumLost
from s3node.base.filesystem import Sheet, read_file, write_file
from s3node.meta import manifest as manifests
from s3node.meta import rangefile, schema
from s3node.meta.frame import Position
from s3node.meta.homes import Home, make_checkpoints
from s3node.meta.index import Index
from s3node.meta.kv import ReadTx
from s3node.meta.manifest import Manifest, Range
from s3node.meta.rangefile import Body, RangeHeader, Row
from s3node.meta.rebuild import read_range
from s3node.meta.transaction import Rows


class Sizes(NamedTuple):
    """Bounds in bytes."""

    range_bytes: int = 16 << 20  # a range that grows beyond is split
    journal_bytes: int = 64 << 20  # of frames that no checkpoint holds
    # A large index may have a longer journal, so that what is written stays in proportion.
    journal_share: int = 8  # one part in so many of the range files' bytes


class JournalCut(Protocol):
    """What the checkpointer needs of the journal."""

    def retained_bytes(self) -> int: ...

    def sequence_leaving(self, retained: int) -> int:
        """The sequence to cut at so that at most so many bytes remain."""

    def live(self) -> Sequence[int]:
        """Slots that take part now."""

    async def cut(self, base: int) -> None: ...


@dataclass(slots=True)
class _Piece:
    """A range in memory."""

    range: Range
    dirty: bool = False
    lost: bool = False  # no valid copy of its file is left


@dataclass(slots=True)
class _Missing:
    lost: set[str]  # range files without a valid copy: to be written again
    restored: int


@dataclass(slots=True)
class Outcome:
    """What one round did, for logs and metrics."""

    ranges: int = 0
    bytes_written: int = 0
    restored: int = 0
    base: int = 0


class Checkpointer:
    def __init__(
        self,
        index: Index,
        journal: JournalCut,
        homes: Mapping[int, Home],
        current: Manifest,
        *,
        epoch: int,
        position: Position,
        need: int,
        sizes: Sizes = Sizes(),  # noqa: B008
    ) -> None:
        """`position` is where the index stands; `touch` must be told of all frames after the
        base of the `current` manifest before the first round.
        """
        self._index, self._journal, self._homes = index, journal, homes
        self._current, self._epoch, self._need, self._sizes = current, epoch, need, sizes
        self._position = position
        self._pieces = [_Piece(r) for r in current.ranges]
        self._starts = [r.start for r in current.ranges]
        self._generation = current.generation
        self._numbers = count(1)
        self._sheets: list[Sheet] = []  # to be used again: fresh pages cost more than the copy
        self._busy = asyncio.Lock()
        self._stopping = False

    @property
    def manifest(self) -> Manifest:
        return self._current

    def touch(self, rows: Rows, position: Position) -> None:
        """A frame with these rows is in the index."""
        for key in rows:
            piece = self._pieces[bisect.bisect_right(self._starts, key) - 1]
            if position.sequence > piece.range.as_of.sequence:
                piece.dirty = True
        if position.sequence > self._position.sequence:
            self._position = position

    def all_dirty(self) -> bool:
        """Whether no further frame can make a range more so."""
        return all(piece.dirty for piece in self._pieces)

    def due(self) -> bool:
        """Whether the journal has grown enough for a round."""
        return self._journal.retained_bytes() > self._journal_bytes()

    def _journal_bytes(self) -> int:
        held = sum(piece.range.file_bytes for piece in self._pieces)
        return max(self._sizes.journal_bytes, held // self._sizes.journal_share)

    def stop(self) -> None:
        """Let a round that is under way end early; the next life does what it left."""
        self._stopping = True

    async def round(self, *, everything: bool = False) -> Outcome:
        """Write what is due (or all that was touched) again, state it, cut the journal.

        QuorumLost when files cannot be put on m + 1 disks; nothing is lost or cut then.
        """
        async with self._busy:
            outcome = Outcome()
            await self._restore(outcome)
            target = (
                self._position.sequence
                if everything
                else self._journal.sequence_leaving(self._journal_bytes() // 2)
            )
            await self._rewrite_due(target, outcome)
            return outcome

    async def upkeep(self, *, verify: bool = False) -> int:
        """Put back copies that are missing; how many were. Cheap when nothing is.

        `verify` reads every copy and replaces damaged ones: what a scrub does.
        """
        async with self._busy:
            outcome = Outcome()
            await self._restore(outcome, verify=verify)
            if any(piece.lost for piece in self._pieces):
                await self._rewrite_due(0, outcome)
            return outcome.restored

    # Writing ranges again.

    async def _rewrite_due(self, target: int, outcome: Outcome) -> None:
        while (group := self._next_group(target)) is not None:
            if self._stopping:
                return
            await self._rewrite(*group, outcome)
        await self._state(outcome)

    def _next_group(self, target: int) -> tuple[int, int] | None:
        """The oldest dirty range that holds the journal below `target`, and dirty small
        neighbours after it: indexes first, last.
        """
        due = [
            index
            for index, piece in enumerate(self._pieces)
            if piece.lost or (piece.dirty and piece.range.as_of.sequence < target)
        ]
        if not due:
            return None
        first = last = min(due, key=lambda index: self._pieces[index].range.as_of.sequence)
        size = self._pieces[first].range.file_bytes
        while last + 1 < len(self._pieces) and self._pieces[last + 1].dirty:
            size += self._pieces[last + 1].range.file_bytes
            if size > self._sizes.range_bytes // 2:
                break
            last += 1
        return first, last

    async def _rewrite(self, first: int, last: int, outcome: Outcome) -> None:
        """Replace ranges by what the index holds there now, in as many as it takes."""
        start, end = self._pieces[first].range.start, self._pieces[last].range.end
        old = self._pieces[first : last + 1]
        # From here on a frame that is applied marks the new ranges: they take the old ones' place
        # only afterwards, so the marks are gathered on the old and handed on.
        for piece in old:
            piece.dirty = False
        fresh: list[Range] = []
        try:
            while True:
                one = await asyncio.to_thread(self._write_piece, start, end)
                fresh.append(one)
                if one.end == end:
                    break
                start = one.end
        except BaseException:
            for piece in old:
                piece.dirty = True
            raise
        touched = any(piece.dirty for piece in old)
        self._pieces[first : last + 1] = [_Piece(r, touched) for r in fresh]
        self._starts[first : last + 1] = [r.start for r in fresh]
        outcome.ranges += len(fresh)
        outcome.bytes_written += sum(r.file_bytes for r in fresh)

    def _write_piece(self, start: bytes, end: bytes) -> Range:
        """One file with the rows from `start` on, as far as they fit. In a thread."""
        body, stop, position = self._index.read(lambda tx, at: (*self._pack(tx, start, end), at))
        number = next(self._numbers)
        if not body.row_count:
            return Range(start, stop, self._epoch, number, 0, bytes(16), position)
        header = RangeHeader(
            self._current.deployment_id, self._epoch, position.sequence, number, start, stop
        )
        pieces = rangefile.pack(header, body)
        del body
        digest = xxhash.xxh3_128()
        for piece in pieces:  # each by itself: the loop need not wait for all of it
            digest.update(piece)
        data = self._sheet_of(pieces)
        del pieces
        one = Range(start, stop, self._epoch, number, data.size, digest.digest(), position)
        self._put(one, data, self._need, set())
        self._sheets.append(data)
        return one

    def _sheet_of(self, pieces: Sequence[bytes]) -> Sheet:
        """For one thread: that of a round which was cancelled may go on beside the next one's.

        MemoryShort.
        """
        try:
            sheet = self._sheets.pop()
        except IndexError:
            sheet = Sheet()
        try:
            sheet.fill(pieces)
        except OSError as fault:
            raise MemoryShort(f"no memory to write a range file from: {fault.strerror}") from None
        return sheet

    def _pack(self, tx: ReadTx, start: bytes, end: bytes) -> tuple[Body, bytes]:
        """Rows of the range up to the bound, packed as they are read, and where they end."""
        stop = end

        def rows() -> Iterator[Row]:
            nonlocal stop
            size = 0
            for key, value in tx.scan(start, end or schema.KEYS_END):
                if size >= self._sizes.range_bytes:
                    stop = key
                    return
                yield key, value
                size += len(key) + len(value)

        return rangefile.pack_body(rows()), stop

    def _put(self, one: Range, data: Sheet, copies: int, holders: set[int]) -> None:
        """Write a file to `copies` live disks that do not hold it. QuorumLost."""
        faults = []
        for slot in self._ranked(one.name):
            if slot in holders:
                continue
            if copies == 0:
                return
            home = self._homes[slot]
            try:
                make_checkpoints(home)
                write_file(home.fs, home.checkpoints, one.name, data)
                copies -= 1
            except OSError as error:
                faults.append(f"slot {slot}: {error}")
        if copies:
            raise QuorumLost(f"{one.name}: {copies} copies too few; {'; '.join(faults)}")

    def _ranked(self, name: str) -> list[int]:
        """Live slots in the file's order of preference (rendezvous hash)."""
        return sorted(
            self._journal.live(), key=lambda slot: xxhash.xxh3_64_digest(f"{name}/{slot}".encode())
        )

    # The manifest.

    async def _state(self, outcome: Outcome) -> None:
        """Make the new manifest durable, then let go of what only the old one needed."""
        at = self._position
        for piece in self._pieces:
            if not piece.dirty and piece.range.as_of.sequence < at.sequence:
                piece.range = piece.range._replace(as_of=at)
        ranges = tuple(piece.range for piece in self._pieces)
        position = max([at, *(r.as_of for r in ranges)], key=lambda p: p.sequence)
        base = min((r.as_of for r in ranges), key=lambda p: p.sequence)
        self._generation += 1
        current = Manifest(
            self._current.deployment_id, self._epoch, self._generation, position, base, ranges
        )
        await asyncio.to_thread(self._publish, current)
        self._current = current
        outcome.base = base.sequence
        await self._journal.cut(base.sequence)
        await asyncio.to_thread(self._clean)

    def _publish(self, current: Manifest) -> None:
        data = manifests.pack(current)
        faults = []
        written = 0
        for slot in self._journal.live():
            home = self._homes[slot]
            try:
                make_checkpoints(home)
                write_file(home.fs, home.checkpoints, current.name, data)
                written += 1
            except OSError as error:
                faults.append(f"slot {slot}: {error}")
        if written < self._need:
            raise QuorumLost(f"{current.name}: on {written} disks only; {'; '.join(faults)}")

    def _clean(self) -> None:
        """Remove files that the current manifest does not name; what fails stays till next time."""
        needed = {r.name for r in self._current.ranges} | {self._current.name}
        for slot in self._journal.live():
            home = self._homes[slot]
            try:
                if self._current.name not in home.fs.listdir(home.checkpoints):
                    continue  # it still depends on the older one
                for name in sorted(set(home.fs.listdir(home.checkpoints)) - needed):
                    home.fs.unlink(f"{home.checkpoints}/{name}")
            except OSError:
                continue

    # Copies.

    async def _restore(self, outcome: Outcome, *, verify: bool = False) -> None:
        """See to it that every range has m + 1 copies on live disks, every disk the manifest."""
        missing = await asyncio.to_thread(self._restore_copies, verify)
        outcome.restored += missing.restored
        for piece in self._pieces:
            piece.lost = piece.range.name in missing.lost

    def _restore_copies(self, verify: bool) -> _Missing:
        listing = self._listing()
        missing = _Missing(set(), 0)
        for slot, names in listing.items():
            if self._current.name not in names or (verify and not self._has_manifest(slot)):
                missing.restored += self._restore_manifest(self._homes[slot])
        for one in self._current.ranges:
            holders = {slot for slot, names in listing.items() if one.name in names}
            if verify:
                holders = {slot for slot in holders if self._valid_copy(one, {slot}) is not None}
            if not one.file_bytes or len(holders) >= self._need:
                continue
            data = self._valid_copy(one, holders)
            if data is None:
                missing.lost.add(one.name)
            else:
                self._put(one, self._sheet_of([data]), self._need - len(holders), holders)
                missing.restored += self._need - len(holders)
        return missing

    def _listing(self) -> dict[int, set[str]]:
        listing = {}
        for slot in self._journal.live():
            home = self._homes[slot]
            try:
                make_checkpoints(home)
                listing[slot] = set(home.fs.listdir(home.checkpoints))
            except OSError:
                continue  # a disk that cannot be listed holds nothing
        return listing

    def _has_manifest(self, slot: int) -> bool:
        home = self._homes[slot]
        try:
            data = read_file(home.fs, f"{home.checkpoints}/{self._current.name}")
        except OSError:
            return False
        return data == manifests.pack(self._current)

    def _restore_manifest(self, home: Home) -> int:
        try:
            write_file(home.fs, home.checkpoints, self._current.name, manifests.pack(self._current))
        except OSError:
            return 0
        return 1

    def _valid_copy(self, one: Range, holders: set[int]) -> bytes | None:
        for slot in holders:
            try:
                return read_range(self._homes[slot], one, self._current.deployment_id)
            except (OSError, FormatError):
                continue
        return None
