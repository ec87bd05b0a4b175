"""Buckets: create, head, delete, list, and where they are."""

from __future__ import annotations

from s3node.base.errors import S3Error
from s3node.base.ids import BUCKET_ID_BYTES
from s3node.base.limits import LIST_BUCKETS_MAX
from s3node.meta import schema, tables
from s3node.meta.kv import ReadTx, WriteTx
from s3node.model import tokens
from s3node.model.rows import BucketRow
from s3node.model.versions import Deed
from s3node.ops import lookup, parameters
from s3node.ops.body import read_document
from s3node.ops.context import Call, Node, deed
from s3node.ops.multipart import abort_upload
from s3node.ops.tagging import bucket_tags
from s3node.s3 import documents
from s3node.s3.request import Response

FIRST_REGION = "us-east-1"
"""Where S3 answers the repeated creation of one's own bucket with 200."""


def _check_region(node: Node, constraint: str) -> None:
    """No constraint means here; any other place is not."""
    if constraint not in {"", node.region}:
        raise S3Error(
            "IllegalLocationConstraintException",
            f"The {constraint} location constraint is incompatible for the region specific "
            "endpoint this request was sent to.",
        )


async def create_bucket(node: Node, call: Call) -> Response:
    """CreateBucket. Lock and ownership settings that nothing would enforce are refused.

    Tags are of a bucket that is made; one that is there keeps those it has.

    https://docs.aws.amazon.com/AmazonS3/latest/API/API_CreateBucket.html
    """
    parameters.admit(call)
    wanted = await read_document(node, call, documents.parse_create_bucket)
    _check_region(node, wanted.constraint)
    tags = bucket_tags(node, call, wanted.tags)
    now_ms = node.clock.wall_ms()

    def create(tx: WriteTx) -> None:
        existing = tables.get_bucket(tx, call.bucket)
        if existing is None:
            identity = node.random(BUCKET_ID_BYTES)
            row = BucketRow(identity, now_ms, call.identity.owner_id, node.region)
            tables.put_bucket(tx, call.bucket, row)
            if tags is not None:
                tables.put_configuration(tx, identity, schema.TAGGING, tags)
        elif existing.owner != call.identity.owner_id:
            raise S3Error("BucketAlreadyExists", BucketName=call.bucket)
        elif node.region != FIRST_REGION:
            raise S3Error("BucketAlreadyOwnedByYou", BucketName=call.bucket)

    await node.kv.write(create)
    return Response(headers=[("location", f"/{call.bucket}")])


async def head_bucket(node: Node, call: Call) -> Response:
    """HeadBucket: is it there, may I, and where is it."""
    parameters.admit(call)
    bucket = node.kv.read(lambda tx: lookup.need_bucket(tx, call))
    return Response(
        headers=[
            ("content-type", "application/xml"),
            ("x-amz-bucket-region", bucket.region),
            ("x-amz-access-point-alias", "false"),
        ]
    )


async def get_bucket_location(node: Node, call: Call) -> Response:
    """GetBucketLocation."""
    parameters.admit(call)
    bucket = node.kv.read(lambda tx: lookup.need_bucket(tx, call))
    return parameters.document(documents.bucket_location(bucket.region))


async def delete_bucket(node: Node, call: Call) -> Response:
    """DeleteBucket: only without versions. Unfinished uploads do not keep a bucket; they go
    first, each in a transaction of its own, and only once the bucket is seen to be empty."""
    parameters.admit(call)
    done = deed(node, call)
    while not await node.kv.write(lambda tx: _delete_some(tx, node, call, done)):
        pass
    return Response(status=204)


def _delete_some(tx: WriteTx, node: Node, call: Call, done: Deed) -> bool:
    """Delete one upload of an empty bucket, or the bucket when none is left: then True."""
    bucket = lookup.need_bucket(tx, call)
    if next(tables.scan_versions(tx, bucket.bucket_id), None) is not None:
        raise S3Error("BucketNotEmpty", BucketName=call.bucket)
    upload = next(tables.scan_uploads(tx, bucket.bucket_id), None)
    if upload is None:
        tables.delete_bucket(tx, call.bucket)
        tables.delete_configurations(tx, bucket.bucket_id)
        tables.delete_usage(tx, bucket.bucket_id)
        return True
    key, identity, _row = upload
    abort_upload(tx, node, bucket, done._replace(key=key.decode()), identity)
    return False


async def list_buckets(node: Node, call: Call) -> Response:
    """ListBuckets, whole or in pages.

    https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListBuckets.html
    """
    parameters.admit(call)
    request = call.request
    limit = parameters.integer(request, "max-buckets", LIST_BUCKETS_MAX, least=1)
    prefix = request.param("prefix") or ""
    region = request.param("bucket-region")
    caller = call.identity.owner_id.encode()
    scope = (b"buckets", caller, prefix.encode(), (region or "").encode())
    after = ""
    given = request.param("continuation-token")
    if given is not None:
        after = parameters.open_token(node, scope, given).decode()

    def page(tx: ReadTx) -> list[tuple[str, BucketRow]]:
        found = []
        for name, row in tables.scan_buckets(tx, after):
            wanted = name.startswith(prefix) and region in {None, row.region}
            if wanted and row.owner == call.identity.owner_id:
                found.append((name, row))
            if len(found) > limit:
                break
        return found

    found = node.kv.read(page)
    token = None
    if len(found) > limit:
        del found[limit:]
        token = tokens.seal(node.token_key, scope, found[-1][0].encode())
    paged = any(request.has(name) for name in ("max-buckets", "prefix", "bucket-region"))
    rows = [(name, row.created_ms, row.region if paged else None) for name, row in found]
    return parameters.document(
        documents.list_buckets(node.owner, rows, prefix=request.param("prefix"), token=token)
    )
