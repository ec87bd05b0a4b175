"""One object: put, get, head, delete, and the rest that is asked of it."""

from __future__ import annotations

from base64 import b64encode
from hashlib import md5
from urllib.parse import quote

from s3node.base.limits import UPLOAD_BYTES_MAX, USER_METADATA_BYTES_MAX
from s3node.s3 import checksums
from tests.conformance.case import After, Case, delete, err, get, head, ok, put
from tests.conformance.scenes import LARGE, PLAIN

BODY = b"some bytes"
ETAG = f'"{md5(BODY).hexdigest()}"'
PAST, FUTURE = "Sat, 01 Jan 2000 00:00:00 GMT", "Tue, 01 Jan 2030 00:00:00 GMT"
STORED = {
    "cache-control": "max-age=60, private",
    "content-disposition": 'attachment; filename="a b.txt"',
    "content-encoding": "gzip",
    "content-language": "de, en",
    "content-type": "Text/Plain; charset=UTF-8",
    "expires": "whenever",
}


def checksum(algorithm: str, body: bytes) -> str:
    hasher = checksums.ALGORITHMS[algorithm].new()
    hasher.update(body)
    return checksums.Checksum(algorithm, hasher.digest()).text


PUT = [
    ok(
        "PutObject",
        "a small one",
        put("/bucket/new", body=BODY),
        headers={"etag": ETAG, "x-amz-checksum-crc64nvme": checksum("CRC64NVME", BODY)},
        after=After(get("/bucket/new"), headers={"etag": ETAG}, body=BODY),
    ),
    ok("PutObject", "a large one", put("/bucket/new", body=LARGE), headers={"etag": '"{large}"'}),
    ok(
        "PutObject",
        "an empty one",
        put("/bucket/new"),
        after=After(get("/bucket/new"), headers={"content-length": "0"}, body=b""),
    ),
    ok(
        "PutObject",
        "over another one",
        put("/bucket/k", body=BODY),
        after=After(get("/bucket/k"), body=BODY, absent=("x-amz-meta-m", "cache-control")),
    ),
    ok(
        "PutObject",
        "with everything that is stored",
        put(
            "/bucket/new", body=BODY, **STORED, **{"x-amz-meta-Two Words".replace(" ", ""): "a  b"}
        ),
        after=After(get("/bucket/new"), headers={**STORED, "x-amz-meta-twowords": "a  b"}),
    ),
    ok(
        "PutObject",
        "with Content-MD5",
        put("/bucket/new", body=BODY, content_md5=b64encode(md5(BODY).digest()).decode()),
    ),
    *(
        ok(
            "PutObject",
            f"with {algorithm}",
            put(
                "/bucket/new",
                body=BODY,
                x_amz_sdk_checksum_algorithm=algorithm,
                **{f"x-amz-checksum-{algorithm.lower()}": checksum(algorithm, BODY)},
            ),
            headers={
                f"x-amz-checksum-{algorithm.lower()}": checksum(algorithm, BODY),
                "x-amz-checksum-type": "FULL_OBJECT",
            },
            after=After(
                head("/bucket/new", x_amz_checksum_mode="ENABLED"),
                headers={f"x-amz-checksum-{algorithm.lower()}": checksum(algorithm, BODY)},
            ),
        )
        for algorithm in checksums.ALGORITHMS
    ),
    ok("PutObject", "where nothing is", put("/bucket/new", body=BODY, if_none_match="*")),
    ok("PutObject", "over what it knows", put("/bucket/k", body=BODY, if_match='"{etag}"')),
    ok("PutObject", "of the usual class", put("/bucket/new", x_amz_storage_class="STANDARD")),
    ok("PutObject", "with a harmless acl", put("/bucket/new", body=BODY, x_amz_acl="private")),
    err(
        "PutObject",
        "PreconditionFailed",
        put("/bucket/k", body=BODY, if_none_match="*"),
        "If-None-Match",
        message="At least one of the pre-conditions you specified did not hold",
        Condition="If-None-Match",
    ),
    err(
        "PutObject",
        "PreconditionFailed",
        put("/bucket/k", body=BODY, if_match='"0"'),
        "If-Match",
        Condition="If-Match",
    ),
    err("PutObject", "NoSuchKey", put("/bucket/new", if_match='"0"'), "If-Match", Key="new"),
    err(
        "PutObject",
        "NotImplemented",
        put("/bucket/new", if_none_match='"0"'),
        "If-None-Match with an etag",
        Header="If-None-Match",
    ),
    err(
        "PutObject",
        "BadDigest",
        put("/bucket/new", body=BODY, content_md5=b64encode(bytes(16)).decode()),
        "Content-MD5",
        message="The Content-MD5 you specified did not match what we received.",
        ExpectedDigest=b64encode(bytes(16)).decode(),
        CalculatedDigest=b64encode(md5(BODY).digest()).decode(),
    ),
    err(
        "PutObject",
        "InvalidDigest",
        put("/bucket/new", body=BODY, content_md5="short"),
        extra={"Content-MD5": "short"},
    ),
    *(
        err(
            "PutObject",
            "BadDigest",
            put("/bucket/new", body=BODY, **{algorithm.header: checksum(name, b"other")}),
            name,
            message=f"The {name} you specified did not match the calculated checksum.",
        )
        for name, algorithm in checksums.ALGORITHMS.items()
    ),
    err(
        "PutObject",
        "InvalidRequest",
        put("/bucket/new", body=BODY, x_amz_checksum_crc32="AAAA"),
        "a checksum of the wrong length",
        message="Value for x-amz-checksum-crc32 header is invalid.",
    ),
    err(
        "PutObject",
        "XAmzContentSHA256Mismatch",
        put("/bucket/new", body=BODY, x_amz_content_sha256="0" * 64),
        ClientComputedContentSHA256="0" * 64,
        S3ComputedContentSHA256="*",
    ),
    err(
        "PutObject",
        "InvalidStorageClass",
        put("/bucket/new", x_amz_storage_class="COLD"),
        StorageClassRequested="COLD",
    ),
    err(
        "PutObject",
        "MetadataTooLarge",
        put("/bucket/new", x_amz_meta_m="x" * USER_METADATA_BYTES_MAX),
        Size=str(USER_METADATA_BYTES_MAX + 1),
        MaxSizeAllowed=str(USER_METADATA_BYTES_MAX),
    ),
    err(
        "PutObject",
        "EntityTooLarge",
        put("/bucket/new", content_length=str(UPLOAD_BYTES_MAX + 1)),
        ProposedSize=str(UPLOAD_BYTES_MAX + 1),
        MaxSizeAllowed=str(UPLOAD_BYTES_MAX),
    ),
    err("PutObject", "MissingContentLength", put("/bucket/new", transfer_encoding="chunked")),
    err(
        "PutObject",
        "InvalidArgument",
        put("/bucket/new", "versionId=null"),
        "versionId",
        message="This operation does not accept a version-id.",
        ArgumentName="versionId",
        ArgumentValue="null",
    ),
]

