"""Objects over real disks: what is written is read, in ranges, around losses and failing disks."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from ec import Geometry, NativeCodec, _gf
from ec.native import Native
from s3node.base.errors import S3Error
from s3node.base.limits import INLINE_BYTES_MAX, MIB, OFFLOAD_BYTES_MIN
from s3node.meta import tables
from s3node.model.rows import STRIPES_PER_RUN
from s3node.objects.layout import shard_bytes, stripe_bytes
from s3node.store.record import BLOCK_BYTES
from tests.objects.node import FailingDisk, ObjectNode, content, run, until

STRIPE = stripe_bytes(4)
SIZES = [
    0,
    1,
    INLINE_BYTES_MAX,
    INLINE_BYTES_MAX + 1,
    65_536 * 4 + 1,
    STRIPE - 1,
    STRIPE,
    STRIPE + 1,
    3 * STRIPE + 77_777,
]


@pytest.mark.parametrize("size", SIZES)
def test_what_is_written_is_read(size: int, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with ObjectNode(tmp_path) as node:
            data = content(size)
            row = await node.put(data)
            assert await node.get(row) == data
            chance = random.Random(7)
            for _ in range(20):
                start = chance.randint(0, size)
                stop = chance.randint(start, size)
                assert await node.get(row, start, stop) == data[start:stop]

    run(scenario())


def test_any_two_disks_may_lose_everything(tmp_path: Path) -> None:
    async def scenario(gone: Sequence[int], folder: Path) -> None:
        async with ObjectNode(folder) as node:
            rows = {size: await node.put(content(size)) for size in SIZES}
            await node.disks.seal()
            for slot in gone:
                node.lose(slot)
            for size, row in rows.items():
                data = content(size)
                assert await node.get(row) == data
                assert await node.get(row, size // 3, size // 2) == data[size // 3 : size // 2]

    for number, gone in enumerate(itertools.combinations(range(6), 2)):
        folder = tmp_path / str(number)
        folder.mkdir()
        run(scenario(gone, folder))


def test_three_disks_gone_is_an_error_before_the_first_byte(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with ObjectNode(tmp_path) as node:
            row = await node.put(content(STRIPE))
            await node.disks.seal()
            for slot in (0, 2, 5):
                node.lose(slot)
            with pytest.raises(S3Error) as refused:
                await node.store.read(row, 0, row.size)
            assert refused.value.code == "ServiceUnavailable"

    run(scenario())


def test_every_run_of_an_object_says_what_it_owes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("s3node.objects.layout.stripe_bytes", lambda k: k * BLOCK_BYTES)

    async def scenario() -> None:
        fs = FailingDisk()
        async with ObjectNode(tmp_path, fs=fs) as node:
            append, stripes = node.disks.append, itertools.count()

            def failing_at_last(*records: Any) -> None:
                fs.failing = "disk3/" if next(stripes) == STRIPES_PER_RUN else ""
                append(*records)

            monkeypatch.setattr(node.disks, "append", failing_at_last)
            row = await node.put(content((STRIPES_PER_RUN + 1) * 4 * BLOCK_BYTES))
            assert row.data is not None
            owed = node.kv.read(lambda tx: list(tables.scan_owed(tx)))
            runs = {run: one.stripes for _, _, run, one in owed}
            assert runs == {1: (STRIPES_PER_RUN,)}

    run(scenario())


def test_a_disk_that_fails_midway_is_owed_and_then_placed_again(tmp_path: Path) -> None:
    async def scenario() -> None:
        fs = FailingDisk()
        async with ObjectNode(tmp_path, fs=fs) as node:
            before = await node.put(content(100_000))
            fs.failing = "disk3/"
            data = content(3 * STRIPE)
            row = await node.put(data)
            assert row.data is not None
            owed = node.kv.read(lambda tx: list(tables.scan_owed(tx)))
            assert len(owed) == 1 and owed[0][1] == row.data.data_id
            assert await node.get(row) == data
            waiting = await node.store.repairer.round()
            assert (waiting.placed, waiting.waiting) == (0, 1)
            fs.failing = ""
            await node.disks.readmit(3)
            done = await node.store.repairer.round()
            assert done.placed > 0 and done.waiting == 0
            assert node.kv.read(lambda tx: list(tables.scan_owed(tx))) == []
            for lost in (0, 1):
                node.lose(lost)
            assert await node.get(row) == data
            assert await node.get(before) == content(100_000)

    run(scenario())


def test_with_two_disks_failing_new_objects_still_survive_two_losses(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with ObjectNode(tmp_path) as node:
            node.disks.fence(1, "test")
            node.disks.fence(4, "test")
            data = content(2 * STRIPE + 1)
            row = await node.put(data)
            await node.disks.seal()
            node.lose(0)
            node.lose(5)
            assert await node.get(row) == data

    run(scenario())


def test_a_flipped_bit_never_leaves(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with ObjectNode(tmp_path) as node:
            data = content(MIB)
            row = await node.put(data)
            await node.disks.seal()
            chance = random.Random(3)
            paths = sorted(tmp_path.glob("disk*/segments/*"))
            for path in chance.sample(paths, 2):
                raw = bytearray(path.read_bytes())
                for _ in range(50):
                    raw[chance.randrange(len(raw))] ^= 1 << chance.randrange(8)
                path.write_bytes(raw)
            assert await node.get(row) == data
            assert node.store.counters.shard_faults > 0

    run(scenario())


def test_given_up_half_way_nothing_stays_pinned_or_taken(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with ObjectNode(tmp_path) as node:

            def update(view: memoryview) -> None:
                seen.append(len(view))
                if sum(seen) > 2 * STRIPE:
                    raise S3Error("BadDigest")

            async def pieces() -> Any:
                for _ in range(32):
                    yield memoryview(bytes(STRIPE // 8))

            seen: list[int] = []
            with pytest.raises(S3Error):
                await node.store.write(pieces(), update, 4 * STRIPE)
            await node.disks.seal()
            await until(lambda: not node.pinned())

    run(scenario())


class FlippingCodec(NativeCodec):
    """Flips a bit of a data shard while C codes, as bad memory would."""

    def __init__(self) -> None:
        super().__init__()
        ffi = _gf.ffi
        self.bytes = 0

        def encode(kernel: Any, plan: Any, shard_bytes: int, shards: Any) -> None:
            native.encode(kernel, plan, shard_bytes, shards)
            shards[shard_bytes + 7] ^= 0x10
            self.bytes = shard_bytes

        native = super().native(Geometry(4, 2))
        self.flipping = ffi.callback(ffi.typeof(native.encode), encode)

    def native(self, geometry: Geometry) -> Native:
        return super().native(geometry)._replace(encode=self.flipping)


def test_row_16_a_bit_that_flips_in_memory_is_not_stored(tmp_path: Path) -> None:
    codec = FlippingCodec()

    async def scenario() -> None:
        async with ObjectNode(tmp_path, codec=codec) as node:
            for size in (OFFLOAD_BYTES_MIN // 2, 100_000):
                with pytest.raises(S3Error) as refused:
                    await node.write(content(size))
                assert codec.bytes == shard_bytes(size, 4), "it was coded"
                assert refused.value.code == "ServiceUnavailable"
                assert "memory" in str(refused.value)
            assert (await node.write(content(1000))).inline is not None

    run(scenario())
