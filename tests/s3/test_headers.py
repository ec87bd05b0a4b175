"""Header values: ranges, dates, tags, metadata, copy sources; and what is refused as unbuilt."""

from __future__ import annotations

import email.utils
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s3node.base.errors import S3Error
from s3node.s3 import headers as h
from s3node.s3 import routes
from s3node.s3.checksums import HEADER_PREFIX
from s3node.s3.headers import Conditions, CopySource, ETags, Range
from tests.conformance.model import model

from .build import request


def code_of(function: object, *arguments: object, **options: object) -> str:
    with pytest.raises(S3Error) as caught:
        function(*arguments, **options)  # type: ignore[operator]
    return caught.value.code


RANGES = [
    (None, 10, None),
    ("bytes=0-0", 10, (0, 1)),
    ("bytes=0-9", 10, (0, 10)),
    ("bytes=0-10", 10, (0, 10)),
    ("bytes=3-", 10, (3, 10)),
    ("bytes=9-", 10, (9, 10)),
    ("bytes=-1", 10, (9, 10)),
    ("bytes=-10", 10, (0, 10)),
    ("bytes=-99", 10, (0, 10)),
    ("Bytes=2-4", 10, (2, 5)),
    ("bytes=0-18446744073709551616", 10, (0, 10)),
    ("bytes=0-" + "9" * 400, 10, (0, 10)),
    ("bytes=-" + "9" * 400, 10, (0, 10)),
    ("bytes=" + "0" * 5000 + "-" + "0" * 4999 + "1", 10, (0, 2)),
    ("", 10, None),
    ("bytes", 10, None),
    ("bytes=", 10, None),
    ("bytes=-", 10, None),
    ("bytes=5-3", 10, None),
    ("bytes=a-b", 10, None),
    ("bytes=0-1,3-4", 10, None),
    ("bytes=" + ",".join(["0-0"] * 1000), 10, None),
    ("items=0-1", 10, None),
    ("bytes=٣-٤", 10, None),
]
UNSATISFIABLE = [("bytes=10-", 10), ("bytes=10-20", 10), ("bytes=-0", 10)]
UNSATISFIABLE += [
    ("bytes=0-", 0),
    ("bytes=-5", 0),
    ("bytes=0-0", 0),
    ("bytes=" + "9" * 400 + "-", 10),
]


@pytest.mark.parametrize(("value", "size", "found"), RANGES)
def test_ranges(value: str | None, size: int, found: tuple[int, int] | None) -> None:
    assert h.parse_range(value, size) == (None if found is None else Range(*found))


@pytest.mark.parametrize(("value", "size"), UNSATISFIABLE)
def test_ranges_without_a_byte(value: str, size: int) -> None:
    with pytest.raises(S3Error) as caught:
        h.parse_range(value, size)
    assert caught.value.code == "InvalidRange"
    assert caught.value.fields == {"RangeRequested": value, "ActualObjectSize": str(size)}


@given(st.integers(0, 50), st.integers(0, 60), st.integers(0, 60))
def test_ranges_are_slices(size: int, first: int, last: int) -> None:
    data = bytes(range(size))
    for value, wanted in (
        (f"bytes={first}-{last}", data[first : last + 1] if first <= last else data),
        (f"bytes={first}-", data[first:]),
        (f"bytes=-{last}", data[max(0, size - last) :] if last else b""),
    ):
        try:
            found = h.parse_range(value, size)
        except S3Error:
            assert wanted == b""
        else:
            assert (data[found.start : found.stop] if found else data) == wanted


def test_copy_ranges() -> None:
    assert h.parse_copy_range("bytes=0-5") == (0, 5)
    for value in ("bytes=0-", "bytes=-5", "bytes=5-3", "0-5", "bytes=0-1,2-3", "", "bytes=0-5 "):
        assert code_of(h.parse_copy_range, value) == "InvalidArgument"


def test_part_numbers() -> None:
    assert h.part_number(request("GET", "/bucket/key")) is None
    assert h.part_number(request("GET", "/bucket/key?partNumber=10000")) == 10_000
    for value in ("0", "10001", "-1", "", "a", "1.0", "9" * 400, "%D9%A3"):
        asked = request("GET", f"/bucket/key?partNumber={value}")
        assert code_of(h.part_number, asked) == "InvalidArgument"


