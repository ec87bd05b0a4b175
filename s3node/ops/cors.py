"""A bucket's CORS rules: put, get, delete, and what they say to browsers."""

from __future__ import annotations

from s3node.base.errors import S3Error
from s3node.base.limits import CORS_BYTES_MAX
from s3node.meta import tables
from s3node.meta.kv import ReadTx, WriteTx
from s3node.meta.schema import CORS
from s3node.model.rows import ConfigurationRow
from s3node.ops import lookup, parameters
from s3node.ops.body import read_document, require_digest
from s3node.ops.context import Call, Node
from s3node.s3 import cors
from s3node.s3.request import Request, Response


async def put_bucket_cors(node: Node, call: Call) -> Response:
    """PutBucketCors: these rules in the place of those that were.

    https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutBucketCors.html
    """
    parameters.admit(call)
    require_digest(call)
    if call.payload.length > CORS_BYTES_MAX:
        raise cors.too_long()
    content = cors.render(await read_document(node, call, cors.parse))
    row = ConfigurationRow(content, node.clock.wall_ms(), call.identity.access_key)

    def put(tx: WriteTx) -> None:
        bucket = lookup.need_bucket(tx, call)
        tables.put_configuration(tx, bucket.bucket_id, CORS, row)

    await node.kv.write(put)
    return Response()


async def get_bucket_cors(node: Node, call: Call) -> Response:
    """GetBucketCors.

    https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetBucketCors.html
    """
    parameters.admit(call)

    def get(tx: ReadTx) -> ConfigurationRow | None:
        return tables.get_configuration(tx, lookup.need_bucket(tx, call).bucket_id, CORS)

    row = node.kv.read(get)
    if row is None:
        raise S3Error("NoSuchCORSConfiguration", BucketName=call.bucket)
    return parameters.document(row.content)


async def delete_bucket_cors(node: Node, call: Call) -> Response:
    """DeleteBucketCors; it succeeds too where there are none.

    https://docs.aws.amazon.com/AmazonS3/latest/API/API_DeleteBucketCors.html
    """
    parameters.admit(call)

    def delete(tx: WriteTx) -> None:
        bucket = lookup.need_bucket(tx, call)
        tables.delete_configuration(tx, bucket.bucket_id, CORS)

    await node.kv.write(delete)
    return Response(status=204)


async def preflight(node: Node, call: Call) -> Response:
    """OPTIONS object: may a script of that origin do what it is about to? Asked by a browser on
    its own, so that it carries no signature; a presigned query is that of the request to come.

    As at S3 the answer tells whether there is such a bucket.

    https://docs.aws.amazon.com/AmazonS3/latest/API/RESTOPTIONSobject.html
    """
    found, content = _content(node, call.request)
    return Response(headers=cors.preflight(content, call.request, found=found))


def answer_headers(node: Node, request: Request) -> cors.HeaderList:
    """What the answer to a request, good or bad, carries for the browser that sent it."""
    return cors.answer_headers(_content(node, request)[1], request)


def _content(node: Node, request: Request) -> tuple[bool, bytes | None]:
    """Whether there is such a bucket, and its rules."""
    name = request.bucket

    def read(tx: ReadTx) -> tuple[bool, bytes | None]:
        bucket = None if name is None else tables.get_bucket(tx, name)
        if bucket is None:
            return False, None
        row = tables.get_configuration(tx, bucket.bucket_id, CORS)
        return True, None if row is None else row.content

    return node.kv.read(read)
