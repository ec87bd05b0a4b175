"""A request as values: method, target and headers in, bucket, key and query out.

Rules, all kept in `parse`, so that no later code has to think of them again:

- The target is percent-decoded exactly once, here. The path that SigV4 signs and the key that
  is stored come from the same decoded bytes (`Request.path`), so they cannot disagree.
- The bucket is what stands before the first slash, or comes from the host name; the key is
  everything after it: ``..``, ``//`` and encoded slashes are bytes of the key, `+` is a plus.
- A header that decides something must not occur twice: who reads the first and who reads the
  last would see two requests.
- An x-amz-* query parameter means the same as the header: presigning clients put headers there,
  and what they ask for is done or refused, not ignored. It is signed with the query.
- Nothing is taken from X-Forwarded-For or Forwarded; `remote` is the peer's address.

This module does no I/O and knows neither operations nor credentials.

Sources: "Virtual hosting of buckets", "Bucket naming rules", "Object key names" of the Amazon S3
User Guide; RFC 9112 sections 3.2 (targets) and 5 (fields).
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import AsyncIterator, Iterable, Iterator, KeysView, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import msgspec

from s3node.base.errors import S3Error
from s3node.base.limits import HEADER_FIELDS_MAX, OBJECT_KEY_BYTES_MAX, REQUEST_LINE_BYTES_MAX

# The only path that is neither a bucket nor an object (operation WriteGetObjectResponse).
OBJECT_LAMBDA_PATH = "/WriteGetObjectResponse"

_SINGLE = frozenset(
    {
        *("authorization", "content-length", "content-md5", "content-type", "date", "expect"),
        *("expires", "host", "range", "transfer-encoding"),
    }
)
_SINGLE_PREFIXES = ("x-amz-", "if-")

_NONE: frozenset[str] = frozenset()

# Query parameters that are the signature's own, and no headers.
_AUTHENTICATION = frozenset(
    {
        "x-amz-algorithm",
        "x-amz-content-sha256",
        "x-amz-credential",
        "x-amz-date",
        "x-amz-expires",
        "x-amz-security-token",
        "x-amz-signature",
        "x-amz-signedheaders",
    }
)

# As presigning clients write them. (Any spelling of these names is no header.)
_OWN_PARAMETERS = frozenset(
    {
        *("X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Date", "X-Amz-Expires"),
        *("X-Amz-SignedHeaders", "X-Amz-Signature"),
    }
)

_TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+\Z")
_VALUE = re.compile(rb"[\t\x20-\x7e\x80-\xff]*\Z")
_METHOD = re.compile(r"[A-Z]{1,16}\Z")
_TARGET = re.compile(rb"[!\"$-\x7e\x80-\xff]+\Z")  # no controls, no space, no '#'
_ESCAPE = re.compile(rb"%(..?|\Z)", re.DOTALL)
_HEX_PAIR = re.compile(rb"[0-9A-Fa-f]{2}\Z")
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[0-9A-Za-z._-]+)(?::([0-9]{1,5}))?\Z")
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]\Z")
_NUMBERS = re.compile(r"[0-9.]+\Z")
_VERBATIM = re.compile(rb"[\x21-\x24\x26-\x7e]*\Z")  # says the same when it is percent-decoded
_DEFAULT_PORTS = {b"http": ":80", b"https": ":443"}
_BUCKET_BYTES_MAX = 63
_NAME_BYTES_MAX = 128  # of a header: longer ones are not remembered
_PRESIGNED_BYTES_MAX = 512  # of a query without its signature: the same
_RESERVED_PREFIXES = ("xn--", "sthree-", "amzn-s3-demo-")
_RESERVED_SUFFIXES = ("-s3alias", "--ol-s3", ".mrap", "--x-s3", "--table-s3")


# Headers that no write looks at: of the connection, the client, the signature; and the length.
_PLAIN = frozenset(
    {
        *("accept", "accept-encoding", "accept-language", "connection", "host", "origin"),
        *("content-length", "range", "referer", "user-agent", "x-amz-content-sha256"),
        *("authorization", "date", "x-amz-date"),
    }
)


class Headers:
    """Request headers: immutable, names lower case, values the wire's bytes as latin-1.

    Order is the wire's. Values carry no surrounding white space. `plain`: none of them says
    anything of a payload but its length, nor of how an object is to be written or kept, so that
    nobody has to look for what is not there. `deciding`: the names of those that are S3's own or
    conditions.
    """

    __slots__ = ("_items", "_map", "deciding", "plain")

    def __init__(self, items: Iterable[tuple[str, str]]) -> None:
        self._items = tuple(items)
        self._map: dict[str, str | list[str]] = dict(self._items)
        if len(self._map) != len(self._items):
            self._gather()
        self.plain = _PLAIN.issuperset(self._map)
        self.deciding = tuple([name for name in self._map if name.startswith(_SINGLE_PREFIXES)])

    def _gather(self) -> None:
        """Names that occur more than once have all their values."""
        values: dict[str, list[str]] = {}
        for name, value in self._items:
            values.setdefault(name, []).append(value)
        self._map = {name: all_[0] if len(all_) == 1 else all_ for name, all_ in values.items()}

    def get(self, name: str, default: str | None = None) -> str | None:
        """The value; of a repeated header its values joined with a comma."""
        value = self._map.get(name)
        if value is None:
            return default
        return value if isinstance(value, str) else ",".join(value)

    def all(self, name: str) -> list[str]:
        """Every value of a header, in order; empty when absent."""
        value = self._map.get(name, [])
        return [value] if isinstance(value, str) else list(value)

    def items(self) -> Iterable[tuple[str, str]]:
        """All (name, value) pairs in the wire's order."""
        return self._items

    def names(self) -> KeysView[str]:
        """Each name once, in order of first occurrence."""
        return self._map.keys()

    def __contains__(self, name: object) -> bool:
        return name in self._map

    def __iter__(self) -> Iterator[str]:
        return iter(self._map)

    def __repr__(self) -> str:
        return f"Headers({', '.join(self._map)})"  # names only: values may be secrets


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """What a client asked, decoded once.

    `raw_path` and `raw_query` are the wire's bytes as latin-1. `path` is the percent-decoded
    path: the one that is signed, and whose tail is the key. `hoisted` names the headers that came
    as query parameters; `bare`: the query says nothing, or nothing but a signature.
    """

    method: str
    raw_path: str
    raw_query: str
    path: bytes
    headers: Headers
    host: str
    secure: bool
    remote: str
    bucket: str | None
    key: str | None
    query: Mapping[str, str]
    hoisted: frozenset[str] = frozenset()
    bare: bool = False

    def __repr__(self) -> str:
        return f"Request({self.method}, {self.bucket!r}, {self.key!r}, {self.headers!r})"

    @property
    def resource(self) -> str:
        """What an error says it is about: the path, also where the bucket came by the host."""
        return f"/{self.bucket}{self.raw_path}" if self.virtual else self.raw_path

    @property
    def virtual(self) -> bool:
        """The bucket came by the host."""
        return self.bucket is not None and self.path == b"/" + (self.key or "").encode()

    def param(self, name: str) -> str | None:
        """The value of a query parameter; names are unique (see `parse`)."""
        return self.query.get(name)

    def has(self, name: str) -> bool:
        """Whether a query parameter is there, with or without a value."""
        return name in self.query


