"""Attacks by forms and from other origins: policies that are bent, parts that are hidden, lines
in what is shown to browsers."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import pytest

from s3node.base.limits import FORM_BYTES_MAX, OBJECT_KEY_BYTES_MAX
from tests.attacks.draft import ACCESS_KEY, HOST, NOW_MS, SCOPE, STAMP, Draft, key_of, scope_of
from tests.attacks.store import BUCKET, FOREIGN, OTHER, Store, encoded
from tests.s3.build import sign
from tests.s3.forms import BOUNDARY, body, content_type, part

FILE = b"the file"
Condition = Mapping[str, object] | Sequence[object]


@dataclass(frozen=True)
class Form:
    """A form as a page would make it, and what its policy says."""

    fields: Mapping[str, str] = field(default_factory=lambda: {"key": "uploads/new"})
    conditions: Sequence[Condition] = (
        {"bucket": BUCKET},
        ["starts-with", "$key", "uploads/"],
        ["content-length-range", 1, 20_000],
    )
    expiration: str = "2013-05-24T01:00:00.000Z"
    file: bytes = FILE
    filename: str = "new"
    key: bytes = field(default_factory=key_of)
    credential: str = f"{ACCESS_KEY}/{SCOPE}"

    def signed(self) -> dict[str, str]:
        """All fields but the file, as they were signed."""
        own = {
            "x-amz-algorithm": "AWS4-HMAC-SHA256",
            "x-amz-credential": self.credential,
            "x-amz-date": STAMP,
        }
        conditions = [*self.conditions, *({name: value} for name, value in own.items())]
        policy = json.dumps({"expiration": self.expiration, "conditions": conditions})
        text = base64.b64encode(policy.encode()).decode()
        return {**self.fields, **own, "policy": text, "x-amz-signature": sign(text, self.key)}

    def draft(self, fields: Mapping[str, str] | None = None, bucket: str = BUCKET) -> Draft:
        return posted(self.body(self.signed() if fields is None else fields), bucket)

    def body(self, fields: Mapping[str, str]) -> bytes:
        return body([part(n, v.encode()) for n, v in fields.items()] + [self.last()])

    def last(self) -> bytes:
        return part("file", self.file, self.filename)

    def with_(self, name: str, value: str, *conditions: Condition) -> Form:
        """One more field, and what the policy says of it."""
        return replace(
            self,
            fields={**self.fields, name: value},
            conditions=(*self.conditions, *conditions),
        )


def posted(content: bytes, bucket: str = BUCKET) -> Draft:
    draft = Draft("POST", f"/{bucket}", body=content).add("host", HOST)
    return draft.add("content-type", content_type())


@pytest.fixture(autouse=True)
def now(store: Store) -> None:
    store.clock.ms = NOW_MS


def test_n19_the_form_as_it_was_signed_is_stored(store: Store) -> None:
    for content in (FILE, bytes(20_000)):
        store.accepts(replace(Form(), file=content).draft(), 204)
        assert store.row(BUCKET, "uploads/new").etag == hashlib.md5(content).hexdigest()


ADDED = {
    "x-amz-meta-evil": "1",
    "acl": "public-read",
    "x-amz-acl": "public-read",
    "content-type": "text/html",
    "content-disposition": "inline",
    "cache-control": "no-store",
    "success_action_redirect": "https://evil.example/",
    "redirect": "https://evil.example/",
    "success_action_status": "201",
    "tagging": "<Tagging><TagSet/></Tagging>",
    "x-amz-storage-class": "GLACIER",
    "x-amz-website-redirect-location": "/evil",
    "x-amz-object-lock-mode": "COMPLIANCE",
    "x-amz-checksum-crc32": "AAAAAA==",
    "x-amz-server-side-encryption": "AES256",
    "anything": "",
}


@pytest.mark.parametrize("name", ADDED)
def test_n19_fields_that_no_condition_speaks_of(store: Store, name: str) -> None:
    for spelling in (name, name.upper()):
        forged = {spelling: ADDED[name], **Form().signed()}
        refused = store.refuses(Form().draft(forged), 403, "AccessDenied")
        assert "Extra input fields" in refused.text("Message")


def test_n19_another_bucket(store: Store) -> None:
    """A policy is for its bucket: neither the path nor a field makes it another one's."""
    form = Form()
    store.refuses(form.draft(bucket=OTHER), 403, "AccessDenied")
    store.refuses(form.draft(bucket=FOREIGN), 403, "AccessDenied")
    for bucket in (OTHER, BUCKET):
        forged = {"bucket": OTHER, **form.signed()}
        store.refuses(form.draft(forged, bucket), 403, "AccessDenied")
    without = replace(form, conditions=form.conditions[1:])
    store.refuses(without.draft(), 403, "AccessDenied")
    foreign = replace(form, conditions=({"bucket": FOREIGN}, *form.conditions[1:]))
    store.refuses(foreign.draft(bucket=FOREIGN), 403, "AccessDenied")


