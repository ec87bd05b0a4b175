"""Forms: whole against an oracle that has all of the bytes, in any cuts, and never a fault."""

from __future__ import annotations

import itertools
import re
import time
from collections.abc import Sequence
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from urllib3.filepost import encode_multipart_formdata

from s3node.base.errors import S3Error
from s3node.base.limits import FORM_BYTES_MAX
from s3node.s3.form import Field, FormParser, base_name, boundary, values
from tests.s3.forms import BOUNDARY, body, form, part

RELAXED = {"deadline": None, "derandomize": True}


class Read(NamedTuple):
    fields: list[Field]
    filename: str | None
    content: bytes


def read(data: bytes, cuts: Sequence[int] = (), name: str = BOUNDARY) -> Read:
    """The form in these bytes, fed in pieces."""
    parser = FormParser(name.encode())
    content = b""
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    for start, stop in itertools.pairwise(edges):
        for piece in parser.feed(memoryview(data)[start:stop]):
            assert len(piece), "an empty piece would be an end to some"
            content += piece
        assert parser.held_bytes <= FORM_BYTES_MAX + 2
        if parser.file is not None and not parser.file_ended:
            assert parser.held_bytes < parser.delimiter_bytes
    parser.eof()
    assert parser.file is not None and parser.file_ended
    return Read(parser.fields, parser.file.filename, content)


def refusal(data: bytes, cuts: Sequence[int] = ()) -> S3Error:
    with pytest.raises(S3Error) as caught:
        read(data, cuts)
    return caught.value


NASTY = [b"\r\n", b"\r", b"--", b"-", BOUNDARY.encode(), b"\n", b"\0", b"x" * 300, b"\r\n--"]
CONTENTS = st.lists(st.one_of(st.sampled_from(NASTY), st.binary(max_size=9)), max_size=9).map(
    b"".join
)
DELIMITER = b"\r\n--" + BOUNDARY.encode()


@settings(max_examples=200, **RELAXED)
@given(
    st.lists(st.tuples(st.text("abc-", min_size=1, max_size=9), st.text(max_size=9)), max_size=4),
    CONTENTS,
    st.lists(st.integers(0, 1 << 16), max_size=12),
)
def test_any_form_in_any_cuts(
    fields: list[tuple[str, str]], content: bytes, cuts: list[int]
) -> None:
    """What a delimiter stands in is no form; all else comes back as it was."""
    parts = [part(name, value) for name, value in fields]
    data = body([*parts, part("file", content, "a")])
    whole = [value.encode() for _, value in fields] + [content]
    if any(DELIMITER in b"\r\n" + one for one in whole):
        refusal(data, cuts)
        return
    if any(name.lower() == "file" for name, _ in fields):
        return
    assert read(data, cuts) == Read([Field(*one) for one in fields], "a", content)


def test_every_cut_of_a_form() -> None:
    data = form({"key": "a", "acl": "private"}, b"\r\n--\r\n----WebKitFormBoundary", "n")
    wanted = read(data)
    for cut in range(len(data)):
        assert read(data, [cut]) == wanted
    assert read(data, range(len(data))) == wanted


def test_every_shorter_form_is_none() -> None:
    """Up to its closing delimiter, all of it has to come."""
    data = form({"key": "a"}, b"content")
    for stop in range(len(data) - 2):
        assert refusal(data[:stop]).code == "MalformedPOSTRequest"
    read(data[:-2])