@dataclass(slots=True)
class Response:
    """What an operation answers.

    `stream`, when set, yields `length` bytes in pieces and `body` is ignored. `length` without
    `stream` is the Content-Length that HEAD reports.
    """

    status: int = 200
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""
    stream: AsyncIterator[Sequence[memoryview]] | None = None
    length: int | None = None


def parse(
    method: str,
    target: bytes | str,
    headers: Iterable[tuple[bytes, bytes]],
    *,
    domains: Sequence[str],
    secure: bool,
    remote: str,
    recurring: bool = False,
) -> Request:
    """The request in these bytes, or S3Error.

    `target` as str is UTF-8 with surrogate escapes. `domains` are the host names that may carry
    a bucket in front; ports are ignored. Any other host is path style. `recurring`: these very
    headers, of which there are few, will come again.
    """
    if not _METHOD.match(method):
        raise S3Error("MethodNotAllowed")
    sent, host = (_remembered_headers if recurring else _read_headers)(tuple(headers))
    path_bytes, query_bytes = _split_target(target, sent)
    query = _query(query_bytes)
    bare = _OWN_PARAMETERS.issuperset(query)
    hoisted = () if bare else _hoisted(query)
    if hoisted and any(name in sent for name, _ in hoisted):
        raise S3Error("InvalidRequest", "A header occurs as a query parameter too.")
    path = decode(path_bytes)
    raw_path = path_bytes.decode("latin-1")
    bucket, key = _address(path_bytes, path, host, domains)
    if bucket is not None and (raw_path != OBJECT_LAMBDA_PATH or key is not None):
        check_bucket_name(bucket)
    return Request(
        method=method,
        raw_path=raw_path,
        raw_query=query_bytes.decode("latin-1"),
        path=path,
        headers=Headers((*sent.items(), *hoisted)) if hoisted else sent,
        host=host,
        secure=secure,
        remote=remote,
        bucket=bucket,
        key=key,
        query=query,
        hoisted=frozenset(name for name, _ in hoisted) if hoisted else _NONE,
        bare=bare,
    )


