"""Attacks on names: paths that mean two things, keys that break out of where they are shown."""

from __future__ import annotations

import base64
import hashlib
import random
import unicodedata
from pathlib import Path
from urllib.parse import quote

import pytest

from s3node.base.limits import OBJECT_KEY_BYTES_MAX
from s3node.meta import tables
from tests.attacks.draft import HOST, Draft
from tests.attacks.store import BUCKET, FOREIGN, OTHER, SMALL, Store, encoded

ALPHABETS = (
    "abc/.",
    "%2fF5cC+ ",
    "/../.\\;?#&=",
    "é\u0301e\u212b\u00c5\U0001f600\u200f",
    "\t\n\r\x01\x7f\u2028\ufeff",
)


def some_key(rng: random.Random) -> str:
    letters = rng.choice(ALPHABETS)
    return "".join(rng.choice(letters) for _ in range(rng.randint(1, 20)))


def spelled(rng: random.Random, key: str) -> str:
    """The key in a path, with any of its bytes escaped and in any case of hex digits."""
    out = []
    for byte in key.encode():
        plain = chr(byte)
        needs = (
            plain not in "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-~+=&;!"
        )
        if needs or rng.random() < 0.3:
            form = f"%{byte:02x}"
            out.append(form.upper() if rng.random() < 0.5 else form)
        else:
            out.append(plain)
    return "".join(out)


def paths(bucket: str, key: str) -> list[tuple[str, str]]:
    """(host, path) in both styles."""
    return [(HOST, f"/{bucket}/{key}"), (f"{bucket}.{HOST}", f"/{key}")]


def test_n14_what_is_signed_is_what_is_stored(store: Store) -> None:
    """However a path is spelled, the key in the row is the one that was signed."""
    rng = random.Random(14)
    for number in range(80):
        key = some_key(rng)
        host, path = rng.choice(paths(BUCKET, spelled(rng, key)))
        body = str(number).encode()
        draft = Draft("PUT", path, body=body).add("host", host)
        store.accepts(rng.choice((Draft.sign, Draft.presign))(draft))
        assert key.encode() in store.keys(BUCKET)
        host, path = rng.choice(paths(BUCKET, spelled(rng, key)))
        again = Draft("GET", path).add("host", host)
        assert store.accepts(again.sign()).body == body
        deleted = Draft("DELETE", path).add("host", host)
        store.accepts(deleted.sign())
        assert key.encode() not in store.keys(BUCKET)


VARIANTS = {
    "slash escaped twice": ("dir%2Fkey", "dir%252Fkey"),
    "dots escaped twice": ("a/../b", "a/%252e%252e/b"),
    "dots resolved": ("a/../b", "b"),
    "one dot resolved": ("a/./b", "a/b"),
    "slashes merged": ("a//b", "a/b"),
    "slash at the end": ("dir/", "dir"),
    "slash in front": ("/key", "key"),
    "plus as space": ("a+b", "a%20b"),
    "plus escaped": ("a%2Bb", "a%20b"),
    "back slash": ("a%5Cb", "a/b"),
    "case": ("KEY", "key"),
    "NFC and NFD": (quote("\u00e9"), quote(unicodedata.normalize("NFD", "\u00e9"))),
    "compatibility": (quote("\u212b"), quote("\u00c5")),
    "cut at a semicolon": ("key;v=1", "key"),
    "white space at the end": ("key%20", "key"),
    "byte order mark": ("%EF%BB%BFkey", "key"),
    "full width": (quote("\uff0e\uff0e/key"), "../key"),
}


@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_n14_what_looks_the_same_is_not(store: Store, method: str, name: str) -> None:
    """A signature for one path is none for another that some normalisation makes of it."""
    one, other = VARIANTS[name]
    for first, second in ((one, other), (other, one)):
        body = b"x" if method == "PUT" else b""
        whole = Draft(method, f"/{BUCKET}/{first}", body=body).sign()
        store.refuses(whole.to(path=f"/{BUCKET}/{second}"), 403, "SignatureDoesNotMatch")


@pytest.mark.parametrize(
    "path", ["/bucket%2Fkey", "/%2Fbucket/key", "//bucket/key", "/./bucket/key"]
)
def test_n14_the_bucket_is_not_hidden_in_an_escape(store: Store, path: str) -> None:
    """The same canonical path, or one like it, with the border at another place."""
    for method in ("GET", "PUT", "DELETE"):
        store.refuses(Draft(method, path).sign(), 400, "InvalidBucketName")


