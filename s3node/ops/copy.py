"""CopyObject and UploadPartCopy: real copies, read verified and written anew.

The copy's etag is the MD5 of its bytes, also when the source was made of parts; its checksum is
the one that was asked for, else of the source's algorithm, over the whole.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import NamedTuple

from s3node.base.errors import S3Error
from s3node.base.limits import UPLOAD_BYTES_MAX
from s3node.base.shares import Client
from s3node.meta.kv import ReadTx
from s3node.model.conditions import check_copy_source
from s3node.model.multipart import part_algorithm
from s3node.model.rows import BucketRow, PartRow, VersionRow
from s3node.model.versions import Version, subject
from s3node.ops import answers, lookup, parameters
from s3node.ops.body import DEFAULT_ALGORITHM, Hashes
from s3node.ops.context import Call, Node, Written
from s3node.ops.multipart import store_part
from s3node.ops.put import check_put, commit
from s3node.s3 import documents
from s3node.s3.headers import WEBSITE_REDIRECT, CopySource, check_expected_owner, directive
from s3node.s3.request import Response

COPY_SOURCE = "x-amz-copy-source"


class _Copied(NamedTuple):
    written: Written
    hashes: Hashes


class _Source(NamedTuple):
    """The version that is copied, and the header that tells its id."""

    row: VersionRow
    headers: answers.HeaderList


def _source(node: Node, call: Call, source: CopySource) -> _Source:
    """The version to copy, if it is there, the caller's, and meets the conditions."""

    def find(tx: ReadTx) -> tuple[BucketRow, Version]:
        bucket = lookup.need_bucket(tx, call, source.bucket)
        found = lookup.find_version(tx, bucket, source.key, source.version_id, COPY_SOURCE)
        if found is not None and found[1].delete_marker and source.version_id is not None:
            raise S3Error(
                "InvalidRequest",
                "The source of a copy request may not specifically refer to a delete marker by "
                "version id.",
            )
        return bucket, lookup.need_version(tx, bucket, source.key, source.version_id)

    check_expected_owner(
        call.request.headers, call.identity.owner_id, "x-amz-source-expected-bucket-owner"
    )
    bucket, found = node.kv.read(find)
    seen = subject(found)
    assert seen is not None, "need_version gives no delete markers"
    check_copy_source(parameters.read_conditions(call.request, "x-amz-copy-source-"), seen)
    told = answers.version(bucket, found)
    return _Source(found[1], [("x-amz-copy-source-version-id", value) for _, value in told])


def _check_size(size: int) -> None:
    if size > UPLOAD_BYTES_MAX:
        raise S3Error(
            "InvalidRequest",
            "The specified copy source is larger than the maximum allowable size for a copy "
            f"source: {UPLOAD_BYTES_MAX}",
        )


async def _pieces(
    node: Node, row: VersionRow, start: int, stop: int
) -> AsyncGenerator[memoryview, None]:
    stream = await node.objects.read(row, start, stop)
    try:
        async for views in stream:
            for view in views:
                yield view
    finally:
        close = getattr(stream, "aclose", None)
        if close is not None:
            await close()  # what it holds of the buffer budget goes back at once


async def _copy(
    node: Node,
    client: Client,
    row: VersionRow,
    start: int,
    stop: int,
    algorithm: str,
    *,
    inline: bool,
) -> _Copied:
    hashes = Hashes(algorithm)
    pieces_of = _pieces(node, row, start, stop)
    async with node.copies.turn(client), aclosing(pieces_of) as pieces:
        written = await node.objects.write(
            pieces, hashes.update, stop - start, md5=hashes.md5, crc64=hashes.crc64, inline=inline
        )
    return _Copied(written, hashes)


_CHANGES = ("x-amz-storage-class", WEBSITE_REDIRECT)


