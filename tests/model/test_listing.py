"""Listings against the obvious definition, over random keys, and what they cost."""

from __future__ import annotations

from collections.abc import Iterator

from hypothesis import example, given
from hypothesis import strategies as st

from s3node.model import listing
from s3node.model.listing import Entry, Position, Query

Rows = list[tuple[bytes, bytes, bool]]  # key, id, visible

KEY = st.text(alphabet="ab/é", min_size=1, max_size=6).map(str.encode)
TEXT = st.text(alphabet="ab/é", max_size=3).map(str.encode)


@st.composite
def versions(draw: st.DrawFn) -> Rows:
    """Sorted rows: some keys with several versions, some of them delete markers."""
    rows: Rows = []
    for key in sorted(draw(st.sets(KEY, max_size=25))):
        for index in range(draw(st.integers(1, 7))):
            rows.append((key, bytes([index]) * 16, draw(st.booleans())))
    return rows


class Counted:
    """An iterator factory over rows that counts what was read."""

    def __init__(self, rows: Rows) -> None:
        self.rows = rows
        self.read = 0

    def __call__(self, at: Position) -> Iterator[tuple[bytes, bytes, bool]]:
        for row in self.rows:
            if (row[0], row[1]) > at:
                self.read += 1
                yield row


def walk(
    rows: Rows, query: Query, marker: bytes, marker_id: bytes, *, newest: bool, rows_max: int
) -> list[tuple[bytes, bytes]]:
    position = listing.start(query, marker, marker_id)
    found: list[Entry[bool]] = []
    scan = Counted(rows)
    while position is not None:
        step = listing.step(
            query,
            position,
            scan,
            room=3,
            rows_max=rows_max,
            visible=bool if newest else lambda _row: True,
            newest_only=newest,
        )
        assert len(step.entries) <= 3
        assert step.position is None or step.position > position or not rows_max
        found += step.entries
        position = step.position
    return [entry[:2] for entry in found]


def plainly(
    rows: Rows, query: Query, marker: bytes, marker_id: bytes, *, newest: bool
) -> list[tuple[bytes, bytes]]:
    """What a listing is, without thinking about its cost."""
    if newest:
        first = {key: (key, identity, shown) for key, identity, shown in reversed(rows)}
        rows = [row for row in sorted(first.values()) if row[2]]
    behind = (marker, marker_id or listing.LAST_ID) if marker else (b"", b"")
    found: list[tuple[bytes, bytes]] = []
    for key, identity, _ in rows:
        if not key.startswith(query.prefix) or (key, identity) <= behind:
            continue
        group = query.group(key)
        entry = (key, identity) if group is None else (group, b"")
        shown_before = group is not None and marker.startswith(group)
        if entry not in found and not shown_before:
            found.append(entry)
    return found


@given(versions(), TEXT, TEXT, TEXT, st.booleans(), st.integers(1, 9))
@example([(b"a", b"\1" * 16, True)], b"", b"", b"a", True, 1)
def test_a_walk_is_the_plain_listing(
    rows: Rows, prefix: bytes, delimiter: bytes, marker: bytes, newest: bool, rows_max: int
) -> None:
    query = Query(prefix, delimiter)
    found = walk(rows, query, marker, b"", newest=newest, rows_max=rows_max)
    assert found == plainly(rows, query, marker, b"", newest=newest)


@given(versions(), TEXT, st.integers(0, 7))
def test_a_walk_continues_within_a_key(rows: Rows, marker: bytes, index: int) -> None:
    query = Query(b"", b"")
    marker_id = bytes([index]) * 16
    found = walk(rows, query, marker, marker_id, newest=False, rows_max=5)
    expected = plainly(rows, query, marker, marker_id, newest=False)
    if marker:
        assert found == expected


@given(versions(), TEXT, TEXT, st.integers(0, 30))
def test_going_on_from_any_entry_loses_and_repeats_nothing(
    rows: Rows, prefix: bytes, delimiter: bytes, at: int
) -> None:
    query = Query(prefix, delimiter)
    whole = walk(rows, query, b"", b"", newest=True, rows_max=9)
    if at < len(whole):
        rest = walk(rows, query, whole[at][0], b"", newest=True, rows_max=9)
        assert rest == whole[at + 1 :]


def test_a_common_prefix_is_not_read_through() -> None:
    rows = [(f"{d}/{i:04}".encode(), b"\1" * 16, True) for d in "abc" for i in range(1000)]
    scan = Counted(rows)
    step = listing.step(Query(b"", b"/"), Position(b""), scan, room=10, rows_max=100)
    assert [key for key, _, _ in step.entries] == [b"a/", b"b/", b"c/"]
    assert step.position is None
    assert scan.read <= 2 * 3


def test_old_versions_are_not_read_through() -> None:
    rows = [(b"a", i.to_bytes(16, "big"), True) for i in range(1000)] + [(b"b", bytes(16), True)]
    scan = Counted(rows)
    step = listing.step(
        Query(b"", b""), Position(b""), scan, room=10, rows_max=100, newest_only=True
    )
    assert [key for key, _, _ in step.entries] == [b"a", b"b"]
    assert scan.read <= 4 * listing.SKIPS_BEFORE_SEEK


def test_successor() -> None:
    assert listing.successor(b"a/") == b"a0"
    assert listing.successor(b"a\xff") == b"b"
    assert listing.successor(b"\xff\xff") is None
    assert listing.successor(b"") is None
