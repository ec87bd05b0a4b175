"""S3's error codes: status, default message, and the XML that carries them.

`TABLE` is the one place that knows a code's status and text. Rendering an unknown code is a bug,
not an answer. No error ever contains a secret key, a signing key or a computed signature.

Sources: "Error responses" of the Amazon S3 API Reference (codes, status, texts) and "REST error
responses" there (the document); codes that page leaves out are marked.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from s3node.base.errors import S3Error
from s3node.s3 import xml
from s3node.s3.request import Response


class ErrorInfo(NamedTuple):
    """HTTP status and default message of a code."""

    status: int
    message: str


_E = ErrorInfo

TABLE: Mapping[str, ErrorInfo] = {
    "AccessControlListNotSupported": _E(400, "The bucket does not allow ACLs."),
    "AccessDenied": _E(403, "Access Denied"),
    "AccessForbidden": _E(403, "CORSResponse: CORS is not enabled for this bucket."),
    "AuthorizationHeaderMalformed": _E(
        400, "The authorization header that you provided is not valid."
    ),
    "AuthorizationQueryParametersError": _E(
        400, "The authorization query parameters are not valid."
    ),
    "BadDigest": _E(
        400, "The Content-MD5 or checksum value that you specified did not match what was received."
    ),
    "BadRequest": _E(400, "The request is not valid."),
    "BucketAlreadyExists": _E(
        409,
        "The requested bucket name is not available. The bucket namespace is shared by all users "
        "of the system. Specify a different name and try again.",
    ),
    "BucketAlreadyOwnedByYou": _E(
        409, "Your previous request to create the named bucket succeeded and you already own it."
    ),
    "BucketNotEmpty": _E(409, "The bucket that you tried to delete is not empty."),
    "ConditionalRequestConflict": _E(
        409,
        "The conditional request cannot succeed due to a conflicting operation against this "
        "resource.",
    ),
    "EntityTooLarge": _E(400, "Your proposed upload exceeds the maximum allowed size"),
    "EntityTooSmall": _E(400, "Your proposed upload is smaller than the minimum allowed size"),
    "ExpiredToken": _E(400, "The provided token has expired."),
    "IllegalLocationConstraintException": _E(
        400,
        "The specified location constraint is incompatible for the region this request was sent "
        "to.",
    ),
    "IllegalVersioningConfigurationException": _E(400, "The Versioning element must be specified"),
    "IncompleteBody": _E(400, "The request body terminated unexpectedly"),
    # Not on the page; what other S3 stores answer when their disks are full.
    "InsufficientStorage": _E(507, "There is not enough room left to store the request."),
    "InternalError": _E(500, "We encountered an internal error. Please try again."),
    "InvalidAccessKeyId": _E(
        403, "The AWS access key Id you provided does not exist in our records."
    ),
    "InvalidArgument": _E(400, "Invalid Argument"),
    "InvalidBucketName": _E(400, "The specified bucket is not valid."),
    "InvalidBucketState": _E(409, "The request is not valid for the current state of the bucket."),
    # Not on the page; answered to chunks that are too small.
    "InvalidChunkSizeError": _E(
        403, "Only the last chunk is allowed to have a size less than 8192 bytes"
    ),
    "InvalidDigest": _E(400, "The Content-MD5 you specified was invalid."),
    "InvalidEncryptionAlgorithmError": _E(
        400, "The encryption request that you specified is not valid."
    ),
    "InvalidHostHeader": _E(
        400, "The host headers provided in the request used the incorrect style addressing."
    ),
    "InvalidHttpMethod": _E(400, "The request was made using an unexpected HTTP method."),
    "InvalidLocationConstraint": _E(400, "The specified location-constraint is not valid"),
    "InvalidObjectState": _E(
        403, "The operation is not valid for the current state of the object."
    ),
    "InvalidPart": _E(
        400,
        "One or more of the specified parts could not be found.  The part may not have been "
        "uploaded, or the specified entity tag may not match the part's entity tag.",
    ),
    "InvalidPartNumber": _E(416, "The requested partnumber is not satisfiable"),
    "InvalidPartOrder": _E(
        400,
        "The list of parts was not in ascending order. Parts must be ordered by part number.",
    ),
    # On the page it is for conditions that fail; S3 answers it to what is no policy.
    "InvalidPolicyDocument": _E(400, "Invalid Policy."),
    "InvalidRange": _E(416, "The requested range is not satisfiable"),
    # Not on the page; answered to x-amz-website-redirect-location.
    "InvalidRedirectLocation": _E(
        400,
        "The website redirect location must have a prefix of 'http://' or 'https://' or '/'.",
    ),
    "InvalidRequest": _E(400, "Invalid Request"),
    "InvalidSecurity": _E(403, "The provided security credentials are not valid."),
    "InvalidStorageClass": _E(400, "The storage class you specified is not valid"),
    "InvalidTag": _E(400, "The tag provided was not a valid tag."),
    "InvalidToken": _E(400, "The provided token is malformed or otherwise invalid."),
    "InvalidURI": _E(400, "Couldn't parse the specified URI."),
    "KeyTooLongError": _E(400, "Your key is too long"),
    "MalformedACLError": _E(
        400,
        "The XML you provided was not well-formed or did not validate against our published schema",
    ),
    "MalformedPOSTRequest": _E(
        400, "The body of your POST request is not well-formed multipart/form-data."
    ),
    # Not on the page; answered to a trailer that is not the one announced.
    "MalformedTrailerError": _E(
        400,
        "The request contained trailing data that was not well-formed or did not conform to our "
        "published schema.",
    ),
    "MalformedXML": _E(
        400,
        "The XML you provided was not well-formed or did not validate against our published schema",
    ),
    "MaxMessageLengthExceeded": _E(400, "Your request was too big."),
    # On the page its name ends in Error, and its text is better English.
    "MaxPostPreDataLengthExceeded": _E(
        400, "Your POST request fields preceeding the upload file was too large."
    ),
    "MetadataTooLarge": _E(400, "Your metadata headers exceed the maximum allowed metadata size"),
    "MethodNotAllowed": _E(405, "The specified method is not allowed against this resource."),
    "MissingContentLength": _E(411, "You must provide the Content-Length HTTP header."),
    "MissingRequestBodyError": _E(400, "Request body is empty."),
    "MissingSecurityElement": _E(400, "The SOAP 1.1 request is missing a security element."),
    "MissingSecurityHeader": _E(400, "Your request was missing a required header"),
    "NoSuchBucket": _E(404, "The specified bucket does not exist"),
    "NoSuchBucketPolicy": _E(404, "The bucket policy does not exist"),
    "NoSuchCORSConfiguration": _E(404, "The CORS configuration does not exist"),
    "NoSuchKey": _E(404, "The specified key does not exist."),
    "NoSuchLifecycleConfiguration": _E(404, "The lifecycle configuration does not exist"),
    "NoSuchObjectLockConfiguration": _E(
        404, "The specified object does not have an ObjectLock configuration"
    ),
    # Not on the page; answered to GetPublicAccessBlock where there is none.
    "NoSuchPublicAccessBlockConfiguration": _E(
        404, "The public access block configuration was not found"
    ),
    "NoSuchTagSet": _E(404, "The TagSet does not exist"),
    "NoSuchUpload": _E(
        404,
        "The specified upload does not exist. The upload ID may be invalid, or the upload may have "
        "been aborted or completed.",
    ),
    "NoSuchVersion": _E(404, "The specified version does not exist."),
    "NoSuchWebsiteConfiguration": _E(
        404, "The specified bucket does not have a website configuration"
    ),
    "NotImplemented": _E(
        501, "A header you provided implies functionality that is not implemented"
    ),
    # No error to a client, but an answer without a body that conditional reads give.
    "NotModified": _E(304, "Not Modified"),
    "ObjectLockConfigurationNotFoundError": _E(
        404, "Object Lock configuration does not exist for this bucket"
    ),
    "OperationAborted": _E(
        409,
        "A conflicting conditional operation is currently in progress against this resource. "
        "Please try again.",
    ),
    "OwnershipControlsNotFoundError": _E(404, "The bucket ownership controls were not found"),
    "PermanentRedirect": _E(
        301,
        "The bucket you are attempting to access must be addressed using the specified endpoint. "
        "Please send all future requests to this endpoint.",
    ),
    "PreconditionFailed": _E(412, "At least one of the pre-conditions you specified did not hold"),
    "ReplicationConfigurationNotFoundError": _E(404, "The replication configuration was not found"),
    # Not on the page; the limit of header bytes is the listener's.
    "RequestHeaderSectionTooLarge": _E(
        400, "Your request header section exceeds the maximum allowed request header section size."
    ),
    "RequestTimeTooSkewed": _E(
        403, "The difference between the request time and the current time is too large."
    ),
    "RequestTimeout": _E(
        400,
        "Your socket connection to the server was not read from or written to within the timeout "
        "period.",
    ),
    "ServerSideEncryptionConfigurationNotFoundError": _E(
        404, "The server side encryption configuration was not found"
    ),
    "ServiceUnavailable": _E(503, "Service is unable to handle request."),
    "SignatureDoesNotMatch": _E(
        403,
        "The request signature we calculated does not match the signature you provided. Check "
        "your key and signing method.",
    ),
    "SlowDown": _E(503, "Please reduce your request rate."),
    "TooManyBuckets": _E(400, "You have attempted to create more buckets than allowed"),
    "UnexpectedContent": _E(400, "This request does not support content"),
    "XAmzContentSHA256Mismatch": _E(
        400, "The provided 'x-amz-content-sha256' header does not match what was computed."
    ),
}

_XML_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_ELEMENT = re.compile(r"[A-Za-z][A-Za-z0-9-]*\Z")


def status(error: S3Error) -> int:
    """The HTTP status of an error."""
    return TABLE[error.code].status


def render(error: S3Error, *, resource: str, request_id: str, host_id: str, head: bool) -> Response:
    """The answer to a client. HEAD and 304 carry no body; ids as headers are the edge's."""
    assert error.code in TABLE, f"no such S3 error code: {error.code}"
    info = TABLE[error.code]
    response = Response(status=info.status, headers=list(error.headers.items()))
    if info.status == 304:
        return response
    response.headers.append(("content-type", "application/xml"))
    body = document(error, resource=resource, request_id=request_id, host_id=host_id)
    response.length = len(body)
    response.body = b"" if head else body
    return response


def document(error: S3Error, *, resource: str, request_id: str, host_id: str) -> bytes:
    """The Error document, UTF-8. What XML has no place for becomes U+FFFD: it must parse."""
    elements = {
        "Code": error.code,
        "Message": error.message or TABLE[error.code].message,
        **error.fields,
        "Resource": resource,
        "RequestId": request_id,
        "HostId": host_id,
    }
    assert all(_ELEMENT.match(name) for name in elements)
    nodes = [(name, _XML_FORBIDDEN.sub("\ufffd", value)) for name, value in elements.items()]
    return xml.render("Error", nodes, namespace="")
