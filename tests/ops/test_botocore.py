"""Every answer read by botocore, against its model of S3: names, types and places must be right.

What botocore's parser does not know it drops; so each document is also checked for elements that
the operation's output shape does not have.
"""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

import botocore.session
import pytest
from botocore.awsrequest import HeadersDict
from botocore.model import OperationModel, Shape
from botocore.parsers import create_parser

from s3node.ops import OPERATIONS
from tests.ops.test_multipart import listing
from tests.ops.test_objects import md5_of
from tests.ops.world import Answer, World, make_world

MODEL = botocore.session.get_session().get_service_model("s3")


def names_of(shape: Shape) -> dict[str, Shape]:
    """The elements a structure may have, by the name they have in XML."""
    found = {}
    for name, member in shape.members.items():
        if member.serialization.get("location"):
            continue
        tag = member.serialization.get("name", name)
        if member.type_name == "list" and member.serialization.get("flattened"):
            found[member.serialization.get("name", name)] = member.member
            continue
        found[tag] = member
    return found


def check_elements(element: ElementTree.Element, shape: Shape, path: str) -> None:
    if shape.type_name == "list":
        for child in element:
            check_elements(child, shape.member, f"{path}/{child.tag}")
    elif shape.type_name == "structure":
        known = names_of(shape)
        for child in element:
            tag = child.tag.rpartition("}")[2]
            assert tag in known, f"{path}/{tag} is no element of {shape.name}"
            check_elements(child, known[tag], f"{path}/{tag}")
    else:
        assert len(element) == 0, path


def parsed(name: str, answer: Answer) -> dict[str, Any]:
    """What botocore makes of the answer."""
    operation: OperationModel = MODEL.operation_model(name)
    shape = operation.output_shape
    response = {
        "status_code": answer.status,
        "headers": HeadersDict(answer.headers),
        "body": answer.body,
        "context": {"operation_name": name},
    }
    found: dict[str, Any] = create_parser("rest-xml").parse(response, shape)
    payload = shape.serialization.get("payload") if shape else None
    if shape is not None and payload is None and answer.body:
        check_elements(ElementTree.fromstring(answer.body), shape, name)
    elif (
        shape is not None
        and payload is not None
        and shape.members[payload].type_name == ("structure")
    ):
        check_elements(ElementTree.fromstring(answer.body), shape.members[payload], name)
    return found


@pytest.fixture(scope="module")
def world() -> World:
    world = make_world()
    world.bucket()
    world.put("/bucket/a/b", b"12345", content_type="a/b", x_amz_meta_m="v", cache_control="c")
    world.put("/bucket/k", b"1")
    return world


def test_every_operation_is_one_of_s3() -> None:
    browsers = {"OptionsObject", "PostObject"}  # what no SDK sends
    assert OPERATIONS.keys() <= browsers | set(MODEL.operation_names)


def test_buckets(world: World) -> None:
    whole = parsed("ListBuckets", world.get("/", "max-buckets=1&prefix=b"))
    assert whole["Buckets"][0]["Name"] == "bucket"
    assert whole["Buckets"][0]["BucketRegion"] == "eu-west-1"
    assert whole["Owner"] == {"ID": "owner-1", "DisplayName": "root"}
    assert parsed("HeadBucket", world.ask("HEAD", "/bucket"))["BucketRegion"] == "eu-west-1"
    # botocore's own handler reads this one, not its parser.
    assert b">eu-west-1</LocationConstraint>" in world.get("/bucket", "location").body
    assert "Status" not in parsed("GetBucketVersioning", world.get("/bucket", "versioning"))
    acl = parsed("GetBucketAcl", world.get("/bucket", "acl"))
    assert acl["Grants"][0]["Permission"] == "FULL_CONTROL"
    assert acl["Grants"][0]["Grantee"]["Type"] == "CanonicalUser"
    assert parsed("GetObjectTagging", world.get("/bucket/k", "tagging"))["TagSet"] == []


