"""Which operation a request asks for: one table, by method, level and subresource.

Every operation of S3's service model is in the table, whether it is built or not: an unbuilt
subresource must never be taken for the plain object operation behind it (``PUT /b/k?retention``
is no PutObject). A known subresource with a method it does not have is MethodNotAllowed; two at
once are refused.

What decides beside the subresource: `list-type`, `id`, `uploadId`, `partNumber` and the header
x-amz-copy-source. Other parameters (x-id, response-*, versionId, ...) do not; those that nothing
would honour are refused (`queries`).

PostObject and OptionsObject are no operations of the service model: what browsers send, called as
their pages are.

Source: "API operations" of the Amazon S3 API Reference.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from s3node.base.errors import S3Error
from s3node.s3 import queries
from s3node.s3.cors import PREFLIGHT
from s3node.s3.request import OBJECT_LAMBDA_PATH, Request
from s3node.s3.unbuilt import UNBUILT

SERVICE, BUCKET, OBJECT = "SERVICE", "BUCKET", "OBJECT"

BUILT = frozenset(
    {
        "AbortMultipartUpload",
        "CompleteMultipartUpload",
        "CopyObject",
        "CreateBucket",
        "CreateMultipartUpload",
        "DeleteBucket",
        "DeleteBucketCors",
        "DeleteBucketTagging",
        "DeleteObject",
        "DeleteObjectTagging",
        "DeleteObjects",
        "GetBucketAccelerateConfiguration",
        "GetBucketAcl",
        "GetBucketCors",
        "GetBucketEncryption",
        "GetBucketLifecycleConfiguration",
        "GetBucketLocation",
        "GetBucketLogging",
        "GetBucketNotificationConfiguration",
        "GetBucketOwnershipControls",
        "GetBucketPolicy",
        "GetBucketPolicyStatus",
        "GetBucketReplication",
        "GetBucketRequestPayment",
        "GetBucketTagging",
        "GetBucketVersioning",
        "GetBucketWebsite",
        "GetObject",
        "GetObjectAcl",
        "GetObjectAttributes",
        "GetObjectLockConfiguration",
        "GetObjectTagging",
        "GetPublicAccessBlock",
        "HeadBucket",
        "HeadObject",
        "ListBuckets",
        "ListMultipartUploads",
        "ListObjectVersions",
        "ListObjects",
        "ListObjectsV2",
        "ListParts",
        "OptionsObject",
        "PostObject",
        "PutBucketCors",
        "PutBucketTagging",
        "PutBucketVersioning",
        "PutObject",
        "PutObjectTagging",
        "UploadPart",
        "UploadPartCopy",
    }
)


class Route(NamedTuple):
    """What a table row needs: method, level, subresource ("" for none)."""

    method: str
    level: str
    subresource: str


def _rows(level: str, subresource: str, **operations: str) -> dict[Route, str]:
    return {Route(method, level, subresource): name for method, name in operations.items()}


TABLE: Mapping[Route, str] = {
    **_rows(SERVICE, "", GET="ListBuckets"),
    **_rows(BUCKET, "", GET="ListObjects", PUT="CreateBucket", HEAD="HeadBucket"),
    **_rows(BUCKET, "", DELETE="DeleteBucket", POST="PostObject"),
    **_rows(BUCKET, "abac", GET="GetBucketAbac", PUT="PutBucketAbac"),
    **_rows(
        BUCKET,
        "accelerate",
        GET="GetBucketAccelerateConfiguration",
        PUT="PutBucketAccelerateConfiguration",
    ),
    **_rows(BUCKET, "acl", GET="GetBucketAcl", PUT="PutBucketAcl"),
    **_rows(
        BUCKET,
        "analytics",
        GET="ListBucketAnalyticsConfigurations",
        PUT="PutBucketAnalyticsConfiguration",
        DELETE="DeleteBucketAnalyticsConfiguration",
    ),
    **_rows(BUCKET, "cors", GET="GetBucketCors", PUT="PutBucketCors", DELETE="DeleteBucketCors"),
    **_rows(BUCKET, "delete", POST="DeleteObjects"),
    **_rows(
        BUCKET,
        "encryption",
        GET="GetBucketEncryption",
        PUT="PutBucketEncryption",
        DELETE="DeleteBucketEncryption",
    ),
    **_rows(
        BUCKET,
        "intelligent-tiering",
        GET="ListBucketIntelligentTieringConfigurations",
        PUT="PutBucketIntelligentTieringConfiguration",
        DELETE="DeleteBucketIntelligentTieringConfiguration",
    ),
    **_rows(
        BUCKET,
        "inventory",
        GET="ListBucketInventoryConfigurations",
        PUT="PutBucketInventoryConfiguration",
        DELETE="DeleteBucketInventoryConfiguration",
    ),
    **_rows(
        BUCKET,
        "lifecycle",
        GET="GetBucketLifecycleConfiguration",
        PUT="PutBucketLifecycleConfiguration",
        DELETE="DeleteBucketLifecycle",
    ),
    **_rows(BUCKET, "location", GET="GetBucketLocation"),
    **_rows(BUCKET, "logging", GET="GetBucketLogging", PUT="PutBucketLogging"),
    **_rows(
        BUCKET, "metadataAnnotationTable", PUT="UpdateBucketMetadataAnnotationTableConfiguration"
    ),
    **_rows(
        BUCKET,
        "metadataConfiguration",
        GET="GetBucketMetadataConfiguration",
        POST="CreateBucketMetadataConfiguration",
        DELETE="DeleteBucketMetadataConfiguration",
    ),
    **_rows(
        BUCKET, "metadataInventoryTable", PUT="UpdateBucketMetadataInventoryTableConfiguration"
    ),
    **_rows(BUCKET, "metadataJournalTable", PUT="UpdateBucketMetadataJournalTableConfiguration"),
    **_rows(
        BUCKET,
        "metadataTable",
        GET="GetBucketMetadataTableConfiguration",
        POST="CreateBucketMetadataTableConfiguration",
        DELETE="DeleteBucketMetadataTableConfiguration",
    ),
    **_rows(
        BUCKET,
        "metrics",
        GET="ListBucketMetricsConfigurations",
        PUT="PutBucketMetricsConfiguration",
        DELETE="DeleteBucketMetricsConfiguration",
    ),
    **_rows(
        BUCKET,
        "notification",
        GET="GetBucketNotificationConfiguration",
        PUT="PutBucketNotificationConfiguration",
    ),
    **_rows(
        BUCKET, "object-lock", GET="GetObjectLockConfiguration", PUT="PutObjectLockConfiguration"
    ),
    **_rows(
        BUCKET,
        "ownershipControls",
        GET="GetBucketOwnershipControls",
        PUT="PutBucketOwnershipControls",
        DELETE="DeleteBucketOwnershipControls",
    ),
    **_rows(
        BUCKET,
        "policy",
        GET="GetBucketPolicy",
        PUT="PutBucketPolicy",
        DELETE="DeleteBucketPolicy",
    ),
    **_rows(BUCKET, "policyStatus", GET="GetBucketPolicyStatus"),
    **_rows(
        BUCKET,
        "publicAccessBlock",
        GET="GetPublicAccessBlock",
        PUT="PutPublicAccessBlock",
        DELETE="DeletePublicAccessBlock",
    ),
    **_rows(
        BUCKET,
        "replication",
        GET="GetBucketReplication",
        PUT="PutBucketReplication",
        DELETE="DeleteBucketReplication",
    ),
    **_rows(BUCKET, "requestPayment", GET="GetBucketRequestPayment", PUT="PutBucketRequestPayment"),
    **_rows(BUCKET, "session", GET="CreateSession"),
    **_rows(
        BUCKET,
        "tagging",
        GET="GetBucketTagging",
        PUT="PutBucketTagging",
        DELETE="DeleteBucketTagging",
    ),
    **_rows(BUCKET, "uploads", GET="ListMultipartUploads"),
    **_rows(BUCKET, "versioning", GET="GetBucketVersioning", PUT="PutBucketVersioning"),
    **_rows(BUCKET, "versions", GET="ListObjectVersions"),
    **_rows(
        BUCKET,
        "website",
        GET="GetBucketWebsite",
        PUT="PutBucketWebsite",
        DELETE="DeleteBucketWebsite",
    ),
    **_rows(OBJECT, "", GET="GetObject", HEAD="HeadObject", PUT="PutObject", DELETE="DeleteObject"),
    **_rows(OBJECT, "acl", GET="GetObjectAcl", PUT="PutObjectAcl"),
    **_rows(
        OBJECT,
        "annotation",
        GET="ListObjectAnnotations",
        PUT="PutObjectAnnotation",
        DELETE="DeleteObjectAnnotation",
    ),
    **_rows(OBJECT, "attributes", GET="GetObjectAttributes"),
    **_rows(OBJECT, "encryption", PUT="UpdateObjectEncryption"),
    **_rows(OBJECT, "legal-hold", GET="GetObjectLegalHold", PUT="PutObjectLegalHold"),
    **_rows(OBJECT, "renameObject", PUT="RenameObject"),
    **_rows(OBJECT, "restore", POST="RestoreObject"),
    **_rows(OBJECT, "retention", GET="GetObjectRetention", PUT="PutObjectRetention"),
    **_rows(OBJECT, "select", POST="SelectObjectContent"),
    **_rows(
        OBJECT,
        "tagging",
        GET="GetObjectTagging",
        PUT="PutObjectTagging",
        DELETE="DeleteObjectTagging",
    ),
    **_rows(OBJECT, "torrent", GET="GetObjectTorrent"),
    **_rows(
        OBJECT,
        "uploadId",
        GET="ListParts",
        PUT="UploadPart",
        POST="CompleteMultipartUpload",
        DELETE="AbortMultipartUpload",
    ),
    **_rows(OBJECT, "uploads", POST="CreateMultipartUpload"),
}

_TABLE: Mapping[tuple[str, str, str], str] = {(*row,): name for row, name in TABLE.items()}
"""The same, found without making a row."""

# With the parameter, the operation on the left is the one on the right.
BY_PARAMETER: Mapping[str, tuple[str, str]] = {
    "ListBucketAnalyticsConfigurations": ("id", "GetBucketAnalyticsConfiguration"),
    "ListBucketIntelligentTieringConfigurations": (
        "id",
        "GetBucketIntelligentTieringConfiguration",
    ),
    "ListBucketInventoryConfigurations": ("id", "GetBucketInventoryConfiguration"),
    "ListBucketMetricsConfigurations": ("id", "GetBucketMetricsConfiguration"),
    "ListObjectAnnotations": ("annotationName", "GetObjectAnnotation"),
}

# With x-amz-copy-source, the same.
BY_COPY_SOURCE: Mapping[str, str] = {"PutObject": "CopyObject", "UploadPart": "UploadPartCopy"}

SUBRESOURCES = frozenset(route.subresource for route in TABLE) - {""}


def route(request: Request) -> str:
    """The operation's name; NotImplemented, naming it, when it is known but not built."""
    name = operation(request)
    if name not in BUILT:
        raise _unbuilt(name)
    if not request.bare and request.method != PREFLIGHT:  # which has the query of what is to come
        queries.check(request, name, SUBRESOURCES)
    return name