@pytest.mark.parametrize(("least", "most"), [(5, 10), (5000, 9000), (4096, 4097)])
def test_n19_sizes(store: Store, least: int, most: int) -> None:
    """Exactly as signed, whether the object lies in its row or in stripes."""
    form = Form()
    form = replace(form, conditions=(*form.conditions, ["content-length-range", least, most]))
    for size in (least, most):
        store.accepts(replace(form, file=bytes(size)).draft(), 204)
        assert store.row(BUCKET, "uploads/new").size == size
    store.refuses(replace(form, file=bytes(least - 1)).draft(), 400, "EntityTooSmall")
    for size in (most + 1, most + 10_000, most + 1_000_000):
        for cut in (0, 50_000):
            too_large = replace(form, file=bytes(size)).draft()
            store.refuses(too_large, 400, "EntityTooLarge", cut=cut)


def test_n19_a_length_that_lies_about_the_file(store: Store) -> None:
    """What the head says of the body's length is not what the file's size is judged by."""
    form = replace(Form(), file=bytes(20_001))
    draft = form.draft()
    store.refuses(draft, 400, "EntityTooLarge")
    short = draft.add("content-length", str(len(draft.body) - 5))
    store.refuses(short, 400, "MalformedPOSTRequest", "EntityTooLarge", "IncompleteBody")


KEYS = ("other/new", "upload", "", "UPLOADS/new", "/uploads/new", "./uploads/new", "xuploads/new")


@pytest.mark.parametrize("key", KEYS)
def test_n19_keys_that_do_not_start_as_signed(store: Store, key: str) -> None:
    form = replace(Form(), fields={"key": key})
    code = "InvalidArgument" if not key else "AccessDenied"
    store.refuses(form.draft(), 400 if not key else 403, code)


FILENAMES = ("../../other/x", "..\\..\\x", "a/b/c", "C:\\x", "${filename}", "%2e%2e%2fx", "..")


@pytest.mark.parametrize("filename", FILENAMES)
def test_n19_the_files_name_does_not_change_the_folder(store: Store, filename: str) -> None:
    before = store.keys(OTHER)
    form = replace(Form(), fields={"key": "uploads/${filename}"}, filename=filename)
    store.accepts(form.draft(), 204)
    (made,) = [
        key
        for key in store.keys(BUCKET)
        if key not in (b"uploads/new",) and key.startswith(b"uploads/")
    ]
    assert made.count(b"/") == 1
    assert store.keys(OTHER) == before
    store.accepts(
        Draft("DELETE", f"/{BUCKET}/uploads/{made[8:].decode().replace('%', '%25')}").sign()
    )
    bent = replace(Form(), fields={"key": "${filename}"}, filename="uploads/x")
    store.refuses(bent.draft(), 403, "AccessDenied")


def test_n19_a_policy_that_is_over(store: Store) -> None:
    form = Form()
    store.clock.ms = NOW_MS + 3_600_000
    store.accepts(form.draft(), 204)
    store.clock.ms += 1
    refused = store.refuses(form.draft(), 403, "AccessDenied")
    assert refused.text("Message") == "Invalid according to Policy: Policy expired."


