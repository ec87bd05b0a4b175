"""The head of one request: what the parser makes of it, and what is refused besides.

llhttp, by httptools, reads it, strictly: bare LF, folded headers, spaces where none belong, bad or
repeated lengths, and a length beside a transfer coding are its refusals. Refused here: what says
twice how a request is framed or whom it is for, targets of no known form, and what is too long.

A `Head` is given bytes up to the end of its head and none beyond; another head is another one's.

A client says in most requests the same but for the target: what has been read below a method, in
whole heads that were accepted, is remembered by its very bytes. The parser need not be asked again
when they stand below a target that it would take whatever follows. Heads that frame a body other
than by its length, or ask for another protocol, are always the parser's.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser

from s3node.base import limits
from s3node.base.errors import S3Error

HTTP_1_0 = "1.0"
HTTP_1_1 = "1.1"

_METHODS = {name.encode(): name for name in ("GET", "HEAD", "PUT", "POST", "DELETE", "OPTIONS")}
REMEMBERED = 256
REMEMBERED_BYTES_MAX = 1024  # of a head without its target
_UNIQUE = frozenset((b"authorization", b"transfer-encoding", b"upgrade", b"expect"))
"""Headers of heads that are not remembered: a signature never comes twice, and see above."""

_ONCE = frozenset((b"host", b"content-length", b"transfer-encoding", b"expect"))
_AUTHORITY = rb"(\[[0-9A-Fa-f:.]+\]|[0-9A-Za-z._~%!$&'()*+,;=-]+)(:[0-9]*)?"
_PLAIN_TARGET = re.compile(rb"/[\x21\x22\x24-\x7e]*\Z")  # visible ASCII, no '#'
_ABSOLUTE = re.compile(rb"[Hh][Tt][Tt][Pp][Ss]?://" + _AUTHORITY + rb"([/?]|\Z)")


class HeadRefused(Exception):
    """It is no head of a request."""

    def __init__(self, why: str, *, long: bool = False) -> None:
        super().__init__(why)
        self.long = long


class Fields:
    """What a head says below its target. Does not change."""

    __slots__ = (
        "coding",
        "expects",
        "headers",
        "keep_alive",
        "known",
        "length",
        "recurring",
        "version",
    )

    def __init__(
        self, version: str, keep_alive: bool, headers: Sequence[tuple[bytes, bytes]]
    ) -> None:
        self.version = version
        self.keep_alive = keep_alive
        self.headers = tuple(headers)  # in order, no white space behind values
        self.known = known = {name.lower(): value for name, value in headers}
        self.length = int(known.get(b"content-length", 0))
        self.coding = known.get(b"transfer-encoding", b"").lower()  # b"" without one
        self.expects = known.get(b"expect", b"").lower()  # what a client wants to be told first
        self.recurring = False  # it is remembered

    def check(self) -> None:
        """HeadRefused."""
        known, headers = self.known, self.headers
        if len(headers) > limits.HEADER_FIELDS_MAX:
            raise HeadRefused("too many headers", long=True)
        for name, value in headers:
            if len(name) + len(value) > limits.HEADER_FIELD_BYTES_MAX:
                raise HeadRefused("a header is too long", long=True)
        if len(known) < len(headers):
            names = [name.lower() for name, _ in headers]
            if any(names.count(name) > 1 for name in _ONCE):
                raise HeadRefused("a header occurs twice")
        if self.version == HTTP_1_1 and b"host" not in known:
            raise HeadRefused("no Host")


class _Memory:
    """What stood below methods and targets, in heads that were accepted."""

    def __init__(self) -> None:
        self._fields: dict[tuple[bytes, bytes], Fields] = {}  # by the head without its target

    def recall(self, head: bytes) -> tuple[str, bytes, Fields] | None:
        """Method, target and what is below, if all of it is known to be read so."""
        method, target, rest = _cut(head)
        fields = self._fields.get((method, rest))
        if fields is None or not _PLAIN_TARGET.match(target):
            return None
        return _METHODS[method], target, fields

    def keep(self, head: bytes, fields: Fields) -> None:
        """A whole head, as the parser read it."""
        if not _UNIQUE.isdisjoint(fields.known):
            return
        method, target, rest = _cut(head)
        if method in _METHODS and _PLAIN_TARGET.match(target) and len(rest) <= REMEMBERED_BYTES_MAX:
            if len(self._fields) >= REMEMBERED:
                del self._fields[next(iter(self._fields))]  # the oldest
            fields.recurring = True
            self._fields[method, rest] = fields


def _cut(head: bytes) -> tuple[bytes, bytes, bytes]:
    """Method, target, and the rest, if it is the first two spaces that are between them."""
    method, _, behind = head.partition(b" ")
    target, _, rest = behind.partition(b" ")
    return method, target, rest


_MEMORY = _Memory()


class Head:
    """Of a request that is being received; what it says may be asked for when it is `whole`."""

    __slots__ = ("_headers", "_over", "_parser", "fields", "method", "target", "whole")

    fields: Fields

    def __init__(self) -> None:
        self._parser: HttpRequestParser | None = None
        self._headers: list[tuple[bytes, bytes]] = []
        self._over = False  # it is whole, or refused
        self.whole = False
        self.method = ""
        self.target = b""  # as it stands on the wire

    def feed(self, data: bytes) -> bool:
        """Whether it is whole now. HeadRefused."""
        assert not self._over, "it was whole, or refused"
        first = self._parser is None
        found = _MEMORY.recall(data) if first else None
        try:
            if found is not None:
                self.method, self.target, self.fields = found
                self.whole = True
            else:
                self._parse(data)
            if len(self.target) > limits.REQUEST_LINE_BYTES_MAX:
                raise HeadRefused("the target is too long", long=True)
            if self.whole and found is None:
                self._check()
                if first:
                    _MEMORY.keep(data, self.fields)
        except HeadRefused:
            self._end()
            raise
        if self.whole:
            self._end()
        return self.whole

    def _parse(self, data: bytes) -> None:
        parser = self._parser = self._parser or HttpRequestParser(self)
        try:
            parser.feed_data(data)
        except (HttpParserUpgrade, HttpParserError) as told:
            if not (self.whole and isinstance(told, HttpParserUpgrade)):  # which changes nothing
                raise HeadRefused(str(told)) from None

    def _end(self) -> None:
        self._over = True
        self._parser = None  # which refers to this one

    # --- the parser's side --------------------------------------------------------------------

    def on_url(self, piece: bytes) -> None:
        self.target += piece

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((name, value.rstrip(b" \t")))

    def on_headers_complete(self) -> None:
        parser = self._parser
        assert parser is not None, "it calls"
        self.method = _METHODS.get(method := parser.get_method()) or method.decode("ascii")
        version, keep_alive = parser.get_http_version(), parser.should_keep_alive()
        self.fields = Fields(version, keep_alive, self._headers)
        self.whole = True

    def _check(self) -> None:
        self.fields.check()
        known_form = self.target.startswith(b"/") or self.target == b"*"
        if not known_form and self.method != "CONNECT" and not _ABSOLUTE.match(self.target):
            raise HeadRefused("no target")


def unacceptable(head: Head) -> S3Error | None:
    """Why a request whose head is one is refused all the same."""
    fields = head.fields
    if fields.version not in (HTTP_1_0, HTTP_1_1):
        return S3Error("BadRequest", "This HTTP version is not supported.")
    if head.method == "CONNECT":
        return S3Error("MethodNotAllowed", "CONNECT is not supported.")
    if b"transfer-encoding" in fields.known and (
        fields.coding != b"chunked" or fields.version != HTTP_1_1
    ):
        return S3Error("NotImplemented", Header="Transfer-Encoding")
    if b"expect" in fields.known and fields.expects != b"100-continue":
        return S3Error("BadRequest", "The only expectation that can be met is 100-continue.")
    return None