def test_n14_the_absolute_form_names_the_same_host(store: Store) -> None:
    whole = Draft("GET", f"/{BUCKET}/key").sign()
    store.accepts(whole.to(path=f"http://{HOST}/{BUCKET}/key"))
    for host in (f"{OTHER}.{HOST}", f"{HOST}:9000", f"user@{HOST}", ""):
        path = f"http://{host}/{BUCKET}/key"
        store.refuses(whole.to(path=path), 400, "InvalidRequest", "BadRequest")


CLIMBS = (
    "../other/key",
    "..",
    ".",
    "../../../../../../etc/passwd",
    "dir/../../other/key",
    "/etc/passwd",
    "..\\..\\other\\key",
    "%2e%2e/other/key",
    "disk0/segments/x",
)


def files(folder: Path) -> set[Path]:
    """What is there but for the disks' own."""
    return {*folder.parent.glob("*"), *folder.glob("*")}


@pytest.mark.parametrize("key", CLIMBS)
def test_n15_keys_do_not_climb(store: Store, key: str) -> None:
    """Dots and slashes are letters of a key: in paths, documents and sources of copies."""
    before, around = store.keys(OTHER), files(store.folder)
    path = f"/{BUCKET}/{encoded(key)}"
    store.accepts(Draft("PUT", path, body=b"climbed").sign())
    assert key.encode() in store.keys(BUCKET)
    assert store.keys(OTHER) == before
    assert files(store.folder) == around
    assert store.accepts(Draft("GET", path).sign()).body == b"climbed"
    source = Draft("PUT", f"/{BUCKET}/copied").add("x-amz-copy-source", f"{BUCKET}/{encoded(key)}")
    store.accepts(source.sign())
    assert store.accepts(Draft("GET", f"/{BUCKET}/copied").sign()).body == b"climbed"
    body = f"<Delete><Object><Key>{key}</Key></Object></Delete>".encode()
    deletes = Draft("POST", f"/{BUCKET}", (("delete", ""),), body=body)
    deletes = deletes.add("content-md5", base64.b64encode(hashlib.md5(body).digest()).decode())
    assert store.accepts(deletes.sign()).text("Deleted/Key") == key
    assert key.encode() not in store.keys(BUCKET)
    assert store.keys(OTHER) == before
    store.accepts(Draft("DELETE", f"/{BUCKET}/copied").sign())


@pytest.mark.parametrize(
    "source",
    ["../other/key", "bucket/../foreign/key", "foreign%2Fkey", "%2e%2e/other/key", "./bucket/key"],
)
def test_n15_sources_do_not_climb(store: Store, source: str) -> None:
    draft = Draft("PUT", f"/{BUCKET}/new").add("x-amz-copy-source", source)
    answer = store.refuses(
        draft.sign(),
        *(
            (404, "NoSuchKey")
            if source.startswith("bucket/")
            else (400, "InvalidArgument", "InvalidBucketName")
        ),
    )
    assert b"secret" not in answer.body
    assert FOREIGN not in answer.text("BucketName") if answer.body else True


BROKEN = {
    "NUL": "%00",
    "NUL within": "a%00b",
    "continuation alone": "%80",
    "overlong slash": "%C0%AF",
    "overlong dots": "%C0%AE%C0%AE/key",
    "surrogate": "%ED%A0%80",
    "cut off": "%E2%82",
    "too high": "%F5%80%80%80",
    "latin-1": "%E9",
    "half an escape": "a%2",
    "no escape": "a%zz",
    "an escape of nothing": "a%",
    "wide escape": "%u002e",
}


@pytest.mark.parametrize("name", BROKEN)
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "HEAD"])
def test_n16_keys_that_are_none(store: Store, method: str, name: str) -> None:
    code = "" if method == "HEAD" else "InvalidURI"
    whole = Draft(method, f"/{BUCKET}/key").sign()
    store.refuses(whole.to(path=f"/{BUCKET}/{BROKEN[name]}"), 400, code)
    store.refuses(whole.ask("versionId", BROKEN[name]), 400, code)