def test_objects(world: World) -> None:
    put = parsed("PutObject", world.put("/bucket/p", b"1"))
    assert put["ChecksumType"] == "FULL_OBJECT" and put["ChecksumCRC64NVME"]
    head = parsed("HeadObject", world.ask("HEAD", "/bucket/a/b", x_amz_checksum_mode="ENABLED"))
    assert head["Metadata"] == {"m": "v"}
    assert (head["ContentType"], head["CacheControl"], head["AcceptRanges"]) == (
        "a/b",
        "c",
        "bytes",
    )
    assert head["LastModified"].year == 2025
    part = parsed("GetObject", world.get("/bucket/a/b", range="bytes=1-2"))
    assert part["ContentRange"] == "bytes 1-2/5"
    copied = parsed("CopyObject", world.ask("PUT", "/bucket/c", x_amz_copy_source="bucket/k"))
    assert copied["CopyObjectResult"]["ETag"] and copied["CopyObjectResult"]["LastModified"]
    body = (
        b"<Delete><Object><Key>p</Key></Object>"
        b"<Object><Key>q</Key><VersionId>x</VersionId></Object></Delete>"
    )
    answer = world.ask("POST", "/bucket", "delete", body, content_md5=md5_of(body))
    done = parsed("DeleteObjects", answer)
    assert done["Deleted"] == [{"Key": "p"}]
    assert done["Errors"][0]["Code"] == "NoSuchVersion"


@pytest.mark.parametrize("query", ["", "delimiter=/&max-keys=1", "encoding-type=url&marker=a"])
def test_listings(world: World, query: str) -> None:
    one = parsed("ListObjects", world.get("/bucket", query))
    assert one["Name"] == "bucket" and isinstance(one["IsTruncated"], bool)
    for item in one.get("Contents", []):
        assert item["Owner"]["ID"] == "owner-1" and item["ChecksumAlgorithm"] == ["CRC64NVME"]
    two = parsed("ListObjectsV2", world.get("/bucket", f"list-type=2&fetch-owner=true&{query}"))
    assert two["KeyCount"] == len(two.get("Contents", [])) + len(two.get("CommonPrefixes", []))


def test_multipart(world: World) -> None:
    made = parsed(
        "CreateMultipartUpload",
        world.ask("POST", "/bucket/m", "uploads", x_amz_checksum_algorithm="CRC32"),
    )
    assert (made["ChecksumAlgorithm"], made["ChecksumType"]) == ("CRC32", "COMPOSITE")
    upload = made["UploadId"]
    source = world.ask(
        "PUT", "/bucket/m", f"partNumber=1&uploadId={upload}", x_amz_copy_source="bucket/k"
    )
    part = parsed("UploadPartCopy", source)["CopyPartResult"]
    listed = parsed("ListParts", world.get("/bucket/m", f"uploadId={upload}"))
    assert listed["Parts"][0]["ChecksumCRC32"] == part["ChecksumCRC32"]
    assert listed["Owner"]["ID"] == listed["Initiator"]["ID"] == "owner-1"
    uploads = parsed("ListMultipartUploads", world.get("/bucket", "uploads&max-uploads=1"))
    assert uploads["Uploads"][0]["ChecksumType"] == "COMPOSITE"
    extra = {1: f"<ChecksumCRC32>{part['ChecksumCRC32']}</ChecksumCRC32>"}
    body = listing((1, part["ETag"].strip('"')), extra=extra)
    answer = world.ask("POST", "/bucket/m", f"uploadId={upload}", body)
    done = parsed("CompleteMultipartUpload", answer)
    assert (done["Bucket"], done["Key"], done["ChecksumType"]) == ("bucket", "m", "COMPOSITE")
    head = parsed("HeadObject", world.ask("HEAD", "/bucket/m", "partNumber=1"))
    assert head["PartsCount"] == 1


def test_errors(world: World) -> None:
    error = parsed("GetObject", world.get("/bucket/none"))["Error"]
    assert (error["Code"], error["Key"]) == ("NoSuchKey", "none")
