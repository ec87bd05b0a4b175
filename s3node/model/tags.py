"""Tags of objects and buckets: what a set of them may be, and how a version gets another one.

https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-tagging.html (counts, lengths in
UTF-16, letter case), https://docs.aws.amazon.com/AmazonS3/latest/API/API_control_Tag.html (which
characters) and "InvalidTag" on the page of error responses. The texts of the refusals are those
that S3 sends, which differ for objects and buckets; it documents none of them.

A version's tags are the one thing about it that may change, whatever its lock says: they say
nothing of its bytes, and a lock protects those.
"""

from __future__ import annotations

from unicodedata import category

import msgspec

from s3node.base.errors import S3Error
from s3node.base.limits import (
    BUCKET_TAGS_MAX,
    OBJECT_TAGS_MAX,
    TAG_KEY_UNITS_MAX,
    TAG_VALUE_UNITS_MAX,
)
from s3node.model.rows import VersionRow

Tags = tuple[tuple[str, str], ...]

_SIGNS = frozenset("_.:/=+-@")
_KINDS = frozenset("LNZ")  # letters, numbers, separators
_RESERVED = "aws:"


def check_object_tags(tags: Tags) -> Tags:
    """The same, or InvalidTag or BadRequest."""
    if len(tags) > OBJECT_TAGS_MAX:
        raise S3Error("BadRequest", f"Object tags cannot be greater than {OBJECT_TAGS_MAX}")
    return _checked(tags, f"Your TagKey cannot be prefixed with {_RESERVED}")


def check_bucket_tags(tags: Tags) -> Tags:
    """The same, or InvalidTag or BadRequest."""
    if len(tags) > BUCKET_TAGS_MAX:
        raise S3Error("BadRequest", f"Bucket tag count cannot be greater than {BUCKET_TAGS_MAX}")
    return _checked(tags, "System tags cannot be added/updated by requester")


def _checked(tags: Tags, reserved: str) -> Tags:
    seen: set[str] = set()
    for key, value in tags:
        if not key or not _fits(key, TAG_KEY_UNITS_MAX):
            raise S3Error("InvalidTag", "The TagKey you have provided is invalid", TagKey=key)
        if not _fits(value, TAG_VALUE_UNITS_MAX):
            message = "The TagValue you have provided is invalid"
            raise S3Error("InvalidTag", message, TagKey=key, TagValue=value)
        if key.lower().startswith(_RESERVED):
            raise S3Error("InvalidTag", reserved, TagKey=key)
        if key in seen:
            message = "Cannot provide multiple Tags with the same key"
            raise S3Error("InvalidTag", message, TagKey=key)
        seen.add(key)
    return tags


def _fits(text: str, most: int) -> bool:
    units = len(text) + sum(character > "\uffff" for character in text)
    return units <= most and all(
        character in _SIGNS or category(character)[0] in _KINDS for character in text
    )


def retagged(row: VersionRow, tags: Tags) -> VersionRow:
    """The same version with these tags: nothing else of it changes, its age least of all."""
    assert not row.delete_marker, "a delete marker has no tags"
    return msgspec.structs.replace(row, tags=check_object_tags(tags))
