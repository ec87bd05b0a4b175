"""Workflows through minio-py, as `test_libraries.py` says."""

from __future__ import annotations

import datetime
import io
import os
import sys
import urllib.request
from pathlib import Path

import minio
from minio.commonconfig import ComposeSource, CopySource, Tags
from minio.datatypes import PostPolicy
from minio.deleteobjects import DeleteObject
from minio.versioningconfig import ENABLED, SUSPENDED, VersioningConfig

HOUR = datetime.timedelta(hours=1)


def client_of(endpoint: str) -> minio.Minio:
    return minio.Minio(
        endpoint=endpoint.removeprefix("http://"),
        access_key=os.environ["AWS_ACCESS_KEY_ID"],
        secret_key=os.environ["AWS_SECRET_ACCESS_KEY"],
        secure=False,
    )


def read(client: minio.Minio, bucket: str, key: str, **options: object) -> bytes:
    answer = client.get_object(bucket_name=bucket, object_name=key, **options)
    try:
        return answer.read()
    finally:
        answer.close()
        answer.release_conn()


def put(client: minio.Minio, bucket: str, key: str, data: bytes, **options: object) -> object:
    return client.put_object(
        bucket_name=bucket, object_name=key, data=io.BytesIO(data), length=len(data), **options
    )


def listed(client: minio.Minio, bucket: str, **options: object) -> list[object]:
    return list(client.list_objects(bucket_name=bucket, recursive=True, **options))


def tree(client: minio.Minio, bucket: str, folder: Path) -> None:
    files = {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}
    for name, path in files.items():
        client.fput_object(bucket_name=bucket, object_name=name, file_path=str(path))
    assert {item.object_name: item.size for item in listed(client, bucket)} == {
        name: path.stat().st_size for name, path in files.items()
    }
    for name, path in files.items():
        assert read(client, bucket, name) == path.read_bytes(), name
    orders = [DeleteObject(name) for name in files]
    assert list(client.remove_objects(bucket_name=bucket, delete_object_list=orders)) == []
    assert listed(client, bucket) == []
    client.remove_bucket(bucket_name=bucket)
    assert not client.bucket_exists(bucket_name=bucket)


def streams_and_copies(client: minio.Minio, bucket: str, folder: Path) -> None:
    whole = (folder / "large/several parts.bin").read_bytes()
    client.put_object(
        bucket_name=bucket, object_name="stream", data=io.BytesIO(whole), length=-1,
        part_size=5 << 20, metadata={"study": "1.2"}, content_type="application/dicom",
    )  # fmt: skip
    told = client.stat_object(bucket_name=bucket, object_name="stream")
    assert (told.size, told.content_type) == (len(whole), "application/dicom")
    assert told.metadata["x-amz-meta-study"] == "1.2"
    assert read(client, bucket, "stream", offset=6 << 20, length=99) == whole[6 << 20 :][:99]
    client.copy_object(
        bucket_name=bucket, object_name="copied", source=CopySource(bucket, "stream")
    )
    assert read(client, bucket, "copied") == whole
    sources = [ComposeSource(bucket, "stream"), ComposeSource(bucket, "copied")]
    client.compose_object(bucket_name=bucket, object_name="both", sources=sources)
    assert read(client, bucket, "both") == whole + whole
    put(client, bucket, "a/b/c", b"x")
    folders = client.list_objects(bucket_name=bucket, prefix="a/")
    assert [item.object_name for item in folders] == ["a/b/"]


def presigned(client: minio.Minio, bucket: str, folder: Path) -> None:
    key = "a b/c+d&é.txt"
    url = client.presigned_put_object(bucket_name=bucket, object_name=key, expires=HOUR)
    urllib.request.urlopen(urllib.request.Request(url, b"signed", method="PUT")).close()
    url = client.presigned_get_object(bucket_name=bucket, object_name=key, expires=HOUR)
    with urllib.request.urlopen(url) as answer:
        assert answer.read() == b"signed"


def form(client: minio.Minio, bucket: str, folder: Path) -> None:
    policy = PostPolicy(bucket, datetime.datetime.now(datetime.UTC) + HOUR)
    policy.add_starts_with_condition("key", "in/")
    policy.add_content_length_range_condition(1, 1000)
    fields = {**client.presigned_post_policy(policy), "key": "in/${filename}"}
    boundary = "of-the-form"
    lines = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in fields.items()
    ]
    lines.append(
        f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="a.txt"\r\n\r\n'
        f"of a form\r\n--{boundary}--\r\n"
    )
    request = urllib.request.Request(f"{sys.argv[2]}/{bucket}", "".join(lines).encode())
    request.add_header("Content-Type", f"multipart/form-data; boundary={boundary}")
    urllib.request.urlopen(request).close()
    assert read(client, bucket, "in/a.txt") == b"of a form"


def versions(client: minio.Minio, bucket: str, folder: Path) -> None:
    client.set_bucket_versioning(bucket_name=bucket, config=VersioningConfig(ENABLED))
    assert client.get_bucket_versioning(bucket_name=bucket).status == ENABLED
    made = [put(client, bucket, "k", body).version_id for body in (b"1", b"2")]
    assert len({*made, None}) == 3
    client.remove_object(bucket_name=bucket, object_name="k")
    found = listed(client, bucket, include_version=True)
    assert [item.is_delete_marker for item in found].count(True) == 1
    assert [item.version_id for item in found if not item.is_delete_marker] == made[::-1]
    for body, version in zip((b"1", b"2"), made, strict=True):
        assert read(client, bucket, "k", version_id=version) == body
    source = CopySource(bucket, "k", version_id=made[0])
    client.copy_object(bucket_name=bucket, object_name="k", source=source)
    assert read(client, bucket, "k") == b"1"
    client.set_bucket_versioning(bucket_name=bucket, config=VersioningConfig(SUSPENDED))
    orders = [
        DeleteObject(item.object_name, item.version_id)
        for item in listed(client, bucket, include_version=True)
    ]
    assert list(client.remove_objects(bucket_name=bucket, delete_object_list=orders)) == []
    client.remove_bucket(bucket_name=bucket)


def tags(client: minio.Minio, bucket: str, folder: Path) -> None:
    wanted = Tags.new_object_tags()
    wanted["ward"], wanted["kind"] = "west", "a b"
    put(client, bucket, "k", b"x", tags=wanted)
    assert dict(client.get_object_tags(bucket_name=bucket, object_name="k")) == dict(wanted)
    client.delete_object_tags(bucket_name=bucket, object_name="k")
    assert not client.get_object_tags(bucket_name=bucket, object_name="k")
    client.set_object_tags(bucket_name=bucket, object_name="k", tags=wanted)
    assert dict(client.get_object_tags(bucket_name=bucket, object_name="k")) == dict(wanted)
    wanted = Tags.new_bucket_tags()
    wanted["cost"] = "radiology"
    client.set_bucket_tags(bucket_name=bucket, tags=wanted)
    assert dict(client.get_bucket_tags(bucket_name=bucket)) == dict(wanted)
    client.delete_bucket_tags(bucket_name=bucket)
    assert not client.get_bucket_tags(bucket_name=bucket)


def main() -> None:
    workflow, endpoint, bucket, folder = sys.argv[1:]
    client = client_of(endpoint)
    client.make_bucket(bucket_name=bucket)
    globals()[workflow](client, bucket, Path(folder))


main()