def test_n19_policies_that_nobody_signed(store: Store) -> None:
    form = Form()
    right = form.signed()
    later = replace(form, expiration="2099-01-01T00:00:00.000Z").signed()
    forged = {**right, "policy": later["policy"]}
    store.refuses(form.draft(forged), 403, "SignatureDoesNotMatch")
    guessed = replace(form, key=key_of(secret="guessed"))
    store.refuses(guessed.draft(), 403, "SignatureDoesNotMatch")
    stranger = replace(form, credential=f"AKIASTRANGER00000000/{SCOPE}")
    store.refuses(stranger.draft(), 403, "InvalidAccessKeyId")
    for signature in ("", "0" * 64, right["x-amz-signature"].upper(), "x" * 5000):
        forged = {**right, "x-amz-signature": signature}
        store.refuses(form.draft(forged), 403, "SignatureDoesNotMatch")
    bare = {"key": "uploads/new"}
    store.refuses(form.draft(bare), 403, "AccessDenied")
    old = {**bare, "AWSAccessKeyId": ACCESS_KEY, "policy": right["policy"], "signature": "x"}
    store.refuses(form.draft(old), 400, "InvalidRequest")
    for name in ("policy", "x-amz-signature", "x-amz-date", "x-amz-credential", "x-amz-algorithm"):
        forged = {n: v for n, v in right.items() if n != name}
        store.refuses(form.draft(forged), 400, "InvalidArgument")


@pytest.mark.parametrize(
    "scope",
    [scope_of(date="20130525"), scope_of(region="eu-west-1"), scope_of(service="sts"), "x/y", ""],
)
def test_n19_signatures_of_another_scope(store: Store, scope: str) -> None:
    date, _, rest = scope.partition("/")
    form = replace(
        Form(), credential=f"{ACCESS_KEY}/{scope}", key=key_of(date, rest.partition("/")[0])
    )
    store.refuses(form.draft(), 400, "InvalidArgument")


POLICIES = {
    "empty": "",
    "no base64": "!!!!",
    "no JSON": "e30x",
    "no object": base64.b64encode(b"[]").decode(),
    "nothing in it": base64.b64encode(b"{}").decode(),
    "an unknown condition": base64.b64encode(
        b'{"expiration":"2099-01-01T00:00:00Z","conditions":[["ends-with","$key","x"]]}'
    ).decode(),
    "no conditions": base64.b64encode(b'{"expiration":"2099-01-01T00:00:00Z"}').decode(),
    "no end": base64.b64encode(b'{"conditions":[]}').decode(),
    "an end twice": base64.b64encode(
        b'{"expiration":"2000-01-01T00:00:00Z","expiration":"2099-01-01T00:00:00Z","conditions":[]}'
    ).decode(),
    "a misspelt name": base64.b64encode(
        b'{"expiration":"2099-01-01T00:00:00Z","conditons":[],"conditions":[]}'
    ).decode(),
    "deep": base64.b64encode(b"[" * 5000).decode(),
}


@pytest.mark.parametrize("name", POLICIES)
def test_n19_policies_that_are_none(store: Store, name: str) -> None:
    """Signed well, and still no policy: a typo never means that there is no condition."""
    form = Form()
    text = POLICIES[name]
    fields = {**form.signed(), "policy": text, "x-amz-signature": sign(text)}
    store.refuses(form.draft(fields), 400, "InvalidPolicyDocument", "InvalidArgument")


def test_n19_what_stands_beside_or_behind(store: Store) -> None:
    """Headers beside the form and fields behind the file were signed by nobody."""
    form = Form()
    for name, value in (
        ("x-amz-meta-evil", "1"),
        ("x-amz-acl", "public-read"),
        ("x-amz-copy-source", f"{OTHER}/key"),
        ("if-none-match", "*"),
        ("content-encoding", "aws-chunked"),
    ):
        store.refuses(form.draft().add(name, value), 403, "AccessDenied")
    both = form.draft().add("authorization", Draft("POST", "/").sign().get("authorization"))
    store.refuses(both, 400, "InvalidArgument")
    store.refuses(form.draft().presign(), 400, "InvalidArgument")
    fields = [part(n, v.encode()) for n, v in form.signed().items()]
    behind = [*fields, form.last(), part("x-amz-meta-evil", b"1"), part("key", b"uploads/evil")]
    store.accepts(posted(body(behind)), 204)
    row = store.row(BUCKET, "uploads/new")
    assert row.metadata == ()
    assert b"uploads/evil" not in store.keys(BUCKET)
    for name in ("key", "policy", "x-amz-signature"):
        moved = [one for one in fields if f'name="{name}"'.encode() not in one]
        late = [*moved, form.last(), part(name, form.signed()[name].encode())]
        store.refuses(posted(body(late)), 400, "InvalidArgument")


