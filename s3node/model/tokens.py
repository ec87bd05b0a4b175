"""Continuation tokens: where a listing goes on, sealed so that only this node can say it.

A token is opaque (it shows nothing of the key it stands for), authenticated (nobody else can make
one) and bound: to the kind of listing, the caller, the bucket, and whatever else the listing was
about. What is bound is the `scope`; a token that is opened in another scope is none. Buckets are
bound by their id, so that a token does not outlive its bucket.

AES-SIV (RFC 5297): the same place in the same scope has the same token always, there is no nonce
to repeat, and a token can be made by one process and opened by another.

Upload ids and version ids need no seal: they are nothing but names, half of each is random, and
they are only ever looked up below the bucket and the key that a request is about.
"""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from functools import lru_cache

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV

Scope = tuple[bytes, ...]


@lru_cache(maxsize=4)
def _cipher(secret: bytes) -> AESSIV:
    return AESSIV(secret)


def _bound(scope: Scope) -> list[bytes]:
    """The scope as one text: no two scopes have the same."""
    return [b"".join(len(part).to_bytes(4, "big") + part for part in scope)]


def seal(secret: bytes, scope: Scope, entry: bytes) -> str:
    """The token for going on after `entry`. `secret` has 32 bytes."""
    assert entry, "a listing goes on after something"
    return urlsafe_b64encode(_cipher(secret).encrypt(entry, _bound(scope))).decode()


def open_token(secret: bytes, scope: Scope, token: str) -> bytes | None:
    """The entry a token was made for; None if nobody here made it for this scope."""
    try:
        sealed = urlsafe_b64decode(token.encode("ascii"))
        entry = _cipher(secret).decrypt(sealed, _bound(scope))
    except (ValueError, InvalidTag):
        return None
    return entry if urlsafe_b64encode(sealed).decode() == token else None
