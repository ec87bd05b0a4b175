"""boto3 with its default settings: one workflow a test."""

from __future__ import annotations

import io
import random
import urllib.request
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from tests.clients.conftest import Refusals
from tests.clients.tools import AWKWARD, LARGE, bucket_name, contents
from tests.node.process import ACCESS_KEY, REGION, SECRET_KEY, WAIT_S_MAX, NodeProcess

pytestmark = pytest.mark.xdist_group("boto3")


def session() -> Any:
    return boto3.Session(
        aws_access_key_id=ACCESS_KEY, aws_secret_access_key=SECRET_KEY, region_name=REGION
    )


@pytest.fixture
def s3(node: NodeProcess) -> Any:
    return session().client("s3", endpoint_url=node.endpoint)


@pytest.fixture
def bucket(node: NodeProcess, request: pytest.FixtureRequest) -> Any:
    """A bucket as a resource, named after the test."""
    resource = session().resource("s3", endpoint_url=node.endpoint)
    bucket = resource.Bucket(bucket_name(f"boto3-{request.node.name}"))
    bucket.create()
    bucket.wait_until_exists()
    return bucket


def test_a_tree_goes_up_and_comes_back(
    bucket: Any, tree: Path, tmp_path: Path, refusals: Refusals
) -> None:
    for name in contents(tree):
        bucket.upload_file(str(tree / name), name)
    for item in bucket.objects.all():
        path = tmp_path / item.key
        path.parent.mkdir(parents=True, exist_ok=True)
        bucket.download_file(item.key, str(path))
    assert contents(tmp_path) == contents(tree)
    bucket.objects.all().delete()
    assert list(bucket.objects.all()) == []
    bucket.delete()
    bucket.wait_until_not_exists()
    refusals.expect("HeadBucket", "NoSuchBucket")


def test_streams_copies_and_metadata(s3: Any, bucket: Any, tree: Path, refusals: Refusals) -> None:
    """Managed transfers: parts, ranges, server-side copies of parts."""
    whole = (tree / LARGE).read_bytes()
    extra = {
        "ContentType": "application/dicom",
        "CacheControl": "no-cache, max-age=0",
        "ContentDisposition": 'attachment; filename="a b.dcm"',
        "ContentEncoding": "identity",
        "ContentLanguage": "de-CH",
        "Metadata": {"study": "1.2.840", "name": "Müller"},
    }
    extra["Metadata"]["name"] = "Mueller"
    bucket.upload_fileobj(io.BytesIO(whole), "stream", ExtraArgs=extra)
    source = {"Bucket": bucket.name, "Key": "stream"}
    bucket.copy(source, "copied")
    s3.copy_object(Bucket=bucket.name, Key="small copy", CopySource=source)
    for key in ("stream", "copied", "small copy"):
        into = io.BytesIO()
        bucket.download_fileobj(key, into)
        assert into.getvalue() == whole
        head = s3.head_object(Bucket=bucket.name, Key=key)
        assert {name: head[name] for name in extra} == extra, key
    s3.copy_object(
        Bucket=bucket.name, Key="stream", CopySource=source, MetadataDirective="REPLACE",
        Metadata={"now": "this"},
    )  # fmt: skip
    assert s3.head_object(Bucket=bucket.name, Key="stream")["Metadata"] == {"now": "this"}


def test_listing_by_pages_and_folders(s3: Any, bucket: Any, refusals: Refusals) -> None:
    names = sorted([f"{folder}/{number:03}" for folder in "abc" for number in range(40)] + ["z é"])
    for name in names:
        s3.put_object(Bucket=bucket.name, Key=name)
    for kind in ("list_objects", "list_objects_v2"):
        paginator = s3.get_paginator(kind)
        pages = paginator.paginate(Bucket=bucket.name, PaginationConfig={"PageSize": 7})
        assert [item["Key"] for page in pages for item in page["Contents"]] == names
        pages = paginator.paginate(
            Bucket=bucket.name, Delimiter="/", PaginationConfig={"PageSize": 2}
        )
        seen = [[*page.get("CommonPrefixes", ()), *page.get("Contents", ())] for page in pages]
        assert [item.get("Prefix", item.get("Key")) for page in seen for item in page] == [
            "a/", "b/", "c/", "z é",
        ]  # fmt: skip
    answer = s3.delete_objects(
        Bucket=bucket.name, Delete={"Objects": [{"Key": name} for name in names]}
    )
    assert [item["Key"] for item in answer["Deleted"]] == names


