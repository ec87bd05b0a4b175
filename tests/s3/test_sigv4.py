"""Signature Version 4: AWS's published examples, and everything that has to be refused."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping

import pytest

from s3node.base.errors import S3Error
from s3node.s3.request import Request
from s3node.s3.sigv4 import KeyCache, PayloadKind

from . import build
from .build import ACCESS_KEY, EMPTY, NOW_MS, SCOPE, STAMP, check, presigned, signed

VIRTUAL = "examplebucket.s3.amazonaws.com"
WELCOME = hashlib.sha256(b"Welcome to Amazon S3.").hexdigest()


def authorization(names: str, signature: str) -> str:
    return (
        f"AWS4-HMAC-SHA256 Credential={ACCESS_KEY}/{SCOPE},"
        f"SignedHeaders={names},Signature={signature}"
    )


PUBLISHED = {
    "get object": (
        "GET",
        "/test.txt",
        {"Range": "bytes=0-9", "x-amz-content-sha256": EMPTY, "x-amz-date": STAMP},
        "host;range;x-amz-content-sha256;x-amz-date",
        "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
    ),
    "put object": (
        "PUT",
        "/test%24file.text",
        {
            "Date": "Fri, 24 May 2013 00:00:00 GMT",
            "x-amz-content-sha256": WELCOME,
            "x-amz-date": STAMP,
            "x-amz-storage-class": "REDUCED_REDUNDANCY",
        },
        "date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class",
        "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
    ),
    "get lifecycle": (
        "GET",
        "/?lifecycle",
        {"x-amz-content-sha256": EMPTY, "x-amz-date": STAMP},
        "host;x-amz-content-sha256;x-amz-date",
        "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543",
    ),
    "list objects": (
        "GET",
        "/?max-keys=2&prefix=J",
        {"x-amz-content-sha256": EMPTY, "x-amz-date": STAMP},
        "host;x-amz-content-sha256;x-amz-date",
        "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
    ),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_examples(name: str) -> None:
    method, target, headers, names, signature = PUBLISHED[name]
    every = {**headers, "Authorization": authorization(names, signature)}
    identity, spec = check(build.request(method, target, every, host=VIRTUAL))
    assert (identity.access_key, identity.owner_id) == (ACCESS_KEY, "owner")
    assert not identity.anonymous
    assert spec.kind is PayloadKind.LITERAL
    assert spec.sha256 == bytes.fromhex(headers["x-amz-content-sha256"])


def test_published_presigned_example() -> None:
    target = (
        "/test.txt?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE"
        "%2F20130524%2Fus-east-1%2Fs3%2Faws4_request&X-Amz-Date=20130524T000000Z"
        "&X-Amz-Expires=86400&X-Amz-SignedHeaders=host&X-Amz-Signature="
        "aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404"
    )
    _, spec = check(build.request("GET", target, host=VIRTUAL), now_ms=NOW_MS + 86_400_000)
    assert spec.kind is PayloadKind.UNSIGNED


def refused(asked: Request, code: str, *, now_ms: int = NOW_MS, says: str = "") -> S3Error:
    with pytest.raises(S3Error) as caught:
        check(asked, now_ms=now_ms)
    assert caught.value.code == code, caught.value
    assert says in (caught.value.message or ""), caught.value
    return caught.value


NOT_SIGNED = "There were headers present in the request which were not signed"


@pytest.mark.parametrize(
    "name",
    [
        "x-amz-meta-patient",
        "x-amz-acl",
        "x-amz-tagging",
        "x-amz-copy-source",
        "x-amz-object-lock-mode",
        "x-amz-content-sha256",
        "x-amz-date",
        "if-match",
        "if-none-match",
        "host",
    ],
)
def test_a_deciding_header_that_is_not_signed_is_refused(name: str) -> None:
    values = {"x-amz-content-sha256": EMPTY, "x-amz-date": STAMP, "host": "s3.amazonaws.com"}
    headers = {name: values.get(name, "a")}
    asked, _ = signed("PUT", "/bucket/key", headers, leave_out=[name])
    error = refused(asked, "AccessDenied", says=NOT_SIGNED)
    assert error.fields == {"HeadersNotSigned": name}


@pytest.mark.parametrize("name", ["x-amz-copy-source", "x-amz-meta-a", "x-amz-content-sha256"])
def test_the_same_on_presigned_urls(name: str) -> None:
    value = "STREAMING-UNSIGNED-PAYLOAD-TRAILER" if name.endswith("sha256") else "a"
    asked, _ = presigned("PUT", "/bucket/key", unsigned={name: value})
    error = refused(asked, "AccessDenied", says=NOT_SIGNED)
    assert error.fields == {"HeadersNotSigned": name}


def test_conditions_of_a_read_need_no_signature() -> None:
    asked, _ = signed("GET", "/bucket/key", {"if-match": "a"}, leave_out=["if-match"])
    check(asked)


def test_an_unsigned_switch_of_the_payload_verifier_breaks_the_signature() -> None:
    asked, _ = signed("PUT", "/bucket/key", {})
    for value in ("UNSIGNED-PAYLOAD", "STREAMING-UNSIGNED-PAYLOAD-TRAILER", WELCOME):
        headers = {**dict(asked.headers.items()), "x-amz-content-sha256": value}
        refused(build.request("PUT", "/bucket/key", headers), "SignatureDoesNotMatch")


def test_clock_skew() -> None:
    asked, _ = signed("GET", "/bucket/key", {})
    for off in (-900_000, 900_000):
        check(asked, now_ms=NOW_MS + off)
    for off in (-900_001, 900_001):
        error = refused(asked, "RequestTimeTooSkewed", now_ms=NOW_MS + off)
        assert error.fields["RequestTime"] == STAMP


def test_a_presigned_url_ends_and_does_not_begin_early() -> None:
    asked, _ = presigned("GET", "/bucket/key", expires="1")
    check(asked, now_ms=NOW_MS + 1000)
    error = refused(asked, "AccessDenied", now_ms=NOW_MS + 1001, says="Request has expired")
    assert error.fields["Expires"] == "2013-05-24T00:00:01Z"
    refused(asked, "AccessDenied", now_ms=NOW_MS - 900_001, says="not valid yet")
    week, _ = presigned("GET", "/bucket/key", expires="604800")
    check(week, now_ms=NOW_MS + 604_800_000)
    check(week, now_ms=NOW_MS - 900_000)


@pytest.mark.parametrize("expires", ["0", "-1", "604801", "abc", "", "1e3", "٣", "9" * 30])
def test_expiry_out_of_bounds(expires: str) -> None:
    asked, _ = presigned("GET", "/bucket/key", expires=build_quote(expires))
    refused(asked, "AuthorizationQueryParametersError")


def build_quote(text: str) -> str:
    return "".join(f"%{byte:02X}" for byte in text.encode()) if not text.isascii() else text


@pytest.mark.parametrize("name", ["Algorithm", "Credential", "Date", "Expires", "SignedHeaders"])
def test_each_query_parameter_is_needed(name: str) -> None:
    asked, _ = presigned("GET", "/bucket/key", drop=[f"X-Amz-{name}"])
    refused(asked, "AuthorizationQueryParametersError", says="requires the X-Amz-Algorithm")


@pytest.mark.parametrize("stamp", ["2013-05-24", "20130524T000000", "20130524T250000Z", "٢"])
def test_presigned_dates_of_another_form(stamp: str) -> None:
    asked, _ = presigned("GET", "/bucket/key", stamp=build_quote(stamp))
    refused(asked, "AuthorizationQueryParametersError", says="X-Amz-Date must be in")


def test_a_presigned_get_is_for_nothing_else() -> None:
    asked, _ = presigned("GET", "/bucket/key")
    target = f"{asked.raw_path}?{asked.raw_query}"
    for method in ("HEAD", "PUT", "DELETE", "POST"):
        refused(build.request(method, target), "SignatureDoesNotMatch")
    for extra in ("versionId=1", "response-content-type=text/html", "acl"):
        refused(build.request("GET", f"{target}&{extra}"), "SignatureDoesNotMatch")


SCOPES = {
    "region": ("20130524/eu-west-1/s3/aws4_request", "expecting 'us-east-1'"),
    "service": ("20130524/us-east-1/ec2/aws4_request", 'belongs to "s3"'),
    "terminator": ("20130524/us-east-1/s3/aws5_request", 'uses "aws4_request"'),
    "day": ("20130523/us-east-1/s3/aws4_request", "Invalid credential date"),
    "form": ("20130524/us-east-1/s3", "Credential is mal-formed"),
    "date form": ("2013052/us-east-1/s3/aws4_request", "incorrect date format"),
}


@pytest.mark.parametrize("name", SCOPES)
def test_wrong_scope(name: str) -> None:
    scope, says = SCOPES[name]
    asked, _ = signed("GET", "/bucket/key", {}, scope=scope)
    error = refused(asked, "AuthorizationHeaderMalformed", says=says)
    told = "us-east-1" if name == "region" else None
    assert error.fields.get("Region") == error.headers.get("x-amz-bucket-region") == told
    url, _ = presigned("GET", "/bucket/key", scope=scope)
    refused(url, "AuthorizationQueryParametersError", says=says)


def test_unknown_key_and_wrong_signature_differ_in_code_only_after_equal_work() -> None:
    cache = KeyCache()
    unknown, _ = signed("GET", "/bucket/key", {}, access_key="AKIAUNKNOWN")
    wrong, _ = signed("GET", "/bucket/key", {}, key=b"wrong")
    for asked, code in ((unknown, "InvalidAccessKeyId"), (wrong, "SignatureDoesNotMatch")):
        before = len(cache)
        with pytest.raises(S3Error) as caught:
            check(asked, cache=cache)
        assert caught.value.code == code
        assert len(cache) == before + 1  # both derived a key


def test_the_secret_that_stands_in_for_none_signs_nothing() -> None:
    key = build.key_for(secret="\0" * 40)
    asked, _ = signed("GET", "/bucket/key", {}, access_key="AKIAUNKNOWN", key=key)
    refused(asked, "InvalidAccessKeyId")


def test_a_mismatch_shows_what_was_signed_but_no_secret() -> None:
    asked, signature = signed("GET", "/bucket/key", {}, key=b"wrong")
    error = refused(asked, "SignatureDoesNotMatch")
    assert error.fields["SignatureProvided"] == signature
    assert error.fields["StringToSign"].startswith("AWS4-HMAC-SHA256\n20130524T000000Z\n")
    assert error.fields["CanonicalRequest"].startswith("GET\n/bucket/key\n\nhost:")
    right, right_signature = signed("GET", "/bucket/key", {})
    check(right)
    shown = repr(error.fields)
    assert right_signature not in shown
    assert build.SECRET_KEY not in shown and build.key_for().hex() not in shown


def test_customer_keys_are_not_echoed() -> None:
    name = "x-amz-server-side-encryption-customer-key"
    asked, _ = signed("GET", "/bucket/key", {name: "c2VjcmV0"}, key=b"wrong")
    assert "c2VjcmV0" not in repr(refused(asked, "SignatureDoesNotMatch").fields)


def test_signing_keys_and_header_values_are_in_no_repr() -> None:
    headers = {"x-amz-content-sha256": "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"}
    asked, signature = signed("PUT", "/bucket/key", headers)
    _, spec = check(asked)
    assert repr(build.key_for()) not in repr(spec)
    assert signature not in repr(asked)


Headers = Mapping[str, str]


def with_headers(headers: Headers, target: str = "/bucket/key") -> Callable[[], Request]:
    return lambda: build.request("GET", target, headers)


def changed(name: str, change: Callable[[str], str]) -> Callable[[], Request]:
    def make() -> Request:
        asked, _ = signed("GET", "/bucket/key", {})
        headers = dict(asked.headers.items())
        headers[name] = change(headers[name])
        return build.request("GET", "/bucket/key", {k: v for k, v in headers.items() if v})

    return make


def both() -> Request:
    asked, _ = signed("GET", "/bucket/key", {})
    url, _ = presigned("GET", "/bucket/key")
    return build.request("GET", f"/bucket/key?{url.raw_query}", dict(asked.headers.items()))


BROKEN: dict[str, tuple[Callable[[], Request], str]] = {
    "both mechanisms": (both, "InvalidArgument"),
    "signature v2": (with_headers({"authorization": "AWS AKID:c2ln"}), "InvalidRequest"),
    "signature v2 in the query": (
        with_headers({}, "/bucket/key?AWSAccessKeyId=a&Signature=b&Expires=1"),
        "InvalidRequest",
    ),
    "bearer": (with_headers({"authorization": "Bearer abc"}), "InvalidArgument"),
    "v4a": (with_headers({"authorization": "AWS4-ECDSA-P256-SHA256 a=b"}), "NotImplemented"),
    "no fields": (
        with_headers({"authorization": "AWS4-HMAC-SHA256 "}),
        "AuthorizationHeaderMalformed",
    ),
    "fields twice": (
        changed("authorization", lambda v: v + v.partition(" ")[2].join((", ", ""))),
        "AuthorizationHeaderMalformed",
    ),
    "short signature": (changed("authorization", lambda v: v[:-1]), "AuthorizationHeaderMalformed"),
    "upper case signature": (
        changed("authorization", lambda v: v[:-64] + "A" * 64),
        "AuthorizationHeaderMalformed",
    ),
    "signed header missing": (
        changed("authorization", lambda v: v.replace("host;", "host;range;")),
        "AuthorizationHeaderMalformed",
    ),
    "signed header twice": (
        changed("authorization", lambda v: v.replace("host;", "host;host;")),
        "AuthorizationHeaderMalformed",
    ),
    "upper case header": (
        changed("authorization", lambda v: v.replace("host;", "Host;")),
        "AuthorizationHeaderMalformed",
    ),
    "no date": (changed("x-amz-date", lambda _: ""), "AccessDenied"),
    "date of another form": (changed("x-amz-date", lambda _: "2013-05-24"), "AccessDenied"),
    "31st of February": (changed("x-amz-date", lambda _: "20130231T000000Z"), "AccessDenied"),
    "no content hash": (changed("x-amz-content-sha256", lambda _: ""), "InvalidRequest"),
    "bad content hash": (changed("x-amz-content-sha256", lambda _: "abc"), "InvalidArgument"),
    "v4a chunks": (
        changed("x-amz-content-sha256", lambda _: "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD"),
        "NotImplemented",
    ),
    "session token": (
        lambda: signed("GET", "/bucket/key", {"x-amz-security-token": "t"})[0],
        "InvalidToken",
    ),
    "session token in the query": (
        with_headers({}, "/bucket/key?X-Amz-Security-Token=a"),
        "InvalidToken",
    ),
    "anonymous signed chunks": (
        with_headers({"x-amz-content-sha256": "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"}),
        "InvalidRequest",
    ),
    "hash in header and query differ": (
        with_headers(
            {"x-amz-content-sha256": EMPTY}, f"/bucket/key?X-Amz-Content-Sha256={WELCOME}"
        ),
        "InvalidArgument",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_claims(name: str) -> None:
    make, code = BROKEN[name]
    refused(make(), code)


def test_anonymous() -> None:
    identity, spec = check(build.request("GET", "/bucket/key"))
    assert identity.anonymous and not identity.access_key and not identity.owner_id
    assert spec.kind is PayloadKind.UNSIGNED
    _, spec = check(build.request("PUT", "/bucket/key", {"x-amz-content-sha256": WELCOME}))
    assert spec.sha256 == bytes.fromhex(WELCOME)


def test_lower_case_parameters_are_no_signature() -> None:
    identity, _ = check(build.request("GET", "/bucket/key?x-amz-signature=1"))
    assert identity.anonymous


def test_the_date_header_serves_when_there_is_no_x_amz_date() -> None:
    for date in ("Fri, 24 May 2013 00:00:00 GMT", "Friday, 24-May-13 00:00:00 GMT", STAMP):
        asked, _ = signed("GET", "/bucket/key", {"date": date}, leave_out=["x-amz-date"])
        headers = dict(asked.headers.items())
        del headers["x-amz-date"]
        check(build.request("GET", "/bucket/key", headers))


def test_presigned_with_a_signed_payload_hash() -> None:
    for value, kind in (
        (WELCOME, PayloadKind.LITERAL),
        ("UNSIGNED-PAYLOAD", PayloadKind.UNSIGNED),
        ("STREAMING-UNSIGNED-PAYLOAD-TRAILER", PayloadKind.CHUNKS_UNSIGNED_TRAILER),
        ("STREAMING-AWS4-HMAC-SHA256-PAYLOAD", PayloadKind.CHUNKS_SIGNED),
    ):
        in_header, _ = presigned("PUT", "/b-1/key", {"x-amz-content-sha256": value}, payload=value)
        in_query, _ = presigned(
            "PUT", "/b-1/key", query={"X-Amz-Content-Sha256": value}, payload=value
        )
        assert check(in_header)[1].kind is check(in_query)[1].kind is kind
        lies, _ = presigned("PUT", "/b-1/key", {"x-amz-content-sha256": value})
        if value != "UNSIGNED-PAYLOAD":
            refused(lies, "SignatureDoesNotMatch")


def test_the_key_cache_is_bounded_and_forgets_replaced_secrets() -> None:
    cache = KeyCache(3)
    keys = [cache.signing_key(f"secret{i}", "20130524", "r").sign("x") for i in range(5)]
    assert len(cache) == 3 and len(set(keys)) == 5
    assert cache.signing_key("secret4", "20130524", "r").sign("x") == keys[4]
    assert cache.signing_key("secret0", "20130524", "r").sign("x") == keys[0]
    assert cache.signing_key("other", "20130524", "r").sign("x") not in keys


def test_what_is_remembered_of_a_presigned_query_lets_nothing_else_through() -> None:
    """All but the signature is the same for many requests, and is read once; not what is new."""
    first, signature = presigned("GET", "/b-1/key")
    for _ in range(2):
        check(first)
    target = f"{first.raw_path}?{first.raw_query}"
    host = {"host": "s3.amazonaws.com"}
    refused(build.request("GET", f"{target}&versionId=null", host), "SignatureDoesNotMatch")
    refused(build.request("GET", target.replace("key", "kez"), host), "SignatureDoesNotMatch")
    refused(build.request("PUT", target, host), "SignatureDoesNotMatch")
    refused(build.request("GET", target, {"host": "other"}), "SignatureDoesNotMatch")
    wrong = signature.translate(str.maketrans("0123456789abcdef", "123456789abcdef0"))
    refused(build.request("GET", target.replace(signature, wrong), host), "SignatureDoesNotMatch")
    later = NOW_MS + 86_400_000 + 60_000
    refused(first, "AccessDenied", now_ms=later, says="expired")
    more, _ = presigned("GET", "/b-1/key", query={"versionId": "null"})
    check(more)
    check(first)


def test_headers_hoisted_into_the_query_are_signed_and_count() -> None:
    hoisted = {"x-amz-meta-Study": "1.2%203", "x-amz-storage-class": "GLACIER"}
    asked, _ = presigned("PUT", "/bucket/key", query=hoisted)
    check(asked)
    assert asked.headers.get("x-amz-meta-study") == "1.2 3"
    assert asked.headers.get("x-amz-storage-class") == "GLACIER"
    changed = f"{asked.raw_path}?{asked.raw_query}".replace("GLACIER", "STANDARD")
    refused(build.request("PUT", changed), "SignatureDoesNotMatch")


def test_a_presigned_put_does_not_become_a_copy() -> None:
    asked, _ = presigned("PUT", "/bucket/key")
    target = f"{asked.raw_path}?{asked.raw_query}&x-amz-copy-source=/other/key"
    refused(build.request("PUT", target), "SignatureDoesNotMatch")