READS = [
    case
    for operation, ask in (("GetObject", get), ("HeadObject", head))
    for case in (
        ok(
            operation,
            "the whole",
            ask("/bucket/k"),
            headers={
                "etag": '"{etag}"',
                "content-length": "5",
                "content-type": "text/plain",
                "cache-control": "no-cache",
                "x-amz-meta-m": "v",
                "accept-ranges": "bytes",
                "last-modified": "*",
            },
            absent=("x-amz-version-id", "x-amz-checksum-crc64nvme"),
            body=PLAIN if operation == "GetObject" else b"",
        ),
        ok(
            operation,
            "a range",
            ask("/bucket/k", Range="bytes=1-2"),
            206,
            headers={"content-range": "bytes 1-2/5", "content-length": "2"},
            body=PLAIN[1:3] if operation == "GetObject" else b"",
        ),
        ok(
            operation,
            "its end",
            ask("/bucket/k", Range="bytes=-2"),
            206,
            headers={"content-range": "bytes 3-4/5"},
        ),
        ok(operation, "several ranges", ask("/bucket/k", Range="bytes=0-1,3-4"), 200),
        ok(
            operation,
            "its checksum",
            ask("/bucket/k", x_amz_checksum_mode="ENABLED"),
            headers={
                "x-amz-checksum-crc64nvme": checksum("CRC64NVME", PLAIN),
                "x-amz-checksum-type": "FULL_OBJECT",
            },
        ),
        ok(operation, "If-Match", ask("/bucket/k", if_match='"{etag}"')),
        ok(operation, "If-None-Match", ask("/bucket/k", if_none_match='"0"')),
        ok(
            operation,
            "not modified",
            ask("/bucket/k", if_none_match='"{etag}"'),
            304,
            headers={"etag": '"{etag}"'},
            body=b"",
        ),
        ok(operation, "If-Modified-Since", ask("/bucket/k", if_modified_since=PAST)),
        ok(operation, "not modified since", ask("/bucket/k", if_modified_since=FUTURE), 304),
        ok(operation, "If-Unmodified-Since", ask("/bucket/k", if_unmodified_since=FUTURE)),
        ok(operation, "the null version", ask("/bucket/k", "versionId=null")),
        ok(
            operation,
            "with headers of its own",
            ask(
                "/bucket/k",
                "response-cache-control=no-store&response-content-disposition=inline"
                "&response-content-encoding=br&response-content-language=fr"
                f"&response-content-type=a%2Fb&response-expires={quote(FUTURE)}",
            ),
            headers={
                "cache-control": "no-store",
                "content-disposition": "inline",
                "content-encoding": "br",
                "content-language": "fr",
                "content-type": "a/b",
                "expires": FUTURE,
            },
        ),
        ok(
            operation,
            "a part",
            ask("/bucket/m", "partNumber=2"),
            206,
            scene="made of parts",
            headers={"x-amz-mp-parts-count": "2", "content-length": "3"},
        ),
        err(operation, "NoSuchKey", ask("/bucket/none"), Key="none"),
        err(
            operation,
            "NoSuchVersion",
            ask("/bucket/k", f"versionId={'0' * 32}"),
            Key="k",
            VersionId="0" * 32,
        ),
        err(
            operation,
            "InvalidArgument",
            ask("/bucket/k", "versionId=x"),
            "a malformed version id",
            message="Invalid version id specified",
            ArgumentName="versionId",
            ArgumentValue="x",
        ),
        err(
            operation,
            "InvalidRange",
            ask("/bucket/k", Range="bytes=5-"),
            RangeRequested="bytes=5-",
            ActualObjectSize="5",
        ),
        err(
            operation,
            "InvalidPartNumber",
            ask("/bucket/k", "partNumber=2"),
            ActualPartCount="1",
            PartNumberRequested="2",
        ),
        err(
            operation,
            "InvalidArgument",
            ask("/bucket/k", "partNumber=0"),
            "part 0",
            ArgumentName="partNumber",
            ArgumentValue="0",
        ),
        err(
            operation,
            "InvalidRequest",
            ask("/bucket/k", "partNumber=1", Range="bytes=0-1"),
            "a part and a range",
            message="Cannot specify both Range header and partNumber query parameter",
        ),
        err(
            operation,
            "PreconditionFailed",
            ask("/bucket/k", if_match='"0"'),
            "If-Match",
            Condition="If-Match",
        ),
        err(
            operation,
            "PreconditionFailed",
            ask("/bucket/k", if_unmodified_since=PAST),
            "If-Unmodified-Since",
            Condition="If-Unmodified-Since",
        ),
    )
]

