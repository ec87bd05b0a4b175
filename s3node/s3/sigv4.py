"""AWS Signature Version 4 for S3: who sent a request, and how its payload is vouched for.

Pure: the request, the clock and the secrets are passed in; out comes an `Identity` and the
`PayloadSpec` that the payload has to keep, or S3Error. Rules:

- What is signed is what is used: the canonical path and query are made from the decoded values
  of `Request`, never from a second reading of the wire.
- A header that decides something and is not signed is refused: every x-amz-*, host, and on
  writes every If-*.
- `x-amz-content-sha256` chooses the verifier of the payload and stands in the signature, so it
  cannot be changed on the way; with presigned URLs it counts only when signed.
- An unknown key costs the same work as a wrong signature; digests are compared in constant time.
- Secrets, signing keys and computed signatures are in no error, repr or log.

Sources: "Authenticating Requests (AWS Signature Version 4)" of the Amazon S3 API Reference:
"Using the Authorization Header", "Using Query Parameters", "Transferring Payload in Multiple
Chunks", "Including Trailing Headers". Error texts as S3 answers them.
"""

from __future__ import annotations

import calendar
import enum
import hashlib
import hmac
import re
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from s3node.base.errors import S3Error
from s3node.s3.headers import parse_http_date
from s3node.s3.request import Request

ALGORITHM = "AWS4-HMAC-SHA256"
SERVICE = "s3"
TERMINATOR = "aws4_request"
SKEW_MS_MAX = 15 * 60 * 1000
EXPIRES_S_MAX = 7 * 24 * 3600
KEY_CACHE_ENTRIES = 1024
SHA256_EMPTY = hashlib.sha256(b"").hexdigest()
UNSIGNED_PAYLOAD = "UNSIGNED-PAYLOAD"

_WRITES = frozenset({"PUT", "POST", "DELETE", "PATCH"})
_QUERY_NAMES = (
    "X-Amz-Algorithm",
    "X-Amz-Credential",
    "X-Amz-Date",
    "X-Amz-Expires",
    "X-Amz-SignedHeaders",
    "X-Amz-Signature",
)
_TIMESTAMP = re.compile(r"[0-9]{8}T[0-9]{6}Z\Z")
_SIGNATURE = re.compile(r"[0-9a-f]{64}\Z")
_SHA256 = re.compile(r"[0-9A-Fa-f]{64}\Z")
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9a-z-]+\Z")
_SPACES = re.compile(r"[ \t]+")
_NO_SECRET = "\0" * 40  # stands in for the secret of an unknown key: same work, never right
# Signed values that are secrets themselves and so are not echoed with a mismatch.
_SECRET_HEADERS = re.compile(r"(?:security-token|encryption-customer-key)\Z")


class PayloadKind(enum.Enum):
    """How a payload is framed and vouched for."""

    UNSIGNED = "UNSIGNED-PAYLOAD"
    LITERAL = "a SHA-256 in hex"
    CHUNKS_SIGNED = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
    CHUNKS_SIGNED_TRAILER = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"
    CHUNKS_UNSIGNED_TRAILER = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"


_STREAMING = {kind.value: kind for kind in PayloadKind if kind.value.startswith("STREAMING-")}
_SIGNED_KINDS = (PayloadKind.CHUNKS_SIGNED, PayloadKind.CHUNKS_SIGNED_TRAILER)


@dataclass(frozen=True, slots=True)
class Identity:
    """Who sent a request. The owner is the canonical user that S3 documents show."""

    access_key: str
    owner_id: str
    display_name: str
    anonymous: bool = False


ANONYMOUS = Identity("", "", "", anonymous=True)


@dataclass(frozen=True, slots=True)
class ChunkSigner:
    """Checks the signatures of a chunked payload, each over the one before it."""

    key: bytes = field(repr=False)
    timestamp: str
    scope: str
    seed: str

    def chunk(self, previous: str, data_sha256: str) -> str:
        """The signature of a chunk whose data has this SHA-256 (hex)."""
        head = f"AWS4-HMAC-SHA256-PAYLOAD\n{self.timestamp}\n{self.scope}\n{previous}"
        return _hmac_hex(self.key, f"{head}\n{SHA256_EMPTY}\n{data_sha256}")

    def trailer(self, previous: str, canonical: bytes) -> str:
        """The signature of trailers in the form ``name:value\\n``, one after the other."""
        head = f"AWS4-HMAC-SHA256-TRAILER\n{self.timestamp}\n{self.scope}\n{previous}"
        return _hmac_hex(self.key, f"{head}\n{hashlib.sha256(canonical).hexdigest()}")


