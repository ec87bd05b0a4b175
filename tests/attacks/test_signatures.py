"""Attacks on signatures: what they do not cover, when they hold, and for what."""

from __future__ import annotations

import pytest

from s3node.s3.routes import BUILT, OBJECT, SERVICE, TABLE, Route
from tests.attacks.draft import ACCESS_KEY, HOST, NOW_MS, SCOPE, STAMP, Draft, key_of, scope_of
from tests.attacks.store import BUCKET, FOREIGN, SMALL, Store
from tests.s3.build import EMPTY

SKEW_MS = 15 * 60 * 1000
WEEK_S = 7 * 24 * 3600
MALFORMED = "AuthorizationHeaderMalformed"
QUERY = "AuthorizationQueryParametersError"

GET = Draft("GET", f"/{BUCKET}/key")
PUT = Draft("PUT", f"/{BUCKET}/new", body=b"new")
SIGNATURES = {"header": Draft.sign, "query": Draft.presign}


@pytest.fixture(params=SIGNATURES)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(autouse=True)
def now(store: Store) -> None:
    store.clock.ms = NOW_MS


DECIDING = {
    "x-amz-meta-evil": "1",
    "x-amz-acl": "public-read",
    "x-amz-tagging": "a=b",
    "x-amz-copy-source": "/other/key",
    "x-amz-copy-source-range": "bytes=0-1",
    "x-amz-object-lock-mode": "COMPLIANCE",
    "x-amz-object-lock-retain-until-date": "2099-01-01T00:00:00Z",
    "x-amz-object-lock-legal-hold": "ON",
    "x-amz-bypass-governance-retention": "true",
    "x-amz-storage-class": "STANDARD",
    "x-amz-website-redirect-location": "/elsewhere",
    "x-amz-server-side-encryption": "AES256",
    "x-amz-grant-full-control": 'id="me"',
    "x-amz-metadata-directive": "REPLACE",
    "x-amz-tagging-directive": "REPLACE",
    "x-amz-checksum-crc32": "AAAAAA==",
    "x-amz-trailer": "x-amz-checksum-crc32",
    "x-amz-decoded-content-length": "3",
    "x-amz-mfa": "1 1",
    "x-amz-something-new": "1",
}


@pytest.mark.parametrize("name", DECIDING)
def test_n1_headers_that_are_not_signed(store: Store, kind: str, name: str) -> None:
    """A header that decides something and that no signature covers, on any write."""
    whole = SIGNATURES[kind](PUT)
    refused = store.refuses(whole.add(name, DECIDING[name]), 403, "AccessDenied")
    assert refused.text("HeadersNotSigned") == name
    signed = SIGNATURES[kind](PUT.add(name, DECIDING[name]))
    store.refuses(signed.put(name, "another"), 403, "SignatureDoesNotMatch")
    if kind == "header":
        store.refuses(signed.drop(name), 400, MALFORMED)


def test_n1_the_request_without_them_is_accepted(store: Store, kind: str) -> None:
    store.accepts(SIGNATURES[kind](PUT))
    kept = SIGNATURES[kind](PUT.add("x-amz-meta-good", "1"))
    store.accepts(kept)
    assert store.row(BUCKET, "new").metadata == (("good", "1"),)


def test_n1_conditions_that_are_not_signed(store: Store) -> None:
    """Of a write signed in headers: whoever adds one decides whether it happens."""
    for name, value in (("if-match", '"0"'), ("if-none-match", "*")):
        store.refuses(PUT.sign().add(name, value), 403, "AccessDenied")


def test_n2_a_host_that_is_not_signed(store: Store, kind: str) -> None:
    for draft in (GET.add("content-type", "a"), PUT.add("content-type", "a")):
        forged = SIGNATURES[kind](draft, leave_out=("host",))
        refused = store.refuses(forged, 403, "AccessDenied")
        assert refused.text("HeadersNotSigned") == "host"
        whole = SIGNATURES[kind](draft)
        store.refuses(whole.put("host", "s3.example.com"), 403, "SignatureDoesNotMatch")
        # The same path, but another bucket's.
        store.refuses(whole.put("host", f"other.{whole.get('host')}"), 403, "SignatureDoesNotMatch")


TWICE = ("x-amz-meta-a", "x-amz-date", "x-amz-content-sha256", "x-amz-copy-source", "if-match")


@pytest.mark.parametrize("name", TWICE)
def test_n3_a_header_that_occurs_twice(store: Store, name: str) -> None:
    """Who reads the first and who reads the last would see two requests."""
    draft = PUT if name != "x-amz-meta-a" else PUT.add(name, "1")
    whole = draft.sign()
    value = whole.get(name) if whole.has(name) else "1"
    for other in (value, value + "0", ""):
        for spelling in (name, name.upper(), name.title()):
            twice = whole if whole.has(name) else whole.add(name, value)
            store.refuses(twice.add(spelling, other), 400, "InvalidRequest")


