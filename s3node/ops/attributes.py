"""GetObjectAttributes: what HeadObject and ListParts would tell, in one document."""

from __future__ import annotations

from base64 import b64encode
from bisect import bisect_right

from s3node.base.limits import LIST_ENTRIES_MAX, PART_NUMBER_MAX
from s3node.model.conditions import check_read
from s3node.model.rows import Checksum, VersionRow
from s3node.model.versions import subject
from s3node.ops import answers, lookup, parameters
from s3node.ops.context import Call, Node
from s3node.s3 import attributes
from s3node.s3.attributes import Attributes, Part, Parts
from s3node.s3.headers import http_date
from s3node.s3.request import Response


async def get_object_attributes(node: Node, call: Call) -> Response:
    """GetObjectAttributes.

    https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObjectAttributes.html
    """
    request = call.request
    parameters.admit(call)
    wanted = attributes.wanted(request.headers)
    most = parameters.integer_header(request, "x-amz-max-parts", LIST_ENTRIES_MAX)
    after = parameters.integer_header(
        request, "x-amz-part-number-marker", PART_NUMBER_MAX, default=0
    )
    bucket, found = node.kv.read(lambda tx: lookup.asked_version(tx, call))
    row = found[1]
    seen = subject(found)
    assert seen is not None, "need_version gives no delete markers"
    headers = answers.version(bucket, found)
    if not check_read(parameters.read_conditions(request), seen):
        return Response(status=304, headers=[*answers.validators(row), *headers])
    answer = parameters.document(_document(row, wanted, most, after))
    answer.headers += [("last-modified", http_date(row.modified_ms)), *headers]
    return answer


def _document(row: VersionRow, wanted: frozenset[str], most: int, after: int) -> bytes:
    checksum = row.checksum
    shows = attributes.OBJECT_PARTS in wanted and row.parts > 0
    found = Attributes(
        etag=row.etag if attributes.ETAG in wanted else None,
        checksum=_bare(checksum) if checksum and attributes.CHECKSUM in wanted else None,
        checksum_type=answers.checksum_kind(checksum),
        parts=parts_page(row, most, after) if shows else None,
        storage_class=row.storage_class if attributes.STORAGE_CLASS in wanted else None,
        size=row.size if attributes.OBJECT_SIZE in wanted else None,
    )
    return attributes.document(found, checksum.algorithm if checksum else "")


def _bare(checksum: Checksum) -> tuple[str, str]:
    """(algorithm, value). Here alone a composite is shown without the count of its parts, as at
    S3: PartsCount tells it.
    """
    return checksum.algorithm, b64encode(checksum.digest).decode()


def parts_page(row: VersionRow, most: int, after: int) -> Parts:
    """The page of at most `most` parts whose numbers are above `after`."""
    if row.checksum is None:
        return Parts(row.parts)
    begin = bisect_right(row.data, after, key=lambda data: data.part)
    page = row.data[begin : begin + most]
    listed = [
        Part(data.part, data.size, b64encode(digest).decode())
        for data, digest in zip(page, row.part_checksums[begin:], strict=False)
    ]
    return Parts(
        total=row.parts,
        marker=after,
        next_marker=listed[-1].number if listed else 0,
        most=most,
        truncated=most > 0 and begin + len(page) < len(row.data),
        listed=listed,
    )
