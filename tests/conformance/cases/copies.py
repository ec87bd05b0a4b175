"""CopyObject and UploadPartCopy."""

from __future__ import annotations

from hashlib import md5

from tests.conformance.case import After, Case, err, get, head, ok, put
from tests.conformance.cases.objects import FUTURE, PAST
from tests.conformance.scenes import LARGE, PLAIN

SOURCE = "/bucket/k"
PART = "partNumber=2&uploadId={upload}"


def conditions(operation: str, target: str, query: str, scene: str) -> list[Case]:
    """The four conditions on a source, each held and not."""
    held = {
        "if-match": '"{etag}"',
        "if-none-match": '"0"',
        "if-modified-since": PAST,
        "if-unmodified-since": FUTURE,
    }
    failed = {
        "If-Match": '"0"',
        "If-None-Match": '"{etag}"',
        "If-Modified-Since": FUTURE,
        "If-Unmodified-Since": PAST,
    }
    rows = []
    for name, value in held.items():
        ask = put(target, query, x_amz_copy_source=SOURCE)
        ask = ask.plus(**{f"x-amz-copy-source-{name}": value})
        rows.append(ok(operation, f"source {name}", ask, scene=scene))
    for name, value in failed.items():
        ask = put(target, query, x_amz_copy_source=SOURCE)
        header = f"x-amz-copy-source-{name}"
        rows.append(
            err(
                operation,
                "PreconditionFailed",
                ask.plus(**{header: value}),
                f"source {name}",
                scene=scene,
                Condition=header,
            )
        )
    return rows


def sources(operation: str, target: str, query: str, scene: str) -> list[Case]:
    """What can be wrong with a source."""
    return [
        err(
            operation,
            "NoSuchKey",
            put(target, query, x_amz_copy_source="/bucket/none"),
            "source",
            scene=scene,
            Key="none",
        ),
        err(
            operation,
            "NoSuchBucket",
            put(target, query, x_amz_copy_source="/none/k"),
            "source",
            scene=scene,
            BucketName="none",
        ),
        err(
            operation,
            "NoSuchVersion",
            put(target, query, x_amz_copy_source=f"/bucket/k?versionId={'0' * 32}"),
            "source",
            scene=scene,
            Key="k",
            VersionId="0" * 32,
        ),
        *(
            err(
                operation,
                "InvalidArgument",
                put(target, query, x_amz_copy_source=value),
                f"source {value!r}",
                message="Copy Source must mention the source bucket and key: "
                "sourcebucket/sourcekey",
                scene=scene,
                ArgumentName="x-amz-copy-source",
                ArgumentValue=value,
            )
            for value in ("", "/", "bucket", "bucket/")
        ),
        err(
            operation,
            "AccessDenied",
            put(
                target, query, x_amz_copy_source=SOURCE, x_amz_source_expected_bucket_owner="other"
            ),
            "source of another owner than expected",
            scene=scene,
        ),
        ok(
            operation,
            "source of the owner expected",
            put(
                target,
                query,
                x_amz_copy_source=SOURCE,
                x_amz_source_expected_bucket_owner="owner-1",
            ),
            scene=scene,
        ),
    ]


