"""Locks, versions, conditions, access: decisions on rows and plain values."""

from __future__ import annotations

import itertools
from typing import Any

import msgspec
import pytest

from s3node.base.errors import S3Error
from s3node.model import conditions, multipart
from s3node.model.access import ACTIONS, allow
from s3node.model.conditions import ANY, Conditions, DeleteConditions, Subject, WriteConditions
from s3node.model.lock import lock_state, may_destroy
from s3node.model.rows import Checksum, PartRow, UploadRow, VersionRow

NOW = 1_750_000_000_000


def row(**fields: Any) -> VersionRow:
    base = VersionRow(hlc=0, modified_ms=NOW, size=0, etag="e", digest=bytes(16))
    return msgspec.structs.replace(base, **fields)


def refusal(fn: Any, *args: Any, **options: Any) -> str | None:
    try:
        fn(*args, **options)
    except S3Error as error:
        return error.code
    return None


# --- locks -----------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["", "GOVERNANCE", "COMPLIANCE", "SOMETHING NEW"])
@pytest.mark.parametrize("until", [NOW - 1, NOW, NOW + 1])
@pytest.mark.parametrize("hold", [False, True])
@pytest.mark.parametrize("bypass", [False, True])
def test_may_destroy(mode: str, until: int, hold: bool, bypass: bool) -> None:
    """The whole table, spelled out the other way round."""
    locked = row(retention_mode=mode, retain_until_ms=until, legal_hold=hold)
    free = not hold and (
        mode == ""
        or (mode in {"GOVERNANCE", "COMPLIANCE"} and until <= NOW)
        or (mode == "GOVERNANCE" and bypass)
    )
    assert refusal(may_destroy, locked, NOW, bypass=bypass) == (None if free else "AccessDenied")


def test_lock_states_are_told() -> None:
    locked = row(retention_mode="COMPLIANCE", retain_until_ms=5, legal_hold=True)
    assert lock_state(locked) == "COMPLIANCE until 5, legal hold"
    assert lock_state(row()) == ""


# --- conditions ------------------------------------------------------------------------------

SUBJECT = Subject("e", NOW, 3)
AT = NOW // 1000


def test_the_order_of_conditions_is_that_of_rfc_9110() -> None:
    matches = {None: None, ("e",): True, ("x", "e"): True, (ANY,): True, ("x",): False}
    since = {None: None, AT - 1: False, AT: True, AT + 1: True}
    for (match, m), (none, n), (unmodified, u), (modified, not_modified) in itertools.product(
        matches.items(), matches.items(), since.items(), since.items()
    ):
        wanted = Conditions(match, none, modified, unmodified)
        first_fails = m is False or (m is None and u is False)
        if first_fails:
            outcome: bool | str = "PreconditionFailed"
        elif n is not None:
            outcome = not n
        else:
            outcome = not_modified is not True
        found: bool | str | None = refusal(conditions.check_read, wanted, SUBJECT)
        if found is None:
            found = conditions.check_read(wanted, SUBJECT)
        assert found == outcome, wanted
        copied = refusal(conditions.check_copy_source, wanted, SUBJECT)
        assert copied == (None if outcome is True else "PreconditionFailed")


@pytest.mark.parametrize(
    ("wanted", "there", "absent"),
    [
        (WriteConditions(), None, None),
        (WriteConditions(absent=True), "PreconditionFailed", None),
        (WriteConditions(match="e"), None, "NoSuchKey"),
        (WriteConditions(match=ANY), None, "NoSuchKey"),
        (WriteConditions(match="x"), "PreconditionFailed", "NoSuchKey"),
    ],
)
def test_conditions_of_writes(
    wanted: WriteConditions, there: str | None, absent: str | None
) -> None:
    assert refusal(conditions.check_write, wanted, SUBJECT, "k") == there
    assert refusal(conditions.check_write, wanted, None, "k") == absent


@pytest.mark.parametrize(
    ("wanted", "there"),
    [
        (DeleteConditions(), None),
        (DeleteConditions(match=ANY), None),
        (DeleteConditions("e", 3, AT), None),
        (DeleteConditions(match="x"), "PreconditionFailed"),
        (DeleteConditions(size=4), "PreconditionFailed"),
        (DeleteConditions(size=0), "PreconditionFailed"),
        (DeleteConditions(modified=AT - 1), "PreconditionFailed"),
        (DeleteConditions("e", 3, 0), "PreconditionFailed"),
    ],
)
def test_conditions_of_deletes(wanted: DeleteConditions, there: str | None) -> None:
    assert refusal(conditions.check_delete, wanted, SUBJECT, "k") == there
    absent = None if wanted == DeleteConditions() else "NoSuchKey"
    assert refusal(conditions.check_delete, wanted, None, "k") == absent


# --- access ----------------------------------------------------------------------------------


@pytest.mark.parametrize("operation", sorted(ACTIONS))
def test_the_owner_and_nobody_else(operation: str) -> None:
    assert refusal(allow, "owner", operation, "owner") is None
    assert refusal(allow, None, operation, "owner") == "AccessDenied"
    assert refusal(allow, "other", operation, "owner") == "AccessDenied"
    assert refusal(allow, "", operation, "owner") == "AccessDenied"


def test_unknown_operations_are_refused() -> None:
    assert refusal(allow, "owner", "PutBucketPolicy", "owner") == "AccessDenied"


# --- multipart -------------------------------------------------------------------------------


def test_etag_of_parts() -> None:
    # printf '' | md5sum; printf a | md5sum; both in binary through md5sum again
    one, two = "d41d8cd98f00b204e9800998ecf8427e", "0cc175b9c0f1b6a831c399e269772661"
    assert multipart.etag_of([one, two]) == "68083ea43d0307eecfa2b4749f19df15-2"


def test_mixed_checksums_make_none() -> None:
    def part(algorithm: str | None) -> PartRow:
        kept = Checksum(algorithm, b"") if algorithm else None
        return PartRow(0, "e", b"", 0, checksum=kept)

    upload = UploadRow(0, "o")
    assert multipart.common_algorithm(upload, [part("SHA1"), part("SHA1")]) == (
        "SHA1",
        "COMPOSITE",
    )
    assert multipart.common_algorithm(upload, [part("CRC32")]) == ("CRC32", "FULL_OBJECT")
    for mixed in (["SHA1", "CRC32"], ["SHA1", None], [None]):
        assert multipart.common_algorithm(upload, [part(name) for name in mixed]) == ("", "")
