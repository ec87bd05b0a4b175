"""What a page of versions costs, by the rows it reads: the same wherever it begins, and however
many there are.

Rows are counted in everything an answer takes: the transaction, and its validation where it
writes. Rows are what disks and processors pay for; times are in `python -m bench versions`.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import pytest

from bench import version_rows
from s3node.base.limits import LIST_ENTRIES_MAX
from s3node.meta import memory, tables
from tests.ops.world import Answer, World, make_world

VERSIONS, KEYS, KEY_VERSIONS = 100_000, 100_000, 3
LOOKUPS = 12
"""Rows beside those that are shown: the bucket's, where the walk begins, one more than the page
to know that there are more, what the first entry's key begins with."""


class Counting(memory.SortedRows):
    """The rows of the map, counted as they are read."""

    rows = 0

    def get(self, key: bytes) -> bytes | None:
        Counting.rows += 1
        return super().get(key)

    def scan(
        self, start: bytes, stop: bytes, *, reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        for row in super().scan(start, stop, reverse=reverse):
            Counting.rows += 1
            yield row


@pytest.fixture(autouse=True)
def _counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "SortedRows", Counting)


def versioning(world: World, status: str) -> None:
    body = f"<VersioningConfiguration><Status>{status}</Status></VersioningConfiguration>"
    assert world.ask("PUT", "/bucket", "versioning", body.encode()).status == 200


def grown(rows: Iterator[tuple[bytes, bytes, Any]]) -> World:
    """A world with these versions in `bucket`, whose versioning is on."""
    world = make_world()
    world.bucket()
    versioning(world, "Enabled")

    def fill(tx: Any) -> None:
        ((_, bucket),) = tables.scan_buckets(tx)
        for key, identity, row in rows:
            tables.put_version(tx, bucket.bucket_id, key, identity, row)
            tables.add_usage(tx, bucket.bucket_id, 1, 0)

    asyncio.run(world.kv.write(fill))
    return world


@pytest.fixture(scope="module")
def one_key() -> World:
    return grown(version_rows.of_one_key(VERSIONS))


@pytest.fixture(scope="module")
def many_keys() -> World:
    return grown(version_rows.of_many_keys(KEYS, KEY_VERSIONS))


def read(world: World, method: str, path: str, **query: Any) -> tuple[Answer, int]:
    """The answer, and how many rows it took."""
    before = Counting.rows
    answer = world.ask(method, path, urlencode(query))
    return answer, Counting.rows - before


def pages(world: World, marker: dict[str, str], most: int) -> Iterator[tuple[Answer, int]]:
    """Pages of versions behind the marker, one after the other, `most` of them."""
    for _ in range(most):
        answer, rows = read(world, "GET", "/bucket", versions="", **marker)
        yield answer, rows
        if answer.text("IsTruncated") == "false":
            return
        names = ("NextKeyMarker", "key-marker"), ("NextVersionIdMarker", "version-id-marker")
        marker = {asked: answer.text(told) or "" for told, asked in names}


@pytest.fixture
def untouched(one_key: World) -> Iterator[World]:
    """The same, whatever a test does to it."""
    rows = one_key.kv._rows.copy()
    yield one_key
    one_key.kv._rows = rows


@pytest.mark.deep
def test_all_pages_of_one_keys_versions(one_key: World) -> None:
    shown: list[str] = []
    costs = []
    for answer, rows in pages(one_key, {}, VERSIONS):
        names = answer.texts("Version/VersionId")
        shown += names
        costs.append(rows - len(names))
    assert shown == [identity.hex() for _, identity, _ in version_rows.of_one_key(VERSIONS)]
    assert max(costs) <= LOOKUPS, costs


def test_a_page_from_anywhere_costs_what_the_first_does(one_key: World) -> None:
    chance = random.Random(1)
    every = [identity.hex() for _, identity, _ in version_rows.of_one_key(VERSIONS)]
    for size in (1, 10, LIST_ENTRIES_MAX):
        for at in [0, VERSIONS - 2, *(chance.randrange(VERSIONS) for _ in range(10))]:
            marker = {"key-marker": version_rows.KEY, "version-id-marker": every[at]}
            query = {"versions": "", "max-keys": size, **marker}
            answer, rows = read(one_key, "GET", "/bucket", **query)
            assert answer.texts("Version/VersionId") == every[at + 1 : at + 1 + size]
            assert rows <= size + LOOKUPS


