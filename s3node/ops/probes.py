"""Read-only questions about settings that cannot be made here, answered with the truth.

Ordinary clients ask them before they do anything else. Everything
belongs to its owner alone, and there is no policy, lifecycle, encryption, ...: S3 has an answer
or an error code for each. What would set them is NotImplemented.
"""

from __future__ import annotations

from s3node.base.errors import S3Error
from s3node.ops import lookup, parameters
from s3node.ops.context import Call, Node, Operation
from s3node.s3 import documents, xml
from s3node.s3.request import Response


async def get_bucket_acl(node: Node, call: Call) -> Response:
    """GetBucketAcl: the owner has full control, and nobody else has any."""
    parameters.admit(call)
    node.kv.read(lambda tx: lookup.need_bucket(tx, call))
    return parameters.document(documents.owner_full_control(node.owner))


async def get_object_acl(node: Node, call: Call) -> Response:
    """GetObjectAcl: the same, for an object that is there."""
    parameters.admit(call)
    version = call.request.param("versionId")
    node.kv.read(
        lambda tx: lookup.need_version(tx, lookup.need_bucket(tx, call), call.key, version)
    )
    return parameters.document(documents.owner_full_control(node.owner))


def _absent(code: str) -> Operation:
    async def answer(node: Node, call: Call) -> Response:
        """The bucket is there; the configuration is not."""
        parameters.admit(call)
        node.kv.read(lambda tx: lookup.need_bucket(tx, call))
        raise S3Error(code, BucketName=call.bucket)

    return answer


ABSENT: dict[str, Operation] = {
    operation: _absent(code)
    for operation, code in {
        "GetBucketEncryption": "ServerSideEncryptionConfigurationNotFoundError",
        "GetBucketLifecycleConfiguration": "NoSuchLifecycleConfiguration",
        "GetBucketPolicy": "NoSuchBucketPolicy",
        "GetBucketPolicyStatus": "NoSuchBucketPolicy",
        "GetBucketReplication": "ReplicationConfigurationNotFoundError",
        "GetBucketWebsite": "NoSuchWebsiteConfiguration",
        "GetObjectLockConfiguration": "ObjectLockConfigurationNotFoundError",
        "GetPublicAccessBlock": "NoSuchPublicAccessBlockConfiguration",
    }.items()
}
"""Operations whose only true answer is that there is no such thing."""


def _fixed(body: bytes) -> Operation:
    async def answer(node: Node, call: Call) -> Response:
        """The bucket is there; the setting is what it is everywhere."""
        parameters.admit(call)
        node.kv.read(lambda tx: lookup.need_bucket(tx, call))
        return parameters.document(body)

    return answer


FIXED: dict[str, Operation] = {
    operation: _fixed(body)
    for operation, body in {
        "GetBucketAccelerateConfiguration": xml.render("AccelerateConfiguration", []),
        "GetBucketLogging": xml.render("BucketLoggingStatus", []),
        "GetBucketNotificationConfiguration": xml.render("NotificationConfiguration", []),
        "GetBucketOwnershipControls": xml.render(
            "OwnershipControls", [("Rule", [("ObjectOwnership", "BucketOwnerEnforced")])]
        ),
        "GetBucketRequestPayment": xml.render(
            "RequestPaymentConfiguration", [("Payer", "BucketOwner")]
        ),
    }.items()
}
"""Settings that every bucket has in the same way: an empty document where S3 means "off"."""
