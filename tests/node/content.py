"""A small world of objects whose content follows from a seed, and its comparison."""

from __future__ import annotations

import hashlib
import random
from typing import Any

from botocore.exceptions import ClientError

from s3node.base.limits import INLINE_BYTES_MAX, KIB, MIB

BUCKET = "studies"
PART_BYTES = 5 * MIB

SIZES = {
    "empty": 0,
    "one byte": 1,
    "largest inline": INLINE_BYTES_MAX,
    "smallest coded": INLINE_BYTES_MAX + 1,
    "slice/0001.dcm": 131_347,
    "slice/0002.dcm": 512 * KIB,
    "two stripes": 2 * MIB + 1,
    "several stripes": 7 * MIB + 4321,
}
MULTIPART = {"multipart": 2 * PART_BYTES + 12_345}


def content(key: str, size: int) -> bytes:
    """Bytes that follow from the key."""
    return random.Random(key).randbytes(size)


KEPT = {
    "Tagging": "study=1&ward=%C3%A9",
    "StorageClass": "STANDARD_IA",
    "WebsiteRedirectLocation": "/elsewhere",
    "CacheControl": "private,  max-age=60",
}
"""What two of the objects have beside their bytes and metadata."""


def store_world(s3: Any, bucket: str = BUCKET) -> dict[str, str]:
    """Create the bucket and all objects; returns the SHA-256 of each key's content."""
    s3.create_bucket(Bucket=bucket)
    s3.put_bucket_tagging(Bucket=bucket, Tagging={"TagSet": [{"Key": "of", "Value": bucket}]})
    world = {}
    for key, size in SIZES.items():
        data = content(key, size)
        kept = KEPT if key in {"one byte", "two stripes"} else {}
        metadata = {"study": key.replace("/", "-")}
        s3.put_object(Bucket=bucket, Key=key, Body=data, Metadata=metadata, **kept)
        world[key] = hashlib.sha256(data).hexdigest()
    for key in ("empty", "two stripes"):
        tags = {"TagSet": [{"Key": "later", "Value": key}]}
        s3.put_object_tagging(Bucket=bucket, Key=key, Tagging=tags)
    for key, size in MULTIPART.items():
        data = content(key, size)
        put_in_parts(s3, bucket, key, data)
        world[key] = hashlib.sha256(data).hexdigest()
    return world


def put_in_parts(s3: Any, bucket: str, key: str, data: bytes) -> None:
    upload = s3.create_multipart_upload(Bucket=bucket, Key=key)["UploadId"]
    parts = []
    for number, start in enumerate(range(0, len(data), PART_BYTES), 1):
        piece = data[start : start + PART_BYTES]
        answer = s3.upload_part(
            Bucket=bucket, Key=key, UploadId=upload, PartNumber=number, Body=piece
        )
        parts.append({"ETag": answer["ETag"], "PartNumber": number})
    s3.complete_multipart_upload(
        Bucket=bucket, Key=key, UploadId=upload, MultipartUpload={"Parts": parts}
    )


def read_world(s3: Any, bucket: str = BUCKET) -> dict[str, str]:
    """The SHA-256 of everything in the bucket, by key, as a client reads it."""
    found = {}
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket):
        for item in page.get("Contents", ()):
            body = s3.get_object(Bucket=bucket, Key=item["Key"])["Body"].read()
            assert len(body) == item["Size"]
            found[item["Key"]] = hashlib.sha256(body).hexdigest()
    return found


def _bucket_tags(s3: Any, bucket: str) -> list[Any]:
    try:
        found: list[Any] = s3.get_bucket_tagging(Bucket=bucket)["TagSet"]
    except ClientError as error:
        assert error.response["Error"]["Code"] == "NoSuchTagSet"
        return []
    return found


def describe(s3: Any, bucket: str = BUCKET) -> list[Any]:
    """Everything but the bytes: configurations, listing, headers, tags, uploads, parts."""
    told: list[Any] = [_bucket_tags(s3, bucket)]
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, FetchOwner=True):
        for item in page.get("Contents", ()):
            head = s3.head_object(Bucket=bucket, Key=item["Key"], ChecksumMode="ENABLED")
            head.pop("ResponseMetadata")
            tags = s3.get_object_tagging(Bucket=bucket, Key=item["Key"])["TagSet"]
            told.append((item, head, tags))
    for upload in s3.list_multipart_uploads(Bucket=bucket).get("Uploads", ()):
        parts = s3.list_parts(Bucket=bucket, Key=upload["Key"], UploadId=upload["UploadId"])
        told.append((upload, parts.get("Parts", ())))
    return told
