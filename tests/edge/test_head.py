"""Heads that are remembered say what the parser would have said."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from s3node.edge import head
from s3node.edge.head import Head, HeadRefused

METHODS = ("GET", "HEAD", "PUT", "POST", "DELETE", "OPTIONS")
ODD_METHODS = ("get", "CONNECT", "PATCH", "\r\nGET", "GET\t", "GETH", "")
TARGETS = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=30)
ODD_TARGETS = ("", "*", " /", "/a b", "/#", "/\x7f", "/\x80", "http://h/a", "/a HTTP/1.1\r\nX: ")
HEADERS = (
    *("Host: h", "host: h2", "Content-Length: 5", "Content-Length: 05", "content-length: x"),
    *("Transfer-Encoding: chunked", "Expect: 100-continue", "Authorization: AWS4 x", "X-A: \tb "),
    *("Connection: close", "Connection: keep-alive", "Connection: upgrade", "Upgrade: h2c"),
    *("Bad Name: x", "No-Colon", " folded: x", "X:\x01", "Range: bytes=0-"),
)
VERSIONS = ("HTTP/1.1", "HTTP/1.0", "HTTP/2.0", "HTTP/1.1 ", " HTTP/1.1", "TTP/1.1", "")

heads = st.tuples(
    st.sampled_from(VERSIONS[:1]) | st.sampled_from(VERSIONS),
    st.lists(st.sampled_from(HEADERS), max_size=6).map(lambda found: ["Host: h", *found]),
)
methods = st.sampled_from(METHODS) | st.sampled_from((*METHODS, *ODD_METHODS))
targets = TARGETS.map("/".__add__) | st.sampled_from(ODD_TARGETS)


def wire(method: str, target: str, version: str, headers: list[str]) -> bytes:
    return "\r\n".join([f"{method} {target} {version}", *headers, "", ""]).encode("latin-1")


def outcome(data: bytes) -> object:
    """What a head says, or that it is none, or that it is not whole."""
    made = Head()
    try:
        if not made.feed(data[: data.find(b"\r\n\r\n") + 4]):
            return "not whole"
    except HeadRefused as refused:
        return str(refused), refused.long
    fields = made.fields
    said = (fields.headers, fields.known, fields.length, fields.coding, fields.expects)
    return made.method, made.target, fields.version, fields.keep_alive, said


@given(methods, targets, targets, heads)
@example("GET", "/a", "/b?c", ("HTTP/1.1", ["Host: h"]))
def test_a_head_says_the_same_whatever_was_remembered(
    method: str, before: str, target: str, below: tuple[str, list[str]]
) -> None:
    data = wire(method, target, *below)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(head, "_MEMORY", head._Memory())
        expected = outcome(data)
        patch.setattr(head, "_MEMORY", head._Memory())
        outcome(wire(method, before, *below))
        assert outcome(data) == expected


def test_what_comes_again_is_not_parsed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(head, "_MEMORY", head._Memory())
    outcome(wire("GET", "/first", "HTTP/1.1", ["Host: h"]))
    monkeypatch.delattr(head, "HttpRequestParser")
    assert outcome(wire("GET", "/second", "HTTP/1.1", ["Host: h"]))
    for method, headers in (("PUT", ["Host: h"]), ("GET", ["Host: h", "X-A: b"])):
        with pytest.raises(NameError):
            outcome(wire(method, "/second", "HTTP/1.1", headers))


@pytest.mark.parametrize(
    "header", ["Authorization: x", "Transfer-Encoding: chunked", "X: " + 2000 * "a"]
)
def test_what_is_not_remembered(monkeypatch: pytest.MonkeyPatch, header: str) -> None:
    monkeypatch.setattr(head, "_MEMORY", head._Memory())
    for _ in range(2):
        made = Head()
        assert made.feed(wire("PUT", "/", "HTTP/1.1", ["Host: h", header]))
        assert not made.fields.recurring
    assert not head._MEMORY._fields


def test_so_many_are_remembered_and_the_oldest_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(head, "_MEMORY", head._Memory())
    for number in range(head.REMEMBERED + 3):
        outcome(wire("GET", "/", "HTTP/1.1", [f"Host: h{number}"]))
    kept = [fields.known[b"host"] for fields in head._MEMORY._fields.values()]
    assert kept == [b"h%d" % number for number in range(3, head.REMEMBERED + 3)]


def test_a_head_in_pieces_is_the_parsers() -> None:
    data = wire("GET", "/first", "HTTP/1.1", ["Host: h"])
    assert outcome(data)
    for cut in range(1, len(data)):
        made = Head()
        assert not made.feed(data[:cut])
        assert made.feed(data[cut:])
        assert (made.method, made.target, made.fields.version) == ("GET", b"/first", "1.1")


def test_a_method_that_runs_into_the_version_is_no_head_that_was_seen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Joined they are the same bytes."""
    monkeypatch.setattr(head, "_MEMORY", head._Memory())
    below = b"Host: x\r\n\r\n"
    assert Head().feed(b"GET / HTTP/1.1\r\n" + below)
    for begin in (b"GETH / TTP/1.1\r\n", b"G / ETHTTP/1.1\r\n", b" / GETHTTP/1.1\r\n"):
        with pytest.raises(HeadRefused):
            Head().feed(begin + below)
