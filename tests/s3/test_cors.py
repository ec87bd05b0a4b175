"""CORS rules: documents there and back, and which rule matches, against a second opinion."""

from __future__ import annotations

import fnmatch
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from s3node.base.errors import S3Error
from s3node.base.limits import CORS_BYTES_MAX, HEADER_FIELDS_MAX
from s3node.s3 import cors
from s3node.s3.cors import METHODS, Rule, answer_headers, parse, preflight, render
from tests.s3.build import request

RELAXED = {"deadline": None, "derandomize": True}
PATTERNS = st.text("ab.*", max_size=5).filter(lambda text: text.count("*") < 2)
RULES = st.builds(
    Rule,
    headers=st.lists(PATTERNS, max_size=3).map(tuple),
    methods=st.lists(st.sampled_from(METHODS), min_size=1, max_size=2).map(tuple),
    origins=st.lists(PATTERNS | st.just("*"), min_size=1, max_size=3).map(tuple),
    exposed=st.lists(st.text("ab-", min_size=1, max_size=3), max_size=2).map(tuple),
    identity=st.none(),
    max_age_s=st.none() | st.integers(0, 2**31 - 1),
)


def opinion(pattern: str, text: str) -> bool:
    """Whether a pattern covers a text, said by something else."""
    return re.fullmatch(fnmatch.translate(re.sub(r"([?\[])", r"[\1]", pattern)), text) is not None


@settings(max_examples=100, **RELAXED)
@given(
    st.lists(RULES, min_size=1, max_size=3),
    st.text("ab.", min_size=1, max_size=5),
    st.sampled_from(METHODS),
    st.lists(st.text("abAB.", min_size=1, max_size=3), max_size=3),
)
def test_the_first_rule_that_matches_decides(
    rules: list[Rule], origin: str, method: str, names: list[str]
) -> None:
    content = render(rules)
    wanted = next(
        (
            rule
            for rule in rules
            if method in rule.methods
            and any(opinion(pattern, origin) for pattern in rule.origins)
            and all(
                any(opinion(pattern.lower(), name.lower()) for pattern in rule.headers)
                for name in names
            )
        ),
        None,
    )
    asked = {
        "origin": origin,
        "access-control-request-method": method,
        "access-control-request-headers": ", ".join(names),
    }
    actual = answer_headers(content, request("GET", "/bucket/k", asked))
    before = request("OPTIONS", "/bucket/k", asked)
    if wanted is None:
        assert actual == []
        with pytest.raises(S3Error, match="not allowed"):
            preflight(content, before, found=True)
        return
    assert preflight(content, before, found=True) == actual
    told = dict(actual)
    everyone = "*" in wanted.origins
    assert told["access-control-allow-origin"] == ("*" if everyone else origin)
    assert ("access-control-allow-credentials" in told) is not everyone
    assert told["access-control-allow-methods"] == ", ".join(wanted.methods)
    assert told.get("access-control-max-age") == (
        None if wanted.max_age_s is None else str(wanted.max_age_s)
    )
    allowed = ", ".join(dict.fromkeys(name.lower() for name in names))
    assert told.get("access-control-allow-headers", "") == allowed


def test_who_allows_everybody_allows_no_credentials() -> None:
    asked = {"origin": "http://a"}
    for origins, told in {
        ("*",): {"access-control-allow-origin": "*"},
        ("http://*", "*"): {"access-control-allow-origin": "*"},
        ("http://*",): {
            "access-control-allow-origin": "http://a",
            "access-control-allow-credentials": "true",
        },
    }.items():
        content = render([Rule((), ("GET",), origins, (), None, None)])
        found = dict(answer_headers(content, request("GET", "/bucket", asked)))
        assert found == {**told, "access-control-allow-methods": "GET", cors.VARY[0]: cors.VARY[1]}


