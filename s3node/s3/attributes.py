"""GetObjectAttributes: its request headers and its document.

https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObjectAttributes.html: the order of the
elements, the etag without quotes, parts of objects that have checksums only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from s3node.base.errors import S3Error
from s3node.s3 import xml
from s3node.s3.documents import CHECKSUM_PREFIX
from s3node.s3.request import Headers
from s3node.s3.xml import Node

HEADER = "x-amz-object-attributes"
ETAG, CHECKSUM, OBJECT_PARTS, STORAGE_CLASS, OBJECT_SIZE = (
    "ETag",
    "Checksum",
    "ObjectParts",
    "StorageClass",
    "ObjectSize",
)
NAMES = frozenset({ETAG, CHECKSUM, OBJECT_PARTS, STORAGE_CLASS, OBJECT_SIZE})


def wanted(headers: Headers) -> frozenset[str]:
    """The attributes that the header names; one at least, and none that S3 does not know."""
    names = [name.strip(" \t") for name in (headers.get(HEADER) or "").split(",")]
    if not any(names):
        raise S3Error(
            "InvalidRequest",
            f"The {HEADER} header specifying the attributes to be retrieved is either missing or "
            "empty",
        )
    for name in names:
        if name not in NAMES:
            raise S3Error(
                "InvalidArgument",
                "Invalid attribute name specified.",
                ArgumentName=HEADER,
                ArgumentValue=name,
            )
    return frozenset(names)


class Part(NamedTuple):
    """One part; its checksum in base64, or ""."""

    number: int
    size: int
    checksum: str


class Parts(NamedTuple):
    """A page of an object's parts. Parts are named only where they have checksums."""

    total: int
    marker: int = 0
    next_marker: int = 0
    most: int = 0
    truncated: bool = False
    listed: Sequence[Part] | None = None


class Attributes(NamedTuple):
    """What is told of an object; None is left out. `checksum` is (algorithm, base64)."""

    etag: str | None = None
    checksum: tuple[str, str] | None = None
    checksum_type: str = ""
    parts: Parts | None = None
    storage_class: str | None = None
    size: int | None = None


def _part(algorithm: str, part: Part) -> Node:
    digest: list[Node] = [(CHECKSUM_PREFIX + algorithm, part.checksum)] if part.checksum else []
    return ("Part", [*digest, ("PartNumber", part.number), ("Size", part.size)])


def _parts(algorithm: str, parts: Parts) -> list[Node]:
    count: Node = ("PartsCount", parts.total)
    if parts.listed is None:
        return [count]
    return [
        ("IsTruncated", parts.truncated),
        ("MaxParts", parts.most),
        ("NextPartNumberMarker", parts.next_marker),
        ("PartNumberMarker", parts.marker),
        *(_part(algorithm, part) for part in parts.listed),
        count,
    ]


def document(found: Attributes, algorithm: str) -> bytes:
    """The answer. `algorithm` is that of the object's checksum, whether it is shown or not."""
    checksum: list[Node] | None = None
    if found.checksum is not None:
        name, digest = found.checksum
        checksum = [(CHECKSUM_PREFIX + name, digest), ("ChecksumType", found.checksum_type)]
    return xml.render(
        "GetObjectAttributesResponse",
        [
            ("ETag", found.etag),
            ("Checksum", checksum),
            ("ObjectParts", None if found.parts is None else _parts(algorithm, found.parts)),
            ("StorageClass", found.storage_class),
            ("ObjectSize", found.size),
        ],
    )
