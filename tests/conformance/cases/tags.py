"""Tags of objects, versions and buckets."""

from __future__ import annotations

from base64 import b64encode
from hashlib import md5
from urllib.parse import quote

from s3node.s3 import tagging
from tests.conformance.case import After, Ask, Case, delete, err, get, head, ok, post, put
from tests.conformance.cases.objects import checksum

TAGS = (("b", "2"), ("a", "é /"))
BODY = tagging.document(TAGS)
HEADER = f"b=2&a={quote('é /')}"
KEYS, VALUES = ["b", "a"], ["2", "é /"]
SHOWN = {"TagSet/Tag/Key": KEYS, "TagSet/Tag/Value": VALUES}
NONE: dict[str, str | list[str] | None] = {"TagSet/Tag": []}


def shown(path: str, query: str = "tagging") -> After:
    return After(get(path, query), xml=SHOWN)


def none(path: str, query: str = "tagging") -> After:
    return After(get(path, query), xml=NONE)


def many(count: int) -> bytes:
    return tagging.document([(f"k{number}", "v") for number in range(count)])


OBJECTS = [
    ok(
        "PutObjectTagging",
        "instead of those before",
        put("/bucket/k", "tagging", BODY, content_md5=b64encode(md5(BODY).digest()).decode()),
        body=b"",
        absent=("x-amz-version-id",),
        after=(
            shown("/bucket/k"),
            After(head("/bucket/k"), headers={"x-amz-tagging-count": "2"}),
            After(get("/bucket/k"), headers={"x-amz-tagging-count": "2"}, body=b"12345"),
        ),
        scene="tagged",
    ),
    ok(
        "PutObjectTagging",
        "with a checksum",
        put(
            "/bucket/k",
            "tagging",
            BODY,
            x_amz_sdk_checksum_algorithm="CRC32",
            x_amz_checksum_crc32=checksum("CRC32", BODY),
        ),
        after=shown("/bucket/k"),
    ),
    ok(
        "PutObjectTagging",
        "none",
        put("/bucket/k", "tagging", tagging.document(())),
        after=(none("/bucket/k"), After(head("/bucket/k"), absent=("x-amz-tagging-count",))),
        scene="tagged",
    ),
    ok("PutObjectTagging", "ten", put("/bucket/k", "tagging", many(10))),
    ok(
        "PutObjectTagging",
        "of the current version",
        put("/bucket/k", "tagging", BODY),
        headers={"x-amz-version-id": "{v2}"},
        after=(
            shown("/bucket/k"),
            shown("/bucket/k", "tagging&versionId={v2}"),
            none("/bucket/k", "tagging&versionId={v1}"),
        ),
        scene="versions",
    ),
    ok(
        "PutObjectTagging",
        "of an older version",
        put("/bucket/k", "tagging&versionId={v1}", BODY),
        headers={"x-amz-version-id": "{v1}"},
        after=(
            shown("/bucket/k", "tagging&versionId={v1}"),
            none("/bucket/k"),
            After(
                get("/bucket/k", "versionId={v1}"),
                headers={"x-amz-tagging-count": "2", "etag": '"{v1_etag}"'},
                body=b"one",
            ),
        ),
        scene="versions",
    ),
    ok(
        "PutObjectTagging",
        "of the null version below others",
        put("/bucket/k", "tagging&versionId=null", BODY),
        headers={"x-amz-version-id": "null"},
        after=(shown("/bucket/k", "tagging&versionId=null"), none("/bucket/k")),
        scene="versions",
    ),
    err("PutObjectTagging", "NoSuchKey", put("/bucket/none", "tagging", BODY), Key="none"),
    err(
        "PutObjectTagging",
        "NoSuchVersion",
        put("/bucket/k", f"tagging&versionId={'0' * 32}", BODY),
        Key="k",
        VersionId="0" * 32,
    ),
    *(
        err(
            f"{method.capitalize()}ObjectTagging",
            "MethodNotAllowed",
            Ask(method, "/bucket/gone", query, body=BODY if method == "PUT" else b""),
            f"a delete marker, {how}",
            scene="versions",
            headers={"x-amz-delete-marker": "true", "x-amz-version-id": "{marker}"},
            Method=method,
            ResourceType="DeleteMarker",
        )
        for method in ("GET", "PUT", "DELETE")
        for query, how in (
            ("tagging&versionId={marker}", "named"),
            ("tagging", "the current version"),
        )
    ),
    err("PutObjectTagging", "MalformedXML", put("/bucket/k", "tagging", b"<Tagging/>")),
    err("PutObjectTagging", "MalformedXML", put("/bucket/k", "tagging"), "nothing"),
    err(
        "PutObjectTagging",
        "BadRequest",
        put("/bucket/k", "tagging", many(11)),
        message="Object tags cannot be greater than 10",
    ),
    *(
        err(
            "PutObjectTagging",
            "InvalidTag",
            put("/bucket/k", "tagging", tagging.document(tags)),
            about,
            message=message,
            **fields,
        )
        for about, tags, message, fields in (
            ("no key", [("", "v")], "The TagKey you have provided is invalid", {"TagKey": ""}),
            (
                "a key's character",
                [("a(", "v")],
                "The TagKey you have provided is invalid",
                {"TagKey": "a("},
            ),
            (
                "a long key",
                [("k" * 129, "")],
                "The TagKey you have provided is invalid",
                {"TagKey": "k" * 129},
            ),
            (
                "a value's character",
                [("k", "v,")],
                "The TagValue you have provided is invalid",
                {"TagKey": "k", "TagValue": "v,"},
            ),
            (
                "a long value",
                [("k", "v" * 257)],
                "The TagValue you have provided is invalid",
                {"TagKey": "k", "TagValue": "v" * 257},
            ),
            (
                "one key twice",
                [("k", "1"), ("k", "2")],
                "Cannot provide multiple Tags with the same key",
                {"TagKey": "k"},
            ),
            (
                "a reserved key",
                [("aws:k", "1")],
                "Your TagKey cannot be prefixed with aws:",
                {"TagKey": "aws:k"},
            ),
        )
    ),
    err(
        "PutObjectTagging",
        "BadDigest",
        put("/bucket/k", "tagging", BODY, x_amz_checksum_crc32="AAAAAA=="),
        message="The CRC32 you specified did not match the calculated checksum.",
    ),
    ok("GetObjectTagging", "some", get("/bucket/k", "tagging"), xml=SHOWN, scene="tagged"),
    err(
        "GetObjectTagging",
        "NoSuchVersion",
        get("/bucket/k", f"tagging&versionId={'0' * 32}"),
        Key="k",
        VersionId="0" * 32,
    ),
    ok(
        "DeleteObjectTagging",
        "all of them",
        delete("/bucket/k", "tagging"),
        204,
        after=(none("/bucket/k"), After(get("/bucket/k"), body=b"12345")),
        scene="tagged",
    ),
    ok("DeleteObjectTagging", "none", delete("/bucket/k", "tagging"), 204),
    ok(
        "DeleteObjectTagging",
        "of an older version",
        delete("/bucket/k", "tagging&versionId={v1}"),
        204,
        headers={"x-amz-version-id": "{v1}"},
        scene="versions",
    ),
    err("DeleteObjectTagging", "NoSuchKey", delete("/bucket/none", "tagging"), Key="none"),
]

