"""Presigned URLs, many thousand a second.

A load generator must not spend its time on signatures: everything but the key of the object is
the same in a batch, so that one URL costs one SHA-256 and one HMAC. The payload is not signed.

Source: "Authenticating Requests: Using Query Parameters (AWS Signature Version 4)" of the Amazon
S3 API Reference.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import quote, urlsplit

ALGORITHM = "AWS4-HMAC-SHA256"
EXPIRES_S = 24 * 3600


@dataclass(frozen=True)
class Keys:
    """Who asks."""

    access_key: str
    secret_key: str
    region: str = "us-east-1"


@dataclass(frozen=True)
class Presigner:
    """Makes request targets (path and query) for one endpoint; path-style addressing."""

    endpoint: str
    keys: Keys

    def targets(
        self, method: str, bucket: str, names: Iterable[str], query: str = "", now: float = 0.0
    ) -> list[str]:
        """One presigned target for each key of `bucket`.

        An empty key is the bucket itself. `query` is further parameters, already encoded and in
        order, whose names sort after "X-Amz-". `now`: seconds since 1970; 0 is now.
        """
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now or time.time()))
        scope = f"{stamp[:8]}/{self.keys.region}/s3/aws4_request"
        credential = quote(f"{self.keys.access_key}/{scope}", safe="")
        parameters = (
            f"X-Amz-Algorithm={ALGORITHM}&X-Amz-Credential={credential}&X-Amz-Date={stamp}"
            f"&X-Amz-Expires={EXPIRES_S}&X-Amz-SignedHeaders=host"
        )
        if query:
            parameters += f"&{query}"
        host = urlsplit(self.endpoint).netloc
        rest = f"\n{parameters}\nhost:{host}\n\nhost\nUNSIGNED-PAYLOAD"
        to_sign = f"{ALGORITHM}\n{stamp}\n{scope}\n"
        key = self._signing_key(scope)
        made = []
        for name in names:
            path = quote(f"/{bucket}/{name}" if name else f"/{bucket}", safe="/-._~")
            canonical = hashlib.sha256(f"{method}\n{path}{rest}".encode()).hexdigest()
            signature = hmac.digest(key, f"{to_sign}{canonical}".encode(), "sha256").hex()
            made.append(f"{path}?{parameters}&X-Amz-Signature={signature}")
        return made

    def _signing_key(self, scope: str) -> bytes:
        key = f"AWS4{self.keys.secret_key}".encode()
        for part in scope.split("/"):
            key = hmac.digest(key, part.encode(), "sha256")
        return key
