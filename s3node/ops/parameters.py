"""What a request asks for, in the model's words; and small answers.

The meaning of single headers is `s3.headers`' business. Here it is put together for operations:
which conditions a write may have, what a page of a listing is, what is refused because nothing
would honour it.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from s3node.base.errors import S3Error
from s3node.model import conditions, tokens
from s3node.model.conditions import ANY, UNCONDITIONAL, DeleteConditions, WriteConditions
from s3node.model.multipart import Listed
from s3node.model.rows import VersionRow
from s3node.model.tags import check_object_tags
from s3node.ops.context import Call, Node
from s3node.s3 import checksums, headers, tagging
from s3node.s3.deleting import ObjectToDelete
from s3node.s3.documents import ListedPart
from s3node.s3.headers import CopySource, ETags
from s3node.s3.request import Headers, Request, Response

INTEGER_MAX = (1 << 31) - 1
_INTEGER = re.compile(r"-?[0-9]{1,19}\Z")

Pairs = tuple[tuple[str, str], ...]


def admit(call: Call, *built: str) -> None:
    """Refuse what the operation would not honour, and an owner who is not the owner.

    `built` names the headers that it does honour although most operations do not.
    """
    if call.request.headers.plain:
        return
    headers.refuse_unbuilt(call.request, built)
    headers.check_expected_owner(call.request.headers, call.identity.owner_id)


def document(body: bytes) -> Response:
    """An XML answer."""
    return Response(headers=[("content-type", "application/xml")], body=body)


def _invalid(name: str, value: str, message: str) -> S3Error:
    return S3Error("InvalidArgument", message, ArgumentName=name, ArgumentValue=value)


def _unbuilt(name: str) -> S3Error:
    return S3Error("NotImplemented", Header=name)


# --- query parameters ------------------------------------------------------------------------


def integer(
    request: Request, name: str, most: int, *, default: int | None = None, least: int = 0
) -> int:
    """A count: `default` (else `most`) when absent, never more than `most`."""
    return _integer(name, request.param(name) or "", most, default, least)


def integer_header(request: Request, name: str, most: int, *, default: int | None = None) -> int:
    """The same of a header."""
    return _integer(name, request.headers.get(name) or "", most, default, 0)


def _integer(name: str, text: str, most: int, default: int | None, least: int) -> int:
    if not text:
        return most if default is None else default
    if not _INTEGER.match(text):
        raise _invalid(name, text, f"Provided {name} not an integer or within integer range")
    if not least <= int(text) <= INTEGER_MAX:
        message = f"Argument {name} must be an integer between {least} and {INTEGER_MAX}"
        raise _invalid(name, text, message)
    return min(int(text), most)


def truth(request: Request, name: str) -> bool:
    text = request.param(name) or "false"
    if text.lower() not in {"true", "false"}:
        raise _invalid(name, text, f"{name} must be true or false")
    return text.lower() == "true"


def encoding(request: Request) -> str:
    """encoding-type: "url" or nothing."""
    text = request.param("encoding-type") or ""
    if text not in {"", "url"}:
        raise _invalid("encoding-type", text, "Invalid Encoding Method specified in Request")
    return text


def open_token(node: Node, scope: tokens.Scope, token: str) -> bytes:
    """The entry a continuation token stands for."""
    entry = tokens.open_token(node.token_key, scope, token)
    if entry is None:
        raise _invalid("continuation-token", token, "The continuation token provided is incorrect")
    return entry


# --- conditions ------------------------------------------------------------------------------


def _seconds(ms: int | None) -> int | None:
    return None if ms is None else ms // 1000


def _etags(tags: ETags | None, *, weakly: bool) -> tuple[str, ...] | None:
    """Tags as the model compares them: weak ones count for If-None-Match only."""
    if tags is None:
        return None
    return (ANY,) if tags.any else tags.strong + (tags.weak if weakly else ())


_UNCONDITIONAL = conditions.Conditions()
_UNCONDITIONAL_WRITE = WriteConditions()


def read_conditions(request: Request, prefix: str = "") -> conditions.Conditions:
    """The preconditions of a read, or with a prefix those of a copy's source."""
    if request.headers.plain:
        return _UNCONDITIONAL
    found = headers.parse_conditions(request.headers, prefix)
    if not found:
        return _UNCONDITIONAL
    return conditions.Conditions(
        match=_etags(found.if_match, weakly=False),
        none_match=_etags(found.if_none_match, weakly=True),
        modified_since=_seconds(found.if_modified_since_ms),
        unmodified_since=_seconds(found.if_unmodified_since_ms),
    )