def _unbuilt(name: str) -> S3Error:
    planned, why = UNBUILT[name]
    later = "yet" if planned else "here"
    return S3Error("NotImplemented", f"{name} is not implemented {later}: {why}.", Operation=name)


def operation(request: Request) -> str:
    """The operation's name in S3's service model, built or not."""
    if request.method == PREFLIGHT:
        return "OptionsObject"
    if request.raw_path == OBJECT_LAMBDA_PATH and request.key is None:
        return "WriteGetObjectResponse"
    subresource = "" if request.bare else _subresource(request)
    name = _TABLE.get((request.method, _level(request), subresource))
    if name is None:
        raise _not_allowed(request, subresource)
    if not request.bare:
        if name in BY_PARAMETER and request.has(BY_PARAMETER[name][0]):
            return BY_PARAMETER[name][1]
        if name == "ListObjects":
            return _listing(request)
        _check_parts(request, name)
    if "x-amz-copy-source" in request.headers:
        return BY_COPY_SOURCE.get(name, name)
    return name


def _level(request: Request) -> str:
    if request.bucket is None:
        return SERVICE
    return BUCKET if request.key is None else OBJECT


def _subresource(request: Request) -> str:
    """The one subresource in the query, or ""."""
    if SUBRESOURCES.isdisjoint(request.query):
        return ""
    found = [name for name in request.query if name in SUBRESOURCES]
    if len(found) > 1:
        names = ", ".join(sorted(found))
        raise S3Error(
            "InvalidArgument",
            f"Conflicting query string parameters: {names}",
            ArgumentName="ResourceType",
            ArgumentValue=found[0],
        )
    return found[0]


