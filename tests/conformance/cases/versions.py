"""Versioned buckets: the configuration, the listing, and each operation on a version."""

from __future__ import annotations

from base64 import b64encode
from hashlib import md5

from tests.conformance.case import After, Case, delete, err, get, head, ok, post, put
from tests.conformance.cases.deletes import batch
from tests.conformance.cases.objects import checksum
from tests.conformance.scenes import LARGE, PLAIN


def status(value: str) -> bytes:
    return (
        '<VersioningConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
        f"<Status>{value}</Status></VersioningConfiguration>"
    ).encode()


ENABLED = status("Enabled")

CONFIGURATION = [
    ok(
        "PutBucketVersioning",
        "enabled",
        put("/bucket", "versioning", ENABLED),
        after=After(get("/bucket", "versioning"), xml={"Status": "Enabled"}),
    ),
    ok(
        "PutBucketVersioning",
        "suspended",
        put("/bucket", "versioning", status("Suspended")),
        scene="versions",
        after=After(get("/bucket", "versioning"), xml={"Status": "Suspended"}),
    ),
    ok(
        "PutBucketVersioning",
        "protected by a digest and a checksum",
        put(
            "/bucket",
            "versioning",
            ENABLED,
            content_md5=b64encode(md5(ENABLED).digest()).decode(),
            x_amz_sdk_checksum_algorithm="CRC32",
            x_amz_checksum_crc32=checksum("CRC32", ENABLED),
        ),
    ),
    err(
        "PutBucketVersioning",
        "IllegalVersioningConfigurationException",
        put("/bucket", "versioning", b"<VersioningConfiguration/>"),
    ),
    *(
        err("PutBucketVersioning", "MalformedXML", put("/bucket", "versioning", body), name)
        for name, body in (
            ("no body", b""),
            ("another status", status("On")),
            ("another document", b"<Versioning/>"),
            ("a typo", b"<VersioningConfiguration><Stats>On</Stats></VersioningConfiguration>"),
            ("cut", ENABLED[:-3]),
        )
    ),
    err(
        "PutBucketVersioning",
        "NotImplemented",
        put(
            "/bucket",
            "versioning",
            b"<VersioningConfiguration><Status>Enabled</Status><MfaDelete>Enabled</MfaDelete>"
            b"</VersioningConfiguration>",
        ),
        "MFA delete",
        message="MFA delete is not implemented.",
    ),
    err(
        "PutBucketVersioning",
        "BadDigest",
        put("/bucket", "versioning", ENABLED, content_md5=b64encode(bytes(16)).decode()),
        ExpectedDigest=b64encode(bytes(16)).decode(),
        CalculatedDigest="*",
    ),
]

