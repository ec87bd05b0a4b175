"""Cross-origin resource sharing: a bucket's rules, preflights, and the headers of actual answers.

Pure. The first rule that matches a request's origin, method and announced headers decides; a
request that none matches is answered as any other, without these headers (which is what keeps a
browser's script from it), but a preflight is refused.

Rules:

- origins are compared exactly, with one `*` for any run of characters; header names without
  regard to case, in the same way;
- a rule that allows every origin is answered with `*`, and then never with credentials;
- what goes into a header of an answer is the request's own or was checked when it was configured.

Sources: "Using cross-origin resource sharing" and "Elements of a CORS configuration" of the Amazon
S3 User Guide; "PutBucketCors" and "OPTIONS object" of the API Reference; the Fetch standard,
section 3.3. Codes, texts and headers as S3 has been seen to answer them. Neither page says what
becomes of identifiers that occur twice or are too long, nor of negative ages: refused.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from s3node.base.errors import S3Error
from s3node.base.limits import (
    CORS_BYTES_MAX,
    CORS_RULE_ID_LENGTH_MAX,
    CORS_RULES_MAX,
    HEADER_FIELDS_MAX,
)
from s3node.s3 import xml
from s3node.s3.request import Headers, Request
from s3node.s3.xml import Element, Node

PREFLIGHT = "OPTIONS"
METHODS = ("GET", "PUT", "HEAD", "POST", "DELETE")
ANY = "*"
VARY = ("vary", "Origin, Access-Control-Request-Headers, Access-Control-Request-Method")

_LISTS = ("AllowedHeader", "AllowedMethod", "AllowedOrigin", "ExposeHeader")
_SINGLE = frozenset({"ID", "MaxAgeSeconds"})
_AGE = re.compile(r"[0-9]{1,10}\Z")
_AGE_MAX = (1 << 31) - 1
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+\Z")

HeaderList = list[tuple[str, str]]


class Rule(NamedTuple):
    """One CORSRule."""

    headers: tuple[str, ...]
    methods: tuple[str, ...]
    origins: tuple[str, ...]
    exposed: tuple[str, ...]
    identity: str | None
    max_age_s: int | None


# The document -------------------------------------------------------------------------------


def parse(data: bytes) -> tuple[Rule, ...]:
    """The rules of a PutBucketCors body, or S3Error."""
    if len(data) > CORS_BYTES_MAX:
        raise too_long()
    root = xml.parse(data)
    if root.name != "CORSConfiguration":
        raise xml.malformed()
    xml.fields(root, frozenset(), repeated="CORSRule")
    if not root.children:
        raise xml.malformed()
    if len(root.children) > CORS_RULES_MAX:
        raise S3Error(
            "InvalidRequest",
            f"The number of CORS rules should not exceed allowed limit of {CORS_RULES_MAX} rules.",
        )
    rules = tuple(_rule(child) for child in root.children)  # all of their shape before a value
    for rule in rules:
        _check(rule)
    _check_identities([rule.identity for rule in rules if rule.identity])
    return rules


def too_long() -> S3Error:
    return S3Error("MalformedXML", "The CORS XML document is limited to 64 KB in size.")


def _rule(element: Element) -> Rule:
    lists: dict[str, list[str]] = {name: [] for name in _LISTS}
    single: dict[str, str] = {}
    if element.text.strip():
        raise xml.malformed()
    for child in element.children:
        if child.name in lists:
            lists[child.name].append(xml.leaf(child))
        elif child.name in _SINGLE and child.name not in single:
            single[child.name] = xml.leaf(child)
        else:
            raise xml.malformed()
    if not lists["AllowedMethod"] or not lists["AllowedOrigin"]:
        raise xml.malformed()
    headers, methods, origins, exposed = (tuple(lists[name]) for name in _LISTS)
    age = _age(single.get("MaxAgeSeconds"))
    return Rule(headers, methods, origins, exposed, single.get("ID"), age)


def _age(text: str | None) -> int | None:
    if text is None:
        return None
    if not _AGE.match(text.strip()) or int(text) > _AGE_MAX:
        raise xml.malformed()
    return int(text)


def _check(rule: Rule) -> None:
    for method in rule.methods:
        if method not in METHODS:
            raise _refused(
                "Found unsupported HTTP method in CORS config. Unsupported method is " + method
            )
    for name, patterns in (("AllowedOrigin", rule.origins), ("AllowedHeader", rule.headers)):
        for pattern in patterns:
            if pattern.count(ANY) > 1:
                raise _refused(f'{name} "{pattern}" can not have more than one wildcard.')
    for header in rule.exposed:
        if ANY in header:
            raise _refused(
                f'ExposeHeader "{header}" contains wildcard. We currently do not support wildcard '
                "for ExposeHeader."
            )
        if not _TOKEN.match(header):
            raise _refused(f'ExposeHeader "{header}" contains invalid character.')


def _check_identities(identities: Sequence[str]) -> None:
    seen: set[str] = set()
    for identity in identities:
        if len(identity) > CORS_RULE_ID_LENGTH_MAX:
            message = f"ID length should not exceed allowed limit of {CORS_RULE_ID_LENGTH_MAX}"
            raise S3Error("InvalidArgument", message, ArgumentName="ID", ArgumentValue=identity)
        if identity in seen:
            message = "Rule ID must be unique. Found same ID for more than one rule"
            raise S3Error("InvalidArgument", message, ArgumentName="ID", ArgumentValue=identity)
        seen.add(identity)


def _refused(message: str) -> S3Error:
    return S3Error("InvalidRequest", message)


def render(rules: Sequence[Rule]) -> bytes:
    """The document that GetBucketCors answers."""
    return xml.render("CORSConfiguration", [("CORSRule", _nodes(rule)) for rule in rules])


def _nodes(rule: Rule) -> list[Node]:
    lists = (rule.headers, rule.methods, rule.origins, rule.exposed)
    nodes: list[Node] = []
    for name, values in zip(_LISTS, lists, strict=True):
        nodes += [(name, value) for value in values]
    return [*nodes, ("ID", rule.identity), ("MaxAgeSeconds", rule.max_age_s)]


# What it decides ----------------------------------------------------------------------------


NOTHING = "(?!)"  # no text matches


class Asked(NamedTuple):
    """What a cross-origin request says of itself."""

    origin: str
    method: str
    headers: tuple[str, ...]  # lower case, each once


class _Compiled(NamedTuple):
    """A rule, and its headers as they are looked for: whole names, and all those with a `*`."""

    rule: Rule
    names: frozenset[str]
    patterns: re.Pattern[str]


@lru_cache(32)
def _rules(content: bytes) -> tuple[_Compiled, ...]:
    """Those of a document as `render` made it; the same few are asked for again and again."""
    return tuple(_compiled(_rule(child)) for child in xml.parse(content).children)


def _compiled(rule: Rule) -> _Compiled:
    headers = [header.lower() for header in rule.headers]
    patterns = [_pattern(header) for header in dict.fromkeys(headers) if ANY in header]
    return _Compiled(rule, frozenset(headers), re.compile("|".join(patterns) or NOTHING))


def _pattern(header: str) -> str:
    before, _, after = header.partition(ANY)
    return f"{re.escape(before)}.*{re.escape(after)}"


def answer_headers(content: bytes | None, request: Request) -> HeaderList:
    """What the answer to an actual request carries for its origin; `content` is the stored
    document. Nothing where no rule matches, or where it does not say where it comes from.

    As S3 does it: what the request announces as a preflight would counts here too.
    """
    asked = _asked(request.headers, request.method)
    if content is None or not asked.origin:
        return []
    rule = _match(_rules(content), asked)
    return _headers(rule, asked) if rule else []


def preflight(content: bytes | None, request: Request, *, found: bool) -> HeaderList:
    """The headers of the answer to a preflight, or the S3Error that refuses it.

    `found`: there is such a bucket. The key is not looked at.
    """
    asked = _asked(request.headers, PREFLIGHT)
    if not asked.origin:
        raise S3Error("BadRequest", "Insufficient information. Origin request header needed.")
    if not found:
        raise _forbidden("Bucket not found", asked, "BUCKET")
    if content is None:
        raise _forbidden("CORS is not enabled for this bucket.", asked, "BUCKET")
    if asked.method not in METHODS:
        given = request.headers.get("access-control-request-method", "null")
        raise S3Error("BadRequest", f"Invalid Access-Control-Request-Method: {given}")
    rule = _match(_rules(content), asked)
    if rule is None:
        raise _forbidden(
            "This CORS request is not allowed. This is usually because the evalution of Origin, "
            "request method / Access-Control-Request-Method or Access-Control-Request-Headers are "
            "not whitelisted by the resource's CORS spec.",
            asked,
            "BUCKET" if request.key is None else "OBJECT",
        )
    return _headers(rule, asked)


def _forbidden(reason: str, asked: Asked, resource: str) -> S3Error:
    return S3Error(
        "AccessForbidden", f"CORSResponse: {reason}", Method=asked.method, ResourceType=resource
    )


def _asked(headers: Headers, method: str) -> Asked:
    announced = headers.get("access-control-request-headers") or ""
    names = [name.strip(" \t").lower() for name in announced.split(",")]
    return Asked(
        headers.get("origin") or "",
        headers.get("access-control-request-method", method) or "",
        tuple(dict.fromkeys(name for name in names if name)),
    )


def _match(rules: Sequence[_Compiled], asked: Asked) -> Rule | None:
    """The first that matches. More headers than a request may have are allowed by none."""
    if len(asked.headers) > HEADER_FIELDS_MAX:
        return None
    return next((one.rule for one in rules if _matches(one, asked)), None)


def _matches(one: _Compiled, asked: Asked) -> bool:
    return (
        asked.method in one.rule.methods
        and any(_like(pattern, asked.origin) for pattern in one.rule.origins)
        and all(name in one.names or one.patterns.fullmatch(name) for name in asked.headers)
    )


def _like(pattern: str, text: str) -> bool:
    """Equal, but for one `*` that stands for anything, also nothing."""
    before, star, after = pattern.partition(ANY)
    if not star:
        return text == pattern
    enough = len(text) >= len(before) + len(after)
    return enough and text.startswith(before) and text.endswith(after)


def _headers(rule: Rule, asked: Asked) -> HeaderList:
    everyone = ANY in rule.origins
    found = [
        ("access-control-allow-origin", ANY if everyone else asked.origin),
        ("access-control-allow-methods", ", ".join(rule.methods)),
    ]
    if asked.headers:
        found.append(("access-control-allow-headers", ", ".join(asked.headers)))
    if rule.exposed:
        found.append(("access-control-expose-headers", ", ".join(rule.exposed)))
    if rule.max_age_s is not None:
        found.append(("access-control-max-age", str(rule.max_age_s)))
    if not everyone:
        found.append(("access-control-allow-credentials", "true"))
    return [*found, VARY]
