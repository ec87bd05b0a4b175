"""Clients that are libraries, each driven by a small program in an environment of its own.

The programs are in `programs`: `PROGRAM WORKFLOW ENDPOINT BUCKET TREE`, keys from the
environment. They assert what they see, and end with status 0 when all of it was right.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.clients import kits
from tests.clients.conftest import Refusals
from tests.clients.tools import PROGRAMS, Client
from tests.node.process import NodeProcess

pytestmark = pytest.mark.xdist_group("libraries")


def workflows(*names: str) -> Any:
    return pytest.mark.parametrize("workflow", names)


def run(
    command: list[str], node: NodeProcess, programs: Path, bucket: str, tree: Path, home: Path
) -> None:
    client = Client(node.endpoint, programs, home)
    client.run(*command, node.endpoint, bucket.replace("_", "-"), str(tree))


@workflows("tree", "streams_and_copies", "presigned", "form", "versions", "tags")
def test_minio_py(
    workflow: str, node: NodeProcess, tree: Path, tmp_path: Path, refusals: Refusals
) -> None:
    kit = kits.common()
    command = [str(kit / "python"), str(PROGRAMS / "minio_py.py"), workflow]
    for operation in ("HeadBucket", "GetBucketLocation"):
        refusals.expect(operation, "NoSuchBucket")
    if workflow == "tags":
        refusals.expect("GetBucketTagging", "NoSuchTagSet")
    run(command, node, kit, f"minio-{workflow}", tree, tmp_path / "home")


@pytest.mark.deep
@workflows("tree", "files", "versions")
def test_s3fs(
    workflow: str, node: NodeProcess, tree: Path, tmp_path: Path, refusals: Refusals
) -> None:
    kit = kits.s3fs()
    command = [str(kit / "python"), str(PROGRAMS / "s3fs_python.py"), workflow]
    refusals.expect("HeadObject", "NoSuchKey")
    for operation in ("HeadBucket", "GetBucketLocation", "ListObjectsV2"):
        refusals.expect(operation, "NoSuchBucket")
    run(command, node, kit, f"s3fs-{workflow}", tree, tmp_path / "home")


@pytest.mark.deep
@workflows("tree", "streams", "presigned", "form", "versions", "tags", "checksums")
def test_javascript(
    workflow: str, node: NodeProcess, tree: Path, tmp_path: Path, refusals: Refusals
) -> None:
    kit = kits.node()
    program = kit / "javascript.mjs"  # modules are looked for beside the program
    program.write_text((PROGRAMS / "javascript.mjs").read_text())
    if workflow == "tree":
        refusals.expect("HeadBucket", "NoSuchBucket")
    if workflow == "streams":
        refusals.expect("PutObject", "PreconditionFailed")
    if workflow in ("streams", "versions"):
        refusals.expect("GetObject", "NoSuchKey")
    command = [str(kit / "bin/node"), str(program), workflow]
    run(command, node, kit / "bin", f"js-{workflow}", tree, tmp_path / "home")
