"""Requests as attackers send them: signed by an account of their own, and then changed.

A `Draft` is what goes over the wire and nothing else: names and values as they stand there. It is
signed with the keys of `tests.s3.build`, at its time, by what AWS publishes of Signature Version
4; what is changed afterwards the signature does not know.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from urllib.parse import quote, unquote, unquote_to_bytes

from tests.s3.build import ACCESS_KEY, NOW_MS, REGION, SCOPE, SECRET_KEY, STAMP, key_for, sign

HOST = "s3.example.org"
UNSIGNED = "UNSIGNED-PAYLOAD"
ALGORITHM = "AWS4-HMAC-SHA256"

_SPACES = re.compile("[ \t]+")

Pairs = tuple[tuple[str, str], ...]

__all__ = ["ACCESS_KEY", "HOST", "NOW_MS", "REGION", "SCOPE", "SECRET_KEY", "STAMP", "Draft"]


@dataclass(frozen=True)
class Draft:
    """`path`, and names and values of `query`, are percent-encoded; all text is latin-1."""

    method: str
    path: str
    query: Pairs = ()
    headers: Pairs = ()
    body: bytes = b""
    signature: str = ""  # the last one that was made: the seed of signed chunks

    # --- changes ------------------------------------------------------------------------------

    def add(self, name: str, value: str) -> Draft:
        """One more header, whatever there is."""
        return replace(self, headers=(*self.headers, (name, value)))

    def put(self, name: str, value: str) -> Draft:
        """This header with another value, where it was."""
        assert self.has(name), "put changes"
        same = tuple((n, value if n.lower() == name.lower() else v) for n, v in self.headers)
        return replace(self, headers=same)

    def drop(self, name: str) -> Draft:
        kept = tuple((n, v) for n, v in self.headers if n.lower() != name.lower())
        assert kept != self.headers, "drop takes something away"
        return replace(self, headers=kept)

    def ask(self, name: str, value: str = "") -> Draft:
        """One more query parameter."""
        return replace(self, query=(*self.query, (name, value)))

    def asked(self, name: str, value: str) -> Draft:
        """This query parameter with another value."""
        assert name in dict(self.query), "asked changes"
        return replace(self, query=tuple((n, value if n == name else v) for n, v in self.query))

    def unasked(self, name: str) -> Draft:
        kept = tuple((n, v) for n, v in self.query if n != name)
        assert kept != self.query, "unasked takes something away"
        return replace(self, query=kept)

    def to(self, method: str = "", path: str = "") -> Draft:
        return replace(self, method=method or self.method, path=path or self.path)

    def carry(self, body: bytes) -> Draft:
        return replace(self, body=body)

    def has(self, name: str) -> bool:
        return any(n.lower() == name.lower() for n, _ in self.headers)

    def get(self, name: str) -> str:
        return next(v for n, v in self.headers if n.lower() == name.lower())

    # --- signing ------------------------------------------------------------------------------

    def sign(
        self,
        payload: str = "",
        *,
        leave_out: Sequence[str] = (),
        stamp: str = STAMP,
        scope: str = SCOPE,
        key: bytes | None = None,
        access_key: str = ACCESS_KEY,
    ) -> Draft:
        """Signed in a header: everything that is there, but what is left out.

        `payload` is x-amz-content-sha256; without it the digest of the body.
        """
        payload = payload or hashlib.sha256(self.body).hexdigest()
        whole = self._with(
            {"host": HOST, "x-amz-date": stamp, "x-amz-content-sha256": payload}, leave_out
        )
        names, made = whole._sign(payload, leave_out, stamp, scope, key)
        told = (
            f"{ALGORITHM} Credential={access_key}/{scope}, SignedHeaders={';'.join(names)}, "
            f"Signature={made}"
        )
        return replace(whole.add("authorization", told), signature=made)

    def presign(
        self,
        payload: str = UNSIGNED,
        *,
        expires: str | None = "300",
        leave_out: Sequence[str] = (),
        stamp: str = STAMP,
        scope: str = SCOPE,
        key: bytes | None = None,
        access_key: str = ACCESS_KEY,
    ) -> Draft:
        """Signed in the query: everything that is there, but headers that are left out."""
        whole = self._with({"host": HOST}, leave_out)
        names = sorted({n.lower() for n, _ in whole.headers} - set(leave_out))
        parameters = {
            "X-Amz-Algorithm": ALGORITHM,
            "X-Amz-Credential": quote(f"{access_key}/{scope}", safe=""),
            "X-Amz-Date": stamp,
            "X-Amz-Expires": expires,
            "X-Amz-SignedHeaders": quote(";".join(names), safe=""),
        }
        for name, value in parameters.items():
            whole = whole if value is None else whole.ask(name, value)
        _, made = whole._sign(payload, leave_out, stamp, scope, key)
        return replace(whole.ask("X-Amz-Signature", made), signature=made)

    def _with(self, more: Mapping[str, str], leave_out: Sequence[str]) -> Draft:
        """These headers too, unless they are there already."""
        missing = tuple((n, v) for n, v in more.items() if not self.has(n))
        return replace(self, headers=(*missing, *self.headers))

    def _sign(
        self, payload: str, leave_out: Sequence[str], stamp: str, scope: str, key: bytes | None
    ) -> tuple[list[str], str]:
        values: dict[str, str] = {}
        for name, value in self.headers:
            values.setdefault(name.lower(), _SPACES.sub(" ", value).strip(" "))
        names = sorted(set(values) - set(leave_out))
        lines = "".join(f"{name}:{values[name]}\n" for name in names)
        path = quote(unquote_to_bytes(self.path), safe="/~")
        pairs = sorted((_canonical(n), _canonical(v)) for n, v in self.query)
        query = "&".join(f"{name}={value}" for name, value in pairs)
        canonical = f"{self.method}\n{path}\n{query}\n{lines}\n{';'.join(names)}\n{payload}"
        digest = hashlib.sha256(canonical.encode("latin-1")).hexdigest()
        return names, sign(f"{ALGORITHM}\n{stamp}\n{scope}\n{digest}", key)

    # --- the wire -----------------------------------------------------------------------------

    @property
    def target(self) -> str:
        if not self.query:
            return self.path
        return self.path + "?" + "&".join(f"{n}={v}" for n, v in self.query)

    def wire(self) -> bytes:
        """The request in bytes; its length is told unless something is said of that."""
        headers = self.headers
        if not self.has("content-length") and not self.has("transfer-encoding"):
            headers = (*headers, ("content-length", str(len(self.body))))
        lines = [f"{self.method} {self.target} HTTP/1.1", *(f"{n}: {v}" for n, v in headers)]
        return "\r\n".join([*lines, "", ""]).encode("latin-1") + self.body


def _canonical(encoded: str) -> str:
    """A part of a query as it is signed, where a plus is a space."""
    return quote(unquote(encoded.replace("+", " ")), safe="~")


def scope_of(date: str = STAMP[:8], region: str = REGION, service: str = "s3") -> str:
    return f"{date}/{region}/{service}/aws4_request"


def key_of(date: str = STAMP[:8], region: str = REGION, secret: str = SECRET_KEY) -> bytes:
    """The signing key of a day and a region."""
    return key_for(date, region, secret)