LISTING = [
    ok(
        "ListObjectVersions",
        "all",
        get("/bucket", "versions"),
        scene="versions",
        xml={
            "Name": "bucket",
            "Version/Key": ["gone", "k", "k", "k"],
            "Version/VersionId": ["{g1}", "{v2}", "{v1}", "null"],
            "Version/IsLatest": ["false", "true", "false", "false"],
            "Version/Size": ["1", str(len(LARGE)), "3", "5"],
            "Version/Owner/ID": ["owner-1"] * 4,
            "Version/StorageClass": ["STANDARD"] * 4,
            "Version/ChecksumAlgorithm": ["CRC64NVME"] * 4,
            "DeleteMarker/Key": ["gone"],
            "DeleteMarker/VersionId": ["{marker}"],
            "DeleteMarker/IsLatest": ["true"],
            "DeleteMarker/Owner/ID": ["owner-1"],
            "IsTruncated": "false",
            "MaxKeys": "1000",
            "NextKeyMarker": None,
            "NextVersionIdMarker": None,
        },
    ),
    ok(
        "ListObjectVersions",
        "a page",
        get("/bucket", "versions&max-keys=2&prefix=k"),
        scene="versions",
        xml={
            "Version/VersionId": ["{v2}", "{v1}"],
            "NextKeyMarker": "k",
            "NextVersionIdMarker": "{v1}",
            "IsTruncated": "true",
        },
    ),
    ok(
        "ListObjectVersions",
        "the next page",
        get("/bucket", "versions&key-marker=k&version-id-marker={v1}"),
        scene="versions",
        xml={"Version/VersionId": ["null"], "Version/IsLatest": ["false"], "KeyMarker": "k"},
    ),
    ok(
        "ListObjectVersions",
        "rolled up, encoded",
        get("/bucket", "versions&delimiter=%2F&encoding-type=url"),
        xml={"CommonPrefixes/Prefix": ["a/"], "Version/Key": ["b", "empty", "k", "large"]},
    ),
    ok(
        "ListObjectVersions",
        "with what was restored: nothing",
        get("/bucket", "versions", x_amz_optional_object_attributes="RestoreStatus"),
        xml={"Version/RestoreStatus": []},
    ),
    err(
        "ListObjectVersions",
        "InvalidArgument",
        get("/bucket", "versions&version-id-marker=null"),
        "a version without its key",
        message="A version-id marker cannot be specified without a key marker.",
        ArgumentName="version-id-marker",
        ArgumentValue="null",
    ),
    err(
        "ListObjectVersions",
        "InvalidArgument",
        get("/bucket", "versions&key-marker=k&version-id-marker=x"),
        "a malformed version id",
        message="Invalid version id specified",
        ArgumentName="version-id-marker",
        ArgumentValue="x",
    ),
    *(
        err(
            "ListObjectVersions",
            "InvalidArgument",
            get("/bucket", f"versions&{name}={value}"),
            f"{name}={value}",
            ArgumentName=name,
            ArgumentValue=value,
        )
        for name, value in (
            ("max-keys", "-1"),
            ("max-keys", "x"),
            ("max-keys", "9999999999"),
            ("encoding-type", "base64"),
        )
    ),
]

READS = [
    case
    for operation, ask in (("GetObject", get), ("HeadObject", head))
    for case in (
        ok(
            operation,
            "the current version",
            ask("/bucket/k"),
            scene="versions",
            headers={"x-amz-version-id": "{v2}"},
        ),
        ok(
            operation,
            "an older version",
            ask("/bucket/k", "versionId={v1}"),
            scene="versions",
            headers={"x-amz-version-id": "{v1}", "content-length": "3"},
        ),
        ok(
            operation,
            "the null version of before",
            ask("/bucket/k", "versionId=null"),
            scene="versions",
            headers={"x-amz-version-id": "null", "etag": '"{null}"'},
        ),
        err(
            operation,
            "NoSuchKey",
            ask("/bucket/gone"),
            "below a delete marker",
            scene="versions",
            headers={"x-amz-delete-marker": "true", "x-amz-version-id": "{marker}"},
            Key="gone",
        ),
        err(
            operation,
            "MethodNotAllowed",
            ask("/bucket/gone", "versionId={marker}"),
            "a delete marker",
            scene="versions",
            headers={"x-amz-delete-marker": "true", "allow": "DELETE", "last-modified": "*"},
            Method=ask("").method,
            ResourceType="DeleteMarker",
        ),
        err(
            operation,
            "NoSuchVersion",
            ask("/bucket/gone", "versionId={v1}"),
            "of another key",
            scene="versions",
            Key="gone",
            VersionId="{v1}",
        ),
        err(
            operation,
            "NoSuchVersion",
            ask("/bucket/gone", "versionId=null"),
            "no null version",
            scene="versions",
            Key="gone",
            VersionId="null",
        ),
    )
]

