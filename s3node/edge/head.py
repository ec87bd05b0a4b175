"""The head of one request: what the parser makes of it, and what is refused besides.

llhttp, by httptools, reads it, strictly: bare LF, folded headers, spaces where none belong, bad or
repeated lengths, and a length beside a transfer coding are its refusals. Refused here: what says
twice how a request is framed or whom it is for, targets of no known form, and what is too long.

A `Head` is given bytes up to the end of its head and none beyond; another head is another one's.
"""

from __future__ import annotations

import re

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser

from s3node.base import limits
from s3node.base.errors import S3Error

HTTP_1_0 = "1.0"
HTTP_1_1 = "1.1"

_METHODS = {name.encode(): name for name in ("GET", "HEAD", "PUT", "POST", "DELETE", "OPTIONS")}
_ONCE = frozenset((b"host", b"content-length", b"transfer-encoding", b"expect"))
_AUTHORITY = rb"(\[[0-9A-Fa-f:.]+\]|[0-9A-Za-z._~%!$&'()*+,;=-]+)(:[0-9]*)?"
_ABSOLUTE = re.compile(rb"[Hh][Tt][Tt][Pp][Ss]?://" + _AUTHORITY + rb"([/?]|\Z)")


class HeadRefused(Exception):
    """It is no head of a request."""

    def __init__(self, why: str, *, long: bool = False) -> None:
        super().__init__(why)
        self.long = long


class Head:
    """Of a request that is being received; what it says may be asked for when it is `whole`."""

    __slots__ = (
        "_parser",
        "headers",
        "keep_alive",
        "known",
        "method",
        "target",
        "version",
        "whole",
    )

    def __init__(self) -> None:
        self._parser: HttpRequestParser | None = HttpRequestParser(self)
        self.whole = False
        self.method = ""
        self.target = b""  # as it stands on the wire
        self.version = ""
        self.keep_alive = False
        self.headers: list[tuple[bytes, bytes]] = []  # in order, no white space behind values
        self.known: dict[bytes, bytes] = {}  # by name in lower case

    def feed(self, data: bytes) -> bool:
        """Whether it is whole now. HeadRefused."""
        assert self._parser is not None, "it was whole, or refused"
        try:
            self._parser.feed_data(data)
        except (HttpParserUpgrade, HttpParserError) as told:
            if not (self.whole and isinstance(told, HttpParserUpgrade)):  # which changes nothing
                self._parser = None
                raise HeadRefused(str(told)) from None
        if len(self.target) > limits.REQUEST_LINE_BYTES_MAX:
            self._parser = None
            raise HeadRefused("the target is too long", long=True)
        if self.whole:
            self._parser = None  # which refers to this one
            self._check()
        return self.whole

    @property
    def length(self) -> int:
        """Content-Length."""
        return int(self.known.get(b"content-length", 0))

    @property
    def coding(self) -> bytes:
        """The transfer coding in lower case, b"" without one."""
        return self.known.get(b"transfer-encoding", b"").lower()

    @property
    def expects(self) -> bytes:
        """What a client wants to be told first, in lower case; b"": nothing."""
        return self.known.get(b"expect", b"").lower()

    # --- the parser's side --------------------------------------------------------------------

    def on_url(self, piece: bytes) -> None:
        self.target += piece

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name, value.rstrip(b" \t")))

    def on_headers_complete(self) -> None:
        parser = self._parser
        assert parser is not None, "it calls"
        self.method = _METHODS.get(method := parser.get_method()) or method.decode("ascii")
        self.version = parser.get_http_version()
        self.keep_alive = parser.should_keep_alive()
        self.known = {name.lower(): value for name, value in self.headers}
        self.whole = True

    def _check(self) -> None:
        known, headers = self.known, self.headers
        if len(headers) > limits.HEADER_FIELDS_MAX:
            raise HeadRefused("too many headers", long=True)
        if any(len(name) + len(value) > limits.HEADER_FIELD_BYTES_MAX for name, value in headers):
            raise HeadRefused("a header is too long", long=True)
        if len(known) < len(headers):
            names = [name.lower() for name, _ in headers]
            if any(names.count(name) > 1 for name in _ONCE):
                raise HeadRefused("a header occurs twice")
        if self.version == HTTP_1_1 and b"host" not in known:
            raise HeadRefused("no Host")
        known_form = self.target.startswith(b"/") or self.target == b"*"
        if not known_form and self.method != "CONNECT" and not _ABSOLUTE.match(self.target):
            raise HeadRefused("no target")


def unacceptable(head: Head) -> S3Error | None:
    """Why a request whose head is one is refused all the same."""
    if head.version not in (HTTP_1_0, HTTP_1_1):
        return S3Error("BadRequest", "This HTTP version is not supported.")
    if head.method == "CONNECT":
        return S3Error("MethodNotAllowed", "CONNECT is not supported.")
    if b"transfer-encoding" in head.known and (
        head.coding != b"chunked" or head.version != HTTP_1_1
    ):
        return S3Error("NotImplemented", Header="Transfer-Encoding")
    if b"expect" in head.known and head.expects != b"100-continue":
        return S3Error("BadRequest", "The only expectation that can be met is 100-continue.")
    return None
