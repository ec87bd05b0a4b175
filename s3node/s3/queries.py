"""Query parameters that nothing would honour: refused, never ignored into another meaning.

Which parameter belongs to which operation is S3's service model. The rules:

- A parameter without a value that S3 does not know looks like a subresource of a later release,
  or is one misspelt (``?ACL``, ``?taging``): NotImplemented, whatever the method.
- A request that changes something may carry what its operation takes and nothing else: what S3
  knows elsewhere is InvalidArgument (``PUT /b/k?versionId=...``), the rest NotImplemented.
- A read may carry parameters with a value that nobody knows, as with S3: browsers and proxies
  add them to get past caches.
- What begins with ``x-`` is the client's own and only logged
  (https://docs.aws.amazon.com/AmazonS3/latest/userguide/LogFormat.html, "Custom access log
  information"); what begins with ``x-amz-`` is a header in the query and judged as one.
"""

from __future__ import annotations

from collections.abc import Mapping

from s3node.base.errors import S3Error
from s3node.s3.request import Request

PARAMETERS = frozenset(
    (
        *("annotationName", "annotationPrefix", "annotationVersionId"),
        *("bucket-region", "continuation-token", "delimiter", "encoding-type", "fetch-owner"),
        *("id", "key-marker", "list-type", "marker", "max-annotation-results", "max-buckets"),
        *("max-directory-buckets", "max-keys", "max-parts", "max-uploads", "part-number-marker"),
        *("partNumber", "prefix", "start-after", "upload-id-marker", "version-id-marker"),
        *("response-cache-control", "response-content-disposition", "response-content-encoding"),
        *("response-content-language", "response-content-type", "response-expires"),
        *("uploadId", "versionId"),
    )
)
"""All that S3 knows beside subresources."""

TAKEN: Mapping[str, frozenset[str]] = {
    name: frozenset(taken.split())
    for name, taken in {
        "AbortMultipartUpload": "uploadId",
        "CompleteMultipartUpload": "uploadId",
        "DeleteBucketAnalyticsConfiguration": "id",
        "DeleteBucketIntelligentTieringConfiguration": "id",
        "DeleteBucketInventoryConfiguration": "id",
        "DeleteBucketMetricsConfiguration": "id",
        "DeleteObject": "versionId",
        "DeleteObjectAnnotation": "annotationName versionId",
        "DeleteObjectTagging": "versionId",
        "PutBucketAnalyticsConfiguration": "id",
        "PutBucketIntelligentTieringConfiguration": "id",
        "PutBucketInventoryConfiguration": "id",
        "PutBucketMetricsConfiguration": "id",
        "PutObjectAcl": "versionId",
        "PutObjectAnnotation": "annotationName versionId",
        "PutObjectLegalHold": "versionId",
        "PutObjectRetention": "versionId",
        "PutObjectTagging": "versionId",
        "RestoreObject": "versionId",
        "SelectObjectContent": "select-type",
        "UpdateObjectEncryption": "versionId",
        "UploadPart": "partNumber uploadId",
        "UploadPartCopy": "partNumber uploadId",
    }.items()
}
"""What an operation that changes something takes; the others take nothing."""

# Those of an older signature, which is refused by name later.
_SIGNATURE = frozenset(("AWSAccessKeyId", "Expires", "Signature"))
_READS = frozenset(("GET", "HEAD"))
_NOTHING: frozenset[str] = frozenset()


def check(request: Request, name: str, subresources: frozenset[str]) -> None:
    """Refuse a query that asks `name` for more than it has."""
    reads = request.method in _READS
    if reads and "" not in request.query.values():
        return
    taken = TAKEN.get(name, _NOTHING)
    for parameter, value in request.query.items():
        if parameter in taken or parameter in subresources or parameter in _SIGNATURE:
            continue
        if parameter.startswith(("x-", "X-")) or (reads and value):
            continue
        if parameter not in PARAMETERS:
            message = f"{name} with ?{parameter} is not implemented."
            raise S3Error("NotImplemented", message, Operation=name)
        if not reads:
            raise _foreign(name, parameter, value)


def _foreign(name: str, parameter: str, value: str) -> S3Error:
    message = f"{name} does not take the query parameter {parameter}."
    if parameter == "versionId":
        message = "This operation does not accept a version-id."
    return S3Error("InvalidArgument", message, ArgumentName=parameter, ArgumentValue=value)