@pytest.mark.parametrize(
    ("origin", "matches"),
    [
        *(("foo.suffix", True), ("startend", True), ("start12end", True), ("prefix", True)),
        *(("foo.bar", False), ("foo.suffix.get", False), ("0start12end", False)),
        *(("bla.prefix", False), ("starend", False), ("aba", False), ("abba", True)),
    ],
)
def test_one_star_is_anything_or_nothing(origin: str, matches: bool) -> None:
    """What stands before it and what stands behind it are not the same letters."""
    patterns = ("*.suffix", "start*end", "prefix*", "ab*ba")
    content = render([Rule((), ("GET",), patterns, (), None, None)])
    assert bool(answer_headers(content, request("GET", "/bucket", {"origin": origin}))) is matches


@settings(max_examples=60, **RELAXED)
@given(st.lists(RULES, min_size=1, max_size=3))
def test_documents_come_back(rules: list[Rule]) -> None:
    assert list(parse(render(rules))) == rules


def test_what_escapes_make_longer_is_still_read() -> None:
    """The stored document may be longer than what may be sent."""
    rule = Rule((), ("GET",), ('"' * 13_000, "*"), (), None, None)
    stored = render([rule])
    assert len(stored) > CORS_BYTES_MAX
    assert dict(answer_headers(stored, request("GET", "/bucket/k", {"origin": "x"})))


RULE = b"<AllowedMethod>GET</AllowedMethod><AllowedOrigin>*</AllowedOrigin>"
PLAIN = b"<CORSConfiguration><CORSRule>" + RULE + b"</CORSRule></CORSConfiguration>"


@settings(max_examples=100, **RELAXED)
@given(st.binary(max_size=30), st.integers(0, len(PLAIN)), st.integers(0, 40))
def test_never_anything_but_an_error_of_s3(noise: bytes, start: int, length: int) -> None:
    data = PLAIN[:start] + noise + PLAIN[start + length :]
    try:
        rules = parse(data)
    except S3Error as error:
        assert error.code in {"MalformedXML", "InvalidRequest", "InvalidArgument"}
    else:
        assert parse(render(rules)) == rules
        answer_headers(render(rules), request("GET", "/bucket", {"origin": "http://a"}))


@settings(max_examples=60, **RELAXED)
@given(st.text(st.characters(min_codepoint=0x20, max_codepoint=0xFF), max_size=30))
def test_any_origin_and_any_headers_can_be_answered(text: str) -> None:
    """What is echoed can stand in a header."""
    rule = Rule(("*",), ("GET",), ("*", "x"), ("ETag",), None, 1)
    asked = {"origin": text or "x", "access-control-request-headers": text}
    try:
        made = request("GET", "/bucket", asked)
    except S3Error:
        return
    for name, value in answer_headers(render([rule]), made):
        assert name.isascii() and not re.search(r"[\x00-\x08\x0a-\x1f\x7f]", value)
        value.encode("latin-1")


def test_exposed_names_are_names() -> None:
    for bad in ("a b", "\u00e4", "a\n", ""):
        exposed = f"<ExposeHeader>{bad}</ExposeHeader></CORSRule>".encode()
        with pytest.raises(S3Error) as caught:
            parse(PLAIN.replace(b"</CORSRule>", exposed))
        assert caught.value.code == "InvalidRequest"


def test_no_rule_allows_more_headers_than_a_request_has() -> None:
    content = render([Rule(("*",), ("PUT",), ("*",), (), None, None)])
    for count, allowed in ((HEADER_FIELDS_MAX, True), (HEADER_FIELDS_MAX + 1, False)):
        names = ",".join(f"x-{number}" for number in range(count))
        asked = {"origin": "http://a", "access-control-request-headers": names}
        assert bool(answer_headers(content, request("PUT", "/bucket/k", asked))) is allowed


def test_a_hundred_rules_are_read_once() -> None:
    rules = [Rule((), ("GET",), (f"http://{number}",), (), None, None) for number in range(100)]
    content = render(rules)
    cors._rules.cache_clear()
    for _ in range(50):
        assert answer_headers(content, request("GET", "/bucket", {"origin": "http://99"}))
    assert cors._rules.cache_info().misses == 1