def test_presigned_urls(node: NodeProcess, bucket: Any, refusals: Refusals) -> None:
    s3 = session().client("s3", endpoint_url=node.endpoint, config=Config(signature_version="s3v4"))
    for key in AWKWARD:
        target = {"Bucket": bucket.name, "Key": key}
        put = urllib.request.Request(
            s3.generate_presigned_url("put_object", target), key.encode(), method="PUT"
        )
        put.add_header("Content-Type", "")
        urllib.request.urlopen(put, timeout=WAIT_S_MAX).close()
        get = s3.generate_presigned_url(
            "get_object", {**target, "ResponseContentType": "text/x-test"}
        )
        with urllib.request.urlopen(get, timeout=WAIT_S_MAX) as answer:
            assert answer.read() == key.encode()
            assert answer.headers["Content-Type"] == "text/x-test"


def test_conditions(s3: Any, bucket: Any, refusals: Refusals) -> None:
    at = {"Bucket": bucket.name, "Key": "k"}
    first = s3.put_object(**at, Body=b"1", IfNoneMatch="*")["ETag"]
    refusals.expect("PutObject", "PreconditionFailed")
    refusals.expect("GetObject", "PreconditionFailed")
    with pytest.raises(ClientError, match="PreconditionFailed"):
        s3.put_object(**at, Body=b"2", IfNoneMatch="*")
    second = s3.put_object(**at, Body=b"2", IfMatch=first)["ETag"]
    with pytest.raises(ClientError, match="PreconditionFailed"):
        s3.put_object(**at, Body=b"3", IfMatch=first)
    with pytest.raises(ClientError, match="PreconditionFailed"):
        s3.get_object(**at, IfMatch=first)
    assert s3.get_object(**at, IfMatch=second)["Body"].read() == b"2"
    with pytest.raises(ClientError, match="304"):
        s3.get_object(**at, IfNoneMatch=second)


@pytest.mark.parametrize("algorithm", ["CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256"])
def test_checksums(algorithm: str, s3: Any, bucket: Any, refusals: Refusals) -> None:
    body = random.Random(algorithm).randbytes(6 << 20)
    field = f"Checksum{algorithm}"
    at = {"Bucket": bucket.name, "Key": "k"}
    stored = s3.put_object(**at, Body=io.BytesIO(body), ChecksumAlgorithm=algorithm)[field]
    answer = s3.get_object(**at, ChecksumMode="ENABLED")
    assert answer["Body"].read() == body
    assert answer[field] == stored
    config = boto3.s3.transfer.TransferConfig(
        multipart_threshold=5 << 20, multipart_chunksize=5 << 20
    )
    bucket.upload_fileobj(
        io.BytesIO(body), "parts", ExtraArgs={"ChecksumAlgorithm": algorithm}, Config=config
    )
    head = s3.head_object(Bucket=bucket.name, Key="parts", ChecksumMode="ENABLED")
    kind = "COMPOSITE" if algorithm.startswith("SHA") else head["ChecksumType"]
    assert head["ChecksumType"] == kind
    assert head[field].endswith("-2") == (kind == "COMPOSITE")
    into = io.BytesIO()
    bucket.download_fileobj("parts", into)
    assert into.getvalue() == body


# --- versions ----------------------------------------------------------------------------------


@pytest.fixture
def versioned(bucket: Any) -> Any:
    bucket.Versioning().enable()
    assert bucket.Versioning().status == "Enabled"
    return bucket