@pytest.mark.parametrize("name", ["authorization", "host", "content-length"])
def test_n3_the_frame_said_twice(store: Store, name: str) -> None:
    whole = PUT.sign().add("content-length", "3")
    store.refuses(whole.add(name, whole.get(name)), 400, "BadRequest", "InvalidRequest")


@pytest.mark.parametrize(
    "name",
    ["x-amz-meta-a ", " x-amz-meta-a", "x-amz-meta-a\t", "x-amz-meta-\x0b", "x amz-meta-a", ""],
)
def test_n3_names_that_are_none(store: Store, name: str) -> None:
    wire = PUT.sign().add("x-evil", "1").wire().replace(b"x-evil:", name.encode() + b":")
    before = store.digest()
    (answer,) = store.wire(wire)
    assert (answer.status, answer.code) == (400, "BadRequest")
    assert store.digest() == before


def test_n3_folded_headers(store: Store) -> None:
    whole = PUT.add("x-amz-meta-a", "1").sign()
    for fold in (b"\r\n ", b"\r\n\t", b"\n ", b"\r "):
        wire = whole.wire().replace(b"x-amz-meta-a: 1", b"x-amz-meta-a:" + fold + b"1")
        before = store.digest()
        (answer,) = store.wire(wire)
        assert (answer.status, answer.code) == (400, "BadRequest"), fold
        assert store.digest() == before


def test_n3_white_space_is_what_the_signature_says(store: Store) -> None:
    """Spaces around a value do not count; within it they are signed as one, and kept as given."""
    whole = PUT.add("x-amz-meta-a", "b c").sign()
    for value in ("  b c", "b c \t", "b  c"):
        store.accepts(whole.put("x-amz-meta-a", value))
        assert store.row(BUCKET, "new").metadata == (("a", value.strip()),)
    for value in ("bc", "b c d", "B c"):
        store.refuses(whole.put("x-amz-meta-a", value), 403, "SignatureDoesNotMatch")
    underscores = whole.add("x_amz_meta_evil", "1").add("x-amzn-meta-evil", "1")
    store.accepts(underscores)
    assert store.row(BUCKET, "new").metadata == (("a", "b c"),)


STREAMING = (
    "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
    "STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
    "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER",
)
CHUNKED = b"3\r\nbad\r\n0\r\n\r\n"


@pytest.mark.parametrize("streaming", STREAMING)
def test_n4_the_frame_is_not_the_senders_to_change(store: Store, kind: str, streaming: str) -> None:
    """Chunks instead of what was signed would carry any bytes."""
    name = "x-amz-content-sha256"
    whole = SIGNATURES[kind](PUT)
    body = whole.carry(CHUNKED).add("content-encoding", "aws-chunked")
    if kind == "query":
        store.refuses(body.add(name, streaming), 403, "AccessDenied")
        body = body.ask("X-Amz-Content-Sha256", streaming)
        store.refuses(body, 403, "SignatureDoesNotMatch")
        return
    store.refuses(body.put(name, streaming), 403, "SignatureDoesNotMatch")
    left = PUT.sign(leave_out=(name,)).put(name, streaming).carry(CHUNKED)
    store.refuses(left, 403, "AccessDenied")
    both = body.ask("X-Amz-Content-Sha256", streaming)
    store.refuses(both, 400, "InvalidArgument")


@pytest.mark.parametrize("draft", [GET, PUT], ids=lambda draft: str(draft.method))
def test_n11_dates(store: Store, draft: Draft) -> None:
    whole = draft.sign()
    for skew in (SKEW_MS, -SKEW_MS):
        store.clock.ms = NOW_MS + skew
        store.accepts(whole)
        store.clock.ms = NOW_MS + skew + (1 if skew > 0 else -1)
        store.refuses(whole, 403, "RequestTimeTooSkewed")
        store.refuses(whole.put("x-amz-date", STAMP), 403, "RequestTimeTooSkewed")
    store.clock.ms = NOW_MS
    store.refuses(whole.put("x-amz-date", "20130524T000001Z"), 403, "SignatureDoesNotMatch")
    for stamp in ("20130524", "2013-05-24T00:00:00Z", "20130524T250000Z", "", "20130230T000000Z"):
        store.refuses(draft.sign(stamp=stamp), 403, "AccessDenied")


SCOPES = {
    "another day": scope_of(date="20130525"),
    "another region": scope_of(region="us-west-1"),
    "another service": scope_of(service="sts"),
    "another end": SCOPE.replace("aws4_request", "aws5_request"),
    "no day": scope_of(date="today"),
    "too short": "20130524/us-east-1/s3",
    "empty": "",
}