WRITES = [
    ok(
        "PutObject",
        "a version more",
        put("/bucket/k", body=b"three"),
        scene="versions",
        headers={"x-amz-version-id": "*"},
        after=(
            After(get("/bucket/k", "versionId={v2}"), body=LARGE),
            After(get("/bucket/k"), body=b"three"),
        ),
    ),
    ok(
        "PutObject",
        "the null version, suspended",
        put("/bucket/k", body=b"three"),
        scene="suspended",
        absent=("x-amz-version-id",),
        after=(
            After(get("/bucket/k"), headers={"x-amz-version-id": "null"}, body=b"three"),
            After(get("/bucket/k", "versionId={v2}"), body=LARGE),
        ),
    ),
    ok(
        "PutObject",
        "above a delete marker, where nothing is",
        put("/bucket/gone", body=b"back", if_none_match="*"),
        scene="versions",
        after=After(get("/bucket/gone"), body=b"back"),
    ),
    ok(
        "DeleteObject",
        "a marker more",
        delete("/bucket/k"),
        204,
        scene="versions",
        headers={"x-amz-delete-marker": "true", "x-amz-version-id": "*"},
        after=(
            After(get("/bucket/k"), 404),
            After(get("/bucket/k", "versionId={v2}"), body=LARGE),
        ),
    ),
    ok(
        "DeleteObject",
        "a marker where nothing was",
        delete("/bucket/none"),
        204,
        scene="versions",
        headers={"x-amz-delete-marker": "true"},
    ),
    ok(
        "DeleteObject",
        "a version for good",
        delete("/bucket/k", "versionId={v2}"),
        204,
        scene="versions",
        headers={"x-amz-version-id": "{v2}"},
        absent=("x-amz-delete-marker",),
        after=After(get("/bucket/k"), headers={"x-amz-version-id": "{v1}"}),
    ),
    ok(
        "DeleteObject",
        "a marker, which restores",
        delete("/bucket/gone", "versionId={marker}"),
        204,
        scene="versions",
        headers={"x-amz-version-id": "{marker}", "x-amz-delete-marker": "true"},
        after=After(get("/bucket/gone"), headers={"x-amz-version-id": "{g1}"}, body=b"g"),
    ),
    ok(
        "DeleteObject",
        "the null version, suspended",
        delete("/bucket/k"),
        204,
        scene="suspended",
        headers={"x-amz-delete-marker": "true", "x-amz-version-id": "null"},
        after=After(get("/bucket/k", "versionId=null"), 405),
    ),
    ok(
        "DeleteObjects",
        "markers and versions",
        batch("<Key>k</Key>", "<Key>b</Key>"),
        scene="versions",
        xml={
            "Deleted/Key": ["k", "b"],
            "Deleted/DeleteMarker": ["true", "true"],
            "Error": [],
        },
    ),
    ok(
        "CopyObject",
        "of an older version, which restores",
        put("/bucket/k", x_amz_copy_source="/bucket/k?versionId=null"),
        scene="versions",
        headers={"x-amz-version-id": "*", "x-amz-copy-source-version-id": "null"},
        after=After(get("/bucket/k"), body=PLAIN),
    ),
    err(
        "CopyObject",
        "NoSuchKey",
        put("/bucket/new", x_amz_copy_source="/bucket/gone"),
        "source below a delete marker",
        scene="versions",
        Key="gone",
    ),
    err(
        "CopyObject",
        "InvalidRequest",
        put("/bucket/new", x_amz_copy_source="/bucket/gone?versionId={marker}"),
        "source a delete marker",
        message="The source of a copy request may not specifically refer to a delete marker by "
        "version id.",
        scene="versions",
    ),
    ok(
        "GetObjectTagging",
        "of a version",
        get("/bucket/k", "tagging&versionId={v1}"),
        scene="versions",
    ),
    ok(
        "CreateMultipartUpload",
        "in a versioned bucket",
        post("/bucket/k", "uploads"),
        scene="versions",
        absent=("x-amz-version-id",),
    ),
    err(
        "DeleteBucket",
        "BucketNotEmpty",
        delete("/bucket"),
        "versions",
        scene="versions",
        BucketName="bucket",
    ),
]

CASES: list[Case] = [*CONFIGURATION, *LISTING, *READS, *WRITES]
