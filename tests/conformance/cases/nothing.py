"""What is no operation, or none that is built; and what is no request that S3 could understand."""

from __future__ import annotations

from collections.abc import Iterator

from s3node.base.limits import XML_BODY_BYTES_MAX
from s3node.s3.routes import BUILT
from s3node.s3.unbuilt import OLDER_FORMS, UNBUILT
from tests.conformance import model
from tests.conformance.case import Ask, Case, delete, err, get, head, post, put

NONE = "no operation"
TOO_LONG = str(XML_BODY_BYTES_MAX + 1)


def unbuilt() -> Iterator[Case]:
    """Each operation of the model that is not built says so, and why, by its own name."""
    for name in sorted(model.operations().keys() - BUILT - OLDER_FORMS.keys()):
        method, target, headers = model.example(name)
        path, _, query = target.partition("?")
        planned, why = UNBUILT[name]
        yield err(
            name,
            "NotImplemented",
            Ask(method, path, query, headers),
            message=f"{name} is not implemented {'yet' if planned else 'here'}: {why}.",
            Operation=name,
        )


def _conflict(ask: Ask, first: str, both: str) -> Case:
    return err(
        NONE,
        "InvalidArgument",
        ask,
        f"{both} at once",
        message=f"Conflicting query string parameters: {both}",
        ArgumentName="ResourceType",
        ArgumentValue=first,
    )


WRONG_METHODS = (
    ("PATCH", "/bucket/k", "", "OBJECT", "DELETE, GET, HEAD, PUT"),
    ("POST", "/bucket/k", "", "OBJECT", "DELETE, GET, HEAD, PUT"),
    ("PATCH", "/bucket", "", "BUCKET", "DELETE, GET, HEAD, POST, PUT"),
    ("PUT", "/", "", "SERVICE", "GET"),
    ("DELETE", "/", "", "SERVICE", "GET"),
    ("HEAD", "/", "", "SERVICE", "GET"),
    ("DELETE", "/bucket", "versioning", "VERSIONING", "GET, PUT"),
    ("PUT", "/bucket", "versions", "VERSIONS", "GET"),
    ("POST", "/bucket", "cors", "CORS", "DELETE, GET, PUT"),
    ("DELETE", "/bucket/k", "acl", "ACL", "GET, PUT"),
    ("HEAD", "/bucket/k", "tagging", "TAGGING", "DELETE, GET, PUT"),
    ("GET", "/bucket/k", "uploads", "UPLOADS", "POST"),
    ("GET", "/bucket", "delete", "DELETE", "POST"),
    ("REPORT", "/bucket/k", "", "OBJECT", "DELETE, GET, HEAD, PUT"),
)

ADDRESSES = [
    err(
        NONE,
        "MethodNotAllowed",
        Ask(method, path, query),
        f"{method} {path}?{query}",
        message="The specified method is not allowed against this resource.",
        headers={"allow": allowed},
        Method=method,
        ResourceType=kind,
    )
    for method, path, query, kind, allowed in WRONG_METHODS
]

QUERIES = [
    _conflict(put("/bucket/k", "retention&acl"), "retention", "acl, retention"),
    _conflict(get("/bucket", "versions&uploads"), "versions", "uploads, versions"),
    _conflict(delete("/bucket/k", "tagging&uploadId=1"), "tagging", "tagging, uploadId"),
    err(
        NONE,
        "InvalidArgument",
        put("/bucket/k", "partNumber=1"),
        "a part of no upload",
        message="This operation needs uploadId and partNumber together.",
        ArgumentName="uploadId",
        ArgumentValue="",
    ),
    err(
        NONE,
        "InvalidArgument",
        put("/bucket/k", "uploadId=1"),
        "an upload without a part",
        ArgumentName="partNumber",
        ArgumentValue="",
    ),
    err(
        NONE,
        "InvalidArgument",
        get("/bucket", "list-type=3"),
        "another list-type",
        message="Invalid List Type specified in query parameter.",
        ArgumentName="list-type",
        ArgumentValue="3",
    ),
    *(
        err(
            NONE,
            "NotImplemented",
            ask,
            f"{ask.method} {ask.path}?{ask.query}",
            message=f"{operation} with ?{ask.query.partition('=')[0]} is not implemented.",
            Operation=operation,
        )
        for operation, ask in (
            ("PutObject", put("/bucket/k", "Tagging")),
            ("PutObject", put("/bucket/k", "taging=")),
            ("PutObject", put("/bucket/k", "rentention=COMPLIANCE")),
            ("GetObject", get("/bucket/k", "ACL")),
            ("HeadObject", head("/bucket/k", "Legal-Hold")),
            ("DeleteObject", delete("/bucket/k", "VersionId=null")),
            ("DeleteBucket", delete("/bucket", "Lifecycle")),
            ("CreateBucket", put("/fresh", "objectlock")),
            ("ListObjects", get("/bucket", "Versions")),
            ("ListBuckets", get("/", "usage")),
        )
    ),
    *(
        err(
            NONE,
            "InvalidArgument",
            ask,
            f"{ask.method} {ask.path}?{ask.query}",
            message=message,
            ArgumentName=ask.query.partition("=")[0],
            ArgumentValue=ask.query.partition("=")[2],
        )
        for message, ask in (
            ("This operation does not accept a version-id.", put("/bucket/k", "versionId=null")),
            (
                "DeleteBucket does not take the query parameter prefix.",
                delete("/bucket", "prefix=a"),
            ),
            (
                "DeleteObject does not take the query parameter partNumber.",
                delete("/bucket/k", "partNumber=1"),
            ),
        )
    ),
]

HEADERS = [
    err(NONE, "InvalidURI", get("/bucket/a%2"), "a broken escape"),
    err(NONE, "InvalidURI", get("/bucket/%00"), "NUL"),
    err(NONE, "InvalidURI", get("/bucket/%c3%28"), "no UTF-8"),
    err(
        NONE,
        "InvalidRequest",
        get("/bucket/k", x_amz_meta_a="1").plus("x-amz-meta-a=2"),
        "a header in the query too",
        message="A header occurs as a query parameter too.",
    ),
    err(
        "PutObject",
        "NotImplemented",
        put("/bucket/k").but(unsigned={"authorization": "AWS4-ECDSA-P256-SHA256 x"}),
        "another signature",
        message="Signature Version 4A is not implemented.",
    ),
    err(
        "PutObject",
        "InvalidArgument",
        put("/bucket/k").but(unsigned={"authorization": "Basic x"}),
        "no signature of S3",
        message="Unsupported Authorization Type",
        ArgumentName="Authorization",
    ),
    err(
        "PutObject",
        "InvalidRequest",
        put("/bucket/k").but(unsigned={"authorization": "AWS x:y"}),
        "an old signature",
        message="The authorization mechanism you have provided is not supported. Please use "
        "AWS4-HMAC-SHA256.",
    ),
    err(
        "DeleteObjects",
        "MaxMessageLengthExceeded",
        post(
            "/bucket",
            "delete",
            content_length=TOO_LONG,
            content_md5="A" * 22 + "==",
        ),
        message="Your request was too big.",
        MaxMessageLengthBytes=str(XML_BODY_BYTES_MAX),
    ),
]

CASES: list[Case] = [*unbuilt(), *ADDRESSES, *QUERIES, *HEADERS]