def decode(escaped: bytes) -> bytes:
    """Percent-decode once; InvalidURI for a broken escape, NUL or invalid UTF-8."""
    if _VERBATIM.match(escaped):
        return escaped
    try:
        plain = _ESCAPE.sub(_unescape, escaped) if b"%" in escaped else escaped
        plain.decode("utf-8")
    except ValueError:
        raise S3Error("InvalidURI") from None
    if b"\0" in plain:
        raise S3Error("InvalidURI")
    return plain


def check_bucket_name(name: str) -> None:
    """InvalidBucketName unless `name` follows the naming rules for general purpose buckets."""
    if len(name) > _BUCKET_BYTES_MAX or not _is_bucket_name(name):
        raise S3Error("InvalidBucketName", BucketName=name)


# The same few names come again and again; what is remembered is bounded in number and length.


@lru_cache(1024)
def _is_bucket_name(name: str) -> bool:
    return not (
        not _BUCKET.match(name)
        or ".." in name
        or name.startswith(_RESERVED_PREFIXES)
        or name.endswith(_RESERVED_SUFFIXES)
        or _is_address(name)
    )


@lru_cache(1024)
def _header_name(raw: bytes) -> str | None:
    """A header's name as it is looked for; None when it is none."""
    return raw.decode("ascii").lower() if _TOKEN.match(raw) else None


@lru_cache(1024)
def _is_host(host: str) -> bool:
    return _HOST.match(host) is not None


def _is_single(name: str) -> bool:
    """Whether a header of this name decides something."""
    return name in _SINGLE or name.startswith(_SINGLE_PREFIXES)


def check_key(key: bytes) -> None:
    """KeyTooLongError for keys S3 would not store."""
    if len(key) > OBJECT_KEY_BYTES_MAX:
        raise S3Error(
            "KeyTooLongError", Size=str(len(key)), MaxSizeAllowed=str(OBJECT_KEY_BYTES_MAX)
        )


def _unescape(match: re.Match[bytes]) -> bytes:
    pair = match[1]
    if not _HEX_PAIR.match(pair):
        raise ValueError(pair)
    return bytes((int(pair, 16),))


def _is_address(name: str) -> bool:
    if not _NUMBERS.match(name):
        return False
    try:
        ipaddress.IPv4Address(name)
    except ValueError:
        return False
    return True


def _headers(raw: Iterable[tuple[bytes, bytes]]) -> Headers:
    items: list[tuple[str, str]] = []
    fine = _VALUE.match
    for raw_name, raw_value in raw:
        short = len(raw_name) <= _NAME_BYTES_MAX
        name = _header_name(raw_name) if short else _header_name.__wrapped__(raw_name)
        value = raw_value.strip(b" \t")
        if name is None or not fine(value):
            raise S3Error("InvalidRequest", "A request header is malformed.")
        items.append((name, value.decode("latin-1")))
    if len(items) > HEADER_FIELDS_MAX:
        raise S3Error("RequestHeaderSectionTooLarge")
    headers = Headers(items)
    if len(headers.names()) != len(items):
        for name in headers.names():
            if len(headers.all(name)) > 1 and _is_single(name):
                message = f"The header {name} must not occur more than once."
                raise S3Error("InvalidRequest", message)
    return headers


def _read_headers(raw: tuple[tuple[bytes, bytes], ...]) -> tuple[Headers, str]:
    """All of them, and the host that they name."""
    headers = _headers(raw)
    return headers, _host(headers)


_remembered_headers = lru_cache(256)(_read_headers)


def _host(headers: Headers) -> str:
    """The Host header in lower case, or "" (HTTP/1.0 may leave it out)."""
    host = (headers.get("host") or "").lower()
    if host and not (len(host) <= _NAME_BYTES_MAX and _is_host(host)) and not _HOST.match(host):
        raise S3Error("InvalidRequest", "The Host header is malformed.")
    return host


def _split_target(target: bytes | str, headers: Headers) -> tuple[bytes, bytes]:
    """(path, query) as they stand on the wire; the absolute form must agree with Host."""
    wire = target.encode("utf-8", "surrogateescape") if isinstance(target, str) else target
    if len(wire) > REQUEST_LINE_BYTES_MAX or not _TARGET.match(wire):
        raise S3Error("InvalidURI")
    if not wire.startswith(b"/"):
        wire = _absolute(wire, headers)
    path, _, query = wire.partition(b"?")
    return path, query