def test_what_is_a_form_too() -> None:
    plain = form({"key": "a"}, b"c", "n")
    wanted = read(plain)
    padded = plain.replace(BOUNDARY.encode() + b"\r\n", BOUNDARY.encode() + b" \t \r\n")
    assert read(padded) == wanted
    assert read(b"preamble\r\n" + plain) == wanted
    assert read(plain + b"epilogue") == wanted
    folded = plain.replace(b"Content-Disposition: form-data;", b"CONTENT-disposition:FORM-DATA ;")
    assert read(folded) == wanted
    typed = plain.replace(b'filename="n"', b'filename="n"\r\nContent-Type: a/b\r\nX-Y: z')
    assert read(typed) == wanted
    token = plain.replace(b'name="key"', b"name=key")
    assert read(token) == wanted
    behind = body([part("key", "a"), part("file", b"c", "n"), part("acl", b"\xff")])
    assert read(behind) == wanted


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b'; name="key"', b""),
        (b'name="key"', b'name=""'),
        (b'name="key"', b'name="a"; NAME="b"'),
        (b'name="key"', b'name="a" name'),
        (b'name="key"', b'name="a'),
        (b'name="key"', b'name="\xff"'),
        (b"form-data", b"attachment"),
        (b"Content-Disposition:", b"Content-Disposition"),
        (b"Content-Disposition: form-data", b"Content-Type: a/b"),
        (b'name="key"', b'name="key"\r\nContent-Disposition: form-data; name="key"'),
        (b'name="key"', b'name="key"\nX: y'),
        (BOUNDARY.encode() + b"\r\n", BOUNDARY.encode() + b"x\r\n"),
        (BOUNDARY.encode() + b"--", BOUNDARY.encode() + b"-\r\n"),
        (b"\r\n\r\na", b"\r\n\r\n\xff"),
        (b"content", b"content\r\n--" + BOUNDARY.encode() + b"more"),
    ],
)
def test_what_is_no_form(before: bytes, after: bytes) -> None:
    data = form({"key": "a"}, b"content")
    assert before in data
    assert refusal(data.replace(before, after, 1)).code == "MalformedPOSTRequest"


def test_one_file() -> None:
    assert refusal(body([part("key", "a")])).fields["ArgumentValue"] == "0"
    two = body([part("file", "a", "a"), part("x", "y"), part("FILE", "b", "b")])
    assert refusal(two).fields["ArgumentValue"] == "2"


@pytest.mark.parametrize(
    "place", ["preamble", "padding", "header", "name", "value", "behind", "epilogue"]
)
def test_what_is_not_the_file_is_bounded(place: str) -> None:
    """Also when its end never comes: no more is held, and no more work is done."""
    many = b"x" * FORM_BYTES_MAX
    plain = form({"key": "value"}, b"c", "n")
    data = {
        "preamble": many + b"\r\n" + plain,
        "padding": plain.replace(b"\r\nContent", b" " * FORM_BYTES_MAX + b"\r\nContent", 1),
        "header": plain.replace(b"\r\n\r\n", b"\r\nX: " + many + b"\r\n\r\n", 1),
        "name": plain.replace(b"key", many),
        "value": plain.replace(b"value", many),
        "behind": body([part("file", b"c", "n"), part("a", many)]),
        "epilogue": plain + many,
    }[place]
    for cuts in ([], range(0, len(data), 100)):
        error = refusal(data, cuts)
        assert error.code == "MaxPostPreDataLengthExceeded"
        assert error.fields == {"MaxPostPreDataLengthBytes": str(FORM_BYTES_MAX)}


def test_exactly_as_much_as_may_be() -> None:
    plain = form({"key": ""}, b"c" * 50_000)
    room = FORM_BYTES_MAX - (len(plain) - 50_000)
    fitting = form({"key": "k" * room}, b"c" * 50_000)
    assert len(read(fitting).content) == 50_000
    refusal(form({"key": "k" * (room + 1)}, b"c" * 50_000))


def test_the_work_is_bounded() -> None:
    """The worst that was thought of: byte by byte, and a file full of almost-delimiters."""
    began = time.process_time()
    refusal(b"\r" * (FORM_BYTES_MAX + 1), range(FORM_BYTES_MAX))
    content = (DELIMITER[:-1] + b"x") * 40_000
    data = form({"key": "a"}, content)
    assert read(data, range(0, len(data), 4096)).content == content
    refusal(form({}, b"").replace(b"filename=", b';a="\\"' * 2000 + b";filename="))
    assert time.process_time() - began < 20


