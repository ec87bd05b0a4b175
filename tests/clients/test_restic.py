"""restic with its default settings: a backup repository on the node."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.clients import kits
from tests.clients.conftest import Refusals
from tests.clients.tools import Client, contents, make_tree
from tests.node.process import NodeProcess

pytestmark = pytest.mark.xdist_group("clients")


class Restic(Client):
    name = "restic"

    def command(self, *arguments: str, status: int = 0) -> str:
        env = {
            "RESTIC_REPOSITORY": f"s3:{self.endpoint}/restic/repository",
            "RESTIC_PASSWORD": "of the repository",
        }
        program = kits.debian("restic", "restic")
        return self.run(program, *arguments, env=env, status=status)


@pytest.mark.deep
def test_backup_check_restore_forget(node: NodeProcess, tmp_path: Path, refusals: Refusals) -> None:
    restic = Restic(node.endpoint, tmp_path, tmp_path / "home")
    for operation in ("HeadBucket", "GetBucketLocation", "ListObjectsV2"):
        refusals.expect(operation, "NoSuchBucket")
    refusals.expect("HeadObject", "NoSuchKey")
    refusals.expect("GetObject", "NoSuchKey")
    source = tmp_path / "source"
    make_tree(source)
    first = contents(source)
    restic.command("init")
    restic.command("backup", str(source))
    (source / "plain.txt").unlink()
    (source / "new").write_bytes(b"new")
    second = contents(source)
    restic.command("backup", str(source))
    snapshots = json.loads(restic.command("snapshots", "--json"))
    assert len(snapshots) == 2
    restic.command("check", "--read-data")
    for snapshot, wanted in zip(snapshots, (first, second), strict=True):
        target = tmp_path / snapshot["id"]
        restic.command("restore", snapshot["id"], "--target", str(target))
        assert contents(target / source.relative_to("/")) == wanted
    restic.command("forget", "--keep-last", "1", "--prune")
    restic.command("check", "--read-data")
    assert len(json.loads(restic.command("snapshots", "--json"))) == 1
    restic.command("unlock")
