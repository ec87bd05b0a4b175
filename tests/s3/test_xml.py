"""XML: what is read, what is refused, and that what is written is read back."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s3node.base.errors import S3Error
from s3node.base.limits import DELETE_KEYS_MAX, XML_DEPTH_MAX, XML_ELEMENTS_MAX
from s3node.s3 import deleting, documents, versioning, xml

NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"


def refused(data: bytes) -> None:
    with pytest.raises(S3Error) as caught:
        xml.parse(data)
    assert caught.value.code == "MalformedXML"


def test_a_tree() -> None:
    root = xml.parse(
        f'<?xml version="1.0"?><!-- c --><a xmlns="{NAMESPACE}" x="1">\n <b>1 &amp; '
        "<![CDATA[<2>]]></b><c/></a>\n".encode()
    )
    assert root == xml.Element("a", "", (xml.Element("b", "1 & <2>", ()), xml.Element("c", "", ())))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"   ",
        b"<a>",
        b"<a></b>",
        b"<a/><b/>",
        b"text",
        b"<!DOCTYPE a><a/>",
        b'<!DOCTYPE a SYSTEM "file:///etc/passwd"><a/>',
        b'<!DOCTYPE a [<!ENTITY x "y">]><a>&x;</a>',
        b'<!DOCTYPE a [<!ENTITY % p SYSTEM "http://h/">%p;]><a/>',
        b"<a>&undefined;</a>",
        b"<?php evil ?><a/>",
        b"<a><?pi?></a>",
        b"<a>text<b/>more</a>",
        b"<a>\xff</a>",
        b"<a>&#0;</a>",
        b"<a>&#xd800;</a>",
        b"<a>\x01</a>",
        b'<?xml version="1.0" encoding="UTF-16"?><a>\xff</a>',
        "<a/>".encode("utf-16"),
        b"<x:a/>",
        b'<a b="1" b="2"/>',
        b"<a>" * (XML_DEPTH_MAX + 1) + b"</a>" * (XML_DEPTH_MAX + 1),
        b"<a>" + b"<b/>" * XML_ELEMENTS_MAX + b"</a>",
    ],
    ids=lambda data: repr(data[:40]),
)
def test_what_is_refused(data: bytes) -> None:
    refused(data)


def test_bounds_are_reached_before_they_are_passed() -> None:
    xml.parse(b"<a>" * XML_DEPTH_MAX + b"</a>" * XML_DEPTH_MAX)
    xml.parse(b"<a>" + b"<b/>" * (XML_ELEMENTS_MAX - 1) + b"</a>")


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_malformed(data: bytes) -> None:
    for parse in (xml.parse, deleting.parse_delete, documents.parse_create_bucket):
        try:
            parse(data)
        except S3Error as error:
            assert error.code in {"MalformedXML", "NotImplemented"}


SEED = (
    b'<Delete xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Quiet>true</Quiet><Object>'
    b"<Key>a&amp;b</Key><VersionId>null</VersionId><ETag>x</ETag></Object></Delete>"
)


@given(st.data())
def test_changed_documents_are_read_or_malformed(data: st.DataObject) -> None:
    document = bytearray(SEED)
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, len(document)))
        cut = data.draw(st.integers(0, 8))
        document[at : at + cut] = data.draw(
            st.sampled_from([b"", b"<", b">", b"&", b"/", b"<Key>", b"</Object>", b"\0", b"\xff"])
        )
    try:
        quiet, objects = deleting.parse_delete(bytes(document))
    except S3Error as error:
        assert error.code in {"MalformedXML", "NotImplemented"}
    else:
        assert isinstance(quiet, bool) and all(item.key for item in objects)


XML_TEXT = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cs"]).filter(
        lambda c: c in "\t\n\r" or (c >= " " and c not in "\ufffe\uffff")
    )
)


@given(XML_TEXT)
def test_text_survives(text: str) -> None:
    document = xml.render("a", [("b", text)])
    assert xml.parse(document).children[0].text == text
    assert ElementTree.fromstring(document)[0].text in {text, None if text == "" else text}


def test_forbidden_characters_leave_as_references() -> None:
    assert b"<b>&#x1;&#x1f;&#xfffe;</b>" in xml.render("a", [("b", "\x01\x1f\ufffe")])


# --- documents -------------------------------------------------------------------------------


def test_delete_documents() -> None:
    quiet, objects = deleting.parse_delete(SEED)
    assert quiet
    assert objects == [deleting.ObjectToDelete("a&b", "null", "x")]


@pytest.mark.parametrize(
    "inner",
    [
        "",
        "<Object/>",
        "<Object><Key/></Object>",
        "<Object><Key>a</Key><Key>b</Key></Object>",
        "<Object><key>a</key></Object>",
        "<Object><Key>a</Key><Versionid>1</Versionid></Object>",
        "<Object><Key><x/></Key></Object>",
        "<Object><Key>a</Key></Object><Quit>true</Quit>",
        "<Object><Key>a</Key></Object><Quiet>yes</Quiet>",
        "<Object><Key>a</Key></Object><Quiet>true</Quiet><Quiet>true</Quiet>",
        "<Object><Key>a</Key></Object>stray",
        "<Object><Key>a</Key></Object>" * (DELETE_KEYS_MAX + 1),
    ],
    ids=lambda inner: inner[:60],
)
def test_delete_documents_that_are_none(inner: str) -> None:
    with pytest.raises(S3Error) as caught:
        deleting.parse_delete(f"<Delete>{inner}</Delete>".encode())
    assert caught.value.code == "MalformedXML"


def test_conditions_of_deletes_are_read_even_where_they_are_empty() -> None:
    inner = "<Key>a</Key><ETag/><Size>1</Size><LastModifiedTime>then</LastModifiedTime>"
    _, objects = deleting.parse_delete(f"<Delete><Object>{inner}</Object></Delete>".encode())
    assert objects == [deleting.ObjectToDelete("a", None, "", "1", "then")]


@pytest.mark.parametrize(
    "part",
    [
        "<PartNumber>1</PartNumber>",
        "<ETag>a</ETag>",
        "<PartNumber>x</PartNumber><ETag>a</ETag>",
        "<PartNumber>-1</PartNumber><ETag>a</ETag>",
        "<PartNumber>١</PartNumber><ETag>a</ETag>",
        "<PartNumber>9999999999</PartNumber><ETag>a</ETag>",
        "<PartNumber>1</PartNumber><ETag>a</ETag><ETag>b</ETag>",
        "<PartNumber>1</PartNumber><ETag>a</ETag><ChecksumFOO>a</ChecksumFOO>",
    ],
)
def test_complete_documents_that_are_none(part: str) -> None:
    body = f"<CompleteMultipartUpload><Part>{part}</Part></CompleteMultipartUpload>"
    with pytest.raises(S3Error) as caught:
        documents.parse_complete(body.encode(), ["CRC32"])
    assert caught.value.code == "MalformedXML"


def test_golden_documents() -> None:
    """Byte for byte what S3 sends for the same facts."""
    owner = documents.Owner("id", "name")
    head = '<?xml version="1.0" encoding="UTF-8"?>\n'
    assert (
        versioning.versioning("").decode()
        == f'{head}<VersioningConfiguration xmlns="{NAMESPACE}"/>'
    )
    assert documents.bucket_location("us-east-1").decode() == (
        f'{head}<LocationConstraint xmlns="{NAMESPACE}"/>'
    )
    echo = documents.ListEcho("b", "p/", "/", 2, "")
    item = documents.Contents("p/k&", 1_700_000_000_999, "e", 3, "STANDARD", "CRC32", "FULL_OBJECT")
    entry = documents.contents(item, documents.owner_element(owner), "").encode()
    assert documents.list_objects_v2(
        echo, [entry], ["p/x/"], start_after=None, token=None, next_token="t"
    ).decode() == (
        f'{head}<ListBucketResult xmlns="{NAMESPACE}"><Name>b</Name><Prefix>p/</Prefix>'
        "<NextContinuationToken>t</NextContinuationToken><KeyCount>2</KeyCount>"
        "<MaxKeys>2</MaxKeys><Delimiter>/</Delimiter><IsTruncated>true</IsTruncated>"
        "<Contents><Key>p/k&amp;</Key><LastModified>2023-11-14T22:13:20.000Z</LastModified>"
        "<ETag>&quot;e&quot;</ETag><ChecksumAlgorithm>CRC32</ChecksumAlgorithm>"
        "<ChecksumType>FULL_OBJECT</ChecksumType><Size>3</Size>"
        "<Owner><ID>id</ID><DisplayName>name</DisplayName></Owner>"
        "<StorageClass>STANDARD</StorageClass></Contents>"
        "<CommonPrefixes><Prefix>p/x/</Prefix></CommonPrefixes></ListBucketResult>"
    )
    assert documents.initiate_result("b", "k", "u").decode() == (
        f'{head}<InitiateMultipartUploadResult xmlns="{NAMESPACE}"><Bucket>b</Bucket>'
        "<Key>k</Key><UploadId>u</UploadId></InitiateMultipartUploadResult>"
    )
    assert deleting.delete_result(
        [deleting.Deleted("a", None)], [deleting.DeleteFailure("b", "null", "AccessDenied", "no")]
    ).decode() == (
        f'{head}<DeleteResult xmlns="{NAMESPACE}"><Deleted><Key>a</Key></Deleted><Error>'
        "<Key>b</Key><VersionId>null</VersionId><Code>AccessDenied</Code><Message>no</Message>"
        "</Error></DeleteResult>"
    )
