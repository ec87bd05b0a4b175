"""The Tagging document and the header x-amz-tagging."""

from __future__ import annotations

from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s3node.base.errors import S3Error
from s3node.s3 import tagging

TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)
TAGS = st.dictionaries(TEXT.filter(bool), TEXT, max_size=12).map(lambda tags: tuple(tags.items()))
XML_TEXT = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"], exclude_characters="\ufffe\uffff")
    | st.sampled_from("\t\n\r"),
    max_size=20,
)
XML_TAGS = st.lists(st.tuples(XML_TEXT, XML_TEXT), max_size=12).map(tuple)


@given(TAGS, st.sampled_from([quote, quote_plus]))
def test_header_round_trip(tags: tagging.Tags, encode: object) -> None:
    assert callable(encode)
    value = "&".join(f"{encode(key, safe='')}={encode(text, safe='')}" for key, text in tags)
    assert tagging.parse_header(value) == tags


@pytest.mark.parametrize(
    ("value", "tags"),
    [
        ("", ()),
        ("&", ()),
        ("&&&", ()),
        ("key", (("key", ""),)),
        ("key&", (("key", ""),)),
        ("key=&", (("key", ""),)),
        ("key=val&", (("key", "val"),)),
        ("b=2&a=1", (("b", "2"), ("a", "1"))),
        ("key@=val@", (("key@", "val@"),)),
        ("a=b=c", (("a", "b=c"),)),
        ("a+b=c+d%2B", (("a b", "c d+"),)),
        ("%c3%a9=%E6%BC%A2", (("é", "漢"),)),
    ],
)
def test_headers(value: str, tags: tagging.Tags) -> None:
    assert tagging.parse_header(value) == tags


@pytest.mark.parametrize(
    "value",
    [
        "=",
        "=v",
        "key%",
        "k=%zz",
        "%",
        "k=%ff",
        "k=%00",
        "a=1&a=1",
        "a=1&b=2&%61=3",
        "é=1",
        "k=\x01",
    ],
)
def test_headers_that_are_none(value: str) -> None:
    with pytest.raises(S3Error) as caught:
        tagging.parse_header(value)
    error = caught.value
    assert error.code == "InvalidArgument"
    assert error.message == (
        "The header 'x-amz-tagging' shall be encoded as UTF-8 then URLEncoded URL query parameters "
        "without tag name duplicates."
    )
    assert error.fields == {"ArgumentName": "x-amz-tagging", "ArgumentValue": value}


@given(XML_TAGS)
def test_document_round_trip(tags: tagging.Tags) -> None:
    assert tagging.parse_document(tagging.document(tags)) == tags


@pytest.mark.parametrize(
    "body",
    [
        "",
        "<Tagging/>",
        "<Tagging><TagSet/><TagSet/></Tagging>",
        "<Tags><TagSet/></Tags>",
        "<Tagging><TagSet><Tag><Key>a</Key></Tag></TagSet></Tagging>",
        "<Tagging><TagSet><Tag><Value>a</Value></Tag></TagSet></Tagging>",
        "<Tagging><TagSet><Tag><Key>a</Key><Key>a</Key><Value/></Tag></TagSet></Tagging>",
        "<Tagging><TagSet><Tag><Key>a</Key><Value/><Kex/></Tag></TagSet></Tagging>",
        "<Tagging><TagSet><Tag><Key><a/></Key><Value/></Tag></TagSet></Tagging>",
        "<Tagging><TagSet>text</TagSet></Tagging>",
        "<Tagging><TagSet><Tg/></TagSet></Tagging>",
        "<Tagging><TagSet/><Other/></Tagging>",
        "<!DOCTYPE a []><Tagging><TagSet/></Tagging>",
        "<Tagging><TagSet></Tagging>",
    ],
)
def test_documents_that_are_none(body: str) -> None:
    with pytest.raises(S3Error) as caught:
        tagging.parse_document(body.encode())
    assert caught.value.code == "MalformedXML"


def test_no_tags_and_a_namespace() -> None:
    assert tagging.parse_document(b"<Tagging><TagSet/></Tagging>") == ()
    body = (
        b'<?xml version="1.0"?><Tagging xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><TagSet>'
        b"\n <Tag>\n <Value> v </Value><Key>k</Key>\n</Tag></TagSet></Tagging>"
    )
    assert tagging.parse_document(body) == (("k", " v "),)