def _not_allowed(request: Request, subresource: str) -> S3Error:
    level = _level(request)
    allowed = sorted(
        row.method for row in TABLE if row.level == level and row.subresource == subresource
    )
    return S3Error(
        "MethodNotAllowed",
        headers={"allow": ", ".join(allowed)} if allowed else None,
        Method=request.method,
        ResourceType=(subresource or level).upper(),
    )


def _listing(request: Request) -> str:
    kind = request.param("list-type")
    if kind is None:
        return "ListObjects"
    if kind != "2":
        raise S3Error(
            "InvalidArgument",
            "Invalid List Type specified in query parameter.",
            ArgumentName="list-type",
            ArgumentValue=kind,
        )
    return "ListObjectsV2"


def _check_parts(request: Request, name: str) -> None:
    """A PUT with half of (uploadId, partNumber) must not become a PutObject."""
    if request.has("partNumber") and name == "PutObject":
        raise S3Error(
            "InvalidArgument",
            "This operation needs uploadId and partNumber together.",
            ArgumentName="uploadId",
            ArgumentValue="",
        )
    if name == "UploadPart" and not request.has("partNumber"):
        raise S3Error(
            "InvalidArgument",
            "This operation needs uploadId and partNumber together.",
            ArgumentName="partNumber",
            ArgumentValue="",
        )
