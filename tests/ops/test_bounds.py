"""Transactions stay within the bound of a write set, whatever the upload."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from typing import Any

import pytest

from s3node.base.limits import PART_BYTES_MIN, PART_NUMBER_MAX
from s3node.meta import tables
from s3node.meta.memory import MemoryKv
from s3node.meta.transaction import WRITE_SET_BYTES_MAX, WriteSet
from s3node.model.rows import Checksum, Data, PartRow
from s3node.ops import delete
from tests.ops.test_objects import delete_body, md5_of
from tests.ops.world import World, make_world


class Measured(MemoryKv):
    """Remembers the largest write set."""

    largest = 0

    def _commit(self, write_set: WriteSet) -> bool:
        self.largest = max(self.largest, write_set.size())
        return super()._commit(write_set)


@pytest.fixture
def world() -> World:
    return make_world(kv=Measured())


ETAG = "0123456789abcdef" * 2


def fill(world: World, key: str, data_base: int) -> str:
    """An upload of as many parts as there can be, with the longest checksums."""
    made = world.ask("POST", f"/bucket/{key}", "uploads", x_amz_checksum_algorithm="SHA512")
    upload = made.text("UploadId") or ""

    def put(tx: Any) -> None:
        for number in range(1, PART_NUMBER_MAX + 1):
            data_id = (data_base + number).to_bytes(16, "big")
            data = Data(data_id, PART_BYTES_MIN, 1 << 21, digest=bytes(16))
            checksum = Checksum("SHA512", hashlib.sha512(data_id).digest())
            row = PartRow(
                PART_BYTES_MIN, ETAG, bytes(16), 1, data=data, checksum=checksum, sha256=bytes(32)
            )
            tables.put_part(tx, bytes.fromhex(upload), number, row)
            world.objects.assumed.add(data_id)

    write(world, put)
    return upload


def write(world: World, fn: Any) -> None:
    asyncio.run(world.kv.write(fn))
    world.kv.largest = 0


def complete_body() -> bytes:
    def row(number: int, base: int) -> str:
        digest = hashlib.sha512((base + number).to_bytes(16, "big")).digest()
        value = base64.b64encode(digest).decode()
        return (
            f"<Part><PartNumber>{number}</PartNumber><ETag>{ETAG}</ETag>"
            f"<ChecksumSHA512>{value}</ChecksumSHA512></Part>"
        )

    rows = "".join(row(number, 0) for number in range(1, PART_NUMBER_MAX + 1))
    return f"<CompleteMultipartUpload>{rows}</CompleteMultipartUpload>".encode()


def test_the_largest_upload_completes_and_vanishes_in_bounded_transactions(world: World) -> None:
    world.bucket()
    upload = fill(world, "k", 0)
    done = world.ask("POST", "/bucket/k", f"uploadId={upload}", complete_body())
    assert done.status == 200, done.body
    assert 0 < world.kv.largest < WRITE_SET_BYTES_MAX / 2
    assert (done.text("ETag") or "").endswith('-10000"')
    world.check_ledger()
    # Aborting as large a one, and overwriting the object, are bounded too.
    upload = fill(world, "k", 1 << 20)
    assert world.ask("DELETE", "/bucket/k", f"uploadId={upload}").status == 204
    assert world.kv.largest < WRITE_SET_BYTES_MAX / 2
    world.put("/bucket/k", b"small")
    assert len(world.dead_data()) == 2 * PART_NUMBER_MAX
    world.check_ledger()


def test_deleting_many_large_objects_is_cut_into_transactions(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delete, "DATA_IDS_PER_COMMIT", 3)
    monkeypatch.setattr(delete, "KEYS_PER_COMMIT", 5)
    world.bucket()
    keys = [f"k{i:02}" for i in range(40)]
    for key in keys:
        world.put(f"/bucket/{key}", bytes(5000))
    body = delete_body(*keys)
    done = world.ask("POST", "/bucket", "delete", body, content_md5=md5_of(body))
    assert done.texts("Deleted/Key") == keys
    assert len(world.dead_data()) == 40
    world.check_ledger()
