"""Unmodified S3 clients, each with its default settings, and what they are given to store."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import random
import re
import subprocess
import tarfile
from collections.abc import Mapping
from pathlib import Path

from tests.node.process import ACCESS_KEY, REGION, SECRET_KEY

RUN_S_MAX = 1200
PROGRAMS = Path(__file__).parent / "programs"

AWKWARD = (
    "plain.txt",
    "with space.txt",
    "a+b&c=d?e#f%41;g@h!i'j(k)*l.bin",
    "umlaut-äöü-日本語-😀.txt",
    "double  space/and/deep/er/file",
    "~tilde$dollar,comma:colon.txt",
    "trailing.dot.",
    '"quoted".txt',
    "empty",
)
"""Names of files that clients sign and escape in ways of their own."""

LARGE = "large/several parts.bin"
LARGE_BYTES = 17 * (1 << 20) + 4321  # beyond what each of the clients sends at once


WRITTEN_S = 1_700_000_000
"""When the files of a tree were written, in Unix seconds. One that is uploaded in the second it is
written in looks newer than its object, whose time has no fractions, and `aws s3 sync` sends it
once more.
"""


def dicom_files() -> list[Path]:
    """Every DICOM file that the packages pydicom and pydicom-data carry."""
    files = []
    for package in ("pydicom", "pydicom-data"):
        for entry in importlib.metadata.files(package) or ():
            path = Path(str(entry.locate()))
            if path.is_file() and path.suffix not in {".py", ".pyc", ".txt", ".json"}:
                with path.open("rb") as stream:
                    head = stream.read(132)
                if head[128:] == b"DICM":
                    files.append(path)
    return sorted(files)


def make_corpus(folder: Path) -> None:
    """A tree of studies with awkward names, and one large file that clients send in parts."""
    files = dicom_files()
    assert len(files) > 100, "the DICOM packages are not what they were"
    for number, path in enumerate(files):
        study = folder / f"study {number // 40:02} é+&" / f"series{number // 8 % 5}"
        study.mkdir(parents=True, exist_ok=True)
        (study / f"{number:04}-{path.name}").write_bytes(path.read_bytes())
    with tarfile.open(folder / "all studies.tar", "w") as archive:
        for path in files:
            archive.add(path, path.name)


def make_tree(folder: Path, seed: str = "tree", *, large: bool = True) -> None:
    """A small tree of files with awkward names and, unless told otherwise, one of many parts."""
    chance = random.Random(seed)
    for number, name in enumerate(AWKWARD):
        size = 0 if name == "empty" else chance.choice((1, 3_000, 70_000)) + number
        _write(folder / name, chance.randbytes(size))
    if large:
        _write(folder / LARGE, chance.randbytes(LARGE_BYTES))


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    os.utime(path, (WRITTEN_S, WRITTEN_S))


def contents(folder: Path) -> dict[str, str]:
    """The digest of each file below the folder, by name: what is to come back equal."""
    return {
        str(path.relative_to(folder)): hashlib.blake2b(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def bucket_name(test: str) -> str:
    """A name that a bucket may have, out of a test's."""
    words = re.sub(r"[^a-z0-9]+", "-", test.removeprefix("test_").lower())
    return words[:63].strip("-")


