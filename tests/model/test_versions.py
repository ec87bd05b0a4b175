"""What writes and deletes do to a key's versions, whatever state its bucket's versioning is in."""

from __future__ import annotations

import itertools
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from s3node.base.errors import S3Error
from s3node.model import versions
from s3node.model.conditions import DeleteConditions, WriteConditions
from s3node.model.outline import VersionOutline
from s3node.model.rows import Data, VersionRow
from s3node.model.versions import (
    ENABLED,
    SUSPENDED,
    UNVERSIONED,
    Change,
    Deed,
    Seen,
    Version,
    may_put,
    plan_delete,
    plan_put,
    plan_remove,
    replaces_null,
)

NOW = 1_750_000_000_000
DEED = Deed("b", "k", "me", NOW)
ALWAYS, ANYTHING = WriteConditions(), DeleteConditions()
STATES = (UNVERSIONED, ENABLED, SUSPENDED)
NOBODY = Seen(None, None)


def row(**fields: Any) -> VersionRow:
    base = VersionRow(hlc=0, modified_ms=NOW, size=0, etag="e", digest=bytes(16))
    return msgspec.structs.replace(base, **fields)


def refusal(fn: Any, *args: Any) -> str | None:
    try:
        fn(*args)
    except S3Error as error:
        return error.code
    return None


def put(versioning: str, seen: Seen, new: VersionRow | None = None, deed: Deed = DEED) -> Change:
    return plan_put(deed, versioning, seen, ALWAYS, new or row(), bytes)


def delete(versioning: str, seen: Seen, deed: Deed = DEED) -> Change:
    return plan_delete(deed, versioning, seen, ANYTHING, bytes, "owner")


class Key:
    """A key's versions, done to as plans say: newest first, and the row that names the null one."""

    def __init__(self) -> None:
        self.versions: list[Version] = []
        self.named: bytes | None = None

    @property
    def null(self) -> Version | None:
        """Found as the metadata finds it: without a walk."""
        if self.versions and self.versions[0][1].null:
            return self.versions[0]
        return next((one for one in self.versions if one[0] == self.named), None)

    def seen(self, versioning: str) -> Seen:
        current = self.versions[0] if self.versions else None
        return Seen(current, self.null if replaces_null(versioning) else None)

    def apply(self, change: Change) -> None:
        if change.removed is not None:
            self.versions.remove(change.removed)
            if change.removed[0] == self.named:
                self.named = None
        if change.covered is not None:
            self.named = change.covered
        if change.added is not None:
            self.versions.insert(0, change.added)
        assert self.versions == sorted(self.versions, key=lambda one: one[0])
        nulls = [one for one in self.versions if one[1].null]
        assert len(nulls) <= 1
        assert self.null == (nulls[0] if nulls else None)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["put", "delete", "remove"]),
            st.sampled_from([ENABLED, SUSPENDED]),
            st.integers(-5, 5),
            st.integers(0, 9),
        ),
        max_size=40,
    ),
    st.integers(0, 3),
)
def test_a_key_through_its_life(steps: list[tuple[str, str, int, int]], before: int) -> None:
    """At most one null version, always found; later writes sort first whatever the clock does."""
    key = Key()
    now = NOW
    for _ in range(before):
        key.apply(put(UNVERSIONED, key.seen(UNVERSIONED)))
    assert len(key.versions) == min(before, 1)
    for what, versioning, step, which in steps:
        now += step
        deed, count = Deed("b", "k", "me", now), len(key.versions)
        seen, null = key.seen(versioning), key.null
        if what == "remove":
            target = key.versions[which % count] if count else None
            key.apply(plan_remove(deed, target, ANYTHING))
            assert len(key.versions) == max(count - 1, 0)
            continue
        change = (put if what == "put" else delete)(versioning, seen, deed=deed)
        key.apply(change)
        added = key.versions[0][1]
        assert added.delete_marker == (what == "delete")
        assert added.null == (versioning == SUSPENDED)
        replaced = versioning == SUSPENDED and null is not None
        assert change.removed == (null if replaced else None)
        assert len(key.versions) == count + 1 - replaced
        assert (change.objects, change.bytes) == (1 - replaced, 0)


def test_where_versioning_never_was_there_is_one_version_or_none() -> None:
    old = (b"\1" * 16, row(size=10, data=(Data(b"d" * 16, 10, 1),)))
    change = put(UNVERSIONED, Seen(old, old), row(size=3))
    assert (change.objects, change.bytes, change.removed) == (0, -7, old)
    (death,) = change.deaths
    assert (death.data_ids, death.size, death.reason) == ((b"d" * 16,), 10, "overwritten")
    assert (death.who, death.when_ms, death.bucket, death.key) == ("me", NOW, "b", "k")
    change = delete(UNVERSIONED, Seen(old, old))
    assert (change.added, change.removed, change.covered) == (None, old, None)
    assert (change.objects, change.bytes, change.deaths[0].reason) == (-1, -10, "deleted")
    assert delete(UNVERSIONED, NOBODY) == Change()


