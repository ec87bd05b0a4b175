"""Reading a log file that may be damaged: the frames in it, and the bytes that are none.

After bad bytes the scan goes on at the next place where a whole valid frame begins. The length
in a header with a valid CRC is believed, so what lies inside a payload (which clients wrote) is
looked at only where the header around it is gone. Zeros to the end are room that was reserved.

What damage means (a torn tail to cut, or corruption to repair, I10) is decided by who knows the
other disks. A frame of a later release raises FormatUnknown: nothing may be written then.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from s3node.base.errors import FormatError, FormatUnknown
from s3node.meta.frame import LAYOUT, MAGIC, Header, Position, chain, check_payload, unpack_header


class FoundFrame(NamedTuple):
    """A valid frame in a log file."""

    header: Header
    position: Position
    offset: int

    @property
    def end(self) -> int:
        return self.offset + LAYOUT.size + self.header.payload_bytes


class Damage(NamedTuple):
    """Bytes start..stop are no frame; `sequence` is whose they were, where that is known."""

    start: int
    stop: int
    reason: str
    sequence: int | None = None


def scan(data: bytes, deployment_id: bytes) -> Iterator[FoundFrame | Damage]:
    """What lies in a log file, in order of offset. FormatUnknown."""
    offset = 0
    while offset < len(data):
        found = frame_at(data, offset, deployment_id)
        if isinstance(found, Damage) and found.sequence is None:
            found = found._replace(stop=_next_frame(data, offset + 1, deployment_id))
            if not any(data[found.start : found.stop]) and found.stop == len(data):
                return
        yield found
        offset = found.end if isinstance(found, FoundFrame) else found.stop


def frame_at(data: bytes, offset: int, deployment_id: bytes) -> FoundFrame | Damage:
    """The frame at `offset`, or what is wrong there."""
    view = memoryview(data)[offset:]
    try:
        header = unpack_header(bytes(view[: LAYOUT.size]))
        if header.deployment_id != deployment_id:
            raise FormatError("frame: of another deployment")
    except FormatUnknown:
        raise
    except FormatError as error:
        return Damage(offset, len(data), str(error))
    end = LAYOUT.size + header.payload_bytes
    try:
        check_payload(header, view[LAYOUT.size : end])
    except FormatError as error:
        return Damage(offset, min(offset + end, len(data)), str(error), header.sequence)
    return FoundFrame(header, Position(header.sequence, chain(view[: LAYOUT.size])), offset)


def _next_frame(data: bytes, start: int, deployment_id: bytes) -> int:
    while (start := data.find(MAGIC, start)) >= 0:
        found = frame_at(data, start, deployment_id)
        if isinstance(found, FoundFrame) or found.sequence is not None:
            return start
        start += 1
    return len(data)
