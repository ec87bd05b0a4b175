"""The three kinds of failure, which never mix.

- `S3Error` is an answer to a client: a code of S3's table (`s3node.s3.errors` knows status and
  default message of each). It is raised anywhere from `model` upwards and rendered at the edge.
- `StorageFault` is a disk, a shard or a quorum that failed. It is handled in `objects/`, or in
  the journal for frames, and becomes an `S3Error` in exactly one place there.
- A broken invariant is an `AssertionError`: a bug. It is logged and the process stops.
"""

from __future__ import annotations

from collections.abc import Mapping


class S3Error(Exception):
    """An error that S3 has a code for.

    `code` is S3's (``NoSuchKey``), `message` replaces the table's default text, `fields` are the
    extra elements that AWS puts into the body (``BucketName``, ``Condition``, ...), `headers`
    extra response headers (``Retry-After``).
    """

    def __init__(
        self,
        code: str,
        message: str | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        **fields: str,
    ) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message
        self.headers = dict(headers or {})
        self.fields = fields

    def __str__(self) -> str:
        return f"{self.code}: {self.message}" if self.message else self.code


class StorageFault(Exception):
    """Something below failed; the message says what happened, to what, and where."""


class DiskOffline(StorageFault):
    """The disk is not in service: missing, fenced, foreign, or failed earlier."""


class DiskSlow(StorageFault):
    """The disk has not answered what it was asked before; it was not asked."""


class DiskFull(StorageFault):
    """No room on the disk (ENOSPC, EDQUOT) or it is read-only (EROFS)."""


class DiskFailed(StorageFault):
    """A system call on the disk failed (EIO and the like); what it was writing is dead."""


class ShardMissing(StorageFault):
    """No record where the location row says one is."""


class ShardCorrupt(StorageFault):
    """A record is there, but its header or a digest does not match."""


class MemoryChanged(StorageFault):
    """Bytes in memory are not what they were a moment ago."""


class QuorumLost(StorageFault):
    """Too few disks to write, or too few shards to read."""


class JournalStalled(QuorumLost):
    """A frame could not be made durable on m + 1 disks; outcomes are in doubt until it is."""


class EngineGone(StorageFault):
    """This edge has lost its engine: what it was asked meanwhile is in doubt, and nothing can be
    answered until there is another one."""


class BufferLost(StorageFault):
    """Memory ran short, and a slow client's half-filled stripe was given up for others."""


class MemoryShort(StorageFault):
    """No place in an arena, more payload being under way than it was made for; or no memory."""


class FormatError(StorageFault):
    """Bytes that are not what their format says: bad magic, CRC, length."""


class FormatUnknown(FormatError):
    """A format version or flag of a later release: refuse, and write nothing."""


class ConfigError(Exception):
    """Broken configuration: one line that says what and where."""
