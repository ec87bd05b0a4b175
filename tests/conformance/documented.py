"""What AWS documents of errors: statuses by code, and which errors an operation can answer.

Written down from AWS's pages independently of the node's own table, which is held to it.
"""

from __future__ import annotations

from collections.abc import Mapping


def _all(status: int, codes: str) -> dict[str, int]:
    return dict.fromkeys(codes.split(), status)


STATUSES: Mapping[str, int] = {
    **_all(301, "PermanentRedirect"),
    **_all(304, "NotModified"),
    **_all(307, "Redirect TemporaryRedirect"),
    **_all(
        400,
        "AccessControlListNotSupported AmbiguousGrantByEmailAddress AuthorizationHeaderMalformed "
        "AuthorizationQueryParametersError BadDigest ConnectionClosedByRequester "
        "CredentialsNotSupported EntityTooLarge EntityTooSmall ExpiredToken "
        "IllegalLocationConstraintException IllegalVersioningConfigurationException IncompleteBody "
        "IncorrectEndpoint IncorrectNumberOfFilesInPostRequest InlineDataTooLarge InvalidArgument "
        "InvalidBucketAclWithObjectOwnership InvalidBucketName InvalidBucketOwnerAWSAccountID "
        "InvalidDigest InvalidEncryptionAlgorithmError InvalidHostHeader InvalidHttpMethod "
        "InvalidLocationConstraint InvalidPart InvalidPartOrder InvalidPolicyDocument "
        "InvalidRequest InvalidSignature InvalidStorageClass InvalidTag "
        "InvalidTargetBucketForLogging InvalidToken InvalidURI KeyTooLongError MalformedACLError "
        "MalformedPOSTRequest MalformedXML MaxMessageLengthExceeded "
        "MaxPostPreDataLengthExceededError MetadataTooLarge MissingRequestBodyError "
        "MissingSecurityElement MissingSecurityHeader NoLoggingStatusForKey "
        "RequestHeaderSectionTooLarge RequestTimeout RequestTorrentOfBucketError "
        "ResponseInterrupted TagPolicyException TokenCodeInvalidError TokenRefreshRequired "
        "TooManyBuckets UnexpectedContent UnresolvableGrantByEmailAddress UnsupportedArgument "
        "UnsupportedSignature UserKeyMustBeSpecified",
    ),
    **_all(
        403,
        "AccessDenied AccountProblem AllAccessDisabled CrossLocationLoggingProhibited "
        "InvalidAccessKeyId InvalidObjectState InvalidPayer InvalidSecurity "
        "MissingAuthenticationToken NotSignedUp RequestTimeTooSkewed SignatureDoesNotMatch",
    ),
    **_all(
        404,
        "NoSuchBucket NoSuchBucketPolicy NoSuchCORSConfiguration NoSuchKey "
        "NoSuchLifecycleConfiguration NoSuchObjectLockConfiguration NoSuchTagSet NoSuchUpload "
        "NoSuchVersion NoSuchWebsiteConfiguration ObjectLockConfigurationNotFoundError "
        "OwnershipControlsNotFoundError ReplicationConfigurationNotFoundError",
    ),
    **_all(405, "MethodNotAllowed"),
    **_all(
        409,
        "BucketAlreadyExists BucketAlreadyOwnedByYou BucketNotEmpty ConditionalRequestConflict "
        "InvalidBucketState OperationAborted RestoreAlreadyInProgress",
    ),
    **_all(411, "MissingContentLength"),
    **_all(412, "PreconditionFailed RequestIsNotMultiPartContent"),
    **_all(416, "InvalidRange"),
    **_all(500, "InternalError"),
    **_all(501, "NotImplemented"),
    **_all(503, "ServiceUnavailable SlowDown"),
    # On no page of errors, but what S3 answers:
    **_all(400, "BadRequest InvalidRedirectLocation MalformedTrailerError"),
    **_all(400, "MaxPostPreDataLengthExceeded XAmzContentSHA256Mismatch"),
    **_all(403, "AccessForbidden InvalidChunkSizeError"),
    **_all(404, "NoSuchPublicAccessBlockConfiguration"),
    **_all(404, "ServerSideEncryptionConfigurationNotFoundError"),
    **_all(416, "InvalidPartNumber"),
    # Of this node alone:
    **_all(507, "InsufficientStorage"),
}
"""https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html, "List of error codes"."""

