"""AWS Signature Version 4 for S3: who sent a request, and how its payload is vouched for.

Pure: the request, the clock and the secrets are passed in; out comes an `Identity` and the
`PayloadSpec` that the payload has to keep, or S3Error. Rules:

- What is signed is what is used: the canonical path and query are made from the decoded values
  of `Request`, never from a second reading of the wire.
- A header that decides something and is not signed is refused: every x-amz-*, host, and on
  writes every If-*. The query is always signed, so headers hoisted into it are.
- `x-amz-content-sha256` chooses the verifier of the payload and stands in the signature, so it
  cannot be changed on the way; with presigned URLs it counts only when signed.
- An unknown key costs the same work as a wrong signature; digests are compared in constant time.
- Secrets, signing keys and computed signatures are in no error, repr or log.

Sources: "Authenticating Requests (AWS Signature Version 4)" of the Amazon S3 API Reference:
"Using the Authorization Header", "Using Query Parameters", "Transferring Payload in Multiple
Chunks", "Including Trailing Headers". Error texts as S3 answers them.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Callable

import msgspec

from s3node.base.errors import S3Error
from s3node.s3.claims import (
    STREAMING,
    UNSIGNED_PAYLOAD,
    Claim,
    PayloadKind,
    content_sha256,
    error,
    read_claim,
)
from s3node.s3.request import Request
from s3node.s3.signing import ChunkSigner, KeyCache, canonical_request, string_to_sign

__all__ = ["ANONYMOUS", "Identity", "KeyCache", "PayloadKind", "PayloadSpec", "authenticate"]

_WRITES = frozenset({"PUT", "POST", "DELETE", "PATCH"})
NO_SECRET = "\0" * 40  # stands in for the secret of an unknown key: same work, never right
# Signed values that are secrets themselves and so are not echoed with a mismatch.
_SECRET_HEADERS = re.compile(r"(?:security-token|encryption-customer-key)\Z")
_SIGNED_KINDS = (PayloadKind.CHUNKS_SIGNED, PayloadKind.CHUNKS_SIGNED_TRAILER)


class Identity(msgspec.Struct, frozen=True):
    """Who sent a request. The owner is the canonical user that S3 documents show."""

    access_key: str
    owner_id: str
    display_name: str
    anonymous: bool = False


ANONYMOUS = Identity("", "", "", anonymous=True)


class PayloadSpec(msgspec.Struct, frozen=True):
    """What the signature says about the payload."""

    kind: PayloadKind
    sha256: bytes | None = None  # of the payload, when kind is LITERAL
    signer: ChunkSigner | None = None  # when kind is one of the signed chunk kinds


def authenticate(
    request: Request,
    *,
    now_ms: int,
    secret_for: Callable[[str], str | None],
    region: str,
    key_cache: KeyCache,
    owner_id: str = "",
    display_name: str = "",
) -> tuple[Identity, PayloadSpec]:
    """Who sent `request` and what its payload must keep; S3Error when that cannot be believed.

    `secret_for` gives the secret of an access key, or None. All keys belong to one owner.
    """
    claim = read_claim(request, now_ms, region)
    if claim is None:
        return ANONYMOUS, _payload_spec(content_sha256(request) or UNSIGNED_PAYLOAD, None)
    _check_signed(request, claim)
    secret = secret_for(claim.access_key)
    key = key_cache.signing_key(NO_SECRET if secret is None else secret, claim.date, claim.region)
    names = claim.signed_headers
    canonical = canonical_request(request, names, claim.payload_hash, claim.query)
    to_sign = string_to_sign(claim.timestamp, claim.scope, canonical)
    right = hmac.compare_digest(key.sign(to_sign), claim.signature)
    if secret is None:
        raise S3Error("InvalidAccessKeyId", AWSAccessKeyId=claim.access_key)
    if not right:
        raise _mismatch(claim, to_sign, canonical)
    identity = Identity(claim.access_key, owner_id, display_name)
    if claim.payload_hash == UNSIGNED_PAYLOAD:
        return identity, _UNSIGNED
    signer = ChunkSigner(key, claim.timestamp, claim.scope, claim.signature)
    return identity, _payload_spec(claim.payload_hash, signer)


_UNSIGNED = PayloadSpec(PayloadKind.UNSIGNED)


def _payload_spec(payload_hash: str, signer: ChunkSigner | None) -> PayloadSpec:
    if payload_hash == UNSIGNED_PAYLOAD:
        return _UNSIGNED
    kind = STREAMING.get(payload_hash)
    if kind is None:
        return PayloadSpec(PayloadKind.LITERAL, sha256=bytes.fromhex(payload_hash))
    if kind not in _SIGNED_KINDS:
        return PayloadSpec(kind)
    if signer is None:
        raise S3Error("InvalidRequest", "An anonymous request cannot have signed chunks.")
    return PayloadSpec(kind, signer=signer)


def _check_signed(request: Request, claim: Claim) -> None:
    """AccessDenied for a deciding header that the signature does not cover."""
    headers = request.headers
    missing = [name for name in claim.signed_headers if name not in headers]
    if missing:
        raise S3Error(
            "AuthorizationHeaderMalformed",
            f"SignedHeaders names headers that the request does not have: {', '.join(missing)}",
        )
    if not headers.deciding:
        return
    signed = request.hoisted.union(claim.signed_headers)
    conditions = request.method in _WRITES and not claim.presigned
    unsigned = [
        name
        for name in headers.deciding
        if name not in signed and (conditions or not name.startswith("if-"))
    ]
    if unsigned:
        raise S3Error(
            "AccessDenied",
            "There were headers present in the request which were not signed",
            HeadersNotSigned=", ".join(unsigned),
        )


def _mismatch(claim: Claim, to_sign: str, canonical: str) -> S3Error:
    """SignatureDoesNotMatch with what the client needs to find its own mistake."""
    fields = {
        "AWSAccessKeyId": claim.access_key,
        "StringToSign": to_sign,
        "SignatureProvided": claim.signature,
        "StringToSignBytes": to_sign.encode("latin-1").hex(" "),
    }
    if not any(_SECRET_HEADERS.search(name) for name in claim.signed_headers):
        fields["CanonicalRequest"] = canonical
        fields["CanonicalRequestBytes"] = canonical.encode("latin-1").hex(" ")
    return error("SignatureDoesNotMatch", None, fields)
