"""The fields of a POST upload as the headers that a PutObject would have.

Every field here has been spoken of by a signed policy, or will be before anything is stored. What
has no meaning in a form is refused, never dropped: a header beside the form, or a field that would
say where the bytes come from or how they are framed. Fields that are called like no header and
like nothing of S3 are a page's own; S3 drops them.

Conditions count as those of a PutObject do, which S3's page does not say: dropped, they would let
a form replace what it was signed to spare.

Source: "POST Object" of the Amazon S3 API Reference (form fields).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import quote, urlencode

from s3node.base.errors import S3Error
from s3node.s3 import tagging
from s3node.s3.form import base_name
from s3node.s3.headers import SYSTEM_HEADERS
from s3node.s3.request import Headers, Request

FILENAME = "${filename}"

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9a-z-]+\Z")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_ALIASES = {"acl": "x-amz-acl"}
_CONDITIONS = ("if-match", "if-none-match", "if-modified-since", "if-unmodified-since")
_KEPT = frozenset({*SYSTEM_HEADERS, "content-md5", *_CONDITIONS})
_SIGNATURE = frozenset(
    {
        "x-amz-algorithm",
        "x-amz-credential",
        "x-amz-date",
        "x-amz-security-token",
        "x-amz-signature",
    }
)
_MEANINGLESS = ("x-amz-content-sha256", "x-amz-decoded-content-length", "x-amz-trailer")
_MEANINGLESS_PREFIXES = ("x-amz-copy-source", "x-amz-metadata-directive", "x-amz-tagging")
_BESIDE = frozenset({"content-encoding", "content-md5"})
_BESIDE_PREFIXES = ("x-amz-", "if-")


def refuse_headers(request: Request) -> None:
    """A form is signed by what stands in it; what stands beside it nobody signed."""
    if "authorization" in request.headers or "X-Amz-Signature" in request.query:
        raise S3Error(
            "InvalidArgument",
            "Only one auth mechanism allowed; a form is signed by its policy.",
            ArgumentName="Authorization",
        )
    beside = [
        name
        for name in request.headers.names()
        if name in _BESIDE or name.startswith(_BESIDE_PREFIXES)
    ]
    if beside:
        raise S3Error(
            "AccessDenied",
            "There were headers present in the request which were not signed",
            HeadersNotSigned=", ".join(beside),
        )


def expand(fields: Mapping[str, str], filename: str | None) -> dict[str, str]:
    """The fields with the file's name in the place of its variable, which stays where no name
    was sent. A policy is as it was signed."""
    if filename is None:
        return dict(fields)
    name = base_name(filename)
    return {
        field: value if field == "policy" else value.replace(FILENAME, name)
        for field, value in fields.items()
    }


def headers(fields: Mapping[str, str], length: int, request: Request) -> Headers:
    """What a PutObject would have for headers: `length` is the content's at the most.

    Values are UTF-8 as the wire would carry it, without white space around them.
    """
    found = [("host", request.host), ("content-length", str(length))]
    if fields.get("tagging"):
        tags = tagging.parse_document(fields["tagging"].encode("utf-8"))
        found.append((tagging.HEADER, urlencode(tags, quote_via=quote)))
    for field, value in fields.items():
        name = _ALIASES.get(field, field)
        if name in _KEPT or (name.startswith("x-amz-") and name not in _SIGNATURE):
            _check(name, value)
            found.append((name, value.strip(" \t").encode("utf-8").decode("latin-1")))
    return Headers(found)


def _check(name: str, value: str) -> None:
    """What comes by a header cannot have such names and values; here it is said."""
    if not _TOKEN.match(name) or _CONTROL.search(value):
        message = "The name or the value of a form field cannot be that of a header."
        raise S3Error("InvalidArgument", message, ArgumentName=name, ArgumentValue=value)
    if name in _MEANINGLESS or name.startswith(_MEANINGLESS_PREFIXES):
        message = "This field has no meaning in a form."
        raise S3Error("InvalidArgument", message, ArgumentName=name, ArgumentValue=value)
