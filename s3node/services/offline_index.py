"""The metadata of a stopped node, made anew from the disks beside whatever index is there."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from s3node.meta import metadata
from s3node.meta.lmdb_index import LmdbIndex
from s3node.services.start import Looked, Told


@contextlib.contextmanager
def rebuilt(looked: Looked, told: Told) -> Iterator[LmdbIndex]:
    """An index from the disks alone, in a folder that is removed afterwards.

    QuorumLost, JournalDamaged when it cannot be made.
    """
    looked.site.meta.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="check-", dir=looked.site.meta))
    try:
        path = folder / "index"
        metadata.rebuild_index(path, looked.usable(), looked.deployment, told=told)
        index = LmdbIndex(path, looked.deployment.deployment_id, readonly=True)
        try:
            yield index
        finally:
            index.close()
    finally:
        shutil.rmtree(folder)
