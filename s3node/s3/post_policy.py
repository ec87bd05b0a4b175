"""The policy of a POST upload: who signed it, what it says, and whether a form keeps to it.

Pure: the form's fields, the clock and the secrets are passed in. Rules:

- the signature is over the policy's text as it came, and is judged before the text is read;
- every field of the form but x-amz-signature, policy, file and x-ignore-* is spoken of by a
  condition, and so is the bucket: what nobody signed is refused, not ignored;
- a condition on a field that is not there fails, whatever it asks for;
- names and operators are compared without regard to case, values exactly;
- `starts-with` is judged as it was signed on every field; S3's page has some that take only exact
  matching, but refusing what was signed protects nobody.

Sources: "POST policy", "Authenticating requests in browser-based uploads using POST" and "POST
Object" of the Amazon S3 API Reference (sigv4-HTTPPOSTConstructPolicy,
sigv4-authentication-HTTPPOST, RESTObjectPOST). Codes, texts and their order are those that S3 has
been seen to answer; where nobody has seen one, the nearest of the same kind.
"""

from __future__ import annotations

import base64
import hmac
import json
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from s3node.base.errors import S3Error
from s3node.s3.claims import Malformed, error, timestamp_ms
from s3node.s3.headers import utc_seconds
from s3node.s3.signing import ALGORITHM, KeyCache
from s3node.s3.sigv4 import NO_SECRET, Identity

_SIGNED_BY = ("X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Date", "X-Amz-Signature")
_SIGV2 = frozenset({"awsaccesskeyid", "signature"})
_UNCOVERED = frozenset({"policy", "x-amz-signature"})
_MALFORMED = Malformed("InvalidArgument", "")

_EXPIRATION = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})T([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]{1,9}))?Z\Z"
)
_SIGNATURE = re.compile(r"[0-9a-f]{64}\Z")
_SIZE = re.compile(r"[0-9]{1,19}\Z")
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_ESCAPES = {"$": "$", "v": "\\u000b"}  # the two that JSON does not have

RANGE = "content-length-range"


class Condition(NamedTuple):
    """One of eq and starts-with; `shown` is how S3 says that it failed."""

    operator: str
    field: str  # lower case
    value: str
    shown: str


class Sizes(NamedTuple):
    """What the file's size may be, both inclusive."""

    least: int
    most: int


class Policy(NamedTuple):
    expires_ms: int
    conditions: tuple[Condition, ...]
    sizes: Sizes | None


# Who signed it ------------------------------------------------------------------------------


def authenticate_form(
    fields: Mapping[str, str],
    *,
    secret_for: Callable[[str], str | None],
    region: str,
    key_cache: KeyCache,
    owner_id: str = "",
    display_name: str = "",
) -> Identity:
    """Who signed the policy in these fields (names in lower case); S3Error when nobody did.

    A form without a policy, or with one that nobody claims to have signed, is anonymous:
    AccessDenied.
    """
    if not _SIGV2.isdisjoint(fields):
        message = "The authorization mechanism you have provided is not supported. Please use "
        raise S3Error("InvalidRequest", message + f"{ALGORITHM}.")
    if not any(name.lower() in fields for name in _SIGNED_BY):
        raise S3Error("AccessDenied")
    if "x-amz-security-token" in fields:
        raise S3Error("InvalidToken")
    for name in (*_SIGNED_BY, "policy"):
        if name.lower() not in fields:
            raise missing(name)
    algorithm, credential, stamp, signature = (fields[name.lower()] for name in _SIGNED_BY)
    _check_algorithm(algorithm)
    access_key, date = _credential(credential, region)
    _check_date(date, stamp)
    # The wire's bytes: a policy is ASCII, or no policy and signed by nobody.
    signed = fields["policy"].encode("utf-8").decode("latin-1")
    secret = secret_for(access_key)
    key = key_cache.signing_key(NO_SECRET if secret is None else secret, date, region)
    right = hmac.compare_digest(key.sign(signed).encode(), signature.encode("utf-8"))
    if secret is None:
        raise S3Error("InvalidAccessKeyId", AWSAccessKeyId=access_key)
    if not right or not _SIGNATURE.match(signature):
        raise error(
            "SignatureDoesNotMatch",
            None,
            {
                "AWSAccessKeyId": access_key,
                "StringToSign": fields["policy"],
                "SignatureProvided": signature,
                "StringToSignBytes": signed.encode("latin-1").hex(" "),
            },
        )
    return Identity(access_key, owner_id, display_name)