DATES = [
    ("Sun, 06 Nov 1994 08:49:37 GMT", 784111777),
    ("Sunday, 06-Nov-94 08:49:37 GMT", 784111777),
    ("Sun Nov  6 08:49:37 1994", 784111777),
    ("Sun Nov 06 08:49:37 1994", 784111777),
    ("Thu, 01 Jan 1970 00:00:00 GMT", 0),
    ("Fri, 31 Dec 9999 23:59:59 GMT", 253402300799),
    ("Tuesday, 19-Jan-38 03:14:08 GMT", 1 << 31),
    ("Thu, 29 Feb 2024 00:00:00 GMT", 1709164800),
]
NO_DATES = [
    "",
    "yesterday",
    "784111777",
    "Sun, 06 Nov 1994 08:49:37",
    "Sun, 06 Nov 1994 08:49:37 +0100",
    "Sun, 31 Feb 1994 08:49:37 GMT",
    "Sun, 29 Feb 2023 08:49:37 GMT",
    "Sun, 00 Nov 1994 08:49:37 GMT",
    "Sun, 06 Nov 1994 24:00:00 GMT",
    "Sun, 06 Nov 1994 08:60:00 GMT",
    "Sun, 06 Nov 0000 08:49:37 GMT",
    "Sun, 06 Ovd 1994 08:49:37 GMT",
    "Sun, 06 anF 1994 08:49:37 GMT",
    "Sun, ٠٦ Nov 1994 08:49:37 GMT",
    "Sun Nov  6 08:49:37 94",
]


@pytest.mark.parametrize(("value", "seconds"), DATES)
def test_dates(value: str, seconds: int) -> None:
    assert h.parse_http_date(value) == seconds


@pytest.mark.parametrize("value", NO_DATES)
def test_no_dates(value: str) -> None:
    assert h.parse_http_date(value) is None


@given(st.integers(0, 253402300799))
def test_written_dates_read_back(seconds: int) -> None:
    text = h.http_date(seconds * 1000 + 999)
    assert h.parse_http_date(text) == seconds
    assert text == email.utils.formatdate(seconds, usegmt=True)


TAGS = [
    ("*", ETags(True)),
    ('"a"', ETags(False, ("a",))),
    ("a", ETags(False, ("a",))),
    ('"a", "b"', ETags(False, ("a", "b"))),
    ('"a",b , W/"c"', ETags(False, ("a", "b"), ("c",))),
    ('"a,b"', ETags(False, ("a,b",))),
    ('""', ETags(False, ("",))),
    ('W/"a"', ETags(False, (), ("a",))),
    ("d41d8cd98f00b204e9800998ecf8427e-2", ETags(False, ("d41d8cd98f00b204e9800998ecf8427e-2",))),
]


@pytest.mark.parametrize(("value", "found"), TAGS)
def test_tags(value: str, found: ETags) -> None:
    assert h.parse_etags(value) == found


@pytest.mark.parametrize("value", ["", '"', '"a', 'a"b', ",", '"a" "b"', ' ,"a"'])
def test_no_tags(value: str) -> None:
    assert code_of(h.parse_etags, value) == "InvalidArgument"


def test_conditions() -> None:
    assert not h.parse_conditions(request().headers)
    sent = {
        "If-Match": '"a"',
        "if-none-match": "*",
        "if-modified-since": "Thu, 01 Jan 1970 00:00:01 GMT",
        "if-unmodified-since": "never",
        "x-amz-copy-source-if-match": "b",
    }
    asked = request("GET", "/bucket/key", sent).headers
    assert h.parse_conditions(asked) == Conditions(ETags(False, ("a",)), ETags(True), 1000)
    assert h.parse_conditions(asked, "x-amz-copy-source-") == Conditions(ETags(False, ("b",)))
    assert h.parse_conditions(asked)


def test_metadata_is_kept_as_given() -> None:
    sent = {"x-amz-meta-B": " =?UTF-8?Q?=C3=A9?= ", "X-Amz-Meta-a": "a  b\xe9", "x-amz-metb": "c"}
    found = h.user_metadata(request("PUT", "/bucket/key", sent).headers)
    assert found == (("b", "=?UTF-8?Q?=C3=A9?="), ("a", "a  b\xe9"))


def test_metadata_limits() -> None:
    name = "x-amz-meta-abc"
    h.user_metadata(request("PUT", "/bucket/key", {name: "a" * 2045}).headers)
    over = request("PUT", "/bucket/key", {name: "a" * 2046}).headers
    assert code_of(h.user_metadata, over) == "MetadataTooLarge"
    two = request("PUT", "/bucket/key", {name: "a" * 2045, "x-amz-meta-d": ""}).headers
    assert code_of(h.user_metadata, two) == "MetadataTooLarge"
    tab = request("PUT", "/bucket/key", {name: "a\tb"}).headers
    assert code_of(h.user_metadata, tab) == "InvalidArgument"
    unnamed = request("PUT", "/bucket/key", {"x-amz-meta-": "a"}).headers
    assert code_of(h.user_metadata, unnamed) == "InvalidArgument"