def test_n19_fields_and_files_twice(store: Store) -> None:
    form = Form()
    fields = [part(n, v.encode()) for n, v in form.signed().items()]
    for name, value in (("key", "uploads/evil"), ("KEY", "uploads/evil"), ("Policy", "e30=")):
        twice = [part(name, value.encode()), *fields, form.last()]
        store.refuses(posted(body(twice)), 400, "InvalidArgument")
    store.refuses(posted(body([*fields, form.last(), form.last()])), 400, "InvalidArgument")
    store.refuses(posted(body(fields)), 400, "InvalidArgument")


def broken() -> dict[str, bytes]:
    """Bodies that are no form, or one only in part."""
    whole = Form().body(Form().signed())
    end = f"--{BOUNDARY}--\r\n".encode()
    mark = f"--{BOUNDARY}".encode()
    return {
        "empty": b"",
        "no end": whole.removesuffix(end),
        "half an end": whole[:-4],
        "half a file": whole[: whole.index(FILE) + 3],
        "only an end": end,
        "another boundary": whole.replace(mark, b"--other"),
        "bare LF": whole.replace(b"\r\n", b"\n"),
        "no headers": whole.replace(b"Content-Disposition", b"X", 1),
        "no name": whole.replace(b'name="key"', b"", 1),
        "two names": whole.replace(b'name="key"', b'name="key"; name="x"', 1),
        "attachment": whole.replace(b"form-data", b"attachment", 1),
        "folded": whole.replace(b"form-data; ", b"form-data;\r\n ", 1),
        "NUL": whole.replace(b'"key"', b'"key\0"', 1),
        "not UTF-8": whole.replace(b"uploads/new", b"uploads/\xff", 1),
        "boundary in the file": whole.replace(FILE, b"a\r\n" + mark + b"b"),
    }


@pytest.mark.parametrize("name", broken())
def test_n19_bodies_that_are_no_form(store: Store, name: str) -> None:
    store.refuses(posted(broken()[name]), 400, "MalformedPOSTRequest", "InvalidArgument")


def test_n19_forms_that_are_too_long(store: Store) -> None:
    form = Form().with_("x-amz-meta-a", "a" * FORM_BYTES_MAX, ["starts-with", "$x-amz-meta-a", ""])
    store.refuses(form.draft(), 400, "MaxPostPreDataLengthExceeded")
    for junk in (b"\r\n" * FORM_BYTES_MAX, b"x" * 3 * FORM_BYTES_MAX):
        draft = Form().draft()
        store.refuses(draft.carry(junk + draft.body), 400, "MaxPostPreDataLengthExceeded")


def test_n10_a_file_that_is_not_what_a_field_says(store: Store) -> None:
    other = base64.b64encode(hashlib.md5(b"other").digest()).decode()
    wrong = {
        "content-md5": other,
        "x-amz-checksum-crc32": "AAAAAA==",
        "x-amz-checksum-sha256": base64.b64encode(bytes(32)).decode(),
    }
    for name, value in wrong.items():
        for content in (FILE, bytes(20_000)):
            form = replace(Form(), file=content).with_(name, value, {name: value})
            store.refuses(form.draft(), 400, "BadDigest")


def test_n5_a_form_is_signed_by_its_policy_alone(store: Store) -> None:
    """Whatever the head says of the payload, or of a signature."""
    draft = Form().draft(replace(Form(), key=key_of(secret="guessed")).signed())
    for payload in ("STREAMING-UNSIGNED-PAYLOAD-TRAILER", "UNSIGNED-PAYLOAD"):
        store.refuses(draft.add("x-amz-content-sha256", payload), 403, "AccessDenied")
        store.refuses(draft.drop("host").sign(payload), 400, "InvalidArgument")
    store.refuses(draft, 403, "SignatureDoesNotMatch")


CLIMBS = ("uploads/../../other/key", "uploads/..", "uploads//etc/passwd", "uploads/%2e%2e/x")


@pytest.mark.parametrize("key", CLIMBS)
def test_n15_keys_of_forms_do_not_climb(store: Store, key: str) -> None:
    before = store.keys(OTHER)
    store.accepts(replace(Form(), fields={"key": key}).draft(), 204)
    assert key.encode() in store.keys(BUCKET)
    assert store.keys(OTHER) == before
    store.accepts(Draft("DELETE", f"/{BUCKET}/{key.replace('%', '%25')}").sign())


