"""Response headers that several operations share."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping

from s3node.model.multipart import COMPOSITE, FULL_OBJECT
from s3node.model.rows import BucketRow, Checksum, VersionRow
from s3node.model.versions import UNVERSIONED, Version, version_name
from s3node.s3.headers import http_date
from s3node.s3.request import Request

HeaderList = list[tuple[str, str]]


def checksum_text(checksum: Checksum) -> str:
    """The value as S3 shows it: base64, and -N behind a composite of N parts."""
    text = b64encode(checksum.digest).decode()
    return f"{text}-{checksum.parts}" if checksum.composite and checksum.parts else text


def checksum_pair(checksum: Checksum | None) -> tuple[str, str] | None:
    """(algorithm, value) as documents take it."""
    return (checksum.algorithm, checksum_text(checksum)) if checksum else None


def checksum_kind(checksum: Checksum | None) -> str:
    return COMPOSITE if checksum and checksum.composite else FULL_OBJECT


def checksum(checksum: Checksum | None) -> HeaderList:
    """The checksum headers of an object or a part; none where none is kept."""
    if checksum is None:
        return []
    return [
        (f"x-amz-checksum-{checksum.algorithm.lower()}", checksum_text(checksum)),
        ("x-amz-checksum-type", checksum_kind(checksum)),
    ]


def version(bucket: BucketRow, found: Version) -> HeaderList:
    """The id of a version; none where there never was versioning, though it was named "null"."""
    if bucket.versioning == UNVERSIONED:
        return []
    return [("x-amz-version-id", version_name(*found))]


def new_version(bucket: BucketRow, made: Version) -> HeaderList:
    """The id of a version that was just written. S3 was observed to tell none of a null version
    then, also in a suspended bucket.
    """
    return [] if made[1].null else version(bucket, made)


def validators(row: VersionRow) -> HeaderList:
    return [("etag", f'"{row.etag}"'), ("last-modified", http_date(row.modified_ms))]


def object_headers(row: VersionRow, overrides: Mapping[str, str]) -> HeaderList:
    """System headers as they were given (or as response-* overrides them), then metadata."""
    headers = list((dict(row.headers) | dict(overrides)).items() if overrides else row.headers)
    if row.metadata:
        headers += [(f"x-amz-meta-{name}", value) for name, value in row.metadata]
    if row.storage_class != "STANDARD":
        headers.append(("x-amz-storage-class", row.storage_class))
    if row.tags:
        headers.append(("x-amz-tagging-count", str(len(row.tags))))
    return headers


def location(request: Request, key: str) -> str:
    """The address of an object of the request's bucket, in the request's style; `key` as it is to
    stand in it."""
    scheme = "https" if request.secure else "http"
    bucket = "" if request.virtual else f"/{request.bucket}"
    return f"{scheme}://{request.host}{bucket}/{key}"
