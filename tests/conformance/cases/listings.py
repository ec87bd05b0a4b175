"""Listings of objects and of uploads."""

from __future__ import annotations

from tests.conformance.case import Case, err, get, ok


def arguments(operation: str, query: str, limit: str) -> list[Case]:
    """What can be wrong with a page."""
    wrong = [(limit, value) for value in ("-1", "x", "9999999999")]
    wrong.append(("encoding-type", "base64"))
    return [
        err(
            operation,
            "InvalidArgument",
            get("/bucket", "&".join(part for part in (query, f"{name}={value}") if part)),
            f"{name}={value}",
            ArgumentName=name,
            ArgumentValue=value,
        )
        for name, value in wrong
    ]


V1 = [
    ok(
        "ListObjects",
        "all",
        get("/bucket"),
        xml={
            "Name": "bucket",
            "Contents/Key": ["a/1", "a/2", "b", "empty", "k", "large"],
            "Contents/Size": ["3", "3", "1", "0", "5", "16384"],
            "Contents/StorageClass": ["STANDARD"] * 6,
            "Contents/Owner/ID": ["owner-1"] * 6,
            "Contents/ChecksumAlgorithm": ["CRC64NVME"] * 6,
            "Contents/ChecksumType": ["FULL_OBJECT"] * 6,
            "IsTruncated": "false",
            "MaxKeys": "1000",
            "Marker": "",
            "Prefix": "",
            "NextMarker": None,
            "Delimiter": None,
            "EncodingType": None,
        },
    ),
    ok(
        "ListObjects",
        "rolled up",
        get("/bucket", "delimiter=%2F&max-keys=1"),
        xml={
            "CommonPrefixes/Prefix": ["a/"],
            "Contents": [],
            "NextMarker": "a/",
            "IsTruncated": "true",
            "Delimiter": "/",
        },
    ),
    ok(
        "ListObjects",
        "behind a marker",
        get("/bucket", "marker=b&max-keys=2"),
        xml={
            "Contents/Key": ["empty", "k"],
            "Marker": "b",
            "NextMarker": None,
            "IsTruncated": "true",
        },
    ),
    ok(
        "ListObjects",
        "of a prefix, encoded",
        get("/bucket", "prefix=a%2F&encoding-type=url&delimiter=%7C"),
        xml={
            "Contents/Key": ["a/1", "a/2"],
            "Prefix": "a/",
            "EncodingType": "url",
            "Delimiter": "%7C",
        },
    ),
    ok("ListObjects", "nothing", get("/bucket", "max-keys=0"), xml={"Contents": []}),
    ok("ListObjects", "of an empty bucket", get("/bucket"), scene="bucket", xml={"Contents": []}),
    ok(
        "ListObjects",
        "with what was restored: nothing",
        get("/bucket", x_amz_optional_object_attributes="RestoreStatus"),
        xml={"Contents/RestoreStatus": []},
    ),
    *arguments("ListObjects", "", "max-keys"),
]

V2 = [
    ok(
        "ListObjectsV2",
        "all",
        get("/bucket", "list-type=2"),
        xml={
            "Contents/Key": ["a/1", "a/2", "b", "empty", "k", "large"],
            "Contents/Owner": [],
            "KeyCount": "6",
            "IsTruncated": "false",
            "NextContinuationToken": None,
            "StartAfter": None,
        },
    ),
    ok(
        "ListObjectsV2",
        "with owners",
        get("/bucket", "list-type=2&fetch-owner=true"),
        xml={"Contents/Owner/ID": ["owner-1"] * 6},
    ),
    ok(
        "ListObjectsV2",
        "behind a key",
        get("/bucket", "list-type=2&start-after=empty"),
        xml={"Contents/Key": ["k", "large"], "StartAfter": "empty"},
    ),
    ok(
        "ListObjectsV2",
        "rolled up, encoded",
        get("/bucket", "list-type=2&delimiter=%2F&prefix=&encoding-type=url&max-keys=2"),
        xml={
            "CommonPrefixes/Prefix": ["a/"],
            "Contents/Key": ["b"],
            "KeyCount": "2",
            "NextContinuationToken": "*",
        },
    ),
    err(
        "ListObjectsV2",
        "InvalidArgument",
        get("/bucket", "list-type=2&continuation-token=forged"),
        "a forged token",
        message="The continuation token provided is incorrect",
        ArgumentName="continuation-token",
        ArgumentValue="forged",
    ),
    err(
        "ListObjectsV2",
        "InvalidArgument",
        get("/bucket", "list-type=2&fetch-owner=maybe"),
        "fetch-owner",
        ArgumentName="fetch-owner",
        ArgumentValue="maybe",
    ),
    ok(
        "ListObjectsV2",
        "with what was restored: nothing",
        get("/bucket", "list-type=2", x_amz_optional_object_attributes="RestoreStatus"),
        xml={"Contents/RestoreStatus": []},
    ),
    *arguments("ListObjectsV2", "list-type=2", "max-keys"),
]

UPLOADS = [
    ok(
        "ListMultipartUploads",
        "all",
        get("/bucket", "uploads"),
        scene="uploads",
        xml={
            "Upload/Key": ["a/1", "a/2", "m", "m"],
            "Upload/UploadId": ["{a1}", "{a2}", "{m1}", "{m2}"],
            "Upload/Owner/ID": ["owner-1"] * 4,
            "Upload/Initiator/ID": ["owner-1"] * 4,
            "Upload/StorageClass": ["STANDARD"] * 4,
            "IsTruncated": "false",
            "NextKeyMarker": None,
            "NextUploadIdMarker": None,
            "MaxUploads": "1000",
        },
    ),
    ok(
        "ListMultipartUploads",
        "a page",
        get("/bucket", "uploads&max-uploads=1&prefix=m"),
        scene="uploads",
        xml={
            "Upload/UploadId": ["{m1}"],
            "NextKeyMarker": "m",
            "NextUploadIdMarker": "{m1}",
            "IsTruncated": "true",
        },
    ),
    ok(
        "ListMultipartUploads",
        "the next page",
        get("/bucket", "uploads&key-marker=m&upload-id-marker={m1}"),
        scene="uploads",
        xml={"Upload/UploadId": ["{m2}"], "KeyMarker": "m", "UploadIdMarker": "{m1}"},
    ),
    ok(
        "ListMultipartUploads",
        "rolled up, encoded",
        get("/bucket", "uploads&delimiter=%2F&encoding-type=url"),
        scene="uploads",
        xml={"CommonPrefixes/Prefix": ["a/"], "Upload/Key": ["m", "m"]},
    ),
    err(
        "ListMultipartUploads",
        "InvalidArgument",
        get("/bucket", "uploads&key-marker=m&upload-id-marker=x"),
        "upload-id-marker",
        message="Invalid uploadId marker",
        ArgumentName="upload-id-marker",
        ArgumentValue="x",
    ),
    *arguments("ListMultipartUploads", "uploads", "max-uploads"),
]

CASES: list[Case] = [*V1, *V2, *UPLOADS]