def test_n16_the_longest_key_and_one_byte_more(store: Store) -> None:
    for letter in ("k", "\u00e9", "/"):
        longest = letter * (OBJECT_KEY_BYTES_MAX // len(letter.encode()))
        path = f"/{BUCKET}/{encoded(longest)}"
        store.accepts(Draft("PUT", path, body=b"x").sign())
        assert longest.encode() in store.keys(BUCKET)
        for method in ("PUT", "GET", "DELETE"):
            store.refuses(Draft(method, path + "k").sign(), 400, "KeyTooLongError")
        store.accepts(Draft("DELETE", path).sign())
    source = f"{BUCKET}/{'k' * (OBJECT_KEY_BYTES_MAX + 1)}"
    draft = Draft("PUT", f"/{BUCKET}/new").add("x-amz-copy-source", source)
    store.refuses(draft.sign(), 400, "KeyTooLongError")


LINES = "a\r\nX-Evil: 1\r\n\r\n<html>\n\x0b\x7f\x01"


def test_n16_a_key_of_several_lines_is_a_key_and_no_header(store: Store) -> None:
    """S3 keys may hold them; no answer is cut or forged by it."""
    path = f"/{BUCKET}/{encoded(LINES)}"
    store.accepts(Draft("PUT", path, body=SMALL).sign())
    for draft in (
        Draft("GET", path),
        Draft("GET", path + "/none"),
        Draft("GET", f"/{BUCKET}", (("list-type", "2"), ("prefix", encoded(LINES)))),
        Draft("GET", f"/{BUCKET}", (("prefix", encoded(LINES)), ("encoding-type", "url"))),
        Draft("POST", path, (("uploads", ""),)),
        Draft("DELETE", path),
    ):
        answer = store.ask(draft.sign())
        assert "x-evil" not in answer.headers
        assert b"<html>" not in answer.body
        assert answer.status in (200, 204, 404)
        if draft.method == "POST":  # the document is none to a strict parser, as with S3
            upload = answer.body.partition(b"<UploadId>")[2][:32].decode()
            store.accepts(Draft("DELETE", path, (("uploadId", upload),)).sign())


SPLITS = ("a%0d%0aX-Evil:%201", "a%0aX-Evil:%201", "a%0dX-Evil:%201", "a%00", "%7f", "a%0b")
OVERRIDES = (
    "response-content-disposition",
    "response-content-type",
    "response-content-language",
    "response-expires",
    "response-cache-control",
    "response-content-encoding",
)


@pytest.mark.parametrize("name", OVERRIDES)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_n17_no_line_in_an_overridden_header(store: Store, method: str, name: str) -> None:
    for value in SPLITS:
        draft = Draft(method, f"/{BUCKET}/key", ((name, value),))
        code = "" if method == "HEAD" else ("InvalidURI" if "%00" in value else "InvalidArgument")
        answer = store.refuses(draft.presign(), 400, code)
        assert "x-evil" not in answer.headers
    fine = Draft("GET", f"/{BUCKET}/key", ((name, "attachment%3B%20filename%3D%22%C3%A9%22"),))
    header = name.removeprefix("response-")
    value = store.accepts(fine.presign()).headers[header]
    assert value.encode("latin-1").decode() == 'attachment; filename="é"'


KEPT = ("x-amz-meta-a", "content-type", "content-disposition", "cache-control", "expires")


@pytest.mark.parametrize("name", KEPT)
@pytest.mark.parametrize(
    "line", [b"\r\nX-Evil: 1", b"\nX-Evil: 1", b"\rX-Evil: 1", b"\x00", b"\x0b"]
)
def test_n17_no_line_in_a_stored_header(store: Store, name: str, line: bytes) -> None:
    """On the wire it is another header, which is not signed or not one; nothing is stored."""
    whole = Draft("PUT", f"/{BUCKET}/new", body=b"x").add(name, "valueZ").sign()
    wire = whole.wire().replace(b"valueZ", b"value" + line)
    before = store.digest()
    (answer,) = store.wire(wire)
    assert (answer.status, answer.code) in {
        (400, "BadRequest"),
        (400, "InvalidRequest"),
        (400, "InvalidArgument"),
        (403, "SignatureDoesNotMatch"),
    }
    assert store.digest() == before


def test_n17_no_line_in_a_header_from_the_query(store: Store) -> None:
    for name in (
        "x-amz-meta-a",
        "X-Amz-Meta-A",
        "x-amz-website-redirect-location",
        "x-amz-tagging",
    ):
        for value in SPLITS:
            draft = Draft("PUT", f"/{BUCKET}/new", ((name, value),), body=b"x")
            store.refuses(draft.presign(), 400, "InvalidArgument", "InvalidURI")
    for name in ("x-amz-meta-a%0d%0aX-Evil", "x-amz-meta-%00", "x-amz-meta-%C3%A9", "x-amz-meta- "):
        draft = Draft("PUT", f"/{BUCKET}/new", ((name.strip(), "1"),), body=b"x")
        if name.strip() != "x-amz-meta-":
            store.refuses(draft.presign(), 400, "InvalidArgument", "InvalidURI")


# --- N20, N21: copies ------------------------------------------------------------------------


def part(store: Store) -> Draft:
    return Draft("PUT", f"/{BUCKET}/parts", (("partNumber", "3"), ("uploadId", store.upload)))


@pytest.fixture(params=["CopyObject", "UploadPartCopy"])
def target(request: pytest.FixtureRequest, store: Store) -> Draft:
    return Draft("PUT", f"/{BUCKET}/new") if request.param == "CopyObject" else part(store)


def test_n20_a_source_that_may_not_be_read(store: Store, target: Draft) -> None:
    """Somebody else's bucket: under conditions and for ranges too, whether or not it is there."""
    for key in ("key", "large", "none"):
        draft = target.add("x-amz-copy-source", f"{FOREIGN}/{key}")
        store.refuses(draft.sign(), 403, "AccessDenied")
        for name, value in (
            ("x-amz-copy-source-if-match", '"0"'),
            ("x-amz-copy-source-if-none-match", "*"),
            ("x-amz-copy-source-if-modified-since", "Fri, 01 Jan 2100 00:00:00 GMT"),
            ("x-amz-copy-source-range", "bytes=0-1"),
        ):
            store.refuses(draft.add(name, value).sign(), 403, "AccessDenied")
    fine = target.add("x-amz-copy-source", f"{OTHER}/key")
    other_owner = fine.add("x-amz-source-expected-bucket-owner", "0" * 64)
    store.refuses(other_owner.sign(), 403, "AccessDenied")
    store.accepts(fine.sign())


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE"])
def test_n20_the_foreign_bucket_itself(store: Store, method: str) -> None:
    for path in (f"/{FOREIGN}/key", f"/{FOREIGN}/none"):
        code = "" if method == "HEAD" else "AccessDenied"
        store.refuses(Draft(method, path).sign(), 403, code)


SOURCES = (
    "",
    " ",
    "/",
    "//",
    "///",
    "bucket",
    "bucket/",
    "/bucket/",
    "/bucket",
    "/bucket//",
    "?versionId=null",
    "bucket?versionId=null",
    "bucket/?versionId=null",
    "bucket/key?versionId=",
    "bucket/key?versionId",
    "bucket/key?",
    "bucket/key?version=1",
    "bucket/key?versionId=null&x=1",
    "bucket/key%",
    "bucket/%00",
    "%00/key",
    "bucket/%ff",
    "arn:aws:s3:::bucket/key",
    "http://other.example/key",
    "BUCKET/key",
    "bu/key",
)


@pytest.mark.parametrize("source", SOURCES, ids=repr)
def test_n21_sources_that_are_none(store: Store, target: Draft, source: str) -> None:
    """An empty source is no PutObject of nothing: nothing is overwritten."""
    draft = target.add("x-amz-copy-source", source)
    if source in ("/bucket//", "bucket/key?"):
        assert store.ask(draft.sign()).code in ("NoSuchKey", ""), "a key all the same"
        return
    codes = ("InvalidArgument", "InvalidBucketName")
    store.refuses(draft.sign(), 400, *codes)
    store.refuses(draft.carry(b"something").sign(), 400, *codes)
    in_query = target.ask("x-amz-copy-source", quote(source, safe=""))
    store.refuses(in_query.presign(), 400, *codes)


def test_n21_a_copy_brings_no_body(store: Store, target: Draft) -> None:
    """What is sent with it is not stored."""
    fine = target.add("x-amz-copy-source", f"{OTHER}/key").carry(b"smuggled")
    answer = store.ask(fine.sign())
    assert answer.status in (200, 400)
    rows = [row for _, row in store.versions(BUCKET)]
    assert all(row.inline != b"smuggled" for row in rows)


def test_every_bucket_is_as_it_was(store: Store) -> None:
    """After all that: nobody else's bucket was read or written."""
    assert store.keys(FOREIGN) == [b"dir/key", b"key", b"large"]
    assert store.read(lambda tx: tables.get_bucket(tx, FOREIGN)) is not None
