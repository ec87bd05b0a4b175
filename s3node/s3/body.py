"""A request's payload: its framing, its length, and every digest that a client declared for it.

`Payload` is fed with what the wire brings (`feed`, `eof`: framing, on the event loop) and, with
exactly the bytes that gave, hashed (`update`: CPU-bound, any cuts, in order, from any one thread
at a time; or `update_others` and `md5`, where MD5 is computed for several requests together).
`finish` says that all of it is right, or raises: only then may the payload become visible. Nothing
here stores, waits or knows of connections.

Invariants:

- whatever is declared is verified: length, x-amz-content-sha256, Content-MD5, one x-amz-checksum-*
  as header or trailer, chunk and trailer signatures;
- the framing is chosen by what is signed (x-amz-content-sha256, x-amz-decoded-content-length),
  never by Content-Encoding alone;
- MD5 always runs (the ETag); each algorithm runs at most once.

Sources: "PutObject", "UploadPart" and "Authenticating Requests" of the Amazon S3 API Reference;
"Checking object integrity" and "Amazon S3 multipart upload limits" of the User Guide.
"""

from __future__ import annotations

import base64
import hmac
import re
from collections.abc import Mapping
from typing import NamedTuple

from s3node.base.errors import S3Error
from s3node.base.limits import UPLOAD_BYTES_MAX
from s3node.base.md5 import Md5
from s3node.s3 import checksums
from s3node.s3.checksums import Algorithm, Buffer, Checksum, Hasher
from s3node.s3.chunked import ChunkVerifier, Decoder
from s3node.s3.request import Headers, Request
from s3node.s3.sigv4 import PayloadKind, PayloadSpec

HASH_PIECE = 256 << 10  # bytes per turn, so that several hashers read the cache, not memory

_SDK_ALGORITHM = "x-amz-sdk-checksum-algorithm"
_DIGITS = re.compile(r"[0-9]{1,19}\Z")
_SETTINGS = frozenset({"x-amz-checksum-algorithm", "x-amz-checksum-type", "x-amz-checksum-mode"})
_CHUNKED_KINDS = frozenset(
    {
        PayloadKind.CHUNKS_SIGNED,
        PayloadKind.CHUNKS_SIGNED_TRAILER,
        PayloadKind.CHUNKS_UNSIGNED_TRAILER,
    }
)


_NOTHING: Mapping[str, Hasher] = {}


class Digests(NamedTuple):
    """What was verified or computed: raw digests of the payload."""

    md5: bytes
    sha256: bytes | None  # when the client signed or supplied one
    checksum: Checksum | None  # the declared one, else the default that was asked for


class Declared(NamedTuple):
    """The one checksum that a request declares; `digest` is None when a trailer brings it."""

    algorithm: Algorithm
    digest: bytes | None


