"""Workflows through s3fs for Python (fsspec), as `test_libraries.py` says."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import s3fs


def tree(fs: s3fs.S3FileSystem, bucket: str, folder: Path) -> None:
    files = {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}
    for name, path in files.items():
        fs.put_file(str(path), f"{bucket}/t/{name}")
    assert sorted(fs.find(f"{bucket}/t")) == sorted(f"{bucket}/t/{name}" for name in files)
    assert fs.du(f"{bucket}/t") == sum(path.stat().st_size for path in files.values())
    with tempfile.TemporaryDirectory() as back:
        for name, path in files.items():
            fs.get_file(f"{bucket}/t/{name}", f"{back}/file")
            assert Path(f"{back}/file").read_bytes() == path.read_bytes(), name
    fs.copy(f"{bucket}/t/plain.txt", f"{bucket}/u/copied.txt")
    fs.mv(f"{bucket}/t/with space.txt", f"{bucket}/u/moved.txt")
    assert sorted(fs.ls(f"{bucket}/u")) == [f"{bucket}/u/copied.txt", f"{bucket}/u/moved.txt"]
    assert fs.glob(f"{bucket}/u/*ed.txt") == sorted(fs.ls(f"{bucket}/u"))
    assert not fs.exists(f"{bucket}/t/with space.txt")
    fs.rm(bucket, recursive=True)
    assert not fs.exists(bucket)


def files(fs: s3fs.S3FileSystem, bucket: str, folder: Path) -> None:
    whole = (folder / "large/several parts.bin").read_bytes()
    with fs.open(f"{bucket}/k", "wb", block_size=5 << 20) as file:
        file.write(whole)
    with fs.open(f"{bucket}/k", "rb") as file:
        file.seek(-99, os.SEEK_END)
        assert file.read() == whole[-99:]
        file.seek(7 << 20)
        assert file.read(1000) == whole[7 << 20 :][:1000]
    assert fs.cat_ranges([f"{bucket}/k"] * 2, [0, 8 << 20], [9, (8 << 20) + 9]) == [
        whole[:9], whole[8 << 20 :][:9],
    ]  # fmt: skip
    with fs.open(f"{bucket}/k", "ab") as file:
        file.write(b"more")
    assert fs.cat_file(f"{bucket}/k") == whole + b"more"
    fs.pipe({f"{bucket}/p/{number}": b"%d" % number for number in range(5)})
    assert sorted(fs.cat(f"{bucket}/p/*").values()) == [b"%d" % i for i in range(5)]
    fs.setxattr(f"{bucket}/p/1", study="1.2")
    assert fs.getxattr(f"{bucket}/p/1", "study") == "1.2"
    fs.put_tags(f"{bucket}/p/1", {"ward": "west"})
    assert fs.get_tags(f"{bucket}/p/1") == {"ward": "west"}
    fs.touch(f"{bucket}/touched")
    assert fs.info(f"{bucket}/touched")["size"] == 0
    with fs.open(fs_text := f"{bucket}/text", "w") as text:
        text.write("Zeile\n")
    assert fs.head(fs_text, 3) == b"Zei"
    url = fs.url(f"{bucket}/text")
    assert url.startswith(sys.argv[2])


def versions(fs: s3fs.S3FileSystem, bucket: str, folder: Path) -> None:
    fs = s3fs.S3FileSystem(version_aware=True, endpoint_url=sys.argv[2])
    fs.enable_versioning = None
    fs.call_s3(
        "put_bucket_versioning", Bucket=bucket, VersioningConfiguration={"Status": "Enabled"}
    )
    for body in (b"1", b"2"):
        fs.pipe_file(f"{bucket}/k", body)
    found = fs.object_version_info(f"{bucket}/k")
    assert [one["IsLatest"] for one in found] == [True, False]
    old = found[1]["VersionId"]
    assert fs.cat_file(f"{bucket}/k") == b"2"
    with fs.open(f"{bucket}/k", "rb", version_id=old) as file:
        assert file.read() == b"1"
    assert fs.cat_file(f"{bucket}/k?versionId={old}") == b"1"
    fs.rm(f"{bucket}/k")
    fs.invalidate_cache()
    assert not fs.exists(f"{bucket}/k")


def main() -> None:
    workflow, endpoint, bucket, folder = sys.argv[1:]
    fs = s3fs.S3FileSystem(endpoint_url=endpoint)
    fs.mkdir(bucket)
    globals()[workflow](fs, bucket, Path(folder))


main()