def _no_dates(request: Request) -> None:
    for name in ("if-modified-since", "if-unmodified-since"):
        if name in request.headers:
            raise _unbuilt(name)


def write_conditions(request: Request) -> WriteConditions:
    """If-None-Match: * or If-Match with one etag; S3 implements no others for writes."""
    if request.headers.plain:
        return _UNCONDITIONAL_WRITE
    _no_dates(request)
    absent = headers.parse_etags(request.headers.get("if-none-match"), "if-none-match")
    match = headers.parse_etags(request.headers.get("if-match"), "if-match")
    if absent is not None and (not absent.any or match is not None):
        raise _unbuilt("If-None-Match")
    if match is None:
        return WriteConditions(absent=absent is not None)
    if match.any or match.weak or len(match.strong) != 1:
        raise _unbuilt("If-Match")
    return WriteConditions(match=match.strong[0])


DELETE_CONDITIONS = ("x-amz-if-match-size", "x-amz-if-match-last-modified-time")


def delete_conditions(request: Request) -> DeleteConditions:
    """If-Match with * or one etag; a size; a time of last modification."""
    if request.headers.plain:
        return UNCONDITIONAL
    _no_dates(request)
    if "if-none-match" in request.headers:
        raise _unbuilt("If-None-Match")
    size, modified = (request.headers.get(name) for name in DELETE_CONDITIONS)
    return DeleteConditions(
        _deleted_etag(request.headers.get("if-match")),
        None if size is None else _count(DELETE_CONDITIONS[0], size),
        None if modified is None else _moment(DELETE_CONDITIONS[1], modified),
    )


def target_conditions(target: ObjectToDelete) -> DeleteConditions:
    """The same of one object of a DeleteObjects."""
    return DeleteConditions(
        _deleted_etag(target.etag),
        None if target.size is None else _count("Size", target.size),
        None if target.modified is None else _moment("LastModifiedTime", target.modified),
    )


def _deleted_etag(value: str | None) -> str | None:
    match = headers.parse_etags(value)
    if match is None:
        return None
    if match.any:
        return ANY
    if match.weak or len(match.strong) != 1:
        raise _unbuilt("If-Match")
    return match.strong[0]


def _count(name: str, value: str) -> int:
    if not _INTEGER.match(value) or int(value) < 0:
        raise _invalid(name, value, f"Invalid {name}")
    return int(value)


def _moment(name: str, value: str) -> int:
    seconds = headers.parse_time(value)
    if seconds is None:
        raise _invalid(name, value, f"Invalid {name}")
    return seconds


def range_applies(request: Request, row: VersionRow) -> bool:
    """If-Range (RFC 9110, 13.1.5): the range is for this very representation, or for none."""
    value = request.headers.get("if-range")
    if value is None:
        return True
    date = headers.parse_http_date(value)
    if date is not None:
        return date == row.modified_ms // 1000
    return value.removeprefix('"').removesuffix('"') == row.etag


# --- objects ---------------------------------------------------------------------------------


class StoredHeaders(NamedTuple):
    """What of a request's headers is kept with an object."""

    system: Pairs  # with the website redirect, which answers repeat like the others
    metadata: Pairs
    storage_class: str
    tags: Pairs = ()


def stored_headers(request: Request) -> StoredHeaders:
    """System headers, website redirect, user metadata, storage class, tags."""
    if request.headers.plain:
        return _DEFAULT
    return _stored_headers(request)


def _stored_headers(request: Request) -> StoredHeaders:
    return StoredHeaders(
        headers.system_headers(request.headers) + _redirect(request),
        headers.user_metadata(request.headers),
        headers.storage_class(request.headers),
        check_object_tags(tagging.parse_header(request.headers.get(tagging.HEADER) or "")),
    )


def _redirect(request: Request) -> Pairs:
    value = headers.website_redirect(request.headers)
    return () if value is None else ((headers.WEBSITE_REDIRECT, value),)