class Payload:
    """The payload of one request.

    `algorithm` names the checksum to compute when the request declares none. `length` is the
    number of payload bytes announced, or unless `exact` the most that it can be until `ends` tells;
    `algorithm` and `declared` are what will be in `Digests`.
    """

    def __init__(
        self, spec: PayloadSpec, request: Request, *, algorithm: str | None = None
    ) -> None:
        headers = request.headers
        self._spec = spec
        self._md5: Md5 | None = None
        self._decoder: Decoder | None = None
        self._verifier: ChunkVerifier | None = None
        self._fed = 0
        self._hashed = 0
        self._ended = False
        self.exact = True
        self.length: int
        self.declared: Declared | None = None
        self.algorithm: str | None = None
        self._content_md5: bytes | None = None
        self._hashers: Mapping[str, Hasher] = _NOTHING
        if _has_none(spec, request) and algorithm is None:
            self.length = 0
            return
        if headers.plain and spec.kind not in _CHUNKED_KINDS and algorithm is None:
            self.length = _plain_length(spec.kind, request)
            self._hashers = self._start(None)
            return
        kind = _framing(spec.kind, headers)
        self.length = _length(kind, request)
        self._content_md5 = _content_md5(headers)
        trailing = kind in (PayloadKind.CHUNKS_SIGNED_TRAILER, PayloadKind.CHUNKS_UNSIGNED_TRAILER)
        announced = _announced(headers, trailing)
        self.declared = _declared(request, announced)
        chosen = self.declared.algorithm if self.declared else None
        if chosen is None and algorithm is not None:
            chosen = checksums.named(algorithm)
        self.algorithm = chosen.name if chosen else None
        self._hashers = self._start(chosen)
        if kind in _CHUNKED_KINDS:
            signed = spec.signer is not None
            self._decoder = Decoder(
                self.length, signed=signed, trailing=trailing, announced=announced
            )
            if spec.signer is not None:
                self._verifier = ChunkVerifier(spec.signer, self._decoder.marks)

    @property
    def md5(self) -> Md5:
        """Of the payload; made when first asked for, which most requests never do."""
        if self._md5 is None:
            self._md5 = Md5()
        return self._md5

    @property
    def verbatim(self) -> bool:
        """Whether the payload is what the wire brings, without any framing."""
        return self._decoder is None

    def ends(self, length: int) -> None:
        """The length is this after all."""
        assert length <= self.length, "what was announced was the most that it could be"
        self.length, self.exact = length, True

    def feed(self, data: Buffer) -> list[memoryview]:
        """The payload in `data`, as views of it: `data` must not change while they are used."""
        if self._decoder is not None:
            pieces = self._decoder.feed(data)
        else:
            pieces = [memoryview(data)] if data else []
        self._fed += sum(map(len, pieces))
        if self._fed > self.length:
            raise S3Error("IncompleteBody", "The request body is longer than announced")
        return pieces

    def eof(self) -> None:
        """The wire ended; IncompleteBody if too early."""
        if self._decoder is not None:
            self._decoder.eof()
        if self._fed < self.length:
            raise S3Error(
                "IncompleteBody",
                "You did not provide the number of bytes specified by the Content-Length HTTP "
                "header",
            )
        self._ended = True

    def update(self, view: memoryview) -> None:
        """Hash payload bytes; SignatureDoesNotMatch when a chunk's signature is wrong."""
        self.md5.update(view)
        self.update_others(view)

    @property
    def others(self) -> bool:
        """Whether `update_others` is for anything."""
        return bool(self._hashers) or self._verifier is not None

    def update_others(self, view: memoryview) -> None:
        """`update` for whoever has `md5` take the bytes himself; needless without `others`."""
        for start in range(0, len(view), HASH_PIECE):
            piece = view[start : start + HASH_PIECE]
            for hasher in self._hashers.values():
                hasher.update(piece)
            if self._verifier is not None:
                self._verifier.update(piece)
        self._hashed += len(view)

    def finish(self) -> Digests:
        """Every declared digest verified, or S3Error. After `eof` and the last `update`."""
        assert self._ended, "the payload has not come to its end"
        assert self._hashed == self._fed or not self.others, "payload not hashed to its end"
        md5 = self.md5
        assert md5.length == self._fed, "MD5 took other bytes"
        digests = {name: hasher.digest() for name, hasher in self._hashers.items()}
        digests["MD5"] = md5.digest()
        if self._verifier is not None:
            assert self._decoder is not None
            trailers = tuple(self._decoder.trailers.items())
            self._verifier.finish(trailers, self._decoder.trailer_signature)
        self._check_sha256(digests)
        self._check_md5(digests)
        self._check_declared(digests)
        checksum = Checksum(self.algorithm, digests[self.algorithm]) if self.algorithm else None
        return Digests(digests["MD5"], digests.get("SHA256"), checksum)

    def _start(self, chosen: Algorithm | None) -> Mapping[str, Hasher]:
        if chosen is None and self._spec.kind is not PayloadKind.LITERAL:
            return _NOTHING
        names = []
        if self._spec.kind is PayloadKind.LITERAL:
            names.append("SHA256")
        if chosen is not None and chosen.name not in {"MD5", *names}:
            names.append(chosen.name)
        return {name: checksums.ALGORITHMS[name].new() for name in names}

    def _check_sha256(self, digests: Mapping[str, bytes]) -> None:
        wanted = self._spec.sha256
        if wanted is not None and not hmac.compare_digest(wanted, digests["SHA256"]):
            raise S3Error(
                "XAmzContentSHA256Mismatch",
                ClientComputedContentSHA256=wanted.hex(),
                S3ComputedContentSHA256=digests["SHA256"].hex(),
            )

    def _check_md5(self, digests: Mapping[str, bytes]) -> None:
        if self._content_md5 is not None and self._content_md5 != digests["MD5"]:
            raise S3Error(
                "BadDigest",
                "The Content-MD5 you specified did not match what we received.",
                ExpectedDigest=base64.b64encode(self._content_md5).decode("ascii"),
                CalculatedDigest=base64.b64encode(digests["MD5"]).decode("ascii"),
            )

    def _check_declared(self, digests: Mapping[str, bytes]) -> None:
        if self.declared is None:
            return
        algorithm, wanted = self.declared
        if wanted is None:
            assert self._decoder is not None
            trailer = self._decoder.trailers[algorithm.header]
            wanted = _checksum_value(algorithm, trailer, "trailing header")
        if wanted != digests[algorithm.name]:
            raise S3Error(
                "BadDigest",
                f"The {algorithm.name} you specified did not match the calculated checksum.",
            )