def test_system_headers() -> None:
    assert h.system_headers(request().headers) == (("content-type", "binary/octet-stream"),)
    sent = {
        "Content-Type": "application/dicom; transfer-syntax=*",
        "Content-Encoding": "aws-chunked, gzip",
        "Expires": "not a date",
        "Cache-Control": "no-cache",
        "Content-Disposition": 'attachment; filename="a  b"',
        "Accept": "x",
    }
    found = dict(h.system_headers(request("PUT", "/bucket/key", sent).headers))
    assert found == {
        "content-type": "application/dicom; transfer-syntax=*",
        "content-encoding": "gzip",
        "expires": "not a date",
        "cache-control": "no-cache",
        "content-disposition": 'attachment; filename="a  b"',
    }


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        ("aws-chunked", None),
        ("AWS-Chunked ", None),
        ("gzip", "gzip"),
        ("gzip ,br", "gzip ,br"),
        ("aws-chunked,gzip", "gzip"),
        ("gzip,aws-chunked", "gzip"),
        ("aws-chunked,gzip, br", "gzip, br"),
        ("", None),
    ],
)
def test_the_framing_is_not_stored_as_an_encoding(value: str, kept: str | None) -> None:
    asked = request("PUT", "/bucket/key", {"content-encoding": value}).headers
    assert dict(h.system_headers(asked)).get("content-encoding") == kept


def test_website_redirects() -> None:
    asked = {"x-amz-website-redirect-location": "/" + "x" * 2047}
    assert h.website_redirect(request("PUT", "/bucket/k", asked).headers) == "/" + "x" * 2047
    assert h.website_redirect(request().headers) is None
    for place in ("", "x", "/" + "x" * 2048, "ftp://"):
        asked = {"x-amz-website-redirect-location": place}
        assert code_of(h.website_redirect, request("PUT", "/bucket/k", asked).headers) == (
            "InvalidRedirectLocation"
        )


def test_storage_classes() -> None:
    assert h.storage_class(request().headers) == "STANDARD"
    for value, fine in (
        ("STANDARD_IA", True),
        ("standard", False),
        ("", False),
        ("OUTPOSTS", False),
    ):
        asked = request("PUT", "/bucket/key", {"x-amz-storage-class": value}).headers
        if fine:
            assert h.storage_class(asked) == value
        else:
            assert code_of(h.storage_class, asked) == "InvalidStorageClass"


def test_response_overrides() -> None:
    asked = request("GET", "/bucket/key?response-content-type=text/x%20%C3%A9&response-foo=1&x=2")
    found = h.response_overrides(asked, anonymous=False)
    assert found == {"content-type": "text/x \xc3\xa9"}
    assert code_of(h.response_overrides, asked, anonymous=True) == "InvalidRequest"
    for evil in ("%0d%0aSet-Cookie:a=b", "%0a", "%0d", "%7f"):
        asked = request("GET", f"/bucket/key?response-content-disposition=a{evil}")
        assert code_of(h.response_overrides, asked, anonymous=False) == "InvalidArgument"
    assert h.response_overrides(request(), anonymous=True) == {}


SOURCES = [
    ("bucket/key", ("bucket", "key", None)),
    ("/bucket/key", ("bucket", "key", None)),
    ("/bucket/a/b//c", ("bucket", "a/b//c", None)),
    ("/bucket//a", ("bucket", "/a", None)),
    ("/bucket/a%2Fb%252F+%20", ("bucket", "a/b%2F+ ", None)),
    ("/bucket/a%3FversionId=x", ("bucket", "a?versionId=x", None)),
    ("/bucket/../x", ("bucket", "../x", None)),
    ("/bucket/key?versionId=null", ("bucket", "key", "null")),
    ("/bucket/key?versionId=", ("bucket", "key", "")),
    ("/bucket/key?", ("bucket", "key", None)),
    ("/bucket/key?versionId=a%2Bb", ("bucket", "key", "a+b")),
]
NO_SOURCES = [
    "",
    "/",
    "bucket",
    "/bucket",
    "/bucket/",
    "//key",
    "/bucket/key?a=b",
    "/bucket/%00",
    "/bucket/%ff",
    "/bucket/%zz",
    "arn:aws:s3:::b/k",
]


