"""What a PUT, a copy, a Complete or a DELETE does to a key's versions.

A write puts its row above the current one (I9). Where versioning is enabled all others stay;
elsewhere what is written is the null version, and the null version that was there goes. A delete
that names no version puts a delete marker just so, except where versioning never was enabled:
there it removes the null version, which is all there is. A delete that names one removes that.

What goes leaves a death row for the bytes that no row names any more (I5), and passes
`may_destroy` (I6). A version never becomes the null version, nor another one out of it.

Every decision here runs twice: early, to refuse before bytes are moved, and inside the
transaction, where it counts.

Source: "Using versioning in S3 buckets" and the pages below it in the Amazon S3 User Guide.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import msgspec

from s3node.base.clock import hlc_after
from s3node.base.errors import S3Error
from s3node.base.ids import VERSION_ID_BYTES, RandomBytes, version_id
from s3node.model.conditions import (
    DeleteConditions,
    Subject,
    WriteConditions,
    check_delete,
    check_write,
)
from s3node.model.lock import lock_state, may_destroy
from s3node.model.outline import VersionOutline
from s3node.model.rows import NULL_VERSION, Data, DeathRow, PartRow, VersionRow

Version = tuple[bytes, VersionRow]

ENABLED = "Enabled"
SUSPENDED = "Suspended"
UNVERSIONED = ""
"""What a bucket's row says of its versioning; once enabled it is never "" again."""


class Deed(NamedTuple):
    """Who does something to which key, and when: what a death row has to record."""

    bucket: str
    key: str
    who: str
    now_ms: int
    bypass: bool = False


class Seen(NamedTuple):
    """What a write has to know of a key: its first version, and the one that it would replace."""

    current: Version | None
    null: Version | None  # None too where versioning is enabled: nothing is replaced there


class Change(NamedTuple):
    """What one transaction does to a key, and to its bucket's usage."""

    added: Version | None = None
    removed: Version | None = None
    deaths: tuple[DeathRow, ...] = ()
    covered: bytes | None = None  # the id of a null version that gets another one above it

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
    return Subject(current[1].etag, current[1].modified_ms, current[1].size)


def version_name(identity: bytes, row: VersionRow | VersionOutline) -> str:
    """A version's id as clients see it."""
    return NULL_VERSION if row.null else identity.hex()


def parse_version(text: str, argument: str = "versionId") -> bytes | None:
    """A version id that a client sent as `argument`: None is the null version."""
    if text == NULL_VERSION:
        return None
    try:
        identity = bytes.fromhex(text)
    except ValueError:
        identity = b""
    if len(identity) != VERSION_ID_BYTES or identity.hex() != text:
        raise S3Error(
            "InvalidArgument",
            "Invalid version id specified" if text else "Version id cannot be the empty string",
            ArgumentName=argument,
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


def replaces_null(versioning: str) -> bool:
    """Whether a write replaces the null version."""
    return versioning != ENABLED


def may_put(deed: Deed, seen: Seen, conditions: WriteConditions) -> None:
    """Return if a write may be done; the S3Error that refuses it otherwise."""
    check_write(conditions, subject(seen.current), deed.key)
    if seen.null is not None:
        may_destroy(seen.null[1], deed.now_ms, bypass=deed.bypass)


def plan_put(
    deed: Deed,
    versioning: str,
    seen: Seen,
    conditions: WriteConditions,
    row: VersionRow,
    random: RandomBytes,
) -> Change:
    """`row` becomes the current version, stamped above the one that was (I2, I9)."""
    may_put(deed, seen, conditions)
    return _put_above(deed, versioning, seen, row, random, "overwritten")


def plan_delete(
    deed: Deed,
    versioning: str,
    seen: Seen,
    conditions: DeleteConditions,
    random: RandomBytes,
    owner: str,
) -> Change:
    """A delete that names no version. Deleting what is not there changes nothing where there are
    no versions; elsewhere it leaves one more delete marker, as in S3."""
    _check_delete(conditions, seen.current, deed.key)
    if versioning == UNVERSIONED:
        return _remove(deed, seen.null)
    marker = VersionRow(
        hlc=0, modified_ms=0, size=0, etag="", digest=b"", delete_marker=True, owner=owner
    )
    return _put_above(deed, versioning, seen, marker, random, "deleted")


def plan_remove(deed: Deed, target: Version | None, conditions: DeleteConditions) -> Change:
    """A delete that names a version: `target` vanishes, whatever it is."""
    _check_delete(conditions, target, deed.key)
    return _remove(deed, target)


def _check_delete(conditions: DeleteConditions, target: Version | None, key: str) -> None:
    marker = target is not None and target[1].delete_marker
    check_delete(conditions, subject(target), key, marker=marker)


def _remove(deed: Deed, target: Version | None) -> Change:
    if target is None:
        return Change()
    gone = target[1]
    may_destroy(gone, deed.now_ms, bypass=deed.bypass)
    deaths = death(deed, "deleted", gone.data, lock=lock_state(gone))
    return Change(removed=target, deaths=deaths)


def _put_above(
    deed: Deed, versioning: str, seen: Seen, row: VersionRow, random: RandomBytes, reason: str
) -> Change:
    """`row` becomes the first of the key."""
    null = replaces_null(versioning)
    stamp = hlc_after(deed.now_ms, seen.current[1].hlc if seen.current else 0)
    row = msgspec.structs.replace(row, hlc=stamp, modified_ms=deed.now_ms, null=null)
    added = (version_id(stamp, random), row)
    if null:
        if seen.null is None:
            return Change(added)
        gone = seen.null[1]
        may_destroy(gone, deed.now_ms, bypass=deed.bypass)
        return Change(added, seen.null, death(deed, reason, gone.data, lock=lock_state(gone)))
    covers = seen.current is not None and seen.current[1].null
    return Change(added, covered=seen.current[0] if seen.current and covers else None)
