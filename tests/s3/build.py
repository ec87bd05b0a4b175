"""What the tests of the protocol build requests and bodies with.

Signing here is an account of its own of what AWS publishes, next to botocore's: tests must not
sign with the code they test.
"""

from __future__ import annotations

import calendar
import hashlib
import hmac
from collections.abc import Iterable, Mapping, Sequence

from s3node.s3.request import Request, parse
from s3node.s3.sigv4 import Identity, KeyCache, PayloadSpec, authenticate

ACCESS_KEY = "AKIAIOSFODNN7EXAMPLE"
SECRET_KEY = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
REGION = "us-east-1"
DOMAINS = ("s3.amazonaws.com",)
STAMP = "20130524T000000Z"
NOW_MS = calendar.timegm((2013, 5, 24, 0, 0, 0)) * 1000
EMPTY = hashlib.sha256(b"").hexdigest()
SECRETS = {ACCESS_KEY: SECRET_KEY}


def request(
    method: str = "GET",
    target: str | bytes = "/bucket/key",
    headers: Mapping[str, str] | Iterable[tuple[str, str]] = (),
    *,
    host: str | None = "s3.amazonaws.com",
    domains: Sequence[str] = DOMAINS,
) -> Request:
    pairs = list(headers.items() if isinstance(headers, Mapping) else headers)
    if host is not None and not any(name.lower() == "host" for name, _ in pairs):
        pairs.insert(0, ("Host", host))
    raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in pairs]
    return parse(method, target, raw, domains=domains, secure=False, remote="192.0.2.1")


def check(
    asked: Request, *, now_ms: int = NOW_MS, cache: KeyCache | None = None, region: str = REGION
) -> tuple[Identity, PayloadSpec]:
    return authenticate(
        asked,
        now_ms=now_ms,
        secret_for=SECRETS.get,
        region=region,
        key_cache=KeyCache() if cache is None else cache,
        owner_id="owner",
        display_name="Owner",
    )


def key_for(date: str = STAMP[:8], region: str = REGION, secret: str = SECRET_KEY) -> bytes:
    key = ("AWS4" + secret).encode()
    for part in (date, region, "s3", "aws4_request"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return key


def sign(message: str, key: bytes | None = None) -> str:
    return hmac.new(key or key_for(), message.encode("latin-1"), hashlib.sha256).hexdigest()


SCOPE = f"{STAMP[:8]}/{REGION}/s3/aws4_request"


def signed(
    method: str,
    path: str,
    headers: Mapping[str, str],
    *,
    query: str = "",
    leave_out: Sequence[str] = (),
    host: str = "s3.amazonaws.com",
    stamp: str = STAMP,
    scope: str = SCOPE,
    access_key: str = ACCESS_KEY,
    key: bytes | None = None,
) -> tuple[Request, str]:
    """A header-signed request and its signature; `path` and `query` must be canonical already."""
    every = {"host": host, "x-amz-content-sha256": EMPTY, "x-amz-date": stamp, **headers}
    names = sorted(name for name in every if name not in leave_out)
    lines = "".join(f"{name}:{every[name]}\n" for name in names)
    payload = every["x-amz-content-sha256"]
    canonical = f"{method}\n{path}\n{query}\n{lines}\n{';'.join(names)}\n{payload}"
    digest = hashlib.sha256(canonical.encode("latin-1")).hexdigest()
    signature = sign(f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{digest}", key)
    every["authorization"] = (
        f"AWS4-HMAC-SHA256 Credential={access_key}/{scope}, "
        f"SignedHeaders={';'.join(names)}, Signature={signature}"
    )
    target = f"{path}?{query}" if query else path
    return request(method, target, every), signature


def presigned(
    method: str,
    path: str,
    headers: Mapping[str, str] | None = None,
    *,
    query: Mapping[str, str] | None = None,
    drop: Sequence[str] = (),
    unsigned: Mapping[str, str] | None = None,
    expires: str = "86400",
    stamp: str = STAMP,
    payload: str = "UNSIGNED-PAYLOAD",
    scope: str = SCOPE,
) -> tuple[Request, str]:
    """A presigned request and its signature; values of `query` must be canonical already."""
    every = {"host": "s3.amazonaws.com", **(headers or {})}
    names = sorted(every)
    parameters = {
        "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
        "X-Amz-Credential": f"{ACCESS_KEY}/{scope}".replace("/", "%2F"),
        "X-Amz-Date": stamp,
        "X-Amz-Expires": expires,
        "X-Amz-SignedHeaders": "%3B".join(names),
        **(query or {}),
    }
    text = "&".join(f"{name}={value}" for name, value in sorted(parameters.items()))
    lines = "".join(f"{name}:{every[name]}\n" for name in names)
    canonical = f"{method}\n{path}\n{text}\n{lines}\n{';'.join(names)}\n{payload}"
    digest = hashlib.sha256(canonical.encode("latin-1")).hexdigest()
    signature = sign(f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{digest}")
    parameters["X-Amz-Signature"] = signature
    text = "&".join(f"{name}={value}" for name, value in parameters.items() if name not in drop)
    return request(method, f"{path}?{text}", {**every, **(unsigned or {})}), signature


def chunk_signatures(pieces: Sequence[bytes], seed: str) -> list[str]:
    """The signatures of these chunks, the last one empty."""
    found = []
    previous = seed
    for piece in pieces:
        previous = sign(
            f"AWS4-HMAC-SHA256-PAYLOAD\n{STAMP}\n{SCOPE}\n{previous}\n{EMPTY}\n"
            + hashlib.sha256(piece).hexdigest()
        )
        found.append(previous)
    return found


def trailer_signature(trailers: Sequence[tuple[str, str]], previous: str) -> str:
    canonical = "".join(f"{name}:{value}\n" for name, value in trailers)
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    return sign(f"AWS4-HMAC-SHA256-TRAILER\n{STAMP}\n{SCOPE}\n{previous}\n{digest}")


def chunks(data: bytes, size: int = 65536) -> list[bytes]:
    """The pieces of `data`, and the empty one at the end."""
    return [*(data[at : at + size] for at in range(0, len(data), size)), b""]


def chunked(
    pieces: Sequence[bytes],
    seed: str | None = None,
    trailers: Sequence[tuple[str, str]] = (),
    *,
    sign_trailers: bool = False,
) -> bytes:
    """An aws-chunked body; signed when there is a seed."""
    out = []
    signatures = chunk_signatures(pieces, seed) if seed else [""] * len(pieces)
    for piece, signature in zip(pieces, signatures, strict=True):
        extension = f";chunk-signature={signature}" if seed else ""
        out.append(f"{len(piece):x}{extension}\r\n".encode())
        if piece:
            out.append(piece + b"\r\n")
    out.extend(f"{name}:{value}\r\n".encode() for name, value in trailers)
    if sign_trailers:
        signature = trailer_signature(trailers, signatures[-1])
        out.append(f"x-amz-trailer-signature:{signature}\r\n".encode())
    return b"".join(out) + b"\r\n"