@pytest.mark.parametrize("name", SCOPES)
def test_n11_scopes(store: Store, kind: str, name: str) -> None:
    """A key of another day, region or service, however well it signs."""
    scope = SCOPES[name]
    date, _, rest = scope.partition("/")
    for draft in (GET, PUT):
        forged = SIGNATURES[kind](draft, scope=scope, key=key_of(date, rest.partition("/")[0]))
        store.refuses(forged, 400, MALFORMED if kind == "header" else QUERY)


EXPIRES = ("0", "-1", str(WEEK_S + 1), "abc", "1e3", "0x10", "9" * 30, "+5", "%31.5", None)


@pytest.mark.parametrize("expires", EXPIRES)
def test_n12_expires_that_are_none(store: Store, expires: str | None) -> None:
    for draft in (GET, PUT):
        store.refuses(draft.presign(expires=expires), 400, QUERY)
        extended = draft.presign().asked("X-Amz-Expires", expires or "86400")
        store.refuses(extended, *((400, QUERY) if expires else (403, "SignatureDoesNotMatch")))


@pytest.mark.parametrize("seconds", [1, 300, WEEK_S])
def test_n12_a_second_too_late(store: Store, seconds: int) -> None:
    for draft in (GET, PUT):
        whole = draft.presign(expires=str(seconds))
        store.clock.ms = NOW_MS + seconds * 1000
        store.accepts(whole)
        store.clock.ms += 1000
        refused = store.refuses(whole, 403, "AccessDenied")
        assert refused.text("Message") == "Request has expired"


def test_n12_before_its_time(store: Store) -> None:
    store.clock.ms = NOW_MS - SKEW_MS - 1
    refused = store.refuses(GET.presign(), 403, "AccessDenied")
    assert refused.text("Message") == "Request is not valid yet"


@pytest.mark.parametrize("method", ["HEAD", "PUT", "DELETE"])
def test_n13_a_url_for_a_get_is_for_nothing_else(store: Store, kind: str, method: str) -> None:
    whole = SIGNATURES[kind](GET)
    assert store.accepts(whole).body == SMALL
    code = "" if method == "HEAD" else "SignatureDoesNotMatch"
    refused = store.refuses(whole.to(method), 403, code)
    right = SIGNATURES[kind](GET.to(method)).signature
    assert right.encode() not in refused.body, "the answer tells how to sign it"


@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE", "POST"])
def test_n13_a_url_for_a_put_is_for_nothing_else(store: Store, kind: str, method: str) -> None:
    whole = SIGNATURES[kind](PUT).to(method)
    status, code = (403, "" if method == "HEAD" else "SignatureDoesNotMatch")
    if method == "POST":
        status, code = 405, "MethodNotAllowed"
    store.refuses(whole, status, code)


EARLY = {
    (403, "SignatureDoesNotMatch"),
    (501, "NotImplemented"),
    (405, "MethodNotAllowed"),
    (400, "InvalidArgument"),
}


def refused_early(store: Store, draft: Draft) -> bool:
    """By its signature, or because nobody may ask for that: and nothing is done."""
    before = store.digest()
    answer = store.ask(draft)
    return (answer.status, answer.code) in EARLY and store.digest() == before


EXTRA = {
    "versionId": "null",
    "response-content-type": "text%2Fhtml",
    "response-content-disposition": "inline",
    "response-expires": "0",
    "partNumber": "1",
    "prefix": "",
    "x-id": "GetObject",
    "anything": "",
    "X-Amz-Meta-A": "1",
    "x-amz-copy-source": "other%2Fkey",
}


@pytest.mark.parametrize("name", EXTRA)
def test_n13_more_parameters_than_were_signed(store: Store, kind: str, name: str) -> None:
    for draft in (GET, Draft("DELETE", f"/{BUCKET}/key")):
        whole = SIGNATURES[kind](draft)
        assert refused_early(store, whole.ask(name, EXTRA[name]))


@pytest.mark.parametrize(
    "name", ["tagging", "retention", "legal-hold", "acl", "uploads", "restore"]
)
def test_n13_a_subresource_that_was_not_signed(store: Store, kind: str, name: str) -> None:
    """Refused by the signature, or before anybody looks at it: never taken for the object."""
    for draft in (GET, PUT, Draft("DELETE", f"/{BUCKET}/key")):
        assert refused_early(store, SIGNATURES[kind](draft).ask(name))


