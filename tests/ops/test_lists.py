"""Listings of objects, versions 1 and 2, and of uploads."""

from __future__ import annotations

import pytest

from tests.ops.world import World, make_world

KEYS = ["a", "a/1", "a/2", "a0", "b/", "b/x/1", "b/x/2", "b/y", "c", "é", "𝄞"]


@pytest.fixture(scope="module")
def world() -> World:
    world = make_world()
    world.bucket()
    for key in reversed(KEYS):
        world.put(f"/bucket/{key}", key.encode())
    return world


def v2(world: World, **query: str) -> tuple[list[str], list[str]]:
    answer = world.get(
        "/bucket", {"list-type": "2"} | {k.replace("_", "-"): v for k, v in query.items()}
    )
    assert answer.status == 200, answer.body
    return answer.texts("Contents/Key"), answer.texts("CommonPrefixes/Prefix")


def test_order_is_that_of_utf8_bytes(world: World) -> None:
    assert v2(world) == (KEYS, [])


@pytest.mark.parametrize(
    ("query", "keys", "prefixes"),
    [
        ({"delimiter": "/"}, ["a", "a0", "c", "é", "𝄞"], ["a/", "b/"]),
        ({"prefix": "b/", "delimiter": "/"}, ["b/", "b/y"], ["b/x/"]),
        ({"prefix": "a"}, ["a", "a/1", "a/2", "a0"], []),
        ({"prefix": "a", "delimiter": "/"}, ["a", "a0"], ["a/"]),
        ({"delimiter": "x/"}, ["a", "a/1", "a/2", "a0", "b/", "b/y", "c", "é", "𝄞"], ["b/x/"]),
        ({"start_after": "b/y"}, ["c", "é", "𝄞"], []),
        ({"start_after": "a/1", "delimiter": "/"}, ["a0", "c", "é", "𝄞"], ["b/"]),
        ({"start_after": "zzzz"}, ["é", "𝄞"], []),
        ({"start_after": "𝄞"}, [], []),
        ({"prefix": "nothing"}, [], []),
        ({"prefix": "b/", "start_after": "a"}, ["b/", "b/x/1", "b/x/2", "b/y"], []),
        ({"prefix": "a", "start_after": "c"}, [], []),
        ({"max_keys": "0"}, [], []),
    ],
)
def test_what_is_listed(
    world: World, query: dict[str, str], keys: list[str], prefixes: list[str]
) -> None:
    assert v2(world, **query) == (keys, prefixes)
    if "start_after" in query:
        query = {"marker": query["start_after"]} | query
        del query["start_after"]
    answer = world.get("/bucket", {k.replace("_", "-"): v for k, v in query.items()})
    assert answer.texts("Contents/Key") == keys
    assert answer.texts("CommonPrefixes/Prefix") == prefixes
    assert answer.text("IsTruncated") == "false"


@pytest.mark.parametrize("size", [1, 2, 3, 10, 11])
@pytest.mark.parametrize("delimiter", ["", "/", "x"])
@pytest.mark.parametrize("version", [1, 2])
def test_pages_add_up(world: World, size: int, delimiter: str, version: int) -> None:
    query = {"max-keys": str(size), "encoding-type": "url"}
    query |= {"delimiter": delimiter} if delimiter else {}
    query |= {"list-type": "2"} if version == 2 else {}
    whole = world.get("/bucket", query | {"max-keys": "1000"})
    keys: list[str] = []
    prefixes: list[str] = []
    while True:
        page = world.get("/bucket", query)
        here = page.texts("Contents/Key"), page.texts("CommonPrefixes/Prefix")
        keys += here[0]
        prefixes += here[1]
        assert len(here[0]) + len(here[1]) <= size
        if page.text("IsTruncated") == "false":
            assert page.text("NextContinuationToken") is None and page.text("NextMarker") is None
            break
        if version == 2:
            query["continuation-token"] = page.text("NextContinuationToken") or ""
            assert page.text("KeyCount") == str(len(here[0]) + len(here[1]))
        else:
            from urllib.parse import unquote

            assert (page.text("NextMarker") is not None) == bool(delimiter)
            query["marker"] = unquote(page.text("NextMarker") or here[0][-1])
    assert keys == whole.texts("Contents/Key")
    assert prefixes == whole.texts("CommonPrefixes/Prefix")


