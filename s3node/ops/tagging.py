"""Tags of objects, of their versions, and of buckets: get, put, delete.

Putting tags rewrites the row of one version, under the id it has, in the transaction that finds
it. Nothing becomes visible or vanishes by it (I2), so nothing is asked of locks (I6).
"""

from __future__ import annotations

from s3node.base.errors import S3Error
from s3node.meta import schema, tables
from s3node.meta.kv import WriteTx
from s3node.model import tags as model
from s3node.model.rows import ConfigurationRow
from s3node.model.tags import Tags
from s3node.ops import answers, lookup, parameters
from s3node.ops.body import read_document
from s3node.ops.context import Call, Node
from s3node.s3 import tagging
from s3node.s3.request import Response


async def get_object_tagging(node: Node, call: Call) -> Response:
    """GetObjectTagging: of the current version or of another one; perhaps none.

    https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObjectTagging.html
    """
    parameters.admit(call)
    bucket, found = node.kv.read(lambda tx: lookup.tagged_version(tx, call))
    answer = parameters.document(tagging.document(found[1].tags))
    answer.headers += answers.version(bucket, found)
    return answer


async def put_object_tagging(node: Node, call: Call) -> Response:
    """PutObjectTagging: these tags in place of those that are there.

    https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutObjectTagging.html
    """
    parameters.admit(call)
    tags = model.check_object_tags(await read_document(node, call, tagging.parse_document))
    return Response(headers=await _retag(node, call, tags))


async def delete_object_tagging(node: Node, call: Call) -> Response:
    """DeleteObjectTagging: all tags go, the version stays.

    https://docs.aws.amazon.com/AmazonS3/latest/API/API_DeleteObjectTagging.html
    """
    parameters.admit(call)
    return Response(status=204, headers=await _retag(node, call, ()))


async def _retag(node: Node, call: Call, tags: Tags) -> answers.HeaderList:
    """Give the version that the request means these tags; what the answer says of it."""

    def commit(tx: WriteTx) -> answers.HeaderList:
        bucket, (identity, row) = lookup.tagged_version(tx, call)
        changed = identity, model.retagged(row, tags)
        lookup.rewrite(tx, bucket, call.key, changed)
        return answers.version(bucket, changed)

    return await node.kv.write(commit)


async def get_bucket_tagging(node: Node, call: Call) -> Response:
    """GetBucketTagging; NoSuchTagSet where there are none.

    https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetBucketTagging.html
    """
    parameters.admit(call)
    row = node.kv.read(
        lambda tx: tables.get_configuration(
            tx, lookup.need_bucket(tx, call).bucket_id, schema.TAGGING
        )
    )
    if row is None:
        raise S3Error("NoSuchTagSet", BucketName=call.bucket)
    return parameters.document(row.content)


async def put_bucket_tagging(node: Node, call: Call) -> Response:
    """PutBucketTagging: these tags in place of those that are there; none at all is to delete.

    https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutBucketTagging.html
    """
    parameters.admit(call)
    tags = await read_document(node, call, tagging.parse_document)
    return await _set_bucket_tags(node, call, bucket_tags(node, call, tags))


def bucket_tags(node: Node, call: Call, tags: Tags) -> ConfigurationRow | None:
    """The row of these tags, if there may be such; None for none."""
    if not tags:
        return None
    content = tagging.document(model.check_bucket_tags(tags))
    return ConfigurationRow(content, node.clock.wall_ms(), call.identity.access_key)


async def delete_bucket_tagging(node: Node, call: Call) -> Response:
    """DeleteBucketTagging: 204 also where there are none.

    https://docs.aws.amazon.com/AmazonS3/latest/API/API_DeleteBucketTagging.html
    """
    parameters.admit(call)
    return await _set_bucket_tags(node, call, None)


async def _set_bucket_tags(node: Node, call: Call, row: ConfigurationRow | None) -> Response:
    def commit(tx: WriteTx) -> None:
        identity = lookup.need_bucket(tx, call).bucket_id
        if row is None:
            tables.delete_configuration(tx, identity, schema.TAGGING)
        else:
            tables.put_configuration(tx, identity, schema.TAGGING, row)

    await node.kv.write(commit)
    return Response(status=204)
