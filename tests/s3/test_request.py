"""Requests as values: bucket and key, decoded once; targets, hosts and headers that lie."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from s3node.base.errors import S3Error
from s3node.base.limits import OBJECT_KEY_BYTES_MAX
from s3node.s3.request import check_bucket_name, parse
from s3node.s3.signing import canonical_request

from .build import request

HOST = "s3.amazonaws.com"
VIRTUAL = "examplebucket.s3.amazonaws.com"

ADDRESSES = [
    ("/", HOST, None, None),
    ("/?acl", HOST, None, None),
    ("/bucket", HOST, "bucket", None),
    ("/bucket/", HOST, "bucket", None),
    ("/bucket//", HOST, "bucket", "/"),
    ("/bucket/a/b", HOST, "bucket", "a/b"),
    ("/bucket//a//b/", HOST, "bucket", "/a//b/"),
    ("/bucket/../x/./y", HOST, "bucket", "../x/./y"),
    ("/bucket/%2e%2e/x", HOST, "bucket", "../x"),
    ("/bucket/a%2Fb", HOST, "bucket", "a/b"),
    ("/bucket/a%252Fb", HOST, "bucket", "a%2Fb"),
    ("/bucket/a+b%20c", HOST, "bucket", "a+b c"),
    ("/bucket/%C3%A9é", HOST, "bucket", "éé"),
    ("/bucket/?x", HOST, "bucket", None),
    ("/bucket/%3Fx", HOST, "bucket", "?x"),
    ("/buck%65t/k", HOST, "bucket", "k"),
    ("/", VIRTUAL, "examplebucket", None),
    ("//", VIRTUAL, "examplebucket", "/"),
    ("/a/b", VIRTUAL, "examplebucket", "a/b"),
    ("/WriteGetObjectResponse", VIRTUAL, "examplebucket", "WriteGetObjectResponse"),
    ("/a", "my.bucket.s3.amazonaws.com:9000", "my.bucket", "a"),
    ("/a", "ExampleBucket.S3.amazonaws.com", "examplebucket", "a"),
    ("/a", "examplebucket.s3.amazonaws.com.", "examplebucket", "a"),
    ("/bucket/a", "[::1]:9000", "bucket", "a"),
    ("/bucket/a", "192.0.2.7:9000", "bucket", "a"),
    ("/bucket/a", "elsewhere.example", "bucket", "a"),
    ("/bucket/a", "xs3.amazonaws.com", "bucket", "a"),
    ("http://s3.amazonaws.com/bucket/a?b", HOST, "bucket", "a"),
    ("HTTP://S3.amazonaws.com", HOST, None, None),
]


@pytest.mark.parametrize(("target", "host", "bucket", "key"), ADDRESSES)
def test_addresses(target: str, host: str, bucket: str | None, key: str | None) -> None:
    asked = request("GET", target, host=host)
    assert (asked.bucket, asked.key) == (bucket, key)


def test_the_longest_domain_counts() -> None:
    domains = ("example.com", "s3.example.com:9000")
    asked = request("GET", "/k", host="b-1.s3.example.com", domains=domains)
    assert (asked.bucket, asked.key) == ("b-1", "k")


BROKEN = [
    ("/bucket/%", "InvalidURI"),
    ("/bucket/%4", "InvalidURI"),
    ("/bucket/%zz", "InvalidURI"),
    ("/bucket/%+1", "InvalidURI"),
    ("/bucket/%00", "InvalidURI"),
    ("/bucket/%ff", "InvalidURI"),
    ("/bucket/%c0%af", "InvalidURI"),
    ("/bucket/%ed%a0%80", "InvalidURI"),
    (b"/bucket/\xff", "InvalidURI"),
    ("/bucket/a b", "InvalidURI"),
    ("/bucket/a\r\nb", "InvalidURI"),
    ("/bucket/a#b", "InvalidURI"),
    ("/bucket/a?prefix=%ff", "InvalidURI"),
    ("/bucket/a?%00=1", "InvalidURI"),
    ("", "InvalidURI"),
    ("*", "InvalidURI"),
    ("bucket/a", "InvalidURI"),
    ("ftp://s3.amazonaws.com/a", "InvalidURI"),
    ("/bucket/" + "a" * 40_000, "InvalidURI"),
    ("http://other.example/bucket/a", "InvalidRequest"),
    ("/bucket/a?x=1&x=2", "InvalidArgument"),
    ("/bucket/a?x=1&%78=2", "InvalidArgument"),
    ("//key", "InvalidBucketName"),
    ("/Bucket/key", "InvalidBucketName"),
    ("/bucket%2Fkey", "InvalidBucketName"),
    ("/../key", "InvalidBucketName"),
    ("/bucket/" + "a" * (OBJECT_KEY_BYTES_MAX + 1), "KeyTooLongError"),
    ("/bucket/" + "%C3%A9" * (OBJECT_KEY_BYTES_MAX // 2) + "a", "KeyTooLongError"),
]


@pytest.mark.parametrize(("target", "code"), BROKEN)
def test_broken_targets(target: str | bytes, code: str) -> None:
    with pytest.raises(S3Error) as caught:
        request("GET", target)
    assert caught.value.code == code


def test_the_longest_key() -> None:
    key = "é" * (OBJECT_KEY_BYTES_MAX // 2)
    assert request("GET", "/bucket/" + quote(key)).key == key


@pytest.mark.parametrize("name", ["abc", "a-b.c", "1abc", "a" * 63, "192.168.1", "1.2.3.4.5"])
def test_good_bucket_names(name: str) -> None:
    check_bucket_name(name)


RESERVED = ("xn--abc", "sthree-a", "a-s3alias", "ab--ol-s3", "ab.mrap", "ab--x-s3", "a--table-s3")


@pytest.mark.parametrize(
    "name",
    [
        *RESERVED,
        "",
        "ab",
        "a" * 64,
        "-abc",
        "abc-",
        ".abc",
        "a..b",
        "a_b",
        "Abc",
        "abc\n",
        "é23",
        "10.0.0.1",
    ],
)
def test_bad_bucket_names(name: str) -> None:
    with pytest.raises(S3Error) as caught:
        check_bucket_name(name)
    assert caught.value.code == "InvalidBucketName"


KEYS = st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), min_size=1)


@given(KEYS, st.sampled_from(["", "/", "!$&'()*+,;=:@"]), st.booleans())
@example("../..//%2e%2E/+ é%", "/", True)
def test_the_path_that_is_signed_is_the_path_that_is_stored(
    key: str, safe: str, virtual: bool
) -> None:
    if len(key.encode()) > OBJECT_KEY_BYTES_MAX:
        return
    target = "/" + quote(key, safe=safe) if virtual else "/bucket/" + quote(key, safe=safe)
    asked = request("GET", target, host="bucket.s3.amazonaws.com" if virtual else HOST)
    assert (asked.bucket, asked.key) == ("bucket", key)
    line = canonical_request(asked, ["host"], "UNSIGNED-PAYLOAD").split("\n")[1]
    assert line == ("/" if virtual else "/bucket/") + quote(key, safe="/~")


PARAMETERS = st.dictionaries(
    st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), min_size=1),
    st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",))),
    max_size=4,
)


@given(PARAMETERS)
def test_parameters(parameters: dict[str, str]) -> None:
    query = "&".join(f"{quote(k, safe='')}={quote(v, safe='')}" for k, v in parameters.items())
    asked = request("GET", f"/bucket?{query}")
    assert dict(asked.query) == parameters
    assert all(asked.has(name) and asked.param(name) == parameters[name] for name in parameters)
    assert asked.param("\0") is None and not asked.has("\0")


def test_a_plus_is_a_space_in_a_query_only() -> None:
    assert request("GET", "/bucket/a+b?prefix=a+b%2Bc").param("prefix") == "a b+c"


DECIDING = [
    "Host",
    "content-length",
    "Authorization",
    "x-amz-date",
    "X-Amz-Meta-a",
    "Content-MD5",
    "Range",
    "If-Match",
    "If-None-Match",
    "content-type",
    "transfer-encoding",
]


@pytest.mark.parametrize("name", DECIDING)
def test_deciding_headers_occur_once(name: str) -> None:
    pairs = [("host", HOST)] if name != "Host" else []
    twice = [*pairs, (name, "1"), (name.swapcase(), "1")]
    with pytest.raises(S3Error, match="more than once"):
        request("GET", "/bucket", twice)


def test_list_headers_may_repeat() -> None:
    asked = request("GET", "/bucket", [("Cache-Control", " a "), ("cache-control", "b")])
    assert asked.headers.get("cache-control") == "a,b"
    assert asked.headers.all("cache-control") == ["a", "b"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("na me", "a"),
        ("name ", "a"),
        ("", "a"),
        ("name:", "a"),
        ("name", "a\r\n b"),
        ("name", "a\0"),
        ("name", "a\x1fb"),
        ("host", "a b"),
        ("host", "user@s3.amazonaws.com"),
        ("host", "a/b"),
        ("host", "[::1"),
    ],
)
def test_malformed_headers(name: str, value: str) -> None:
    with pytest.raises(S3Error) as caught:
        request("GET", "/bucket", [(name, value)])
    assert caught.value.code == "InvalidRequest"


def test_too_many_headers() -> None:
    with pytest.raises(S3Error):
        request("GET", "/bucket", [(f"n{i}", "1") for i in range(1000)])


def test_forwarding_headers_are_not_believed() -> None:
    headers = {"X-Forwarded-For": "10.0.0.1", "Forwarded": "for=10.0.0.1", "X-Forwarded-Host": "a"}
    asked = request("GET", "/bucket/k", headers)
    assert (asked.remote, asked.host) == ("192.0.2.1", HOST)


def test_methods() -> None:
    for method in ("get", "GE T", "", "G" * 17, "GET\n"):
        with pytest.raises(S3Error) as caught:
            request(method, "/bucket")
        assert caught.value.code == "MethodNotAllowed"


def test_http_1_0_may_have_no_host() -> None:
    asked = parse("GET", b"/bucket/k", [], domains=[HOST], secure=True, remote="")
    assert (asked.host, asked.bucket, asked.key, asked.secure) == ("", "bucket", "k", True)


def test_raw_forms_are_the_wires() -> None:
    asked = request("GET", "/bucket/%2E%2e?a=%41")
    assert (asked.raw_path, asked.raw_query) == ("/bucket/%2E%2e", "a=%41")


def test_headers_in_the_query() -> None:
    asked = request("PUT", "/bucket/k?x-amz-acl=private&X-Amz-Meta-A=%C3%A9&X-Amz-Date=1&x=2")
    assert dict(asked.headers.items())["x-amz-acl"] == "private"
    assert asked.headers.get("x-amz-meta-a") == "\xc3\xa9"
    assert asked.hoisted == {"x-amz-acl", "x-amz-meta-a"}
    assert "x-amz-date" not in asked.headers


@pytest.mark.parametrize(
    "query", ["x-amz-acl=a%0d%0ab", "x-amz-acl=a&X-AMZ-ACL=b", "x-amz-a%20b=c", "x-amz-%C3%A9=c"]
)
def test_malformed_headers_in_the_query(query: str) -> None:
    with pytest.raises(S3Error) as caught:
        request("PUT", f"/bucket/k?{query}")
    assert caught.value.code == "InvalidArgument"


def test_a_header_and_a_parameter_of_one_name() -> None:
    with pytest.raises(S3Error) as caught:
        request("PUT", "/bucket/k?x-amz-acl=private", {"x-amz-acl": "private"})
    assert caught.value.code == "InvalidRequest"


_WORDS = st.text(alphabet="ab%2Fé+=X-AmzSignature", max_size=12)


@given(st.lists(st.tuples(_WORDS, _WORDS), max_size=4), _WORDS, st.integers(0, 4))
def test_a_query_that_ends_with_its_signature_is_read_as_any_other(
    pairs: list[tuple[str, str]], signature: str, at: int
) -> None:
    """Wherever the signature stands: the same parameters, or a refusal."""
    pieces = [f"{name}={value}" for name, value in pairs]
    read = []
    for place in (at, len(pieces)):
        moved = [*pieces[:place], f"X-Amz-Signature={signature}", *pieces[place:]]
        try:
            read.append(request(target="/b/k?" + "&".join(moved)).query)
        except S3Error:
            read.append({"refused": ""})
    assert read[0] == read[1]
