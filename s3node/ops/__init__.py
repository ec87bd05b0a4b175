"""One async function per S3 operation, and the table that names them.

An operation reads like its own description: what is refused, what is looked up, what the model
decides, what is stored, what is answered. It knows neither HTTP servers nor files nor disks;
bodies come through `Call`, bytes go through `Node.objects`, rows through `Node.kv`.
"""

from __future__ import annotations

from collections.abc import Mapping

from s3node.ops import (
    attributes,
    buckets,
    copy,
    cors,
    delete,
    get,
    lists,
    multipart,
    post,
    probes,
    put,
    tagging,
    versions,
)
from s3node.ops.context import Operation

OPERATIONS: Mapping[str, Operation] = {
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
}
"""By the name that S3's own model gives the operation, or its page where that has none."""
