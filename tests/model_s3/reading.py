"""Documents of S3 as plain values: what a client gets to know of them, in their order."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from typing import Any
from urllib.parse import unquote_plus

CONTENT, VERSION, MARKER = "Contents", "Version", "DeleteMarker"


def _root(body: bytes) -> ET.Element:
    root = ET.fromstring(body)
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
    return root


def plain(body: bytes) -> bytes:
    return body


def error(body: bytes) -> dict[str, str]:
    return {element.tag: element.text or "" for element in _root(body)} if body else {}


def text(path: str) -> Any:
    """Reads the text of one element."""
    return lambda body: _root(body).findtext(path)


def texts(body: bytes, *paths: str) -> tuple[str | None, ...]:
    root = _root(body)
    return tuple(root.findtext(path) for path in paths)


def versioning(body: bytes) -> str | None:
    return _root(body).findtext("Status")


def buckets(body: bytes) -> list[str]:
    return [element.text or "" for element in _root(body).findall("Buckets/Bucket/Name")]


def tags(body: bytes) -> dict[str, str]:
    found = _root(body).findall("TagSet/Tag")
    return {tag.findtext("Key") or "": tag.findtext("Value") or "" for tag in found}


def attributes(body: bytes) -> tuple[str | None, ...]:
    return texts(body, "ETag", "ObjectSize", "StorageClass", "ObjectParts/PartsCount")


def completed(body: bytes) -> tuple[str | None, ...]:
    return texts(body, "Bucket", "Key", "ETag")


def deleted(body: bytes) -> list[tuple[str | None, ...]]:
    """Of DeleteObjects: each entry with its kind, sorted: S3 answers in any order."""
    found = []
    for element in _root(body):
        names = ("Key", "VersionId", "DeleteMarker", "DeleteMarkerVersionId", "Code")
        found.append((element.tag, *(element.findtext(name) for name in names)))
    return sorted(found, key=repr)


def listing(body: bytes) -> dict[str, Any]:
    """Any list of keys: what is echoed, entries in their order, common prefixes, what is next."""
    root = _root(body)
    decode = unquote_plus if root.findtext("EncodingType") == "url" else str

    def name(tag: str) -> str | None:
        value = root.findtext(tag)
        return None if value is None else decode(value)

    echoed = ("Prefix", "Delimiter", "Marker", "KeyMarker", "StartAfter")
    plainly = ("Name", "Bucket", "MaxKeys", "MaxUploads", "KeyCount", "VersionIdMarker")
    coming = ("NextVersionIdMarker", "NextUploadIdMarker", "NextContinuationToken")
    return {
        **{tag: name(tag) or "" for tag in echoed},
        **{tag: root.findtext(tag) or "" for tag in plainly},
        "truncated": root.findtext("IsTruncated") == "true",
        "entries": [_entry(each, decode) for each in root if each.tag in _ENTRIES],
        "prefixes": [decode(each.text or "") for each in root.findall("CommonPrefixes/Prefix")],
        "NextMarker": name("NextMarker"),
        "NextKeyMarker": name("NextKeyMarker"),
        **{tag: root.findtext(tag) for tag in coming},
    }


_ENTRIES = {
    CONTENT: ("ETag", "Size", "StorageClass", "LastModified"),
    VERSION: ("VersionId", "IsLatest", "ETag", "Size", "StorageClass", "LastModified"),
    MARKER: ("VersionId", "IsLatest", "LastModified"),
    "Upload": ("UploadId", "StorageClass", "Initiated"),
}


def _entry(element: ET.Element, decode: Any) -> tuple[str | None, ...]:
    told = [_value(element, tag) for tag in _ENTRIES[element.tag]]
    return (element.tag, decode(element.findtext("Key") or ""), *told)


def _value(element: ET.Element, tag: str) -> str | None:
    """Dates to the second: headers tell no more."""
    value = element.findtext(tag)
    if tag != "LastModified" or value is None:
        return value
    seconds, dot, fraction = value.partition(".")
    assert dot and len(fraction) == 4 and fraction.endswith("Z"), value
    return f"{seconds}.000Z"


def parts(body: bytes) -> dict[str, Any]:
    root = _root(body)
    tags = ("Bucket", "Key", "UploadId", "PartNumberMarker", "NextPartNumberMarker", "MaxParts")
    listed = [
        tuple(part.findtext(tag) for tag in ("PartNumber", "ETag", "Size"))
        for part in root.findall("Part")
    ]
    return {
        **{tag: root.findtext(tag) for tag in tags},
        "truncated": root.findtext("IsTruncated") == "true",
        "parts": listed,
    }
