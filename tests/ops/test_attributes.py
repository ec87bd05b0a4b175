"""GetObjectAttributes: which attributes, which parts, which version, which conditions."""

from __future__ import annotations

import base64
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s3node.base.limits import PART_BYTES_MIN
from s3node.model.rows import Checksum, Data, VersionRow
from s3node.ops.attributes import parts_page
from s3node.s3 import checksums
from s3node.s3.attributes import NAMES, Part
from s3node.s3.headers import http_date
from tests.ops.test_botocore import parsed
from tests.ops.test_multipart import begin, finish, listing, part
from tests.ops.test_versions import put as put_version
from tests.ops.test_versions import versioning
from tests.ops.world import Answer, World, make_world

ALL = ",".join(sorted(NAMES))


@pytest.fixture
def world() -> World:
    world = make_world()
    world.bucket()
    return world


def ask(world: World, wanted: str = ALL, query: str = "attributes", **headers: str) -> Answer:
    return world.get("/bucket/k", query, x_amz_object_attributes=wanted, **headers)


def crc(body: bytes, name: str = "CRC64NVME") -> str:
    hasher = checksums.ALGORITHMS[name].new()
    hasher.update(body)
    return base64.b64encode(hasher.digest()).decode()


def test_all_of_a_plain_object(world: World) -> None:
    world.put("/bucket/k", b"12345", x_amz_storage_class="STANDARD_IA")
    answer = ask(world)
    assert (answer.status, answer.headers["content-type"]) == (200, "application/xml")
    assert answer.headers["last-modified"] == http_date(world.clock.ms)
    assert answer.xml.tag == "GetObjectAttributesResponse"
    assert [element.tag for element in answer.xml] == [
        "ETag", "Checksum", "StorageClass", "ObjectSize"
    ]  # fmt: skip
    found = parsed("GetObjectAttributes", answer)
    assert found["ETag"] == "827ccb0eea8a706c4c34a16891f84e7b", "without quotes"
    assert found["Checksum"] == {
        "ChecksumCRC64NVME": crc(b"12345"),
        "ChecksumType": "FULL_OBJECT",
    }
    assert (found["StorageClass"], found["ObjectSize"]) == ("STANDARD_IA", 5)


@pytest.mark.parametrize(
    ("name", "element"),
    [("ETag", "ETag"), ("Checksum", "Checksum"), ("StorageClass", "StorageClass")],
)
def test_one_alone(world: World, name: str, element: str) -> None:
    world.put("/bucket/k", b"1")
    assert [found.tag for found in ask(world, name).xml] == [element]
    assert list(ask(world, "ObjectParts").xml) == []
    size = ask(world, " ObjectSize , ObjectSize")
    assert [found.tag for found in size.xml] == ["ObjectSize"]


def test_which_attributes_there_are(world: World) -> None:
    world.put("/bucket/k", b"1")
    for headers in ({}, {"x_amz_object_attributes": ""}, {"x_amz_object_attributes": " , "}):
        none = world.get("/bucket/k", "attributes", **headers)
        assert (none.status, none.code) == (400, "InvalidRequest")
        assert none.text("Message") == (
            "The x-amz-object-attributes header specifying the attributes to be retrieved is "
            "either missing or empty"
        )
    for value in ("Etag", "ETag,size", "ETag,,Checksum", "*"):
        unknown = ask(world, value)
        assert (unknown.code, unknown.text("Message")) == (
            "InvalidArgument",
            "Invalid attribute name specified.",
        )
        assert unknown.text("ArgumentName") == "x-amz-object-attributes"


def uploaded(world: World, sizes: dict[int, int], **headers: str) -> dict[int, bytes]:
    """An object made of parts of these sizes by number; their bodies."""
    upload = begin(world, **headers)
    name = headers.get("x_amz_checksum_algorithm", "")
    bodies = {number: bytes([number % 256]) * size for number, size in sizes.items()}
    etags, extra = [], {}
    for number, body in bodies.items():
        given = {f"x_amz_checksum_{name.lower()}": crc(body, name)} if name else {}
        etags.append((number, part(world, upload, number, body, **given).etag))
        if name:
            extra[number] = f"<Checksum{name}>{crc(body, name)}</Checksum{name}>"
    done = finish(world, upload, listing(*etags, extra=extra))
    assert done.status == 200, done.body
    return bodies


