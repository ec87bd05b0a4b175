"""The arithmetic of Signature Version 4: canonical requests, strings to sign, keys, chunk chains.

Nothing here decides: `sigv4` says who is believed, `chunked` where a chunk ends. Header values
are latin-1 text, the wire's bytes. Keys derived from secrets appear in no repr.

Source: "Signature Calculations for the Authorization Header" (single chunk, multiple chunks,
trailing headers) of the Amazon S3 API Reference. S3 differs from other services: the path is
encoded once and never normalised.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from functools import lru_cache
from urllib.parse import quote

import msgspec

from s3node.s3.request import Request

ALGORITHM = "AWS4-HMAC-SHA256"
SERVICE = "s3"
TERMINATOR = "aws4_request"
KEY_CACHE_ENTRIES = 1024
SHA256_EMPTY = hashlib.sha256(b"").hexdigest()

_SPACES = re.compile(r"[ \t]+")
_UNRESERVED = re.compile(r"[A-Za-z0-9_.~-]*\Z")  # RFC 3986 section 2.3
_PLAIN_PATH = re.compile(rb"[A-Za-z0-9_.~/-]*\Z")
_REMEMBERED_BYTES_MAX = 128
# RFC 2104, section 2, with SHA-256.
_BLOCK_BYTES = 64
_INNER_PAD = bytes(byte ^ 0x36 for byte in range(256))
_OUTER_PAD = bytes(byte ^ 0x5C for byte in range(256))


class SigningKey:
    """HMAC-SHA-256 under one key: what every message begins with has been hashed already."""

    __slots__ = ("_inner", "_outer")

    def __init__(self, key: bytes) -> None:
        assert len(key) <= _BLOCK_BYTES, "longer keys would have to be hashed first"
        padded = key.ljust(_BLOCK_BYTES, b"\0")
        self._inner = hashlib.sha256(padded.translate(_INNER_PAD))
        self._outer = hashlib.sha256(padded.translate(_OUTER_PAD))

    def sign(self, message: str) -> str:
        """The signature of a message (latin-1), in hex."""
        inner, outer = self._inner.copy(), self._outer.copy()
        inner.update(message.encode("latin-1"))
        outer.update(inner.digest())
        return outer.hexdigest()

    def __repr__(self) -> str:
        return "SigningKey()"


class ChunkSigner(msgspec.Struct, frozen=True):
    """Checks the signatures of a chunked payload, each over the one before it."""

    key: SigningKey
    timestamp: str
    scope: str
    seed: str

    def __repr__(self) -> str:
        return f"ChunkSigner({self.timestamp}, {self.scope})"

    def chunk(self, previous: str, data_sha256: str) -> str:
        """The signature of a chunk whose data has this SHA-256 (hex)."""
        head = f"AWS4-HMAC-SHA256-PAYLOAD\n{self.timestamp}\n{self.scope}\n{previous}"
        return self.key.sign(f"{head}\n{SHA256_EMPTY}\n{data_sha256}")

    def trailer(self, previous: str, canonical: bytes) -> str:
        """The signature of trailers in the form ``name:value\\n``, one after the other."""
        head = f"AWS4-HMAC-SHA256-TRAILER\n{self.timestamp}\n{self.scope}\n{previous}"
        return self.key.sign(f"{head}\n{hashlib.sha256(canonical).hexdigest()}")


class KeyCache:
    """Signing keys by (secret, day, region): four HMACs saved per request. Bounded, LRU.

    The secret is part of the key, so a replaced secret is never found here.
    """

    __slots__ = ("_keys", "_size")

    def __init__(self, size: int = KEY_CACHE_ENTRIES) -> None:
        self._size = size
        self._keys: OrderedDict[tuple[str, str, str], SigningKey] = OrderedDict()

    def signing_key(self, secret: str, date: str, region: str) -> SigningKey:
        name = (secret, date, region)
        key = self._keys.get(name)
        if key is None:
            key = SigningKey(signing_key(secret, date, region))
            self._keys[name] = key
            if len(self._keys) > self._size:
                self._keys.popitem(last=False)
        else:
            self._keys.move_to_end(name)
        return key

    def __len__(self) -> int:
        return len(self._keys)


def signing_key(secret: str, date: str, region: str) -> bytes:
    """The key of one day and region, derived from a secret."""
    key = b"AWS4" + secret.encode("utf-8")
    for part in (date, region, SERVICE, TERMINATOR):
        key = hmac.digest(key, part.encode("utf-8"), "sha256")
    return key


def canonical_request(
    request: Request, signed_headers: Sequence[str], payload_hash: str, query: str = ""
) -> str:
    """The canonical request; header values are the wire's bytes as latin-1.

    `query` is the canonical query where that is known.
    """
    header = request.headers.get
    headers = [f"{name}:{_trimmed(header(name) or '')}\n" for name in signed_headers]
    path = request.path
    return "\n".join(
        (
            request.method,
            path.decode("ascii") if _PLAIN_PATH.match(path) else quote(path, safe="/"),
            query or canonical_query(request.query),
            "".join(headers),
            ";".join(signed_headers),
            payload_hash,
        )
    )


def canonical_query(parameters: Mapping[str, str]) -> str:
    """All of them but the signature, encoded, in the order of what that gives."""
    pairs = sorted(
        (_quoted(name), _quoted(value))
        for name, value in parameters.items()
        if name != "X-Amz-Signature"
    )
    return "&".join([f"{name}={value}" for name, value in pairs])


def _quoted(text: str) -> str:
    """Percent-encoded as a part of a query; most parts need nothing of it."""
    if _UNRESERVED.match(text):
        return text
    return _encoded(text) if len(text) <= _REMEMBERED_BYTES_MAX else quote(text, safe="")


@lru_cache(1024)
def _encoded(text: str) -> str:
    """Credentials, most of all: each request of a client has the same."""
    return quote(text, safe="")


def _trimmed(value: str) -> str:
    """A header value with every run of white space as one space."""
    return _SPACES.sub(" ", value) if "  " in value or "\t" in value else value


def string_to_sign(timestamp: str, scope: str, canonical: str) -> str:
    """What is signed: the canonical request stands in it as its digest."""
    digest = hashlib.sha256(canonical.encode("latin-1")).hexdigest()
    return f"{ALGORITHM}\n{timestamp}\n{scope}\n{digest}"