@dataclass(frozen=True, slots=True)
class PayloadSpec:
    """What the signature says about the payload."""

    kind: PayloadKind
    sha256: bytes | None = None  # of the payload, when kind is LITERAL
    signer: ChunkSigner | None = None  # when kind is one of the signed chunk kinds


class KeyCache:
    """Signing keys by (secret, day, region): four HMACs saved per request. Bounded, LRU.

    The secret is part of the key, so a replaced secret is never found here.
    """

    __slots__ = ("_keys", "_size")

    def __init__(self, size: int = KEY_CACHE_ENTRIES) -> None:
        self._size = size
        self._keys: OrderedDict[tuple[str, str, str], bytes] = OrderedDict()

    def signing_key(self, secret: str, date: str, region: str) -> bytes:
        name = (secret, date, region)
        key = self._keys.get(name)
        if key is None:
            key = signing_key(secret, date, region)
            self._keys[name] = key
            if len(self._keys) > self._size:
                self._keys.popitem(last=False)
        else:
            self._keys.move_to_end(name)
        return key

    def __len__(self) -> int:
        return len(self._keys)


class _Claim(NamedTuple):
    """What a request says about its signature; header and query forms become the same."""

    access_key: str
    date: str
    region: str
    timestamp: str
    signed_headers: tuple[str, ...]
    signature: str
    payload_hash: str
    presigned: bool

    @property
    def scope(self) -> str:
        return f"{self.date}/{self.region}/{SERVICE}/{TERMINATOR}"


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
    claim = _claim(request, now_ms, region)
    if claim is None:
        return ANONYMOUS, _payload_spec(_content_sha256(request) or UNSIGNED_PAYLOAD, None)
    _check_signed(request, claim)
    secret = secret_for(claim.access_key)
    key = key_cache.signing_key(_NO_SECRET if secret is None else secret, claim.date, claim.region)
    canonical = canonical_request(request, claim.signed_headers, claim.payload_hash)
    to_sign = string_to_sign(claim.timestamp, claim.scope, canonical)
    right = hmac.compare_digest(_hmac_hex(key, to_sign), claim.signature)
    if secret is None:
        raise S3Error("InvalidAccessKeyId", AWSAccessKeyId=claim.access_key)
    if not right:
        raise _mismatch(claim, to_sign, canonical)
    signer = ChunkSigner(key, claim.timestamp, claim.scope, claim.signature)
    identity = Identity(claim.access_key, owner_id, display_name)
    return identity, _payload_spec(claim.payload_hash, signer)


def signing_key(secret: str, date: str, region: str) -> bytes:
    """The key of one day and region, derived from a secret."""
    key = b"AWS4" + secret.encode("utf-8")
    for part in (date, region, SERVICE, TERMINATOR):
        key = hmac.digest(key, part.encode("utf-8"), "sha256")
    return key


def canonical_request(
    request: Request, signed_headers: Sequence[str], payload_hash: str
) -> str:
    """The canonical request; header values are the wire's bytes as latin-1."""
    query = sorted(
        (quote(name.encode("utf-8")), quote(value.encode("utf-8")))
        for name, value in request.query
        if name != "X-Amz-Signature"
    )
    headers = "".join(
        f"{name}:{_SPACES.sub(' ', request.headers.get(name) or '')}\n" for name in signed_headers
    )
    return "\n".join(
        (
            request.method,
            quote(request.path, safe="/"),
            "&".join(f"{name}={value}" for name, value in query),
            headers,
            ";".join(signed_headers),
            payload_hash,
        )
    )


def string_to_sign(timestamp: str, scope: str, canonical: str) -> str:
    digest = hashlib.sha256(canonical.encode("latin-1")).hexdigest()
    return f"{ALGORITHM}\n{timestamp}\n{scope}\n{digest}"


_UNRESERVED = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_QUOTED = {False: [], True: []}  # type: dict[bool, list[str]]
