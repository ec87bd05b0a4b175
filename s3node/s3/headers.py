"""What request headers mean, as plain values: ranges, conditions, dates, metadata, copy sources.

Parsing only: whether a condition holds, or a source may be read, is decided elsewhere. Values
are text in latin-1 (the wire's bytes), kept exactly as given where they are stored. A setting
that this node would not enforce is refused by `refuse_unbuilt`, not ignored.

Sources: RFC 9110 (14 ranges, 13.1 conditions, 8.8.3 entity tags, 5.6.7 dates); "GetObject",
"PutObject", "CopyObject", "UploadPartCopy" and "Common request headers" of the Amazon S3 API
Reference; "Working with object metadata" of the User Guide (2 KB of user metadata).
"""

from __future__ import annotations

import calendar
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from s3node.base.errors import S3Error
from s3node.base.limits import (
    PART_NUMBER_MAX,
    USER_METADATA_BYTES_MAX,
    WEBSITE_REDIRECT_CHARACTERS_MAX,
)
from s3node.s3.request import Headers, Request, check_bucket_name, check_key, decode

METADATA_PREFIX = "x-amz-meta-"
OPTIONAL_ATTRIBUTES = "x-amz-optional-object-attributes"
WEBSITE_REDIRECT = "x-amz-website-redirect-location"
CONTENT_TYPE_DEFAULT = "binary/octet-stream"

SYSTEM_HEADERS = (
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-language",
    "content-type",
    "expires",
)
STORAGE_CLASSES = frozenset(
    {
        "STANDARD",
        "REDUCED_REDUNDANCY",
        "STANDARD_IA",
        "ONEZONE_IA",
        "INTELLIGENT_TIERING",
        "GLACIER",
        "GLACIER_IR",
        "DEEP_ARCHIVE",
    }
)
_REDIRECT_PREFIXES = ("/", "http://", "https://")
_OVERRIDES = frozenset(
    (
        "response-cache-control",
        "response-content-disposition",
        "response-content-encoding",
        "response-content-language",
        "response-content-type",
        "response-expires",
    )
)

_RANGE = re.compile(r"bytes=[ \t]*([0-9]*)-([0-9]*)[ \t]*\Z", re.IGNORECASE)
_COPY_RANGE = re.compile(r"bytes=([0-9]{1,19})-([0-9]{1,19})\Z")
_PART_NUMBER = re.compile(r"[0-9]{1,9}\Z")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_ETAG = re.compile(r'[ \t]*(?:(W/)?"([^"]*)"|([^\s",]+))[ \t]*(?:,|\Z)')


# Ranges and parts ---------------------------------------------------------------------------


class Range(NamedTuple):
    """The bytes start <= offset < stop."""

    start: int
    stop: int


def parse_range(value: str | None, size: int) -> Range | None:
    """The part of `size` bytes that a Range header asks for.

    None means the whole object: no header, several ranges, another unit, or broken syntax, all
    of which S3 ignores. InvalidRange when no byte of it exists.
    """
    match = _RANGE.match(value) if value else None
    if value is None or match is None or not (match[1] or match[2]):
        return None
    first, last = match[1], match[2]
    if not first:
        length = min(_bounded(last), size)
        start, stop = size - length, size
    else:
        start = _bounded(first)
        stop = min(_bounded(last) + 1, size) if last else size
        if last and _bounded(last) < start:
            return None
    if start >= stop:
        raise S3Error("InvalidRange", RangeRequested=value, ActualObjectSize=str(size))
    return Range(start, stop)


def _bounded(digits: str) -> int:
    """The number; beyond any object's size its exact value does not matter."""
    digits = digits.lstrip("0")  # a thousand of them are no number to Python
    return int(digits or "0") if len(digits) < 20 else 1 << 64


def parse_copy_range(value: str) -> tuple[int, int]:
    """(first, last) of an x-amz-copy-source-range, both inclusive."""
    match = _COPY_RANGE.match(value)
    if match is None or int(match[1]) > int(match[2]):
        raise S3Error(
            "InvalidArgument",
            "The x-amz-copy-source-range value must be of the form bytes=first-last where first "
            "and last are the zero-based offsets of the first and last bytes to copy",
            ArgumentName="x-amz-copy-source-range",
            ArgumentValue=value,
        )
    return int(match[1]), int(match[2])


def part_number(request: Request) -> int | None:
    """The partNumber parameter, 1..10000, or None when it is not there."""
    value = request.param("partNumber")
    if value is None:
        return None
    if not _PART_NUMBER.match(value) or not 1 <= int(value) <= PART_NUMBER_MAX:
        raise S3Error(
            "InvalidArgument",
            f"Part number must be an integer between 1 and {PART_NUMBER_MAX}, inclusive",
            ArgumentName="partNumber",
            ArgumentValue=value,
        )
    return int(value)