def test_n16_keys_of_forms_that_are_none(store: Store) -> None:
    for key, code in (
        ("uploads/\0", "InvalidURI"),
        ("uploads/" + "k" * OBJECT_KEY_BYTES_MAX, "KeyTooLongError"),
    ):
        store.refuses(replace(Form(), fields={"key": key}).draft(), 400, code)


LINES = ("a\r\nX-Evil: 1", "a\nX-Evil: 1", "a\rX-Evil: 1", "a\x00", "a\x0b")


@pytest.mark.parametrize("line", LINES, ids=repr)
@pytest.mark.parametrize("name", ["x-amz-meta-a", "content-type", "content-disposition", "expires"])
def test_n17_no_line_in_a_field_that_is_kept(store: Store, name: str, line: str) -> None:
    form = Form().with_(name, line, ["starts-with", f"${name}", ""])
    store.refuses(form.draft(), 400, "InvalidArgument", "MalformedPOSTRequest")


@pytest.mark.parametrize("line", LINES, ids=repr)
def test_n17_no_line_where_a_form_sends_the_browser(store: Store, line: str) -> None:
    for name in ("success_action_redirect", "redirect", "success_action_status"):
        for value in ("https://a.example/" + line, line):
            form = Form().with_(name, value, ["starts-with", f"${name}", ""])
            answer = store.ask(form.draft())
            assert answer.status in (204, 400)
            assert "x-evil" not in answer.headers
            assert "evil" not in answer.headers.get("location", "").lower()
    key = "uploads/" + line.replace("\0", "")
    form = replace(Form(), fields={"key": key}).with_(
        "success_action_redirect",
        "https://a.example/?a=b",
        ["starts-with", "$success_action_redirect", ""],
    )
    answer = store.accepts(form.draft(), 303)
    assert "x-evil" not in answer.headers
    assert answer.headers["location"].startswith("https://a.example/?a=b&bucket=bucket&key=uploads")
    store.accepts(Draft("DELETE", f"/{BUCKET}/{encoded(key)}").sign())


@pytest.mark.parametrize("url", ["javascript:alert(1)", "//evil.example", "data:,x", "http:", "x"])
def test_n17_a_form_sends_nobody_to_what_is_no_page(store: Store, url: str) -> None:
    form = Form().with_("success_action_redirect", url, {"success_action_redirect": url})
    answer = store.accepts(form.draft(), 204)
    assert answer.headers["location"] == f"http://{HOST}/{BUCKET}/uploads%2Fnew"


def cors(**lists: str) -> Draft:
    told = {"AllowedOrigin": "https://a.example", "AllowedMethod": "GET", **lists}
    rule = "".join(f"<{name}>{value}</{name}>" for name, value in told.items())
    content = f"<CORSConfiguration><CORSRule>{rule}</CORSRule></CORSConfiguration>".encode()
    draft = Draft("PUT", f"/{OTHER}", (("cors", ""),), body=content)
    return draft.add("content-md5", base64.b64encode(hashlib.md5(content).digest()).decode())


@pytest.mark.parametrize(
    "line", ["a&#13;&#10;X-Evil: 1", "a&#10;X-Evil: 1", "a b", "a: b", "a,&#13;b"]
)
@pytest.mark.parametrize(
    "name", ["ExposeHeader", "AllowedHeader", "AllowedOrigin", "ID", "AllowedMethod"]
)
def test_n17_no_line_from_a_rule_of_origins(store: Store, name: str, line: str) -> None:
    """What goes into headers of answers is refused when it is configured; the rest goes nowhere."""
    draft = cors(**{name: line}).sign()
    if name in ("ExposeHeader", "AllowedMethod"):
        store.refuses(draft, 400, "InvalidRequest")
        return
    answer = store.ask(draft)
    assert answer.status in (200, 400)
    asked = Draft("GET", f"/{OTHER}/key").add("origin", "https://a.example")
    preflight = replace(asked, method="OPTIONS").add("access-control-request-method", "GET")
    preflight = preflight.add("access-control-request-headers", "a, x-b").add("host", HOST)
    for answer in (store.ask(asked.sign()), store.ask(preflight)):
        assert "x-evil" not in answer.headers
    store.accepts(Draft("DELETE", f"/{OTHER}", (("cors", ""),)).sign())