@pytest.mark.parametrize("algorithm", ["", "SHA256", "CRC32"])
def test_parts_in_pages(world: World, algorithm: str) -> None:
    sizes = {1: PART_BYTES_MIN, 5: PART_BYTES_MIN + 1, 10_000: 7}
    headers = {"x_amz_checksum_algorithm": algorithm} if algorithm else {}
    bodies = uploaded(world, sizes, **headers)
    name = algorithm or "CRC64NVME"
    whole = parsed("GetObjectAttributes", ask(world))
    assert whole["ObjectSize"] == sum(sizes.values())
    assert whole["ETag"].endswith("-3")
    assert whole["Checksum"]["ChecksumType"] == ("COMPOSITE" if algorithm else "FULL_OBJECT")
    head = world.ask("HEAD", "/bucket/k", x_amz_checksum_mode="ENABLED")
    shown = head.headers[f"x-amz-checksum-{name.lower()}"]
    assert shown.endswith("-3") == bool(algorithm)
    assert whole["Checksum"][f"Checksum{name}"] == shown.removesuffix("-3")
    parts = whole["ObjectParts"]
    expected = [
        {"PartNumber": number, "Size": len(body), f"Checksum{name}": crc(body, name)}
        for number, body in bodies.items()
    ]
    assert parts["Parts"] == expected
    assert (parts["TotalPartsCount"], parts["IsTruncated"]) == (3, False)
    assert (parts["PartNumberMarker"], parts["NextPartNumberMarker"]) == (0, 10_000)
    assert parts["MaxParts"] == 1000

    def page(**given: str) -> tuple[list[int], bool, int]:
        found = parsed("GetObjectAttributes", ask(world, "ObjectParts", **given))["ObjectParts"]
        assert found["TotalPartsCount"] == 3
        numbers = [item["PartNumber"] for item in found.get("Parts", [])]
        assert all(item in expected for item in found.get("Parts", []))
        return numbers, found["IsTruncated"], found["NextPartNumberMarker"]

    assert page(x_amz_max_parts="2") == ([1, 5], True, 5)
    assert page(x_amz_max_parts="2", x_amz_part_number_marker="5") == ([10_000], False, 10_000)
    assert page(x_amz_part_number_marker="1", x_amz_max_parts="1") == ([5], True, 5)
    assert page(x_amz_part_number_marker="4") == ([5, 10_000], False, 10_000)
    assert page(x_amz_part_number_marker="10000") == ([], False, 0)
    assert page(x_amz_max_parts="0") == ([], False, 0)


def test_parts_of_an_object_whose_parts_have_no_checksum_in_common(world: World) -> None:
    upload = begin(world)
    one = part(world, upload, 1, b"1" * PART_BYTES_MIN, x_amz_checksum_crc32=crc(
        b"1" * PART_BYTES_MIN, "CRC32"
    )).etag  # fmt: skip
    two = part(world, upload, 2, b"2").etag
    assert finish(world, upload, listing((1, one), (2, two))).status == 200
    answer = ask(world)
    assert answer.xml.find("Checksum") is None
    assert [(found.tag, found.text) for found in answer.xml.find("ObjectParts") or ()] == [
        ("PartsCount", "2")
    ]


