"""What a PUT, a copy, a Complete or a DELETE does to a key's versions.

Buckets of this release are unversioned: a key has at most one version, the null version. A write
puts its row above the current one (I9) and removes that one; a delete removes it. Both leave a
death row for the bytes that no row names any more (I5), and both ask `may_destroy` (I6).

Every decision here runs twice: early, to refuse before bytes are moved, and inside the
transaction, where it counts.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import msgspec

from s3node.base.clock import hlc_after
from s3node.base.errors import S3Error
from s3node.base.ids import VERSION_ID_BYTES, RandomBytes, version_id
from s3node.model.conditions import Subject, WriteConditions, check_delete, check_write
from s3node.model.lock import lock_state, may_destroy
from s3node.model.rows import NULL_VERSION, BucketRow, Data, DeathRow, PartRow, VersionRow

Version = tuple[bytes, VersionRow]


class Deed(NamedTuple):
    """Who does something to which key, and when: what a death row has to record."""

    bucket: str
    key: str
    who: str
    now_ms: int
    bypass: bool = False


class Change(NamedTuple):
    """What one transaction does to a key, and to its bucket's usage."""

    added: Version | None
    removed: Version | None
    deaths: tuple[DeathRow, ...]

    @property
    def objects(self) -> int:
        return (self.added is not None) - (self.removed is not None)

    @property
    def bytes(self) -> int:
        gained = self.added[1].size if self.added else 0
        return gained - (self.removed[1].size if self.removed else 0)


def subject(current: Version | None) -> Subject | None:
    """What conditions see of a key: nothing, when its current version is a delete marker."""
    if current is None or current[1].delete_marker:
        return None
    return Subject(current[1].etag, current[1].modified_ms)


def version_name(identity: bytes, row: VersionRow) -> str:
    """A version's id as clients see it."""
    return NULL_VERSION if row.null else identity.hex()


def parse_version(text: str) -> bytes | None:
    """A version id that a client sent: None is the null version."""
    if text == NULL_VERSION:
        return None
    try:
        identity = bytes.fromhex(text)
    except ValueError:
        identity = b""
    if len(identity) != VERSION_ID_BYTES or identity.hex() != text:
        raise S3Error(
            "InvalidArgument",
            "Invalid version id specified",
            ArgumentName="versionId",
            ArgumentValue=text,
        )
    return identity


def death(deed: Deed, reason: str, data: Iterable[Data], *, lock: str = "") -> tuple[DeathRow, ...]:
    """The death row of some bytes; none for what lies in a row and dies with it."""
    named = [item for item in data if item.data_id]
    if not named:
        return ()
    row = DeathRow(
        data_ids=tuple(item.data_id for item in named),
        size=sum(item.size for item in named),
        reason=reason,
        who=deed.who,
        when_ms=deed.now_ms,
        bucket=deed.bucket,
        key=deed.key,
        lock=lock,
    )
    return (row,)


def part_death(deed: Deed, reason: str, parts: Iterable[PartRow]) -> tuple[DeathRow, ...]:
    """The death row of parts that no version took."""
    return death(deed, reason, [part.data for part in parts if part.data is not None])


def unversioned(bucket: BucketRow) -> None:
    """No API of this release turns versioning on; a row that says so is from a later one."""
    if bucket.versioning:
        raise S3Error("NotImplemented", "This release does not serve versioned buckets.")


def may_put(deed: Deed, current: Version | None, conditions: WriteConditions) -> None:
    """Return if a write may replace `current`; the S3Error that refuses it otherwise."""
    check_write(conditions, subject(current), deed.key)
    if current is not None:
        may_destroy(current[1], deed.now_ms, bypass=deed.bypass)


def plan_put(
    deed: Deed,
    current: Version | None,
    conditions: WriteConditions,
    row: VersionRow,
    random: RandomBytes,
) -> Change:
    """`row` becomes the current version, stamped above the one that was (I2, I9)."""
    may_put(deed, current, conditions)
    floor = current[1].hlc if current else 0
    stamp = hlc_after(deed.now_ms, floor)
    row = msgspec.structs.replace(row, hlc=stamp, modified_ms=deed.now_ms)
    added = (version_id(stamp, random), row)
    if current is None:
        return Change(added, None, ())
    gone = current[1]
    return Change(added, current, death(deed, "overwritten", gone.data, lock=lock_state(gone)))


def plan_delete(deed: Deed, target: Version | None, match: str | None = None) -> Change:
    """`target` vanishes; deleting what is not there changes nothing."""
    check_delete(match, subject(target), deed.key)
    if target is None:
        return Change(None, None, ())
    gone = target[1]
    may_destroy(gone, deed.now_ms, bypass=deed.bypass)
    return Change(None, target, death(deed, "deleted", gone.data, lock=lock_state(gone)))