FIELDS: Mapping[str, str] = {
    "BucketAlreadyExists": "BucketName",
    "BucketAlreadyOwnedByYou": "BucketName",
    "BucketNotEmpty": "BucketName",
    "EntityTooLarge": "ProposedSize MaxSizeAllowed",
    "EntityTooSmall": "ProposedSize MinSizeAllowed",
    "InvalidAccessKeyId": "AWSAccessKeyId",
    "InvalidArgument": "ArgumentName ArgumentValue",
    "InvalidBucketName": "BucketName",
    "InvalidPart": "UploadId PartNumber ETag",
    "InvalidPartNumber": "ActualPartCount PartNumberRequested",
    "InvalidPartOrder": "UploadId",
    "InvalidRange": "RangeRequested ActualObjectSize",
    "InvalidStorageClass": "StorageClassRequested",
    "InvalidTag": "TagKey",
    "KeyTooLongError": "Size MaxSizeAllowed",
    "MaxMessageLengthExceeded": "MaxMessageLengthBytes",
    "MetadataTooLarge": "Size MaxSizeAllowed",
    "NoSuchBucket": "BucketName",
    "NoSuchCORSConfiguration": "BucketName",
    "NoSuchKey": "Key",
    "NoSuchTagSet": "BucketName",
    "NoSuchUpload": "UploadId",
    "NoSuchVersion": "Key VersionId",
    "PreconditionFailed": "Condition",
    "RequestTimeTooSkewed": "RequestTime ServerTime MaxAllowedSkewMilliseconds",
    "XAmzContentSHA256Mismatch": "ClientComputedContentSHA256 S3ComputedContentSHA256",
}
"""The elements that S3 puts into an error beside code, message and ids. No page lists them; they
are those of its answers, as SDKs and other stores know them."""

ERRORS: Mapping[str, str] = {
    "AbortMultipartUpload": "NoSuchUpload",
    "CompleteMultipartUpload": "EntityTooSmall InvalidPart InvalidPartOrder NoSuchUpload "
    "MalformedXML PreconditionFailed InvalidRequest BadDigest",
    "CopyObject": "NoSuchKey PreconditionFailed InvalidRequest InvalidArgument",
    "CreateBucket": "BucketAlreadyExists BucketAlreadyOwnedByYou InvalidBucketName MalformedXML "
    "IllegalLocationConstraintException",
    "CreateMultipartUpload": "InvalidRequest InvalidStorageClass MetadataTooLarge",
    "DeleteBucket": "BucketNotEmpty",
    "DeleteObject": "PreconditionFailed",
    "DeleteObjects": "MalformedXML InvalidRequest BadDigest",
    "GetBucketCors": "NoSuchCORSConfiguration",
    "GetBucketEncryption": "ServerSideEncryptionConfigurationNotFoundError",
    "GetBucketLifecycleConfiguration": "NoSuchLifecycleConfiguration",
    "GetBucketPolicy": "NoSuchBucketPolicy",
    "GetBucketPolicyStatus": "NoSuchBucketPolicy",
    "GetBucketReplication": "ReplicationConfigurationNotFoundError",
    "GetBucketTagging": "NoSuchTagSet",
    "GetBucketWebsite": "NoSuchWebsiteConfiguration",
    "GetObject": "NoSuchKey InvalidRange PreconditionFailed NoSuchVersion InvalidPartNumber",
    "GetObjectAcl": "NoSuchKey",
    "GetObjectAttributes": "NoSuchKey InvalidArgument PreconditionFailed MethodNotAllowed",
    "GetObjectLockConfiguration": "ObjectLockConfigurationNotFoundError",
    "GetObjectTagging": "NoSuchKey",
    "GetPublicAccessBlock": "NoSuchPublicAccessBlockConfiguration",
    "HeadBucket": "NoSuchBucket",
    "HeadObject": "NoSuchKey InvalidRange PreconditionFailed",
    "ListBuckets": "InvalidArgument",
    "ListMultipartUploads": "InvalidArgument",
    "ListObjectVersions": "InvalidArgument",
    "ListObjects": "InvalidArgument",
    "ListObjectsV2": "InvalidArgument",
    "ListParts": "NoSuchUpload InvalidArgument",
    "OptionsObject": "AccessForbidden BadRequest",
    "PostObject": "AccessDenied BadDigest EntityTooLarge EntityTooSmall InvalidAccessKeyId "
    "InvalidDigest InvalidPolicyDocument InvalidRequest InvalidStorageClass MalformedPOSTRequest "
    "MaxPostPreDataLengthExceeded MissingContentLength SignatureDoesNotMatch",
    "PutBucketCors": "MalformedXML InvalidRequest BadDigest",
    "PutBucketTagging": "MalformedXML InvalidTag",
    "PutBucketVersioning": "IllegalVersioningConfigurationException MalformedXML",
    "PutObject": "BadDigest EntityTooLarge InvalidDigest InvalidRequest InvalidStorageClass "
    "MetadataTooLarge MissingContentLength PreconditionFailed XAmzContentSHA256Mismatch",
    "PutObjectTagging": "NoSuchKey MalformedXML InvalidTag",
    "UploadPart": "NoSuchUpload InvalidArgument BadDigest EntityTooLarge",
    "UploadPartCopy": "NoSuchUpload NoSuchKey InvalidArgument PreconditionFailed",
}
"""What an operation can answer beside what all can (`generic.py`): the "Errors" of its own page
and of the guide's chapters about it. Where botocore's model names errors they count as well."""

IMPOSSIBLE: Mapping[str, str] = {
    "EncryptionTypeMismatch": "appending to objects is for directory buckets",
    "InvalidObjectState": "nothing is archived here that would have to be restored first",
    "InvalidWriteOffset": "appending to objects is for directory buckets",
    "ObjectNotInActiveTierError": "nothing is archived here that would have to be restored first",
    "TooManyParts": "appending to objects is for directory buckets",
}
"""Errors of the model that cannot occur, and why."""