@pytest.mark.parametrize(("value", "found"), SOURCES)
def test_copy_sources(value: str, found: tuple[str, str, str | None]) -> None:
    assert h.parse_copy_source(value) == CopySource(*found)


@pytest.mark.parametrize("value", NO_SOURCES)
def test_no_copy_sources(value: str) -> None:
    assert code_of(h.parse_copy_source, value) == "InvalidArgument"


def test_copy_sources_keep_the_rules_of_names() -> None:
    assert code_of(h.parse_copy_source, "/UPPER/key") == "InvalidBucketName"
    assert code_of(h.parse_copy_source, "/bucket/" + "a" * 1025) == "KeyTooLongError"


def test_directives() -> None:
    name = "x-amz-metadata-directive"
    assert h.directive(request().headers, name) == "COPY"
    assert h.directive(request("PUT", "/b-1/k", {name: "REPLACE"}).headers, name) == "REPLACE"
    for value in ("", "replace", "X"):
        asked = request("PUT", "/b-1/k", {name: value}).headers
        assert code_of(h.directive, asked, name) == "InvalidArgument"


# Where each request header of the operations that are built goes. A header in none of these
# would be accepted and ignored.
MEANT = {
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-language",
    "content-length",
    "content-md5",
    "content-type",
    "expires",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-unmodified-since",
    "range",
    "x-amz-checksum-algorithm",
    "x-amz-checksum-mode",
    "x-amz-checksum-type",
    "x-amz-copy-source",
    "x-amz-copy-source-if-match",
    "x-amz-copy-source-if-modified-since",
    "x-amz-copy-source-if-none-match",
    "x-amz-copy-source-if-unmodified-since",
    "x-amz-copy-source-range",
    "x-amz-expected-bucket-owner",
    "x-amz-metadata-directive",
    "x-amz-max-parts",
    "x-amz-mp-object-size",
    "x-amz-object-attributes",
    "x-amz-optional-object-attributes",
    "x-amz-part-number-marker",
    "x-amz-sdk-checksum-algorithm",
    "x-amz-source-expected-bucket-owner",
    "x-amz-storage-class",
    "x-amz-tagging",
    "x-amz-tagging-directive",
    "x-amz-website-redirect-location",
}


def built_headers() -> set[str]:
    found = set()
    for name in routes.BUILT & model()["operations"].keys():
        shape = model()["operations"][name].get("input", {}).get("shape")
        members: Mapping[str, Mapping[str, str]] = (
            model()["shapes"].get(shape, {}).get("members", {})
        )
        found |= {
            m["locationName"].lower() for m in members.values() if m.get("location") == "header"
        }
    return found


@pytest.mark.parametrize("name", sorted(built_headers()))
def test_every_header_of_the_model_is_meant_or_refused(name: str) -> None:
    digest = name.startswith(HEADER_PREFIX)
    meant = name in MEANT or digest
    asked = request("PUT", "/bucket/key", {name: "some-value"})
    if meant:
        h.refuse_unbuilt(asked)
    else:
        with pytest.raises(S3Error, match=name) as caught:
            h.refuse_unbuilt(asked)
        assert caught.value.code == "NotImplemented"


def test_values_that_ask_for_nothing_pass() -> None:
    for name, value in (
        ("x-amz-acl", "private"),
        ("x-amz-acl", "bucket-owner-full-control"),
        ("x-amz-bucket-object-lock-enabled", "false"),
        ("x-amz-object-ownership", "BucketOwnerEnforced"),
        ("x-amz-user-agent", "x"),
    ):
        h.refuse_unbuilt(request("PUT", "/bucket/key", {name: value}))
    for name, value in (
        ("x-amz-acl", "public-read"),
        ("x-amz-bucket-object-lock-enabled", "true"),
        ("x-amz-server-side-encryption-customer-key", "k"),
        ("x-amz-object-lock-mode", "GOVERNANCE"),
    ):
        asked = request("PUT", "/bucket/key", {name: value})
        assert code_of(h.refuse_unbuilt, asked) == "NotImplemented"


def test_expected_owner() -> None:
    asked = request("GET", "/bucket/key", {"x-amz-expected-bucket-owner": "somebody"}).headers
    h.check_expected_owner(asked, "somebody")
    h.check_expected_owner(request().headers, "owner")
    assert code_of(h.check_expected_owner, asked, "owner") == "AccessDenied"