def test_n13_parameters_taken_away_or_doubled(store: Store, kind: str) -> None:
    whole = SIGNATURES[kind](GET.ask("versionId", "null"))
    store.accepts(whole)
    store.refuses(whole.unasked("versionId"), 403, "SignatureDoesNotMatch")
    store.refuses(whole.asked("versionId", "null%20"), 403, "SignatureDoesNotMatch")
    store.refuses(whole.ask("versionId", "null"), 400, "InvalidArgument")
    if kind == "query":
        for name, value in whole.query[1:]:
            store.refuses(whole.ask(name, value), 400, "InvalidArgument")
        for name in ("X-Amz-Date", "X-Amz-SignedHeaders", "X-Amz-Credential", "X-Amz-Algorithm"):
            store.refuses(whole.unasked(name), 400, QUERY)


def test_n13_both_signatures_at_once(store: Store) -> None:
    for draft in (GET, PUT):
        both = draft.presign().sign()
        store.refuses(both, 400, "InvalidArgument")


CONDITIONS = {
    "if-none-match": "*",
    "if-match": '"00000000000000000000000000000000"',
    "if-modified-since": "Fri, 01 Jan 2100 00:00:00 GMT",
    "if-unmodified-since": "Sat, 01 Jan 2000 00:00:00 GMT",
    "range": "bytes=99999-",
}


@pytest.mark.parametrize("name", CONDITIONS)
@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE"])
def test_n22_conditions_tell_nothing_to_strangers(store: Store, method: str, name: str) -> None:
    """Who is not let in is told the same whatever there is: 403, before anything is looked at."""
    told = set()
    for path in (f"/{BUCKET}/key", f"/{BUCKET}/none", "/nowhere/key"):
        draft = Draft(method, path).add(name, CONDITIONS[name]).add("host", "s3.example.org")
        answer = store.refuses(draft, 403, "" if method == "HEAD" else "AccessDenied")
        told.add((answer.status, answer.code, answer.text("Message") if answer.body else ""))
    assert len(told) == 1
    stranger = Draft(method, f"/{BUCKET}/key").add(name, CONDITIONS[name])
    code = "" if method == "HEAD" else "InvalidAccessKeyId"
    store.refuses(stranger.sign(access_key="AKIASTRANGER00000000"), 403, code)
    code = "" if method == "HEAD" else "SignatureDoesNotMatch"
    store.refuses(stranger.sign(key=key_of(secret="wrong")), 403, code)


def every_route() -> list[Route]:
    return sorted(row for row, name in TABLE.items() if name in BUILT - {"PostObject"})


@pytest.mark.parametrize("row", every_route(), ids=" ".join)
def test_n22_strangers_learn_nothing_of_what_there_is(store: Store, row: Route) -> None:
    """Of any operation the answer is the same, be there such a bucket, key, upload or not."""
    query: tuple[tuple[str, str], ...] = ((row.subresource, ""),) if row.subresource else ()
    if row.subresource == "uploadId":
        query = (("partNumber", "1"),) if row.method == "PUT" else ()
        query += (("uploadId", store.upload),)
    told = set()
    for bucket, key in ((BUCKET, "key"), (BUCKET, "none"), ("nowhere", "key"), (FOREIGN, "key")):
        path = {SERVICE: "/", OBJECT: f"/{bucket}/{key}"}.get(row.level, f"/{bucket}")
        for name, value in CONDITIONS.items():
            draft = Draft(row.method, path, query).add("host", HOST).add(name, value)
            answer = store.refuses(draft, 403, "" if row.method == "HEAD" else "AccessDenied")
            told.add(answer.text("Message") if answer.body else "")
    assert len(told) == 1


def test_n22_the_request_is_conditional_for_who_is_let_in(store: Store) -> None:
    store.accepts(GET.add("if-none-match", "*").sign(), 304)
    store.accepts(GET.add("if-match", CONDITIONS["if-match"]).sign(), 412)


FORGERIES = {
    "no signature": "AWS4-HMAC-SHA256 Credential=a/b, SignedHeaders=host",
    "another kind": "AWS4-HMAC-SHA1 Credential=a/b, SignedHeaders=host, Signature=0",
    "basic": "Basic dTpw",
    "bearer": "Bearer token",
    "signature 2": f"AWS {ACCESS_KEY}:frJIUN8DYpKDtOLCwo//yllqDzg=",
    "empty": "",
    "signed twice": "AWS4-HMAC-SHA256 Signature=a, Signature=b, Credential=c",
}


@pytest.mark.parametrize("name", FORGERIES)
def test_forged_authorizations(store: Store, name: str) -> None:
    for draft in (GET, PUT):
        whole = draft.sign(EMPTY if not draft.body else "").put("authorization", FORGERIES[name])
        store.refuses(whole, 400, MALFORMED, "InvalidArgument", "InvalidRequest")