def _check_changes(call: Call, source: CopySource) -> None:
    """A copy onto itself that keeps the metadata changes nothing: a mistake.

    To name what it should have counts as a change, also where it has it; tags do not.
    """
    if any(name in call.request.headers for name in _CHANGES):
        return
    if (source.bucket, source.key) == (call.bucket, call.key) and source.version_id is None:
        raise S3Error(
            "InvalidRequest",
            "This copy request is illegal because it is trying to copy an object to itself "
            "without changing the object's metadata, storage class, website redirect location "
            "or encryption attributes.",
        )


async def copy_object(node: Node, call: Call) -> Response:
    """CopyObject.

    https://docs.aws.amazon.com/AmazonS3/latest/API/API_CopyObject.html
    """
    parameters.admit(call)
    source = parameters.copy_source(call.request)
    replace = directive(call.request.headers, "x-amz-metadata-directive") == "REPLACE"
    retag = directive(call.request.headers, "x-amz-tagging-directive") == "REPLACE"
    kept = parameters.stored_headers(call.request)
    conditions = parameters.write_conditions(call.request)
    asked = parameters.algorithm(call.request)
    node.kv.read(lambda tx: check_put(tx, node, call, conditions))
    found = _source(node, call, source)
    origin = found.row
    _check_size(origin.size)
    if not replace:
        _check_changes(call, source)
    algorithm = asked or (origin.checksum.algorithm if origin.checksum else DEFAULT_ALGORITHM)
    written, hashes = await _copy(node, call.client, origin, 0, origin.size, algorithm, inline=True)
    try:
        row = VersionRow(
            hlc=0,
            modified_ms=0,
            size=written.size,
            etag=hashes.md5.hexdigest(),
            digest=written.digest,
            inline=written.inline,
            data=(written.data,) if written.data else (),
            headers=kept.system
            if replace
            else parameters.copied_headers(call.request, origin.headers),
            metadata=kept.metadata if replace else origin.metadata,
            checksum=hashes.checksum(),
            owner=call.identity.owner_id,
            storage_class=kept.storage_class,
            tags=kept.tags if retag else origin.tags,
        )
        stored = await node.kv.write(lambda tx: commit(tx, node, call, row, conditions, written))
    finally:
        node.objects.release(written)
    row = stored.row
    answer = parameters.document(
        documents.copy_result(
            row.etag,
            row.modified_ms,
            answers.checksum_pair(row.checksum),
            answers.checksum_kind(row.checksum),
        )
    )
    answer.headers += stored.headers + found.headers
    return answer


async def upload_part_copy(node: Node, call: Call) -> Response:
    """UploadPartCopy: a part whose bytes come from an object, whole or a range of it.

    https://docs.aws.amazon.com/AmazonS3/latest/API/API_UploadPartCopy.html
    """
    parameters.admit(call)
    number = parameters.need_part_number(call.request)
    source = parameters.copy_source(call.request)
    _, upload = node.kv.read(lambda tx: lookup.need_upload(tx, lookup.need_bucket(tx, call), call))
    found = _source(node, call, source)
    start, stop = parameters.copy_range(call.request, found.row.size)
    _check_size(stop - start)
    algorithm = upload.checksum_algorithm or DEFAULT_ALGORITHM
    algorithm = part_algorithm(upload, algorithm, DEFAULT_ALGORITHM)
    written, hashes = await _copy(
        node, call.client, found.row, start, stop, algorithm, inline=False
    )
    try:
        part = PartRow(
            size=written.size,
            etag=hashes.md5.hexdigest(),
            digest=written.digest,
            modified_ms=node.clock.wall_ms(),
            data=written.data,
            checksum=hashes.checksum(),
        )
        await node.kv.write(lambda tx: store_part(tx, node, call, number, part, written))
    finally:
        node.objects.release(written)
    answer = parameters.document(
        documents.copy_result(
            part.etag, part.modified_ms, answers.checksum_pair(part.checksum), "", part=True
        )
    )
    answer.headers += found.headers
    return answer