def _absolute(wire: bytes, headers: Headers) -> bytes:
    scheme, separator, rest = wire.partition(b"://")
    if not separator or scheme.lower() not in _DEFAULT_PORTS:
        raise S3Error("InvalidURI")
    end = min((at for at in (rest.find(b"/"), rest.find(b"?")) if at >= 0), default=len(rest))
    port = _DEFAULT_PORTS[scheme.lower()]
    authority = rest[:end].decode("latin-1").lower().removesuffix(port)
    if authority != (headers.get("host") or "").lower().removesuffix(port):
        raise S3Error("InvalidRequest", "The request target and the Host header disagree.")
    tail = rest[end:]
    return tail if tail.startswith(b"/") else b"/" + tail


def _address(
    raw_path: bytes, path: bytes, host: str, domains: Sequence[str]
) -> tuple[str | None, str | None]:
    """(bucket, key). The split is at the first slash of the wire, not of the decoded path."""
    bucket = _host_bucket(host, domains)
    if bucket is not None:
        key = path[1:]
    else:
        if path == b"/":
            return None, None
        raw_bucket = raw_path[1:].partition(b"/")[0]
        bucket_bytes = raw_bucket if path == raw_path else decode(raw_bucket)
        bucket = bucket_bytes.decode("utf-8")
        key = path[1 + len(bucket_bytes) + 1 :]
    check_key(key)
    return bucket, key.decode("utf-8") or None


def _host_bucket(host: str, domains: Sequence[str]) -> str | None:
    """The bucket in front of the longest matching domain; None is path style."""
    if not domains:
        return None
    name = _name_of(host)
    for domain in sorted((_name_of(domain.lower()) for domain in domains), key=len, reverse=True):
        if name == domain:
            return None
        if name.endswith("." + domain):
            return name[: -len(domain) - 1]
    return None


def _name_of(host: str) -> str:
    """The host without port and without the dot that ends a full name."""
    match = _HOST.match(host)
    name = match[1] if match else host
    return name.removesuffix(".")


def _query(raw: bytes) -> dict[str, str]:
    """Decoded parameters in order. In a query, unlike in a path, `+` is a space."""
    if not raw:
        return {}
    rest, signed, signature = raw.rpartition(b"&X-Amz-Signature=")
    if signed and len(rest) <= _PRESIGNED_BYTES_MAX and signature.isalnum():
        pairs = dict(_remembered_query(rest))
        if "X-Amz-Signature" not in pairs:
            pairs["X-Amz-Signature"] = signature.decode("ascii")
            return pairs
    return _read_query(raw)


def _read_query(raw: bytes) -> dict[str, str]:
    pairs: dict[str, str] = {}
    # Latin-1 keeps the bytes, for those that have to be decoded.
    for piece in raw.decode("latin-1").replace("+", " ").split("&"):
        if not piece:
            continue
        name, _, value = piece.partition("=")
        if "%" in name or not name.isascii():
            name = _text(name)
        if "%" in value or not value.isascii():
            value = _text(value)
        if name in pairs:
            message = "A query parameter must not occur more than once."
            raise S3Error("InvalidArgument", message, ArgumentName=name, ArgumentValue=value)
        pairs[name] = value
    return pairs


@lru_cache(256)
def _remembered_query(raw: bytes) -> dict[str, str]:
    """All but the signature is the same in what a client presigns within a second."""
    return _read_query(raw)


def _text(escaped: str) -> str:
    """A part of a query, decoded."""
    wire = escaped.encode("latin-1")
    return _remembered(wire) if len(wire) <= _NAME_BYTES_MAX else decode(wire).decode("utf-8")


@lru_cache(1024)
def _remembered(escaped: bytes) -> str:
    """Credentials, most of all: each request of a client has the same."""
    return decode(escaped).decode("utf-8")


def _hoisted(query: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """The headers among the parameters, values as the wire would carry them."""
    found: dict[str, str] = {}
    for parameter, value in query.items():
        name = parameter.lower()
        if not name.startswith("x-amz-") or name in _AUTHENTICATION:
            continue
        wire = value.strip(" \t").encode("utf-8")
        if name in found or not _TOKEN.match(name.encode("utf-8")) or not _VALUE.match(wire):
            message = "A header given as a query parameter is malformed."
            raise S3Error("InvalidArgument", message, ArgumentName=parameter, ArgumentValue=value)
        found[name] = wire.decode("latin-1")
    return tuple(found.items())
