"""One async function per S3 operation, and the table that names them.

An operation reads like its own description: what is refused, what is looked up, what the model
decides, what is stored, what is answered. It knows neither HTTP servers nor files nor disks;
bodies come through `Call`, bytes go through `Node.objects`, rows through `Node.kv`.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import wraps
from http import HTTPStatus

from s3node.base.errors import S3Error
from s3node.ops import (
    attributes,
    buckets,
    copy,
    cors,
    delete,
    get,
    lists,
    lookup,
    multipart,
    post,
    probes,
    put,
    tagging,
    versions,
)
from s3node.ops.context import Call, Node, Operation
from s3node.s3 import errors
from s3node.s3.request import Response

_OPERATIONS: Mapping[str, Operation] = {
    "AbortMultipartUpload": multipart.abort_multipart_upload,
    "CompleteMultipartUpload": multipart.complete_multipart_upload,
    "CopyObject": copy.copy_object,
    "CreateBucket": buckets.create_bucket,
    "CreateMultipartUpload": multipart.create_multipart_upload,
    "DeleteBucket": buckets.delete_bucket,
    "DeleteBucketCors": cors.delete_bucket_cors,
    "DeleteBucketTagging": tagging.delete_bucket_tagging,
    "DeleteObject": delete.delete_object,
    "DeleteObjectTagging": tagging.delete_object_tagging,
    "DeleteObjects": delete.delete_objects,
    "GetBucketAcl": probes.get_bucket_acl,
    "GetBucketCors": cors.get_bucket_cors,
    "GetBucketLocation": buckets.get_bucket_location,
    "GetBucketTagging": tagging.get_bucket_tagging,
    "GetBucketVersioning": versions.get_bucket_versioning,
    "GetObject": get.get_object,
    "GetObjectAcl": probes.get_object_acl,
    "GetObjectAttributes": attributes.get_object_attributes,
    "GetObjectTagging": tagging.get_object_tagging,
    "HeadBucket": buckets.head_bucket,
    "HeadObject": get.head_object,
    "ListBuckets": buckets.list_buckets,
    "ListMultipartUploads": lists.list_multipart_uploads,
    "ListObjectVersions": versions.list_object_versions,
    "ListObjects": lists.list_objects,
    "ListObjectsV2": lists.list_objects_v2,
    "ListParts": lists.list_parts,
    "OptionsObject": cors.preflight,
    "PostObject": post.post_object,
    "PutBucketCors": cors.put_bucket_cors,
    "PutBucketTagging": tagging.put_bucket_tagging,
    "PutBucketVersioning": versions.put_bucket_versioning,
    "PutObject": put.put_object,
    "PutObjectTagging": tagging.put_object_tagging,
    "UploadPart": multipart.upload_part,
    "UploadPartCopy": copy.upload_part_copy,
    **probes.ABSENT,
    **probes.FIXED,
}

_BUCKETLESS = frozenset({"CreateBucket", "ListBuckets", "OptionsObject", "PostObject"})
"""Operations on no bucket that must be there and the caller's, or that say so themselves."""


def _within(operation: Operation) -> Operation:
    """That there is no such bucket is told before what else is wrong with a request, as at S3."""

    @wraps(operation)
    async def answer(node: Node, call: Call) -> Response:
        try:
            return await operation(node, call)
        except S3Error as error:
            if errors.status(error) < HTTPStatus.INTERNAL_SERVER_ERROR:
                node.kv.read(lambda tx: lookup.need_bucket(tx, call))
            raise

    return answer


OPERATIONS: Mapping[str, Operation] = {
    name: operation if name in _BUCKETLESS else _within(operation)
    for name, operation in _OPERATIONS.items()
}
"""By the name that S3's own model gives the operation, or its page where that has none."""