COPY = [
    ok(
        "CopyObject",
        "with its metadata",
        put("/bucket/new", x_amz_copy_source=SOURCE),
        xml={"ETag": '"{etag}"', "LastModified": "*", "ChecksumCRC64NVME": "*"},
        absent=("x-amz-copy-source-version-id",),
        after=After(
            get("/bucket/new"),
            headers={
                "x-amz-meta-m": "v",
                "content-type": "text/plain",
                "cache-control": "no-cache",
            },
            body=PLAIN,
        ),
    ),
    *(
        ok(
            "CopyObject",
            f"annotations: {directive}",  # there are none: each of the two is done
            put(
                "/bucket/new",
                x_amz_copy_source=SOURCE,
                x_amz_object_annotation_directive=directive,
            ),
            after=After(get("/bucket/new")),
        )
        for directive in ("COPY", "EXCLUDE")
    ),
    ok(
        "CopyObject",
        "with metadata of its own",
        put(
            "/bucket/new",
            x_amz_copy_source=SOURCE,
            x_amz_metadata_directive="REPLACE",
            x_amz_meta_n="w",
            content_type="a/b",
            content_encoding="br",
            content_language="fr",
            content_disposition="inline",
            cache_control="no-store",
            expires="soon",
        ),
        after=After(
            get("/bucket/new"),
            headers={
                "x-amz-meta-n": "w",
                "content-type": "a/b",
                "content-encoding": "br",
                "content-language": "fr",
                "content-disposition": "inline",
                "cache-control": "no-store",
                "expires": "soon",
            },
            absent=("x-amz-meta-m",),
        ),
    ),
    ok(
        "CopyObject",
        "onto itself with other metadata",
        put(SOURCE, x_amz_copy_source=SOURCE, x_amz_metadata_directive="REPLACE"),
        after=After(head(SOURCE), absent=("x-amz-meta-m",)),
    ),
    ok(
        "CopyObject",
        "with another checksum",
        put("/bucket/new", x_amz_copy_source=SOURCE, x_amz_checksum_algorithm="SHA1"),
        xml={"ChecksumSHA1": "*", "ChecksumType": "FULL_OBJECT", "ChecksumCRC64NVME": None},
    ),
    ok(
        "CopyObject",
        "of a large one",
        put("/bucket/new", x_amz_copy_source="bucket/large"),
        after=After(get("/bucket/new"), body=LARGE),
    ),
    ok(
        "CopyObject",
        "of a version",
        put("/bucket/new", x_amz_copy_source=f"{SOURCE}?versionId=null"),
        absent=("x-amz-copy-source-version-id",),
    ),
    ok(
        "CopyObject",
        "where nothing is",
        put("/bucket/new", x_amz_copy_source=SOURCE, if_none_match="*"),
    ),
    ok(
        "CopyObject",
        "over what it knows",
        put("/bucket/b", x_amz_copy_source=SOURCE, if_match=f'"{md5(b"b").hexdigest()}"'),
    ),
    ok(
        "CopyObject",
        "of the usual class",
        put("/bucket/new", x_amz_copy_source=SOURCE, x_amz_storage_class="STANDARD"),
    ),
    *conditions("CopyObject", "/bucket/new", "", "objects"),
    *sources("CopyObject", "/bucket/new", "", "foreign"),
    err(
        "CopyObject",
        "AccessDenied",
        put("/bucket/new", x_amz_copy_source="/theirs/k"),
        "of somebody else's object",
        scene="foreign",
    ),
    err(
        "CopyObject",
        "InvalidRequest",
        put(SOURCE, x_amz_copy_source=SOURCE),
        "onto itself",
        message="This copy request is illegal because it is trying to copy an object to itself "
        "without changing the object's metadata, storage class, website redirect location or "
        "encryption attributes.",
    ),
    err(
        "CopyObject",
        "InvalidArgument",
        put("/bucket/new", x_amz_copy_source=SOURCE, x_amz_metadata_directive="MERGE"),
        "directive",
        message="Unknown metadata directive.",
        ArgumentName="x-amz-metadata-directive",
        ArgumentValue="MERGE",
    ),
    err(
        "CopyObject",
        "InvalidArgument",
        put("/bucket/new", x_amz_copy_source=SOURCE, x_amz_tagging_directive="MERGE"),
        "tagging directive",
        message="Unknown tagging directive.",
        ArgumentName="x-amz-tagging-directive",
        ArgumentValue="MERGE",
    ),
    err(
        "CopyObject",
        "PreconditionFailed",
        put("/bucket/b", x_amz_copy_source=SOURCE, if_none_match="*"),
        "If-None-Match",
        Condition="If-None-Match",
    ),
]

PART_COPY = [
    ok(
        "UploadPartCopy",
        "the whole",
        put("/bucket/m", PART, x_amz_copy_source=SOURCE),
        scene="upload",
        xml={"ETag": '"{etag}"', "LastModified": "*", "ChecksumType": None},
        after=After(get("/bucket/m", "uploadId={upload}"), xml={"Part/PartNumber": ["1", "2"]}),
    ),
    ok(
        "UploadPartCopy",
        "a range",
        put("/bucket/m", PART, x_amz_copy_source=SOURCE, x_amz_copy_source_range="bytes=1-3"),
        scene="upload",
        xml={"ETag": f'"{md5(PLAIN[1:4]).hexdigest()}"'},
    ),
    *conditions("UploadPartCopy", "/bucket/m", PART, "upload"),
    *sources("UploadPartCopy", "/bucket/m", PART, "upload"),
    *(
        err(
            "UploadPartCopy",
            "InvalidArgument",
            put("/bucket/m", PART, x_amz_copy_source=SOURCE, x_amz_copy_source_range=value),
            f"range {value}",
            scene="upload",
            ArgumentName="x-amz-copy-source-range",
            ArgumentValue=value,
        )
        for value in ("bytes=0-5", "bytes=3-1", "bytes=-3", "0-1", "bytes=1-")
    ),
    err(
        "UploadPartCopy",
        "NoSuchUpload",
        put("/bucket/m", f"partNumber=1&uploadId={'0' * 32}", x_amz_copy_source=SOURCE),
        scene="upload",
        UploadId="0" * 32,
    ),
]

CASES: list[Case] = [*COPY, *PART_COPY]
