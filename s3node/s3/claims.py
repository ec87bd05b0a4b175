"""What a request says about its signature, in the header or in the query: one form, one `Claim`.

Checked here: form, scope and time. Nothing is believed yet; `sigv4` does that. What headers of one
client and day, and presigned queries of one client and second, have in common is read once and
remembered; nothing that is refused is.

Sources: those of `sigv4`.
"""

from __future__ import annotations

import enum
import functools
import operator
import re
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

import msgspec

from s3node.base.errors import S3Error
from s3node.s3.headers import parse_http_date, utc_seconds
from s3node.s3.request import Request
from s3node.s3.signing import ALGORITHM, SERVICE, TERMINATOR, canonical_query

SKEW_MS_MAX = 15 * 60 * 1000
EXPIRES_S_MAX = 7 * 24 * 3600
UNSIGNED_PAYLOAD = "UNSIGNED-PAYLOAD"
REMEMBERED = 256  # clients under load send the same second many times
REMEMBERED_BYTES_MAX = 1024  # what is longer is read anew each time

_QUERY_NAMES = (
    "X-Amz-Algorithm",
    "X-Amz-Credential",
    "X-Amz-Date",
    "X-Amz-Expires",
    "X-Amz-SignedHeaders",
    "X-Amz-Signature",
)
_DATE_AT = _QUERY_NAMES.index("X-Amz-Date")
_GIVEN: Callable[[Mapping[str, str]], tuple[str, ...]] = operator.itemgetter(*_QUERY_NAMES)
_QUERY_MARKS = frozenset(("X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Signature"))
_SIGV2_MARKS = frozenset(("AWSAccessKeyId", "Signature"))
_TIMESTAMP = re.compile(r"([0-9]{4})([0-9]{2})([0-9]{2})T([0-9]{2})([0-9]{2})([0-9]{2})Z\Z")
_SIGNATURE = re.compile(r"[0-9a-f]{64}\Z")
_EXPIRES = re.compile(r"-?[0-9]{1,18}\Z")
_SHA256 = re.compile(r"[0-9A-Fa-f]{64}\Z")
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9a-z-]+\Z")


class PayloadKind(enum.Enum):
    """How a payload is framed and vouched for."""

    UNSIGNED = "UNSIGNED-PAYLOAD"
    LITERAL = "a SHA-256 in hex"
    CHUNKS_SIGNED = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
    CHUNKS_SIGNED_TRAILER = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"
    CHUNKS_UNSIGNED_TRAILER = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"


STREAMING = {kind.value: kind for kind in PayloadKind if kind.value.startswith("STREAMING-")}


class Claim(msgspec.Struct, frozen=True):
    """What a request says about its signature; header and query forms become the same."""

    access_key: str
    date: str
    region: str
    timestamp: str
    scope: str
    signed_headers: tuple[str, ...]
    signature: str
    payload_hash: str
    presigned: bool
    query: str = ""  # the canonical query, where it is known


def _scope(date: str, region: str) -> str:
    return f"{date}/{region}/{SERVICE}/{TERMINATOR}"


def read_claim(request: Request, now_ms: int, region: str) -> Claim | None:
    """The one signature that a request carries, checked for form and time; None if anonymous."""
    header = request.headers.get("authorization")
    query = request.query
    presigned = not _QUERY_MARKS.isdisjoint(query)
    if header is not None and (presigned or "Signature" in query):
        raise S3Error(
            "InvalidArgument",
            "Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter, Signature "
            "query string parameter or the Authorization header should be specified",
            ArgumentName="Authorization",
        )
    if "x-amz-security-token" in request.headers or "X-Amz-Security-Token" in query:
        raise S3Error("InvalidToken")
    if not _SIGV2_MARKS.isdisjoint(query):
        raise _sigv2()
    if presigned:
        return _query_claim(request, now_ms, region)
    return None if header is None else _header_claim(request, header, now_ms, region)


def _sigv2() -> S3Error:
    message = "The authorization mechanism you have provided is not supported. Please use "
    return S3Error("InvalidRequest", message + f"{ALGORITHM}.")


