"""Attacks by documents: what XML can do to a parser, and what a typo must not mean."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable

import pytest

from s3node.base.limits import DELETE_KEYS_MAX, XML_BODY_BYTES_MAX
from tests.attacks.draft import Draft
from tests.attacks.store import BUCKET, FOREIGN, Store

ROOTS = {
    "DeleteObjects": "Delete",
    "CompleteMultipartUpload": "CompleteMultipartUpload",
    "CreateBucket": "CreateBucketConfiguration",
    "PutBucketVersioning": "VersioningConfiguration",
    "PutBucketTagging": "Tagging",
    "PutObjectTagging": "Tagging",
    "PutBucketCors": "CORSConfiguration",
}
TAGS = "<TagSet><Tag><Key>a</Key><Value>b</Value></Tag></TagSet>"
CONTENT = {
    "DeleteObjects": "<Object><Key>key</Key></Object>",
    "CompleteMultipartUpload": "<Part><PartNumber>1</PartNumber><ETag>{etag}</ETag></Part>",
    "CreateBucket": "<LocationConstraint>us-east-1</LocationConstraint>",
    "PutBucketVersioning": "<Status>Enabled</Status>",
    "PutBucketTagging": TAGS,
    "PutObjectTagging": TAGS,
    "PutBucketCors": (
        "<CORSRule><AllowedMethod>GET</AllowedMethod><AllowedOrigin>*</AllowedOrigin></CORSRule>"
    ),
}
"""Documents that would be carried out. (The bucket that is created is there already.)"""


def request(store: Store, operation: str) -> Draft:
    """Without its document."""
    return {
        "DeleteObjects": Draft("POST", f"/{BUCKET}", (("delete", ""),)),
        "CompleteMultipartUpload": Draft("POST", f"/{BUCKET}/parts", (("uploadId", store.upload),)),
        "CreateBucket": Draft("PUT", f"/{BUCKET}-made"),
        "PutBucketVersioning": Draft("PUT", f"/{BUCKET}", (("versioning", ""),)),
        "PutBucketTagging": Draft("PUT", f"/{BUCKET}", (("tagging", ""),)),
        "PutObjectTagging": Draft("PUT", f"/{BUCKET}/key", (("tagging", ""),)),
        "PutBucketCors": Draft("PUT", f"/{BUCKET}", (("cors", ""),)),
    }[operation]


def carrying(draft: Draft, document: bytes) -> Draft:
    digest = base64.b64encode(hashlib.md5(document).digest()).decode()
    return draft.carry(document).add("content-md5", digest).sign()


def content(store: Store, operation: str) -> str:
    return CONTENT[operation].replace("{etag}", store.part_etag)


def laughs(root: str, inner: str) -> str:
    names = "".join(f"<!ENTITY l{n} '{f'&l{n - 1};' * 10}'>" for n in range(1, 10))
    return f"<!DOCTYPE {root} [<!ENTITY l0 'ha'>{names}]><{root}>{inner}<X>&l9;</X></{root}>"


def external(root: str, inner: str) -> str:
    entity = "<!ENTITY x SYSTEM 'file:///etc/passwd'>"
    return f"<!DOCTYPE {root} [{entity}]><{root}>{inner}<X>&x;</X></{root}>"


Make = Callable[[str, str], str]

HOSTILE: dict[str, Make] = {
    "a doctype": lambda root, inner: f"<!DOCTYPE {root}><{root}>{inner}</{root}>",
    "a doctype from elsewhere": lambda root, inner: (
        f"<!DOCTYPE {root} SYSTEM 'http://127.0.0.1:1/x.dtd'><{root}>{inner}</{root}>"
    ),
    "laughs": laughs,
    "an external entity": external,
    "an unknown entity": lambda root, inner: f"<{root}>{inner}&x;</{root}>",
    "an instruction": lambda root, inner: f"<?xml-stylesheet href='x'?><{root}>{inner}</{root}>",
    "a million nested": lambda root, inner: f"<{root}>" + "<a>" * 1_000_000,
    "too many beside": lambda root, inner: f"<{root}>{inner}{'<a/>' * 200_000}</{root}>",
    "a long namespace": lambda root, inner: (
        f"<{root} xmlns='{'n' * 1_000_000}'>{inner}{'<a/>' * 100_000}</{root}>"
    ),
    "everything twice": lambda root, inner: f"<{root}>{inner}{inner}<Quiet/><Quiet/></{root}>",
    "an unknown element": lambda root, inner: f"<{root}>{inner}<Unknown/></{root}>",
    "an unknown element first": lambda root, inner: f"<{root}><Unknown>x</Unknown>{inner}</{root}>",
    "another root": lambda root, inner: f"<Other>{inner}</Other>",
    "root in other letters": lambda root, inner: f"<{root.lower()}>{inner}</{root.lower()}>",
    "elements in other letters": lambda root, inner: f"<{root}>{inner.lower()}</{root}>",
    "a root around it": lambda root, inner: f"<a><{root}>{inner}</{root}></a>",
    "two roots": lambda root, inner: f"<{root}>{inner}</{root}>" * 2,
    "text between": lambda root, inner: f"<{root}>text{inner}</{root}>",
    "not closed": lambda root, inner: f"<{root}>{inner}",
    "closed by another": lambda root, inner: f"<{root}>{inner}</Other>",
    "nothing in it": lambda root, inner: f"<{root}><a/></{root}>",
    "no document": lambda root, inner: "{}",
    "a NUL": lambda root, inner: f"<{root}>{inner}\0</{root}>",
    "a character that is none": lambda root, inner: f"<{root}>{inner}&#0;</{root}>",
    "an attribute twice": lambda root, inner: f"<{root} a='1' a='2'>{inner}</{root}>",
    "a prefix of nothing": lambda root, inner: f"<x:{root}>{inner}</x:{root}>",
}


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("operation", ROOTS)
def test_n18_documents_that_are_not_what_they_should_be(
    store: Store, operation: str, name: str
) -> None:
    """Refused as a whole: nothing of it is done, and nothing is looked up for it."""
    made = HOSTILE[name](ROOTS[operation], content(store, operation)).encode()
    answer = store.refuses(carrying(request(store, operation), made), 400, "MalformedXML")
    assert b"root:" not in answer.body


@pytest.mark.parametrize("operation", ROOTS)
def test_n18_other_letters_than_utf_8(store: Store, operation: str) -> None:
    text = f"<{ROOTS[operation]}>{content(store, operation)}</{ROOTS[operation]}>"
    for data in (
        text.encode("utf-16"),
        text.encode("utf-32"),
        text.encode("cp037"),
        text.encode()[:-1] + b"\xff>",
        text.encode().replace(b"><", b">\xc0\x80<", 1),
    ):
        store.refuses(carrying(request(store, operation), data), 400, "MalformedXML")


@pytest.mark.parametrize("operation", ROOTS)
def test_n18_documents_that_are_too_long(store: Store, operation: str) -> None:
    root = ROOTS[operation]
    long = f"<{root}>{' ' * (XML_BODY_BYTES_MAX + 1)}{content(store, operation)}</{root}>".encode()
    draft = carrying(request(store, operation), long)
    store.refuses(draft, 400, "MaxMessageLengthExceeded", "MalformedXML", "EntityTooLarge")


def test_n18_one_key_too_many(store: Store) -> None:
    for count in (DELETE_KEYS_MAX + 1, 10 * DELETE_KEYS_MAX):
        keys = "<Object><Key>key</Key></Object>" * count
        document = f"<Delete>{keys}</Delete>".encode()
        draft = carrying(request(store, "DeleteObjects"), document)
        store.refuses(draft, 400, "MalformedXML")


TYPOS = {
    "PutBucketVersioning": (
        "<Status>enabled</Status>",
        "<Status>On</Status>",
        "<Status/>",
        "<Status>Enabled</Status><Status>Suspended</Status>",
        "<Stats>Enabled</Stats>",
    ),
    "DeleteObjects": (
        "<Object><Key>key</Key><VersionID>null</VersionID></Object>",
        "<Object><Key>key</Key><Etag>x</Etag></Object>",
        "<Object><Key></Key></Object>",
        "<Object/>",
        "<Quiet>yes</Quiet><Object><Key>key</Key></Object>",
        "<Key>key</Key>",
    ),
    "PutBucketCors": (
        "<CORSRule><AllowedMethod>GET</AllowedMethod></CORSRule>",
        "<CORSRule><AllowedOrigin>*</AllowedOrigin></CORSRule>",
        "<CorsRule/>",
        "<CORSRule><AllowedMethod>GET</AllowedMethod><AllowedOrigins>*</AllowedOrigins></CORSRule>",
    ),
    "PutBucketTagging": ("<Tag><Key>a</Key><Value>b</Value></Tag>", "<TagSet><Tag/></TagSet>"),
    "PutObjectTagging": ("<TagSet><Tag><Key>a</Key></Tag></TagSet>", "<TagSet/><TagSet/>"),
    "CreateBucket": ("<LocationConstrain>x</LocationConstrain>",),
    "CompleteMultipartUpload": (
        "<Part><PartNumber>1</PartNumber></Part>",
        "<Part><PartNumber>one</PartNumber><ETag>{etag}</ETag></Part>",
        "<Part><PartNumber>1</PartNumber><Etag>{etag}</Etag></Part>",
    ),
}


@pytest.mark.parametrize("operation", TYPOS)
def test_n18_a_typo_never_means_that_nothing_was_said(store: Store, operation: str) -> None:
    for inner in TYPOS[operation]:
        text = (
            f"<{ROOTS[operation]}>{inner.replace('{etag}', store.part_etag)}</{ROOTS[operation]}>"
        )
        draft = carrying(request(store, operation), text.encode())
        codes = ("MalformedXML", "IllegalVersioningConfigurationException")
        store.refuses(draft, 400, *codes)


@pytest.mark.parametrize("operation", ROOTS)
def test_n18_a_good_document_is_for_its_owner(store: Store, operation: str) -> None:
    """The control: the same request with its document gets as far as whose bucket it is."""
    draft = request(store, operation)
    if operation == "CreateBucket":
        store.accepts(Draft("DELETE", draft.path).sign(), 404)
        return
    foreign = draft.to(path=draft.path.replace(BUCKET, FOREIGN, 1))
    text = f"<{ROOTS[operation]}>{content(store, operation)}</{ROOTS[operation]}>".encode()
    store.refuses(carrying(foreign, text), 403, "AccessDenied")
