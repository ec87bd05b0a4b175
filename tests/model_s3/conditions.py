"""Conditional requests, as the pages have them.

Reads: GetObject and HeadObject of the API Reference, and RFC 9110 section 13. Writes: "How to
prevent object overwrites with conditional writes". Deletes: "How to perform conditional deletes"
of the User Guide.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from email.utils import parsedate_to_datetime

from tests.model_s3.reply import Reply
from tests.model_s3.state import Version

FAILED = 412


def failed(condition: str) -> Reply:
    return Reply(FAILED, "PreconditionFailed", fields={"Condition": condition})


def matches(etag: str, wanted: str) -> bool:
    """A list of entity tags, or `*`. S3 takes them without quotes too."""
    return wanted.strip() == "*" or etag in [each.strip().strip('"') for each in wanted.split(",")]


def read(version: Version, asked: Mapping[str, str]) -> str | None:
    """The header that fails, in the names of the request; None when all hold."""
    modified = version.modified
    assert modified is not None
    if "if-match" in asked:
        if not matches(version.etag, asked["if-match"]):
            return "If-Match"
    elif "if-unmodified-since" in asked and modified > _date(asked["if-unmodified-since"]):
        return "If-Unmodified-Since"
    if "if-none-match" in asked:
        if matches(version.etag, asked["if-none-match"]):
            return "If-None-Match"
    elif "if-modified-since" in asked and modified <= _date(asked["if-modified-since"]):
        return "If-Modified-Since"
    return None


def _date(text: str) -> datetime:
    return parsedate_to_datetime(text)


def not_implemented(header: str) -> Reply:
    return Reply(501, "NotImplemented", fields={"Header": header})


def unwritable(asked: Mapping[str, str]) -> Reply | None:
    """What no write may ask, whatever is there."""
    wanted, unwanted = asked.get("if-match"), asked.get("if-none-match")
    if wanted is not None and unwanted is not None:
        return Reply(501, "NotImplemented")
    if unwanted not in (None, "*"):
        return not_implemented("If-None-Match")
    return not_implemented("If-Match") if wanted == "*" else None


def write(key: str, live: Version | None, asked: Mapping[str, str]) -> Reply | None:
    """Why an object is not written; None when it is."""
    refused = unwritable(asked)
    if refused is not None:
        return refused
    if "if-none-match" in asked:
        return failed("If-None-Match") if live else None
    wanted = asked.get("if-match")
    if wanted is None:
        return None
    if live is None:
        return Reply(404, "NoSuchKey", fields={"Key": key})
    return None if matches(live.etag, wanted) else failed("If-Match")


def delete(key: str, current: Version | None, wanted: str | None) -> Reply | None:
    """Why nothing is deleted. A delete marker is no object that exists, but it is there."""
    if wanted is None:
        return None
    if current is None:
        return Reply(404, "NoSuchKey", fields={"Key": key})
    if current.is_marker or not matches(current.etag, wanted):
        return failed("If-Match")
    return None
