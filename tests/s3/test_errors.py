"""Error answers: XML that parses, whatever was asked; and no code that the table lacks."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

import s3node
from s3node.base.errors import S3Error
from s3node.s3.errors import TABLE, render
from tests.conformance.documented import FIELDS


def shown(error: S3Error, resource: str = "/bucket/key") -> ElementTree.Element:
    answer = render(error, resource=resource, request_id="R1", host_id="H1", head=False)
    assert answer.length == len(answer.body)
    assert ("content-type", "application/xml") in answer.headers
    return ElementTree.fromstring(answer.body)


def test_the_document() -> None:
    error = S3Error("NoSuchKey", Key="a/b", BucketName="bucket")
    found = [(element.tag, element.text) for element in shown(error)]
    assert found == [
        ("Code", "NoSuchKey"),
        ("Message", "The specified key does not exist."),
        ("Key", "a/b"),
        ("BucketName", "bucket"),
        ("Resource", "/bucket/key"),
        ("RequestId", "R1"),
        ("HostId", "H1"),
    ]


@given(st.text(), st.text(), st.text())
def test_any_text_gives_well_formed_xml(message: str, field: str, resource: str) -> None:
    root = shown(S3Error("InvalidArgument", message, ArgumentValue=field), resource)
    assert root.tag == "Error"
    for name, value in (("ArgumentValue", field), ("Resource", resource)):
        if value.isprintable():
            assert (root.findtext(name) or "") == value


def test_head_and_304_have_no_body() -> None:
    answer = render(S3Error("NoSuchKey"), resource="/", request_id="", host_id="", head=True)
    assert (answer.status, answer.body) == (404, b"")
    same = S3Error("NotModified", headers={"etag": '"a"'})
    answer = render(same, resource="/", request_id="", host_id="", head=False)
    assert (answer.status, answer.body, answer.headers) == (304, b"", [("etag", '"a"')])


def test_statuses_are_those_of_errors() -> None:
    assert all(info.status in {301, 304} or 400 <= info.status <= 507 for info in TABLE.values())
    assert all(info.message for info in TABLE.values())


def test_an_unknown_code_is_a_bug() -> None:
    with pytest.raises(AssertionError):
        shown(S3Error("NoSuchCode"))


def raised() -> Iterator[tuple[str, str, list[ast.keyword]]]:
    """Where in the source an S3Error is made, of which code, with which fields."""
    for path in Path(s3node.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                code = node.args[0] if node.func.id == "S3Error" and node.args else None
                if isinstance(code, ast.Constant):
                    yield f"{path}:{node.lineno}", str(code.value), node.keywords


def test_every_code_raised_anywhere_is_in_the_table() -> None:
    unknown = [f"{place} {code}" for place, code, _ in raised() if code not in TABLE]
    assert not unknown, "\n".join(unknown)


def test_every_error_has_the_elements_that_its_code_has() -> None:
    """But for what was sent to authenticate with: that is not told again."""
    lacking = []
    for place, code, keywords in raised():
        named = {word.arg: word.value for word in keywords}
        argument = named.get("ArgumentName")
        secret = isinstance(argument, ast.Constant) and argument.value == "Authorization"
        wanted = set(FIELDS.get(code, "").split()) - ({"ArgumentValue"} if secret else set())
        if None not in named and wanted - named.keys():
            lacking.append(f"{place} {code} {wanted - named.keys()}")
    assert not lacking, "\n".join(lacking)
