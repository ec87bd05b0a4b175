"""Forms that upload: in any pieces, of any size; and those that fail leave nothing behind."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from s3node.base.limits import FORM_BYTES_MAX, INLINE_BYTES_MAX, UPLOAD_BYTES_MAX
from tests.ops.world import Answer, World, make_world
from tests.s3.forms import body, content_type, form, part, signed

LARGE = b"\r\n--" + bytes(range(256)) * 100
EXPIRES = "2999-01-01T00:00:00Z"


@pytest.fixture
def world() -> World:
    world = make_world()
    world.bucket()
    return world


def fields(*conditions: Any, **more: str) -> dict[str, str]:
    return signed({"key": "up", **more}, more=conditions, expiration=EXPIRES)


def post(world: World, data: bytes | Sequence[bytes], **headers: str) -> Answer:
    return world.ask("POST", "/bucket", body=data, content_type=content_type(), **headers)


class Counted(list[bytes]):
    """Pieces that know how many were taken."""

    taken = 0

    def __iter__(self) -> Iterator[bytes]:
        self.taken = 0
        for piece in super().__iter__():
            self.taken += 1
            yield piece


SIZES = [0, 1, INLINE_BYTES_MAX - 1, INLINE_BYTES_MAX, INLINE_BYTES_MAX + 1, 70_000]


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    st.sampled_from(SIZES),
    st.integers(0, 3),
    st.lists(st.integers(0, 1 << 17), max_size=8),
    st.booleans(),
)
def test_any_size_in_any_pieces(size: int, behind: int, cuts: list[int], epilogue: bool) -> None:
    """Stored is the file and nothing else; small ones in their row, whatever stands behind."""
    world = make_world()
    world.bucket()
    content = (LARGE * 3)[:size]
    parts = [part(name, value) for name, value in fields().items()]
    parts += [part("file", content, "f"), *[part("more", "m" * 3000)] * behind]
    data = body(parts) + b"epilogue" * epilogue
    edges = sorted({0, *(cut % len(data) for cut in cuts), len(data)})
    pieces = [data[start:stop] for start, stop in itertools.pairwise(edges)]
    answer = post(world, pieces)
    assert answer.status == 204, answer.body
    assert answer.etag == hashlib.md5(content).hexdigest()
    got = world.get("/bucket/up")
    assert (got.status, got.body) == (200, content)
    assert len(world.objects.bytes) == (size > INLINE_BYTES_MAX)
    world.check_ledger()


FAILING: dict[str, tuple[Callable[[bytes], bytes], dict[str, str], str]] = {
    "ends in the file": (lambda data: data[:-3000], {}, "MalformedPOSTRequest"),
    "ends before it is closed": (lambda data: data[:-4], {}, "MalformedPOSTRequest"),
    "a second file": (
        lambda data: data.replace(b"--\r\n", b"\r\n" + part("file", "x", "y") + b"\r\n"),
        {},
        "InvalidArgument",
    ),
    "something behind its delimiter": (
        lambda data: data[:-4] + b"junk\r\n",
        {},
        "MalformedPOSTRequest",
    ),
    "much behind it": (
        lambda data: data + b"x" * FORM_BYTES_MAX,
        {},
        "MaxPostPreDataLengthExceeded",
    ),
    "another digest": (lambda data: data, {"Content-MD5": "1B2M2Y8AsgTpgAmY7PhCfg=="}, "BadDigest"),
    "another checksum": (lambda data: data, {"x-amz-checksum-crc32c": "AAAAAA=="}, "BadDigest"),
}


@pytest.mark.parametrize("name", FAILING)
@pytest.mark.parametrize("content", [LARGE, b"small" * 700], ids=["large", "small"])
def test_what_fails_leaves_all_as_it_was(world: World, name: str, content: bytes) -> None:
    world.put("/bucket/up", b"before")
    before = dict(world.kv._rows)
    change, more, code = FAILING[name]
    answer = post(world, [change(form(fields(**more), content))])
    assert (answer.status, answer.code) == (400, code)
    assert dict(world.kv._rows) == before
    world.check_ledger()


@pytest.mark.parametrize(
    ("condition", "code"),
    [
        (["content-length-range", 0, len(LARGE) - 1], "EntityTooLarge"),
        (["content-length-range", len(LARGE) + 1, 10**9], "EntityTooSmall"),
        (["content-length-range", 10, 9], "EntityTooLarge"),
    ],
)
def test_sizes_are_judged_before_anything_is_visible(
    world: World, condition: list[Any], code: str
) -> None:
    world.put("/bucket/up", b"before")
    before = dict(world.kv._rows)
    answer = post(world, [form(fields(condition), LARGE)])
    assert (answer.status, answer.code) == (400, code)
    assert answer.text("ProposedSize") == str(len(LARGE))
    assert dict(world.kv._rows) == before
    world.check_ledger()


def test_the_bounds_of_a_size_belong_to_it(world: World) -> None:
    exact = ["content-length-range", len(LARGE), str(len(LARGE))]
    assert post(world, [form(fields(exact), LARGE)]).status == 204


def test_what_must_be_too_large_is_not_received(world: World) -> None:
    """Nor what nobody may write: the file is not asked for."""
    data = form(fields(["content-length-range", 0, 50_000]), LARGE * 20)
    pieces = Counted([data[start : start + 4000] for start in range(0, len(data), 4000)])
    answer = post(world, pieces)
    assert (answer.code, pieces.taken) == ("EntityTooLarge", 1)
    assert int(answer.text("ProposedSize") or 0) >= 20 * len(LARGE)
    whole = Counted([form(fields(), b"").rpartition(b"\r\n--")[0], *[LARGE] * 9])
    assert post(world, whole, content_length=str(UPLOAD_BYTES_MAX * 2)).code == "EntityTooLarge"
    assert whole.taken == 1
    world.ask("DELETE", "/bucket")
    data = form(fields(), LARGE * 20)
    pieces = Counted([data[start : start + 4000] for start in range(0, len(data), 4000)])
    assert (post(world, pieces).code, pieces.taken) == ("NoSuchBucket", 1)


def test_it_is_stopped_where_it_becomes_too_large(world: World) -> None:
    """Where the length does not tell, no more than that is received."""
    room = ["content-length-range", 0, FORM_BYTES_MAX + 4000]
    data = form(fields(room), b"x" * (FORM_BYTES_MAX + 6000))
    pieces = Counted([data[start : start + 100] for start in range(0, len(data), 100)])
    assert post(world, pieces).code == "EntityTooLarge"
    assert pieces.taken < len(pieces)
    world.check_ledger()


def test_versions_and_clients_that_come_back(world: World) -> None:
    enabled = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"
    assert world.ask("PUT", "/bucket", "versioning", enabled).status == 200
    first, second = (post(world, [form(fields(), LARGE + one)]) for one in (b"1", b"2"))
    ids = [answer.headers["x-amz-version-id"] for answer in (first, second)]
    assert len(set(ids)) == 2
    assert world.get("/bucket/up").body == LARGE + b"2"
    assert world.get("/bucket/up", {"versionId": ids[0]}).body == LARGE + b"1"
    world.check_ledger()


def test_a_redirect_is_a_web_address(world: World) -> None:
    urls = {
        "http://a/b?c=d&e": "http://a/b?c=d&e&bucket=bucket&key=a%2Fb+%C3%A4&etag=%22",
        "https://user@a:1/%20/\u00e4#f": "https://user@a:1/%20/%C3%A4?bucket=",
        "HTTP://A": "HTTP://A?bucket=",
    }
    for url, wanted in urls.items():
        made = signed({"key": "a/b \u00e4", "success_action_redirect": url}, expiration=EXPIRES)
        answer = post(world, [form(made, b"x")])
        assert answer.status == 303, answer.body
        location = answer.headers["location"]
        assert location.lower().startswith(wanted.lower()), location
        assert location.isascii() and location.isprintable() and " " not in location
        assert location.endswith("#f") is url.endswith("#f")