def copied_headers(request: Request, kept: Pairs) -> Pairs:
    """What a copy takes over of its source's headers: all but the redirect, which it has of its
    own or not at all (see "CopyObject" for x-amz-website-redirect-location)."""
    others = tuple(pair for pair in kept if pair[0] != headers.WEBSITE_REDIRECT)
    return others + _redirect(request)


_DEFAULT = StoredHeaders(headers.system_headers(Headers(())), (), "STANDARD")


def need_part_number(request: Request) -> int:
    """The partNumber of an operation that is about a part."""
    number = headers.part_number(request)
    assert number is not None, "the route says there is a part number"
    return number


def copy_source(request: Request) -> CopySource:
    value = request.headers.get("x-amz-copy-source")
    assert value is not None, "the route says there is a source"
    return headers.parse_copy_source(value)


def copy_range(request: Request, size: int) -> tuple[int, int]:
    """The source bytes start..stop of an UploadPartCopy: all of them, or a range within."""
    value = request.headers.get("x-amz-copy-source-range")
    if value is None:
        return 0, size
    first, last = headers.parse_copy_range(value)
    if last >= size:
        raise _invalid(
            "x-amz-copy-source-range",
            value,
            f"Range specified is not valid for source object of size: {size}",
        )
    return first, last + 1


# --- checksums -------------------------------------------------------------------------------


def algorithm(request: Request) -> str:
    """x-amz-checksum-algorithm as the table spells it, or ""."""
    value = request.headers.get("x-amz-checksum-algorithm")
    return checksums.named(value).name if value is not None else ""


def checksum_type(request: Request, name: str) -> str:
    """The checksum type of a new upload; "" without an algorithm."""
    wanted = request.headers.get("x-amz-checksum-type")
    if name:
        return checksums.multipart_type(checksums.ALGORITHMS[name], wanted)
    if wanted is not None:
        raise S3Error(
            "InvalidRequest",
            "The x-amz-checksum-type header can only be used with the "
            "x-amz-checksum-algorithm header.",
        )
    return ""


_COUNTED = re.compile(r"([^-]*)-([1-9][0-9]{0,4})\Z")


class Claimed(NamedTuple):
    """The checksum that an object made of parts is said to have; of so many parts, if told."""

    algorithm: str
    digest: bytes
    parts: int | None


def claimed_checksum(request: Request) -> Claimed | None:
    """What a Complete says the object's checksum is. A composite one may have its count of parts
    behind it, as S3 shows it, or not."""
    found = [name for name in request.headers.names() if name in checksums.BY_HEADER]
    if len(found) > 1:
        raise S3Error(
            "InvalidRequest",
            "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.",
        )
    if not found:
        return None
    algorithm = checksums.BY_HEADER[found[0]]
    value = request.headers.get(found[0]) or ""
    counted = _COUNTED.match(value)
    try:
        digest = checksums.parse(algorithm, counted[1] if counted else value)
    except ValueError:
        raise S3Error("InvalidRequest", f"Value for {found[0]} header is invalid.") from None
    return Claimed(algorithm.name, digest, int(counted[2]) if counted else None)


def object_size(request: Request) -> int | None:
    """x-amz-mp-object-size."""
    value = request.headers.get("x-amz-mp-object-size")
    if value is None:
        return None
    if not _INTEGER.match(value):
        raise S3Error("InvalidRequest", "Value for x-amz-mp-object-size header is invalid.")
    if int(value) < 0:
        raise S3Error(
            "InvalidRequest",
            f"Value for x-amz-mp-object-size header is less than zero: '{value}'",
        )
    return int(value)


def listed_part(part: ListedPart) -> Listed:
    """A part of a Complete, its checksum decoded."""
    if not part.checksums:
        return Listed(part.number, part.etag)
    name, value = next(iter(part.checksums.items()))
    try:
        digest = checksums.parse(checksums.ALGORITHMS[name], value)
    except ValueError:
        digest = b""
    if not digest or len(part.checksums) > 1:
        raise S3Error(
            "InvalidArgument",
            "Invalid Base64 or multiple checksums present in request",
            ArgumentName="Checksum",
            ArgumentValue=value,
        )
    return Listed(part.number, part.etag, (name, digest))