def test_owner(world: World) -> None:
    assert world.get("/bucket").text("Contents/Owner/ID") == "owner-1"
    assert world.get("/bucket", "list-type=2").text("Contents/Owner") is None
    owned = world.get("/bucket", "list-type=2&fetch-owner=true")
    assert owned.text("Contents/Owner/DisplayName") == "root"


def test_url_encoding(world: World) -> None:
    answer = world.get("/bucket", {"encoding-type": "url", "prefix": "é", "delimiter": "+ "})
    assert answer.texts("Contents/Key") == ["%C3%A9"]
    assert (answer.text("Prefix"), answer.text("Delimiter")) == ("%C3%A9", "%2B%20")
    assert answer.text("EncodingType") == "url"


@pytest.mark.parametrize(
    "query",
    [
        "max-keys=x",
        "max-keys=-1",
        "max-keys=99999999999999",
        "encoding-type=base64",
        "list-type=2&continuation-token=AAAA",
        "list-type=2&continuation-token=",
        "list-type=2&continuation-token=%C3%A9",
        "list-type=2&fetch-owner=maybe",
        "list-type=3",
    ],
)
def test_refused(world: World, query: str) -> None:
    answer = world.get("/bucket", query)
    assert (answer.status, answer.code) == (400, "InvalidArgument")


def test_tokens_are_for_one_listing(world: World) -> None:
    page = world.get("/bucket", "list-type=2&max-keys=1")
    token = page.text("NextContinuationToken") or ""
    for other in ({"prefix": "a"}, {"delimiter": "/"}):
        query = {"list-type": "2", "continuation-token": token} | other
        assert world.get("/bucket", query).code == "InvalidArgument"
    world.ask("PUT", "/other")
    query = {"list-type": "2", "continuation-token": token}
    assert world.get("/other", query).code == "InvalidArgument"
    assert world.get("/bucket", query).texts("Contents/Key") == KEYS[1:]


def test_limits_are_capped_and_echoed(world: World) -> None:
    answer = world.get("/bucket", "max-keys=2000")
    assert answer.text("MaxKeys") == "1000"
    assert world.get("/bucket", "list-type=2&max-keys=0").text("KeyCount") == "0"


def test_a_walk_over_many_reads() -> None:
    world = make_world()
    world.bucket()
    keys = [f"{i % 7}/{i:04}" for i in range(1500)]
    for key in keys:
        world.put(f"/bucket/{key}", b"")
    assert v2(world, delimiter="/") == ([], [f"{i}/" for i in range(7)])
    first, _ = v2(world)
    assert first == sorted(keys)[:1000]


def test_uploads() -> None:
    world = make_world()
    world.bucket()
    made = []
    for key in ("b", "a/1", "a/2", "b"):
        world.clock.ms += 1000
        upload = world.ask("POST", f"/bucket/{key}", "uploads").text("UploadId")
        made.append((key, upload))
    ordered = [made[1], made[2], made[0], made[3]]

    def page(**query: str) -> tuple[list[tuple[str, str]], list[str], dict[str, str | None]]:
        answer = world.get(
            "/bucket", {"uploads": ""} | {k.replace("_", "-"): v for k, v in query.items()}
        )
        assert answer.status == 200, answer.body
        found = list(zip(answer.texts("Upload/Key"), answer.texts("Upload/UploadId"), strict=True))
        names = ("NextKeyMarker", "NextUploadIdMarker", "IsTruncated")
        return found, answer.texts("CommonPrefixes/Prefix"), {n: answer.text(n) for n in names}

    assert page()[0] == ordered
    assert page(delimiter="/")[:2] == (ordered[2:], ["a/"])
    assert page(prefix="b")[0] == ordered[2:]
    assert page(key_marker="b")[0] == []
    assert page(key_marker="b", upload_id_marker=ordered[2][1] or "")[0] == ordered[3:]
    assert page(upload_id_marker="ignored-without-a-key")[0] == ordered
    found: list[tuple[str, str]] = []
    query: dict[str, str] = {}
    while True:
        some, _, marks = page(max_uploads="1", **query)
        found += some
        if marks["IsTruncated"] == "false":
            break
        query = {
            "key_marker": marks["NextKeyMarker"] or "",
            "upload_id_marker": marks["NextUploadIdMarker"] or "",
        }
    assert found == ordered
    bad = world.get("/bucket", "uploads&key-marker=b&upload-id-marker=zz")
    assert bad.code == "InvalidArgument"
