"""Tags: which sets of them there may be, and that nothing but tags changes with them."""

from __future__ import annotations

from unicodedata import category

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from s3node.base.errors import S3Error
from s3node.base.limits import (
    BUCKET_TAGS_MAX,
    OBJECT_TAGS_MAX,
    TAG_KEY_UNITS_MAX,
    TAG_VALUE_UNITS_MAX,
)
from s3node.model.rows import Checksum, Data, VersionRow
from s3node.model.tags import Tags, check_bucket_tags, check_object_tags, retagged

ALLOWED = st.characters(codec="utf-8", categories=["L", "N", "Z"]) | st.sampled_from("_.:/=+-@")
KEYS = st.text(ALLOWED, min_size=1, max_size=TAG_KEY_UNITS_MAX // 2).filter(
    lambda key: not key.lower().startswith("aws:")
)
VALUES = st.text(ALLOWED, max_size=TAG_VALUE_UNITS_MAX // 2)
SETS = st.dictionaries(KEYS, VALUES, max_size=OBJECT_TAGS_MAX).map(lambda tags: tuple(tags.items()))


def refusal(tags: Tags, *, of_bucket: bool = False) -> S3Error:
    with pytest.raises(S3Error) as caught:
        (check_bucket_tags if of_bucket else check_object_tags)(tags)
    return caught.value


@given(SETS)
def test_what_is_allowed_is_taken_as_it_is(tags: Tags) -> None:
    assert check_object_tags(tags) == tags
    assert check_bucket_tags(tags) == tags


def test_how_many() -> None:
    tags = tuple((f"key{number}", "") for number in range(BUCKET_TAGS_MAX + 1))
    assert check_object_tags(tags[:OBJECT_TAGS_MAX])
    assert check_bucket_tags(tags[:BUCKET_TAGS_MAX])
    error = refusal(tags[: OBJECT_TAGS_MAX + 1])
    assert (error.code, error.message) == ("BadRequest", "Object tags cannot be greater than 10")
    error = refusal(tags, of_bucket=True)
    assert error.message == "Bucket tag count cannot be greater than 50"


@pytest.mark.parametrize("character", ["a", "é", "漢", "\U00020000"])
def test_lengths_are_of_utf16(character: str) -> None:
    units = len(character.encode("utf-16-le")) // 2
    key = character * (TAG_KEY_UNITS_MAX // units)
    value = character * (TAG_VALUE_UNITS_MAX // units)
    assert check_object_tags(((key, value),))
    error = refusal(((key + character, ""),))
    assert (error.code, error.message) == ("InvalidTag", "The TagKey you have provided is invalid")
    assert error.fields == {"TagKey": key + character}
    error = refusal((("k", value + character),))
    assert error.message == "The TagValue you have provided is invalid"
    assert error.fields == {"TagKey": "k", "TagValue": value + character}


def test_every_character_below_256() -> None:
    for number in range(256):
        character = chr(number)
        good = category(character)[0] in "LNZ" or character in "_.:/=+-@"
        for tags in (((character, ""),), (("k", character),)):
            if good:
                check_object_tags(tags)
            else:
                assert refusal(tags).code == "InvalidTag", repr(character)


@pytest.mark.parametrize("key", ["aws:", "aws:x", "AWS:x", "aWs:cloudformation"])
def test_reserved_keys(key: str) -> None:
    error = refusal(((key, ""),))
    assert (error.code, error.message) == (
        "InvalidTag",
        "Your TagKey cannot be prefixed with aws:",
    )
    error = refusal(((key, ""),), of_bucket=True)
    assert error.message == "System tags cannot be added/updated by requester"
    assert check_object_tags((("xaws:", "aws:fine"), ("aws", "")))


def test_no_key_and_the_same_key_twice() -> None:
    assert refusal((("", "v"),)).fields == {"TagKey": ""}
    error = refusal((("k", "1"), ("j", ""), ("k", "2")))
    assert (error.code, error.message) == (
        "InvalidTag",
        "Cannot provide multiple Tags with the same key",
    )
    assert check_object_tags((("k", "1"), ("K", "1"))), "keys differ by case"


ROWS = st.builds(
    VersionRow,
    hlc=st.integers(0, 2**63),
    modified_ms=st.integers(0, 2**40),
    size=st.integers(0, 2**40),
    etag=st.text(max_size=32),
    digest=st.binary(max_size=16),
    null=st.booleans(),
    inline=st.none() | st.binary(max_size=10),
    data=st.just((Data(b"d" * 16, 1, 2),)),
    metadata=st.just((("a", "b"),)),
    checksum=st.none() | st.just(Checksum("CRC32", b"1234")),
    storage_class=st.sampled_from(["STANDARD", "GLACIER"]),
    tags=SETS,
    retention_mode=st.sampled_from(["", "GOVERNANCE", "COMPLIANCE"]),
    retain_until_ms=st.integers(0, 2**45),
    legal_hold=st.booleans(),
    upload_id=st.binary(max_size=16),
)


@given(ROWS, SETS)
def test_only_tags_change_whatever_the_lock_says(row: VersionRow, tags: Tags) -> None:
    after = retagged(row, tags)
    assert after.tags == tags
    names = [name for name in VersionRow.__struct_fields__ if name != "tags"]
    assert {name: getattr(after, name) for name in names} == {
        name: getattr(row, name) for name in names
    }
    assert retagged(after, row.tags) == row


def test_a_version_never_gets_tags_that_cannot_be() -> None:
    row = VersionRow(1, 2, 3, "e", b"d")
    with pytest.raises(S3Error):
        retagged(row, (("", ""),))
    with pytest.raises(AssertionError):
        retagged(msgspec.structs.replace(row, delete_marker=True), ())