BUCKETS = [
    ok(
        "PutBucketTagging",
        "instead of those before",
        put("/bucket", "tagging", BODY, content_md5=b64encode(md5(BODY).digest()).decode()),
        204,
        body=b"",
        after=shown("/bucket"),
        scene="tagged",
    ),
    ok(
        "PutBucketTagging",
        "fifty, with a checksum",
        put(
            "/bucket",
            "tagging",
            many(50),
            x_amz_sdk_checksum_algorithm="SHA256",
            x_amz_checksum_sha256=checksum("SHA256", many(50)),
        ),
        204,
    ),
    ok(
        "PutBucketTagging",
        "none",
        put("/bucket", "tagging", tagging.document(())),
        204,
        after=After(get("/bucket", "tagging"), 404, xml={"Code": "NoSuchTagSet"}),
        scene="tagged",
    ),
    err("PutBucketTagging", "MalformedXML", put("/bucket", "tagging", b"<TagSet/>")),
    err(
        "PutBucketTagging",
        "BadRequest",
        put("/bucket", "tagging", many(51)),
        message="Bucket tag count cannot be greater than 50",
    ),
    err(
        "PutBucketTagging",
        "InvalidTag",
        put("/bucket", "tagging", tagging.document([("aws:x", "")])),
        message="System tags cannot be added/updated by requester",
        TagKey="aws:x",
    ),
    ok("GetBucketTagging", "some", get("/bucket", "tagging"), xml=SHOWN, scene="tagged"),
    ok(
        "DeleteBucketTagging",
        "some",
        delete("/bucket", "tagging"),
        204,
        after=After(get("/bucket", "tagging"), 404, xml={"Code": "NoSuchTagSet"}),
        scene="tagged",
    ),
    ok("DeleteBucketTagging", "none", delete("/bucket", "tagging"), 204),
]


