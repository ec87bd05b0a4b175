"""Preconditions of requests: RFC 9110 section 13 with S3's manners.

Order of evaluation (RFC 9110, 13.2.2): If-Match, else If-Unmodified-Since; then If-None-Match,
else If-Modified-Since. So an If-Match that holds outweighs an If-Unmodified-Since that does not,
and an If-None-Match that fails outweighs an If-Modified-Since that would pass; S3 documents just
that (https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html).

Etags are compared without quotes and weakness; times in whole seconds, as headers carry them.
"""

from __future__ import annotations

from typing import NamedTuple

from s3node.base.errors import S3Error

ANY = "*"


class Subject(NamedTuple):
    """What a condition is judged against."""

    etag: str
    modified_ms: int
    size: int


class Conditions(NamedTuple):
    """The four conditions of a read; None where the header is absent. Times in seconds."""

    match: tuple[str, ...] | None = None
    none_match: tuple[str, ...] | None = None
    modified_since: int | None = None
    unmodified_since: int | None = None


class WriteConditions(NamedTuple):
    """The conditions of a write: `match` is an etag (or ANY), `absent` is If-None-Match: *."""

    match: str | None = None
    absent: bool = False


class DeleteConditions(NamedTuple):
    """The conditions of a delete: an etag (or ANY), a size, a time in seconds; None: any."""

    match: str | None = None
    size: int | None = None
    modified: int | None = None


UNCONDITIONAL = DeleteConditions()


def _listed(etags: tuple[str, ...], etag: str) -> bool:
    return ANY in etags or etag in etags


def failed(conditions: Conditions, subject: Subject) -> str | None:
    """The header whose condition does not hold, or None."""
    modified_s = subject.modified_ms // 1000
    if conditions.match is not None:
        if not _listed(conditions.match, subject.etag):
            return "If-Match"
    elif conditions.unmodified_since is not None and modified_s > conditions.unmodified_since:
        return "If-Unmodified-Since"
    if conditions.none_match is not None:
        if _listed(conditions.none_match, subject.etag):
            return "If-None-Match"
    elif conditions.modified_since is not None and modified_s <= conditions.modified_since:
        return "If-Modified-Since"
    return None


def check_read(conditions: Conditions, subject: Subject) -> bool:
    """True to answer with the object, False to answer 304; PreconditionFailed otherwise."""
    header = failed(conditions, subject)
    if header in {"If-None-Match", "If-Modified-Since"}:
        return False
    if header is not None:
        raise S3Error("PreconditionFailed", Condition=header)
    return True


def check_copy_source(conditions: Conditions, subject: Subject) -> None:
    """A copy has no 304: whatever does not hold is PreconditionFailed."""
    header = failed(conditions, subject)
    if header is not None:
        raise S3Error("PreconditionFailed", Condition=f"x-amz-copy-source-{header}")


def check_write(conditions: WriteConditions, current: Subject | None, key: str) -> None:
    """A conditional PUT, copy or Complete against the current object (None: there is none).

    https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html: If-Match on a
    key that is not there is 404, everything else that does not hold is 412. The 409 that S3
    answers to races does not arise here: the condition is judged inside the transaction.
    """
    if conditions.absent and current is not None:
        raise S3Error("PreconditionFailed", Condition="If-None-Match")
    if conditions.match is None:
        return
    if current is None:
        raise S3Error("NoSuchKey", Key=key)
    if conditions.match not in {ANY, current.etag}:
        raise S3Error("PreconditionFailed", Condition="If-Match")


def check_delete(
    conditions: DeleteConditions, target: Subject | None, key: str, *, marker: bool = False
) -> None:
    """A conditional delete; what it would delete, or hide, has to be as the client saw it.

    A delete marker (`marker`) is no object, so that no condition holds of it; but 404 is for what
    is not there at all.

    https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-deletes.html
    """
    if conditions == UNCONDITIONAL:
        return
    if marker:
        raise S3Error("PreconditionFailed", Condition="If-Match")
    if target is None:
        raise S3Error("NoSuchKey", Key=key)
    if conditions.match not in {None, ANY, target.etag}:
        raise S3Error("PreconditionFailed", Condition="If-Match")
    if conditions.size not in {None, target.size}:
        raise S3Error("PreconditionFailed", Condition="x-amz-if-match-size")
    if conditions.modified not in {None, target.modified_ms // 1000}:
        raise S3Error("PreconditionFailed", Condition="x-amz-if-match-last-modified-time")