@settings(max_examples=250, **RELAXED)
@given(st.binary(max_size=400), st.lists(st.integers(0, 1 << 10), max_size=5), st.data())
def test_never_anything_but_an_error_of_s3(
    noise: bytes, cuts: list[int], data: st.DataObject
) -> None:
    plain = form({"key": "a", "policy": "b"}, b"content")
    start = data.draw(st.integers(0, len(plain)))
    stop = data.draw(st.integers(start, len(plain)))
    mutated = plain[:start] + noise + plain[stop:]
    try:
        found = read(mutated, cuts)
    except S3Error as error:
        assert error.code in {
            "InvalidArgument",
            "MalformedPOSTRequest",
            "MaxPostPreDataLengthExceeded",
        }
    else:
        assert read(mutated) == found


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("multipart/form-data; boundary=abc", b"abc"),
        ("Multipart/Form-Data;charset=utf-8;BOUNDARY=abc", b"abc"),
        ('multipart/form-data; boundary="a b:c"', b"a b:c"),
        ("multipart/form-data; boundary=" + "b" * 70, b"b" * 70),
        ("multipart/form-data", "MalformedPOSTRequest"),
        ("multipart/form-data; boundary=", "MalformedPOSTRequest"),
        ('multipart/form-data; boundary="a "', "MalformedPOSTRequest"),
        ("multipart/form-data; boundary=a; boundary=b", "MalformedPOSTRequest"),
        ("multipart/form-data; boundary=" + "b" * 71, "MalformedPOSTRequest"),
        ('multipart/form-data; boundary="a\\"b"', "MalformedPOSTRequest"),
        ("multipart/form-data; boundary=\xe4", "MalformedPOSTRequest"),
        ("multipart/mixed; boundary=abc", "PreconditionFailed"),
        ("application/x-www-form-urlencoded", "PreconditionFailed"),
        ("", "PreconditionFailed"),
        (None, "PreconditionFailed"),
    ],
)
def test_boundaries(value: str | None, found: bytes | str) -> None:
    if isinstance(found, bytes):
        assert boundary(value) == found
    else:
        with pytest.raises(S3Error) as caught:
            boundary(value)
        assert caught.value.code == found


@pytest.mark.parametrize(
    ("sent", "name"),
    [
        ("photo.jpg", "photo.jpg"),
        ("C:\\Program Files\\dir\\file.txt", "file.txt"),
        ("/home/me/file.txt", "file.txt"),
        ("a/b\\c", "c"),
        ("dir/", ""),
        ("", ""),
        ('say \\"hi\\".txt', 'say "hi".txt'),
        ("100%22.txt", "100%22.txt"),
        ("\u00e4\U0001f600.txt", "\u00e4\U0001f600.txt"),
    ],
)
def test_names_of_files(sent: str, name: str) -> None:
    filename = read(form({}, b"", sent)).filename
    assert filename is not None
    assert base_name(filename) == name


def test_fields_by_name() -> None:
    fields = [Field("Key", "a"), Field("X-Ignore-A", "1"), Field("x-ignore-a", "2")]
    assert values(fields) == {"key": "a"}
    with pytest.raises(S3Error) as caught:
        values([*fields, Field("kEY", "a")])
    assert caught.value.fields == {"ArgumentName": "kEY", "ArgumentValue": "a"}


def test_a_boundary_that_begins_another() -> None:
    """By RFC 2046 it is a delimiter all the same: then this is no form."""
    data = body([part("file", b"\r\n--abcdef", "n")], "abc")
    with pytest.raises(S3Error):
        read(data, (), "abc")
    assert re.search(rb"\r\n--abcdef", data)


@settings(max_examples=60, **RELAXED)
@given(
    st.lists(st.tuples(st.from_regex(r"[a-zA-Z-]{1,9}", fullmatch=True), st.text()), max_size=4),
    st.binary(max_size=300),
    st.from_regex(r"[a-z \u00e4\u4e00';=.]{0,12}", fullmatch=True),
)
def test_forms_as_a_library_writes_them(
    fields: list[tuple[str, str]], content: bytes, filename: str
) -> None:
    """urllib3's; in the tests of the edge and of clients there are a browser's."""
    sent = [(name, value) for name, value in fields if name.lower() != "file"]
    data, kind = encode_multipart_formdata(
        [*sent, ("file", (filename, content, "application/dicom"))]
    )
    found = read(data, [len(data) // 2], boundary(kind).decode())
    assert found == Read([Field(*one) for one in sent], filename, content)
