"""PutObject: receive, store, then make visible by one transaction."""

from __future__ import annotations

from typing import NamedTuple

from s3node.base.errors import S3Error
from s3node.base.limits import INLINE_BYTES_MAX
from s3node.meta.kv import ReadTx, WriteTx
from s3node.model.conditions import WriteConditions
from s3node.model.rows import BucketRow, VersionRow
from s3node.model.versions import may_put, plan_put
from s3node.ops import answers, lookup, parameters
from s3node.ops.body import Sums, receive
from s3node.ops.context import Call, Node, Written, deed
from s3node.s3.request import Response


class Stored(NamedTuple):
    """A version that has become visible, and the header that tells its id."""

    row: VersionRow
    headers: answers.HeaderList


async def put_object(node: Node, call: Call) -> Response:
    """PutObject. Refused before the body is asked for where that can be known.

    https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutObject.html
    """
    parameters.admit(call)
    kept = parameters.stored_headers(call.request)
    conditions = parameters.write_conditions(call.request)
    if call.payload.length > INLINE_BYTES_MAX or "expect" in call.request.headers:
        node.kv.read(lambda tx: check_put(tx, node, call, conditions))
        return await store(node, call, kept, conditions)
    try:  # a small body comes with its head: the transaction refuses it as soon
        return await store(node, call, kept, conditions)
    except S3Error:
        # What may not be written at all is told before what is wrong with the body.
        node.kv.read(lambda tx: check_put(tx, node, call, conditions))
        raise


async def store(
    node: Node, call: Call, kept: parameters.StoredHeaders, conditions: WriteConditions
) -> Response:
    """Receive and verify all of it, then commit."""
    sums = Sums(call)
    pieces, payload = receive(call), call.payload
    written = await node.objects.write(
        pieces, sums.update, payload.length, md5=sums.md5, crc64=sums.crc64, exact=payload.exact
    )
    try:
        totals = sums.finish()
        row = VersionRow(
            hlc=0,
            modified_ms=0,
            size=written.size,
            etag=totals.md5.hex(),
            digest=written.digest,
            inline=written.inline,
            data=(written.data,) if written.data else (),
            headers=kept.system,
            metadata=kept.metadata,
            checksum=totals.checksum,
            sha256=totals.sha256,
            owner=call.identity.owner_id,
            storage_class=kept.storage_class,
            tags=kept.tags,
        )
        stored = await node.kv.write(lambda tx: commit(tx, node, call, row, conditions, written))
    finally:
        node.objects.release(written)
    headers = [("etag", f'"{row.etag}"'), *answers.checksum(row.checksum), *stored.headers]
    return Response(headers=headers)


def check_put(tx: ReadTx, node: Node, call: Call, conditions: WriteConditions) -> BucketRow:
    """The early refusal of a write: bucket, conditions, lock."""
    bucket = lookup.need_bucket(tx, call)
    may_put(deed(node, call, call.key), lookup.seen(tx, bucket, call.key), conditions)
    return bucket


def commit(
    tx: WriteTx,
    node: Node,
    call: Call,
    row: VersionRow,
    conditions: WriteConditions,
    written: Written | None,
) -> Stored:
    """The decision once more where it counts, then rows and locations; returns what is stored."""
    bucket = lookup.need_bucket(tx, call)
    seen = lookup.seen(tx, bucket, call.key)
    done = deed(node, call, call.key)
    change = plan_put(done, bucket.versioning, seen, conditions, row, node.random)
    lookup.apply(tx, node, bucket, done, change)
    if written is not None:
        node.objects.stage(tx, written)
    assert change.added is not None
    return Stored(change.added[1], answers.new_version(bucket, change.added))