def test_a_delete_marker_is_put_also_where_there_is_nothing() -> None:
    for versioning in (ENABLED, SUSPENDED):
        added = delete(versioning, NOBODY).added
        assert added is not None
        assert added[1].delete_marker
        assert added[1].owner == "owner"


def test_what_goes_leaves_a_death_row_for_its_bytes() -> None:
    data = (Data(b"d" * 16, 10, 1), Data(b"e" * 16, 7, 1))
    old = (b"\1" * 16, row(size=17, data=data))
    for change in (
        plan_remove(DEED, old, ANYTHING),
        put(SUSPENDED, Seen(old, old)),
        delete(SUSPENDED, Seen(old, old)),
    ):
        (death,) = change.deaths
        assert (death.data_ids, death.size) == ((b"d" * 16, b"e" * 16), 17)
    inline = (b"\1" * 16, row(size=1, inline=b"x"))
    assert plan_remove(DEED, inline, ANYTHING).deaths == ()
    assert plan_remove(DEED, None, ANYTHING) == Change()


@pytest.mark.parametrize("versioning", STATES)
@pytest.mark.parametrize("hold", [False, True])
def test_whatever_removes_a_version_asks_its_lock(versioning: str, hold: bool) -> None:
    locked = (bytes(16), row(legal_hold=hold))
    seen = Seen(locked, locked if replaces_null(versioning) else None)
    refused = "AccessDenied" if hold else None
    overwrites = refused if replaces_null(versioning) else None
    assert refusal(may_put, DEED, seen, ALWAYS) == overwrites
    assert refusal(put, versioning, seen) == overwrites
    assert refusal(delete, versioning, seen) == overwrites
    assert refusal(plan_remove, DEED, locked, ANYTHING) == refused


@pytest.mark.parametrize("versioning", STATES)
def test_conditions_are_of_the_current_version_or_of_the_one_that_is_named(
    versioning: str,
) -> None:
    marker = (bytes(16), row(delete_marker=True, etag="", null=True))
    older = (b"\1" * 16, row(etag="old", null=False))
    hidden = Seen(marker, marker if replaces_null(versioning) else None)
    assert refusal(may_put, DEED, hidden, WriteConditions(absent=True)) is None
    assert refusal(may_put, DEED, hidden, WriteConditions(match="old")) == "NoSuchKey"
    match = DeleteConditions(match="old")
    assert refusal(plan_delete, DEED, versioning, hidden, match, bytes, "") == "PreconditionFailed"
    assert refusal(plan_delete, DEED, versioning, Seen(None, None), match, bytes, "") == "NoSuchKey"
    assert refusal(plan_remove, DEED, older, match) is None
    assert refusal(plan_remove, DEED, marker, match) == "PreconditionFailed"
    assert refusal(plan_remove, DEED, None, match) == "NoSuchKey"
    other = DeleteConditions(match="new")
    assert refusal(plan_remove, DEED, older, other) == "PreconditionFailed"


def test_version_ids() -> None:
    assert versions.parse_version("null") is None
    assert versions.parse_version("ab" * 16) == bytes.fromhex("ab" * 16)
    for text in ("", "NULL", "AB" * 16, "ab" * 15, "ab" * 17, " " * 32, "g" * 32):
        assert refusal(versions.parse_version, text) == "InvalidArgument"
    assert versions.version_name(b"\xab" * 16, row(null=False)) == "ab" * 16
    assert versions.version_name(b"\xab" * 16, row()) == "null"


def test_an_outline_is_the_row_but_for_what_may_be_long() -> None:
    assert VersionOutline.__struct_fields__ == VersionRow.__struct_fields__
    part = Data(b"d" * 16, 10, 1)
    whole = row(
        data=(part,) * 3, inline=b"x", metadata=(("a", "b"),), tags=(("c", "d"),), null=False,
        upload_id=b"u" * 16, owner="me", storage_class="GLACIER", legal_hold=True, parts=3,
    )  # fmt: skip
    outline = msgspec.msgpack.decode(msgspec.msgpack.encode(whole), type=VersionOutline)
    for name in VersionRow.__struct_fields__:
        value = getattr(outline, name)
        if isinstance(value, msgspec.Raw):
            value = msgspec.msgpack.decode(value, type=type_of(name))
        assert value == getattr(whole, name), name
    first = msgspec.msgpack.decode(msgspec.msgpack.encode(whole))[:5]
    oldest = msgspec.msgpack.encode(first)
    decoded = msgspec.msgpack.decode(oldest, type=VersionOutline)
    assert (decoded.etag, decoded.storage_class, decoded.upload_id) == ("e", "STANDARD", b"")


def type_of(name: str) -> Any:
    return next(one.type for one in msgspec.structs.fields(VersionRow) if one.name == name)


def test_every_pair_of_state_and_deed_is_planned() -> None:
    """No state of a key makes a plan fail."""
    null, own = (b"\2" * 16, row()), (b"\1" * 16, row(null=False))
    for versioning, (current, other) in itertools.product(
        STATES[1:], itertools.product([None, null, own], repeat=2)
    ):
        seen = Seen(current, (null if null in {current, other} else None))
        assert put(versioning, seen).added is not None
        assert delete(versioning, seen).added is not None
