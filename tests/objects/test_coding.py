"""All that a stripe's job computes beside what computes each of it alone; and the C by itself."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Sequence
from pathlib import Path
from random import Random

import pytest
import xxhash
from awscrt import checksums as crt
from hypothesis import given, settings
from hypothesis import strategies as st

from ec import Geometry, NativeCodec
from s3node.base.arena import Loose
from s3node.base.crc64 import Crc64
from s3node.base.md5 import Md5
from s3node.objects.coding import Job, Streams, Update, advance, run
from s3node.objects.filling import FullStripe
from s3node.objects.layout import shard_bytes, stripe_bytes
from s3node.store.digests import shard_digests

ROOT = Path(__file__).resolve().parents[2]
NOISE = Random(5).randbytes(3 * stripe_bytes(8))
CODEC = NativeCodec()
SANITIZE = ["-g", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]


def full_stripe(geometry: Geometry, data: bytes | memoryview) -> FullStripe:
    size = shard_bytes(len(data), geometry.k)
    row = Loose(geometry.n, size)
    row.whole[: len(data)] = data
    return FullStripe(len(data), size, row)


class Upload:
    """An object that comes in stripes, and the same bytes hashed as they are."""

    def __init__(self, sizes: Sequence[int], start: int, *, crc64: bool, update: bool) -> None:
        self.seen = bytearray()
        others: Update | None = self.seen.extend if update else None
        self.streams = Streams(Md5(), Crc64() if crc64 else None, others)
        self.sizes, self.start, self.taken = list(sizes), start, 0

    def next(self, geometry: Geometry) -> tuple[Job, FullStripe] | None:
        if not self.sizes:
            return None
        size, at = self.sizes.pop(0), self.start + self.taken
        self.taken += size
        full = full_stripe(geometry, memoryview(NOISE)[at : at + size])
        return Job(self.streams, CODEC, geometry, full), full

    def check(self) -> None:
        content = NOISE[self.start :][: self.taken]
        assert self.streams.digest() == xxhash.xxh3_128_digest(content)
        assert self.streams.md5.digest() == hashlib.md5(content).digest()
        if self.streams.crc64 is not None:
            wanted = crt.crc64nvme(content).to_bytes(8, "big")
            assert self.streams.crc64.digest() == wanted
        assert self.seen == (content if self.streams.update else b"")


def check_coded(job: Job, geometry: Geometry, full: FullStripe) -> None:
    whole = bytearray(full.row.whole)
    CODEC.encode(geometry, whole, full.shard_bytes)
    assert full.row.whole == whole
    assert job.digests() == shard_digests(memoryview(whole), full.shard_bytes)


whole_stripes = st.integers(0, 2).map(lambda count: [stripe_bytes(8)] * count)
a_rest = st.one_of(
    st.integers(1, 4200), st.integers(1, 70).map(lambda n: 1024 * n), st.integers(1, 600_000)
)
stripes_of_an_object = st.one_of(
    st.lists(a_rest, max_size=4), st.tuples(whole_stripes, a_rest).map(lambda t: [*t[0], t[1]])
)


@settings(max_examples=60, deadline=None)
@given(
    objects=st.lists(
        st.tuples(stripes_of_an_object, st.booleans(), st.booleans()), min_size=1, max_size=5
    ),
    geometry=st.sampled_from([Geometry(8, 4), Geometry(4, 2), Geometry(3, 1)]),
    bytes_max=st.sampled_from([1000, 100_000, 1 << 40]),
)
def test_stripes_of_many_objects_together(
    objects: list[tuple[list[int], bool, bool]], geometry: Geometry, bytes_max: int
) -> None:
    """Of any lengths, in steps, with and without others; one after the other of each object."""
    uploads = [
        Upload([min(n, len(NOISE) // 5) for n in sizes], number, crc64=crc64, update=update)
        for number, (sizes, crc64, update) in enumerate(objects)
    ]
    while begun := [one for upload in uploads if (one := upload.next(geometry)) is not None]:
        under_way = [job for job, _ in begun]
        while under_way:
            advance(under_way, bytes_max)
            under_way = [job for job in under_way if not job.done]
        for job, full in begun:
            job.finish()
            job.end()
            assert not job.changed
            check_coded(job, geometry, full)
    for upload in uploads:
        upload.check()


def test_short_objects_and_none_at_all() -> None:
    geometry = Geometry(4, 2)
    for size in range(700):
        upload = Upload([size] if size else [], size, crc64=True, update=size % 2 == 0)
        if (begun := upload.next(geometry)) is not None:
            job, full = begun
            run(job)
            check_coded(job, geometry, full)
        upload.check()


def test_whole_objects() -> None:
    for size in (0, 1, 240, 241, 5000):
        upload = Upload([], 0, crc64=True, update=True)
        content = NOISE[:size]
        assert upload.streams.whole(content) == xxhash.xxh3_128_digest(content)
        assert upload.streams.md5.digest() == hashlib.md5(content).digest()
        assert upload.streams.crc64 is not None
        assert upload.streams.crc64.digest() == crt.crc64nvme(content).to_bytes(8, "big")
        assert upload.seen == content


@pytest.mark.parametrize("place", ["data", "padding"])
def test_what_changes_while_others_hash_is_seen(place: str) -> None:
    def update(view: memoryview) -> None:
        full.row.whole[500 if place == "data" else 1001] ^= 1

    geometry = Geometry(4, 2)
    full = full_stripe(geometry, NOISE[:1001])
    job = Job(Streams(Md5(), None, update), CODEC, geometry, full)
    run(job)
    assert job.changed
    with pytest.raises(AssertionError, match="was verified"):
        job.digests()


def test_a_fault_of_others_leaves_no_digests() -> None:
    def update(view: memoryview) -> None:
        raise ValueError("injected")

    streams = Streams(Md5(), None, update)
    job = Job(streams, CODEC, Geometry(4, 2), full_stripe(Geometry(4, 2), NOISE[:1000]))
    with pytest.raises(ValueError, match="injected"):
        run(job)
    assert streams.md5.digest() == hashlib.md5(NOISE[:1000]).digest(), "the stream is free again"
    with pytest.raises(AssertionError, match="was verified"):
        job.digests()


STRIPE = ["stripe.c", "record_digests.c", "gf*.c", "md5*.c", "xxh3*.c", "crc64*.c"]
PARTS = {
    "stripe": STRIPE,
    "hasher": ["hasher.c", "system.c", *STRIPE],
    "record": ["record*.c", "crc32.c", "xxh3*.c"],
    "crc64": ["crc64*.c"],
}


@pytest.mark.parametrize(
    ("stem", "sanitize"),
    [*((stem, SANITIZE) for stem in PARTS), ("hasher", ["-g", "-O1", "-fsanitize=thread"])],
    ids=[*PARTS, "hasher-threads"],
)
def test_the_c_program_under_sanitizers(stem: str, sanitize: list[str], tmp_path: Path) -> None:
    sources = [str(one) for part in PARTS[stem] for one in (ROOT / "csrc").glob(part)]
    program = str(tmp_path / "program")
    strict = ["-std=c11", "-Wall", "-Wextra", "-Werror", "-pthread", f"-I{ROOT / 'csrc'}"]
    test = str(ROOT / "tests" / "c" / f"{stem}_test.c")
    for command in (["gcc", *strict, *sanitize, *sources, test, "-o", program], [program]):
        done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
