"""Multipart uploads: create, upload a part, complete, abort.

A part's bytes are durable and its row visible before UploadPart answers; Complete moves no
bytes, it lists data ids. What is replaced, left out or aborted gets a death row (I5).
"""

from __future__ import annotations

from itertools import islice
from typing import NamedTuple

from s3node.base.clock import hlc_after
from s3node.base.errors import S3Error
from s3node.base.ids import upload_id
from s3node.base.limits import VERSIONS_SINCE_MAX
from s3node.meta import tables
from s3node.meta.kv import ReadTx, WriteTx
from s3node.model import multipart
from s3node.model.conditions import WriteConditions
from s3node.model.multipart import Listed
from s3node.model.rows import BucketRow, Checksum, PartRow, UploadRow
from s3node.model.versions import Deed, Version, part_death
from s3node.ops import answers, lookup, parameters
from s3node.ops.body import Sums, combined, read_document, receive
from s3node.ops.context import Call, Node, Written, deed
from s3node.ops.parameters import Claimed
from s3node.ops.put import Stored, check_put, commit
from s3node.s3 import documents
from s3node.s3.checksums import ALGORITHMS
from s3node.s3.request import Response


async def create_multipart_upload(node: Node, call: Call) -> Response:
    """CreateMultipartUpload.

    https://docs.aws.amazon.com/AmazonS3/latest/API/API_CreateMultipartUpload.html
    """
    parameters.admit(call)
    kept = parameters.stored_headers(call.request)
    algorithm = parameters.algorithm(call.request)
    kind = parameters.checksum_type(call.request, algorithm)
    now_ms = node.clock.wall_ms()
    identity = upload_id(hlc_after(now_ms, 0), node.random)
    row = UploadRow(
        initiated_ms=now_ms,
        owner=call.identity.owner_id,
        headers=kept.system,
        metadata=kept.metadata,
        checksum_algorithm=algorithm,
        checksum_type=kind,
        storage_class=kept.storage_class,
        tags=kept.tags,
    )

    def create(tx: WriteTx) -> None:
        bucket = lookup.need_bucket(tx, call)
        tables.put_upload(tx, bucket.bucket_id, call.key.encode(), identity, row)

    await node.kv.write(create)
    answer = parameters.document(documents.initiate_result(call.bucket, call.key, identity.hex()))
    if algorithm:
        answer.headers += [
            ("x-amz-checksum-algorithm", algorithm),
            ("x-amz-checksum-type", kind),
        ]
    return answer


async def upload_part(node: Node, call: Call) -> Response:
    """UploadPart: a part that is there already is replaced.

    https://docs.aws.amazon.com/AmazonS3/latest/API/API_UploadPart.html
    """
    parameters.admit(call)
    number = parameters.need_part_number(call.request)
    _, upload = node.kv.read(lambda tx: lookup.need_upload(tx, lookup.need_bucket(tx, call), call))
    sums = Sums(call, upload)
    length = call.payload.length
    pieces = receive(call)
    written = await node.objects.write(
        pieces, sums.update, length, md5=sums.md5, crc64=sums.crc64, inline=False
    )
    try:
        totals = sums.finish()
        part = PartRow(
            size=written.size,
            etag=totals.md5.hex(),
            digest=written.digest,
            modified_ms=node.clock.wall_ms(),
            data=written.data,
            checksum=totals.checksum,
            sha256=totals.sha256,
        )
        await node.kv.write(lambda tx: store_part(tx, node, call, number, part, written))
    finally:
        node.objects.release(written)
    headers = answers.checksum(part.checksum)[:1]
    return Response(headers=[("etag", f'"{part.etag}"'), *headers])


def store_part(
    tx: WriteTx, node: Node, call: Call, number: int, part: PartRow, written: Written
) -> None:
    """The part's row and locations, if its upload is still there; the death of the one before."""
    bucket = lookup.need_bucket(tx, call)
    identity, _ = lookup.need_upload(tx, bucket, call)
    before = tables.get_part(tx, identity, number)
    if before is not None:
        done = deed(node, call, call.key)
        lookup.put_deaths(tx, node, done, part_death(done, "replaced part", [before]))
    tables.put_part(tx, identity, number, part)
    node.objects.stage(tx, written)


async def abort_multipart_upload(node: Node, call: Call) -> Response:
    """AbortMultipartUpload."""
    parameters.admit(call)
    done = deed(node, call, call.key)

    def abort(tx: WriteTx) -> None:
        bucket = lookup.need_bucket(tx, call)
        identity, _ = lookup.need_upload(tx, bucket, call)
        abort_upload(tx, node, bucket, done, identity)

    await node.kv.write(abort)
    return Response(status=204)


def abort_upload(tx: WriteTx, node: Node, bucket: BucketRow, done: Deed, identity: bytes) -> None:
    """The upload and all its parts vanish."""
    parts = dict(tables.scan_parts(tx, identity))
    _remove_upload(tx, bucket, done.key.encode(), identity, parts)
    lookup.put_deaths(tx, node, done, part_death(done, "aborted", parts.values()))


