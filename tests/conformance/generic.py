"""The cases that every operation has, made from its example: its first row that succeeds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from s3node.base.limits import OBJECT_KEY_BYTES_MAX
from tests.conformance.case import ANONYMOUS, PRESIGNED, Ask, Case, err
from tests.conformance.model import inputs

SKEW_S = 20 * 60
"""Well beyond the quarter of an hour that is allowed, so that a slow machine decides nothing."""

REFUSED = {
    "x-amz-acl": "public-read",
    "x-amz-bucket-namespace": "account-regional",
    "x-amz-bucket-object-lock-enabled": "true",
    "x-amz-bypass-governance-retention": "true",
    "x-amz-if-match-initiated-time": "Sat, 01 Jan 2000 00:00:00 GMT",
    "x-amz-mfa": "serial 123456",
    "x-amz-object-annotation-directive": "REPLACE",
    "x-amz-object-ownership": "ObjectWriter",
    "x-amz-request-payer": "requester",
    "x-amz-write-offset-bytes": "0",
}
"""Headers that ask for what is not built, each with a value that asks for it."""

REFUSED_PREFIXES = (
    "x-amz-copy-source-server-side-encryption",
    "x-amz-grant-",
    "x-amz-object-lock-",
    "x-amz-server-side-encryption",
)

NO_EXAMPLE = frozenset({"OptionsObject", "PostObject"})
"""Signed in another way, or by nobody: what all operations have in common is not for them."""


def cases(example: Case) -> Iterator[Case]:
    """All of them for one operation."""
    if example.operation in NO_EXAMPLE:
        return
    makers = [_who, _headers, _address]
    if example.ask.path != "/":
        makers.append(_bucket)
    for make in makers:
        for case in make(example):
            yield replace(case, scene=example.scene)


def _who(example: Case) -> Iterator[Case]:
    name, ask = example.operation, example.ask
    yield err(name, "AccessDenied", ask.but(auth=ANONYMOUS), "without a signature")
    yield err(
        name,
        "InvalidAccessKeyId",
        ask.but(access="AKNOBODY0000000000"),
        AWSAccessKeyId="AKNOBODY0000000000",
    )
    yield err(
        name,
        "SignatureDoesNotMatch",
        ask.but(secret="wrong" * 8),
        AWSAccessKeyId="*",
        StringToSign="*",
        SignatureProvided="*",
        StringToSignBytes="*",
        CanonicalRequest="*",
        CanonicalRequestBytes="*",
    )
    for late_s, when in ((SKEW_S, "early"), (-SKEW_S, "late")):
        yield err(
            name,
            "RequestTimeTooSkewed",
            ask.but(late_s=late_s),
            when,
            RequestTime="*",
            ServerTime="*",
            MaxAllowedSkewMilliseconds="900000",
        )
    yield err(name, "InvalidToken", ask.plus(x_amz_security_token="none"))
    yield err(
        name,
        "AccessDenied",
        ask.but(unsigned={"x-amz-meta-late": "1"}),
        "a header behind the signature",
        HeadersNotSigned="x-amz-meta-late",
    )
    yield replace(example, name="presigned", ask=ask.but(auth=PRESIGNED))


def _headers(example: Case) -> Iterator[Case]:
    name, ask = example.operation, example.ask
    for header in inputs(name):
        if header in ask.headers:
            continue
        value = REFUSED.get(header)
        if value is None and header.startswith(REFUSED_PREFIXES):
            value = "value"
        if value is not None:
            yield err(
                name,
                "NotImplemented",
                ask.but(headers={**ask.headers, header: value}),
                header,
                message=f"A header you provided implies functionality that is not implemented: "
                f"{header}",
                Header=header,
            )


def _address(example: Case) -> Iterator[Case]:
    name, ask = example.operation, example.ask
    own = ask.plus(f"x-id={name}")
    yield replace(example, name="with its own x-id", ask=own)
    yield replace(example, name="with x-own=1", ask=ask.plus("x-own=1"))
    yield err(
        name,
        "NotImplemented",
        ask.plus("no-such-thing"),
        "an unknown subresource",
        message=f"{name} with ?no-such-thing is not implemented.",
        Operation=name,
    )
    yield err(name, "InvalidURI", ask.plus("x-a=%zz"))
    yield err(
        name, "InvalidArgument", ask.plus("x-a=1&x-a=2"), "a parameter twice", ArgumentName="x-a"
    )


def _bucket(example: Case) -> Iterator[Case]:
    name, ask = example.operation, example.ask
    first, _, rest = ask.path[1:].partition("/")
    elsewhere = f"/{rest}" if rest else "/"
    yield replace(
        example,
        name="virtual-host style",
        ask=ask.but(path=elsewhere, headers={**ask.headers, "host": f"{first}.s3.test"}),
    )
    yield from _owners(example, first, rest)
    bad = _at(ask, "Not_A_Bucket", rest)
    yield err(name, "InvalidBucketName", bad, BucketName="Not_A_Bucket")
    if rest:
        key = "k" * (OBJECT_KEY_BYTES_MAX + 1)
        yield err(
            name,
            "KeyTooLongError",
            _at(ask, first, key),
            Size=str(len(key)),
            MaxSizeAllowed=str(OBJECT_KEY_BYTES_MAX),
        )
        yield err(name, "InvalidURI", _at(ask, first, "a%00b"), "NUL in the key")
        yield err(name, "InvalidURI", _at(ask, first, "%ff"), "a key that is no UTF-8")


def _owners(example: Case, bucket: str, rest: str) -> Iterator[Case]:
    name, ask = example.operation, example.ask
    if name != "CreateBucket":
        own = ask.plus(x_amz_expected_bucket_owner="owner-1")
        yield replace(example, name="the expected owner", ask=own)
        other = ask.plus(x_amz_expected_bucket_owner="owner-2")
        yield err(name, "AccessDenied", other, "another owner than expected")
        missing = _at(ask, "nobucket", rest)
        yield err(name, "NoSuchBucket", missing, BucketName="nobucket")
        yield replace(err(name, "AccessDenied", ask, "somebody else's bucket"), theirs=bucket)


def _at(ask: Ask, bucket: str, rest: str) -> Ask:
    """The same for another place."""
    return ask.but(path=f"/{bucket}/{rest}" if rest else f"/{bucket}")