def test_versions_are_kept_read_and_removed(s3: Any, versioned: Any, refusals: Refusals) -> None:
    ids = [versioned.put_object(Key="k", Body=body).version_id for body in (b"1", b"2", b"3")]
    assert len({*ids, "null", None}) == len(ids) + 2
    one = versioned.Object("k")
    assert one.get()["Body"].read() == b"3"
    for body, version in zip((b"1", b"2", b"3"), ids, strict=True):
        answer = one.get(VersionId=version)
        assert (answer["Body"].read(), answer["VersionId"]) == (body, version)
    listed = list(versioned.object_versions.filter(Prefix="k"))
    assert [version.id for version in listed] == ids[::-1]
    assert [version.is_latest for version in listed] == [True, False, False]
    marker = one.delete()
    assert marker["DeleteMarker"]
    refusals.expect("GetObject", "NoSuchKey")
    with pytest.raises(ClientError, match="NoSuchKey"):
        one.get()
    one.delete(VersionId=marker["VersionId"])
    assert one.get()["VersionId"] == ids[2], "the marker is gone, the version is back"
    source = {"Bucket": versioned.name, "Key": "k", "VersionId": ids[0]}
    restored = s3.copy_object(Bucket=versioned.name, Key="k", CopySource=source)
    assert restored["CopySourceVersionId"] == ids[0]
    assert one.get()["Body"].read() == b"1"
    refusals.expect("DeleteBucket", "BucketNotEmpty")
    with pytest.raises(ClientError, match="BucketNotEmpty"):
        versioned.delete()
    versioned.object_versions.delete()
    assert list(versioned.object_versions.all()) == []
    versioned.delete()


def test_versions_of_large_objects(s3: Any, versioned: Any, tree: Path, refusals: Refusals) -> None:
    whole = (tree / LARGE).read_bytes()
    versioned.upload_fileobj(io.BytesIO(whole), "k")
    versioned.upload_fileobj(io.BytesIO(whole[1:]), "k")
    new, old = [version.id for version in versioned.object_versions.filter(Prefix="k")]
    for version, body in ((new, whole[1:]), (old, whole)):
        into = io.BytesIO()
        versioned.download_fileobj("k", into, ExtraArgs={"VersionId": version})
        assert into.getvalue() == body
    part = s3.get_object(Bucket=versioned.name, Key="k", VersionId=old, PartNumber=1)
    assert part["Body"].read() == whole[: part["ContentLength"]]
    versioned.copy({"Bucket": versioned.name, "Key": "k", "VersionId": old}, "k")
    into = io.BytesIO()
    versioned.download_fileobj("k", into)
    assert into.getvalue() == whole


def test_versions_page_by_page(s3: Any, versioned: Any, refusals: Refusals) -> None:
    made: dict[str, list[str]] = {}
    for _ in range(3):
        for key in ("a/1", "a/2", "b/1", "c"):
            made.setdefault(key, []).insert(0, versioned.put_object(Key=key).version_id)
    made["c"].insert(0, versioned.Object("c").delete()["VersionId"])
    wanted = [(key, version) for key in sorted(made) for version in made[key]]
    paginator = s3.get_paginator("list_object_versions")
    for size in (1, 2, 5, 100):
        pages = paginator.paginate(Bucket=versioned.name, PaginationConfig={"PageSize": size})
        seen = []
        for page in pages:
            items = [*page.get("Versions", ()), *page.get("DeleteMarkers", ())]
            seen += sorted(items, key=lambda one: wanted.index((one["Key"], one["VersionId"])))
        assert [(one["Key"], one["VersionId"]) for one in seen] == wanted, size
    page = s3.list_object_versions(Bucket=versioned.name, Delimiter="/")
    assert [one["Prefix"] for one in page["CommonPrefixes"]] == ["a/", "b/"]


def test_suspended_versioning(s3: Any, versioned: Any, refusals: Refusals) -> None:
    at = {"Bucket": versioned.name, "Key": "k"}
    kept = s3.put_object(**at, Body=b"kept")["VersionId"]
    versioned.Versioning().suspend()
    assert s3.put_object(**at, Body=b"null 1").get("VersionId", "null") == "null"
    s3.put_object(**at, Body=b"null 2")
    listed = s3.list_object_versions(**{"Bucket": versioned.name})["Versions"]
    assert [one["VersionId"] for one in listed] == ["null", kept]
    assert s3.get_object(**at, VersionId="null")["Body"].read() == b"null 2"
    marker = s3.delete_object(**at)
    assert (marker["DeleteMarker"], marker["VersionId"]) == (True, "null")
    s3.delete_object(**at, VersionId="null")
    assert s3.get_object(**at)["Body"].read() == b"kept"


