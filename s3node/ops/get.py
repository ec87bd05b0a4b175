"""GetObject and HeadObject: the same decisions, with and without the bytes."""

from __future__ import annotations

from typing import NamedTuple

from s3node.base.errors import S3Error
from s3node.meta.kv import ReadTx
from s3node.model.conditions import check_read
from s3node.model.rows import BucketRow, Checksum, VersionRow
from s3node.model.versions import Version, subject
from s3node.ops import answers, lookup, parameters
from s3node.ops.context import Call, Node
from s3node.s3 import headers as s3_headers
from s3node.s3.request import Request, Response


class Span(NamedTuple):
    """The bytes start..stop of a version that are asked for, and how to say so."""

    start: int
    stop: int
    partial: bool
    checksum: Checksum | None
    parts: int = 0  # x-amz-mp-parts-count, with partNumber only


def _part_span(row: VersionRow, number: int) -> Span:
    """The bytes of one part; an object that was not made of parts is its own part 1."""
    if row.parts == 0:
        if number != 1:
            raise S3Error("InvalidPartNumber", ActualPartCount="1", PartNumberRequested=str(number))
        return Span(0, row.size, row.size > 0, row.checksum)
    start = 0
    for index, data in enumerate(row.data):
        if data.part == number:
            return Span(
                start, start + data.size, data.size > 0, _part_checksum(row, index), row.parts
            )
        start += data.size
    raise S3Error(
        "InvalidPartNumber", ActualPartCount=str(row.parts), PartNumberRequested=str(number)
    )


def _part_checksum(row: VersionRow, index: int) -> Checksum | None:
    if row.checksum is None or not row.part_checksums[index]:
        return None
    return Checksum(row.checksum.algorithm, row.part_checksums[index], row.checksum.composite)


def _span(request: Request, row: VersionRow) -> Span:
    """What of the version is wanted: all, a range of it, or a part."""
    part = s3_headers.part_number(request)
    wanted = request.headers.get("range")
    if part is not None:
        if wanted is not None:
            raise S3Error(
                "InvalidRequest",
                "Cannot specify both Range header and partNumber query parameter",
            )
        return _part_span(row, part)
    if wanted is not None and parameters.range_applies(request, row):
        found = s3_headers.parse_range(wanted, row.size)
        if found is not None:
            return Span(*found, partial=True, checksum=None)
    return Span(0, row.size, False, row.checksum)


def _not_modified(row: VersionRow, headers: list[tuple[str, str]]) -> Response:
    """304 says what a cache needs to go on, and nothing about the bytes."""
    keep = {"cache-control", "expires", "x-amz-version-id"}
    kept = [item for item in headers if item[0] in keep]
    return Response(status=304, headers=[*answers.validators(row), *kept])


def _wanted(request: Request, found: Version) -> bool:
    """Whether the conditions of a read want it sent."""
    if request.headers.plain:
        return True
    judged = subject(found)
    assert judged is not None, "need_version gives no delete markers"
    return check_read(parameters.read_conditions(request), judged)


class _Answer(NamedTuple):
    row: VersionRow
    span: Span
    response: Response


def _prepare(node: Node, call: Call) -> _Answer:
    """Everything but the bytes."""
    request = call.request
    parameters.admit(call)
    overrides = s3_headers.response_overrides(request, anonymous=call.identity.anonymous)
    version = request.param("versionId")

    def find(tx: ReadTx) -> tuple[BucketRow, Version]:
        bucket = lookup.need_bucket(tx, call)
        found = lookup.need_version(tx, bucket, call.key, version, method=request.method)
        return bucket, found

    bucket, (identity, row) = node.kv.read(find)
    headers = answers.object_headers(row, overrides)
    headers += answers.version(bucket, (identity, row))
    if not _wanted(request, (identity, row)):
        return _Answer(row, Span(0, 0, False, None), _not_modified(row, headers))
    span = _span(request, row)
    headers.append(("accept-ranges", "bytes"))
    headers += answers.validators(row)
    if span.parts:
        headers.append(("x-amz-mp-parts-count", str(span.parts)))
    if (request.headers.get("x-amz-checksum-mode") or "").upper() == "ENABLED":
        headers += answers.checksum(span.checksum)
    length = span.stop - span.start
    if not span.partial:
        return _Answer(row, span, Response(200, headers, length=length))
    headers.append(("content-range", f"bytes {span.start}-{span.stop - 1}/{row.size}"))
    return _Answer(row, span, Response(206, headers, length=length))


async def head_object(node: Node, call: Call) -> Response:
    """HeadObject.

    https://docs.aws.amazon.com/AmazonS3/latest/API/API_HeadObject.html
    """
    return _prepare(node, call).response


async def get_object(node: Node, call: Call) -> Response:
    """GetObject: whole, by ranges, or by part number; verified before it leaves (I7).

    https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html
    """
    row, span, response = _prepare(node, call)
    if response.status == 304 or span.start == span.stop:
        return response
    if row.inline is not None:  # verified with its row
        response.body = row.inline[span.start : span.stop]
    else:
        response.stream = await node.objects.read(row, span.start, span.stop)
    return response
