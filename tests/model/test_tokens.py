"""Continuation tokens open where they were made, show nothing, and cannot be made up."""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode

from hypothesis import given
from hypothesis import strategies as st

from s3node.model import tokens

SECRET = bytes(range(32))
ENTRIES = st.binary(min_size=1, max_size=1100)
SCOPES = st.lists(st.binary(max_size=8), max_size=4).map(tuple)


@given(ENTRIES, SCOPES, SCOPES)
def test_tokens_open_where_they_were_made(
    entry: bytes, scope: tokens.Scope, other: tokens.Scope
) -> None:
    token = tokens.seal(SECRET, scope, entry)
    assert tokens.open_token(SECRET, scope, token) == entry
    assert tokens.open_token(SECRET, other, token) == (entry if other == scope else None)
    assert tokens.open_token(SECRET[::-1], scope, token) is None
    assert tokens.seal(SECRET, scope, entry) == token


def test_a_scope_is_its_parts_and_not_their_sum() -> None:
    scopes = [(b"ab", b"c"), (b"a", b"bc"), (b"abc",), (b"abc", b""), (b"", b"abc"), ()]
    made = [tokens.seal(SECRET, scope, b"entry") for scope in scopes]
    for scope in scopes:
        opened = [tokens.open_token(SECRET, scope, token) for token in made]
        assert opened == [b"entry" if scope == made_for else None for made_for in scopes]


def test_no_other_text_is_that_token() -> None:
    token = tokens.seal(SECRET, (b"scope",), b"key/of/the/last")
    sealed = urlsafe_b64decode(token)
    assert b"key" not in sealed
    for bit in range(8 * len(sealed)):
        flipped = bytearray(sealed)
        flipped[bit // 8] ^= 1 << bit % 8
        made = urlsafe_b64encode(flipped).decode()
        assert tokens.open_token(SECRET, (b"scope",), made) is None
    for length in range(len(token)):
        assert tokens.open_token(SECRET, (b"scope",), token[:length]) is None
    # What a lenient decoder would read over.
    for made in (token + "=", token + "!", "!" + token, token[:4] + "\n" + token[4:], token + "A"):
        assert tokens.open_token(SECRET, (b"scope",), made) is None


@given(st.text(max_size=60))
def test_made_up_tokens_open_nothing(token: str) -> None:
    assert tokens.open_token(SECRET, (b"a",), token) is None
