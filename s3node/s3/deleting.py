"""The documents of DeleteObjects: what is to be deleted, and what became of it.

Source: DeleteObjects in the Amazon S3 API Reference.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from s3node.base.limits import DELETE_KEYS_MAX
from s3node.s3 import xml
from s3node.s3.xml import Element, Node


class ObjectToDelete(NamedTuple):
    """One <Object> of a DeleteObjects request."""

    key: str
    version: str | None
    etag: str | None = None
    size: str | None = None
    modified: str | None = None


class Deleted(NamedTuple):
    """One key of a DeleteObjects answer; `marker`: the delete marker that was made or removed."""

    key: str
    version: str | None
    marker: str | None = None


class DeleteFailure(NamedTuple):
    key: str
    version: str | None
    code: str
    message: str


def _object_to_delete(element: Element) -> ObjectToDelete:
    known = {
        "Key": True, "VersionId": False, "ETag": False, "LastModifiedTime": False, "Size": False,
    }  # fmt: skip
    found = xml.fields(element, known)
    key = xml.leaf(found["Key"])
    if not key:
        raise xml.malformed()
    version = xml.leaf(found["VersionId"]) if "VersionId" in found else None
    etag, size, modified = (
        xml.leaf(found[name]).strip() if name in found else None
        for name in ("ETag", "Size", "LastModifiedTime")
    )
    # An empty condition is none that could hold: nothing is deleted on its strength.
    return ObjectToDelete(key, version or None, etag, size, modified)


def parse_delete(data: bytes) -> tuple[bool, list[ObjectToDelete]]:
    """A DeleteObjects body: quiet or not, and what to delete (1 to 1000)."""
    root = xml.parse(data)
    if root.name != "Delete":
        raise xml.malformed()
    found = xml.fields(root, frozenset({"Quiet"}), repeated="Object")
    quiet = xml.leaf(found["Quiet"]).strip() if "Quiet" in found else "false"
    if quiet not in {"true", "false"}:
        raise xml.malformed()
    wanted = [child for child in root.children if child.name == "Object"]
    if not 1 <= len(wanted) <= DELETE_KEYS_MAX:
        raise xml.malformed()
    return quiet == "true", [_object_to_delete(element) for element in wanted]


def delete_result(deleted: Sequence[Deleted], failures: Sequence[DeleteFailure]) -> bytes:
    """The answer of DeleteObjects."""
    done: list[Node] = [
        (
            "Deleted",
            [
                ("Key", item.key),
                ("VersionId", item.version),
                ("DeleteMarker", True if item.marker else None),
                ("DeleteMarkerVersionId", item.marker),
            ],
        )
        for item in deleted
    ]
    failed: list[Node] = [
        (
            "Error",
            [
                ("Key", failure.key),
                ("VersionId", failure.version),
                ("Code", failure.code),
                ("Message", failure.message),
            ],
        )
        for failure in failures
    ]
    return xml.render("DeleteResult", done + failed)
