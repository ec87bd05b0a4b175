"""Forms as browsers and libraries write them, and policies signed for them."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from s3node.s3.signing import SigningKey, signing_key

BOUNDARY = "----WebKitFormBoundary7MA4YWxkTrZu0gW"
ACCESS, SECRET, REGION = (
    "AKIAIOSFODNN7EXAMPLE",
    "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
    "eu-west-1",
)
STAMP = "20151229T000000Z"
NOW_MS = 1_451_347_200_000  # what STAMP says
EXPIRES = "2015-12-30T12:00:00.000Z"


def part(name: str, value: bytes | str, filename: str | None = None) -> bytes:
    shown = "" if filename is None else f'; filename="{filename}"'
    head = f'Content-Disposition: form-data; name="{name}"{shown}\r\n\r\n'
    return head.encode() + (value.encode() if isinstance(value, str) else value)


def body(parts: Iterable[bytes], boundary: str = BOUNDARY) -> bytes:
    delimiter = f"--{boundary}".encode()
    return b"".join(b"%s\r\n%s\r\n" % (delimiter, one) for one in parts) + delimiter + b"--\r\n"


def form(
    fields: Mapping[str, str], content: bytes = b"content", filename: str | None = "photo.jpg"
) -> bytes:
    """A whole form: the fields, then the file."""
    parts = [part(name, value) for name, value in fields.items()]
    return body([*parts, part("file", content, filename)])


def content_type(boundary: str = BOUNDARY) -> str:
    return f"multipart/form-data; boundary={boundary}"


def signed(
    fields: Mapping[str, str],
    bucket: str = "bucket",
    more: Sequence[Any] = (),
    *,
    conditions: Sequence[Any] | None = None,
    expiration: str = EXPIRES,
    stamp: str = STAMP,
    access: str = ACCESS,
    secret: str = SECRET,
    region: str = REGION,
    policy: str | None = None,
) -> dict[str, str]:
    """The fields with a policy that covers each of them exactly, and its signature.

    `more` are conditions beside those; `conditions` in the place of those of the fields.
    """
    credential = f"{access}/{stamp[:8]}/{region}/s3/aws4_request"
    auth = {
        "x-amz-algorithm": "AWS4-HMAC-SHA256",
        "x-amz-credential": credential,
        "x-amz-date": stamp,
    }
    if conditions is None:
        conditions = [{"bucket": bucket}, *({name: value} for name, value in fields.items())]
    everything = [*conditions, *more, *({name: value} for name, value in auth.items())]
    if policy is None:
        policy = json.dumps({"expiration": expiration, "conditions": everything})
    text = base64.b64encode(policy.encode()).decode()
    return {**fields, **auth, "policy": text, "x-amz-signature": sign(text, stamp, secret, region)}


def sign(text: str, stamp: str = STAMP, secret: str = SECRET, region: str = REGION) -> str:
    return SigningKey(signing_key(secret, stamp[:8], region)).sign(text)
