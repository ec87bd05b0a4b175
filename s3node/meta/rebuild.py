"""From the disks to an index: load a checkpoint's ranges, replay the frames after them.

Complete or not at all: a range without a valid copy, or a frame that cannot be read, refuses the
checkpoint, and an older one is tried if the journal still reaches it. The new index is made
beside the old one and takes its place when it is whole.
"""

from __future__ import annotations

import bisect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import xxhash

from s3node.base.errors import FormatError
from s3node.base.filesystem import read_file
from s3node.meta import frame, rangefile
from s3node.meta.frame import ORIGIN, Position
from s3node.meta.homes import Home
from s3node.meta.index import Index, IndexPlace
from s3node.meta.manifest import Range
from s3node.meta.rangefile import RangeHeader
from s3node.meta.survey import Chain, JournalDamaged, Known, read_payload
from s3node.meta.transaction import Rows

LOAD_BYTES = 8 << 20
_MAP_FACTOR = 2

Told = Callable[[str, int, int], None]  # what, done, of how many


def rebuild(
    chains: Sequence[Chain],
    homes: Mapping[int, Home],
    place: IndexPlace,
    deployment_id: bytes,
    *,
    through: int | None = None,
    adopt: bool = True,
    told: Told = lambda what, done, total: None,
) -> tuple[Index, Chain]:
    """A fresh index, at the chain's tip or `through` a sequence, and the chain it was made from.

    Without `adopt` what is at `place` stays there. JournalDamaged when no checkpoint can be
    loaded whole.
    """
    reasons = []
    for chain in chains:
        size = _MAP_FACTOR * sum(r.file_bytes for r in chain.manifest.ranges)
        index = place.create(deployment_id, size)
        try:
            _fill(index, chain, homes, deployment_id, through, told)
        except JournalDamaged as fault:
            place.discard(index)
            reasons.append(f"{chain.manifest.name}: {fault}")
            continue
        if adopt:
            place.adopt(index)
        return index, chain
    raise JournalDamaged(f"no checkpoint can be loaded whole: {'; '.join(reasons)}")


def _fill(
    index: Index,
    chain: Chain,
    homes: Mapping[int, Home],
    deployment_id: bytes,
    through: int | None,
    told: Told,
) -> None:
    ranges = chain.manifest.ranges
    for number, one in enumerate(ranges):
        for rows in _pieces(load_range(homes, one, deployment_id)):
            index.apply([(ORIGIN, rows)])
        told("ranges", number + 1, len(ranges))
    replay(index, chain, chain.manifest.base, homes, through=through, told=told)


def _pieces(rows: Iterable[tuple[bytes, bytes]]) -> Iterator[Rows]:
    piece: Rows = {}
    size = 0
    for key, value in rows:
        piece[key] = value
        size += len(key) + len(value)
        if size >= LOAD_BYTES:
            yield piece
            piece, size = {}, 0
    if piece:
        yield piece


def replay(
    index: Index,
    chain: Chain,
    after: Position,
    homes: Mapping[int, Home],
    *,
    through: int | None = None,
    told: Told = lambda what, done, total: None,
) -> None:
    """Put the chain's frames after a position, `through` a sequence or to the tip, into the index;
    per key, only those after its range.

    Frames hold absolute values, so that it does no harm when a row is there already.
    """
    starts = [one.start for one in chain.manifest.ranges]
    as_of = [one.as_of.sequence for one in chain.manifest.ranges]
    pending: list[tuple[Position, Rows]] = []
    size = 0
    todo = chain.after(after)
    if through is not None:
        todo = todo[: max(0, through - after.sequence)]
    for number, known in enumerate(todo):
        rows = {
            key: value
            for key, value in frame_rows(homes, known)
            if known.position.sequence > as_of[bisect.bisect_right(starts, key) - 1]
        }
        pending.append((known.position, rows))
        size += known.size
        if size >= LOAD_BYTES:
            index.apply(pending)
            pending, size = [], 0
            told("frames", number + 1, len(todo))
    index.apply(pending or [(todo[-1].position if todo else after, {})])
    told("frames", len(todo), len(todo))


def frame_rows(homes: Mapping[int, Home], known: Known) -> Iterable[tuple[bytes, bytes | None]]:
    """The puts and deletes of a frame, read again from a disk."""
    if known.header.kind != frame.BATCH:
        return ()
    return list(frame.unpack_entries(known.header, read_payload(homes, known)))


def load_range(
    homes: Mapping[int, Home], one: Range, deployment_id: bytes
) -> Iterator[tuple[bytes, bytes]]:
    """The rows of a range from any disk that has a valid copy. JournalDamaged if none has."""
    if not one.file_bytes:
        return iter(())
    reasons = []
    for slot, home in homes.items():
        try:
            data = read_range(home, one, deployment_id)
        except FileNotFoundError:
            continue
        except (OSError, FormatError) as error:
            reasons.append(f"slot {slot}: {error}")
            continue
        return rangefile.unpack(data)[1]
    raise JournalDamaged(f"{one.name}: no valid copy; {'; '.join(reasons)}")


def read_range(home: Home, one: Range, deployment_id: bytes) -> bytes:
    """A range file's bytes, as the manifest knows them. OSError, FormatError."""
    data = read_file(home.fs, f"{home.checkpoints}/{one.name}")
    if len(data) != one.file_bytes or xxhash.xxh3_128_digest(data) != one.file_digest:
        raise FormatError(f"{one.name}: not the bytes that the manifest names")
    header = rangefile.unpack_header(data)
    expected = RangeHeader(
        deployment_id, one.epoch, header.sequence, one.number, one.start, one.end
    )
    if header != expected or header.sequence > one.as_of.sequence:
        raise FormatError(f"{one.name}: not the range that the manifest names")
    return data
