"""The XML documents of S3: request bodies into plain values, answers into bytes.

Names, order and namespaces are those that S3 sends (the syntax blocks of the API reference,
https://docs.aws.amazon.com/AmazonS3/latest/API/API_Operations.html). A document that S3 would
not accept is MalformedXML: an element this node does not know might have changed the meaning.

Times come in as milliseconds since 1970; S3 shows whole seconds with ".000Z".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import quote

from s3node.base.errors import S3Error
from s3node.base.limits import PART_NUMBER_MAX
from s3node.s3 import xml
from s3node.s3.tagging import Tags, parse_tags
from s3node.s3.xml import Element, Node

_PLAIN = re.compile(r"[A-Za-z0-9_.~/-]*\Z")  # RFC 3986 section 2.3, and what separates folders
CHECKSUM_PREFIX = "Checksum"
_XSI = 'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"'


class Owner(NamedTuple):
    id: str
    display_name: str


class ListedPart(NamedTuple):
    """One <Part> of a CompleteMultipartUpload request; checksums by algorithm, in base64."""

    number: int
    etag: str
    checksums: Mapping[str, str]


class Contents(NamedTuple):
    """One object of a listing."""

    key: str
    modified_ms: int
    etag: str
    size: int
    storage_class: str
    checksum_algorithm: str = ""
    checksum_type: str = ""


class UploadItem(NamedTuple):
    """One upload of a listing."""

    key: str
    upload_id: str
    initiated_ms: int
    storage_class: str
    checksum_algorithm: str = ""
    checksum_type: str = ""


class PartItem(NamedTuple):
    """One part of a listing; `checksum` is (algorithm, base64)."""

    number: int
    modified_ms: int
    etag: str
    size: int
    checksum: tuple[str, str] | None = None


# --- reading ---------------------------------------------------------------------------------


def _root(data: bytes, name: str) -> Element:
    root = xml.parse(data)
    if root.name != name:
        raise xml.malformed()
    return root


class NewBucket(NamedTuple):
    """What a CreateBucket body asks for; a constraint of "" is none."""

    constraint: str = ""
    tags: Tags = ()


def parse_create_bucket(data: bytes) -> NewBucket:
    if not data.strip():
        return NewBucket()
    root = _root(data, "CreateBucketConfiguration")
    known = frozenset({"LocationConstraint", "Location", "Bucket", "Tags"})
    found = xml.fields(root, known)
    if found.keys() & {"Location", "Bucket"}:
        # Directory buckets: known to S3, not offered here.
        raise S3Error("NotImplemented")
    constraint, tags = found.get("LocationConstraint"), found.get("Tags")
    return NewBucket(
        xml.leaf(constraint).strip() if constraint else "",
        parse_tags(tags) if tags else (),
    )


def _listed_part(element: Element, algorithms: Collection[str]) -> ListedPart:
    known = {"PartNumber": True, "ETag": True}
    known |= {CHECKSUM_PREFIX + algorithm: False for algorithm in algorithms}
    found = xml.fields(element, known)
    number = xml.leaf(found["PartNumber"]).strip()
    if not (number.isascii() and number.isdigit() and len(number) <= 9):
        raise xml.malformed()
    checksums = {
        algorithm: xml.leaf(found[CHECKSUM_PREFIX + algorithm]).strip()
        for algorithm in algorithms
        if CHECKSUM_PREFIX + algorithm in found
    }
    etag = xml.leaf(found["ETag"]).strip().removeprefix('"').removesuffix('"')
    return ListedPart(int(number), etag, checksums)


def parse_complete(data: bytes, algorithms: Collection[str]) -> list[ListedPart]:
    """The parts that a CompleteMultipartUpload body lists, in its order; at least one."""
    if not data.strip():
        raise S3Error("InvalidRequest", "You must specify at least one part")
    root = _root(data, "CompleteMultipartUpload")
    xml.fields(root, frozenset(), repeated="Part")
    if not 1 <= len(root.children) <= PART_NUMBER_MAX:
        raise xml.malformed()
    return [_listed_part(element, algorithms) for element in root.children]


# --- writing ---------------------------------------------------------------------------------


def iso8601(ms: int) -> str:
    """A time as S3's XML shows it."""
    return _iso8601(ms // 1000)


@lru_cache(maxsize=1024)
def _iso8601(seconds: int) -> str:
    """Neighbours in a listing were often made in the same second."""
    return datetime.fromtimestamp(seconds, UTC).isoformat("T", "seconds")[:19] + ".000Z"


def quoted(etag: str) -> str:
    return f'"{etag}"'


def url_encoded(text: str) -> str:
    """A key as encoding-type=url shows it; every client's decoder reads it back."""
    return text if _PLAIN.match(text) else quote(text, safe="/")


def encoder(encoding: str) -> Callable[[str], str]:
    """How a listing writes keys."""
    return url_encoded if encoding == "url" else str


def owner_nodes(owner: Owner | None) -> list[Node]:
    """What is in an <Owner>."""
    return [("ID", owner.id), ("DisplayName", owner.display_name)] if owner else []


def _checksum(checksum: tuple[str, str] | None) -> list[Node]:
    return [(CHECKSUM_PREFIX + checksum[0], checksum[1])] if checksum else []


def common_prefixes(prefixes: Sequence[str], encode: Callable[[str], str]) -> list[Node]:
    """The end of a listing."""
    return [("CommonPrefixes", [("Prefix", encode(prefix))]) for prefix in prefixes]


def contents(item: Contents, owner: str, encoding: str) -> str:
    """The element of one object. `owner`: the element as it is to stand in each, or ""."""
    checksum = checksum_elements(item.checksum_algorithm, item.checksum_type)
    return (
        f"<Contents><Key>{xml.escape(encoder(encoding)(item.key))}</Key>"
        f"<LastModified>{iso8601(item.modified_ms)}</LastModified>"
        f"<ETag>&quot;{xml.escape(item.etag)}&quot;</ETag>{checksum}"
        f"<Size>{item.size}</Size>{owner}"
        f"<StorageClass>{xml.escape(item.storage_class)}</StorageClass></Contents>"
    )


def checksum_elements(algorithm: str, kind: str) -> str:
    """What an entry of a listing says of the object's checksum; "" without an algorithm."""
    if not algorithm:
        return ""
    name = xml.escape(algorithm)
    return f"<ChecksumAlgorithm>{name}</ChecksumAlgorithm><ChecksumType>{kind}</ChecksumType>"


def owner_element(owner: Owner | None) -> str:
    """As it stands in each entry of a listing that shows owners."""
    if owner is None:
        return ""
    identity, name = xml.escape(owner.id), xml.escape(owner.display_name)
    return f"<Owner><ID>{identity}</ID><DisplayName>{name}</DisplayName></Owner>"


def list_buckets(
    owner: Owner,
    buckets: Sequence[tuple[str, int, str | None]],
    *,
    prefix: str | None,
    token: str | None,
) -> bytes:
    """`buckets`: name, creation time, and the region where it is to be shown."""
    rows: list[Node] = [
        ("Bucket", [("Name", name), ("CreationDate", iso8601(made)), ("BucketRegion", region)])
        for name, made, region in buckets
    ]
    return xml.render(
        "ListAllMyBucketsResult",
        [
            ("Owner", owner_nodes(owner)),
            ("Buckets", rows),
            ("ContinuationToken", token),
            ("Prefix", prefix),
        ],
    )


def bucket_location(region: str) -> bytes:
    """S3 has no name for its first region here: it is the empty constraint."""
    return xml.render("LocationConstraint", "" if region == "us-east-1" else region)


class ListEcho(NamedTuple):
    """What a listing repeats of its request."""

    bucket: str
    prefix: str
    delimiter: str
    max_entries: int
    encoding: str  # "" or "url"


def list_objects(
    echo: ListEcho,
    entries: Sequence[bytes],
    prefixes: Sequence[str],
    *,
    marker: str,
    next_marker: str | None,
    truncated: bool,
) -> bytes:
    """The answer of ListObjects (version 1). `entries`: as `contents` has them, with owners."""
    encode = encoder(echo.encoding)
    head: list[Node] = [
        ("Name", echo.bucket),
        ("Prefix", encode(echo.prefix)),
        ("Marker", encode(marker)),
        ("NextMarker", None if next_marker is None else encode(next_marker)),
        ("MaxKeys", echo.max_entries),
        ("Delimiter", encode(echo.delimiter) if echo.delimiter else None),
        ("EncodingType", echo.encoding or None),
        ("IsTruncated", truncated),
    ]
    return _list_bucket_result(head, entries, common_prefixes(prefixes, encode))


def list_objects_v2(
    echo: ListEcho,
    entries: Sequence[bytes],
    prefixes: Sequence[str],
    *,
    start_after: str | None,
    token: str | None,
    next_token: str | None,
) -> bytes:
    """The answer of ListObjectsV2. `entries`: as `contents` has them."""
    encode = encoder(echo.encoding)
    head: list[Node] = [
        ("Name", echo.bucket),
        ("Prefix", encode(echo.prefix)),
        ("ContinuationToken", token),
        ("NextContinuationToken", next_token),
        ("StartAfter", None if start_after is None else encode(start_after)),
        ("KeyCount", len(entries) + len(prefixes)),
        ("MaxKeys", echo.max_entries),
        ("Delimiter", encode(echo.delimiter) if echo.delimiter else None),
        ("EncodingType", echo.encoding or None),
        ("IsTruncated", next_token is not None),
    ]
    return _list_bucket_result(head, entries, common_prefixes(prefixes, encode))


def _list_bucket_result(head: list[Node], entries: Sequence[bytes], tail: list[Node]) -> bytes:
    body = ("", xml.Rendered(b"".join(entries).decode()))
    return xml.render("ListBucketResult", [*head, body, *tail])


def copy_result(
    etag: str,
    modified_ms: int,
    checksum: tuple[str, str] | None,
    checksum_type: str,
    *,
    part: bool = False,
) -> bytes:
    """The answer of CopyObject, or of UploadPartCopy when `part`."""
    head: list[Node] = [("LastModified", iso8601(modified_ms)), ("ETag", quoted(etag))]
    kind: list[Node] = [] if part or not checksum else [("ChecksumType", checksum_type)]
    root = "CopyPartResult" if part else "CopyObjectResult"
    return xml.render(root, head + kind + _checksum(checksum))


def initiate_result(bucket: str, key: str, upload_id: str) -> bytes:
    return xml.render(
        "InitiateMultipartUploadResult",
        [("Bucket", bucket), ("Key", key), ("UploadId", upload_id)],
    )


def complete_result(
    location: str,
    bucket: str,
    key: str,
    etag: str,
    *,
    checksum: tuple[str, str] | None,
    checksum_type: str,
) -> bytes:
    head: list[Node] = [
        ("Location", location),
        ("Bucket", bucket),
        ("Key", key),
        ("ETag", quoted(etag)),
    ]
    tail: list[Node] = [*_checksum(checksum), ("ChecksumType", checksum_type)] if checksum else []
    return xml.render("CompleteMultipartUploadResult", head + tail)


class PartsPage(NamedTuple):
    """What a ListParts answer says beside the parts."""

    marker: int
    next_marker: int
    max_parts: int
    truncated: bool


def list_parts(
    bucket: str,
    upload: UploadItem,
    owner: Owner,
    page: PartsPage,
    parts: Sequence[PartItem],
    *,
    encoding: str = "",
) -> bytes:
    head: list[Node] = [
        ("Bucket", bucket),
        ("Key", encoder(encoding)(upload.key)),
        ("UploadId", upload.upload_id),
        ("Initiator", owner_nodes(owner)),
        ("Owner", owner_nodes(owner)),
        ("StorageClass", upload.storage_class),
        ("PartNumberMarker", page.marker),
        ("NextPartNumberMarker", page.next_marker),
        ("MaxParts", page.max_parts),
        ("IsTruncated", page.truncated),
        ("ChecksumAlgorithm", upload.checksum_algorithm or None),
        ("ChecksumType", upload.checksum_type or None),
    ]
    rows: list[Node] = [
        (
            "Part",
            [
                ("PartNumber", part.number),
                ("LastModified", iso8601(part.modified_ms)),
                ("ETag", quoted(part.etag)),
                ("Size", part.size),
                *_checksum(part.checksum),
            ],
        )
        for part in parts
    ]
    return xml.render("ListPartsResult", head + rows)


def _upload(item: UploadItem, owner: Owner, encode: Callable[[str], str]) -> Node:
    return (
        "Upload",
        [
            ("Key", encode(item.key)),
            ("UploadId", item.upload_id),
            ("Initiator", owner_nodes(owner)),
            ("Owner", owner_nodes(owner)),
            ("StorageClass", item.storage_class),
            ("Initiated", iso8601(item.initiated_ms)),
            ("ChecksumAlgorithm", item.checksum_algorithm or None),
            ("ChecksumType", item.checksum_type or None),
        ],
    )


def list_uploads(
    echo: ListEcho,
    uploads: Sequence[UploadItem],
    prefixes: Sequence[str],
    owner: Owner,
    *,
    marker: tuple[str, str],
    next_marker: tuple[str, str],
    truncated: bool,
) -> bytes:
    """Markers are (key, upload id)."""
    encode = encoder(echo.encoding)
    head: list[Node] = [
        ("Bucket", echo.bucket),
        ("KeyMarker", encode(marker[0])),
        ("UploadIdMarker", marker[1]),
        ("NextKeyMarker", encode(next_marker[0]) if truncated else None),
        ("NextUploadIdMarker", next_marker[1] if truncated else None),
        ("Prefix", encode(echo.prefix)),
        ("Delimiter", encode(echo.delimiter) if echo.delimiter else None),
        ("EncodingType", echo.encoding or None),
        ("MaxUploads", echo.max_entries),
        ("IsTruncated", truncated),
    ]
    rows = [_upload(item, owner, encode) for item in uploads]
    return xml.render("ListMultipartUploadsResult", head + rows + common_prefixes(prefixes, encode))


def owner_full_control(owner: Owner) -> bytes:
    """The access control list of everything here: the owner's, and nobody else's."""
    grantee: Node = (f'Grantee {_XSI} xsi:type="CanonicalUser"', owner_nodes(owner))
    grant: Node = ("Grant", [grantee, ("Permission", "FULL_CONTROL")])
    return xml.render(
        "AccessControlPolicy",
        [("Owner", owner_nodes(owner)), ("AccessControlList", [grant])],
    )