def _has_none(spec: PayloadSpec, request: Request) -> bool:
    """Whether there is no payload, and nothing is said of one: so it is with most requests."""
    headers = request.headers
    return (
        request.method in ("GET", "HEAD")
        and spec.kind is PayloadKind.UNSIGNED
        and headers.plain
        and headers.get("content-length", "0") == "0"
    )


def _framing(kind: PayloadKind, headers: Headers) -> PayloadKind:
    """How the payload is framed; CHUNKS_UNSIGNED_TRAILER also where only the length says so."""
    if kind not in _CHUNKED_KINDS and "content-encoding" not in headers:
        return kind
    coded = "aws-chunked" in _codings(headers)
    decoded = "x-amz-decoded-content-length" in headers
    if kind is PayloadKind.UNSIGNED and coded and decoded:
        return PayloadKind.CHUNKS_UNSIGNED_TRAILER
    if kind not in _CHUNKED_KINDS and coded:
        raise S3Error(
            "InvalidRequest",
            "Content-Encoding aws-chunked needs x-amz-content-sha256 to be one of the STREAMING "
            "values.",
        )
    return kind


def _codings(headers: Headers) -> list[str]:
    value = headers.get("content-encoding") or ""
    return [coding.strip(" \t").lower() for coding in value.split(",")]


def _length(kind: PayloadKind, request: Request) -> int:
    headers = request.headers
    coded = "transfer-encoding" in headers
    if coded and "content-length" in headers:
        raise S3Error("InvalidRequest", "Content-Length and Transfer-Encoding exclude each other.")
    plain = _number(headers, "content-length")
    decoded = _number(headers, "x-amz-decoded-content-length")
    if kind in _CHUNKED_KINDS:
        length = decoded
    elif decoded is not None and decoded != plain:
        raise S3Error("InvalidRequest", "x-amz-decoded-content-length is for aws-chunked payloads.")
    else:
        length = plain
    return _bounded(length, kind, request)


def _plain_length(kind: PayloadKind, request: Request) -> int:
    """The same where nothing but Content-Length can say it."""
    return _bounded(_number(request.headers, "content-length"), kind, request)


def _bounded(length: int | None, kind: PayloadKind, request: Request) -> int:
    if length is None:
        length = _no_length(kind, request)
    if request.method == "PUT" and request.key is not None and length > UPLOAD_BYTES_MAX:
        raise S3Error(
            "EntityTooLarge", ProposedSize=str(length), MaxSizeAllowed=str(UPLOAD_BYTES_MAX)
        )
    return length