def creation(inner: str) -> bytes:
    return f"<CreateBucketConfiguration>{inner}</CreateBucketConfiguration>".encode()


TAG = "<Tag><Key>b</Key><Value>2</Value></Tag><Tag><Key>a</Key><Value>é /</Value></Tag>"
CREATION = [
    ok(
        "CreateBucket",
        "with tags",
        put("/fresh", body=creation(f"<Tags>{TAG}</Tags>")),
        after=shown("/fresh"),
        scene="empty",
    ),
    ok(
        "CreateBucket",
        "with a place and no tags",
        put(
            "/fresh",
            body=creation("<LocationConstraint>eu-west-1</LocationConstraint><Tags></Tags>"),
        ),
        after=After(get("/fresh", "tagging"), 404, xml={"Code": "NoSuchTagSet"}),
        scene="empty",
    ),
    err(
        "CreateBucket",
        "InvalidTag",
        put("/fresh", body=creation(f"<Tags>{TAG}{TAG}</Tags>")),
        scene="empty",
        TagKey="b",
    ),
    err(
        "CreateBucket",
        "MalformedXML",
        put("/fresh", body=creation("<Tags><Key>a</Key></Tags>")),
        "tags that are none",
        scene="empty",
    ),
]

SOURCE = "bucket/k"
ENCODING = (
    "The header 'x-amz-tagging' shall be encoded as UTF-8 then URLEncoded URL query parameters "
    "without tag name duplicates."
)


def _refused(operation: str, ask: Ask) -> list[Case]:
    """What a header of tags can get wrong."""
    return [
        *(
            err(
                operation,
                "InvalidArgument",
                ask.plus(x_amz_tagging=value),
                f"tags that are {what}",
                message=ENCODING,
                ArgumentName="x-amz-tagging",
                ArgumentValue=value,
            )
            for value, what in (("a=1&a=2", "twice"), ("%", "not encoded"), ("=v", "without key"))
        ),
        err(operation, "InvalidTag", ask.plus(x_amz_tagging="a=("), TagKey="a", TagValue="("),
        err(
            operation,
            "BadRequest",
            ask.plus(x_amz_tagging="&".join(f"k{number}" for number in range(11))),
            "eleven tags",
            message="Object tags cannot be greater than 10",
        ),
    ]


COPY = put("/bucket/new", x_amz_copy_source=SOURCE)
REPLACE = COPY.plus(x_amz_tagging_directive="REPLACE")

WITH_OBJECTS = [
    ok(
        "PutObject",
        "with tags",
        put("/bucket/new", body=b"x", x_amz_tagging=HEADER),
        after=shown("/bucket/new"),
    ),
    ok(
        "PutObject",
        "over an object with tags",
        put("/bucket/k", body=b"x"),
        after=none("/bucket/k"),
        scene="tagged",
    ),
    ok("CopyObject", "with its tags", COPY, after=shown("/bucket/new"), scene="tagged"),
    ok(
        "CopyObject",
        "with its tags and other metadata",
        COPY.plus(x_amz_metadata_directive="REPLACE", x_amz_tagging_directive="COPY"),
        after=shown("/bucket/new"),
        scene="tagged",
    ),
    ok("CopyObject", "without its tags", REPLACE, after=none("/bucket/new"), scene="tagged"),
    ok(
        "CopyObject",
        "with other tags",
        REPLACE.plus(x_amz_tagging=HEADER),
        after=shown("/bucket/new"),
    ),
    ok(
        "CreateMultipartUpload",
        "with tags",
        post("/bucket/m", "uploads", x_amz_tagging=HEADER),
    ),
    *_refused("PutObject", put("/bucket/new", body=b"x")),
    *_refused("CopyObject", REPLACE),
    *_refused("CreateMultipartUpload", post("/bucket/m", "uploads")),
]

CASES: list[Case] = [*OBJECTS, *BUCKETS, *CREATION, *WITH_OBJECTS]