DELETE = [
    ok(
        "DeleteObject",
        "there",
        delete("/bucket/k"),
        204,
        absent=("x-amz-delete-marker", "x-amz-version-id"),
        after=After(head("/bucket/k"), 404),
    ),
    ok("DeleteObject", "not there", delete("/bucket/none"), 204, changes=False),
    ok("DeleteObject", "the null version", delete("/bucket/k", "versionId=null"), 204),
    ok("DeleteObject", "If-Match", delete("/bucket/k", if_match='"{etag}"'), 204),
    ok(
        "DeleteObject",
        "without a bypass",
        delete("/bucket/k", x_amz_bypass_governance_retention="false"),
        204,
    ),
    ok(
        "DeleteObject",
        "of the size and time it knows",
        delete(
            "/bucket/k",
            x_amz_if_match_size="5",
            x_amz_if_match_last_modified_time="Sun, 15 Jun 2025 15:06:40 GMT",
        ),
        204,
    ),
    err(
        "DeleteObject",
        "PreconditionFailed",
        delete("/bucket/k", if_match='"0"'),
        "If-Match",
        Condition="If-Match",
    ),
    err(
        "DeleteObject",
        "PreconditionFailed",
        delete("/bucket/k", x_amz_if_match_size="4"),
        "size",
        Condition="x-amz-if-match-size",
    ),
    err(
        "DeleteObject",
        "PreconditionFailed",
        delete("/bucket/k", x_amz_if_match_last_modified_time=PAST),
        "time",
        Condition="x-amz-if-match-last-modified-time",
    ),
    err("DeleteObject", "NoSuchKey", delete("/bucket/none", if_match='"0"'), Key="none"),
    err(
        "DeleteObject",
        "InvalidArgument",
        delete("/bucket/k", "versionId=x"),
        "a malformed version id",
        ArgumentName="versionId",
        ArgumentValue="x",
    ),
]

OTHERS = [
    ok(
        "GetObjectAcl",
        "the owner's",
        get("/bucket/k", "acl"),
        xml={"AccessControlList/Grant/Permission": ["FULL_CONTROL"]},
    ),
    ok("GetObjectAcl", "of the null version", get("/bucket/k", "acl&versionId=null")),
    err("GetObjectAcl", "NoSuchKey", get("/bucket/none", "acl"), Key="none"),
    ok("GetObjectTagging", "none", get("/bucket/k", "tagging"), xml={"TagSet/Tag": []}),
    ok("GetObjectTagging", "of the null version", get("/bucket/k", "tagging&versionId=null")),
    err("GetObjectTagging", "NoSuchKey", get("/bucket/none", "tagging"), Key="none"),
]

CASES: list[Case] = [*PUT, *READS, *DELETE, *OTHERS]
