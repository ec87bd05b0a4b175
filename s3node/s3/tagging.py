"""Tags on the wire: the Tagging document and the header x-amz-tagging. Syntax only.

How many there may be, and of what, is decided elsewhere.

Sources: "PutObjectTagging", "PutBucketTagging" and "PutObject" of the Amazon S3 API Reference.
That a header's tags must not be doubled, and in which words, is not documented but so.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from s3node.base.errors import S3Error
from s3node.s3 import xml
from s3node.s3.request import decode
from s3node.s3.xml import Element, Node

HEADER = "x-amz-tagging"

Tags = tuple[tuple[str, str], ...]

_ENCODED = re.compile(r"[\x20-\x7e]*\Z")


def parse_header(value: str) -> Tags:
    """The tags of ``a=b&c=d``, as in a query; InvalidArgument if it is none, or has one twice."""
    if not _ENCODED.match(value):
        raise _bad_header(value)
    tags: dict[str, str] = {}
    for piece in value.split("&"):
        if not piece:
            continue
        key, text = _pair(value, piece)
        if not key or key in tags:
            raise _bad_header(value)
        tags[key] = text
    return tuple(tags.items())


def _pair(value: str, piece: str) -> tuple[str, str]:
    key, _, text = piece.replace("+", " ").partition("=")
    try:
        return decode(key.encode()).decode(), decode(text.encode()).decode()
    except S3Error:
        raise _bad_header(value) from None


def _bad_header(value: str) -> S3Error:
    return S3Error(
        "InvalidArgument",
        f"The header '{HEADER}' shall be encoded as UTF-8 then URLEncoded URL query parameters "
        "without tag name duplicates.",
        ArgumentName=HEADER,
        ArgumentValue=value,
    )


def parse_document(data: bytes) -> Tags:
    """The tags of a Tagging document, in its order; MalformedXML."""
    root = xml.parse(data)
    if root.name != "Tagging":
        raise xml.malformed()
    return parse_tags(xml.fields(root, {"TagSet": True})["TagSet"])


def parse_tags(element: Element) -> Tags:
    """The tags of an element that has nothing else; MalformedXML."""
    xml.fields(element, frozenset(), repeated="Tag")
    return tuple(_tag(child) for child in element.children)


def _tag(element: Element) -> tuple[str, str]:
    found = xml.fields(element, {"Key": True, "Value": True})
    return xml.leaf(found["Key"]), xml.leaf(found["Value"])


def document(tags: Sequence[tuple[str, str]]) -> bytes:
    """The Tagging document of these tags."""
    rows: list[Node] = [("Tag", [("Key", key), ("Value", value)]) for key, value in tags]
    return xml.render("Tagging", [("TagSet", rows)])
