"""A version row as far as it is always short: what may be long is left as it is stored.

A version may list ten thousand parts; who looks at many versions, and shows none of that, decodes
this instead. The fields are those of `VersionRow`, in the same order.
"""

from __future__ import annotations

from msgspec import Raw

from s3node.model.rows import Checksum, Row

_ABSENT = Raw(b"\xc0")


class VersionOutline(Row, frozen=True):
    """See `VersionRow`."""

    hlc: int
    modified_ms: int
    size: int
    etag: str
    digest: bytes
    parts: int = 0
    null: bool = True
    delete_marker: bool = False
    inline: Raw = _ABSENT
    data: Raw = _ABSENT
    headers: Raw = _ABSENT
    metadata: Raw = _ABSENT
    checksum: Checksum | None = None
    part_checksums: Raw = _ABSENT
    sha256: bytes = b""
    owner: str = ""
    storage_class: str = "STANDARD"
    tags: Raw = _ABSENT
    retention_mode: str = ""
    retain_until_ms: int = 0
    legal_hold: bool = False
    upload_id: bytes = b""
