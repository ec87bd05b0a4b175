"""The entries of a listing: what it shows of each object, from the row as it is stored.

Nearly always that is one step in C, which checks the row as every reader does (I12) and says yes
or no. Where it says no, the row is decoded, which tells what is wrong with it; what then reads
well all the same is written here.
"""

from __future__ import annotations

from s3node.meta import tables
from s3node.model.rows import VersionRow
from s3node.ops import answers
from s3node.ops._entry import entry
from s3node.s3 import documents
from s3node.s3.documents import Contents, Owner

HIDDEN = b""
"""In place of an entry: the current version is a delete marker."""


class Entries:
    """Writes entries that are alike in what the request asked for."""

    def __init__(self, owner: Owner | None, encoding: str) -> None:
        """`owner`: to be shown; `encoding`: "" or "url"."""
        self._encoding = encoding
        self._owner = documents.owner_element(owner)
        self._owner_bytes = self._owner.encode()
        self._url = encoding == "url"

    def write(self, key: bytes, row_key: bytes, value: bytes) -> bytes:
        """The entry of the object `key`, or `HIDDEN`. FormatError, FormatUnknown."""
        written: bytes | None = entry(row_key, key, value, self._owner_bytes, self._url)
        if written is not None:
            return written
        row = tables.decode_version(key, row_key, value)
        if row.delete_marker:
            return HIDDEN
        return documents.contents(_contents(key, row), self._owner, self._encoding).encode()


def _contents(key: bytes, row: VersionRow) -> Contents:
    checksum = row.checksum
    return Contents(
        key.decode(),
        row.modified_ms,
        row.etag,
        row.size,
        row.storage_class,
        checksum.algorithm if checksum else "",
        answers.checksum_kind(checksum) if checksum else "",
    )