# Dates --------------------------------------------------------------------------------------

_MONTHS = "JanFebMarAprMayJunJulAugSepOctNovDec"
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_CLOCK = r"([0-9]{2}):([0-9]{2}):([0-9]{2})"
_IMF_DATE = re.compile(r"[A-Za-z]{3}, ([0-9]{2}) ([A-Z][a-z]{2}) ([0-9]{4}) " + _CLOCK + " GMT\\Z")
_RFC850_DATE = re.compile(
    r"[A-Za-z]{6,9}, ([0-9]{2})-([A-Z][a-z]{2})-([0-9]{2}) " + _CLOCK + " GMT\\Z"
)
_ASCTIME_DATE = re.compile(
    r"[A-Za-z]{3} ([A-Z][a-z]{2}) ([ 0-9][0-9]) " + _CLOCK + r" ([0-9]{4})\Z"
)
_TWO_DIGIT_PIVOT = 70  # RFC 850 years 70..99 are 19xx: HTTP is younger than both


def parse_http_date(value: str) -> int | None:
    """Seconds since 1970 of an HTTP date in any of its three forms; None if it is none."""
    if match := _IMF_DATE.match(value):
        day, month, year, *clock = match.groups()
    elif match := _RFC850_DATE.match(value):
        day, month, short, *clock = match.groups()
        year = ("19" if int(short) >= _TWO_DIGIT_PIVOT else "20") + short
    elif match := _ASCTIME_DATE.match(value):
        month, day, *clock, year = match.groups()
    else:
        return None
    at = _MONTHS.find(month)
    if at % 3:
        return None
    hour, minute, second = map(int, clock)
    return utc_seconds((int(year), at // 3 + 1, int(day), hour, minute, second))


def utc_seconds(date: tuple[int, ...]) -> int | None:
    """Seconds since 1970 of (year, month, day, hour, minute, second); None if there is no such."""
    year, month, day, hour, minute, second = date
    if year < 1 or not 1 <= month <= 12 or hour > 23 or minute > 59 or second > 60:
        return None
    if not 1 <= day <= calendar.monthrange(year, month)[1]:
        return None
    return calendar.timegm(date)


_ISO_DATE = re.compile(r"([0-9]{4})-([0-9]{2})-([0-9]{2})T" + _CLOCK + r"(?:\.[0-9]{1,9})?Z\Z")


def parse_time(value: str) -> int | None:
    """Seconds since 1970 of an HTTP date or an ISO 8601 one; None if it is none."""
    if match := _ISO_DATE.match(value):
        return utc_seconds(tuple(map(int, match.groups())))
    return parse_http_date(value)


def http_date(ms: int) -> str:
    """An IMF-fixdate; S3's clocks for Last-Modified have whole seconds."""
    return _date(ms // 1000)


@lru_cache(1024)
def _date(seconds: int) -> str:
    at = time.gmtime(seconds)
    month = _MONTHS[at.tm_mon * 3 - 3 : at.tm_mon * 3]
    clock = f"{at.tm_hour:02}:{at.tm_min:02}:{at.tm_sec:02}"
    return f"{_DAYS[at.tm_wday]}, {at.tm_mday:02} {month} {at.tm_year:04} {clock} GMT"


# Conditions ---------------------------------------------------------------------------------


class ETags(NamedTuple):
    """An If-Match or If-None-Match list. Weak tags never match strongly (If-Match)."""

    any: bool  # "*"
    strong: tuple[str, ...] = ()
    weak: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Conditions:
    """The preconditions of a request; dates in milliseconds since 1970, None when absent."""

    if_match: ETags | None = None
    if_none_match: ETags | None = None
    if_modified_since_ms: int | None = None
    if_unmodified_since_ms: int | None = None

    def __bool__(self) -> bool:
        return self != _UNCONDITIONAL


_UNCONDITIONAL = Conditions()
_CONDITIONS = ("if-match", "if-none-match", "if-modified-since", "if-unmodified-since")


def parse_conditions(headers: Headers, prefix: str = "") -> Conditions:
    """The preconditions; with prefix ``x-amz-copy-source-`` those of a copy's source.

    Dates that are no dates are ignored, as RFC 9110 wants it.
    """
    if not any(prefix + name in headers for name in _CONDITIONS):
        return _UNCONDITIONAL
    match, none_match = prefix + "if-match", prefix + "if-none-match"
    return Conditions(
        parse_etags(headers.get(match), match),
        parse_etags(headers.get(none_match), none_match),
        _date_ms(headers.get(prefix + "if-modified-since")),
        _date_ms(headers.get(prefix + "if-unmodified-since")),
    )


def parse_etags(value: str | None, name: str = "ETag") -> ETags | None:
    """The tags of a list, quotes optional, of the header `name`; InvalidArgument if it is none."""
    if value is None:
        return None
    if value == "*":
        return ETags(True)
    strong: list[str] = []
    weak: list[str] = []
    at = 0
    while at < len(value):
        match = _ETAG.match(value, at)
        if match is None:
            raise _malformed(name, value, "An entity tag is malformed.")
        tag = match[2] if match[3] is None else match[3]
        (weak if match[1] else strong).append(tag)
        at = match.end()
    if not strong and not weak:
        raise _malformed(name, value, "An entity tag is malformed.")
    return ETags(False, tuple(strong), tuple(weak))


def _date_ms(value: str | None) -> int | None:
    seconds = None if value is None else parse_http_date(value)
    return None if seconds is None else seconds * 1000


# What is stored with an object --------------------------------------------------------------


def _malformed(name: str, value: str, message: str) -> S3Error:
    return S3Error("InvalidArgument", message, ArgumentName=name, ArgumentValue=value)


def user_metadata(headers: Headers) -> tuple[tuple[str, str], ...]:
    """x-amz-meta-* without the prefix, in order, as given (RFC 2047 words too)."""
    pairs = tuple(
        (name[len(METADATA_PREFIX) :], value)
        for name, value in headers.items()
        if name.startswith(METADATA_PREFIX)
    )
    for name, value in pairs:
        if not name or _CONTROL.search(value):
            raise _malformed(METADATA_PREFIX + name, value, "A user metadata header is malformed.")
    size = sum(len(name) + len(value) for name, value in pairs)
    if size > USER_METADATA_BYTES_MAX:
        raise S3Error(
            "MetadataTooLarge", Size=str(size), MaxSizeAllowed=str(USER_METADATA_BYTES_MAX)
        )
    return pairs


def system_headers(headers: Headers) -> tuple[tuple[str, str], ...]:
    """The headers that come back with the object, exactly as given; content-type always.

    `aws-chunked` is how the request was framed, not how the object is encoded, and is left out.
    """
    found: list[tuple[str, str]] = []
    for name in SYSTEM_HEADERS:
        value = headers.get(name)
        if value is not None and _CONTROL.search(value):
            raise _malformed(name, value, f"The header {name} is malformed.")
        if name == "content-encoding" and value is not None:
            value = _without_framing(value)
        elif name == "content-type":
            value = value or CONTENT_TYPE_DEFAULT
        if value:
            found.append((name, value))
    return tuple(found)


def _without_framing(value: str) -> str:
    codings = value.split(",")
    kept = [coding for coding in codings if coding.strip(" \t").lower() != "aws-chunked"]
    return value if len(kept) == len(codings) else ",".join(kept).strip(" \t")


def storage_class(headers: Headers) -> str:
    """x-amz-storage-class, STANDARD when absent; InvalidStorageClass for an unknown one."""
    value = headers.get("x-amz-storage-class", "STANDARD")
    if value not in STORAGE_CLASSES:
        raise S3Error("InvalidStorageClass", StorageClassRequested=value or "")
    return value


def website_redirect(headers: Headers) -> str | None:
    """x-amz-website-redirect-location as given; InvalidRedirectLocation for what is no place.

    https://docs.aws.amazon.com/AmazonS3/latest/userguide/how-to-page-redirect.html (the prefixes;
    the limit and both texts are those that S3 sends).
    """
    value = headers.get(WEBSITE_REDIRECT)
    if value is None:
        return None
    if not value.startswith(_REDIRECT_PREFIXES) or _CONTROL.search(value):
        raise S3Error("InvalidRedirectLocation")
    if len(value) > WEBSITE_REDIRECT_CHARACTERS_MAX:
        raise S3Error(
            "InvalidRedirectLocation",
            "The length of website redirect location cannot exceed "
            f"{WEBSITE_REDIRECT_CHARACTERS_MAX:,} characters.",
        )
    return value


def check_optional_attributes(headers: Headers) -> None:
    """x-amz-optional-object-attributes asks for what only objects under restoration have."""
    for name in (headers.get(OPTIONAL_ATTRIBUTES) or "").split(","):
        if name.strip(" \t") not in {"", "RestoreStatus"}:
            raise S3Error(
                "InvalidArgument",
                "Invalid attribute name specified.",
                ArgumentName=OPTIONAL_ATTRIBUTES,
                ArgumentValue=name,
            )


def response_overrides(request: Request, *, anonymous: bool) -> dict[str, str]:
    """What response-* parameters replace in the answer to a signed GET or HEAD."""
    if _OVERRIDES.isdisjoint(request.query):
        return {}
    found = {name: value for name, value in request.query.items() if name in _OVERRIDES}
    if found and anonymous:
        raise S3Error(
            "InvalidRequest",
            "Request specific response headers cannot be used for anonymous GET requests.",
        )
    for name, value in found.items():
        if _CONTROL.search(value):
            raise S3Error(
                "InvalidArgument",
                "Header value cannot contain control characters.",
                ArgumentName=name,
                ArgumentValue=value,
            )
    return {
        name.removeprefix("response-"): value.encode("utf-8").decode("latin-1")
        for name, value in found.items()
    }


# Copies -------------------------------------------------------------------------------------


class CopySource(NamedTuple):
    bucket: str
    key: str
    version_id: str | None


def parse_copy_source(value: str) -> CopySource:
    """``bucket/key?versionId=id``, a leading slash allowed; percent-decoded once.

    What is no version id at all ("" too) is told where versions are looked up.
    """
    path, _, tail = value.removeprefix("/").partition("?")
    bucket_text, slash, key_text = path.partition("/")
    version_id: str | None = None
    if tail:
        name, _, version_id = tail.partition("=")
        if name != "versionId":
            raise _bad_copy_source(value)
    if not slash or not bucket_text or not key_text or bucket_text.startswith("arn:"):
        raise _bad_copy_source(value)
    try:
        bucket = decode(bucket_text.encode("latin-1")).decode("utf-8")
        key = decode(key_text.encode("latin-1"))
        if version_id is not None:
            version_id = decode(version_id.encode("latin-1")).decode("utf-8")
    except S3Error:
        raise _bad_copy_source(value) from None
    check_bucket_name(bucket)
    check_key(key)
    return CopySource(bucket, key.decode("utf-8"), version_id)


def _bad_copy_source(value: str) -> S3Error:
    return S3Error(
        "InvalidArgument",
        "Copy Source must mention the source bucket and key: sourcebucket/sourcekey",
        ArgumentName="x-amz-copy-source",
        ArgumentValue=value,
    )


def directive(headers: Headers, name: str) -> str:
    """COPY or REPLACE of x-amz-metadata-directive or x-amz-tagging-directive."""
    value = headers.get(name, "COPY") or ""
    if value not in ("COPY", "REPLACE"):
        raise S3Error(
            "InvalidArgument",
            f"Unknown {name.removeprefix('x-amz-').replace('-', ' ')}.",
            ArgumentName=name,
            ArgumentValue=value,
        )
    return value


# What is not built --------------------------------------------------------------------------

# Values that ask for nothing beyond what this node does anyway.
_HARMLESS: Mapping[str, frozenset[str]] = {
    "x-amz-acl": frozenset({"private", "bucket-owner-full-control"}),
    "x-amz-bucket-namespace": frozenset({"global"}),
    "x-amz-bucket-object-lock-enabled": frozenset({"false", "False", "FALSE"}),
    "x-amz-bypass-governance-retention": frozenset({"false", "False", "FALSE"}),
    "x-amz-object-annotation-directive": frozenset({"COPY", "EXCLUDE"}),  # there are none
    "x-amz-object-ownership": frozenset({"BucketOwnerEnforced"}),
}
_UNBUILT = frozenset(
    {
        *_HARMLESS,
        "x-amz-if-match-initiated-time",
        "x-amz-if-match-last-modified-time",
        "x-amz-if-match-size",
        "x-amz-mfa",
        "x-amz-request-payer",
        "x-amz-write-offset-bytes",
    }
)
_UNBUILT_PREFIXES = (
    "x-amz-copy-source-server-side-encryption",
    "x-amz-grant-",
    "x-amz-object-lock-",
    "x-amz-server-side-encryption",
)


def refuse_unbuilt(request: Request, built: tuple[str, ...] = ()) -> None:
    """NotImplemented for a header that asks for something this node would not do.

    `built`: names that this very operation does honour, and others do not.
    """
    for name, value in request.headers.items():
        unbuilt = name in _UNBUILT or name.startswith(_UNBUILT_PREFIXES)
        if unbuilt and name not in built and value not in _HARMLESS.get(name, ()):
            raise S3Error(
                "NotImplemented",
                f"A header you provided implies functionality that is not implemented: {name}",
                Header=name,
            )


def check_expected_owner(
    headers: Headers, owner_id: str, name: str = "x-amz-expected-bucket-owner"
) -> None:
    """AccessDenied when the client expects the bucket to be somebody else's."""
    expected = headers.get(name)
    if expected is not None and expected != owner_id:
        raise S3Error("AccessDenied")