def test_one_version_among_many_is_found_at_once(untouched: World) -> None:
    """By its id, as the current one, as the null version that is not there; and changed so."""
    one_key = untouched
    path = f"/bucket/{version_rows.KEY}"
    deep = [identity.hex() for _, identity, _ in version_rows.of_one_key(VERSIONS)][VERSIONS // 2]
    costs = {}
    for name, method, query in (
        ("get", "GET", {}),
        ("get old", "GET", {"versionId": deep}),
        ("get null", "GET", {"versionId": "null"}),
        ("put", "PUT", {}),
        ("hide", "DELETE", {}),
        ("delete old", "DELETE", {"versionId": deep}),
        ("list", "GET", {}),
    ):
        _, costs[name] = read(one_key, method, path, **query)
    for name, query in (("V1", {}), ("V2", {"list-type": 2}), ("delete bucket", {})):
        method = "DELETE" if name == "delete bucket" else "GET"
        answer, costs[name] = read(one_key, method, "/bucket", **query)
        assert answer.status == (409 if method == "DELETE" else 200)
    assert max(costs.values()) <= 2 * LOOKUPS, costs


@pytest.mark.parametrize("between", [0, 100])
def test_a_null_version_below_many_is_found_at_once(untouched: World, between: int) -> None:
    """Written while versioning is suspended, covered by others, replaced where it lies."""
    versioning(untouched, "Suspended")
    path = f"/bucket/{version_rows.KEY}"
    assert read(untouched, "PUT", path)[1] <= 2 * LOOKUPS
    versioning(untouched, "Enabled")
    for _ in range(between):
        assert untouched.ask("PUT", path).status == 200
    versioning(untouched, "Suspended")
    for method in ("GET", "PUT", "DELETE", "PUT"):
        query = {"versionId": "null"} if method == "GET" else {}
        answer, cost = read(untouched, method, path, **query)
        assert answer.status in (200, 204)
        assert cost <= 2 * LOOKUPS, method


PAGES, PLACES = 2, 6


def test_pages_of_many_keys_versions_from_anywhere(many_keys: World, deep: bool) -> None:
    """Each begins where the one before ended, mostly within a key."""
    chance = random.Random(3)
    markers = [{"key-marker": version_rows.key(chance.randrange(KEYS))} for _ in range(PLACES)]
    last = {"key-marker": version_rows.key(KEYS - 2)}
    for marker in [{}, *markers, last]:
        first = int(KEYS * KEY_VERSIONS if deep and not marker else PAGES)
        shown: list[tuple[str, str]] = []
        for answer, rows in pages(many_keys, marker, first):
            names = answer.texts("Version/Key"), answer.texts("Version/VersionId")
            shown += zip(*names, strict=True)
            assert rows <= len(names[0]) + LOOKUPS
        assert len(set(shown)) == len(shown)
        assert len(shown) in (PAGES * LIST_ENTRIES_MAX, KEY_VERSIONS, KEYS * KEY_VERSIONS)
        assert [key for key, _ in shown] == sorted(key for key, _ in shown)


def test_current_versions_of_many_keys_cost_a_step_for_each_version(many_keys: World) -> None:
    """The older versions of a key are read past: so few are cheaper than a seek."""
    chance = random.Random(2)
    for start in ["", *(version_rows.key(chance.randrange(KEYS)) for _ in range(10))]:
        query = {"list-type": 2, "start-after": start}
        answer, rows = read(many_keys, "GET", "/bucket", **query)
        shown = len(answer.texts("Contents/Key"))
        assert rows <= KEY_VERSIONS * shown + LOOKUPS


def test_prefixes_cost_a_seek_each(many_keys: World) -> None:
    """Whatever is below them, in both listings."""
    for query in ({"versions": ""}, {"list-type": 2}):
        answer, rows = read(many_keys, "GET", "/bucket", **query, delimiter="/")
        shown = len(answer.texts("CommonPrefixes/Prefix"))
        assert shown == min(LIST_ENTRIES_MAX, KEYS // version_rows.KEYS_OF_A_PREFIX)
        assert rows <= 2 * shown + LOOKUPS