def _remove_upload(
    tx: WriteTx, bucket: BucketRow, key: bytes, identity: bytes, parts: dict[int, PartRow]
) -> None:
    for number in parts:
        tables.delete_part(tx, identity, number)
    tables.delete_upload(tx, bucket.bucket_id, key, identity)


class _Wanted(NamedTuple):
    """What a Complete asks for."""

    identity: bytes
    listed: list[Listed]
    conditions: WriteConditions
    checksum: Claimed | None
    kind: str  # x-amz-checksum-type
    size: int | None  # x-amz-mp-object-size


async def complete_multipart_upload(node: Node, call: Call) -> Response:
    """CompleteMultipartUpload: the parts become a version by one transaction (I2).

    The part rows of the largest upload fit into that transaction: 10,000 deletions, one version
    row of 10,000 data ids. Sent again after it succeeded, it answers the same again, as long as
    what it made is there, among the key's `VERSIONS_SINCE_MAX` newest versions.

    https://docs.aws.amazon.com/AmazonS3/latest/API/API_CompleteMultipartUpload.html
    """
    parameters.admit(call)
    request = call.request
    identity = multipart.parse_upload_id(request.param("uploadId") or "")
    conditions = parameters.write_conditions(request)
    listed = await read_document(node, call, _parse_complete)
    wanted = _Wanted(
        identity,
        listed,
        conditions,
        parameters.claimed_checksum(request),
        (request.headers.get("x-amz-checksum-type") or "").upper(),
        parameters.object_size(request),
    )
    stored = await node.kv.write(lambda tx: _complete(tx, node, call, wanted))
    row = stored.row
    location = answers.location(request, documents.url_encoded(call.key))
    answer = parameters.document(
        documents.complete_result(
            location,
            call.bucket,
            call.key,
            row.etag,
            checksum=answers.checksum_pair(row.checksum),
            checksum_type=answers.checksum_kind(row.checksum),
        )
    )
    answer.headers += stored.headers
    return answer


def _parse_complete(data: bytes) -> list[Listed]:
    return [parameters.listed_part(part) for part in documents.parse_complete(data, ALGORITHMS)]


def _complete(tx: WriteTx, node: Node, call: Call, wanted: _Wanted) -> Stored:
    bucket = lookup.need_bucket(tx, call)
    key = call.key.encode()
    upload = tables.get_upload(tx, bucket.bucket_id, key, wanted.identity)
    if upload is None:
        before = _completed_before(tx, bucket, key, wanted)
        return Stored(before[1], answers.new_version(bucket, before))
    check_put(tx, node, call, wanted.conditions)
    parts = dict(tables.scan_parts(tx, wanted.identity))
    chosen = multipart.select(upload, wanted.identity, parts, wanted.listed)
    checksum = combined(upload, chosen)
    _check_whole(upload, chosen, checksum, wanted)
    numbers = [item.number for item in wanted.listed]
    row = multipart.completed(upload, wanted.identity, numbers, chosen, checksum)
    stored = commit(tx, node, call, row, wanted.conditions, None)
    _remove_upload(tx, bucket, key, wanted.identity, parts)
    taken = set(numbers)
    unlisted = [part for number, part in parts.items() if number not in taken]
    done = deed(node, call, call.key)
    lookup.put_deaths(tx, node, done, part_death(done, "unlisted part", unlisted))
    return stored


def _completed_before(tx: ReadTx, bucket: BucketRow, key: bytes, wanted: _Wanted) -> Version:
    """The version this Complete made when it was sent the first time, or NoSuchUpload."""
    scan = tables.scan_versions_as(tx, bucket.bucket_id, tables.outline_version, key)
    for found, identity, outline in islice(scan, VERSIONS_SINCE_MAX):
        if found != key:
            break
        if multipart.completed_before(outline, wanted.identity, wanted.listed):
            row = tables.get_version(tx, bucket.bucket_id, key, identity)
            assert row is not None, "it was there a moment ago"
            return identity, row
    raise S3Error("NoSuchUpload", UploadId=wanted.identity.hex())


def _check_whole(
    upload: UploadRow, chosen: list[PartRow], checksum: Checksum | None, wanted: _Wanted
) -> None:
    """What the Complete claims about the whole object must be so."""
    size = sum(part.size for part in chosen)
    if wanted.size is not None and wanted.size != size:
        raise S3Error(
            "InvalidRequest",
            f"The provided 'x-amz-mp-object-size' header value {wanted.size} does not match "
            f"what was computed: {size}",
        )
    kind = answers.checksum_kind(checksum)
    if wanted.kind and (checksum is None or wanted.kind != kind):
        raise S3Error(
            "InvalidRequest",
            f"The upload was created using the {upload.checksum_type or kind} checksum mode. "
            "The complete request must use the same checksum mode.",
        )
    claimed = wanted.checksum
    if claimed is None:
        return
    if checksum is None or checksum.algorithm != claimed.algorithm:
        raise S3Error(
            "InvalidRequest",
            f"The upload was not created with the {claimed.algorithm.lower()} checksum algorithm.",
        )
    parts = checksum.parts if checksum.composite else None
    if claimed.digest != checksum.digest or claimed.parts not in {None, parts}:
        raise S3Error(
            "BadDigest",
            f"The {claimed.algorithm.lower()} you specified did not match the calculated checksum.",
        )