# --- tags and attributes -----------------------------------------------------------------------


def test_tags_of_objects_versions_and_buckets(s3: Any, versioned: Any, refusals: Refusals) -> None:
    at = {"Bucket": versioned.name, "Key": "k"}
    first = s3.put_object(**at, Tagging="ward=west&kind=a%20b")["VersionId"]
    second = s3.put_object(**at)["VersionId"]
    tags = [{"Key": "kind", "Value": "a b"}, {"Key": "ward", "Value": "west"}]

    def told(**of: str) -> Any:
        found = s3.get_object_tagging(**at, **of)["TagSet"]
        return sorted(found, key=lambda tag: str(tag["Key"]))

    assert told(VersionId=first) == tags
    assert told() == told(VersionId=second) == []
    s3.put_object_tagging(**at, Tagging={"TagSet": tags[:1]})
    assert told() == tags[:1]
    assert s3.get_object(**at)["TagCount"] == 1
    s3.delete_object_tagging(**at, VersionId=first)
    assert told(VersionId=first) == []
    s3.copy_object(Bucket=versioned.name, Key="copy", CopySource=at)
    assert s3.get_object_tagging(Bucket=versioned.name, Key="copy")["TagSet"] == tags[:1]
    versioned.Tagging().put(Tagging={"TagSet": tags})
    found = sorted(versioned.Tagging().tag_set, key=lambda tag: str(tag["Key"]))
    assert found == tags
    versioned.Tagging().delete()
    refusals.expect("GetBucketTagging", "NoSuchTagSet")
    with pytest.raises(ClientError, match="NoSuchTagSet"):
        s3.get_bucket_tagging(Bucket=versioned.name)


def test_attributes(s3: Any, bucket: Any, tree: Path, refusals: Refusals) -> None:
    bucket.upload_file(str(tree / LARGE), "k")
    wanted = ["ETag", "Checksum", "ObjectParts", "StorageClass", "ObjectSize"]
    told = s3.get_object_attributes(Bucket=bucket.name, Key="k", ObjectAttributes=wanted)
    head = s3.head_object(Bucket=bucket.name, Key="k")
    assert told["ObjectSize"] == head["ContentLength"]
    assert f'"{told["ETag"]}"' == head["ETag"]
    assert told["ObjectParts"]["TotalPartsCount"] == 3
    assert told["StorageClass"] == "STANDARD"
    assert told["Checksum"]


# --- browsers' rules ---------------------------------------------------------------------------


def test_cors_rules(bucket: Any, refusals: Refusals) -> None:
    rule = {
        "ID": "viewer",
        "AllowedMethods": ["GET", "PUT"],
        "AllowedOrigins": ["https://viewer.example"],
        "AllowedHeaders": ["*"],
        "ExposeHeaders": ["ETag"],
        "MaxAgeSeconds": 600,
    }
    bucket.Cors().put(CORSConfiguration={"CORSRules": [rule]})
    assert bucket.Cors().cors_rules == [rule]
    bucket.Cors().delete()
    refusals.expect("GetBucketCors", "NoSuchCORSConfiguration")
    with pytest.raises(ClientError, match="NoSuchCORSConfiguration"):
        bucket.Cors().load()


def test_a_form_that_was_signed(node: NodeProcess, bucket: Any, refusals: Refusals) -> None:
    s3 = session().client("s3", endpoint_url=node.endpoint, config=Config(signature_version="s3v4"))
    post = s3.generate_presigned_post(
        bucket.name, "in/${filename}", {"acl": "private"},
        [{"acl": "private"}, ["content-length-range", 1, 1000]],
    )  # fmt: skip
    boundary = "----form"
    lines = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in post["fields"].items()
    ]
    lines.append(
        f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="a.txt"\r\n'
        f"Content-Type: text/plain\r\n\r\nof a form\r\n--{boundary}--\r\n"
    )
    request = urllib.request.Request(post["url"], "".join(lines).encode())
    request.add_header("Content-Type", f"multipart/form-data; boundary={boundary}")
    with urllib.request.urlopen(request, timeout=WAIT_S_MAX) as answer:
        assert answer.status == 204
    assert bucket.Object("in/a.txt").get()["Body"].read() == b"of a form"