class Client:
    """One client against one endpoint."""

    name = ""

    def __init__(self, endpoint: str, programs: Path, home: Path) -> None:
        self.endpoint = endpoint
        self.programs = programs
        home.mkdir(exist_ok=True)
        self.env = {
            "PATH": f"{programs}:{os.environ['PATH']}",
            "HOME": str(home),
            "LANG": "C.UTF-8",
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def run(
        self,
        *command: str,
        status: int = 0,
        stdin: bytes = b"",
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> str:
        """What the command prints; it has to end with `status`."""
        return self.run_bytes(*command, status=status, stdin=stdin, env=env, cwd=cwd).decode()

    def run_bytes(
        self,
        *command: str,
        status: int = 0,
        stdin: bytes = b"",
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> bytes:
        result = subprocess.run(
            command,
            check=False,
            env={**self.env, **(env or {})},
            cwd=cwd,
            input=stdin,
            capture_output=True,
            timeout=RUN_S_MAX,
        )
        told = result.stdout[-3000:] + result.stderr[-3000:]
        assert result.returncode == status, f"{command}\n{told.decode(errors='replace')}"
        return result.stdout

    def up(self, folder: Path, bucket: str) -> None:
        raise NotImplementedError

    def down(self, bucket: str, folder: Path) -> None:
        raise NotImplementedError


class AwsCli(Client):
    name = "aws"

    def _s3(self, *arguments: str) -> str:
        return self.run("aws", "--endpoint-url", self.endpoint, "s3", *arguments)

    def up(self, folder: Path, bucket: str) -> None:
        self._s3("mb", f"s3://{bucket}")
        self._s3("sync", "--only-show-errors", str(folder), f"s3://{bucket}")

    def down(self, bucket: str, folder: Path) -> None:
        self._s3("sync", "--only-show-errors", f"s3://{bucket}", str(folder))


class Rclone(Client):
    name = "rclone"

    def _remote(self, bucket: str) -> str:
        return f":s3,provider=Other,endpoint='{self.endpoint}',env_auth=true:{bucket}"

    def up(self, folder: Path, bucket: str) -> None:
        self.run("rclone", "copy", str(folder), self._remote(bucket))
        self.run("rclone", "check", str(folder), self._remote(bucket))

    def down(self, bucket: str, folder: Path) -> None:
        self.run("rclone", "copy", self._remote(bucket), str(folder))


class S3cmd(Client):
    name = "s3cmd"

    def command(self, *arguments: str) -> str:
        host = self.endpoint.removeprefix("http://")
        options = [f"--host={host}", f"--host-bucket={host}", "--no-ssl", f"--region={REGION}"]
        return self.run("s3cmd", "--config=/dev/null", *options, *arguments)

    def up(self, folder: Path, bucket: str) -> None:
        self.command("mb", f"s3://{bucket}")
        self.command("sync", "--quiet", f"{folder}/", f"s3://{bucket}/")

    def down(self, bucket: str, folder: Path) -> None:
        self.command("sync", "--quiet", f"s3://{bucket}/", f"{folder}/")


class Script(Client):
    """A client that is a Python library, driven by a small program in its own environment."""

    script = ""

    def _python(self, what: str, bucket: str, folder: Path) -> None:
        python = str(self.programs / "python")
        self.run(python, "-c", self.script, what, self.endpoint, bucket, str(folder))

    def up(self, folder: Path, bucket: str) -> None:
        self._python("up", bucket, folder)

    def down(self, bucket: str, folder: Path) -> None:
        self._python("down", bucket, folder)


class MinioPy(Script):
    name = "minio-py"
    script = """
import os, pathlib, sys
import minio
what, endpoint, bucket, folder = sys.argv[1:]
client = minio.Minio(
    endpoint.removeprefix("http://"), access_key=os.environ["AWS_ACCESS_KEY_ID"],
    secret_key=os.environ["AWS_SECRET_ACCESS_KEY"], secure=False)
folder = pathlib.Path(folder)
if what == "up":
    client.make_bucket(bucket)
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        client.fput_object(bucket, str(path.relative_to(folder)), str(path))
else:
    for item in client.list_objects(bucket, recursive=True):
        client.fget_object(bucket, item.object_name, str(folder / item.object_name))
"""


class Boto3(Script):
    name = "boto3"
    script = """
import pathlib, sys
import boto3
what, endpoint, bucket, folder = sys.argv[1:]
s3 = boto3.client("s3", endpoint_url=endpoint)
folder = pathlib.Path(folder)
if what == "up":
    s3.create_bucket(Bucket=bucket)
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        s3.upload_file(str(path), bucket, str(path.relative_to(folder)))
else:
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket):
        for item in page["Contents"]:
            path = folder / item["Key"]
            path.parent.mkdir(parents=True, exist_ok=True)
            s3.download_file(bucket, item["Key"], str(path))
"""


CLIENTS: tuple[type[Client], ...] = (AwsCli, Boto3, Rclone, S3cmd, MinioPy)