@given(
    st.sets(st.integers(1, 10_000), min_size=1, max_size=30).map(sorted),
    st.lists(st.integers(1, 12), min_size=1, max_size=4),
)
def test_pages_of_any_size_make_the_whole(numbers: list[int], sizes: list[int]) -> None:
    row = VersionRow(
        *(1, 2, 3, "etag-9", b""),
        parts=len(numbers),
        data=tuple(Data(b"", number * 3, 1, part=number) for number in numbers),
        checksum=Checksum("CRC32", b"1234", composite=True, parts=len(numbers)),
        part_checksums=tuple(number.to_bytes(4, "big") for number in numbers),
    )
    found: list[Part] = []
    marker, more = 0, True
    for most in itertools.cycle(sizes):
        if not more:
            break
        page = parts_page(row, most, marker)
        assert page.listed is not None and 0 < len(page.listed) <= most
        assert (page.total, page.marker, page.most) == (len(numbers), marker, most)
        found += page.listed
        marker, more = page.next_marker, page.truncated
    assert [part.number for part in found] == numbers
    assert all(part.size == part.number * 3 for part in found)
    assert [base64.b64decode(part.checksum) for part in found] == list(row.part_checksums)


@pytest.mark.parametrize("name", ["x_amz_max_parts", "x_amz_part_number_marker"])
@pytest.mark.parametrize("value", ["-1", "x", "1.5", "2147483648", "9" * 30])
def test_bad_numbers(world: World, name: str, value: str) -> None:
    world.put("/bucket/k", b"1")
    answer = ask(world, **{name: value})
    assert (answer.code, answer.text("ArgumentName")) == (
        "InvalidArgument",
        name.replace("_", "-"),
    )


def test_versions_and_what_is_not_there(world: World) -> None:
    assert ask(world).code == "NoSuchKey"
    world.put("/bucket/k", b"1")
    assert "x-amz-version-id" not in ask(world, query="attributes&versionId=null").headers
    assert "x-amz-version-id" not in ask(world).headers
    assert ask(world, query=f"attributes&versionId={'0' * 32}").code == "NoSuchVersion"
    assert ask(world, query="attributes&versionId=x").code == "InvalidArgument"
    assert world.get("/none/k", "attributes", x_amz_object_attributes="ETag").code == "NoSuchBucket"


def test_of_versions(world: World) -> None:
    world.put("/bucket/k", b"null")
    versioning(world, "Enabled")
    first = put_version(world, "k", b"1")
    second = put_version(world, "k", b"22", x_amz_storage_class="ONEZONE_IA")
    for version, size in (("null", 4), (first, 1), (second, 2)):
        answer = ask(world, query=f"attributes&versionId={version}")
        assert answer.headers["x-amz-version-id"] == version
        assert answer.text("ObjectSize") == str(size)
    current = ask(world)
    assert current.headers["x-amz-version-id"] == second
    assert current.text("StorageClass") == "ONEZONE_IA"
    marker = world.ask("DELETE", "/bucket/k").headers["x-amz-version-id"]
    hidden = ask(world)
    assert (hidden.code, hidden.headers["x-amz-delete-marker"]) == ("NoSuchKey", "true")
    told = ask(world, query=f"attributes&versionId={marker}")
    assert (told.status, told.code) == (405, "MethodNotAllowed")
    assert "last-modified" in told.headers


def test_conditions(world: World) -> None:
    etag = world.put("/bucket/k", b"1").etag
    before, after = http_date(world.clock.ms - 60_000), http_date(world.clock.ms + 60_000)
    good = [
        {"if_match": etag},
        {"if_match": etag, "if_unmodified_since": before},
        {"if_none_match": '"other"'},
        {"if_modified_since": before},
        {"if_unmodified_since": after},
    ]
    for headers in good:
        assert ask(world, **headers).status == 200, headers
    for headers in ({"if_match": '"other"'}, {"if_unmodified_since": before}):
        failed = ask(world, **headers)
        assert (failed.status, failed.code) == (412, "PreconditionFailed")
    same = [
        {"if_none_match": etag},
        {"if_none_match": etag, "if_modified_since": before},
        {"if_modified_since": after},
    ]
    for headers in same:
        unchanged = ask(world, **headers)
        assert (unchanged.status, unchanged.body) == (304, b"")
        assert unchanged.etag == etag