def missing(name: str) -> S3Error:
    """A field is not there, or stands behind the file, where it is ignored."""
    return _invalid(
        name,
        "",
        f"Bucket POST must contain a field named '{name}'.  If it is specified, please check the "
        "order of the fields.",
    )


def _invalid(name: str, value: str, message: str) -> S3Error:
    return S3Error("InvalidArgument", message, ArgumentName=name, ArgumentValue=value)


def _check_algorithm(algorithm: str) -> None:
    if algorithm == "AWS4-ECDSA-P256-SHA256":
        raise S3Error("NotImplemented", "Signature Version 4A is not implemented.")
    if algorithm != ALGORITHM:
        message = f'X-Amz-Algorithm only supports "{ALGORITHM}"'
        raise _invalid("X-Amz-Algorithm", algorithm, message)


def _credential(value: str, region: str) -> tuple[str, str]:
    try:
        return _MALFORMED.credential(value, region)
    except S3Error as fault:
        fault.fields = {
            "ArgumentName": "X-Amz-Credential",
            "ArgumentValue": value,
            **fault.fields,
        }
        raise


def _check_date(date: str, stamp: str) -> None:
    if timestamp_ms(stamp) is None:
        message = "X-Amz-Date must be formated via ISO8601 Long format"  # S3 spells it so
        raise _invalid("X-Amz-Date", stamp, message)
    if stamp[:8] != date:
        raise _invalid(
            "X-Amz-Date",
            stamp,
            f'Invalid credential date "{date}". This date is not the same as X-Amz-Date: '
            f'"{stamp[:8]}".',
        )


# What it says -------------------------------------------------------------------------------


def read_policy(text: str) -> Policy:
    """The policy in its base64 form; InvalidPolicyDocument for what is none."""
    try:
        content = base64.b64decode(text, validate=True).decode("utf-8")
    except ValueError:
        raise _bad("invalid Base64 encoding.") from None
    document = _json(content)
    if not isinstance(document, dict):
        raise _bad("Invalid JSON.")
    for name in document:
        if name not in ("expiration", "conditions"):
            raise _bad(f"Unexpected: '{name.lower()}'")
    if "expiration" not in document:
        raise _bad("Policy missing expiration.")
    if "conditions" not in document:
        raise _bad("Policy missing conditions.")
    expires_ms = _expiration(document["expiration"])
    if not isinstance(document["conditions"], list):
        raise _bad("Invalid 'conditions' value: must be a List.")
    conditions: list[Condition] = []
    sizes: Sizes | None = None
    for one in document["conditions"]:
        read = _condition(one)
        if isinstance(read, Condition):
            conditions.append(read)
        elif sizes is None:
            sizes = read
        else:
            sizes = Sizes(max(sizes.least, read.least), min(sizes.most, read.most))
    return Policy(expires_ms, tuple(conditions), sizes)


def _bad(reason: str) -> S3Error:
    return S3Error("InvalidPolicyDocument", f"Invalid Policy: {reason}")


def _denied(reason: str) -> S3Error:
    return S3Error("AccessDenied", f"Invalid according to Policy: {reason}")


def _json(content: str) -> Any:
    """The document, with S3's two escapes; a doubled name, NaN and endless nesting are no JSON."""
    plain = _ESCAPE.sub(lambda match: _ESCAPES.get(match[1], match[0]), content)
    try:
        return json.loads(plain, object_pairs_hook=_object, parse_constant=_no_number)
    except (ValueError, RecursionError):
        raise _bad("Invalid JSON.") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name occurs twice")
    return found