def error(code: str, message: str | None, fields: Mapping[str, str]) -> S3Error:
    """An error with fields whose names need not be identifiers."""
    made = S3Error(code, message)
    made.fields.update(fields)
    return made


def _header_claim(request: Request, header: str, now_ms: int, region: str) -> Claim:
    scheme, _, rest = header.partition(" ")
    if scheme == "AWS":
        raise _sigv2()
    if scheme == "AWS4-ECDSA-P256-SHA256":
        raise S3Error("NotImplemented", "Signature Version 4A is not implemented.")
    if scheme != ALGORITHM:
        message = "Unsupported Authorization Type"
        raise S3Error("InvalidArgument", message, ArgumentName="Authorization")
    credential, signed_headers, signature = _authorization_fields(rest)
    malformed = _HEADER_MALFORMED
    short = len(credential) <= REMEMBERED_BYTES_MAX
    access_key, date, scope = (_credential if short else _read_credential)(credential, region)
    timestamp = _header_timestamp(request)
    sent_ms = timestamp_ms(timestamp)
    if sent_ms is None:
        raise S3Error(
            "AccessDenied", "AWS authentication requires a valid Date or x-amz-date header"
        )
    malformed.same_day(date, timestamp)
    _check_skew(timestamp, sent_ms, now_ms)
    payload_hash = content_sha256(request)
    if payload_hash is None:
        raise S3Error(
            "InvalidRequest", "Missing required header for this request: x-amz-content-sha256"
        )
    short = len(signed_headers) <= REMEMBERED_BYTES_MAX
    names = (_names if short else _read_names)(signed_headers)
    if not _SIGNATURE.match(signature):
        raise malformed.because("the signature is not 64 hexadecimal digits")
    return Claim(
        access_key, date, region, timestamp, scope, names, signature, payload_hash, presigned=False
    )


def _authorization_fields(rest: str) -> tuple[str, str, str]:
    """Credential, SignedHeaders and Signature, each exactly once, in any order."""
    values: dict[str, str] = {}
    for piece in rest.split(","):
        name, _, value = piece.strip(" \t").partition("=")
        if name in values or name not in ("Credential", "SignedHeaders", "Signature") or not value:
            break
        values[name] = value
    else:
        if len(values) == 3:
            return values["Credential"], values["SignedHeaders"], values["Signature"]
    raise S3Error(
        "AuthorizationHeaderMalformed",
        "The authorization header is malformed; the authorization component is malformed.",
    )


def _header_timestamp(request: Request) -> str:
    """x-amz-date, else Date in either of its forms, as YYYYMMDDTHHMMSSZ; "" when missing."""
    stamp = request.headers.get("x-amz-date") or request.headers.get("date") or ""
    if _TIMESTAMP.match(stamp) or "x-amz-date" in request.headers:
        return stamp
    seconds = parse_http_date(stamp)
    return "" if seconds is None else format_timestamp(seconds * 1000)


