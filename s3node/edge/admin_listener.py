"""The admin listener: health, metrics and the JSON API, on an address of its own.

====================== ========= ===================================================
GET                    keys      answers
====================== ========= ===================================================
/healthz               no        200 while the process lives
/readyz                no        200 while S3 is served, else 503 and why
/metrics               yes       Prometheus text
/v1/...                yes       JSON: what the node was composed with
====================== ========= ===================================================

Keys are the root key pair as HTTP Basic credentials: what curl and Prometheus can speak. They
would travel in the clear, so the composition root refuses an admin address that others can reach
without TLS. A browser can be made to send requests here under a name that an attacker's DNS
points at this machine; so whatever needs keys also needs a Host that is an address, localhost or
a configured name, and nothing is accepted that a foreign page's script would send (an Origin
that is not this host). There are no cookies and no state-changing GETs.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import inspect
import ipaddress
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from s3node.base import metrics
from s3node.base.errors import S3Error
from s3node.edge.exchange import Exchange
from s3node.edge.http import Refusal
from s3node.s3 import errors

JSON = "application/json"
TEXT = "text/plain; charset=utf-8"
REALM = 'Basic realm="s3node admin", charset="UTF-8"'
API = "/v1/"

View = Callable[[], object]
"""A value in JSON's types, made when asked for, or something to await that gives it."""


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    kind: str
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()


class AdminListener:
    """Answers requests on the admin address."""

    def __init__(
        self,
        secrets: Mapping[str, str],
        views: Mapping[str, View],
        *,
        unready: Callable[[], str | Awaitable[str]],
        names: Sequence[str] = (),
        text: Callable[[], bytes | Awaitable[bytes]] = metrics.text,
    ) -> None:
        """`unready` says why S3 is not served, "" if it is; `views` are by path below /v1/;
        `text` is all metrics.
        """
        self._secrets = secrets
        self._views = views
        self._unready = unready
        self._text = text
        self._names = frozenset(name.lower() for name in names) | {"localhost"}

    async def handle(self, exchange: Exchange) -> None:
        """Answer one request."""
        answer = await self._answer(exchange)
        headers = [
            ("Content-Type", answer.kind),
            ("Cache-Control", "no-store"),
            ("X-Content-Type-Options", "nosniff"),
            *answer.headers,
        ]
        await exchange.answer(answer.status, headers, answer.body)

    def refuse(self, error: S3Error, remote: str) -> Refusal:
        """The answer to what is no proper HTTP request, or one too many."""
        answer = _fault(errors.status(error), str(error))
        headers = [("Content-Type", answer.kind), *error.headers.items()]
        return answer.status, headers, answer.body

    async def _answer(self, exchange: Exchange) -> Answer:
        path = exchange.target.partition(b"?")[0].decode("latin-1")
        if exchange.method not in ("GET", "HEAD"):
            allowed = (("Allow", "GET, HEAD"),)
            return _fault(HTTPStatus.METHOD_NOT_ALLOWED, "only GET and HEAD here", allowed)
        if path == "/healthz":
            return Answer(HTTPStatus.OK, TEXT, b"alive\n")
        if path == "/readyz":
            return await self._readiness()
        headers = {name.lower(): value.decode("latin-1") for name, value in exchange.headers}
        return self._guard(headers) or await self._protected(path)

    async def _readiness(self) -> Answer:
        reason = await _made(self._unready())
        status = HTTPStatus.SERVICE_UNAVAILABLE if reason else HTTPStatus.OK
        return _json({"ready": not reason, "reason": reason}, status)

    def _guard(self, headers: Mapping[bytes, str]) -> Answer | None:
        """Why this request may not see what needs keys; None if it may."""
        host = headers.get(b"host", "")
        if not self._is_ours(host):
            return _fault(HTTPStatus.MISDIRECTED_REQUEST, "this host name is not served here")
        origin = headers.get(b"origin")
        if origin is not None and origin.partition("://")[2].lower() != host.lower():
            return _fault(HTTPStatus.FORBIDDEN, "requests from other origins are refused")
        if not self._knows(headers.get(b"authorization", "")):
            challenge = (("WWW-Authenticate", REALM),)
            message = "the root access key and secret key are needed, as HTTP Basic credentials"
            return _fault(HTTPStatus.UNAUTHORIZED, message, challenge)
        return None

    def _is_ours(self, host: str) -> bool:
        name = _without_port(host).lower()
        if name in self._names:
            return True
        try:
            ipaddress.ip_address(name.strip("[]"))
        except ValueError:
            return False
        return True

    def _knows(self, authorization: str) -> bool:
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "basic":
            return False
        try:
            given = base64.b64decode(token.strip(), validate=True)
        except (binascii.Error, ValueError):
            return False
        right = False
        for access, secret in self._secrets.items():
            right |= hmac.compare_digest(given, f"{access}:{secret}".encode())
        return right

    async def _protected(self, path: str) -> Answer:
        if path == "/metrics":
            return Answer(HTTPStatus.OK, metrics.CONTENT_TYPE, await _made(self._text()))
        view = self._views.get(path.removeprefix(API)) if path.startswith(API) else None
        if view is None:
            return _fault(HTTPStatus.NOT_FOUND, "there is nothing at this path")
        return _json(await _made(view()), HTTPStatus.OK)


async def _made(value: Any) -> Any:
    """A value, or what is awaited for it."""
    return await value if inspect.isawaitable(value) else value


def _without_port(host: str) -> str:
    name, separator, port = host.rpartition(":")
    return name if separator and port.isdigit() else host


def _json(value: object, status: int) -> Answer:
    return Answer(status, JSON, json.dumps(value, indent=2).encode() + b"\n")


def _fault(status: int, message: str, headers: tuple[tuple[str, str], ...] = ()) -> Answer:
    answer = _json({"error": message}, status)
    return Answer(status, JSON, answer.body, headers)