def _no_number(name: str) -> Any:
    raise ValueError(name)


def _expiration(value: object) -> int:
    match = _EXPIRATION.match(value) if isinstance(value, str) else None
    seconds = utc_seconds(tuple(map(int, match.groups()[:6]))) if match else None
    if match is None or seconds is None:
        raise _bad(f"Invalid 'expiration' value: '{value}'")
    return seconds * 1000 + int((match[7] or "0").ljust(3, "0")[:3])


def _condition(one: object) -> Condition | Sizes:
    if isinstance(one, dict):
        return _simple(one)
    if not isinstance(one, list):
        raise _bad("Invalid condition test: must be a List or Object.")
    if not one or not isinstance(one[0], str):
        raise _bad("Invalid Condition: missing operation identifier.")
    operator = one[0].lower()
    if operator not in ("eq", "starts-with", RANGE):
        raise _bad(f"Invalid Condition: unknown operation '{one[0]}'.")
    if len(one) != 3:
        raise _bad(f"Invalid {operator}: wrong number of arguments.")
    shown = json.dumps(one, ensure_ascii=False)
    if operator == RANGE:
        return _sizes(one[1], one[2], shown)
    field, value = one[1:]
    if not isinstance(field, str) or not isinstance(value, str):
        raise _bad("Invalid JSON.")
    if not field.startswith("$"):
        raise _failed(shown)
    return Condition(operator, field[1:].lower(), value, shown)


def _simple(one: dict[str, Any]) -> Condition:
    if len(one) != 1:
        raise _bad(
            "Invalid Simple-Condition: Simple-Conditions must have exactly one property specified."
        )
    ((name, value),) = one.items()
    if not isinstance(value, str):
        raise _bad("Invalid Simple-Condition: value must be a string.")
    shown = json.dumps(["eq", f"${name}", value], ensure_ascii=False)
    return Condition("eq", name.lower(), value, shown)


def _sizes(least: object, most: object, shown: str) -> Sizes:
    """Numbers, or strings of digits."""
    bounds = []
    for bound in (least, most):
        if isinstance(bound, float) or (isinstance(bound, int) and bound < 0):
            raise _bad("Invalid JSON.")
        if isinstance(bound, bool) or not isinstance(bound, str | int):
            raise _bad("Invalid JSON.")
        if not _SIZE.match(str(bound)):
            raise _failed(shown)
        bounds.append(int(bound))
    return Sizes(*bounds)


# Whether the form keeps to it ---------------------------------------------------------------


def check_form(policy: Policy, fields: Mapping[str, str], bucket: str, now_ms: int) -> None:
    """AccessDenied unless these fields (names in lower case, expanded) are what was signed.

    `bucket` is the one that the form was sent to. The file's size is whoever's who receives it.
    """
    if now_ms > policy.expires_ms:
        raise _denied("Policy expired.")
    for condition in policy.conditions:
        if not _holds(condition, fields, bucket):
            raise _failed(condition.shown)
    covered = {condition.field for condition in policy.conditions}
    extra = [name for name in ("bucket", *fields) if name not in covered | _UNCOVERED]
    if extra:
        raise _denied(f"Extra input fields: {extra[0]}")


def _failed(shown: str) -> S3Error:
    return _denied(f"Policy Condition failed: {shown}")


def _holds(condition: Condition, fields: Mapping[str, str], bucket: str) -> bool:
    value = fields.get(condition.field)
    if condition.field == "bucket":
        if value not in (None, bucket):
            return False
        value = bucket
    if value is None:
        return False
    if condition.operator == "eq":
        return value == condition.value
    each = [value]
    if condition.field == "content-type":
        each = [part.strip(" \t") for part in value.split(",")]
    return all(part.startswith(condition.value) for part in each)