def _no_length(kind: PayloadKind, request: Request) -> int:
    """0 where a request without a length has no body; MissingContentLength where it must say."""
    uploads = (
        request.method == "PUT"
        and request.key is not None
        and "x-amz-copy-source" not in request.headers
    )
    if uploads or kind in _CHUNKED_KINDS or "transfer-encoding" in request.headers:
        raise S3Error("MissingContentLength")
    return 0


def _number(headers: Headers, name: str) -> int | None:
    value = headers.get(name)
    if value is None:
        return None
    if not _DIGITS.match(value):
        message = f"{name} must be a number."
        raise S3Error("InvalidArgument", message, ArgumentName=name, ArgumentValue=value)
    return int(value)


def _content_md5(headers: Headers) -> bytes | None:
    value = headers.get("content-md5")
    if value is None:
        return None
    try:
        digest = base64.b64decode(value, validate=True)
    except ValueError:
        digest = b""
    if len(digest) != checksums.ALGORITHMS["MD5"].size:
        error = S3Error("InvalidDigest")
        error.fields["Content-MD5"] = value
        raise error
    return digest


def _announced(headers: Headers, trailing: bool) -> tuple[str, ...]:
    """The trailers to come: at most one, a checksum."""
    value = headers.get("x-amz-trailer")
    if value is None:
        return ()
    name = value.lower()
    if not trailing or name not in checksums.BY_HEADER:
        raise S3Error(
            "InvalidRequest", "The value specified in the x-amz-trailer header is not supported"
        )
    return (name,)


def _declared(request: Request, announced: tuple[str, ...]) -> Declared | None:
    """The checksum of this payload that the request declares.

    The checksum of nothing in a presigned URL declares nothing: SDKs (JavaScript's since 3.729,
    with default settings) sign it into every URL for a PUT, for there is no payload to sum yet.
    S3 ignores checksums in a query; others than that one are verified here.
    """
    names = [
        name
        for name in request.headers.names()
        if name.startswith(checksums.HEADER_PREFIX) and name not in _SETTINGS
    ]
    if request.method == "POST" and request.has("uploadId"):
        names = []  # CompleteMultipartUpload: they speak of the object, not of this body
    if len(names) + len(announced) > 1:
        raise S3Error(
            "InvalidRequest",
            "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.",
        )
    declared: Declared | None = None
    if announced:
        declared = Declared(checksums.BY_HEADER[announced[0]], None)
    elif names:
        algorithm = checksums.BY_HEADER.get(names[0])
        if algorithm is None:
            raise S3Error(
                "InvalidRequest",
                "The algorithm type you specified in x-amz-checksum- header is invalid.",
            )
        value = request.headers.get(names[0]) or ""
        digest = _checksum_value(algorithm, value)
        if names[0] in request.hoisted and digest == algorithm.new().digest():
            return None
        declared = Declared(algorithm, digest)
    _check_named(request.headers, declared)
    return declared


def _check_named(headers: Headers, declared: Declared | None) -> None:
    """x-amz-sdk-checksum-algorithm must name the checksum that is there."""
    name = headers.get(_SDK_ALGORITHM)
    if name is None:
        return
    if declared is None:
        raise S3Error(
            "InvalidRequest",
            f"{_SDK_ALGORITHM} specified, but no corresponding x-amz-checksum-* or x-amz-trailer "
            "headers were found.",
        )
    if name.upper() != declared.algorithm.name:
        raise S3Error("InvalidRequest", f"Value for {_SDK_ALGORITHM} header is invalid.")


def _checksum_value(algorithm: Algorithm, value: str, kind: str = "header") -> bytes:
    try:
        return checksums.parse(algorithm, value)
    except ValueError:
        raise S3Error(
            "InvalidRequest", f"Value for {algorithm.header} {kind} is invalid."
        ) from None
