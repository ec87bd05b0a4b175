"""The operations of S3 that are not built, and why: planned, or not to be had here.

Together with `routes.BUILT` this is every operation of S3's service model, and what answers
NotImplemented says so from here. The README's table is made of both. Operations that look the
same on the wire as a newer one of another name are in `OLDER_FORMS`.

Source: "API operations" of the Amazon S3 API Reference.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class Reason(NamedTuple):
    """Why an operation is not built."""

    planned: bool
    why: str


def _rows(planned: bool, why: str, *operations: str) -> dict[str, Reason]:
    return dict.fromkeys(operations, Reason(planned, why))


UNBUILT: Mapping[str, Reason] = {
    **_rows(
        True,
        "comes with Object Lock",
        "GetObjectLegalHold",
        "GetObjectRetention",
        "PutObjectLegalHold",
        "PutObjectLockConfiguration",
        "PutObjectRetention",
    ),
    **_rows(
        True,
        "comes with lifecycle rules",
        "DeleteBucketLifecycle",
        "PutBucketLifecycleConfiguration",
    ),
    **_rows(True, "comes with tiers of colder disks", "RestoreObject"),
    **_rows(
        True,
        "comes with the second site",
        "DeleteBucketReplication",
        "PutBucketReplication",
    ),
    **_rows(
        True,
        "comes with encryption at rest",
        "DeleteBucketEncryption",
        "PutBucketEncryption",
        "UpdateObjectEncryption",
    ),
    **_rows(
        True,
        "comes with more than one identity",
        "CreateSession",
        "DeleteBucketPolicy",
        "DeletePublicAccessBlock",
        "PutBucketPolicy",
        "PutPublicAccessBlock",
    ),
    **_rows(
        False,
        "events are sent nowhere; the access log tells what was done",
        "PutBucketNotificationConfiguration",
    ),
    **_rows(
        False,
        "ACLs are switched off, as in every bucket that AWS makes today: policies decide",
        "DeleteBucketOwnershipControls",
        "PutBucketAcl",
        "PutBucketOwnershipControls",
        "PutObjectAcl",
    ),
    **_rows(
        False,
        "the node has an access log of its own",
        "PutBucketLogging",
    ),
    **_rows(
        False,
        "the node has metrics of its own",
        "DeleteBucketAnalyticsConfiguration",
        "DeleteBucketMetricsConfiguration",
        "GetBucketAnalyticsConfiguration",
        "GetBucketMetricsConfiguration",
        "ListBucketAnalyticsConfigurations",
        "ListBucketMetricsConfigurations",
        "PutBucketAnalyticsConfiguration",
        "PutBucketMetricsConfiguration",
    ),
    **_rows(
        False,
        "a listing is cheap here, and exact",
        "DeleteBucketInventoryConfiguration",
        "GetBucketInventoryConfiguration",
        "ListBucketInventoryConfigurations",
        "PutBucketInventoryConfiguration",
    ),
    **_rows(
        False,
        "a service of AWS's own: tables, and what is computed over objects",
        "CreateBucketMetadataConfiguration",
        "CreateBucketMetadataTableConfiguration",
        "DeleteBucketMetadataConfiguration",
        "DeleteBucketMetadataTableConfiguration",
        "DeleteObjectAnnotation",
        "GetBucketMetadataConfiguration",
        "GetBucketMetadataTableConfiguration",
        "GetObjectAnnotation",
        "ListObjectAnnotations",
        "PutObjectAnnotation",
        "SelectObjectContent",
        "UpdateBucketMetadataAnnotationTableConfiguration",
        "UpdateBucketMetadataInventoryTableConfiguration",
        "UpdateBucketMetadataJournalTableConfiguration",
        "WriteGetObjectResponse",
    ),
    **_rows(
        False,
        "a matter of AWS's own network, tiers or billing",
        "DeleteBucketIntelligentTieringConfiguration",
        "GetBucketAbac",
        "GetBucketIntelligentTieringConfiguration",
        "ListBucketIntelligentTieringConfigurations",
        "PutBucketAbac",
        "PutBucketAccelerateConfiguration",
        "PutBucketIntelligentTieringConfiguration",
        "PutBucketRequestPayment",
    ),
    **_rows(
        False,
        "websites are not served; a proxy in front can",
        "DeleteBucketWebsite",
        "PutBucketWebsite",
    ),
    **_rows(False, "for directory buckets only", "RenameObject"),
    **_rows(False, "S3 itself has given it up", "GetObjectTorrent"),
}

OLDER_FORMS: Mapping[str, str] = {
    "GetBucketLifecycle": "GetBucketLifecycleConfiguration",
    "GetBucketNotification": "GetBucketNotificationConfiguration",
    "ListDirectoryBuckets": "ListBuckets",
    "PutBucketLifecycle": "PutBucketLifecycleConfiguration",
    "PutBucketNotification": "PutBucketNotificationConfiguration",
}
"""What is on the left is answered as what is on the right: the wire does not tell them apart."""