def format_timestamp(ms: int) -> str:
    """YYYYMMDDTHHMMSSZ of milliseconds since 1970."""
    return time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(ms // 1000))


@functools.lru_cache(REMEMBERED)
def timestamp_ms(stamp: str) -> int | None:
    match = _TIMESTAMP.match(stamp)
    seconds = utc_seconds(tuple(map(int, match.groups()))) if match else None
    return None if seconds is None else seconds * 1000


def _iso(ms: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(ms // 1000))


def _check_skew(timestamp: str, sent_ms: int, now_ms: int) -> None:
    if abs(now_ms - sent_ms) > SKEW_MS_MAX:
        raise S3Error(
            "RequestTimeTooSkewed",
            RequestTime=timestamp,
            ServerTime=_iso(now_ms),
            MaxAllowedSkewMilliseconds=str(SKEW_MS_MAX),
        )


class Malformed(NamedTuple):
    """The spellings of "this is not a SigV4 claim": header, query, and without a prefix form."""

    code: str
    prefix: str

    def because(self, reason: str, **fields: str) -> S3Error:
        return error(self.code, f"{self.prefix}; {reason}" if self.prefix else reason, fields)

    def credential(self, value: str, region: str) -> tuple[str, str]:
        """(access key, day) of ``key/day/region/service/terminator``, for this node."""
        parts = value.rsplit("/", 4)
        if len(parts) != 5 or not parts[0]:
            raise self.because(
                'the Credential is mal-formed; expecting "<YOUR-AKID>/YYYYMMDD/REGION/SERVICE/'
                'aws4_request".'
            )
        access_key, date, scope_region, service, terminator = parts
        if not re.fullmatch("[0-9]{8}", date):
            raise self.because(
                f'incorrect date format "{date}". This date in the credential must be in the '
                'format "yyyyMMdd".'
            )
        if scope_region != region:
            fault = self.because(
                f"the region '{scope_region}' is wrong; expecting '{region}'", Region=region
            )
            fault.headers["x-amz-bucket-region"] = region  # what SDKs learn it from after a HEAD
            raise fault
        if service != SERVICE:
            raise self.because(
                f'incorrect service "{service}". This endpoint belongs to "{SERVICE}".'
            )
        if terminator != TERMINATOR:
            raise self.because(
                f'incorrect terminal "{terminator}". This endpoint uses "{TERMINATOR}".'
            )
        return access_key, date

    def same_day(self, date: str, timestamp: str) -> None:
        day = timestamp[:8]
        if date != day:
            raise self.because(
                f'Invalid credential date "{date}". This date is not the same as X-Amz-Date: '
                f'"{day}".'
            )

    def signed_headers(self, value: str) -> tuple[str, ...]:
        """The signed header names: lower case, each once, host among them."""
        names = tuple(value.split(";"))
        if len(set(names)) != len(names) or not all(_NAME.match(name) for name in names):
            raise self.because("the SignedHeaders are mal-formed.")
        if "host" not in names:
            raise S3Error(
                "AccessDenied",
                "There were headers present in the request which were not signed",
                HeadersNotSigned="host",
            )
        return names


_HEADER_MALFORMED = Malformed(
    "AuthorizationHeaderMalformed", "The authorization header is malformed"
)
_QUERY_MALFORMED = Malformed(
    "AuthorizationQueryParametersError", "Error parsing the X-Amz-Credential parameter"
)


def _read_credential(credential: str, region: str) -> tuple[str, str, str]:
    """Access key, day and scope of a header's Credential."""
    access_key, date = _HEADER_MALFORMED.credential(credential, region)
    return access_key, date, _scope(date, region)


_credential = functools.lru_cache(REMEMBERED)(_read_credential)
_read_names = _HEADER_MALFORMED.signed_headers
_names = functools.lru_cache(REMEMBERED)(_read_names)
"""A client's requests of a day have these in common. Nothing that is refused is remembered."""


class _Signer(msgspec.Struct, frozen=True):
    """What a presigned query says of its signature but for the signature itself."""

    access_key: str
    date: str
    scope: str
    sent_ms: int
    expires_s: int
    signed_headers: tuple[str, ...]
    query: str  # canonical, of these parameters alone


def _query_claim(request: Request, now_ms: int, region: str) -> Claim:
    try:
        given = _GIVEN(request.query)
    except KeyError:
        given = ("",)
    if not all(given):
        raise S3Error(
            "AuthorizationQueryParametersError",
            "Query-string authentication version 4 requires the X-Amz-Algorithm, "
            "X-Amz-Credential, X-Amz-Signature, X-Amz-Date, X-Amz-SignedHeaders, and "
            "X-Amz-Expires parameters.",
        )
    signature = given[-1]
    remembered = len(request.raw_query) <= REMEMBERED_BYTES_MAX  # all of them, encoded
    signer = (_signer if remembered else _read_signer)(region, given[:-1])
    _check_validity(signer, now_ms)
    if not _SIGNATURE.match(signature):
        raise _QUERY_MALFORMED.because("the signature is not 64 hexadecimal digits")
    return Claim(
        signer.access_key,
        signer.date,
        region,
        given[_DATE_AT],
        signer.scope,
        signer.signed_headers,
        signature,
        content_sha256(request) or UNSIGNED_PAYLOAD,
        presigned=True,
        query=signer.query if len(request.query) == len(_QUERY_NAMES) else "",
    )


def _read_signer(region: str, given: tuple[str, ...]) -> _Signer:
    """Of the parameters in _QUERY_NAMES, but for the last."""
    algorithm, credential, timestamp, expires, signed_headers = given
    if algorithm == "AWS4-ECDSA-P256-SHA256":
        raise S3Error("NotImplemented", "Signature Version 4A is not implemented.")
    if algorithm != ALGORITHM:
        raise S3Error(_QUERY_MALFORMED.code, f'X-Amz-Algorithm only supports "{ALGORITHM}"')
    malformed = _QUERY_MALFORMED
    access_key, date = malformed.credential(credential, region)
    sent_ms = timestamp_ms(timestamp)
    if sent_ms is None:
        message = "X-Amz-Date must be in the ISO8601 Long Format \"yyyyMMdd'T'HHmmss'Z'\""
        raise S3Error(malformed.code, message)
    malformed.same_day(date, timestamp)
    seconds = _expires_s(expires)
    return _Signer(
        access_key,
        date,
        _scope(date, region),
        sent_ms,
        seconds,
        malformed.signed_headers(signed_headers),
        canonical_query(dict(zip(_QUERY_NAMES, given, strict=False))),
    )


_signer = functools.lru_cache(REMEMBERED)(_read_signer)
"""A client says the same in all its requests of a second. Nothing that is refused is remembered."""


def _expires_s(expires: str) -> int:
    code = "AuthorizationQueryParametersError"
    if not _EXPIRES.match(expires):
        raise S3Error(code, "X-Amz-Expires should be a number")
    seconds = int(expires)
    if seconds < 1:
        raise S3Error(code, "X-Amz-Expires must be greater than zero")
    if seconds > EXPIRES_S_MAX:
        raise S3Error(
            code,
            "X-Amz-Expires must be less than a week (in seconds); that is, the given "
            f"X-Amz-Expires must be less than {EXPIRES_S_MAX} seconds",
        )
    return seconds


def _check_validity(signer: _Signer, now_ms: int) -> None:
    """A presigned URL holds from its date (give or take the skew) for `expires_s` seconds."""
    if signer.sent_ms > now_ms + SKEW_MS_MAX:
        raise S3Error("AccessDenied", "Request is not valid yet", ServerTime=_iso(now_ms))
    end_ms = signer.sent_ms + signer.expires_s * 1000
    if now_ms > end_ms:
        fields = {
            "X-Amz-Expires": str(signer.expires_s),
            "Expires": _iso(end_ms),
            "ServerTime": _iso(now_ms),
        }
        raise error("AccessDenied", "Request has expired", fields)


def content_sha256(request: Request) -> str | None:
    """x-amz-content-sha256 from the header or, presigned, from the query; checked for form."""
    header = request.headers.get("x-amz-content-sha256")
    parameter = request.param("X-Amz-Content-Sha256")
    if header is not None and parameter is not None and header != parameter:
        message = "The x-amz-content-sha256 header and query parameter differ."
        name = "x-amz-content-sha256"
        raise S3Error("InvalidArgument", message, ArgumentName=name, ArgumentValue=header)
    value = parameter if header is None else header
    if value is None or value == UNSIGNED_PAYLOAD or value in STREAMING or _SHA256.match(value):
        return value
    if value.startswith("STREAMING-AWS4-ECDSA-"):
        raise S3Error("NotImplemented", f"{value} is not implemented.")
    raise S3Error(
        "InvalidArgument",
        "x-amz-content-sha256 must be UNSIGNED-PAYLOAD, STREAMING-UNSIGNED-PAYLOAD-TRAILER, "
        "STREAMING-AWS4-HMAC-SHA256-PAYLOAD, STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER or a "
        "valid sha256 value.",
        ArgumentName="x-amz-content-sha256",
        ArgumentValue=value,
    )
