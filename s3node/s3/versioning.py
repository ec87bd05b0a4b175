"""The documents of versioning: its configuration, and the listing of versions.

Source: PutBucketVersioning, GetBucketVersioning, ListObjectVersions in the Amazon S3 API Reference.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from s3node.base.errors import S3Error
from s3node.s3 import xml
from s3node.s3.documents import (
    ListEcho,
    Owner,
    checksum_elements,
    common_prefixes,
    encoder,
    iso8601,
    owner_element,
)
from s3node.s3.xml import Node

STATUSES = frozenset({"Enabled", "Suspended"})


def parse_versioning(data: bytes) -> str:
    """The status that a PutBucketVersioning asks for.

    MFA delete asks for a second factor that nobody here could check: it is refused.
    """
    root = xml.parse(data)
    if root.name != "VersioningConfiguration":
        raise xml.malformed()
    found = xml.fields(root, frozenset({"Status", "MfaDelete"}))
    if "MfaDelete" in found:
        factor = xml.leaf(found["MfaDelete"]).strip()
        if factor == "Enabled":
            raise S3Error("NotImplemented", "MFA delete is not implemented.")
        if factor != "Disabled":
            raise xml.malformed()
    if "Status" not in found:
        raise S3Error("IllegalVersioningConfigurationException")
    status = xml.leaf(found["Status"]).strip()
    if status not in STATUSES:
        raise xml.malformed()
    return status


def versioning(status: str) -> bytes:
    """`status` is "" for a bucket that never had versioning: an empty configuration."""
    return xml.render("VersioningConfiguration", [("Status", status)] if status else "")


class VersionItem(NamedTuple):
    """One version of a listing; `etag` is "" for a delete marker, which has none."""

    key: str
    version: str
    latest: bool
    modified_ms: int
    etag: str
    size: int
    storage_class: str
    checksum_algorithm: str
    checksum_type: str

    @property
    def marker(self) -> bool:
        return not self.etag


def list_versions(
    echo: ListEcho,
    items: Sequence[VersionItem],
    prefixes: Sequence[str],
    owner: Owner,
    *,
    marker: tuple[str, str],
    next_marker: tuple[str, str],
    truncated: bool,
) -> bytes:
    """The answer of ListObjectVersions; markers are (key, version id)."""
    encode = encoder(echo.encoding)
    head: list[Node] = [
        ("Name", echo.bucket),
        ("Prefix", encode(echo.prefix)),
        ("KeyMarker", encode(marker[0])),
        ("VersionIdMarker", marker[1]),
        ("NextKeyMarker", encode(next_marker[0]) if truncated else None),
        ("NextVersionIdMarker", (next_marker[1] or None) if truncated else None),
        ("MaxKeys", echo.max_entries),
        ("Delimiter", encode(echo.delimiter) if echo.delimiter else None),
        ("EncodingType", echo.encoding or None),
        ("IsTruncated", truncated),
    ]
    shown = owner_element(owner)
    rows = "".join([_entry(item, shown, encode(item.key)) for item in items])
    body = ("", xml.Rendered(rows))
    return xml.render("ListVersionsResult", [*head, body, *common_prefixes(prefixes, encode)])


def _entry(item: VersionItem, owner: str, key: str) -> str:
    """The element of one version; written at once, for a page has a thousand."""
    shown = (
        f"<Key>{xml.escape(key)}</Key><VersionId>{item.version}</VersionId>"
        f"<IsLatest>{'true' if item.latest else 'false'}</IsLatest>"
        f"<LastModified>{iso8601(item.modified_ms)}</LastModified>"
    )
    if item.marker:
        return f"<DeleteMarker>{shown}{owner}</DeleteMarker>"
    checksum = checksum_elements(item.checksum_algorithm, item.checksum_type)
    return (
        f"<Version>{shown}<ETag>&quot;{xml.escape(item.etag)}&quot;</ETag>{checksum}"
        f"<Size>{item.size}</Size><StorageClass>{xml.escape(item.storage_class)}</StorageClass>"
        f"{owner}</Version>"
    )
