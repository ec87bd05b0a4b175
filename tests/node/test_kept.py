"""What is kept with objects, through a real node and over its death, asked for by boto3."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.node.content import BUCKET, KEPT, SIZES, describe, store_world
from tests.node.process import NodeProcess

ALL = ["ETag", "Checksum", "ObjectParts", "StorageClass", "ObjectSize"]


def tags_of(s3: Any, key: str, **version: str) -> dict[str, str]:
    found = s3.get_object_tagging(Bucket=BUCKET, Key=key, **version)["TagSet"]
    return {tag["Key"]: tag["Value"] for tag in found}


def test_tags_attributes_and_classes(tmp_path: Path) -> None:
    with NodeProcess(tmp_path / "data", disks=4, parity=1, edges=2) as node:
        s3 = node.s3()
        store_world(s3)
        assert tags_of(s3, "one byte") == {"study": "1", "ward": "é"}
        assert tags_of(s3, "two stripes") == {"later": "two stripes"}
        head = s3.head_object(Bucket=BUCKET, Key="two stripes")
        kept = {name: head[name] for name in KEPT if name != "Tagging"}
        assert kept == {name: value for name, value in KEPT.items() if name != "Tagging"}
        assert head["TagCount"] == 1
        asked = {"Bucket": BUCKET, "ObjectAttributes": ALL}
        plain = s3.get_object_attributes(Key="two stripes", **asked)
        assert plain["ETag"] == head["ETag"].strip('"')
        assert (plain["ObjectSize"], plain["StorageClass"]) == (SIZES["two stripes"], "STANDARD_IA")
        made = s3.get_object_attributes(Key="multipart", **asked)
        assert made["ObjectParts"]["TotalPartsCount"] == len(made["ObjectParts"]["Parts"]) == 3
        versions(s3)
        told = describe(s3)
        node.kill()
        node.start()
        assert describe(node.s3()) == told
        assert node.stop() == 0
        assert node.command("check", "--data", str(node.data)).returncode == 0


def versions(s3: Any) -> None:
    """Tags of each version are its own, and change nothing of it."""
    enabled = {"Status": "Enabled"}
    s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration=enabled)
    made = s3.put_object(Bucket=BUCKET, Key="one byte", Body=b"2", Tagging="new=1")
    before = s3.list_object_versions(Bucket=BUCKET)["Versions"]
    done = s3.put_object_tagging(
        Bucket=BUCKET,
        Key="one byte",
        VersionId="null",
        Tagging={"TagSet": [{"Key": "old", "Value": "=+ /"}]},
    )
    assert done["VersionId"] == "null"
    assert s3.list_object_versions(Bucket=BUCKET)["Versions"] == before
    assert tags_of(s3, "one byte") == {"new": "1"}
    assert tags_of(s3, "one byte", VersionId="null") == {"old": "=+ /"}
    gone = s3.delete_object_tagging(Bucket=BUCKET, Key="one byte", VersionId=made["VersionId"])
    assert gone["VersionId"] == made["VersionId"]
    assert tags_of(s3, "one byte") == {}
    with pytest.raises(ClientError, match="InvalidTag"):
        s3.put_object_tagging(
            Bucket=BUCKET, Key="one byte", Tagging={"TagSet": [{"Key": "aws:x", "Value": ""}]}
        )
